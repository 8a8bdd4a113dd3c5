//! Doubles for the daemon's tests: a camera that films what the test puts before it, networks that see what it says,
//! a store and a relay that write into one log, so that the order of the two can be seen.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use image::RgbImage;
use jiff::Timestamp;

use crate::access::Proof;
use crate::access::pin::StoredPin;
use crate::camera::{Camera, CameraError};
use crate::clock::{Clock, MonoTime, SystemClock};
use crate::door::{Relay, RelayError};
use crate::encoder::{Embedding, ModelId};
use crate::frame::Frame;
use crate::gallery::{Gallery, NewTemplate, Person, PersonId, TemplateInfo, TemplateSource};
use crate::journal::chain::{Against, Verification};
use crate::journal::replay::PastAttempt;
use crate::journal::{Event, EventId, EventKind, Filter, PersonRef, Record, Stamp};
use crate::policy::{Change, NumberedRule, Passage, PersonRow, PersonTerms, Place, RuleBook, RuleId};
use crate::seal::RecoveryCode;
use crate::store::{
    Album, Consent, CropsOf, Custody, Export, Filling, Header, Migrating, Migration, NamedModel, PinChange,
    Recollection, Search, Snapshot, Store, StoreError, Traces,
};
use crate::vision::quality::{Quality, QualityIssue};
use crate::vision::tracks::TrackId;
use crate::vision::{BBox, Face};

use super::CameraFactory;
use super::analysis::{AnalyseError, Analyser, Analysis, SeenFace, StageTimes};
use super::status::{DoorBoard, FixedDoor};

/// The encoder of all tests.
pub(crate) fn model() -> ModelId {
    ModelId("fake@1".into())
}

/// A unit vector.
pub(crate) fn embedding(values: &[f32]) -> Embedding {
    Embedding::normalise(values.to_vec()).unwrap()
}

/// A good picture's figures.
pub(crate) fn quality() -> Quality {
    Quality {
        eye_distance_px: 60.0,
        sharpness: 100.0,
        light: 120.0,
        yaw_deg: 0.0,
        pitch_deg: 0.0,
        roll_deg: 0.0,
    }
}

/// A template to enrol.
pub(crate) fn template(values: &[f32]) -> NewTemplate {
    NewTemplate {
        model: model(),
        embedding: embedding(values),
        quality: quality(),
        source: TemplateSource::Image,
        crop: None,
    }
}

/// A good face, not yet matched.
pub(crate) fn seen(track: u64, values: &[f32]) -> SeenFace {
    SeenFace {
        crop: None,
        snapshot: None,
        track: TrackId(track),
        face: Face { bbox: BBox { x: 0.0, y: 0.0, w: 9.0, h: 9.0 }, landmarks: [[0.0; 2]; 5], score: 0.9 },
        quality: quality(),
        issue: None,
        embedding: Some(embedding(values)),
        matched: None,
        proof: Proof::Off,
        repeated: false,
        signs: crate::liveness::signs::Signs::default(),
    }
}

/// A face that is not good enough.
pub(crate) fn poor_face(track: u64, issue: QualityIssue) -> SeenFace {
    SeenFace { issue: Some(issue), embedding: None, ..seen(track, &[1.0]) }
}

/// A frame, looked at.
pub(crate) fn analysis(seq: u64, captured: MonoTime, generation: u64, faces: Vec<SeenFace>) -> Analysis {
    let (size, times) = ((64, 48), StageTimes::default());
    Analysis { seq, captured, size, gallery_generation: generation, faces, times }
}

/// A frame with nobody in it.
pub(crate) fn empty_analysis(seq: u64) -> Analysis {
    analysis(seq, MonoTime::from_millis(seq), 0, vec![])
}

/// The board of a door whose daemon has just started.
pub(crate) fn door_board() -> DoorBoard {
    DoorBoard::new(FixedDoor {
        place: Place::default(),
        camera: "fake".into(),
        second: None,
        relay: "fake".into(),
        started: MonoTime::from_millis(0),
    })
}

/// The system's clock, which a test can put forward.
#[derive(Debug, Default)]
pub(crate) struct SkipClock(AtomicU64);

impl SkipClock {
    pub(crate) fn skip(&self, by: Duration) {
        self.0.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
    }

    fn skipped(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }
}

impl Clock for SkipClock {
    fn now(&self) -> MonoTime {
        SystemClock.now() + self.skipped()
    }

    fn wall(&self) -> Timestamp {
        SystemClock.wall() + self.skipped()
    }
}

/// What store and relay did, in order: `append grant`, `relay on`, ….
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn push(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn has(&self, line: &str) -> bool {
        self.lines().iter().any(|l| l == line)
    }
}

/// A relay that logs its transitions, under the name of its door if it has one.
pub(crate) struct FakeRelay {
    pub(crate) name: String,
    pub(crate) log: Log,
}

impl Relay for FakeRelay {
    fn set(&mut self, energised: bool, _why: &str) -> Result<(), RelayError> {
        self.log.push(format!("{}relay {}", self.name, if energised { "on" } else { "off" }));
        Ok(())
    }

    fn describe(&self) -> String {
        "fake relay".into()
    }
}

/// A store in memory; its clones and readers share it.
#[derive(Clone)]
pub(crate) struct FakeStore {
    /// Writing waits here while the test holds it.
    pub(crate) disk: Arc<Mutex<()>>,
    writing: Arc<AtomicU64>,
    log: Log,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    people: BTreeMap<String, (Person, Vec<Embedding>)>,
    records: Vec<Record>,
    generation: u64,
    last_id: i64,
    book: RuleBook,
    agreed: BTreeMap<PersonId, PersonTerms>,
    pins: BTreeMap<PersonId, StoredPin>,
    passages: BTreeMap<PersonId, Vec<Passage>>,
    forgiven: BTreeMap<PersonId, Timestamp>,
    attempts: Vec<PastAttempt>,
    snapshots: Vec<Snapshot>,
    refused: Option<EventKind>,
    panics: Option<EventKind>,
}

impl FakeStore {
    pub(crate) fn new(log: Log) -> Self {
        let store = Self { disk: Arc::default(), writing: Arc::default(), log, inner: Arc::default() };
        let always = serde_json::from_str(r#"{"effect":"allow","who":"everybody"}"#).unwrap();
        store.inner.lock().unwrap().book.rules = vec![NumberedRule { id: RuleId(1), rule: always }];
        store
    }

    /// Whether an event is being written.
    pub(crate) fn writing(&self) -> bool {
        self.writing.load(Ordering::SeqCst) > 0
    }

    /// From now on events of this kind cannot be written.
    pub(crate) fn refuse(&self, kind: EventKind) {
        self.inner.lock().unwrap().refused = Some(kind);
    }

    /// From now on writing events of this kind panics.
    pub(crate) fn panic_on(&self, kind: EventKind) {
        self.inner.lock().unwrap().panics = Some(kind);
    }

    /// Changes the people behind the daemon's back.
    pub(crate) fn remove_silently(&self, name: &str) {
        self.inner.lock().unwrap().people.remove(name);
    }

    /// Pictures of refusals that are kept.
    pub(crate) fn snapshots(&self) -> Vec<Snapshot> {
        self.inner.lock().unwrap().snapshots.clone()
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.inner.lock().unwrap().records.iter().map(|record| record.event.clone()).collect()
    }

    pub(crate) fn kinds(&self) -> Vec<EventKind> {
        self.events().into_iter().map(|event| event.kind).collect()
    }

    pub(crate) fn count(&self, kind: EventKind) -> usize {
        self.kinds().into_iter().filter(|k| *k == kind).count()
    }

    /// The last event of a kind.
    pub(crate) fn last(&self, kind: EventKind) -> Event {
        self.events().into_iter().rfind(|event| event.kind == kind).expect("an event of this kind")
    }

    fn broken() -> StoreError {
        StoreError::Database { path: "fake.db".into(), what: "the disk is full".into(), source: None }
    }

    fn about(kind: EventKind, person: PersonId, name: &str, actor: &str) -> Event {
        Event {
            person: Some(PersonRef { id: person, name: name.into() }),
            actor: Some(actor.into()),
            ..Event::new(kind, serde_json::Value::Null)
        }
    }
}

/// Consent and copies are the real store's business; here nothing is kept of anybody.
impl Custody for FakeStore {
    fn consents(&self, name: &str) -> Result<Vec<Consent>, StoreError> {
        self.person(name).map(|_| Vec::new())
    }

    fn record_consent(
        &mut self,
        _name: &str,
        _text: &str,
        _given: Timestamp,
        _actor: &str,
        _at: Stamp,
    ) -> Result<(), StoreError> {
        Err(Self::broken())
    }

    fn forget_unused(&mut self, _at: Stamp) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    fn export(&self, _name: &str) -> Result<Export, StoreError> {
        Err(Self::broken())
    }

    fn traces(&self, _name: &str) -> Result<Traces, StoreError> {
        Err(Self::broken())
    }

    fn look_for(&self, _traces: &Traces) -> Search {
        Search::default()
    }

    fn new_recovery_code(&mut self, _actor: &str, _at: Stamp) -> Result<RecoveryCode, StoreError> {
        Err(Self::broken())
    }

    fn key_file(&self) -> Result<Vec<u8>, StoreError> {
        Err(Self::broken())
    }

    fn back_up(&self, _to: &mut dyn Write, _at: Timestamp) -> Result<Header, StoreError> {
        Err(Self::broken())
    }

    fn is_erased(&mut self) -> bool {
        true
    }
}

impl Recollection for FakeStore {
    fn keep(&mut self, attempts: &[PastAttempt], _at: Stamp) -> Result<(), StoreError> {
        self.inner.lock().unwrap().attempts.extend_from_slice(attempts);
        Ok(())
    }

    fn recall(&self, model: &ModelId) -> Result<Vec<PastAttempt>, StoreError> {
        let inner = self.inner.lock().unwrap();
        Ok(inner.attempts.iter().filter(|attempt| attempt.model == *model).cloned().collect())
    }

    fn kept(&self, model: &ModelId) -> Result<usize, StoreError> {
        self.recall(model).map(|kept| kept.len())
    }
}

/// A change of the encoder is the real store's business; here none is under way.
impl Migrating for FakeStore {
    fn migration(&self) -> Result<Option<Migration>, StoreError> {
        Ok(None)
    }

    fn begin_migration(
        &mut self,
        _from: &NamedModel,
        _to: &NamedModel,
        _actor: &str,
        _at: Stamp,
    ) -> Result<(), StoreError> {
        Err(Self::broken())
    }

    fn filling(&self, _this: &ModelId, _other: &ModelId) -> Result<Vec<Filling>, StoreError> {
        Ok(Vec::new())
    }

    fn crops_to_fill(
        &self,
        _from: &ModelId,
        _to: &ModelId,
        _after: PersonId,
    ) -> Result<Option<CropsOf>, StoreError> {
        Ok(None)
    }

    fn fill(
        &mut self,
        _person: PersonId,
        _templates: &[NewTemplate],
        _detail: serde_json::Value,
        _at: Stamp,
    ) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn end_migration(&mut self, _keep: &ModelId, _actor: &str, _at: Stamp) -> Result<usize, StoreError> {
        Err(Self::broken())
    }

    fn clear_away(&mut self) -> Result<bool, StoreError> {
        Ok(true)
    }
}

impl Album for FakeStore {
    fn keep_snapshot(&mut self, snapshot: &Snapshot, _at: Stamp) -> Result<(), StoreError> {
        self.inner.lock().unwrap().snapshots.push(snapshot.clone());
        Ok(())
    }

    fn look_at_snapshot(
        &mut self,
        event: EventId,
        actor: &str,
        at: Stamp,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let kept = self.snapshots().into_iter().find(|kept| kept.event == event);
        if kept.is_some() {
            let seen = Event::new(EventKind::PictureSeen, serde_json::Value::Null);
            self.append(&Event { actor: Some(actor.into()), ..seen }, at)?;
        }
        Ok(kept.map(|kept| kept.jpeg))
    }
}

impl Store for FakeStore {
    fn people(&self) -> Result<Vec<Person>, StoreError> {
        Ok(self.inner.lock().unwrap().people.values().map(|(person, _)| person.clone()).collect())
    }

    fn person(&self, name: &str) -> Result<Person, StoreError> {
        let unknown = || StoreError::UnknownPerson { name: name.into(), nearest: None };
        self.inner.lock().unwrap().people.get(name).map(|(person, _)| person.clone()).ok_or_else(unknown)
    }

    fn enrol(
        &mut self,
        name: &str,
        templates: &[NewTemplate],
        actor: &str,
        at: Stamp,
    ) -> Result<PersonId, StoreError> {
        if self.person(name).is_ok() {
            return Err(StoreError::NameTaken { name: name.into() });
        }
        let id = {
            let mut inner = self.inner.lock().unwrap();
            inner.last_id += 1;
            inner.generation += 1;
            let id = PersonId(inner.last_id);
            let infos = templates
                .iter()
                .map(|t| TemplateInfo {
                    id: 1,
                    model: t.model.clone(),
                    quality: t.quality,
                    source: t.source,
                    created: at.wall,
                })
                .collect();
            let person =
                Person { id, name: name.into(), created: at.wall, templates: infos, last_grant: None };
            let embeddings = templates.iter().map(|t| t.embedding.clone()).collect();
            inner.people.insert(name.into(), (person, embeddings));
            id
        };
        self.append(&Self::about(EventKind::Enrol, id, name, actor), at)?;
        Ok(id)
    }

    fn add_person(&mut self, name: &str, actor: &str, at: Stamp) -> Result<PersonId, StoreError> {
        self.enrol(name, &[], actor, at)
    }

    fn pin(&self, person: PersonId) -> Result<Option<StoredPin>, StoreError> {
        Ok(self.inner.lock().unwrap().pins.get(&person).cloned())
    }

    fn change_pin(
        &mut self,
        name: &str,
        change: &PinChange,
        actor: &str,
        at: Stamp,
    ) -> Result<(), StoreError> {
        let id = self.person(name)?.id;
        let kind = {
            let pins = &mut self.inner.lock().unwrap().pins;
            match change {
                PinChange::Set(pin) => drop(pins.insert(id, pin.clone())),
                PinChange::Duress(hash) => pins.get_mut(&id).unwrap().duress = Some(*hash),
                PinChange::Clear => drop(pins.remove(&id)),
                PinChange::Forgive => pins.get_mut(&id).unwrap().failures = 0,
            }
            match change {
                PinChange::Clear => EventKind::PinCleared,
                PinChange::Forgive => EventKind::PinOn,
                _ => EventKind::PinSet,
            }
        };
        self.append(&Self::about(kind, id, name, actor), at).map(|_| ())
    }

    fn add_templates(
        &mut self,
        name: &str,
        templates: &[NewTemplate],
        actor: &str,
        at: Stamp,
    ) -> Result<PersonId, StoreError> {
        let id = self.person(name)?.id;
        {
            let mut inner = self.inner.lock().unwrap();
            inner.generation += 1;
            let embeddings = &mut inner.people.get_mut(name).unwrap().1;
            embeddings.extend(templates.iter().map(|t| t.embedding.clone()));
        }
        self.append(&Self::about(EventKind::EnrolMore, id, name, actor), at)?;
        Ok(id)
    }

    fn learn(
        &mut self,
        name: &str,
        template: &NewTemplate,
        detail: serde_json::Value,
        at: Stamp,
    ) -> Result<(), StoreError> {
        let id = self.person(name)?.id;
        {
            let mut inner = self.inner.lock().unwrap();
            inner.generation += 1;
            let (person, embeddings) = inner.people.get_mut(name).unwrap();
            embeddings.push(template.embedding.clone());
            let (model, source) = (template.model.clone(), TemplateSource::Learnt);
            person.templates.push(TemplateInfo {
                id: 1,
                model,
                quality: template.quality,
                source,
                created: at.wall,
            });
        }
        let person = Some(PersonRef { id, name: name.into() });
        self.append(&Event { person, ..Event::new(EventKind::Learnt, detail) }, at).map(|_| ())
    }

    fn forget_learnt(&mut self, name: Option<&str>, actor: &str, at: Stamp) -> Result<usize, StoreError> {
        let mut gone = 0;
        let mut whose = Vec::new();
        {
            let mut inner = self.inner.lock().unwrap();
            inner.generation += 1;
            for (person, embeddings) in inner.people.values_mut() {
                if name.is_some_and(|name| name != person.name) {
                    continue;
                }
                let learnt = person.templates.iter().filter(|t| t.source == TemplateSource::Learnt).count();
                person.templates.retain(|t| t.source != TemplateSource::Learnt);
                // What is learnt was added last.
                embeddings.truncate(embeddings.len() - learnt);
                gone += learnt;
                whose.push((person.id, person.name.clone()));
            }
        }
        for (id, name) in whose {
            self.append(&Self::about(EventKind::LearntForgotten, id, &name, actor), at)?;
        }
        Ok(gone)
    }

    fn enrolled_gallery(&self, model: &ModelId) -> Result<Gallery, StoreError> {
        let inner = self.inner.lock().unwrap();
        let templates = inner.people.values().flat_map(|(person, embeddings)| {
            let learnt = person.templates.iter().filter(|t| t.source == TemplateSource::Learnt).count();
            let enrolled = &embeddings[..embeddings.len() - learnt];
            enrolled.iter().map(|e| (person.id, person.name.as_str().into(), e.clone()))
        });
        Ok(Gallery::new(model.clone(), inner.generation, templates.collect()))
    }

    fn rename(&mut self, name: &str, to: &str, actor: &str, at: Stamp) -> Result<(), StoreError> {
        let id = self.person(name)?.id;
        {
            let mut inner = self.inner.lock().unwrap();
            inner.generation += 1;
            let (mut person, embeddings) = inner.people.remove(name).unwrap();
            person.name = to.into();
            inner.people.insert(to.into(), (person, embeddings));
        }
        self.append(&Self::about(EventKind::Rename, id, to, actor), at).map(|_| ())
    }

    fn remove(&mut self, name: &str, actor: &str, at: Stamp) -> Result<(), StoreError> {
        let id = self.person(name)?.id;
        {
            let mut inner = self.inner.lock().unwrap();
            inner.generation += 1;
            inner.people.remove(name);
        }
        self.append(&Self::about(EventKind::Remove, id, name, actor), at).map(|_| ())
    }

    fn gallery(&self, model: &ModelId) -> Result<Gallery, StoreError> {
        let inner = self.inner.lock().unwrap();
        let templates = inner.people.values().flat_map(|(person, embeddings)| {
            embeddings.iter().map(|e| (person.id, person.name.as_str().into(), e.clone()))
        });
        Ok(Gallery::new(model.clone(), inner.generation, templates.collect()))
    }

    fn rule_book(&self) -> Result<RuleBook, StoreError> {
        let inner = self.inner.lock().unwrap();
        let people = inner.people.values().map(|(person, _)| PersonRow {
            id: person.id,
            name: person.name.clone(),
            terms: inner.agreed.get(&person.id).cloned().unwrap_or_default(),
            last_entry: None,
            has_pin: inner.pins.contains_key(&person.id),
            passages: inner.passages.get(&person.id).cloned().unwrap_or_default(),
            forgiven: inner.forgiven.get(&person.id).copied(),
        });
        Ok(RuleBook { people: people.collect(), ..inner.book.clone() })
    }

    fn change_policy(&mut self, change: &Change, actor: &str, at: Stamp) -> Result<(), StoreError> {
        let mut kind = EventKind::Policy;
        let person = match change {
            Change::Person { name, .. } | Change::Forgive(Some(name)) => Some(self.person(name)?.id),
            _ => None,
        };
        {
            let mut inner = self.inner.lock().unwrap();
            match change {
                Change::AddRule(rule) => {
                    let id = RuleId(inner.book.rules.last().map_or(1, |last| last.id.0 + 1));
                    inner.book.rules.push(NumberedRule { id, rule: rule.clone() });
                }
                Change::RemoveRule(id) => inner.book.rules.retain(|numbered| numbered.id != *id),
                Change::Passback(seconds) => inner.book.passback_s = *seconds,
                Change::Direction(direction) => inner.book.direction = *direction,
                Change::Forgive(_) => {
                    let everybody: Vec<PersonId> =
                        inner.people.values().map(|(person, _)| person.id).collect();
                    for id in everybody.into_iter().filter(|id| person.is_none_or(|only| only == *id)) {
                        inner.passages.remove(&id);
                        inner.forgiven.insert(id, at.wall);
                    }
                }
                Change::Lockdown(on) => {
                    inner.book.lockdown = *on;
                    kind = if *on { EventKind::Lockdown } else { EventKind::LockdownOver };
                }
                Change::Person { change, .. } => {
                    let terms = inner.agreed.entry(person.unwrap()).or_default();
                    *terms = change.apply(terms);
                }
                other => panic!("the fake store cannot {other:?}"),
            }
        }
        let event = Event { actor: Some(actor.into()), ..Event::new(kind, serde_json::Value::Null) };
        self.append(&event, at).map(|_| ())
    }

    fn append_grant(
        &mut self,
        event: &Event,
        passage: Option<&Passage>,
        at: Stamp,
    ) -> Result<EventId, StoreError> {
        let id = self.append(event, at)?;
        if let (Some(passage), Some(person)) = (passage, &event.person) {
            self.set_passage(person.id, &passage.area, Some(passage))?;
        }
        Ok(id)
    }

    fn set_passage(
        &mut self,
        person: PersonId,
        area: &str,
        passage: Option<&Passage>,
    ) -> Result<(), StoreError> {
        let mut inner = self.inner.lock().unwrap();
        let passages = inner.passages.entry(person).or_default();
        passages.retain(|known| known.area != area);
        passages.extend(passage.cloned());
        Ok(())
    }

    fn append(&mut self, event: &Event, at: Stamp) -> Result<EventId, StoreError> {
        self.writing.fetch_add(1, Ordering::SeqCst);
        drop(self.disk.lock());
        self.writing.fetch_sub(1, Ordering::SeqCst);
        let mut inner = self.inner.lock().unwrap();
        if inner.refused == Some(event.kind) {
            return Err(Self::broken());
        }
        if inner.panics == Some(event.kind) {
            inner.panics = None;
            drop(inner);
            panic!("the store fell over");
        }
        if let (EventKind::Grant, Some(person)) = (event.kind, &event.person)
            && !event.is_leaving()
            && let Some(left) = inner.agreed.get_mut(&person.id).and_then(|terms| terms.entries_left.as_mut())
        {
            *left = left.saturating_sub(1);
        }
        let pin = event.person.as_ref().and_then(|person| inner.pins.get_mut(&person.id));
        match (event.kind, pin) {
            (EventKind::WrongPin, Some(pin)) => pin.failures += 1,
            (EventKind::Grant, Some(pin)) if event.detail["with"] != "face" => pin.failures = 0,
            _ => {}
        }
        let id = EventId(inner.records.len() as i64 + 1);
        let (boot_id, clock_trusted) = ("boot".into(), None);
        inner.records.push(Record { id, at, boot_id, clock_trusted, hash: None, event: event.clone() });
        self.log.push(format!("append {}", serde_json::to_value(event.kind).unwrap().as_str().unwrap()));
        Ok(id)
    }

    fn records(&self, filter: &Filter) -> Result<Vec<Record>, StoreError> {
        let inner = self.inner.lock().unwrap();
        let fits = |record: &&Record| {
            filter.after.is_none_or(|after| record.id > after)
                && (filter.door.is_none() || filter.door == record.event.door)
                && (filter.kinds.is_empty() || filter.kinds.contains(&record.event.kind))
        };
        let all: Vec<Record> = inner.records.iter().filter(fits).cloned().collect();
        let skipped = all.len().saturating_sub(filter.limit.unwrap_or(usize::MAX));
        Ok(all[skipped..].to_vec())
    }

    fn verify(&self, _against: &Against) -> Result<Verification, StoreError> {
        Err(Self::broken())
    }

    fn believe_clock(&mut self, _trusted: bool) {}

    fn tend(&mut self, _at: Stamp) -> Result<(), StoreError> {
        Ok(())
    }

    fn reader(&self) -> Result<Box<dyn Store>, StoreError> {
        Ok(Box::new(self.clone()))
    }
}

/// What a camera does next.
pub(crate) enum Shot {
    /// Delivers a frame that shows these people, by track and direction of their embedding.
    People(Vec<SeenFace>),
    /// Delivers a frame on which the networks fail with a panic.
    Poison,
    /// Fails.
    Fail,
    /// Ends.
    End,
}

/// The test's side of the camera: what is put in comes out as frames.
pub(crate) struct Stage {
    pub(crate) shots: Sender<Shot>,
    scenes: Arc<Mutex<BTreeMap<u64, Scene>>>,
    /// Vision waits here while the test holds it.
    pub(crate) gate: Arc<Mutex<()>>,
    /// Frames that vision has begun to look at.
    pub(crate) looked: Arc<AtomicU64>,
    clock: Arc<dyn Clock>,
    from: Arc<Mutex<Receiver<Shot>>>,
    opened: Arc<AtomicU64>,
    numbers: Arc<AtomicU64>,
}

#[derive(Clone)]
enum Scene {
    People(Vec<SeenFace>),
    Poison,
}

impl Stage {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let (shots, from) = channel();
        Self {
            shots,
            scenes: Arc::default(),
            gate: Arc::default(),
            looked: Arc::default(),
            clock,
            from: Arc::new(Mutex::new(from)),
            opened: Arc::default(),
            numbers: Arc::default(),
        }
    }

    /// How often the camera was opened.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::SeqCst)
    }

    /// Frames that the camera delivered.
    pub(crate) fn filmed(&self) -> u64 {
        self.numbers.load(Ordering::SeqCst)
    }

    pub(crate) fn camera(&self) -> CameraFactory {
        let (from, clock) = (self.from.clone(), self.clock.clone());
        let (scenes, opened, numbers) = (self.scenes.clone(), self.opened.clone(), self.numbers.clone());
        Box::new(move || {
            opened.fetch_add(1, Ordering::SeqCst);
            let (from, clock, scenes) = (from.clone(), clock.clone(), scenes.clone());
            // The daemon renumbers what a camera opened again delivers.
            let offset = numbers.load(Ordering::SeqCst);
            Ok(Box::new(FakeCamera { from, clock, scenes, numbers: numbers.clone(), offset })
                as Box<dyn Camera>)
        })
    }

    pub(crate) fn analyser(&self) -> Box<dyn Analyser> {
        let (scenes, gate, looked) = (self.scenes.clone(), self.gate.clone(), self.looked.clone());
        Box::new(FakeAnalyser { scenes, gate, looked, model: model() })
    }
}

struct FakeCamera {
    from: Arc<Mutex<Receiver<Shot>>>,
    clock: Arc<dyn Clock>,
    scenes: Arc<Mutex<BTreeMap<u64, Scene>>>,
    numbers: Arc<AtomicU64>,
    offset: u64,
}

impl Camera for FakeCamera {
    fn next(&mut self) -> Result<Frame, CameraError> {
        let camera = "fake camera".to_owned();
        let scene = match self.from.lock().unwrap().recv() {
            Ok(Shot::People(faces)) => Scene::People(faces),
            Ok(Shot::Poison) => Scene::Poison,
            Ok(Shot::Fail) => {
                let source = Some(io::Error::other("no such device").into());
                return Err(CameraError::Failed { camera, what: "it was unplugged".into(), source });
            }
            Ok(Shot::End) | Err(_) => return Err(CameraError::Ended { camera }),
        };
        let number = self.numbers.fetch_add(1, Ordering::SeqCst);
        self.scenes.lock().unwrap().insert(number, scene);
        let (seq, captured) = (number - self.offset, self.clock.now());
        Ok(Frame { seq, captured, image: RgbImage::new(8, 8) })
    }

    fn describe(&self) -> String {
        "fake camera".into()
    }
}

struct FakeAnalyser {
    scenes: Arc<Mutex<BTreeMap<u64, Scene>>>,
    gate: Arc<Mutex<()>>,
    looked: Arc<AtomicU64>,
    model: ModelId,
}

impl Analyser for FakeAnalyser {
    fn analyse(&mut self, frame: &Frame, gallery: &Gallery) -> Result<Analysis, AnalyseError> {
        self.looked.fetch_add(1, Ordering::SeqCst);
        drop(self.gate.lock());
        let scene = self.scenes.lock().unwrap()[&frame.seq].clone();
        let Scene::People(mut faces) = scene else { panic!("the networks fell over on frame {}", frame.seq) };
        for face in &mut faces {
            face.matched = face.embedding.as_ref().and_then(|embedding| gallery.find(embedding));
        }
        Ok(analysis(frame.seq, frame.captured, gallery.generation(), faces))
    }

    /// A picture is of somebody whose values its first pixel has; a black one has no face.
    fn study(&mut self, picture: &RgbImage) -> Result<Result<NewTemplate, String>, AnalyseError> {
        let values = picture.get_pixel(0, 0).0.map(f32::from);
        let seen = values.iter().any(|value| *value > 0.0);
        Ok(if seen { Ok(template(&values)) } else { Err("no face is found in it".into()) })
    }

    fn model(&self) -> &ModelId {
        &self.model
    }
}
