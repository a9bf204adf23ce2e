//! What brokers ask of a producer of transactions: CHECK_TRANSACTION_STATE (39), one-way.
//!
//! Each question is looked up in a task of its own and answered on the connection that it came on, which
//! is that of the broker with the half message. Requests of other kinds, and about other groups, go to the
//! handler that the client was configured with.

use std::fmt;
use std::sync::Arc;

use gantry_codec::requests::transaction::{CheckTransactionStateHeader, EndTransactionHeader};
use gantry_codec::{Command, Header, properties, request_code};

use super::checker::Checker;
use crate::connection::{Connection, Inbound};
use crate::message::MessageExt;
use crate::producer::{TransactionEnd, outcome_code};

/// See the module's text.
pub(super) struct Questions {
    group: Arc<str>,
    checker: Arc<dyn Checker>,
    others: Arc<dyn Inbound>,
}

impl Questions {
    pub(super) fn new(
        group: &str,
        checker: Arc<dyn Checker>,
        others: Arc<dyn Inbound>,
    ) -> Questions {
        Questions { group: group.into(), checker, others }
    }

    fn look_up(
        &self,
        connection: &Connection,
        header: CheckTransactionStateHeader,
        half: MessageExt,
    ) {
        let (group, checker) = (Arc::clone(&self.group), Arc::clone(&self.checker));
        let connection = connection.clone();
        tokio::spawn(async move {
            let end = checker.check(half).await;
            let answer = answer_to(&group, header, end);
            let request = Command::oneway(request_code::END_TRANSACTION).with_header(&answer);
            // A broker that misses it asks again.
            let _ = connection.oneway(request);
        });
    }
}

/// The half message is named by its place, as the broker has named it.
fn answer_to(
    group: &str,
    question: CheckTransactionStateHeader,
    end: TransactionEnd,
) -> EndTransactionHeader {
    EndTransactionHeader {
        producer_group: group.to_owned(),
        tran_state_table_offset: question.tran_state_table_offset,
        commit_log_offset: question.commit_log_offset,
        commit_or_rollback: outcome_code(end),
        from_transaction_check: true,
        msg_id: question.msg_id,
        transaction_id: question.transaction_id,
        topic: question.topic,
    }
}

impl Inbound for Questions {
    fn request(&self, connection: &Connection, request: Command) -> Option<Command> {
        if request.code != request_code::CHECK_TRANSACTION_STATE {
            return self.others.request(connection, request);
        }
        let header = CheckTransactionStateHeader::decode(&request.ext);
        // A question that cannot be read has no answer: the broker asks again, or another one.
        let (Ok(header), Ok(half)) = (header, MessageExt::decode(&request.body)) else {
            return None;
        };
        if half.property(properties::PGROUP) != Some(&self.group) {
            return self.others.request(connection, request);
        }
        self.look_up(connection, header, half);
        None
    }
}

impl fmt::Debug for Questions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Questions").field("group", &self.group).finish_non_exhaustive()
    }
}
