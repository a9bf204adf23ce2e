//! What the kernel says about a process: CPU time and memory, from /proc.
//!
//! CPU time over messages is the steadiest figure a noisy machine gives, so it is taken from the
//! broker's process, not guessed from rates. The parsers are plain functions on the files' text.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// No reading could be had.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// The process is gone, or its files may not be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not laid out as this kernel interface says.
    #[error("cannot make sense of {path}")]
    Layout {
        /// The file.
        path: PathBuf,
    },
}

/// A process whose consumption is measured.
#[derive(Debug, Clone)]
pub struct Process {
    root: PathBuf,
    ticks_per_second: u64,
}

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Memory {
    /// Resident pages of any kind, mapped files included.
    pub resident_bytes: u64,
    /// Resident anonymous pages: heaps and stacks, what the process itself asked for.
    pub anonymous_bytes: u64,
}

impl Process {
    /// The process with this id.
    pub fn new(pid: u32) -> Process {
        Self::at(PathBuf::from(format!("/proc/{pid}")))
    }

    /// This process.
    pub fn own() -> Process {
        Self::at(PathBuf::from("/proc/self"))
    }

    fn at(root: PathBuf) -> Process {
        Process { root, ticks_per_second: rustix::param::clock_ticks_per_second() }
    }

    /// User and system time of all threads so far, those that ended included.
    pub fn cpu_time(&self) -> Result<Duration, ProcessError> {
        let (path, text) = self.read("stat")?;
        let ticks = parse_cpu_ticks(&text).ok_or(ProcessError::Layout { path })?;
        Ok(Duration::from_secs(ticks) / u32::try_from(self.ticks_per_second).unwrap_or(100))
    }

    /// Memory in use now.
    pub fn memory(&self) -> Result<Memory, ProcessError> {
        let (path, text) = self.read("status")?;
        parse_memory(&text).ok_or(ProcessError::Layout { path })
    }

    fn read(&self, file: &str) -> Result<(PathBuf, String), ProcessError> {
        let path = self.root.join(file);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok((path, text)),
            Err(source) => Err(ProcessError::Io { path, source }),
        }
    }
}

/// utime + stime, the fields 14 and 15 of `stat`. Field 2, the program's name, stands in parentheses
/// and may hold blanks and parentheses itself, so counting begins behind the last one.
fn parse_cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn parse_memory(status: &str) -> Option<Memory> {
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    };
    Some(Memory { resident_bytes: kib("VmRSS:")? * 1024, anonymous_bytes: kib("RssAnon:")? * 1024 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_ticks_behind_an_awkward_name() {
        let stat = "4242 (a) R (b) S 1 4242 4242 0 -1 4194560 950 0 0 0 120 34 0 0 20 0 9 0 100";
        assert_eq!(parse_cpu_ticks(stat), Some(154));
        assert_eq!(parse_cpu_ticks("4242 (name"), None);
        assert_eq!(parse_cpu_ticks("4242 (name) S 1"), None);
    }

    #[test]
    fn memory_lines() {
        let status = "Name:\tx\nVmHWM:\t 900 kB\nVmRSS:\t  512 kB\nRssAnon:\t     128 kB\n";
        let memory = parse_memory(status).expect("both lines are there");
        assert_eq!(memory, Memory { resident_bytes: 512 * 1024, anonymous_bytes: 128 * 1024 });
        assert_eq!(parse_memory("VmRSS:\t 1 kB\n"), None);
    }

    #[test]
    fn own_process_can_be_read() {
        let own = Process::own();
        own.cpu_time().expect("stat is readable");
        assert!(own.memory().expect("status is readable").resident_bytes > 0);
    }

    #[test]
    fn a_missing_process_is_named() {
        let error = Process::new(u32::MAX).cpu_time().expect_err("no such process");
        assert!(error.to_string().contains("4294967295"), "{error}");
    }
}
