//! The program's log: lines for people or JSON, to standard error and, if wanted, to rotated files.
//!
//! ```text
//! logger of an actor → ByComponent → NonBlocking ─ queue → one thread → lines → stderr
//!                      level filter   drops, counts                           → files
//! ```
//!
//! An actor never waits for the log: what finds the queue full is dropped and counted, and the count
//! is logged as soon as there is room. An actor names itself with `log.new(o!("actor" => "queue"))`;
//! that name, or the name of a module around the log statement, selects its level.
//! Failure policy: a log file that cannot be written at start stops the start; what goes wrong later
//! loses lines, never the process.

use std::{
    fs::OpenOptions,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use file_rotate::{ContentLimit, FileRotate, compression::Compression, suffix::AppendCount};
use gantry_conf::LogConfig;
use slog::{Discard, Drain, Duplicate, Level, Logger, OwnedKVList, Record, b, o, record};
use slog_async::{AsyncCore, AsyncGuard};
use thiserror::Error;

use super::{
    log_levels::{ByComponent, LevelSwitch},
    log_lines::{self, Lines},
};

/// Lines that may wait for the writing thread.
const QUEUED_MAX: usize = 8192;

/// Why there is no log.
#[derive(Debug, Error)]
#[error("logFile = {file}: cannot be written: {source}")]
pub struct LogFileError {
    file: String,
    source: io::Error,
}

/// The running log. What is queued is written when this is dropped.
pub struct Log {
    /// The root of all loggers.
    pub root: Logger,
    /// Which lines are wanted.
    pub levels: LevelSwitch,
    dropped: Arc<AtomicU64>,
    _writer: AsyncGuard,
}

impl Log {
    /// Starts logging.
    pub fn start(config: &LogConfig) -> Result<Self, LogFileError> {
        let stderr = log_lines::to(config.format, io::stderr());
        let file = match &config.file {
            Some(path) => log_lines::to(config.format, rotated(path, config)?),
            None => Box::new(Discard),
        };
        let lines: Lines = Box::new(Duplicate(stderr, file).ignore_res());
        Ok(Self::with(config, lines))
    }

    fn with(config: &LogConfig, lines: Lines) -> Self {
        let dropped = Arc::new(AtomicU64::new(0));
        let (core, writer) = AsyncCore::custom(lines)
            .chan_size(QUEUED_MAX)
            .thread_name("log-lines".into())
            .build_with_guard();
        let drain = NonBlocking { core, dropped: dropped.clone(), untold: AtomicU64::new(0) };
        let levels = LevelSwitch::new(&config.levels);
        let root = Logger::root(ByComponent::new(drain, levels.clone()), o!());
        Self { root, levels, dropped, _writer: writer }
    }

    /// Lines that were dropped since the start because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Opens the file once itself, because the rotating writer does not say why it cannot.
#[expect(clippy::disallowed_methods, reason = "log files are the one thing that is no store")]
fn rotated(path: &Path, config: &LogConfig) -> Result<impl io::Write + Send + use<>, LogFileError> {
    let failed = |source| LogFileError { file: path.display().to_string(), source };
    let absolute = std::path::absolute(path).map_err(failed)?;
    if let Some(dir) = absolute.parent() {
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    OpenOptions::new().create(true).append(true).open(&absolute).map_err(failed)?;
    Ok(FileRotate::new(
        absolute,
        AppendCount::new(config.old_files_max),
        ContentLimit::BytesSurpassed(config.file_bytes_max),
        Compression::None,
        None,
    ))
}

/// Queues lines; drops and counts what finds the queue full.
struct NonBlocking {
    core: AsyncCore,
    dropped: Arc<AtomicU64>,
    untold: AtomicU64,
}

impl Drain for NonBlocking {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), slog::Never> {
        if self.core.log(record, values).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            self.untold.fetch_add(1, Ordering::Relaxed);
        } else if self.untold.load(Ordering::Relaxed) > 0 {
            self.tell();
        }
        Ok(())
    }
}

impl NonBlocking {
    fn tell(&self) {
        let lines = self.untold.swap(0, Ordering::Relaxed);
        let told = self.core.log(
            &record!(Level::Warning, "", &format_args!("log lines dropped"), b!("lines" => lines)),
            &o!().into(),
        );
        if told.is_err() {
            self.untold.fetch_add(lines, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use gantry_conf::{BrokerConfig, LogFormat, Role, Sources, Surroundings};
    use slog::{debug, info};

    use super::*;

    fn config(pairs: &[String]) -> LogConfig {
        let sources = Sources { set: pairs.to_vec(), ..Sources::default() };
        let bare = Surroundings::bare("/home");
        BrokerConfig::load(Role::Broker, &sources, &bare).unwrap().config.log
    }

    /// Writes nothing until it is opened.
    #[derive(Clone, Default)]
    struct Gate(Arc<(Mutex<bool>, Condvar)>, Arc<Mutex<Vec<u8>>>);

    impl Gate {
        fn open(&self) {
            *self.0.0.lock().unwrap() = true;
            self.0.1.notify_all();
        }
    }

    impl io::Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let open = self.0.0.lock().unwrap();
            let _open = self.0.1.wait_while(open, |open| !*open).unwrap();
            self.1.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_queue_drops_counts_and_tells() {
        let gate = Gate::default();
        let lines = log_lines::to(LogFormat::Text, gate.clone());
        let log = Log::with(&config(&[]), lines);
        // One line may be with the writer already.
        for n in 0..QUEUED_MAX + 1 + 50 {
            info!(log.root, "line"; "n" => n);
        }
        let dropped = log.dropped();
        assert!((50..=51).contains(&dropped), "{dropped}");
        gate.open();
        // Until there is room for many lines.
        while gate.1.lock().unwrap().len() < 100_000 {
            std::thread::yield_now();
        }
        info!(log.root, "after room was made");
        drop(log);
        let text = String::from_utf8(gate.1.lock().unwrap().clone()).unwrap();
        assert!(text.contains("WARN log lines dropped, lines: 5"), "{dropped}");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "looks at the files from outside")]
    fn files_are_rotated_between_lines_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("logs").join("gantry.log");
        let config = config(&[
            format!("logFile={}", file.display()),
            "logFileMaxBytes=4096".into(),
            "logFileCount=2".into(),
        ]);
        let lines = log_lines::to(LogFormat::Json, rotated(&file, &config).unwrap());
        let log = Log::with(&config, lines);
        for n in 0..500 {
            info!(log.root, "a line of some length that fills the file"; "n" => n);
        }
        debug!(log.root, "not wanted");
        drop(log);
        let mut names: Vec<String> = std::fs::read_dir(dir.path().join("logs"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["gantry.log", "gantry.log.1", "gantry.log.2"]);
        for name in names {
            let text = std::fs::read_to_string(file.with_file_name(name)).unwrap();
            for line in text.lines() {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                assert_eq!(line["level"], "INFO");
            }
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told() {
        let error = Log::start(&config(&["logFile=/dev/null/log".into()])).err().unwrap();
        assert!(error.to_string().starts_with("logFile = /dev/null/log: cannot be written: "));
    }
}
