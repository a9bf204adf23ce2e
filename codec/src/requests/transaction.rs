//! Headers of transactions.

use crate::header::headers;

headers! {
    /// END_TRANSACTION. Go overwrites `msg_id` while it decodes a check, so only the two offsets name
    /// the half message reliably.
    EndTransactionHeader {
        /// The producer's group.
        producer_group: String = "producerGroup",
        /// The half message's offset in its queue.
        tran_state_table_offset: i64 = "tranStateTableOffset",
        /// Its offset in the log.
        commit_log_offset: i64 = "commitLogOffset",
        /// [`COMMIT`], [`ROLLBACK`] or [`UNKNOWN`].
        commit_or_rollback: i32 = "commitOrRollback",
        /// Whether this answers a check.
        from_transaction_check: bool = "fromTransactionCheck" [default],
        /// Its unique key.
        msg_id: Option<String> = "msgId",
        /// The same.
        transaction_id: Option<String> = "transactionId",
        /// Its topic; 5.x.
        topic: Option<String> = "topic",
    }

    /// CHECK_TRANSACTION_STATE.
    CheckTransactionStateHeader {
        /// The half message's topic.
        topic: Option<String> = "topic",
        /// Its offset in its queue.
        tran_state_table_offset: i64 = "tranStateTableOffset",
        /// Its offset in the log.
        commit_log_offset: i64 = "commitLogOffset",
        /// Its unique key.
        msg_id: Option<String> = "msgId",
        /// The same.
        transaction_id: Option<String> = "transactionId",
        /// The id of where it is stored.
        offset_msg_id: Option<String> = "offsetMsgId",
        /// The broker's name.
        broker_name: Option<String> = "bname",
    }

    /// RESUME_CHECK_HALF_MESSAGE.
    ResumeCheckHalfMessageHeader {
        /// The id of where the half message is stored.
        msg_id: String = "msgId",
        /// Its topic; 5.x.
        topic: Option<String> = "topic",
    }

    /// LIST_TRANSACTIONS.
    ListTransactionsHeader {
        /// Of this group of producers only.
        group: Option<String> = "group",
        /// Meant for this topic only.
        topic: Option<String> = "topic",
        /// At most so many.
        limit: i32 = "limit",
    }
}

/// [`EndTransactionHeader::commit_or_rollback`]: not decided.
pub const UNKNOWN: i32 = 0;
/// [`EndTransactionHeader::commit_or_rollback`]: commit.
pub const COMMIT: i32 = 8;
/// [`EndTransactionHeader::commit_or_rollback`]: roll back.
pub const ROLLBACK: i32 = 12;
