//! Response codes: how it went.
//!
//! Some numbers mean different things in 4.x and 5.x; the names here are those of 5.x.

macro_rules! response_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        $($(#[$doc])* pub const $name: i32 = $code;)*

        /// The name of a code, for logs and errors.
        pub fn name(code: i32) -> Option<&'static str> {
            match code {
                $($name => Some(stringify!($name)),)*
                _ => None,
            }
        }
    };
}

response_codes! {
    /// Done.
    SUCCESS = 0,
    /// Any failure without a code of its own.
    SYSTEM_ERROR = 1,
    /// Flow control; 4.x producers do not try again.
    SYSTEM_BUSY = 2,
    /// Unknown request code.
    REQUEST_CODE_NOT_SUPPORTED = 3,
    /// Not used.
    TRANSACTION_FAILED = 4,
    /// Stored, not flushed in time.
    FLUSH_DISK_TIMEOUT = 10,
    /// Stored, but there is no slave.
    SLAVE_NOT_AVAILABLE = 11,
    /// Stored, but the slave lags.
    FLUSH_SLAVE_TIMEOUT = 12,
    /// A limit of size, topic or properties is broken.
    MESSAGE_ILLEGAL = 13,
    /// The store takes no writes.
    SERVICE_NOT_AVAILABLE = 14,
    /// The client is too old.
    VERSION_NOT_SUPPORTED = 15,
    /// Forbidden.
    NO_PERMISSION = 16,
    /// No such topic, or no route to it.
    TOPIC_NOT_EXIST = 17,
    /// The topic exists.
    TOPIC_EXIST_ALREADY = 18,
    /// No message yet at this offset.
    PULL_NOT_FOUND = 19,
    /// Nothing matched; go on at the offset given.
    PULL_RETRY_IMMEDIATELY = 20,
    /// The offset is outside the queue; go on at the one given.
    PULL_OFFSET_MOVED = 21,
    /// Nothing found.
    QUERY_NOT_FOUND = 22,
    /// The expression does not parse.
    SUBSCRIPTION_PARSE_FAILED = 23,
    /// The group has no such subscription.
    SUBSCRIPTION_NOT_EXIST = 24,
    /// The broker knows an older subscription only.
    SUBSCRIPTION_NOT_LATEST = 25,
    /// No such group.
    SUBSCRIPTION_GROUP_NOT_EXIST = 26,
    /// The compiled filter is not there.
    FILTER_DATA_NOT_EXIST = 27,
    /// The compiled filter is older than the request's.
    FILTER_DATA_NOT_LATEST = 28,
    /// A parameter is out of range.
    INVALID_PARAMETER = 29,
    /// Legacy.
    TRANSACTION_SHOULD_COMMIT = 200,
    /// Legacy.
    TRANSACTION_SHOULD_ROLLBACK = 201,
    /// Legacy.
    TRANSACTION_STATE_UNKNOW = 202,
    /// Legacy.
    TRANSACTION_STATE_GROUP_WRONG = 203,
    /// Legacy.
    NO_BUYER_ID = 204,
    /// Legacy.
    NOT_IN_CURRENT_UNIT = 205,
    /// No client of the group is connected.
    CONSUMER_NOT_ONLINE = 206,
    /// The client did not answer in time.
    CONSUME_MSG_TIMEOUT = 207,
    /// There is no message at this offset.
    NO_MESSAGE = 208,
    /// Too many pops wait. 4.x used the number for a failed change of access rules.
    POLLING_FULL = 209,
    /// Nothing to pop came in time. 4.x used the number for a failed removal of access rules.
    POLLING_TIMEOUT = 210,
    /// No such broker. 4.x used the number for a failed change of the address list.
    BROKER_NOT_EXIST = 211,
    /// The index is behind the log.
    BROKER_DISPATCH_NOT_COMPLETE = 212,
    /// The group broadcasts.
    BROADCAST_CONSUMPTION = 213,
    /// Held back by a limit.
    FLOW_CONTROL = 215,
    /// Another broker has this queue of a static topic.
    NOT_LEADER_FOR_QUEUE = 501,
    /// Recall, or a transaction's end, that comes too late.
    ILLEGAL_OPERATION = 604,
    /// The broker is about to stop; use another connection.
    GO_AWAY = 1500,
    /// Controller: the master's epoch is old.
    CONTROLLER_FENCED_MASTER_EPOCH = 2000,
    /// Controller: the replica set's epoch is old.
    CONTROLLER_FENCED_SYNC_STATE_SET_EPOCH = 2001,
    /// Controller: not the master.
    CONTROLLER_INVALID_MASTER = 2002,
    /// Controller: wrong replicas.
    CONTROLLER_INVALID_REPLICAS = 2003,
    /// Controller: no master.
    CONTROLLER_MASTER_NOT_AVAILABLE = 2004,
    /// Controller: bad request.
    CONTROLLER_INVALID_REQUEST = 2005,
    /// Controller: the broker is not alive.
    CONTROLLER_BROKER_NOT_ALIVE = 2006,
    /// Controller: not the leader.
    CONTROLLER_NOT_LEADER = 2007,
    /// Controller: unknown broker.
    CONTROLLER_BROKER_METADATA_NOT_EXIST = 2008,
    /// Controller: cannot forget this broker.
    CONTROLLER_INVALID_CLEAN_BROKER_METADATA = 2009,
    /// Controller: register first.
    CONTROLLER_BROKER_NEED_TO_BE_REGISTERED = 2010,
    /// Controller: the master is still there.
    CONTROLLER_MASTER_STILL_EXIST = 2011,
    /// Controller: no master could be chosen.
    CONTROLLER_ELECT_MASTER_FAILED = 2012,
    /// Controller: the replica set could not be changed.
    CONTROLLER_ALTER_SYNC_STATE_SET_FAILED = 2013,
    /// Controller: the id is taken.
    CONTROLLER_BROKER_ID_INVALID = 2014,
    /// Controller: error of its log.
    CONTROLLER_JRAFT_INTERNAL_ERROR = 2015,
    /// Controller: no sign of life.
    CONTROLLER_BROKER_LIVE_INFO_NOT_EXISTS = 2016,
    /// There are as many light queues as there may be.
    LMQ_CONSUME_QUEUE_NUM_EXCEEDED = 2017,
    /// No such user.
    USER_NOT_EXIST = 3001,
    /// No such access rule.
    POLICY_NOT_EXIST = 3002,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_names() {
        assert_eq!(name(PULL_OFFSET_MOVED), Some("PULL_OFFSET_MOVED"));
        assert_eq!(name(12_345), None);
    }
}
