//! Turns options into connections: which broker each one goes to, and its share of the load.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;

use gantry_client::burst::BurstStream;
use gantry_client::{Connector, TcpConnector};

use crate::args::LoadArgs;
use crate::coordinator::Task;
use crate::load::{Load, Pace, Workload};
use crate::run::Run;
use crate::schedule::Schedule;
use crate::stats::Tally;

/// How the load is divided.
#[derive(Debug, Clone, Copy)]
pub struct Division {
    /// Connections.
    pub connections: NonZeroU32,
    /// Requests outstanding on each.
    pub window: usize,
    /// Messages per request, as far as that is known beforehand.
    pub messages_per_request: NonZeroU32,
}

impl Division {
    /// The share of connection `index`.
    pub fn pace(&self, load: &LoadArgs, index: u32) -> Pace {
        let connections = u64::from(self.connections.get());
        let schedule = load
            .rate
            .map(|rate| Schedule::new(rate, index.into(), NonZeroU64::from(self.connections)));
        let quota = load.messages.map(|messages| {
            let requests = messages.get().div_ceil(self.messages_per_request.get().into());
            requests / connections + u64::from(u64::from(index) < requests % connections)
        });
        Pace { window: self.window, schedule, quota }
    }
}

/// The loop of one connection, to be run on a load thread.
pub fn task<W: Workload + Send + 'static>(
    address: String,
    workload: W,
    pace: Pace,
    run: Arc<Run>,
) -> Task {
    Box::new(move || Box::pin(connect_and_run(address, workload, pace, run)))
}

async fn connect_and_run<W: Workload>(
    address: String,
    workload: W,
    pace: Pace,
    run: Arc<Run>,
) -> Tally {
    let load = async {
        let stream = TcpConnector.connect(&address).await?;
        Load::new(BurstStream::new(stream), workload, &pace, run)
    };
    match load.await {
        Ok(load) => load.run().await,
        Err(error) => Tally { lost: vec![format!("{address}: {error}")], ..Tally::default() },
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::time::Duration;

    use super::*;

    #[test]
    fn quotas_add_up_to_all_messages() {
        let load = LoadArgs {
            messages: NonZeroU64::new(1_001),
            seconds: Duration::ZERO,
            warmup: Duration::ZERO,
            rate: None,
            threads: NonZeroUsize::MIN,
            pid: None,
            json: true,
        };
        let division = Division {
            connections: NonZeroU32::new(4).expect("not zero"),
            window: 8,
            messages_per_request: NonZeroU32::new(10).expect("not zero"),
        };
        let quotas: Vec<_> =
            (0..4).map(|index| division.pace(&load, index).quota.expect("a quota")).collect();
        assert_eq!(quotas, [26, 25, 25, 25], "101 requests carry 1,001 messages");
    }
}
