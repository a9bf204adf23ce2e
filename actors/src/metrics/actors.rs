//! How the actors are, by kind, what the watch over the consumption has found, and how transactions are.
//!
//! Actors are asked for this through their mailboxes, so it is gathered before a page is begun.

use std::{collections::BTreeMap, fmt};

use gantry_codec::body::{FindingCount, TransactionList};
use gantry_supervisor::{Counters, KindState, Mail};

use super::page::{Labels, Page, Source};

/// See the module's text.
#[derive(Default)]
pub struct Actors {
    /// All kinds.
    pub kinds: BTreeMap<&'static str, KindState>,
    /// Findings by kind; nothing if the watch has not answered.
    pub findings: BTreeMap<String, FindingCount>,
    /// Transactions, without a list of them; nothing if their actor has not answered.
    pub transactions: Option<TransactionList>,
}

impl Actors {
    fn gauges(
        &self,
        page: &mut Page<'_>,
        name: &str,
        help: &str,
        value: fn(&KindState) -> f64,
    ) -> fmt::Result {
        page.gauges(name, help, self.kinds.iter().map(|(kind, state)| (of(kind), value(state))))
    }

    fn counters(
        &self,
        page: &mut Page<'_>,
        name: &str,
        help: &str,
        value: fn(&Counters) -> u64,
    ) -> fmt::Result {
        let rows = self.kinds.iter().map(|(kind, state)| (of(kind), value(&state.counters)));
        page.counters(name, help, rows)
    }

    fn write_transactions(&self, page: &mut Page<'_>) -> fmt::Result {
        let of = |value: fn(&TransactionList) -> u64| {
            self.transactions.as_ref().map(|list| (Labels::new(), value(list)))
        };
        page.gauges(
            "rocketmq_half_messages",
            "Open transactions.",
            of(|list| list.open).map(|(labels, open)| (labels, open as f64)),
        )?;
        let help = "Transactions committed since their actor started.";
        page.counters("rocketmq_commit_messages_total", help, of(|list| list.committed))?;
        let help = "Transactions rolled back since their actor started.";
        page.counters("rocketmq_rollback_messages_total", help, of(|list| list.rolled_back))?;
        let help = "Transactions that nobody could decide since their actor started.";
        page.counters("gantry_transactions_given_up_total", help, of(|list| list.given_up))
    }

    /// Of those kinds that were asked.
    fn mail(
        &self,
        page: &mut Page<'_>,
        name: &str,
        help: &str,
        value: fn(&Mail) -> f64,
    ) -> fmt::Result {
        let asked = self.kinds.iter().filter_map(|(kind, state)| Some((kind, state.mail?)));
        page.gauges(name, help, asked.map(|(kind, mail)| (of(kind), value(&mail))))
    }
}

fn of(kind: &'static str) -> Labels<'static> {
    vec![("kind", kind.into())]
}

impl Source for Actors {
    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        let connections = self.kinds.get("connection").map_or(0, |state| state.children);
        page.gauge("gantry_connections", "Open connections.", connections as f64)?;
        self.gauges(page, "gantry_actors", "Actors by kind.", |state| state.children as f64)?;
        self.gauges(
            page,
            "gantry_actors_given_up",
            "Actors that have failed for good.",
            |state| state.down as f64,
        )?;
        self.counters(page, "gantry_actor_restarts_total", "Restarts after failures.", |counts| {
            counts.restarts
        })?;
        self.counters(page, "gantry_actor_panics_total", "Panics caught.", |counts| counts.panics)?;
        self.counters(
            page,
            "gantry_actor_lost_messages_total",
            "Messages that got no answer because their actor failed.",
            |counts| counts.lost,
        )?;
        self.mail(page, "gantry_actors_frozen", "Actors that do not answer.", |mail| {
            mail.frozen as f64
        })?;
        self.mail(page, "gantry_mailbox_messages", "Messages in the fullest mailbox.", |mail| {
            mail.worst.messages as f64
        })?;
        self.mail(
            page,
            "gantry_mailbox_wait_seconds",
            "How long a message waits in the slowest mailbox.",
            |mail| mail.worst.waited.as_secs_f64(),
        )?;
        let findings = |value: fn(&FindingCount) -> u64| {
            self.findings.iter().map(move |(kind, count)| {
                let labels: Labels<'_> = vec![("kind", kind.as_str().into())];
                (labels, value(count))
            })
        };
        page.gauges(
            "gantry_consumption_findings",
            "What is wrong now with the consumption of groups.",
            findings(|count| count.now).map(|(labels, count)| (labels, count as f64)),
        )?;
        page.counters(
            "gantry_consumption_findings_total",
            "What has been wrong with the consumption since the start.",
            findings(|count| count.begun),
        )?;
        self.write_transactions(page)
    }
}
