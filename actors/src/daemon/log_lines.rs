//! The two forms of a log line, each handed to its writer whole.
//!
//! A line for people has no control characters but its own end: what a client sent and was logged
//! cannot pass for another line. A line reaches the writer in one call, so that a rotated file never
//! begins in the middle of one.

use std::{
    cell::RefCell,
    io::{self, Write},
};

use gantry_conf::LogFormat;
use slog::{Drain, OwnedKVList, Record};
use slog_term::{Decorator, FullFormat, RecordDecorator};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

/// Where lines go.
pub type Lines = Box<dyn Drain<Ok = (), Err = slog::Never> + Send>;

/// RFC 3339 in UTC, to the millisecond.
const TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// Lines in this form, written to `out`; what cannot be written is lost.
pub fn to(format: LogFormat, out: impl Write + Send + 'static) -> Lines {
    let out = Whole { line: Vec::new(), out };
    match format {
        LogFormat::Text => {
            let text = FullFormat::new(Escaped(RefCell::new(out))).use_custom_timestamp(write_time);
            Box::new(text.build().ignore_res())
        }
        LogFormat::Json => {
            let json = slog_json::Json::new(out).set_flush(true).add_key_value(slog::o!(
                "msg" => slog::PushFnValue(|record, to| to.emit(record.msg())),
                "level" => slog::FnValue(|record| record.level().as_short_str()),
                "ts" => slog::FnValue(|_| now()),
            ));
            Box::new(json.build().ignore_res())
        }
    }
}

fn now() -> String {
    // A time that cannot be formatted does not exist; a line without one is still a line.
    OffsetDateTime::now_utc().format(TIME).unwrap_or_default()
}

fn write_time(to: &mut dyn Write) -> io::Result<()> {
    to.write_all(now().as_bytes())
}

/// Collects a line until it is flushed.
struct Whole<W> {
    line: Vec<u8>,
    out: W,
}

impl<W: Write> Write for Whole<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = self.out.write_all(&self.line);
        self.line.clear();
        written.and_then(|()| self.out.flush())
    }
}

/// Escapes control characters in everything but the blanks of the form itself.
struct Escaped<W>(RefCell<Whole<W>>);

impl<W: Write> Decorator for Escaped<W> {
    fn with_record<F>(&self, _: &Record<'_>, _: &OwnedKVList, write: F) -> io::Result<()>
    where
        F: FnOnce(&mut dyn RecordDecorator) -> io::Result<()>,
    {
        write(&mut EscapedRecord { out: &mut *self.0.borrow_mut(), form: false })
    }
}

struct EscapedRecord<'a, W> {
    out: &'a mut Whole<W>,
    /// What is written now belongs to the form.
    form: bool,
}

impl<W: Write> Write for EscapedRecord<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            if byte.is_ascii_control() && !self.form {
                write!(self.out, "{}", byte.escape_ascii())?;
            } else {
                self.out.write_all(&[*byte])?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> RecordDecorator for EscapedRecord<'_, W> {
    fn reset(&mut self) -> io::Result<()> {
        self.form = false;
        Ok(())
    }

    fn start_whitespace(&mut self) -> io::Result<()> {
        self.form = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use slog::{Logger, info, o};

    use super::*;

    /// Keeps what is written, call by call.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<String>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// One line with an odd message and an odd value.
    fn written(format: LogFormat) -> String {
        let kept = Kept::default();
        let log = Logger::root(Mutex::new(to(format, kept.clone())).fuse(), o!("actor" => "a"));
        info!(log, "one\ntwo"; "key" => "é\r\u{1b}[0m");
        let calls = kept.0.lock().unwrap().clone();
        assert_eq!(calls.len(), 1, "{calls:?}");
        calls.concat()
    }

    #[test]
    fn a_line_for_people_is_one_line() {
        let line = written(LogFormat::Text);
        let (time, rest) = line.split_once(' ').unwrap();
        assert_eq!(time.len(), "2024-01-01T00:00:00.000Z".len());
        assert_eq!(rest, "INFO one\\ntwo, key: é\\r\\x1b[0m, actor: a\n");
    }

    #[test]
    fn a_json_line_is_one_object() {
        let line = written(LogFormat::Json);
        assert_eq!(line.lines().count(), 1);
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["msg"], "one\ntwo");
        assert_eq!(object["key"], "é\r\u{1b}[0m");
        assert_eq!((&object["level"], &object["actor"]), (&"INFO".into(), &"a".into()));
        assert!(object["ts"].as_str().unwrap().ends_with('Z'));
    }
}
