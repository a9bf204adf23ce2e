//! `diagnose`: what is wrong with the consumption: subscriptions of one group that conflict, queues that
//! nobody owns or pulls, consumers that never commit. The brokers look by themselves; this asks them.
//!
//! Exit code 1 if something was found, so that a script can tell.

use gantry_codec::body::Finding;

use crate::{
    cluster::{Cluster, Where},
    error::AdminError,
    report::{Report, or_dash},
    time::show_span,
};

/// What the command takes.
#[derive(Clone, Debug, clap::Args)]
pub struct DiagnoseArgs {
    /// One group only
    #[arg(short = 'g', long = "groupName", value_name = "GROUP")]
    group: Option<String>,
    /// Which brokers
    #[command(flatten)]
    which: Where,
}

/// Asks every broker.
///
/// # Errors
/// A broker does not answer, or none of them knows the request.
pub async fn run(cluster: &Cluster, args: &DiagnoseArgs) -> Result<Report, AdminError> {
    let (mut findings, mut silent) = (Vec::new(), Vec::new());
    let masters = cluster.masters(&args.which).await?;
    for master in &masters {
        match cluster.admin.diagnose(&master.address, args.group.as_deref()).await? {
            Some(diagnosis) => findings.extend(diagnosis.findings),
            None => silent.push(master.name.as_str()),
        }
    }
    if silent.len() == masters.len() {
        let who = silent.join(", ");
        return Err(AdminError::NotFound(format!("{who}: brokers of this kind do not diagnose")));
    }
    findings.sort_by_key(|finding| finding.since);
    let report = show(&findings, cluster.now_ms());
    Ok(match silent.is_empty() {
        true => report,
        false => report.line(format!("not asked, as they cannot tell: {}", silent.join(", "))),
    })
}

fn show(findings: &[Finding], now_ms: i64) -> Report {
    let mut report = Report::new(&findings);
    report.found_trouble = !findings.is_empty();
    if findings.is_empty() {
        return report.line("nothing is wrong");
    }
    let rows = findings.iter().map(|finding| {
        vec![
            finding.kind.clone(),
            finding.group.clone(),
            finding.topic.clone(),
            or_dash(finding.queue_id),
            finding.broker_name.clone(),
            show_span(now_ms - finding.since),
            finding.text.clone(),
        ]
    });
    report.table(&["kind", "group", "topic", "queue", "broker", "for", "what"], rows.collect())
}
