//! What the system says about the process: memory, time of the processor, open files.
//!
//! The names are those that Prometheus' own client libraries use. Read from `/proc`; where there is none,
//! or a line of it cannot be read, the figure is missing.

use std::fmt;

use super::page::{Page, Source};

/// See the module's text.
pub struct ProcessFigures {
    /// When the process began to serve, in ms.
    pub started_ms: i64,
}

impl Source for ProcessFigures {
    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        let memory = read("status").map(|status| Memory::of(&status)).unwrap_or_default();
        let optional = |value: Option<u64>| value.map(|value| (Vec::new(), value as f64));
        page.gauges(
            "process_resident_memory_bytes",
            "Resident memory, mapped files included.",
            optional(memory.resident),
        )?;
        page.gauges(
            "gantry_anonymous_memory_bytes",
            "Resident memory that the process asked for itself: heap and stacks.",
            optional(memory.anonymous),
        )?;
        page.gauges(
            "process_virtual_memory_bytes",
            "Address space, mapped files included.",
            optional(memory.mapped),
        )?;
        let ticks = read("stat").and_then(|stat| cpu_ticks(&stat));
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        page.seconds(
            "process_cpu_seconds_total",
            "Time of the processor since the start.",
            ticks.map(|ticks| ticks as f64 / per_second as f64),
        )?;
        page.gauges("process_open_fds", "Open files and sockets.", optional(open_files()))?;
        page.gauge(
            "process_start_time_seconds",
            "When the broker started, in seconds since 1970.",
            self.started_ms as f64 / 1000.0,
        )
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Memory {
    resident: Option<u64>,
    anonymous: Option<u64>,
    mapped: Option<u64>,
}

impl Memory {
    fn of(status: &str) -> Self {
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
        };
        Self { resident: bytes("VmRSS:"), anonymous: bytes("RssAnon:"), mapped: bytes("VmSize:") }
    }
}

/// Time in user and system mode. The second field is the program's name, which may hold blanks and
/// parentheses: the rest begins behind the last one.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[expect(clippy::disallowed_methods, reason = "the kernel's figures are no file of the broker's")]
fn read(name: &str) -> Option<String> {
    std::fs::read_to_string(format!("/proc/self/{name}")).ok()
}

#[expect(clippy::disallowed_methods, reason = "the kernel's figures are no file of the broker's")]
fn open_files() -> Option<u64> {
    // One of them is the directory that is being read.
    std::fs::read_dir("/proc/self/fd").ok().map(|files| files.count().saturating_sub(1) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_line_by_line() {
        let status = "Name:\tx\nVmSize:\t 900 kB\nVmRSS:\t  512 kB\nRssAnon:\t what kB\n";
        let memory = Memory { resident: Some(512 << 10), anonymous: None, mapped: Some(900 << 10) };
        assert_eq!(Memory::of(status), memory);
    }

    #[test]
    fn time_is_found_behind_an_awkward_name() {
        let stat = "42 (a) R (b) S 1 42 42 0 -1 4194560 950 0 0 0 120 34 0 0 20 0 9 0 100";
        assert_eq!(cpu_ticks(stat), Some(154));
        assert_eq!(cpu_ticks("42 (name) S 1"), None);
    }

    #[test]
    fn this_process_has_memory_and_files() {
        let memory = read("status").map(|status| Memory::of(&status)).unwrap();
        assert!(memory.resident.unwrap() >= memory.anonymous.unwrap());
        assert!(open_files().unwrap() > 2);
    }
}
