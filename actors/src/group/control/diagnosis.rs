//! What only this broker answers: GROUP_LAG (31001), exact and with the filter, and DIAGNOSE (31002).

use gantry_codec::{Command, Header, requests::group::ConsumeStatsHeader};

use super::{Answer, Control, json};
use crate::group::diagnosis::{Diagnose, LagOf};

impl Control {
    /// GROUP_LAG: topics are chosen as for GET_CONSUME_STATS.
    pub(super) async fn group_lag(&self, cmd: &Command) -> Answer {
        let header = ConsumeStatsHeader::decode(&cmd.ext)?;
        let topics = self.topics_asked_for(&header);
        let order = LagOf { group: header.consumer_group.into(), topics };
        json(cmd, &self.0.watch.send(order).await?)
    }

    /// DIAGNOSE: of the group in the field `group`, or of all.
    pub(super) async fn diagnose(&self, cmd: &Command) -> Answer {
        let group = cmd.ext.get("group").map(Into::into);
        json(cmd, &self.0.watch.send(Diagnose { group }).await?)
    }
}
