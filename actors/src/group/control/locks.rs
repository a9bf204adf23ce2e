//! Queue locks: LOCK_BATCH_MQ (41) and UNLOCK_BATCH_MQ (42). Both succeed always; what a client holds
//! is in the answer's body.

use std::{cell::Cell, rc::Rc};

use gantry_codec::{
    Command,
    body::{LockBatchRequest, LockBatchResponse},
};

use super::{Answer, Control, ControlSession, json, later, now, read_body, success};
use crate::{
    group::group::{Lock, Unlock},
    net::{ConnectionHandle, ConnectionId, Outcome},
};

impl ControlSession {
    /// LOCK_BATCH_MQ (41).
    pub(super) fn lock(&mut self, cmd: Command, conn: &ConnectionHandle) -> Outcome {
        let body: LockBatchRequest = match read_body(&cmd) {
            Ok(body) => body,
            Err(refusal) => return now(&cmd, Err(refusal)),
        };
        // So that the end of this connection is told where locks were taken, also after the client has
        // said that it leaves.
        self.joined.insert(body.consumer_group.as_str().into());
        let (control, gone) = (self.control.clone(), Rc::clone(&self.gone));
        let connection = conn.id();
        later(cmd, async move |cmd| control.lock(cmd, body, connection, &gone).await)
    }
}

impl Control {
    async fn lock(
        &self,
        cmd: &Command,
        body: LockBatchRequest,
        connection: ConnectionId,
        gone: &Cell<bool>,
    ) -> Answer {
        let mut granted = Vec::new();
        // In a group that may not exist there is nothing to hold.
        if let Ok(view) = self.opened(&body.consumer_group).await?
            && let Some(actor) = view.actor()
        {
            // Its leave is on the way already, and would end the locks before they begin.
            if gone.get() {
                return Ok(success(cmd));
            }
            let (client_id, queues) = (body.client_id.into(), body.mq_set);
            let order = Lock { client_id, connection, queues };
            granted = actor.send(order).await?;
        }
        json(cmd, &LockBatchResponse { lock_ok_mq_set: granted })
    }

    /// UNLOCK_BATCH_MQ (42).
    pub(super) async fn unlock(&self, cmd: &Command) -> Answer {
        let body: LockBatchRequest = read_body(cmd)?;
        let view = self.group(&body.consumer_group);
        if let Some(actor) = view.as_ref().and_then(|view| view.actor()) {
            let order = Unlock { client_id: body.client_id.into(), queues: body.mq_set };
            actor.send(order).await?;
        }
        Ok(success(cmd))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gantry_codec::request_code as rq;
    use serde_json::{Value, json};

    use super::*;
    use crate::group::{
        bench::{Bench, answer, settings, with_body},
        testing::{pass, run},
    };

    fn request(code: i32, client: &str, queues: &[i32]) -> Command {
        // As 5.x sends it, with a member that does not matter here.
        let body = json!({"clientId": client, "consumerGroup": "g", "mqSet": set(queues),
            "onlyThisBroker": false});
        with_body(code, &body)
    }

    fn set(queues: &[i32]) -> Value {
        let queue = |id: &i32| json!({"brokerName": "broker-a", "queueId": id, "topic": "t"});
        queues.iter().map(queue).collect()
    }

    fn granted(queues: &[i32]) -> Value {
        json!({"lockOKMQSet": set(queues)})
    }

    #[test]
    fn a_client_gets_what_no_other_holds() {
        run(async {
            let bench = Bench::new().await;
            let (mut one, mut two) = (bench.connect(1), bench.connect(2));
            let all = one.body(request(rq::LOCK_BATCH_MQ, "one", &[0, 1])).await;
            assert_eq!(all, granted(&[0, 1]));
            let rest = two.body(request(rq::LOCK_BATCH_MQ, "two", &[0, 1, 2])).await;
            assert_eq!(rest, granted(&[2]));
            // From another connection of the same client.
            let freed = two.ask(request(rq::UNLOCK_BATCH_MQ, "one", &[0])).await;
            assert_eq!(freed.code, 0);
            let rest = two.body(request(rq::LOCK_BATCH_MQ, "two", &[0, 1, 2])).await;
            assert_eq!(rest, granted(&[0, 2]));
        });
    }

    #[test]
    fn the_queues_of_a_killed_owner_move_after_the_lease() {
        run(async {
            let bench = Bench::new().await;
            let (mut one, mut two) = (bench.connect(1), bench.connect(2));
            one.beat("one", "g", &["t"]).await;
            one.body(request(rq::LOCK_BATCH_MQ, "one", &[0])).await;
            one.close();
            pass(Duration::from_secs(34)).await;
            let early = two.body(request(rq::LOCK_BATCH_MQ, "two", &[0])).await;
            assert_eq!(early, granted(&[]), "it may be cut off, and go on");
            pass(Duration::from_secs(2)).await;
            let late = two.body(request(rq::LOCK_BATCH_MQ, "two", &[0])).await;
            assert_eq!(late, granted(&[0]));
        });
    }

    #[test]
    fn a_lock_that_is_late_for_its_connection_is_none() {
        run(async {
            let bench = Bench::new().await;
            let (mut one, mut two) = (bench.connect(1), bench.connect(2));
            one.beat("one", "g", &["t"]).await;
            let conn = one.conn.clone();
            let late = one.session.request(request(rq::LOCK_BATCH_MQ, "one", &[0]), &conn);
            one.close();
            answer(late).await;
            let body = two.body(request(rq::LOCK_BATCH_MQ, "two", &[0])).await;
            assert_eq!(body, granted(&[0]));
        });
    }

    #[test]
    fn a_lock_taken_after_leaving_ends_with_the_connection() {
        run(async {
            let mut settings = settings();
            settings.groups.disconnected_lock = Duration::ZERO;
            let bench = Bench::with(settings).await;
            let (mut one, mut two) = (bench.connect(1), bench.connect(2));
            one.beat("one", "g", &["t"]).await;
            let leave = Command::request(rq::UNREGISTER_CLIENT)
                .with_ext("clientID", "one")
                .with_ext("consumerGroup", "g");
            one.ask(leave).await;
            one.body(request(rq::LOCK_BATCH_MQ, "one", &[0])).await;
            one.close();
            pass(Duration::from_millis(2)).await;
            let body = two.body(request(rq::LOCK_BATCH_MQ, "two", &[0])).await;
            assert_eq!(body, granted(&[0]));
        });
    }

    #[test]
    fn leases_that_ran_out_are_not_kept() {
        run(async {
            let bench = Bench::new().await;
            let mut one = bench.connect(1);
            one.body(request(rq::LOCK_BATCH_MQ, "one", &[0, 1])).await;
            let view = bench.control.group("g").unwrap();
            assert_eq!(view.locks().len(), 2);
            pass(Duration::from_secs(80)).await;
            assert_eq!(view.locks().len(), 0);
        });
    }

    #[test]
    fn in_a_group_that_may_not_be_made_nothing_is_held() {
        run(async {
            let mut settings = settings();
            settings.groups.auto_create = false;
            let bench = Bench::with(settings).await;
            let mut one = bench.connect(1);
            let none = one.body(request(rq::LOCK_BATCH_MQ, "one", &[0])).await;
            assert_eq!(none, granted(&[]));
            assert_eq!(one.ask(request(rq::UNLOCK_BATCH_MQ, "one", &[0])).await.code, 0);
        });
    }

    #[test]
    fn who_was_refused_a_queue_is_told_when_it_is_free() {
        run(async {
            let bench = Bench::new().await;
            let (mut one, mut two) = (bench.connect(1), bench.connect(2));
            one.beat("one", "g", &["t"]).await;
            two.beat("two", "g", &["t"]).await;
            one.body(request(rq::LOCK_BATCH_MQ, "one", &[0, 1])).await;
            pass(Duration::from_secs(2)).await;
            two.seen.pushed();
            one.ask(request(rq::UNLOCK_BATCH_MQ, "one", &[1])).await;
            pass(Duration::from_secs(2)).await;
            assert_eq!(two.seen.pushed().len(), 0, "nobody waits for that one");
            assert_eq!(two.body(request(rq::LOCK_BATCH_MQ, "two", &[0])).await, granted(&[]));
            one.ask(request(rq::UNLOCK_BATCH_MQ, "one", &[0])).await;
            pass(Duration::from_secs(2)).await;
            let told = two.seen.pushed();
            assert_eq!(told.len(), 1);
            assert_eq!(told[0].code, rq::NOTIFY_CONSUMER_IDS_CHANGED);
        });
    }
}
