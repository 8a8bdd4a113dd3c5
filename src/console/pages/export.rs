//! The journal as a file: read and sent a piece at a time, so that neither console nor daemon ever holds all of it.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use futures_util::stream::unfold;

use super::super::desk::{Desk, Trouble};
use super::super::session::Visitor;
use super::events::Wish;
use super::form::Query;
use super::{Page, Shared, Who, odd};
use crate::daemon::protocol::{Reply, Request};
use crate::journal::{EventId, Filter, Record};

/// Records in one piece.
const A_PIECE: usize = 250;

/// How they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Csv,
    /// One object a line.
    Json,
}

struct Export {
    desk: Desk,
    visitor: Visitor,
    filter: Filter,
    format: Format,
    /// The piece that goes out next, already read: what cannot be begun is an error and no empty file.
    next: Option<Vec<Record>>,
    first: bool,
}

pub(super) async fn get(State(app): Shared, Extension(visitor): Who, Query(query): Query) -> Page {
    let filter = Wish::of(&query).filter(&app.zone())?;
    let (format, kind, name) = match query.get("as") {
        "csv" => (Format::Csv, "text/csv; charset=utf-8", "events.csv"),
        _ => (Format::Json, "application/x-ndjson", "events.ndjson"),
    };
    let mut export = Export { desk: app.desk.clone(), visitor, filter, format, next: None, first: true };
    export.next = Some(export.read().await?);
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
    ];
    let body = Body::from_stream(unfold(export, |export| export.piece()));
    Ok((headers, body).into_response())
}

impl Export {
    /// The next piece, newest first; the connection breaks off where the rest cannot be had, so that a part is not taken
    /// for the whole.
    async fn piece(mut self) -> Option<(Result<String, std::io::Error>, Self)> {
        let records = match self.next.take() {
            Some(records) => records,
            None => match self.read().await {
                Ok(records) => records,
                Err(trouble) => return Some((Err(std::io::Error::other(trouble)), self)),
            },
        };
        if records.is_empty() && !self.first {
            return None;
        }
        let text = match write(&records, self.format, self.first) {
            Ok(text) => text,
            Err(error) => return Some((Err(error), self)),
        };
        self.first = false;
        self.filter.before = records.last().map(|record| record.id).or(Some(EventId(0)));
        Some((Ok(text), self))
    }

    async fn read(&self) -> Result<Vec<Record>, Trouble> {
        let filter = Filter { limit: Some(A_PIECE), ..self.filter.clone() };
        match self.desk.ask(&self.visitor, Request::Records { filter }).await? {
            Reply::Records { mut records } => {
                records.reverse();
                Ok(records)
            }
            _ => Err(odd().0),
        }
    }
}

fn write(records: &[Record], format: Format, first: bool) -> Result<String, std::io::Error> {
    match format {
        Format::Json => {
            let mut text = String::new();
            for record in records {
                text += &serde_json::to_string(record)?;
                text.push('\n');
            }
            Ok(text)
        }
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(Vec::new());
            if first {
                csv.write_record(["id", "time", "kind", "person", "actor", "detail"])?;
            }
            for record in records {
                let kind = serde_json::to_value(record.event.kind)?;
                let person = record.event.person.as_ref().map_or("", |person| person.name.as_str());
                csv.write_record([
                    &record.id.0.to_string(),
                    &record.at.wall.to_string(),
                    kind.as_str().unwrap_or_default(),
                    &harmless(person),
                    &harmless(record.event.actor.as_deref().unwrap_or_default()),
                    &record.event.detail.to_string(),
                ])?;
            }
            let bytes = csv.into_inner().map_err(|error| error.into_error())?;
            String::from_utf8(bytes).map_err(std::io::Error::other)
        }
    }
}

/// A spreadsheet takes a text that begins so for a formula, and a name is what an operator types.
fn harmless(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::MonoTime;
    use crate::gallery::PersonId;
    use crate::journal::{Event, EventKind, PersonRef, Stamp};

    #[test]
    fn a_name_is_no_formula_in_a_spreadsheet() {
        let at = Stamp { wall: "2026-11-03T08:15:30Z".parse().unwrap(), mono: MonoTime::from_millis(1) };
        let mut event = Event::new(EventKind::Grant, json!({ "a": 1 }));
        event.person = Some(PersonRef { id: PersonId(1), name: "=cmd|' /C calc'!A0".into() });
        let record =
            Record { id: EventId(7), at, boot_id: "b".into(), clock_trusted: None, hash: None, event };
        let text = write(&[record], Format::Csv, true).unwrap();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("id,time,kind,person,actor,detail"));
        assert_eq!(lines.next(), Some("7,2026-11-03T08:15:30Z,grant,'=cmd|' /C calc'!A0,,\"{\"\"a\"\":1}\""));
        assert_eq!(write(&[], Format::Json, true).unwrap(), "");
    }
}
