//! `accessd log`: what happened at the door, for people, spreadsheets and programs.

pub(super) mod line;
mod verify;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;

use super::backend::Backend;
use super::output::Output;
use super::{Exit, Globals, when};
use crate::journal::{EventId, EventKind, Filter, Record};

/// Show what happened at the door
///
/// Moments are written as `2h` or `3d` (ago), `07:30`, `today`, `yesterday 18:00`, `2026-11-23`,
/// "2026-11-23 07:30" or in full, as RFC 3339.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Log {
    #[command(subcommand)]
    action: Option<Action>,
    /// Only what happened at or after this moment
    #[arg(long, value_name = "WHEN", value_parser = when::parse)]
    since: Option<Timestamp>,
    /// Only what happened before this moment
    #[arg(long, value_name = "WHEN", value_parser = when::parse)]
    until: Option<Timestamp>,
    /// Only what is about this person, by name then or now
    #[arg(long, value_name = "NAME")]
    person: Option<String>,
    /// Only what happened at this door
    #[arg(long, value_name = "NAME")]
    door: Option<String>,
    /// Only this kind; may be given several times or as a list with commas
    #[arg(long, value_delimiter = ',', ignore_case = true)]
    kind: Vec<EventKind>,
    /// At most so many, the newest (200 when not given, all with --since)
    #[arg(long, short = 'n', value_name = "N")]
    limit: Option<usize>,
    /// Go on as things happen, until interrupted; needs the running service
    #[arg(long, short, conflicts_with_all = ["until", "before"])]
    follow: bool,
    /// Only what has a smaller number than this: the page before one that begins with it
    #[arg(long, value_name = "EVENT")]
    before: Option<i64>,
    /// Print JSON, one event a line
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV with a header line
    #[arg(long)]
    csv: bool,
}

#[derive(Subcommand, Debug)]
enum Action {
    Verify(verify::Verify),
    Key(verify::ShowKey),
}

/// Records shown when nobody says how many.
const DEFAULT_LIMIT: usize = 200;

impl Log {
    pub(super) fn perform(mut self, globals: &Globals) -> anyhow::Result<Exit> {
        match self.action.take() {
            Some(Action::Verify(verify)) => verify.perform(globals),
            Some(Action::Key(key)) => key.perform(globals),
            None => self.show(globals),
        }
    }

    fn show(self, globals: &Globals) -> anyhow::Result<Exit> {
        let mut backend = Backend::to_read(&globals.load()?)?;
        let mut printer = Printer::new(self.format())?;
        let filter = self.filter();
        if self.follow {
            backend.follow(&filter, |record| {
                printer.print(&record)?;
                Ok(printer.out.flush()?)
            })?;
        } else {
            for record in backend.records(&filter)? {
                printer.print(&record)?;
            }
        }
        printer.out.flush()?;
        Ok(Exit::Done)
    }

    fn filter(&self) -> Filter {
        let all = self.since.is_some() && !self.follow;
        Filter {
            since: self.since,
            until: self.until,
            person: self.person.clone(),
            door: self.door.clone(),
            kinds: self.kind.clone(),
            after: None,
            before: self.before.map(EventId),
            limit: self.limit.or((!all).then_some(DEFAULT_LIMIT)),
        }
    }

    fn format(&self) -> Format {
        match (self.json, self.csv) {
            (true, _) => Format::Json,
            (_, true) => Format::Csv,
            _ => Format::Human,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Human,
    Json,
    Csv,
}

/// Prints records one by one.
struct Printer {
    format: Format,
    out: Output,
}

impl Printer {
    fn new(format: Format) -> anyhow::Result<Self> {
        let mut out = Output::new();
        if format == Format::Csv {
            out.line("id,time,kind,person_id,person,actor,detail,door")?;
        }
        Ok(Self { format, out })
    }

    fn print(&mut self, record: &Record) -> anyhow::Result<()> {
        match self.format {
            Format::Human => self.out.line(line::describe(record))?,
            Format::Json => self.out.json_line(record)?,
            Format::Csv => self.out.line(csv_row(record)?)?,
        }
        Ok(())
    }
}

/// One record as a row of the header above, quoted where needed.
#[derive(Serialize)]
struct Row<'a> {
    id: i64,
    time: Timestamp,
    kind: EventKind,
    person_id: Option<i64>,
    person: Option<&'a str>,
    actor: Option<&'a str>,
    detail: String,
    door: Option<&'a str>,
}

fn csv_row(record: &Record) -> anyhow::Result<String> {
    let event = &record.event;
    let row = Row {
        id: record.id.0,
        time: record.at.wall,
        kind: event.kind,
        person_id: event.person.as_ref().map(|p| p.id.0),
        person: event.person.as_ref().map(|p| p.name.as_str()),
        actor: event.actor.as_deref(),
        detail: event.detail.to_string(),
        door: event.door.as_deref(),
    };
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    writer.serialize(row)?;
    let bytes = writer.into_inner().map_err(|e| e.into_error())?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::MonoTime;
    use crate::gallery::PersonId;
    use crate::journal::{Event, PersonRef, Stamp};

    #[test]
    fn a_row_of_csv_quotes_what_needs_it() {
        let person = PersonRef { id: PersonId(7), name: "Ada, \"Countess\"".into() };
        let detail = serde_json::json!({"samples": 2});
        let event = Event {
            kind: EventKind::Enrol,
            person: Some(person),
            actor: Some("uid 0 (root)".into()),
            door: Some("entry".into()),
            detail,
        };
        let at = Stamp { wall: Timestamp::UNIX_EPOCH, mono: MonoTime::default() };
        let record =
            Record { id: EventId(3), at, boot_id: String::new(), clock_trusted: None, hash: None, event };
        assert_eq!(
            csv_row(&record).unwrap(),
            r#"3,1970-01-01T00:00:00Z,enrol,7,"Ada, ""Countess""",uid 0 (root),"{""samples"":2}",entry"#
        );
    }
}
