//! What an operator reads about a panic. One test: the panic hook belongs to the whole process.

mod common;

use std::fmt::{self, Write};
use std::panic;
use std::sync::{Arc, Mutex};

use common::*;
use gantry_supervisor::{Placement, Policy, Tree, quiet_panics};
use slog::{Drain, KV, Key, Logger, Never, OwnedKVList, Record, Serializer, o};

/// Writes each record as `message key=value …`.
struct Lines(Journal);

struct Line(String);

impl Serializer for Line {
    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        write!(self.0, " {key}={value}")?;
        Ok(())
    }
}

impl Drain for Lines {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        let mut line = Line(record.msg().to_string());
        let fields = values.serialize(record, &mut line);
        fields.and(record.kv().serialize(record, &mut line)).expect("strings take everything");
        self.0.note(line.0);
        Ok(())
    }
}

#[test]
fn a_panic_is_one_line_with_name_incarnation_text_and_place() {
    let reported = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&reported);
    panic::set_hook(Box::new(move |info| {
        seen.lock().expect("no panic").push(info.to_string());
    }));
    run(async {
        let lines = Journal::default();
        let log = Logger::root(Lines(lines.clone()).fuse(), o!());
        let tree = Tree::root("root", Placement::single(), log, 1);
        let a = tree.spawn(puppet("a", Policy::RestartFromDisk, &Journal::default()));
        a.do_send(Crash("bad message"));
        a.send(Say("behind")).await.expect("an answer");

        let lines = lines.take();
        let line = lines.iter().find(|line| line.starts_with("actor panicked")).expect("a line");
        for field in ["actor=root/a", "incarnation=0", "panic=bad message", "common/mod.rs:"] {
            assert!(line.contains(field), "{field} is not in: {line}");
        }
        assert!(lines.iter().any(|line| line.starts_with("actor will be made again")), "{lines:?}");
    });
    assert_eq!(*reported.lock().expect("no panic"), Vec::<String>::new(), "the guard's are quiet");

    quiet_panics();
    panic::catch_unwind(|| panic!("unguarded")).expect_err("a panic");
    let reported = reported.lock().expect("no panic").join("\n");
    assert!(reported.contains("unguarded"), "others are reported as before: {reported}");
}
