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

#[cfg(test)]
mod tests {
    use gantry_codec::request_code as rq;
    use gantry_storage::{Disk, RealDisk};
    use serde_json::{Value, json};

    use super::*;
    use crate::group::{
        bench::{Bench, with_body},
        testing::run,
    };

    fn put(config: &Value) -> Command {
        with_body(rq::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, config)
    }

    fn one(group: &str) -> Command {
        Command::request(rq::GET_SUBSCRIPTIONGROUP_CONFIG).with_ext("group", group)
    }

    fn delete(group: &str, flag: &str) -> Command {
        Command::request(rq::DELETE_SUBSCRIPTIONGROUP)
            .with_ext("groupName", group)
            .with_ext(flag, true)
    }

    #[test]
    fn a_group_that_was_answered_as_made_outlives_a_restart() {
        run(async {
            let bench = Bench::new().await;
            let mut admin = bench.connect(1);
            let config = json!({"groupName": "g", "retryMaxTimes": 3, "later": {"x": 1}});
            assert_eq!(admin.ask(put(&config)).await.code, 0);
            assert_eq!(bench.control.group("g").unwrap().config.retry_max_times, 3);
            let saved = &bench.json("subscriptionGroup.json")["subscriptionGroupTable"]["g"];
            assert_eq!((&saved["retryMaxTimes"], &saved["later"]), (&json!(3), &json!({"x": 1})));
            let bench = bench.restart().await;
            let mut admin = bench.connect(2);
            let read = admin.body(one("g")).await;
            assert_eq!((&read["retryMaxTimes"], &read["later"]), (&json!(3), &json!({"x": 1})));
            assert_eq!(read["consumeEnable"], json!(true));
        });
    }

    #[test]
    fn a_group_that_made_itself_is_saved_too() {
        run(async {
            let bench = Bench::new().await;
            bench.connect(1).beat("one", "g", &["t"]).await;
            let table = &bench.json("subscriptionGroup.json")["subscriptionGroupTable"];
            assert_eq!(table["g"]["groupName"], json!("g"));
            assert_eq!(table["TOOLS_CONSUMER"]["groupName"], json!("TOOLS_CONSUMER"));
        });
    }

    #[test]
    fn bad_orders_are_refused_as_a_whole() {
        run(async {
            let bench = Bench::new().await;
            let mut admin = bench.connect(1);
            let answer = admin.ask(put(&json!({"groupName": "bad name"}))).await;
            assert_eq!(answer.code, 29);
            assert!(answer.remark.unwrap().contains("illegal characters"));
            let list = json!({"groupConfigList": [{"groupName": "g"}, {"groupName": " "}]});
            let answer = admin.ask(with_body(rq::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST, &list));
            assert_eq!(answer.await.code, 29);
            assert_eq!(admin.ask(one("g")).await.code, 26, "none of the list was taken");
        });
    }

    #[test]
    fn all_groups_come_whole_and_without_a_page_count() {
        run(async {
            let bench = Bench::new().await;
            let mut admin = bench.connect(1);
            admin.ask(put(&json!({"groupName": "g"}))).await;
            let request = Command::request(rq::GET_ALL_SUBSCRIPTIONGROUP_CONFIG)
                .with_ext("groupSeq", 0)
                .with_ext("maxGroupNum", 1);
            let answer = admin.ask(request).await;
            assert_eq!(answer.ext.get("totalGroupNum"), None);
            let body: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(body["subscriptionGroupTable"].as_object().unwrap().len(), 9);
            assert_eq!(body["forbiddenTable"], json!({}));
            assert_eq!(body["dataVersion"]["counter"], json!(1));
        });
    }

    #[test]
    fn a_deleted_group_is_gone_with_its_offsets_if_asked_for() {
        run(async {
            for (flag, kept) in [("cleanOffset", false), ("removeOffset", false), ("other", true)] {
                let bench = Bench::new().await;
                bench.topics.topic("t", 1);
                let mut admin = bench.connect(1);
                admin.ask(put(&json!({"groupName": "g"}))).await;
                admin.session.offsets.commit("g", "t", 0, 5);
                admin.session.offsets.flush().await.unwrap();
                assert_eq!(admin.ask(delete("g", flag)).await.code, 0);
                assert!(bench.control.group("g").is_none());
                let offset = bench.control.offsets().get("g", "t", 0);
                assert_eq!(offset.is_some(), kept, "{flag}");
                assert_eq!(admin.ask(delete("g", flag)).await.code, 0, "it is not there");
            }
        });
    }

    #[test]
    fn a_group_deleted_under_its_members_comes_back_with_them() {
        run(async {
            let bench = Bench::new().await;
            let (mut one, mut two) = (bench.connect(1), bench.connect(2));
            one.beat("one", "g", &["t"]).await;
            assert_eq!(two.ask(delete("g", "cleanOffset")).await.code, 0);
            two.beat("two", "g", &["t"]).await;
            let view = bench.control.group("g").unwrap();
            assert_eq!(view.membership().client_ids(), ["one".into(), "two".into()]);
        });
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told_and_tried_again() {
        run(async {
            let bench = Bench::new().await;
            let mut admin = bench.connect(1);
            // A folder where the file should be.
            let path = bench.file("subscriptionGroup.json");
            RealDisk.create_dir(&path).unwrap();
            let answer = admin.ask(put(&json!({"groupName": "g"}))).await;
            assert_eq!(answer.code, 1);
            assert!(answer.remark.unwrap().contains("could not be saved"));
            assert!(bench.control.group("g").is_some(), "it is in force");
            let state = bench.tree.check(std::time::Duration::from_secs(1)).await;
            let groups = state.iter().find(|child| child.name.ends_with("/groups")).unwrap();
            assert!(matches!(groups.health, gantry_supervisor::Health::Degraded(_)));
            RealDisk.remove_dir(&path).unwrap();
            crate::group::testing::pass(std::time::Duration::from_secs(11)).await;
            let table = &bench.json("subscriptionGroup.json")["subscriptionGroupTable"];
            assert_eq!(table["g"]["groupName"], json!("g"));
        });
    }
}
