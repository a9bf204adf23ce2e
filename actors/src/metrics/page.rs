//! The page that a scrape gets: families of figures, in the text that was asked for.
//!
//! A thin face of `prometheus-client`'s encoders: a [`Source`] writes families onto a [`Page`], each with
//! its name as it is read (counters with their `_total`), its meaning and its rows. Every row carries the
//! labels of the broker (`cluster`, `node_type`, `node_id`, as on the Java broker's page) beside its own.
//! A family is written though it has no rows, so a page shows what there is to be had.

use std::{
    borrow::Cow,
    fmt::{self, Debug},
    sync::Arc,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text, text},
    metrics::MetricType,
    registry::Registry,
};

use super::latency::Snapshot;

/// Names and values.
pub type Labels<'l> = Vec<(&'static str, Cow<'l, str>)>;

/// Writes families of figures.
pub trait Source: Send + Sync {
    /// Writes what it has.
    fn write(&self, page: &mut Page<'_>) -> fmt::Result;
}

impl<F: Fn(&mut Page<'_>) -> fmt::Result + Send + Sync> Source for F {
    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        self(page)
    }
}

/// The two kinds of text that Prometheus reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The older one, which everything reads.
    #[default]
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// What an answer in it is declared as.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What suits a request best that accepts these.
    pub fn accepted(accept: &str) -> Self {
        let asks = |kind: &str| kind.trim().starts_with("application/openmetrics-text");
        if accept.split(',').any(asks) { Self::OpenMetrics } else { Self::Text }
    }
}

/// What a scrape asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The kind of text.
    pub format: Format,
    /// Whether figures by queue are wanted too.
    pub queues: bool,
}

/// See the module's text.
pub struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
    asked: Asked,
}

impl Page<'_> {
    /// What the scrape asks for.
    pub fn asked(&self) -> Asked {
        self.asked
    }

    /// A family of counters; `name` ends in `_total`.
    pub fn counters<'l>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<'l>, u64)>,
    ) -> fmt::Result {
        let name = name.strip_suffix("_total").unwrap_or(name);
        self.family(name, help, MetricType::Counter, rows, |encoder, count| {
            encoder.encode_counter::<NoLabelSet, _, f64>(count, None)
        })
    }

    /// A family of figures that rise and fall.
    pub fn gauges<'l>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<'l>, f64)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, rows, |encoder, value| {
            encoder.encode_gauge(value)
        })
    }

    /// One figure that rises and falls, without labels of its own.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.gauges(name, help, [(Labels::new(), value)])
    }

    /// One counter without labels of its own.
    pub fn counter(&mut self, name: &str, help: &str, count: u64) -> fmt::Result {
        self.counters(name, help, [(Labels::new(), count)])
    }

    /// One counter of seconds, without labels of its own; missing if nobody knows it.
    pub fn seconds(&mut self, name: &str, help: &str, seconds: Option<f64>) -> fmt::Result {
        let name = name.strip_suffix("_total").unwrap_or(name);
        let rows = seconds.map(|seconds| (Labels::new(), seconds));
        self.family(name, help, MetricType::Counter, rows, |encoder, seconds| {
            encoder.encode_counter::<NoLabelSet, _, f64>(seconds, None)
        })
    }

    /// One histogram of times, without labels of its own.
    pub fn histogram(&mut self, name: &str, help: &str, times: &Snapshot) -> fmt::Result {
        let rows = [(Labels::new(), times)];
        self.family(name, help, MetricType::Histogram, rows, |encoder, times| {
            let Snapshot { sum, count, buckets } = times;
            encoder.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)
        })
    }

    fn family<'l, V>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        rows: impl IntoIterator<Item = (Labels<'l>, V)>,
        write: impl Fn(&mut MetricEncoder<'_>, &V) -> fmt::Result,
    ) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in rows {
            write(&mut family.encode_family(&labels)?, &value)?;
        }
        Ok(())
    }
}

/// The text of one page. The sources' own failures cannot happen: writing to a string does not fail.
pub fn text(
    constant: impl IntoIterator<Item = (&'static str, String)>,
    asked: Asked,
    sources: Vec<Arc<dyn Source>>,
) -> Result<String, fmt::Error> {
    let constant = constant.into_iter().map(|(name, value)| (name.into(), value.into()));
    let mut registry = Registry::with_labels(constant);
    registry.register_collector(Box::new(All { sources, asked }));
    let mut out = String::new();
    match asked.format {
        Format::Text => prometheus_text::encode(&mut out, &registry)?,
        Format::OpenMetrics => text::encode(&mut out, &registry)?,
    }
    Ok(out)
}

struct All {
    sources: Vec<Arc<dyn Source>>,
    asked: Asked,
}

impl Debug for All {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sources", self.sources.len())
    }
}

impl Collector for All {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page { encoder, asked: self.asked };
        self.sources.iter().try_for_each(|source| source.write(&mut page))
    }
}
