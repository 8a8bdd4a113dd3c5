//! Moments as people write them: `2h`, `yesterday`, `today 07:00`, `2026-11-23`, RFC 3339.

use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ZonedDateTime};

use crate::clock::{Clock, SystemClock};

/// A text that is no moment.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error(
    "{text:?} is no moment; write for example `2h` or `3d` (ago), `07:30`, `today`, `yesterday 18:00`, `2026-11-23`, \
     `\"2026-11-23 07:30\"` or `2026-11-23T07:30:00Z`"
)]
pub(super) struct WhenError {
    text: String,
}

/// Reads a moment against this machine's clock and zone; for clap.
pub(super) fn parse(text: &str) -> Result<Timestamp, WhenError> {
    parse_at(text, &SystemClock.wall().to_zoned_datetime(TimeZone::system()))
}

/// A moment as it was written, for what is meant in the zone of the rules and not in this machine's.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Written(String);

impl FromStr for Written {
    type Err = WhenError;

    fn from_str(text: &str) -> Result<Self, WhenError> {
        parse(text).map(|_| Self(text.trim().to_owned()))
    }
}

impl Written {
    /// Reads it there.
    pub(super) fn read(&self, zone: &TimeZone) -> Result<Timestamp, WhenError> {
        parse_at(&self.0, &SystemClock.wall().to_zoned_datetime(zone.clone()))
    }

    /// The same, and a date alone counts to its end.
    pub(super) fn read_to_the_end(&self, zone: &TimeZone) -> Result<Timestamp, WhenError> {
        let date = self.0.parse::<Date>().ok().filter(|_| !self.0.contains(':'));
        let end = date.and_then(|day| day.tomorrow().ok()?.to_zoned_datetime(zone.clone()).ok());
        end.map_or_else(|| self.read(zone), |end| Ok(end.timestamp()))
    }
}

fn parse_at(text: &str, now: &ZonedDateTime) -> Result<Timestamp, WhenError> {
    let text = text.trim();
    [absolute, by_day, ago]
        .iter()
        .find_map(|read| read(text, now))
        .map(|zoned| zoned.timestamp())
        .ok_or_else(|| WhenError { text: text.into() })
}

/// A moment in full, or a date with or without a time in the zone of `now`.
fn absolute(text: &str, now: &ZonedDateTime) -> Option<ZonedDateTime> {
    let zone = now.time_zone();
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(moment.to_zoned_datetime(zone.clone()));
    }
    if !text.starts_with(|c: char| c.is_ascii_digit()) || !text.contains('-') {
        return None;
    }
    text.parse::<DateTime>().ok()?.to_zoned_datetime(zone.clone()).ok()
}

/// `now`, `today`, `yesterday`, each day with or without a time; a time alone is today's.
fn by_day(text: &str, now: &ZonedDateTime) -> Option<ZonedDateTime> {
    if text == "now" {
        return Some(now.clone());
    }
    let (day, time) = match text.split_once(' ') {
        Some((day, time)) => (day, Some(time.trim())),
        None if text.contains(':') => ("today", Some(text)),
        None => (text, None),
    };
    let date = match day {
        "today" => now.date(),
        "yesterday" => now.date().yesterday().ok()?,
        _ => return None,
    };
    let time = time.map_or(Some(Time::midnight()), |time| time.parse().ok())?;
    date.to_datetime(time).to_zoned_datetime(now.time_zone().clone()).ok()
}

/// A time span before now, with or without `ago`.
fn ago(text: &str, now: &ZonedDateTime) -> Option<ZonedDateTime> {
    let span: Span = text.trim_end_matches("ago").trim().parse().ok()?;
    if span.is_negative() {
        return None;
    }
    now.checked_sub(span).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Result<String, WhenError> {
        let now: ZonedDateTime = "2026-03-29T12:00:00[Europe/Berlin]".parse().unwrap();
        parse_at(text, &now).map(|moment| moment.to_string())
    }

    #[test]
    fn people_may_write_moments_in_many_ways() {
        for (text, moment) in [
            ("now", "2026-03-29T10:00:00Z"),
            ("2h", "2026-03-29T08:00:00Z"),
            ("90 minutes ago", "2026-03-29T08:30:00Z"),
            ("1h30m", "2026-03-29T08:30:00Z"),
            // The clocks went forward in the night: a day ago is noon of yesterday, 23 hours before.
            ("1d", "2026-03-28T11:00:00Z"),
            ("today", "2026-03-28T23:00:00Z"),
            ("yesterday", "2026-03-27T23:00:00Z"),
            ("today 07:00", "2026-03-29T05:00:00Z"),
            ("yesterday 18:30:05", "2026-03-28T17:30:05Z"),
            ("07:15", "2026-03-29T05:15:00Z"),
            ("2026-03-01", "2026-02-28T23:00:00Z"),
            ("2026-03-01 08:00", "2026-03-01T07:00:00Z"),
            ("2026-03-01T08:00:30", "2026-03-01T07:00:30Z"),
            ("2026-03-01T08:00:30Z", "2026-03-01T08:00:30Z"),
            ("2026-03-01T08:00:30+05:00", "2026-03-01T03:00:30Z"),
        ] {
            assert_eq!(at(text).as_deref(), Ok(moment), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_where_the_rules_are_meant_and_a_date_alone_can_count_to_its_end() {
        let zone = TimeZone::get("Asia/Tokyo").unwrap();
        for (text, moment, end) in [
            ("2026-12-24 10:00", "2026-12-24T01:00:00Z", "2026-12-24T01:00:00Z"),
            ("2026-12-31", "2026-12-30T15:00:00Z", "2026-12-31T15:00:00Z"),
            ("2026-12-31T17:00:00Z", "2026-12-31T17:00:00Z", "2026-12-31T17:00:00Z"),
        ] {
            let written: Written = text.parse().unwrap();
            assert_eq!(written.read(&zone).unwrap().to_string(), moment, "{text}");
            assert_eq!(written.read_to_the_end(&zone).unwrap().to_string(), end, "{text}");
        }
        assert!("whenever".parse::<Written>().unwrap_err().to_string().contains("is no moment"));
    }

    #[test]
    fn what_is_no_moment_is_refused_with_examples() {
        for text in ["", "soon", "-2h", "tomorrow", "2026-13-01", "25:00", "today noon", "12", "2x"] {
            let error = at(text).expect_err(text).to_string();
            assert!(error.contains("is no moment; write for example `2h`"), "{error}");
        }
    }
}
