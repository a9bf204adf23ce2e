//! Requests of operators to clean the store: old log files (329 DELETE_EXPIRED_COMMITLOG), entries of
//! queues that the log has no messages for any more (306 CLEAN_EXPIRED_CONSUMEQUEUE), queues of topics
//! that do not exist (316 CLEAN_UNUSED_TOPIC).
//!
//! 329 is answered when the cleaner has begun, the others when they are done. Where 306 makes a Java
//! broker remove a queue that holds nothing any more, so that its offsets begin at 0 again and groups
//! look for messages far behind them, here the queue keeps its last file and goes on counting. Light queues
//! are the exception, as there may be any number of them and most are soon forgotten: one that holds nothing any
//! more, and in which no group has an offset, goes.

use std::sync::Arc;

use gantry_codec::{Command, request_code as rq, response_code as rs};

use slog::info;

use super::Shared;
use crate::{
    error_to_wire,
    log::cleaner::{CleanLog, CleanQueues, CleanUnusedTopics},
    net::Outcome,
};

/// Answers it.
pub(super) fn request(shared: &Arc<Shared>, cmd: Command) -> Outcome {
    let (cleaner, shared) = (shared.cleaner.clone(), shared.clone());
    Outcome::Later(Box::pin(async move {
        let done = match cmd.code {
            rq::DELETE_EXPIRED_COMMITLOG => cleaner.send(CleanLog).await.map(Ok),
            rq::CLEAN_EXPIRED_CONSUMEQUEUE => {
                let cleaned = cleaner.send(CleanQueues).await.map(Ok);
                remove_light_queues(&shared).await;
                cleaned
            }
            _ => cleaner.send(CleanUnusedTopics).await.map(|removed| removed.map(drop)),
        };
        match done {
            Ok(Ok(())) => Command::response(rs::SUCCESS, &cmd),
            Ok(Err(reason)) => error_to_wire::not_cleaned(&cmd, &reason),
            Err(_) => error_to_wire::lost(&cmd),
        }
    }))
}

/// Removes the light queues that nobody can want anything of.
async fn remove_light_queues(shared: &Shared) {
    let Some(light) = &shared.light else { return };
    for topic in light.expired() {
        if !shared.control.offsets().groups_of(&topic).is_empty() {
            continue;
        }
        if let Some(removed) = light.remove(&topic) {
            removed.await;
            info!(shared.log_to, "light queue removed"; "topic" => &*topic);
        }
    }
}
