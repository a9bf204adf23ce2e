//! `gantry standalone` as a child process that does not outlive its test.
//!
//! A [`Home`] is a fresh directory and outlives the daemons that run on it one after another. Every
//! wait has a limit; when a test fails, the logs of all daemons of its home are printed.

use std::{
    fs::{self, OpenOptions},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use gantry_client::{Client, ClientConfig};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long a daemon may take to serve, and to stop.
const LIMIT: Duration = Duration::from_secs(10);

/// Where daemons keep everything.
pub struct Home(TempDir);

impl Home {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A path of the store.
    pub fn store(&self, below: &str) -> PathBuf {
        self.0.path().join("store").join(below)
    }

    fn log(&self) -> PathBuf {
        self.0.path().join("daemons.log")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            eprintln!("--- log of the daemons in {}\n{log}---", self.0.path().display());
        }
    }
}

/// A running name server and broker.
pub struct Daemon {
    child: Child,
    /// Lines of its standard output; ends with the process.
    out: Receiver<String>,
    pub namesrv: String,
    pub broker: String,
}

impl Daemon {
    /// Starts one on ports of its own and waits until it serves.
    pub fn start(home: &Home, settings: &[&str]) -> Self {
        let mut daemon = Self::spawn(home, settings);
        daemon.namesrv = daemon.ready("namesrv");
        daemon.broker = daemon.ready("broker");
        daemon
    }

    /// Starts one without waiting for anything; its addresses are not known.
    pub fn spawn(home: &Home, settings: &[&str]) -> Self {
        let mut child = command(home.0.path(), settings)
            .stdout(Stdio::piped())
            .stderr(OpenOptions::new().create(true).append(true).open(home.log()).unwrap())
            .spawn()
            .unwrap();
        let out = lines(child.stdout.take().unwrap());
        Self { child, out, namesrv: String::new(), broker: String::new() }
    }

    fn ready(&self, service: &str) -> String {
        let line = self.out.recv_timeout(LIMIT).expect("a line that says where it serves");
        let addr = line.strip_prefix(&format!("gantry {service} ready on "));
        addr.unwrap_or_else(|| panic!("{line}")).to_owned()
    }

    /// A client with connections of its own.
    pub fn client(&self) -> Client {
        Client::new(ClientConfig::with_namesrv(&self.namesrv))
    }

    /// SIGKILL: the process has no say in it.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and how the process ended.
    pub fn terminate(mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let ended = self.out.recv_timeout(LIMIT);
        assert_eq!(ended, Err(RecvTimeoutError::Disconnected), "it stops and prints nothing more");
        self.child.wait().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(home: &Path, settings: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gantry"));
    command.env_clear().arg("standalone").arg("--home").arg(home);
    let own = [
        "listenPort=0",
        "metricsExporterType=DISABLE",
        "namesrvListenPort=0",
        "bindAddress=127.0.0.1",
        "brokerIP1=127.0.0.1",
        // The same in every life, since queues are named after it.
        "brokerName=broker-a",
        // However full the disk of whoever runs the tests is, no file goes early.
        "diskMaxUsedSpaceRatio=95",
        "cleanFileForciblyEnable=false",
    ];
    for setting in own.iter().chain(settings) {
        command.arg("--set").arg(setting);
    }
    command
}

/// The lines of a pipe, read by a thread so that waiting for one can have a limit.
fn lines(pipe: ChildStdout) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    let read = move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    };
    thread::Builder::new().name("daemon-output".into()).spawn(read).unwrap();
    lines
}
