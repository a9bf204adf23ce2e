//! What a message asks of the timer, and what its record says of it: the rules, apart from everything
//! that keeps or delivers (store.md 4.2).
//!
//! A message may say in three ways when it wants to be delivered, of which the first one counts:
//! `TIMER_DELAY_SEC`, `TIMER_DELAY_MS`, `TIMER_DELIVER_MS`. On its way it carries `TIMER_OUT_MS`, the slot
//! of the wheel: that time, taken down to a multiple of the precision, and one precision less if it is
//! such a multiple. Java delivers when that slot is over. Here a message is delivered at the very time
//! it asked for, which its record still tells: the property itself, or the delay counted from when it
//! was stored. One that has been stored again on its way names the time in `TIMER_DELIVER_MS`, whatever it
//! had asked by.

use gantry_codec::properties as names;
use thiserror::Error;

/// What is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerRules {
    /// Whether timed messages are served.
    pub enabled: bool,
    /// Length of a slot, ms.
    pub precision_ms: i64,
    /// How long a message may wait, ms.
    pub max_delay_ms: i64,
    /// Timers of a slot above which some are refused.
    pub congest_max: u32,
    /// Whether messages can be taken back.
    pub recall: bool,
    /// Whether a message that takes another back names the topic as well.
    pub cancels_with_topic: bool,
}

/// Why a message cannot be timed as it asks. The texts are Java's.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TimerRefusal {
    /// Timed messages are not served.
    #[error("accurate timer message is not enabled, timerWheelEnable is false")]
    Off,
    /// A time that is none, or too far away; or one that is over, of a message that takes another back.
    #[error(
        "timer message illegal, the delay time should not be bigger than the max delay {max_ms}ms; \
         or if set del msg, the delay time should be bigger than the current time"
    )]
    Illegal {
        /// What is allowed.
        max_ms: i64,
    },
    /// Too many are due at the same time.
    #[error(
        "timer message is under flow control, max num limit is {} or the current value is greater \
         than {max} and less than {}, trigger random flow control",
        u64::from(*max) * 2, u64::from(*max) * 2
    )]
    Congested {
        /// The number above which some are refused.
        max: u32,
    },
}

/// When a message is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// `TIMER_OUT_MS`: its slot.
    pub out_ms: i64,
    /// When it is delivered.
    pub due_ms: i64,
}

impl TimerRules {
    /// When a message with these properties is due; `None` if it does not wait: it asks for nothing, or
    /// for a time that is over, or has been timed already.
    ///
    /// # Errors
    /// If it cannot be timed as it asks.
    pub fn timing(&self, properties: &str, now_ms: i64) -> Result<Option<Timing>, TimerRefusal> {
        let Some(asked) = Asked::of(properties) else { return Ok(None) };
        if names::get(properties, names::TIMER_OUT_MS).is_some() {
            return Ok(None);
        }
        if !self.enabled {
            return Err(TimerRefusal::Off);
        }
        let illegal = TimerRefusal::Illegal { max_ms: self.max_delay_ms };
        let due_ms = asked.time(now_ms).ok_or(illegal)?;
        if due_ms <= now_ms {
            let cancels = names::get(properties, names::TIMER_DEL_UNIQKEY).is_some();
            return if cancels { Err(illegal) } else { Ok(None) };
        }
        if due_ms - now_ms > self.max_delay_ms {
            return Err(illegal);
        }
        Ok(Some(Timing { out_ms: slot_of_due(due_ms, self.precision_ms), due_ms }))
    }

    /// Whether a slot that holds `count` timers takes no more; `dice` is a number from 0 to 1.
    pub fn is_congested(&self, count: i64, dice: f64) -> bool {
        let max = i64::from(self.congest_max);
        // Refused the likelier the fuller the slot is. (Java has it the other way round between the two
        // limits, so that a slot that has just reached the first one refuses nearly all.)
        count >= 2 * max || count > max && dice < (count - max) as f64 / max as f64
    }
}

/// The slot of a message that is due then.
pub fn slot_of_due(due_ms: i64, precision_ms: i64) -> i64 {
    let last_ms = due_ms - 1;
    last_ms - last_ms.rem_euclid(precision_ms)
}

/// A time that a message asks for; what is in its place may be no number.
enum Asked<'a> {
    Seconds(&'a str),
    Millis(&'a str),
    Time(&'a str),
}

impl<'a> Asked<'a> {
    fn of(properties: &'a str) -> Option<Self> {
        let (mut seconds, mut millis, mut time) = (None, None, None);
        for (name, value) in names::iter(properties) {
            match name {
                names::TIMER_DELAY_SEC => seconds = Some(value),
                names::TIMER_DELAY_MS => millis = Some(value),
                names::TIMER_DELIVER_MS => time = Some(value),
                _ => {}
            }
        }
        let seconds = seconds.map(Self::Seconds);
        seconds.or(millis.map(Self::Millis)).or(time.map(Self::Time))
    }

    fn time(&self, from_ms: i64) -> Option<i64> {
        match self {
            Self::Seconds(text) => {
                from_ms.checked_add(text.parse::<i64>().ok()?.checked_mul(1000)?)
            }
            Self::Millis(text) => from_ms.checked_add(text.parse().ok()?),
            Self::Time(text) => text.parse().ok(),
        }
    }
}

/// When the message of a record in the timer topic is due; `None` if it is none: whoever wrote it there
/// did not say which slot it is for.
pub fn timing_of_record(properties: &str, stored_ms: i64, precision_ms: i64) -> Option<Timing> {
    let out_ms: i64 = names::get(properties, names::TIMER_OUT_MS)?.parse().ok()?;
    let has_rolled = names::get(properties, names::TIMER_ROLL_TIMES).is_some();
    let named = names::get(properties, names::TIMER_DELIVER_MS).and_then(|text| text.parse().ok());
    let asked = || Asked::of(properties).and_then(|asked| asked.time(stored_ms));
    let due_ms = if has_rolled { named } else { asked() };
    // Whatever it says, it is delivered within its slot or at the end of it, as by the Java broker.
    let end_ms = out_ms.saturating_add(precision_ms);
    let due_ms = due_ms.unwrap_or(end_ms).clamp(out_ms.saturating_add(1), end_ms);
    Some(Timing { out_ms, due_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_418;

    fn rules() -> TimerRules {
        TimerRules {
            enabled: true,
            precision_ms: 1000,
            max_delay_ms: 259_200_000,
            congest_max: 100,
            recall: true,
            cancels_with_topic: false,
        }
    }

    fn text(pairs: &[(&str, &str)]) -> String {
        let mut text = String::new();
        pairs.iter().for_each(|(name, value)| names::append(&mut text, name, value));
        text
    }

    fn timing(pairs: &[(&str, &str)]) -> Result<Option<Timing>, TimerRefusal> {
        rules().timing(&text(pairs), NOW)
    }

    fn due(due_ms: i64, out_ms: i64) -> Result<Option<Timing>, TimerRefusal> {
        Ok(Some(Timing { out_ms, due_ms }))
    }

    #[test]
    fn a_time_is_asked_for_in_three_ways_and_the_first_counts() {
        let (sec, ms) = (("TIMER_DELAY_SEC", "5"), ("TIMER_DELAY_MS", "10"));
        let at = ("TIMER_DELIVER_MS", "1700000009001");
        assert_eq!(timing(&[at, ms, sec]), due(NOW + 5000, 1_700_000_005_000));
        assert_eq!(timing(&[at, ms]), due(NOW + 10, 1_700_000_000_000));
        assert_eq!(timing(&[at]), due(1_700_000_009_001, 1_700_000_009_000));
        assert_eq!(timing(&[("TAGS", "a")]), Ok(None));
    }

    #[test]
    fn a_whole_second_waits_in_the_slot_before() {
        let at = [("TIMER_DELIVER_MS", "1700000009000")];
        assert_eq!(timing(&at), due(1_700_000_009_000, 1_700_000_008_000));
    }

    #[test]
    fn what_is_over_is_not_timed() {
        for past in ["1700000000418", "1", "-5"] {
            assert_eq!(timing(&[("TIMER_DELIVER_MS", past)]), Ok(None), "{past}");
        }
        assert_eq!(timing(&[("TIMER_DELAY_MS", "0")]), Ok(None));
        assert_eq!(timing(&[("TIMER_DELAY_SEC", "-1")]), Ok(None));
        let timed = [("TIMER_DELAY_SEC", "5"), ("TIMER_OUT_MS", "1")];
        assert_eq!(timing(&timed), Ok(None), "it has been timed before");
    }

    #[test]
    fn what_cannot_be_is_refused_as_by_java() {
        let illegal = Err(TimerRefusal::Illegal { max_ms: 259_200_000 });
        let max = i64::MAX.to_string();
        for (name, value) in [
            ("TIMER_DELAY_SEC", "soon"),
            ("TIMER_DELAY_SEC", "259201"),
            ("TIMER_DELAY_SEC", max.as_str()),
            ("TIMER_DELAY_MS", "259200001"),
            ("TIMER_DELAY_MS", max.as_str()),
            ("TIMER_DELIVER_MS", "1.5"),
            ("TIMER_DELIVER_MS", max.as_str()),
        ] {
            assert_eq!(timing(&[(name, value)]), illegal, "{name} {value}");
        }
        assert!(timing(&[("TIMER_DELAY_SEC", "259200")]).is_ok());
        let late = [("TIMER_DELIVER_MS", "1700000000000"), ("TIMER_DEL_UNIQKEY", "K")];
        assert_eq!(timing(&late), illegal, "there is nothing to take back any more");
        let off = TimerRules { enabled: false, ..rules() };
        assert_eq!(off.timing(&text(&[("TIMER_DELAY_SEC", "5")]), NOW), Err(TimerRefusal::Off));
        assert_eq!(off.timing("", NOW), Ok(None));
    }

    #[test]
    fn a_full_slot_refuses_some_and_then_all() {
        let rules = rules();
        assert!(!rules.is_congested(100, 0.0));
        assert!(rules.is_congested(150, 0.4) && !rules.is_congested(150, 0.6));
        assert!(rules.is_congested(200, 1.0));
    }

    #[test]
    fn a_record_tells_the_very_time() {
        let out = ("TIMER_OUT_MS", "1700000005000");
        let of = |pairs: &[(&str, &str)], stored| {
            timing_of_record(&text(pairs), stored, 1000).map(|timing| timing.due_ms)
        };
        assert_eq!(of(&[out, ("TIMER_DELAY_SEC", "5")], NOW + 2), Some(NOW + 5002));
        assert_eq!(of(&[out, ("TIMER_DELIVER_MS", "1700000006000")], 0), Some(1_700_000_006_000));
        assert_eq!(of(&[out], NOW), Some(1_700_000_006_000), "the end of its slot");
        // A delay that was counted from another store time.
        assert_eq!(of(&[out, ("TIMER_DELAY_SEC", "5")], 9), Some(1_700_000_005_001));
        let rolled = [out, ("TIMER_ROLL_TIMES", "1"), ("TIMER_DELAY_SEC", "5")];
        assert_eq!(of(&rolled, NOW), Some(1_700_000_006_000));
        let named = [rolled.as_slice(), &[("TIMER_DELIVER_MS", "1700000005777")]].concat();
        assert_eq!(of(&named, NOW), Some(1_700_000_005_777));
        assert_eq!(of(&[("TIMER_OUT_MS", "x")], NOW), None);
        assert_eq!(of(&[("TIMER_DELAY_SEC", "5")], NOW), None);
    }
}
