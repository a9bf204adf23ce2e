//! END_TRANSACTION (37): a producer has decided on its half message (wire.md 5.6).
//!
//! Java's clients send it one-way, and get no answer; those of one burst go to the transactions' actor
//! together. Whoever waits is answered when what it asks for is in the log. The word that nothing is
//! known yet is no request at all: it gets no answer.
//!
//! Beside it what operators ask: RESUME_CHECK_HALF_MESSAGE (323) and LIST_TRANSACTIONS.

use gantry_codec::{
    Command, Header, HeaderError, OffsetMessageId, body,
    requests::transaction::{
        COMMIT, EndTransactionHeader, ListTransactionsHeader, ROLLBACK,
        ResumeCheckHalfMessageHeader,
    },
    response_code as rs,
};

use super::{Session, Shared};
use crate::{
    error_to_wire,
    net::Outcome,
    transaction::{
        self, End, EndBurst, EndTransaction,
        operate::{ListTransactions, ResumeTransaction},
    },
};

impl Session {
    pub(super) fn end_transaction(&mut self, cmd: Command) -> Outcome {
        let end = match end_of(&cmd) {
            Ok(Some(end)) => end,
            Ok(None) => return Outcome::None,
            Err(e) => return Outcome::Reply(error_to_wire::bad_header(&cmd, &e)),
        };
        if cmd.is_oneway() {
            self.ends.push(end);
            return Outcome::None;
        }
        // Behind those of this connection that came before.
        self.hand_over_ends();
        let answer = self.shared.transactions.send(EndTransaction(end));
        Outcome::Later(Box::pin(async move {
            match answer.await {
                Ok(Ok(())) => Command::response(rs::SUCCESS, &cmd),
                Ok(Err(refusal)) => error_to_wire::refused_end(&cmd, &refusal),
                Err(_) => error_to_wire::lost(&cmd),
            }
        }))
    }

    /// Hands on the ends that the burst has gathered.
    pub(super) fn hand_over_ends(&mut self) {
        if !self.ends.is_empty() {
            let ends = std::mem::take(&mut self.ends);
            self.shared.transactions.do_send(EndBurst(ends));
        }
    }
}

/// The end that a request asks for; none if it says that nothing is known yet.
fn end_of(cmd: &Command) -> Result<Option<End>, HeaderError> {
    let header = EndTransactionHeader::decode(&cmd.ext)?;
    let outcome = match header.commit_or_rollback {
        COMMIT => transaction::Outcome::Commit,
        ROLLBACK => transaction::Outcome::Rollback,
        _ => return Ok(None),
    };
    Ok(Some(End {
        group: header.producer_group.into(),
        half: header.tran_state_table_offset,
        physical: header.commit_log_offset,
        outcome,
        is_from_check: header.from_transaction_check,
    }))
}

/// Has producers asked once more.
pub(super) fn resume(shared: &Shared, cmd: Command) -> Outcome {
    let header = match ResumeCheckHalfMessageHeader::decode(&cmd.ext) {
        Ok(header) => header,
        Err(e) => return Outcome::Reply(error_to_wire::bad_header(&cmd, &e)),
    };
    let physical = match OffsetMessageId::parse(&header.msg_id) {
        Ok(id) => id.offset,
        Err(e) => return Outcome::Reply(error_to_wire::bad_message_id(&cmd, &header.msg_id, &e)),
    };
    let answer = shared.transactions.send(ResumeTransaction { physical });
    Outcome::Later(Box::pin(async move {
        match answer.await {
            Ok(Ok(())) => Command::response(rs::SUCCESS, &cmd),
            Ok(Err(refusal)) => error_to_wire::refused_end(&cmd, &refusal),
            Err(_) => error_to_wire::lost(&cmd),
        }
    }))
}

/// Lists what is open.
pub(super) fn list(shared: &Shared, cmd: Command) -> Outcome {
    let header = match ListTransactionsHeader::decode(&cmd.ext) {
        Ok(header) => header,
        Err(e) => return Outcome::Reply(error_to_wire::bad_header(&cmd, &e)),
    };
    let answer = shared.transactions.send(ListTransactions {
        group: header.group.map(Into::into),
        topic: header.topic.map(Into::into),
        limit: header.limit.max(0) as usize,
    });
    Outcome::Later(Box::pin(async move {
        match answer.await {
            Ok(list) => Command::response(rs::SUCCESS, &cmd).with_body(body::to_json(&list)),
            Err(_) => error_to_wire::lost(&cmd),
        }
    }))
}
