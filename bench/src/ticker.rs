//! A timer fine enough for an open loop.
//!
//! The runtime's own timer rounds to whole milliseconds, which at any interesting rate would turn
//! the schedule into bursts and add half a millisecond to every latency. A timerfd wakes the event
//! loop within some tens of microseconds and costs no spinning, which on a small machine would take
//! the broker's CPU away.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// Requests due within this time of each other leave together: at high rates one wake-up for each
/// request would cost more than the request.
pub const QUANTUM: Duration = Duration::from_micros(50);

/// A one-shot timer on the current runtime.
#[derive(Debug)]
pub struct Ticker {
    timer: AsyncFd<OwnedFd>,
    /// The deadline that the kernel knows. A wait that was dropped and is taken up again for the
    /// same deadline costs no system call.
    armed: Option<Instant>,
}

impl Ticker {
    /// Makes a timer; it must be called inside a runtime with I/O enabled.
    #[expect(
        deprecated,
        reason = "the replacement is unsafe; what it asks for, one descriptor that stays open, is \
                  what an OwnedFd is"
    )]
    pub fn new() -> io::Result<Ticker> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Ticker { timer: AsyncFd::new(timer)?, armed: None })
    }

    /// Waits until `deadline`, but at least for [`QUANTUM`].
    pub async fn sleep_until(&mut self, deadline: Instant) -> io::Result<()> {
        if self.armed != Some(deadline) {
            self.arm(deadline.saturating_duration_since(Instant::now()).max(QUANTUM))?;
            self.armed = Some(deadline);
        }
        loop {
            let mut ready = self.timer.readable().await?;
            let mut expirations = [0_u8; 8];
            let read = ready.try_io(|timer| {
                rustix::io::read(timer.get_ref(), &mut expirations).map_err(Into::into)
            });
            // Readiness that was left over from an earlier deadline makes the read would-block.
            if let Ok(done) = read {
                self.armed = None;
                return done.map(|_| ());
            }
        }
    }

    fn arm(&self, delay: Duration) -> io::Result<()> {
        let when = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec {
                tv_sec: i64::try_from(delay.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: delay.subsec_nanos().into(),
            },
        };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &when)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_again_after_a_dropped_wait() {
        let mut ticker = Ticker::new().expect("a timer");
        let start = Instant::now();
        tokio::select! {
            biased;
            _ = ticker.sleep_until(start + Duration::from_secs(60)) => panic!("far too early"),
            () = std::future::ready(()) => {}
        }
        for round in 1..=2 {
            let deadline = start + Duration::from_millis(2 * round);
            ticker.sleep_until(deadline).await.expect("a wait");
            assert!(Instant::now() >= deadline);
        }
    }
}
