//! Times and spans as operators write them.
//!
//! | text | means |
//! |---|---|
//! | `now` | now |
//! | `1700000000000` | milliseconds since 1970 |
//! | `2026-11-25#09:30:00:000` | local time, as `mqadmin` takes it; `2026-11-25T09:30:00` likewise |
//! | `-90s`, `-15m`, `-2h`, `-7d` | so long ago |

use chrono::{DateTime, Local, NaiveDateTime, TimeZone};

/// Milliseconds since 1970 that the text means, or why it means nothing.
pub fn parse_time(text: &str, now_ms: i64) -> Result<i64, String> {
    if text == "now" {
        return Ok(now_ms);
    }
    if let Some(ago) = text.strip_prefix('-') {
        return parse_span(ago).map(|span_ms| now_ms - span_ms);
    }
    if let Ok(ms) = text.parse::<i64>() {
        return Ok(ms);
    }
    let formats = ["%Y-%m-%d#%H:%M:%S:%3f", "%Y-%m-%dT%H:%M:%S"];
    let parsed = formats.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    let local = parsed.and_then(|at| Local.from_local_datetime(&at).earliest());
    local.map(|at| at.timestamp_millis()).ok_or_else(|| {
        format!(
            "{text:?} is no time: now, milliseconds since 1970, yyyy-MM-dd#HH:mm:ss:SSS or -2h are"
        )
    })
}

/// Milliseconds of a span such as `90s` or `2h`.
fn parse_span(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no span of time: 90s, 15m, 2h or 7d are");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let unit_ms = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    let number: i64 = number.parse().ok().filter(|number| *number >= 0).ok_or_else(wrong)?;
    number.checked_mul(unit_ms).ok_or_else(wrong)
}

/// A time as people read it, local.
pub fn show_time(ms: i64) -> String {
    match DateTime::from_timestamp_millis(ms) {
        Some(at) => at.with_timezone(&Local).format("%Y-%m-%dT%H:%M:%S%.3f").to_string(),
        None => ms.to_string(),
    }
}

/// A span as people read it: its two largest units.
pub fn show_span(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0..60 => format!("{}.{}s", seconds, ms.max(0) % 1000 / 100),
        60..3_600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    #[test]
    fn times_are_read_in_every_form() {
        assert_eq!(parse_time("now", NOW), Ok(NOW));
        assert_eq!(parse_time("1234", NOW), Ok(1234));
        assert_eq!(parse_time("-90s", NOW), Ok(NOW - 90_000));
        assert_eq!(parse_time("-7d", NOW), Ok(NOW - 7 * 86_400_000));
        let java = parse_time("2023-11-14#10:00:00:250", NOW).unwrap();
        assert_eq!(parse_time("2023-11-14T10:00:00", NOW), Ok(java - 250));
        assert_eq!(show_time(java), "2023-11-14T10:00:00.250");
    }

    #[test]
    fn what_is_no_time_is_named() {
        for text in ["", "yesterday", "-2w", "-h", "--5s", "-", "2023-13-14#10:00:00:000", "-é"] {
            let why = parse_time(text, NOW).unwrap_err();
            assert!(why.contains(text.trim_start_matches('-')), "{text}: {why}");
        }
    }

    #[test]
    fn spans_are_short() {
        let shown = [0, 1_250, 61_000, 3_720_000, 90_000_000].map(show_span);
        assert_eq!(shown, ["0.0s", "1.2s", "1m1s", "1h2m", "1d1h"]);
    }
}
