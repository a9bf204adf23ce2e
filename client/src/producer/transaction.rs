//! The end of a transaction (code 37), told to the broker that holds the half message.

use gantry_codec::message_id::OffsetMessageId;
use gantry_codec::request_code;
use gantry_codec::requests::transaction::{self, EndTransactionHeader};

use super::receipt::SendReceipt;
use crate::error::CallError;
use crate::remoting::malformed;

/// What becomes of a half message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionEnd {
    /// Consumers get it.
    Commit,
    /// Nobody gets it.
    Rollback,
    /// Not known yet: the broker asks again.
    Unknown,
}

/// The number of an outcome in the protocol.
pub(crate) fn outcome_code(end: TransactionEnd) -> i32 {
    match end {
        TransactionEnd::Commit => transaction::COMMIT,
        TransactionEnd::Rollback => transaction::ROLLBACK,
        TransactionEnd::Unknown => transaction::UNKNOWN,
    }
}

/// The end of the transaction whose half message has this receipt: the broker finds it by the log
/// offset in the offset message id.
pub(super) fn end_of(
    group: &str,
    half: &SendReceipt,
    end: TransactionEnd,
    remote: &str,
) -> Result<EndTransactionHeader, CallError> {
    let id = OffsetMessageId::parse(&half.offset_message_id)
        .map_err(|error| malformed(remote, request_code::SEND_MESSAGE_V2, error))?;
    Ok(EndTransactionHeader {
        producer_group: group.to_owned(),
        tran_state_table_offset: half.queue_offset,
        commit_log_offset: i64::try_from(id.offset).unwrap_or(i64::MAX),
        commit_or_rollback: outcome_code(end),
        from_transaction_check: false,
        msg_id: Some(half.unique_key.clone()),
        transaction_id: Some(half.unique_key.clone()),
        topic: Some(half.queue.topic.clone()),
    })
}
