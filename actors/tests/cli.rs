//! The `gantry` binary from outside: what it prints where, its exit codes, its orderly end.
#![expect(clippy::disallowed_methods, reason = "prepares files for another process")]

use std::{
    fs,
    io::{BufRead, BufReader, Lines},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// `gantry` with these words and no environment.
fn gantry(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gantry"));
    command.args(words).env_clear();
    command
}

fn output(words: &[&str]) -> Output {
    gantry(words).output().unwrap()
}

/// The single line on standard error of a run that ends with `code` and prints nothing.
fn complaint(words: &[&str], code: i32) -> String {
    let output = output(words);
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{words:?}: {line}");
    assert!(output.stdout.is_empty());
    assert_eq!(line.matches('\n').count(), 1, "{line}");
    line.strip_prefix("gantry: ").unwrap().trim_end().to_owned()
}

/// A directory with one file in it.
fn file(name: &str, text: &str) -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}

#[test]
fn p_prints_every_value_with_its_origin() {
    let (_dir, path) = file("broker.conf", "brokerName=b\nlistenPort=1\nslaveTimeout=48\n");
    let words = ["broker", "-c", &path, "-n", "ns:9876", "--home", "/h", "--set", "traceOn=false"];
    let printed = gantry(&words)
        .arg("-p")
        .env("GANTRY_LISTEN_PORT", "2")
        .env("NAMESRV_ADDR", "weak:1")
        .output()
        .unwrap();
    assert_eq!(printed.status.code(), Some(0));
    let text = String::from_utf8(printed.stdout).unwrap();
    for line in [
        format!("brokerName = \"b\" # {path}:1"),
        "listenPort = 2 # environment variable GANTRY_LISTEN_PORT".into(),
        "traceOn = false # --set".into(),
        "namesrvAddr = \"ns:9876\" # -n".into(),
        format!(
            "flushDiskType = \"ASYNC_FLUSH\" # {path}, by leaving it out as in the Java broker"
        ),
        "storePathRootDir = \"/h/store\" # home directory".into(),
        "maxMessageSize = 4194304 # default".into(),
    ] {
        assert!(text.lines().any(|printed| printed == line), "{line}\n{text}");
    }
    let warning = String::from_utf8(printed.stderr).unwrap();
    assert_eq!(warning, format!("gantry: {path}:3: slaveTimeout has no effect here\n"));
}

#[test]
fn p_works_for_every_daemon_and_its_output_is_a_configuration() {
    for daemon in ["standalone", "broker", "namesrv"] {
        let printed = output(&[daemon, "-p", "--home", "/h"]);
        assert_eq!(printed.status.code(), Some(0), "{daemon}");
        assert!(printed.stderr.is_empty(), "{daemon}");
        let text = String::from_utf8(printed.stdout).unwrap();
        let (_dir, path) = file("again.toml", &text);
        let again = output(&[daemon, "-p", "-c", &path]);
        let again = String::from_utf8(again.stdout).unwrap();
        let values = |text: &str| -> Vec<String> {
            text.lines().map(|line| line.split(" # ").next().unwrap().to_owned()).collect()
        };
        assert_eq!(values(&again), values(&text), "{daemon}");
        assert!(again.lines().all(|line| line.contains("again.toml:")), "{again}");
    }
}

#[test]
fn the_home_comes_from_flag_or_environment_or_is_here() {
    let root = |command: &mut Command| {
        let text = String::from_utf8(command.arg("-p").output().unwrap().stdout).unwrap();
        text.lines().find(|line| line.starts_with("storePathRootDir")).unwrap().to_owned()
    };
    let with_variable = |words: &[&str]| root(gantry(words).env("GANTRY_HOME", "/v"));
    assert!(root(&mut gantry(&["broker"])).contains("\"gantry-data/store\""));
    assert!(with_variable(&["broker"]).contains("\"/v/store\""));
    assert!(with_variable(&["broker", "--home", "/f"]).contains("\"/f/store\""));
}

#[test]
fn bad_usage_is_code_2() {
    assert_eq!(complaint(&[], 2), "a command is missing (try --help)");
    let why = complaint(&["broker", "--nonsense"], 2);
    assert_eq!(why, "unexpected argument '--nonsense' found (try --help)");
    assert_eq!(complaint(&["namesrv", "--set", "x"], 2), "--set x: must be key=value");
}

#[test]
fn bad_configuration_is_code_2_with_file_line_key_and_reason() {
    let (_dir, path) = file("broker.toml", "# mine\n\nlistenPrt = 1\n");
    let why = complaint(&["broker", "-c", &path], 2);
    assert_eq!(why, format!("{path}:3: unknown key listenPrt (did you mean listenPort?)"));

    let (_dir, path) = file("broker.properties", "brokerName=b\nlistenPort=70000\n");
    let why = complaint(&["standalone", "-c", &path], 2);
    assert_eq!(why, format!("{path}:2: listenPort = 70000: must be from 0 to 65535"));

    let why = complaint(&["namesrv", "-c", "/no/such.toml"], 2);
    assert!(why.starts_with("/no/such.toml: cannot be read: "), "{why}");

    let why = complaint(&["namesrv", "--set", "logFile=/dev/null/log"], 2);
    assert!(why.starts_with("logFile = /dev/null/log: cannot be written: "), "{why}");
}

/// The last line on standard error, behind the log, of a run that ends with `code`.
fn last_complaint(words: &[&str], code: i32) -> String {
    let output = output(words);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    let complaints: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("gantry: ")).collect();
    assert_eq!(complaints.len(), 1, "{text}");
    complaints[0].to_owned()
}

#[test]
fn a_store_that_cannot_be_opened_is_code_3() {
    let (dir, _path) = file("store", "a file where a directory should be");
    let home = dir.path().to_str().unwrap();
    let words = ["broker", "--home", home, "--set", "listenPort=0"];
    let why = last_complaint(&words, 3);
    assert!(why.starts_with("the store cannot be opened: "), "{why}");
}

#[test]
fn a_port_that_is_taken_is_code_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!("listenPort={}", taken.local_addr().unwrap().port());
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().to_str().unwrap();
    let words = ["namesrv", "--home", home, "--set", "bindAddress=127.0.0.1", "--set", &port];
    let why = last_complaint(&words, 1);
    assert!(why.starts_with("cannot listen on 127.0.0.1:"), "{why}");
}

#[test]
fn help_names_the_commands() {
    let help = output(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let text = String::from_utf8(help.stdout).unwrap();
    for command in ["standalone", "namesrv", "broker", "bench", "store"] {
        assert!(text.contains(command), "{text}");
    }
    assert_eq!(output(&["--version"]).status.code(), Some(0));
}

/// A daemon that does not outlive its test.
struct Daemon {
    child: Child,
    out: Lines<BufReader<ChildStdout>>,
}

impl Daemon {
    fn start(words: &[&str]) -> Self {
        let mut command = gantry(words);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, out }
    }

    /// The next line of standard output.
    fn line(&mut self) -> Option<String> {
        self.out.next().map(Result::unwrap)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn standalone_says_when_it_serves_and_stops_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().to_str().unwrap();
    for signal in [Signal::TERM, Signal::INT] {
        let mut daemon = Daemon::start(&[
            "standalone",
            "--home",
            home,
            "--set",
            "bindAddress=127.0.0.1",
            "--set",
            "listenPort=0",
            "--set",
            "namesrvListenPort=0",
            "--set",
            "mappedFileSizeCommitLog=1048576",
        ]);
        for service in ["namesrv", "broker"] {
            let line = daemon.line().unwrap();
            let start = format!("gantry {service} ready on ");
            let addr = line.strip_prefix(&start).unwrap_or_else(|| panic!("{line}"));
            assert!(addr.starts_with("127.0.0.1:"), "{line}");
            TcpStream::connect(addr).unwrap();
        }
        daemon.signal(signal);
        assert_eq!(daemon.child.wait().unwrap().code(), Some(0));
        assert_eq!(daemon.line(), None, "nothing else is printed");
        assert!(!dir.path().join("store/abort").exists(), "the store was left in order");
    }
}
