//! Times on the command line: durations, and moments as milliseconds since 1970.
//! Must never touch: time zones beyond UTC and fixed offsets.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY_MS: i64 = 86_400_000;

/// The wall clock in milliseconds since 1970.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// A duration: 500ms, 10s, 2m, 3h, 7d; a bare number is seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is no duration: 500ms, 10s, 2m, 3h and 7d are");
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit_ms = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => DAY_MS as u64,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(wrong)
}

/// A moment: milliseconds since 1970, a duration before now (`-2h` or `2h`), or `2026-11-21`, `2026-11-21T10:30`,
/// `2026-11-21T10:30:15.250Z`, `...+01:00`; without an offset it is UTC.
pub fn parse_moment(text: &str, now_ms: i64) -> Result<i64, String> {
    if text.len() > 6
        && let Ok(number) = text.parse::<i64>()
        && number >= 0
    {
        return Ok(number);
    }
    if let Ok(before) = parse_duration(text.strip_prefix('-').unwrap_or(text))
        && text.ends_with(|c: char| c.is_ascii_alphabetic())
    {
        return Ok(now_ms.saturating_sub(i64::try_from(before.as_millis()).unwrap_or(i64::MAX)));
    }
    parse_date_time(text).ok_or_else(|| {
        format!("'{text}' is no moment: 2026-11-21T10:30:00Z, milliseconds since 1970, and 2h (ago) are")
    })
}

fn parse_date_time(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00"));
    let mut parts = date.splitn(3, '-');
    let (year, month, day) = (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let days = days_since_1970(year, month, day)?;
    let (time, offset_ms) = split_offset(time)?;
    let (whole, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut parts = whole.split(':');
    let (hour, minute) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let second = parts.next().map_or(Some(0), |part| number(part, 2))?;
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let millis = match fraction.len() {
        0 => 0,
        1..=9 if fraction.bytes().all(|b| b.is_ascii_digit()) => format!("{fraction:0<3}")[..3].parse().ok()?,
        _ => return None,
    };
    Some(days * DAY_MS + ((hour * 60 + minute) * 60 + second) * 1000 + millis - offset_ms)
}

/// The time without its offset from UTC, and the offset in milliseconds.
fn split_offset(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix('Z') {
        return Some((time, 0));
    }
    let Some(at) = time.rfind(['+', '-']) else { return Some((time, 0)) };
    let (hours, minutes) = time[at + 1..].split_once(':')?;
    let offset_ms = (number(hours, 2)? * 60 + number(minutes, 2)?) * 60_000;
    Some((&time[..at], if time.as_bytes()[at] == b'-' { -offset_ms } else { offset_ms }))
}

fn number(text: &str, digits: usize) -> Option<i64> {
    let good = text.len() == digits && text.bytes().all(|b| b.is_ascii_digit());
    if good { text.parse().ok() } else { None }
}

/// The days from 1970-01-01 to a date of the Gregorian calendar.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let month_index = usize::try_from(month - 1).ok().filter(|&index| index < 12)?;
    if day < 1 || day > lengths[month_index] || year < 1 {
        return None;
    }
    let before = year - 1;
    let years = before * 365 + before / 4 - before / 100 + before / 400;
    const YEARS_TO_1970: i64 = 1969 * 365 + 1969 / 4 - 1969 / 100 + 1969 / 400;
    Some(years - YEARS_TO_1970 + lengths[..month_index].iter().sum::<i64>() + day - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let ms = |text| parse_duration(text).map(|duration| duration.as_millis());
        assert_eq!((ms("500ms"), ms("10"), ms("10s"), ms("2m")), (Ok(500), Ok(10_000), Ok(10_000), Ok(120_000)));
        assert_eq!((ms("3h"), ms("7d")), (Ok(10_800_000), Ok(604_800_000)));
        for wrong in ["", "s", "-1s", "1.5s", "1w", "99999999999999999999s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn moments() {
        let now = 1_800_000_000_000;
        let moment = |text| parse_moment(text, now);
        assert_eq!(moment("1700000000000"), Ok(1_700_000_000_000));
        assert_eq!((moment("2h"), moment("-2h")), (Ok(now - 7_200_000), Ok(now - 7_200_000)));
        assert_eq!(moment("1970-01-01"), Ok(0));
        assert_eq!(moment("2000-02-29T12:30"), Ok(951_827_400_000));
        assert_eq!(moment("2026-11-21T10:30:15.25Z"), Ok(1_795_257_015_250));
        assert_eq!(moment("2026-11-21 11:30:15+01:00"), Ok(1_795_257_015_000));
        for wrong in ["", "yesterday", "2026-02-29", "2026-13-01", "2026-11-21T25:00", "2026-11-21T10:30:15.Z9", "12"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}
