//! A member as a child process: its signals, and the lines that it writes.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::Sender,
    thread,
};

use rustix::process::{Pid, Signal, kill_process};

/// A line of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It has joined.
    Ready,
    /// It has these queues now.
    Own(Vec<i32>),
    /// It has consumed a message.
    Did {
        queue: i32,
        offset: i64,
        /// Ms since 1970.
        at: i64,
    },
    /// Its process has ended.
    Gone,
}

/// Who says it, by number.
pub type Line = (usize, Said);

/// What a member is started with.
pub struct Role<'a> {
    pub namesrv: &'a str,
    pub group: &'a str,
    pub orderly: bool,
    /// The official client: a command that takes name server, group, id and order as arguments.
    pub java: Option<&'a str>,
}

/// See the module's text.
pub struct Process(Child);

impl Process {
    pub fn start(role: &Role<'_>, number: usize, lines: Sender<Line>) -> Self {
        let id = format!("{}-{number:04}", role.group);
        let mut command = match role.java {
            Some(java) => {
                let mut words = java.split_whitespace();
                let mut command = Command::new(words.next().expect("a command"));
                let order = if role.orderly { "orderly" } else { "concurrent" };
                command.args(words).args([role.namesrv, role.group, &id, order]);
                command
            }
            None => {
                let mut command = Command::new(env::current_exe().unwrap());
                command.args(["--exact", "member_process", "--ignored", "--nocapture"]);
                command
            }
        };
        let child = command
            .env("CHURN_NAMESRV", role.namesrv)
            .env("CHURN_GROUP", role.group)
            .env("CHURN_ORDERLY", role.orderly.to_string())
            .env("CHURN_ID", &id)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let read = move || {
            for line in out.lines().map_while(Result::ok) {
                if let Some(said) = parse(&line)
                    && lines.send((number, said)).is_err()
                {
                    return;
                }
            }
            // The test is over if nobody takes it.
            let _ = lines.send((number, Said::Gone));
        };
        thread::Builder::new().name(format!("member-{number}")).spawn(read).unwrap();
        Self(child)
    }

    pub fn signal(&self, signal: Signal) {
        // One that has ended by itself is told by its `Gone`.
        let _ = kill_process(Pid::from_child(&self.0), signal);
    }

    /// After its `Gone`: whether it ended as it should.
    pub fn reap(mut self) -> bool {
        self.0.wait().unwrap().success()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lines of others, such as those of the test harness, say nothing.
fn parse(line: &str) -> Option<Said> {
    let mut words = line.split(' ');
    match words.next()? {
        "ready" => Some(Said::Ready),
        "own" => {
            let numbers = words.next().unwrap_or_default().split(',').filter(|n| !n.is_empty());
            Some(Said::Own(numbers.map(|n| n.parse().ok()).collect::<Option<_>>()?))
        }
        "did" => {
            let (queue, offset) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            Some(Said::Did { queue, offset, at: words.next()?.parse().ok()? })
        }
        _ => None,
    }
}

#[test]
fn lines_are_understood() {
    assert_eq!(parse("ready"), Some(Said::Ready));
    assert_eq!(parse("own 0,3"), Some(Said::Own(vec![0, 3])));
    assert_eq!(parse("own "), Some(Said::Own(vec![])));
    assert_eq!(parse("did 3 17 1700"), Some(Said::Did { queue: 3, offset: 17, at: 1700 }));
    assert_eq!(parse("did 3 1"), None, "torn");
    assert_eq!(parse("running 1 test"), None);
}
