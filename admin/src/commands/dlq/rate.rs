//! How fast something is done at most: `50/s`, `50`, `600/m`.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// So many in a second, at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    interval: Duration,
}

impl Rate {
    /// Reads a rate, for the command line.
    ///
    /// # Errors
    /// What a rate looks like.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (number, seconds) = match text.split_once('/') {
            None | Some((_, "s")) => (text.strip_suffix("/s").unwrap_or(text), 1.0),
            Some((number, "m")) => (number, 60.0),
            Some((number, "h")) => (number, 3_600.0),
            Some(_) => (text, 1.0),
        };
        let number: f64 = number.parse().unwrap_or(0.0);
        if !(number > 0.0 && number.is_finite()) {
            return Err("a rate is a number above 0 per s, m or h: 50/s".to_owned());
        }
        let interval = Duration::try_from_secs_f64(seconds / number);
        interval.map(|interval| Self { interval }).map_err(|_| "the rate is too small".to_owned())
    }
}

/// Lets its caller go on as often as a rate says; what was missed is not made up for.
pub struct Pace {
    rate: Option<Rate>,
    next: Instant,
}

impl Pace {
    /// A pace that begins now; without a rate it never waits.
    pub fn new(rate: Option<Rate>) -> Self {
        Self { rate, next: Instant::now() }
    }

    /// Waits for the turn.
    pub async fn turn(&mut self) {
        if let Some(rate) = self.rate {
            sleep_until(self.next).await;
            self.next = self.next.max(Instant::now() - rate.interval) + rate.interval;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read() {
        for (text, micros) in
            [("50/s", 20_000), ("50", 20_000), ("600/m", 100_000), ("0.5", 2_000_000)]
        {
            let interval = Duration::from_micros(micros);
            assert_eq!(Rate::parse(text), Ok(Rate { interval }), "{text}");
        }
        for text in ["", "0", "-1", "fast", "5/d", "/s", "inf", "NaN"] {
            assert!(Rate::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn turns_keep_their_distance() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let start = Instant::now();
            let mut pace = Pace::new(Some(Rate::parse("10/s").unwrap()));
            for _ in 0..11 {
                pace.turn().await;
            }
            let passed = start.elapsed();
            assert!((Duration::from_secs(1)..Duration::from_millis(1020)).contains(&passed));
            let mut free = Pace::new(None);
            free.turn().await;
            assert_eq!(start.elapsed(), passed);
        });
    }
}
