//! Times as AWS writes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY_SECONDS: u64 = 86_400;
/// The Gregorian calendar repeats after 400 years of this many days.
const ERA_DAYS: u64 = 146_097;
/// The days from 0000-03-01 to 1970-01-01.
const DAYS_BEFORE_1970: u64 = 719_468;

/// Returns a time in UTC as `20150830T123600Z`. Times before 1970 and after the year 9999 count as 1970.
pub(crate) fn compact(time: SystemTime) -> String {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (year, month, day) = date(seconds / DAY_SECONDS);
    if year > 9999 {
        return compact(UNIX_EPOCH);
    }
    let of_day = seconds % DAY_SECONDS;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Reads a time as in `2026-11-30T09:29:21Z`, with or without a fraction of the second, and with any offset from UTC (RFC
/// 3339). `None` if the text is none, or is a time before 1970.
pub(super) fn parse(text: &str) -> Option<SystemTime> {
    let number = |from: usize, to: usize| -> Option<u64> {
        let digits = text.get(from..to)?;
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse().ok()).flatten()
    };
    let separators: Option<String> = [4, 7, 10, 13, 16]
        .into_iter()
        .map(|at| text.get(at..at + 1))
        .collect();
    if !["--T::", "--t::", "-- ::"].contains(&&*separators?) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let is_legal = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60
        && year >= 1970;
    if !is_legal {
        return None;
    }
    let seconds = days(year, month, day) * DAY_SECONDS + hour * 3600 + minute * 60 + second;
    let seconds = i64::try_from(seconds).ok()? - offset_seconds(text.get(19..)?)?;
    UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}

/// Reads what follows the seconds: a fraction, which is left out, and `Z` or an offset.
fn offset_seconds(text: &str) -> Option<i64> {
    let zone = match text.strip_prefix('.') {
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|digit: char| digit.is_ascii_digit());
            (zone.len() < fraction.len()).then_some(zone)?
        }
        None => text,
    };
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let number = |digits: &str| -> Option<i64> {
        let is_number = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse().ok()).flatten()
    };
    Some(sign * (number(hours)? * 3600 + number(minutes)? * 60))
}

/// Returns the date of a number of days after 1970-01-01. A year begins in March here: so a leap day is its last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + DAYS_BEFORE_1970;
    let (era, of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// Returns the days from 1970-01-01 to a date of 1970 or later.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let march_month = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * march_month + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    era * ERA_DAYS + of_era - DAYS_BEFORE_1970
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn known_times_are_written_and_read() {
        // By `date -u -d @SECONDS`.
        for (seconds, compacted, text) in [
            (0, "19700101T000000Z", "1970-01-01T00:00:00Z"),
            (951_782_400, "20000229T000000Z", "2000-02-29T00:00:00Z"),
            (1_440_938_160, "20150830T123600Z", "2015-08-30T12:36:00Z"),
            (
                1_709_251_199,
                "20240229T235959Z",
                "2024-02-29T23:59:59.000Z",
            ),
            (
                1_796_030_961,
                "20261130T092921Z",
                "2026-11-30T10:29:21+01:00",
            ),
            (
                1_796_030_961,
                "20261130T092921Z",
                "2026-11-30 08:59:21.5-00:30",
            ),
            (4_107_542_400, "21000301T000000Z", "2100-03-01T00:00:00z"),
        ] {
            assert_eq!(compact(at(seconds)), compacted);
            assert_eq!(parse(text), Some(at(seconds)), "{text}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_comes_back() {
        for number in 0..ERA_DAYS {
            let (year, month, day) = date(number);
            assert_eq!(days(year, month, day), number);
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "2026",
            "2026-11-30",
            "2026-11-30T09:29:21",
            "2026-13-30T09:29:21Z",
            "2026-11-00T09:29:21Z",
            "2026-11-30T24:29:21Z",
            "2026-11-30T09:29:21.Z",
            "2026-11-30T09:29:21+1",
            "2026-11-30T09:29:21+1é0:00",
            "+026-11-30T09:29:21Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "20é6-11-30T09:29:21Z",
            "20261130T092921Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        let far = at(u64::MAX >> 4);
        assert_eq!(compact(far), "19700101T000000Z");
    }
}
