//! The configuration of groups, for administrators: 200, 225, 201, 207, 352.

use gantry_codec::{
    Command, Header,
    body::{SubscriptionGroupConfig, SubscriptionGroupList},
    requests::group::{DeleteSubscriptionGroupHeader, GroupHeader},
};

use super::{Answer, Control, ControlRefusal, json, read_body, success};
use crate::group::{
    groups::{AllGroups, DeleteGroup, PutGroups},
    offsets::DeleteGroupOffsets,
};

impl Control {
    /// UPDATE_AND_CREATE_SUBSCRIPTIONGROUP (200).
    pub(super) async fn put_group(&self, cmd: &Command) -> Answer {
        let config: SubscriptionGroupConfig = read_body(cmd)?;
        self.put(cmd, vec![config]).await
    }

    /// UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST (225).
    pub(super) async fn put_groups(&self, cmd: &Command) -> Answer {
        let list: SubscriptionGroupList = read_body(cmd)?;
        self.put(cmd, list.group_config_list).await
    }

    async fn put(&self, cmd: &Command, configs: Vec<SubscriptionGroupConfig>) -> Answer {
        self.0.groups.send(PutGroups(configs)).await??;
        Ok(success(cmd))
    }

    /// DELETE_SUBSCRIPTIONGROUP (207): deleting what is not there is no error.
    pub(super) async fn delete_group(&self, cmd: &Command) -> Answer {
        let header = DeleteSubscriptionGroupHeader::decode(&cmd.ext)?;
        let group = header.group_name.as_str();
        self.0.groups.send(DeleteGroup(group.into())).await??;
        // 5.x names the flag `cleanOffset`, 4.9.x `removeOffset`.
        if header.clean_offset == Some(true) || header.remove_offset == Some(true) {
            self.0.offsets.send(DeleteGroupOffsets(group.into())).await?;
        }
        Ok(success(cmd))
    }

    /// GET_ALL_SUBSCRIPTIONGROUP_CONFIG (201), always whole: without `totalGroupNum` in the answer, a
    /// client of 5.4 does not ask for more.
    pub(super) async fn all_groups(&self, cmd: &Command) -> Answer {
        let body = self.0.groups.send(AllGroups).await?;
        Ok(success(cmd).with_body(body))
    }

    /// GET_SUBSCRIPTIONGROUP_CONFIG (352).
    pub(super) fn one_group(&self, cmd: &Command) -> Answer {
        let header = GroupHeader::decode(&cmd.ext)?;
        match self.group(&header.group) {
            Some(view) => json(cmd, &*view.config),
            None => Err(ControlRefusal::NoGroup(header.group)),
        }
    }
}
