//! The progress bar, drawn on standard error when that is a terminal and the result is for people.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::args::LoadArgs;

/// A bar over the measuring phase, or nothing.
pub struct Progress {
    bar: ProgressBar,
    by_messages: bool,
}

impl Progress {
    /// A bar as long as the run: in messages, or else in milliseconds.
    pub fn new(load: &LoadArgs) -> Progress {
        let by_messages = load.messages.is_some();
        let length = load.messages.map_or(millis(load.seconds), |count| count.get());
        let bar = if load.json || !std::io::stderr().is_terminal() {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(length)
        };
        let style = ProgressStyle::with_template("{elapsed:>4} [{bar:40}] {percent:>3}% {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Progress { bar, by_messages }
    }

    /// Shows that nothing is counted yet.
    pub fn warming(&self, messages: u64) {
        self.bar.set_message(format!("warming up, {messages} messages"));
    }

    /// Shows how far the measuring is.
    pub fn measuring(&self, messages: u64, elapsed: Duration) {
        self.bar.set_position(if self.by_messages { messages } else { millis(elapsed) });
        let rate = messages as f64 / elapsed.as_secs_f64().max(0.001);
        self.bar.set_message(format!("{rate:.0} messages/s"));
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
