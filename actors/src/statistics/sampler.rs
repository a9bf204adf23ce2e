//! The actor that notes where the counters stand.

use std::{sync::Arc, time::Duration};

use gantry_storage::Clock;
use gantry_supervisor::{ContextExt, Ctx, Logic};

use super::{Sources, Statistics};

/// How often they are noted.
const PERIOD: Duration = Duration::from_secs(10);

/// See the module's text.
pub struct Sampler {
    statistics: Arc<Statistics>,
    sources: Arc<Sources>,
    clock: Arc<dyn Clock>,
}

impl Sampler {
    /// Notes the counters of `sources` in `statistics`.
    pub fn new(statistics: Arc<Statistics>, sources: Arc<Sources>, clock: Arc<dyn Clock>) -> Self {
        Self { statistics, sources, clock }
    }

    fn sample(&self) {
        self.statistics.tick(self.clock.now_ms(), self.sources.all().into_iter());
    }
}

impl Logic for Sampler {
    const NAME: &'static str = "sampler";

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.sample();
        ctx.every(PERIOD, |me, _| me.sample());
    }
}
