//! The actor of transactions.

use std::sync::Arc;

use actix::Addr;
use gantry_storage::Store;
use gantry_supervisor::{ChildSpec, Place, Policy, Shell};

use super::{BrokerStartError, LogActors, Start};
use crate::{
    group,
    session::{ColdReaders, SessionConfig},
    topic::{Facts, Topics},
    transaction::{TransactionParts, Transactions, ledger::CheckLimits},
};

/// As many half messages are read in some tens of milliseconds.
const LAG_MAX: u64 = 65_536;

impl Start<'_> {
    #[expect(clippy::too_many_arguments, reason = "everything that the actor works with")]
    pub(super) async fn start_transactions(
        &self,
        store: &Arc<Store>,
        facts: &Arc<Facts>,
        topics: &Addr<Shell<Topics>>,
        control: &group::Control,
        actors: &LogActors,
        session: &SessionConfig,
        cold: &ColdReaders,
    ) -> Result<Addr<Shell<Transactions>>, BrokerStartError> {
        let parts = TransactionParts {
            limits: self.check_limits(),
            facts: facts.clone(),
            topics_root: topics.clone(),
            log: store.log().clone(),
            hot_bytes: self.pull_limits().hot_bytes,
            appender: actors.appender.clone(),
            cold: cold.clone(),
            control: control.clone(),
            broker_name: session.broker_name.clone(),
            store_host: session.store_host,
            delay_levels: session.delay_levels,
            clock: self.seams.clock.clone(),
            log_to: self.child_log("transactions"),
        };
        let spec = ChildSpec::new("transactions", Policy::RestartFromDisk, move |_| {
            Ok(Transactions::new(parts.clone()))
        });
        self.started("transactions", self.tree.start(spec.place(self.transactions_place())).await)
    }

    fn check_limits(&self) -> CheckLimits {
        let config = &self.config.transactions;
        CheckLimits {
            timeout_ms: config.transaction_time_out.as_millis() as i64,
            interval_ms: config.transaction_check_interval.as_millis() as i64,
            checks_max: config.transaction_check_max,
            age_max_ms: i64::from(self.config.retention.file_reserved_time) * 3_600_000,
            lag_max: LAG_MAX,
        }
    }

    /// With few cores they share the thread of appender and connections: a hop within a thread wakes
    /// nobody.
    fn transactions_place(&self) -> Place {
        match self.seams.cores {
            0..=2 => Place::numbered("io", 0),
            _ => Place::named("transactions"),
        }
    }
}
