//! What is other than at the last start: the settings and the encoder, each an event.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::encoder::ModelId;
use crate::journal::{Event, EventKind, Filter};
use crate::store::{Store, StoreError};

/// The events that tell of changes since the last start, in the journal of `store`. Settings are those that are not the
/// defaults, by key; of a door that never wrote them down all are told.
pub(super) fn changes(
    store: &dyn Store,
    settings: &BTreeMap<String, String>,
    model: &ModelId,
) -> Result<Vec<Event>, StoreError> {
    let mut changes = Vec::new();
    let before = last(store, EventKind::Config)?;
    let before =
        before.map(|detail| serde_json::from_value::<BTreeMap<String, String>>(detail["now"].clone()));
    let (before, known) = match before {
        Some(Ok(before)) => (before, true),
        _ => (BTreeMap::new(), false),
    };
    if (known || !settings.is_empty()) && before != *settings {
        changes
            .push(Event::new(EventKind::Config, json!({ "what": told(&before, settings), "now": settings })));
    }
    let model_before = last(store, EventKind::Start)?.map(|detail| detail["model"].clone());
    if let Some(from) = model_before.filter(|from| from.as_str() != Some(model.0.as_str())) {
        changes.push(Event::new(EventKind::Model, json!({ "from": from, "to": model })));
    }
    Ok(changes)
}

/// The detail of the last event of a kind.
fn last(store: &dyn Store, kind: EventKind) -> Result<Option<Value>, StoreError> {
    let records = store.records(&Filter { kinds: vec![kind], limit: Some(1), ..Filter::default() })?;
    Ok(records.into_iter().next().map(|record| record.event.detail))
}

/// `door.pulse_ms 5000 → 6000, vision.threads default → 2`
fn told(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> String {
    let keys: std::collections::BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let value =
        |of: &BTreeMap<String, String>, key: &String| of.get(key).cloned().unwrap_or("default".into());
    let changed = keys.into_iter().filter(|key| before.get(*key) != now.get(*key));
    let changed = changed.map(|key| format!("{key} {} → {}", value(before, key), value(now, key)));
    changed.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::MonoTime;
    use crate::daemon::fakes::{FakeStore, Log};
    use crate::journal::Stamp;

    const AT: Stamp = Stamp { wall: jiff::Timestamp::UNIX_EPOCH, mono: MonoTime::from_millis(1) };

    #[test]
    fn a_change_of_settings_or_encoder_is_told_once() {
        let mut store = FakeStore::new(Log::default());
        let settings = |pulse: &str| BTreeMap::from([("door.pulse_ms".to_owned(), pulse.to_owned())]);
        let mut start = |settings: &BTreeMap<String, String>, model: &str| -> Vec<(EventKind, Value)> {
            let model = ModelId(model.into());
            let events = changes(&store, settings, &model).unwrap();
            store.append(&Event::new(EventKind::Start, json!({ "model": model })), AT).unwrap();
            for event in &events {
                store.append(event, AT).unwrap();
            }
            events.into_iter().map(|event| (event.kind, event.detail)).collect()
        };
        assert_eq!(start(&BTreeMap::new(), "a@1"), [], "the defaults are nothing to tell");
        let first = start(&settings("6000"), "a@1");
        assert_eq!(first[0].1["what"], "door.pulse_ms default → 6000");
        assert_eq!(start(&settings("6000"), "a@1"), []);
        let both = start(&settings("7000"), "b@1");
        assert_eq!(both[0].1["what"], "door.pulse_ms 6000 → 7000");
        assert_eq!(both[1], (EventKind::Model, json!({ "from": "a@1", "to": "b@1" })));
        assert_eq!(start(&BTreeMap::new(), "b@1")[0].1["what"], "door.pulse_ms 7000 → default");
    }
}
