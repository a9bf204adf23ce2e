//! `queryMsgTraceById`: who sent a message and who consumed it, as the clients have told.
//!
//! Clients with tracing send what they did to the trace topic, under the ids and keys of the messages that
//! they did it with. So a trace is found by key there, on every broker that has the topic.

use gantry_client::MessageExt;
use gantry_codec::{
    Command, request_code,
    requests::pull::QueryMessageHeader,
    response_code,
    trace::{self, TraceEvent, TraceKind},
};

use crate::{
    cluster::Cluster,
    error::AdminError,
    report::{Report, or_dash},
    time::{parse_time, show_time},
    unpack,
};

/// What the command takes.
#[derive(Clone, Debug, clap::Args)]
pub struct QueryMsgTraceByIdArgs {
    /// The message's id, as its producer was told
    #[arg(short = 'i', long = "msgId", value_name = "ID")]
    id: String,
    /// The topic of traces
    #[arg(
        short = 't',
        long = "traceTopic",
        value_name = "TOPIC",
        default_value = "RMQ_SYS_TRACE_TOPIC"
    )]
    topic: String,
    /// Traces that were stored at this time or later: -2h, yyyy-MM-dd#HH:mm:ss:SSS, milliseconds
    #[arg(
        short = 'b',
        long = "beginTimestamp",
        value_name = "TIME",
        allow_hyphen_values = true,
        default_value = "0"
    )]
    begin: String,
    /// Traces that were stored at this time or earlier
    #[arg(short = 'e', long = "endTimestamp", value_name = "TIME", allow_hyphen_values = true)]
    end: Option<String>,
    /// Trace messages of one broker at most
    #[arg(short = 'c', long = "maxNum", value_name = "NUMBER", default_value_t = 64)]
    max: i32,
}

/// Asks every broker that has the trace topic.
///
/// # Errors
/// No broker has it, one does not answer, nothing is told of the message, or a trace cannot be read.
pub async fn run(cluster: &Cluster, args: &QueryMsgTraceByIdArgs) -> Result<Report, AdminError> {
    let now = cluster.now_ms();
    let time = |flag: &str, text: &str| {
        parse_time(text, now).map_err(|why| AdminError::Usage(format!("{flag} {why}")))
    };
    let (begin, end) = (time("-b", &args.begin)?, args.end.as_deref());
    let end = end.map_or(Ok(i64::MAX), |end| time("-e", end))?;
    let mut events = Vec::new();
    for master in cluster.masters_with(&args.topic).await? {
        for message in found(cluster, &master.address, args, (begin, end)).await? {
            events.extend(told(&message, &args.id)?);
        }
    }
    if events.is_empty() {
        return Err(AdminError::NotFound(format!(
            "no trace of message {} in {}",
            args.id, args.topic
        )));
    }
    let events = joined(events);
    Ok(Report::new(&events).table(
        &["type", "group", "client", "time", "cost ms", "status"],
        events.iter().map(row).collect(),
    ))
}

/// The trace messages with the id as a key.
async fn found(
    cluster: &Cluster,
    broker: &str,
    args: &QueryMsgTraceByIdArgs,
    (begin, end): (i64, i64),
) -> Result<Vec<MessageExt>, AdminError> {
    let header = QueryMessageHeader {
        topic: args.topic.clone(),
        key: args.id.clone(),
        max_num: args.max,
        begin_timestamp: begin,
        end_timestamp: end,
        unique_key_query: false,
        index_type: None,
    };
    let request = Command::request(request_code::QUERY_MESSAGE).with_header(&header);
    let answer = match cluster.client.remoting().call(broker, request).await {
        Err(e) if e.code() == Some(response_code::QUERY_NOT_FOUND) => return Ok(Vec::new()),
        answer => answer?,
    };
    MessageExt::decode_all(&answer.body)
        .map_err(|e| AdminError::Unreadable(format!("the answer of {broker}: {e}")))
}

/// What a trace message tells of the message `id`.
fn told(message: &MessageExt, id: &str) -> Result<Vec<TraceEvent>, AdminError> {
    let unreadable = |why: String| {
        AdminError::Unreadable(format!("trace message {}: {why}", message.offset_message_id()))
    };
    let body = unpack::body(message);
    let text = std::str::from_utf8(&body).map_err(|_| unreadable("its body is no text".into()))?;
    let mut events = trace::decode(text).map_err(|e| unreadable(e.to_string()))?;
    events.retain(|event| event.message_id.as_deref() == Some(id));
    for event in &mut events {
        let sender = || message.born_host.ip().to_string();
        event.client_host.get_or_insert_with(sender);
    }
    Ok(events)
}

/// In the order of time. The beginning of a consumption gives its end what old clients leave out there,
/// and stays by itself only if there is no end.
fn joined(events: Vec<TraceEvent>) -> Vec<TraceEvent> {
    let (begun, mut rest): (Vec<_>, Vec<_>) =
        events.into_iter().partition(|event| event.kind == TraceKind::SubBefore);
    for before in begun {
        let ends = |event: &&mut TraceEvent| {
            event.kind == TraceKind::SubAfter && event.request_id == before.request_id
        };
        match rest.iter_mut().find(ends) {
            None => rest.push(before),
            Some(after) => {
                after.time = after.time.or(before.time);
                after.group = after.group.take().or(before.group);
                after.retry_times = before.retry_times;
            }
        }
    }
    rest.sort_by_key(|event| event.time);
    rest
}

fn row(event: &TraceEvent) -> Vec<String> {
    let status = match (event.kind, event.success, &event.transaction_state) {
        (_, _, Some(state)) => state.clone(),
        (TraceKind::SubBefore, ..) => "begun".into(),
        (_, Some(true), _) => "success".into(),
        (_, Some(false), _) => "failed".into(),
        (_, None, _) => "-".into(),
    };
    let kind = match event.kind {
        TraceKind::SubBefore | TraceKind::SubAfter => "Sub".into(),
        kind => format!("{kind:?}"),
    };
    let (group, client) = (event.group.as_ref(), event.client_host.as_ref());
    let time = event.time.map(show_time);
    vec![kind, or_dash(group), or_dash(client), or_dash(time), or_dash(event.cost), status]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::dlq::filter::tests::letter;

    fn events(body: &str) -> Vec<TraceEvent> {
        let body = body.replace('|', "\u{1}").replace(';', "\u{2}");
        told(&letter(body.as_bytes(), &[]), "ID").unwrap()
    }

    #[test]
    fn only_what_is_of_the_message_is_told() {
        let body = "Pub|5|R|pg|t|ID|||h|1|2|0|true;Pub|6|R|pg|t|OTHER|||h|1|2|0|true;";
        let events = events(body);
        assert_eq!((events.len(), events[0].time), (1, Some(5)));
        assert_eq!(events[0].client_host.as_deref(), Some("127.0.0.1"), "who sent the trace");
    }

    #[test]
    fn a_consumption_is_one_row() {
        let body = "SubAfter|r1|ID|7|true|k;SubBefore|5|R|cg|r1|ID|2|k;SubBefore|4|R|cg|r2|ID|0|k;\
                    Pub|3|R|pg|t|ID|||h|1|2|0|false;";
        let rows: Vec<_> = joined(events(body)).iter().map(row).collect();
        let shown = |at: usize| (&*rows[at][0], &*rows[at][1], &*rows[at][4], &*rows[at][5]);
        assert_eq!(rows.len(), 3);
        assert_eq!(shown(0), ("Pub", "pg", "2", "failed"));
        assert_eq!(shown(1), ("Sub", "cg", "-", "begun"));
        assert_eq!(shown(2), ("Sub", "cg", "7", "success"));
    }

    #[test]
    fn a_trace_that_cannot_be_read_is_named() {
        let bad = letter(b"Pub\x01x\x02", &[]);
        let why = told(&bad, "ID").unwrap_err().to_string();
        assert!(
            why.starts_with("trace message 7F000001") && why.ends_with("time is \"x\""),
            "{why}"
        );
    }
}
