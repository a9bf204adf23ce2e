//! The port of figures and health, and who writes onto its page.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use gantry_supervisor::{ChildSpec, Place, Policy};

use super::{BrokerStartError, LogActors, Start};
use crate::{
    metrics::{
        Page,
        clients::Clients,
        endpoint::{Endpoint, EndpointParts},
        kept_out::KeptOut,
        lag::Lag,
        process::ProcessFigures,
        scrape::{Scrape, Serving},
        store::LogFigures,
        timers::Timers,
        traffic::{Incoming, Outgoing},
    },
    pop::waiters::WaiterCount,
    session::Shared,
};

impl Start<'_> {
    /// Opens the port; until [`serve_figures`](Self::serve_figures) it tells of the process alone.
    pub(super) async fn start_figures(&self) -> Result<Arc<Scrape>, BrokerStartError> {
        let identity = &self.config.identity;
        self.sources.register(Arc::new(ProcessFigures { started_ms: self.seams.clock.now_ms() }));
        let scrape = Arc::new(Scrape {
            labels: vec![
                ("cluster", identity.broker_cluster_name.clone()),
                ("node_type", "broker".into()),
                ("node_id", identity.broker_name.clone()),
            ],
            metrics: self.metrics.clone(),
            sources: self.sources.clone(),
            tree: self.tree.clone(),
            addr: OnceLock::new(),
            serving: OnceLock::new(),
        });
        let Some(addr) = self.config.metrics.listen_addr(self.config.network.bind_address) else {
            return Ok(scrape);
        };
        let parts = EndpointParts {
            network: self.seams.network.clone(),
            addr,
            answers: scrape.clone(),
            log: self.child_log("metrics"),
        };
        let spec = ChildSpec::new("metrics", Policy::RestartEmpty, move |_| {
            Ok(Endpoint::new(parts.clone()))
        });
        self.started("metrics", self.tree.start(spec.place(Place::named("metrics"))).await)?;
        Ok(scrape)
    }

    /// Has the pops that wait written onto the page.
    pub(super) fn register_pops(&self, waiting: &WaiterCount) {
        let waiting = waiting.clone();
        self.sources.register(Arc::new(move |page: &mut Page<'_>| {
            let help = "Pops and notifications that wait for messages.";
            page.gauge("gantry_held_pops", help, waiting.count() as f64)
        }));
    }

    /// Has everything written onto the page from now on.
    pub(super) fn serve_figures(&self, scrape: &Scrape, shared: &Arc<Shared>, actors: &LogActors) {
        let sources = &self.sources;
        let names_max = self.config.metrics.topics_max;
        sources.register(Arc::new(Incoming::new(shared.topics.clone(), names_max)));
        sources.register(Arc::new(Outgoing::new(shared.control.directory().clone(), names_max)));
        sources.register(Arc::new(LogFigures {
            log: shared.log.clone(),
            state: shared.log_state.clone(),
            dispatched: actors.signal.clone(),
            disk: self.seams.disk.clone(),
            clock: self.seams.clock.clone(),
        }));
        sources.register(Arc::new(Lag {
            groups: shared.control.directory().clone(),
            offsets: shared.control.offsets().clone(),
            facts: shared.control.facts().clone(),
            clock: self.seams.clock.clone(),
            names_max,
        }));
        sources.register(Arc::new(Timers {
            figures: shared.timers.clone(),
            clock: self.seams.clock.clone(),
        }));
        let (topics, groups) = (shared.topics.clone(), shared.control.directory().clone());
        sources.register(Arc::new(KeptOut::new(topics, groups, names_max)));
        sources.register(Arc::new(Clients {
            producers: shared.control.producers().clone(),
            groups: shared.control.directory().clone(),
            names_max,
        }));
        let all = shared.clone();
        sources.register(Arc::new(move |page: &mut Page<'_>| general(&all, page)));
        scrape.serves(Serving {
            log_state: shared.log_state.clone(),
            watch: shared.control.watch().clone(),
            transactions: shared.transactions.clone(),
        });
    }
}

fn general(shared: &Shared, page: &mut Page<'_>) -> fmt::Result {
    page.gauge(
        "rocketmq_broker_permission",
        "What clients may do: 4 read, 2 write, 6 both.",
        f64::from(shared.limits.load().permission),
    )?;
    page.gauge("rocketmq_topic_number", "Topics.", shared.topics.all().len() as f64)?;
    page.gauge(
        "rocketmq_consumer_group_number",
        "Configured consumer groups.",
        shared.control.directory().all().len() as f64,
    )?;
    let credits = &shared.credits;
    page.gauge(
        "gantry_memory_budget_bytes",
        "Bytes of requests that may be in work at a time.",
        credits.capacity() as f64,
    )?;
    page.gauge(
        "gantry_memory_budget_free_bytes",
        "Bytes of requests that may be taken into work now.",
        credits.capacity().saturating_sub(credits.in_use()) as f64,
    )
}
