//! The result of a run, for people and as JSON.
//!
//! All figures are of the measuring phase. CPU per message is user and system time of the process over
//! messages answered; `cores` is the same time over the time measured.

use std::fmt;

use gantry_codec::response_code;
use serde::Serialize;

use crate::args::{Header, LoadArgs, TargetArgs};
use crate::coordinator::{BrokerUse, Measurement};
use crate::stats::{LatencySummary, Tally};
use crate::target::Target;

const MIB: f64 = 1024.0 * 1024.0;

/// What was run.
#[derive(Debug, Clone, Serialize)]
pub struct Setting {
    /// `send`, `pull` or `latency`.
    pub mode: &'static str,
    /// Connections.
    pub connections: u32,
    /// Requests outstanding on each.
    pub window: usize,
    /// Load threads.
    pub threads: usize,
    /// Brokers under load.
    pub brokers: usize,
    /// Queues under load, over all topics and brokers.
    pub queues: usize,
    /// Bytes of each body, where the run chose them.
    pub size: Option<usize>,
    /// Messages per request sent.
    pub batch: Option<u32>,
    /// Messages per pull at most.
    pub per_request: Option<u32>,
    /// Header serialization of the requests.
    pub header: &'static str,
    /// Requests per second of an open loop.
    pub rate: Option<u64>,
}

impl Setting {
    /// One connection with one request outstanding; the caller fills in what differs.
    pub fn new(
        mode: &'static str,
        target: &TargetArgs,
        load: &LoadArgs,
        targets: &[Target],
    ) -> Setting {
        Setting {
            mode,
            connections: 1,
            window: 1,
            threads: load.threads.get(),
            brokers: targets.len(),
            queues: targets.iter().map(|target| target.queues.len()).sum(),
            size: None,
            batch: None,
            per_request: None,
            header: match target.header {
                Header::Json => "json",
                Header::Binary => "binary",
            },
            rate: load.rate.map(|rate| rate.get()),
        }
    }
}

/// A run and its figures.
#[derive(Debug, Serialize)]
pub struct Report {
    #[serde(flatten)]
    setting: Setting,
    messages: u64,
    seconds: f64,
    messages_per_second: f64,
    latency: Option<LatencySummary>,
    end_to_end: Option<LatencySummary>,
    refused: Vec<Refused>,
    unanswered: u64,
    lost_connections: Vec<String>,
    broker: Option<BrokerFigures>,
    generator_cpu_us_per_message: f64,
}

#[derive(Debug, Serialize)]
struct Refused {
    code: i32,
    name: &'static str,
    count: u64,
    example: String,
}

#[derive(Debug, Serialize)]
struct BrokerFigures {
    cpu_us_per_message: f64,
    cores: f64,
    anonymous_bytes: u64,
    anonymous_bytes_peak: u64,
    resident_bytes: u64,
}

impl Report {
    /// Works the figures out.
    pub fn new(setting: Setting, measured: Measurement) -> Report {
        let seconds = measured.elapsed.as_secs_f64();
        let per_message = |micros: f64| ratio(micros, measured.messages as f64);
        let broker = measured.broker.as_ref().map(|used| broker_figures(used, &measured));
        Report {
            setting,
            messages: measured.messages,
            seconds,
            messages_per_second: ratio(measured.messages as f64, seconds),
            latency: measured.tally.latency.summary(),
            end_to_end: measured.tally.end_to_end.summary(),
            refused: refused(&measured.tally),
            unanswered: measured.tally.unanswered,
            lost_connections: measured.tally.lost.clone(),
            broker,
            generator_cpu_us_per_message: per_message(measured.own_cpu.as_secs_f64() * 1e6),
        }
    }

    /// Whether the run says something about the broker: connections lasted, messages went through.
    pub fn is_sound(&self) -> bool {
        self.lost_connections.is_empty() && self.messages > 0
    }
}

fn broker_figures(used: &BrokerUse, measured: &Measurement) -> BrokerFigures {
    let cpu = used.cpu.as_secs_f64();
    BrokerFigures {
        cpu_us_per_message: ratio(cpu * 1e6, measured.messages as f64),
        cores: ratio(cpu, measured.elapsed.as_secs_f64()),
        anonymous_bytes: used.memory.anonymous_bytes,
        anonymous_bytes_peak: used.anonymous_bytes_peak,
        resident_bytes: used.memory.resident_bytes,
    }
}

fn refused(tally: &Tally) -> Vec<Refused> {
    let refused = tally.refused.iter();
    refused
        .map(|(code, refusals)| Refused {
            code: *code,
            name: response_code::name(*code).unwrap_or("unknown code"),
            count: refusals.count,
            example: refusals.example.clone(),
        })
        .collect()
}

/// 0 where there is nothing to divide by, so that JSON stays JSON.
fn ratio(of: f64, to: f64) -> f64 {
    if to > 0.0 { of / to } else { 0.0 }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.setting)?;
        let (messages, seconds, rate) = (self.messages, self.seconds, self.messages_per_second);
        write!(f, "  rate        {rate:.0} messages/s ({messages} in {seconds:.2} s")?;
        match self.setting.size {
            Some(size) => writeln!(f, ", {:.1} MiB/s of bodies)", rate * size as f64 / MIB)?,
            None => writeln!(f, ")")?,
        }
        if let Some(latency) = &self.latency {
            writeln!(f, "  latency     {latency}")?;
        }
        if let Some(latency) = &self.end_to_end {
            writeln!(f, "  end to end  {latency}")?;
        }
        self.write_errors(f)?;
        if let Some(broker) = &self.broker {
            writeln!(f, "  broker      {broker}")?;
        }
        write!(f, "  generator   {:.2} µs CPU/message", self.generator_cpu_us_per_message)
    }
}

impl Report {
    fn write_errors(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Refused { code, name, count, example } in &self.refused {
            writeln!(f, "  refused     {count} × {name} ({code}), first: {example}")?;
        }
        if self.unanswered > 0 {
            writeln!(f, "  unanswered  {}", self.unanswered)?;
        }
        for lost in &self.lost_connections {
            writeln!(f, "  lost        {lost}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setting { mode, connections, window, queues, brokers, header, .. } = self;
        write!(f, "{mode}: {connections} connections × {window} in flight, {queues} queues")?;
        write!(f, " on {brokers} brokers, {header} header")?;
        if let Some(size) = self.size {
            write!(f, ", {size}-byte bodies")?;
        }
        if let Some(batch) = self.batch.filter(|batch| *batch > 1) {
            write!(f, ", batches of {batch}")?;
        }
        if let Some(per_request) = self.per_request {
            write!(f, ", {per_request} per request")?;
        }
        if let Some(rate) = self.rate {
            write!(f, ", open loop at {rate} requests/s")?;
        }
        Ok(())
    }
}

impl fmt::Display for LatencySummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LatencySummary { p50_us, p90_us, p99_us, p999_us, max_us, .. } = self;
        write!(f, "p50 {p50_us:.0} µs, p90 {p90_us:.0}, p99 {p99_us:.0}, ")?;
        write!(f, "p99.9 {p999_us:.0}, max {max_us:.0}")
    }
}

impl fmt::Display for BrokerFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / MIB;
        let BrokerFigures { cpu_us_per_message, cores, .. } = self;
        write!(f, "{cpu_us_per_message:.2} µs CPU/message ({cores:.2} cores), ")?;
        let (peak, resident) = (mib(self.anonymous_bytes_peak), mib(self.resident_bytes));
        write!(f, "{peak:.0} MiB anonymous at most, {resident:.0} MiB resident")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::process::Memory;

    fn setting() -> Setting {
        Setting {
            mode: "send",
            connections: 4,
            window: 64,
            threads: 1,
            brokers: 1,
            queues: 8,
            size: Some(1024),
            batch: Some(1),
            per_request: None,
            header: "json",
            rate: None,
        }
    }

    fn measurement() -> Measurement {
        let mut tally = Tally::default();
        tally.latency.record(Duration::from_micros(250));
        tally.refuse(2, || "busy".into());
        let memory = Memory { resident_bytes: 64 << 20, anonymous_bytes: 8 << 20 };
        Measurement {
            tally,
            messages: 100_000,
            elapsed: Duration::from_secs(2),
            own_cpu: Duration::from_millis(100),
            broker: Some(BrokerUse {
                cpu: Duration::from_secs(1),
                memory,
                anonymous_bytes_peak: 16 << 20,
            }),
        }
    }

    #[test]
    fn text_for_people() {
        let text = Report::new(setting(), measurement()).to_string();
        for part in [
            "send: 4 connections × 64 in flight, 8 queues on 1 brokers, json header, 1024-byte",
            "50000 messages/s (100000 in 2.00 s, 48.8 MiB/s of bodies)",
            "p50 250 µs",
            "1 × SYSTEM_BUSY (2), first: busy",
            "10.00 µs CPU/message (0.50 cores), 16 MiB anonymous at most, 64 MiB resident",
            "generator   1.00 µs CPU/message",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }

    #[test]
    fn json_for_programs() {
        let report = Report::new(setting(), measurement());
        let json = serde_json::to_value(&report).expect("plain data");
        assert_eq!(json["mode"], "send");
        assert_eq!(json["messages_per_second"], 50_000.0);
        assert_eq!(json["broker"]["cpu_us_per_message"], 10.0);
        assert_eq!(json["refused"][0]["name"], "SYSTEM_BUSY");
        assert!(report.is_sound());
    }

    #[test]
    fn nothing_measured_divides_by_nothing() {
        let empty = Measurement {
            tally: Tally::default(),
            messages: 0,
            elapsed: Duration::ZERO,
            own_cpu: Duration::from_millis(1),
            broker: None,
        };
        let report = Report::new(setting(), empty);
        assert_eq!(report.messages_per_second, 0.0);
        assert!(!report.is_sound());
    }
}
