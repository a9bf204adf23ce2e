//! Queue locks: LOCK_BATCH_MQ (41) and UNLOCK_BATCH_MQ (42). Both succeed always; what a client holds
//! is in the answer's body.

use gantry_codec::{
    Command,
    body::{LockBatchRequest, LockBatchResponse},
};

use super::{Answer, Control, json, read_body, success};
use crate::group::group::{Lock, Unlock};

impl Control {
    /// LOCK_BATCH_MQ (41).
    pub(super) async fn lock(&self, cmd: &Command) -> Answer {
        let body: LockBatchRequest = read_body(cmd)?;
        let mut granted = Vec::new();
        // In a group that may not exist there is nothing to hold.
        if let Ok(view) = self.opened(&body.consumer_group).await?
            && let Some(actor) = view.actor()
        {
            let order = Lock { client_id: body.client_id.into(), queues: body.mq_set };
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
