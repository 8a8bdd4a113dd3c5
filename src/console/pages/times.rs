//! Moments as people at the door read them: in the door's zone, and as fields of a form.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::super::desk::Trouble;
use super::super::text as t;
use super::bad;

/// `08:14:03`
pub(super) fn clock(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned_datetime(zone.clone()).strftime("%H:%M:%S").to_string()
}

/// `24 Nov 2026, 08:14`
pub(super) fn moment(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned_datetime(zone.clone()).strftime("%-d %b %Y, %H:%M").to_string()
}

/// `24 Nov 2026`
pub(super) fn day(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned_datetime(zone.clone()).strftime("%-d %b %Y").to_string()
}

/// `Today`, `Yesterday`, `Tuesday, 24 November 2026`
pub(super) fn heading(date: Date, today: Date) -> String {
    if date == today {
        return t::TODAY.into();
    }
    if today.yesterday().is_ok_and(|yesterday| yesterday == date) {
        return t::YESTERDAY.into();
    }
    date.strftime("%A, %-d %B %Y").to_string()
}

/// The day in the zone.
pub(super) fn date(at: Timestamp, zone: &TimeZone) -> Date {
    at.to_zoned_datetime(zone.clone()).date()
}

/// As a `datetime-local` field has it; empty for none.
pub(super) fn as_field(at: Option<Timestamp>, zone: &TimeZone) -> String {
    at.map_or(String::new(), |at| at.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%dT%H:%M").to_string())
}

/// A `datetime-local` or `date` field; none when it is empty.
pub(super) fn of_field(text: &str, zone: &TimeZone) -> Result<Option<Timestamp>, Trouble> {
    if text.is_empty() {
        return Ok(None);
    }
    let local =
        text.parse::<jiff::civil::DateTime>().or_else(|_| text.parse::<Date>().map(|d| d.at(0, 0, 0, 0)));
    let local = local.map_err(|_| bad(t::BAD_TIME))?;
    zone.to_timestamp(local).map(Some).map_err(|_| bad(t::BAD_TIME))
}

/// A `date` field as the end of a time: the midnight after it. A moment stays what it is.
pub(super) fn end_of_field(text: &str, zone: &TimeZone) -> Result<Option<Timestamp>, Trouble> {
    let at = of_field(text, zone)?;
    Ok(match (at, text.len()) {
        (Some(at), 10) => at.to_zoned_datetime(zone.clone()).checked_add(1.day()).ok().map(|z| z.timestamp()),
        (at, _) => at,
    })
}

/// `3d 4h`, `5m 12s`: the two largest units.
pub(super) fn span(seconds: u64) -> String {
    let units =
        [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let first = units.iter().position(|(n, _)| *n > 0).unwrap_or(units.len() - 1);
    let shown: Vec<String> = units[first..].iter().take(2).map(|(n, unit)| format!("{n} {unit}")).collect();
    shown.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").unwrap()
    }

    #[test]
    fn fields_are_read_and_written_in_the_doors_zone() {
        let at = of_field("2026-11-24T18:00", &berlin()).unwrap().unwrap();
        assert_eq!(at.to_string(), "2026-11-24T17:00:00Z");
        assert_eq!(as_field(Some(at), &berlin()), "2026-11-24T18:00");
        assert_eq!(of_field("", &berlin()).unwrap(), None);
        assert_eq!(of_field("2026-11-24", &berlin()).unwrap().unwrap().to_string(), "2026-11-23T23:00:00Z");
        assert_eq!(
            end_of_field("2026-11-24", &berlin()).unwrap().unwrap().to_string(),
            "2026-11-24T23:00:00Z"
        );
        for odd in ["yesterday", "2026-13-01", "9999-12-31T23:59", "-009999-01-01T00:00", "2026-11-24T18"] {
            let _ = (of_field(odd, &berlin()), end_of_field(odd, &berlin()));
        }
        assert!(of_field("yesterday", &berlin()).is_err());
    }

    #[test]
    fn days_have_names_and_the_last_two_have_others() {
        let date = |text: &str| text.parse::<Date>().unwrap();
        assert_eq!(heading(date("2026-11-24"), date("2026-11-24")), t::TODAY);
        assert_eq!(heading(date("2026-11-23"), date("2026-11-24")), t::YESTERDAY);
        assert_eq!(heading(date("2026-11-03"), date("2026-11-24")), "Tuesday, 3 November 2026");
    }

    #[test]
    fn spans_are_told_in_their_two_largest_units() {
        for (seconds, text) in [(0, "0 s"), (59, "59 s"), (3_725, "1 h 2 m"), (273_600, "3 d 4 h")] {
            assert_eq!(span(seconds), text);
        }
    }
}
