//! Who went where, for anti-passback: put down before a door opens inwards, and after one has opened outwards, so that
//! whatever is cut off leaves somebody inside and not outside. Where a contact tells, a door that nobody opened was not
//! gone through, and what was put down is taken back.

use serde_json::json;

use crate::daemon::DaemonError;
use crate::daemon::doorway::DoorId;
use crate::gallery::PersonId;
use crate::journal::{Event, EventKind, PersonRef, Stamp};
use crate::policy::{Entry, Passage, Side};

use super::Control;

/// Somebody for whom a door is unlocked and who has not opened it yet.
pub(crate) struct Going {
    person: PersonRef,
    /// Where they go; `None` where nobody minds.
    passage: Option<Passage>,
    before: Before,
}

/// What was known of somebody before a grant.
pub(super) struct Before {
    passage: Option<Passage>,
    entry: Option<Entry>,
}

impl Control {
    /// What a grant at this door says of where its person goes; nothing where anti-passback does not look at it.
    pub(super) fn passage(&self, door: DoorId, at: Stamp) -> Option<Passage> {
        let place = &self.doors[door].place;
        let minded = place.both_ways && self.house.minds_passages();
        minded.then(|| Passage::through(place, at.wall))
    }

    /// What is known of somebody before they pass.
    pub(super) fn before(&self, door: DoorId, person: PersonId) -> Before {
        let area = &self.doors[door].place.area;
        Before { passage: self.house.passage(person, area), entry: self.house.entry(person) }
    }

    /// A grant is on disk and the door has taken it.
    pub(super) fn passes(
        &mut self,
        door: DoorId,
        person: PersonRef,
        passage: Option<Passage>,
        before: Before,
        at: Stamp,
    ) -> Result<(), DaemonError> {
        self.doors[door].throttle.clear();
        let leads_in = self.doors[door].place.side == Side::In;
        if leads_in {
            self.house.enters(person.id, Entry { wall: at.wall, mono: Some(at.mono) });
            if let Some(passage) = &passage {
                self.house.set_passage(person.id, &passage.area, Some(passage.clone()));
            }
        }
        let going = Going { person, passage, before };
        match self.doors[door].driver.door().leaf_is_open() {
            Some(false) => self.doors[door].going.push(going),
            // Without a contact nobody can tell; through an open door they go.
            None | Some(true) => self.has_gone(door, going)?,
        }
        Ok(())
    }

    /// A grant came too late: its person is where they were.
    pub(super) fn stays(
        &mut self,
        door: DoorId,
        person: PersonId,
        before: Before,
    ) -> Result<(), DaemonError> {
        let area = self.doors[door].place.area.clone();
        self.put_passage(person, &area, before.passage)
    }

    /// The door was opened while it was unlocked: all it was unlocked for go through.
    pub(super) fn all_have_gone(&mut self, door: DoorId) -> Result<(), DaemonError> {
        let going = std::mem::take(&mut self.doors[door].going);
        going.into_iter().try_for_each(|going| self.has_gone(door, going))
    }

    /// The door was locked and nobody has opened it.
    pub(super) fn nobody_has_gone(&mut self, door: DoorId) -> Result<(), DaemonError> {
        for Going { person, passage, before } in std::mem::take(&mut self.doors[door].going) {
            log::info!(person = person.name.as_str(); "{} did not open the door", person.name);
            let id = person.id;
            if self.doors[door].place.side == Side::In {
                self.house.set_entry(id, before.entry);
                if let Some(Passage { area, .. }) = passage {
                    self.put_passage(id, &area, before.passage)?;
                }
            }
            let event = Event { person: Some(person), ..Event::new(EventKind::NotPassed, json!({})) };
            self.append_at(door, "that nobody went through", event)?;
        }
        Ok(())
    }

    fn has_gone(&mut self, door: DoorId, going: Going) -> Result<(), DaemonError> {
        // Of those who come in it is on disk with their grant.
        match going.passage.filter(|_| self.doors[door].place.side == Side::Out) {
            Some(passage) => self.put_passage(going.person.id, &passage.area.clone(), Some(passage)),
            None => Ok(()),
        }
    }

    fn put_passage(
        &mut self,
        person: PersonId,
        area: &str,
        passage: Option<Passage>,
    ) -> Result<(), DaemonError> {
        self.store
            .set_passage(person, area, passage.as_ref())
            .map_err(|source| DaemonError::Write { what: "where somebody went", source })?;
        self.house.set_passage(person, area, passage);
        Ok(())
    }
}
