//! How timed messages are doing: how many wait, how far they are taken in and delivered, and how late.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use gantry_storage::Clock;

use super::page::{Page, Source};
use crate::timer::TimerFigures;

/// See the module's text.
pub struct Timers {
    /// What the timers publish.
    pub figures: Arc<TimerFigures>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
}

impl Source for Timers {
    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        let figures = &self.figures;
        page.gauge(
            "gantry_timers_waiting",
            "Timed messages that wait for their time.",
            figures.waiting.load(Relaxed) as f64,
        )?;
        page.counter(
            "rocketmq_timer_enqueue_total",
            "Timed messages taken in since the start.",
            figures.taken_in.load(Relaxed),
        )?;
        page.counter(
            "rocketmq_timer_dequeue_total",
            "Timed messages delivered since the start.",
            figures.delivered.load(Relaxed),
        )?;
        // 0: they have not begun, or are switched off.
        let read_ms = Some(figures.read_time_ms.load(Relaxed)).filter(|read_ms| *read_ms > 0);
        let behind = read_ms.map(|read_ms| (self.clock.now_ms() - read_ms).max(0) as f64);
        page.gauges(
            "rocketmq_timer_dequeue_latency",
            "How far the timers are behind the clock, in milliseconds.",
            behind.map(|behind| (Vec::new(), behind)),
        )?;
        let late = figures.lateness();
        let rows = [("0.5", late.p50_ms), ("0.99", late.p99_ms), ("1", late.max_ms)];
        page.gauges(
            "gantry_timer_lateness_seconds",
            "How late timed messages were delivered since the start, by the share that was no later.",
            rows.map(|(share, ms)| (vec![("share", share.into())], ms as f64 / 1000.0)),
        )
    }
}
