//! What a test of a door leaves behind: its records in the journal, signed and chained like all others, and what they show of
//! the door together. It is forgotten with them.

use serde_json::json;

use super::presentation::Judged;
use crate::journal::{Event, EventKind, Filter, detail};
use crate::liveness::spoof::{Report, Settings, Shown};
use crate::store::{Store, StoreError};

/// Tests that are looked at for what is shown of a door.
const LOOKED_AT: usize = 1000;

/// What the tests in the journal show of a door with these settings.
pub(crate) fn shown(store: &dyn Store, door: &str, settings: &Settings) -> Result<Shown, StoreError> {
    let kinds = vec![EventKind::SpoofTestEnded];
    let filter = Filter { kinds, limit: Some(LOOKED_AT), ..Filter::default() };
    let records = store.records(&filter)?.into_iter();
    let of_the_door = records.filter(|record| record.event.door.as_deref() == Some(door));
    let tests = of_the_door.filter_map(|record| {
        // A test in which nothing was held up shows nothing; nor does one that a later version wrote otherwise.
        let report: Report = serde_json::from_value(record.event.detail["report"].clone()).ok()?;
        (!report.species.is_empty()).then_some((record.at.wall, report))
    });
    Ok(Shown::of(&tests.collect::<Vec<_>>(), settings))
}

/// The event of a test's beginning.
pub(crate) fn began(actor: &str, settings: &Settings) -> Event {
    let event = Event::new(EventKind::SpoofTestBegan, detail(&json!({ "settings": settings })));
    Event { actor: Some(actor.to_owned()), ..event }
}

/// The event of one presentation.
pub(crate) fn presented(actor: &str, judged: &Judged) -> Event {
    let mut figures = detail(judged);
    figures["what"] = format!("{}: {}", judged.species.as_str(), judged.outcome.words()).into();
    Event { actor: Some(actor.to_owned()), ..Event::new(EventKind::Presentation, figures) }
}

/// The event of a test's end, which keeps what was counted.
pub(crate) fn ended(actor: &str, why: &str, report: &Report) -> Event {
    let figures = detail(&json!({ "result": why, "report": report }));
    Event { actor: Some(actor.to_owned()), ..Event::new(EventKind::SpoofTestEnded, figures) }
}
