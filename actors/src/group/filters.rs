//! The actor that keeps the SQL92 filters of consumer groups.
//!
//! Heartbeats that bring a filter which is not published yet send it [`RegisterFilters`] and wait for
//! the answer, so that a pull that follows finds the filter. Every ten seconds it looks which groups
//! have gone and saves `consumerFilter.json` if something has changed, and once more in its orderly stop.
//! It writes on its own thread, so it has to be placed where waiting for a disk is allowed.
//!
//! Failure policy: restart from disk and from what the groups that are there subscribe. A file
//! that cannot be read stops the start; one that cannot be written is logged once, makes the actor
//! degraded and is tried again.

use std::{sync::Arc, time::Duration};

use actix::Message;
use gantry_codec::body::SubscriptionData;
use gantry_storage::Clock;
use gantry_supervisor::{ContextExt, Ctx, Health, Logic, Receive, Reply};
use slog::{Logger, error, info, warn};

use super::{
    config_file::ConfigFile,
    filter_table::{FilterDirectory, FilterTable, Registered},
    view::GroupDirectory,
};

/// How often groups are looked for and the file is saved, as in Java.
const SWEEP_PERIOD: Duration = Duration::from_secs(10);

/// These subscriptions of a group have SQL92 filters.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RegisterFilters {
    /// The group.
    pub group: Arc<str>,
    /// The subscriptions.
    pub subscriptions: Vec<SubscriptionData>,
}

/// See the module's text.
pub struct Filters {
    table: FilterTable,
    groups: GroupDirectory,
    unsaved: bool,
    failing: Option<String>,
    file: ConfigFile,
    clock: Arc<dyn Clock>,
    log: Logger,
}

impl Filters {
    /// The actor over what `file` has; publishes it in `directory`.
    pub fn open(
        file: ConfigFile,
        directory: FilterDirectory,
        groups: GroupDirectory,
        clock: Arc<dyn Clock>,
        log: Logger,
    ) -> Result<Self, String> {
        let content = file.load()?.unwrap_or_default();
        let table = FilterTable::new(content, directory, clock.now_ms(), |data, error| {
            warn!(log, "stored filter cannot be read"; "group" => &data.consumer_group,
                "topic" => &data.topic, "expression" => &data.expression, "error" => %error);
        });
        let mut me = Self { table, groups, unsaved: false, failing: None, file, clock, log };
        me.gather();
        Ok(me)
    }

    /// Takes the filters of the groups that are there: a predecessor may have died before it saved
    /// them, and clients do not say twice what they subscribe.
    fn gather(&mut self) {
        for view in self.groups.all().values() {
            let membership = view.membership();
            let with_filters = membership.subscriptions.values().filter(|data| data.is_sql92());
            for data in with_filters {
                self.register(&view.name, data);
            }
        }
    }

    fn register(&mut self, group: &str, data: &SubscriptionData) {
        match self.table.register(group, data, self.clock.now_ms()) {
            Registered::Known => {}
            Registered::Taken => {
                self.unsaved = true;
                info!(self.log, "filter registered"; "group" => group,
                    "topic" => &data.topic, "expression" => &data.sub_string);
            }
            Registered::Refused(error) => {
                self.unsaved = true;
                warn!(self.log, "filter cannot be read"; "group" => group,
                    "topic" => &data.topic, "expression" => &data.sub_string, "error" => %error);
            }
        }
    }

    fn sweep(&mut self) {
        let groups = &self.groups;
        let subscribes = |group: &str, topic: &str| {
            groups.get(group).is_some_and(|view| {
                let membership = view.membership();
                membership.is_online() && membership.subscription(topic).is_some()
            })
        };
        self.unsaved |= self.table.sweep(subscribes, self.clock.now_ms());
        self.save();
    }

    fn save(&mut self) {
        if !self.unsaved {
            return;
        }
        match self.file.save(&self.table.file()) {
            Ok(()) => {
                self.unsaved = false;
                if self.failing.take().is_some() {
                    info!(self.log, "filters can be saved again");
                }
            }
            Err(reason) => {
                if self.failing.as_ref() != Some(&reason) {
                    error!(self.log, "filters cannot be saved"; "reason" => &reason);
                }
                self.failing = Some(reason);
            }
        }
    }
}

impl Logic for Filters {
    const NAME: &'static str = "filters";

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        ctx.every(SWEEP_PERIOD, |me, _| me.sweep());
    }

    fn stopping(&mut self, _: &mut Ctx<Self>) {
        self.save();
    }

    fn health(&self) -> Health {
        match &self.failing {
            Some(reason) => Health::Degraded(format!("filters cannot be saved: {reason}")),
            None => Health::Up,
        }
    }
}

impl Receive<RegisterFilters> for Filters {
    fn receive(&mut self, order: RegisterFilters, _: &mut Ctx<Self>) -> Reply<()> {
        for data in &order.subscriptions {
            self.register(&order.group, data);
        }
        Reply::Now(())
    }
}

#[cfg(test)]
mod tests {
    use gantry_codec::{Command, filter::SQL92, request_code as rq};
    use gantry_storage::{ManualClock, MemDisk};
    use serde_json::json;
    use slog::{Discard, o};

    use super::*;
    use crate::group::{
        bench::{Bench, with_body},
        membership::Membership,
        testing::{client, pass, run, settle},
        view::{GroupSlot, GroupView},
    };

    /// The sweep is over.
    const SWEPT: Duration = SWEEP_PERIOD.saturating_add(Duration::from_millis(100));

    fn beat(expression: &str, version: i64) -> Command {
        let data = json!({"topic": "t", "subString": expression, "expressionType": "SQL92",
            "subVersion": version});
        let consumer = json!({"groupName": "g", "subscriptionDataSet": [data]});
        with_body(rq::HEART_BEAT, &json!({"clientID": "one", "consumerDataSet": [consumer]}))
    }

    #[test]
    fn a_filter_is_there_when_its_heartbeat_is_answered() {
        run(async {
            let bench = Bench::new().await;
            let mut peer = bench.connect(1);
            peer.ask(beat("a > 1", 5)).await;
            let filter = bench.control.filters().get("t", "g").unwrap();
            assert!(filter.version == 5 && filter.sql.matches("a\u{1}2\u{2}"));
            peer.ask(beat("a >", 6)).await;
            assert!(bench.control.filters().get("t", "g").is_none(), "it cannot be read");
        });
    }

    #[test]
    fn filters_survive_a_restart_and_live_again_with_the_next_heartbeat() {
        run(async {
            let bench = Bench::new().await;
            bench.connect(1).ask(beat("a > 1", 5)).await;
            let bench = bench.restart().await;
            let filter = || bench.control.filters().get("t", "g").unwrap();
            assert!(filter().version == 5 && !filter().is_alive);
            bench.connect(1).ask(beat("a > 1", 5)).await;
            assert!(filter().is_alive);
        });
    }

    #[test]
    fn a_successor_has_what_its_predecessor_had_not_saved() {
        let data = SubscriptionData {
            topic: "t".into(),
            sub_string: "a > 1".into(),
            expression_type: SQL92.into(),
            ..SubscriptionData::default()
        };
        let slot = GroupSlot::default();
        slot.membership.store(Arc::new(Membership {
            members: vec![client(1, "one")],
            subscriptions: [("t".into(), Arc::new(data))].into_iter().collect(),
            ..Membership::default()
        }));
        let view = Arc::new(GroupView::new("g".into(), Arc::default(), Arc::new(slot)));
        let groups = GroupDirectory::default();
        groups.store([("g".into(), view)].into_iter().collect());
        let file = ConfigFile::new("consumerFilter.json".into(), Arc::new(MemDisk::new()));
        let directory = FilterDirectory::default();
        let (clock, log) = (Arc::new(ManualClock::new(1_000)), Logger::root(Discard, o!()));
        Filters::open(file, directory.clone(), groups, clock, log).unwrap();
        assert!(directory.get("t", "g").is_some_and(|filter| filter.is_alive));
    }

    #[test]
    fn a_filter_dies_with_its_group() {
        run(async {
            let bench = Bench::new().await;
            let mut peer = bench.connect(1);
            peer.ask(beat("a > 1", 5)).await;
            pass(SWEPT).await;
            let stored = || {
                bench.json("consumerFilter.json")["filterDataByTopic"]["t"]["groupFilterData"]["g"]
                    .clone()
            };
            assert_eq!(stored()["dead"], false);
            peer.close();
            settle().await;
            pass(SWEPT).await;
            assert_eq!(stored()["dead"], true);
            assert_eq!(stored()["expression"], "a > 1");
        });
    }
}
