//! PURE. The door's state machine: an input and the time go in, actions come out. Locked is where it starts and
//! where every trouble ends.
//!
//! Stands after `journal`. Three things unlock: a [`Recorded`] [`Grant`], which is used up by it; the exit button; and
//! an operator. Each for a bounded time.
//!
//! | state \ input | `Start`, `Lock`, `Lost` | `Grant`, good | `Grant`, late | exit button pressed | operator: unlock, hold open | operator: lock | `Tick` at the deadline |
//! |---------------|------------------|---------------|----------------|------------------|----------------|---------------|------------------|
//! | not started   | lock → locked    | drop          | drop           | –                | –              | –             | –                |
//! | locked        | lock             | **unlock**    | lock, drop     | **unlock**       | **unlock**     | lock          | –                |
//! | unlocked      | lock → locked    | longer        | lock, drop → locked | longer      | longer; hold open: as ordered | lock → locked | lock → locked |
//!
//! While the exit button is held the deadline moves on, and nobody but a fault or a stop locks. A button that is already
//! pressed when it is first read unlocks nothing before it has been released: a wire on the wrong level must not open
//! the door at each start. With a contact the deadline may come early: when the door is opened, or when it is closed
//! again ([`Relock`]). What the leaf itself does is in [`super::leaf`].
//!
//! A clock that runs backwards locks in every state, and drops a grant that came with it. Relocking is a deadline that
//! any tick after it meets, not a thread that sleeps. The strike is always told a level, never to change. Nothing of
//! this survives a restart: a door that was held open is locked after it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::leaf::{Leaf, LeafNotice};
use crate::access::Grant;
use crate::clock::MonoTime;
use crate::gallery::PersonId;
use crate::journal::{EventId, Recorded};

/// How long the strike is energised for one grant; bounded so that no setting leaves a door open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse(Duration);

/// A pulse that no door should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a pulse of {ms} ms is out of range: choose {} to {} ms (the shortest in which people get a door open, IEC \
     60839-11-1, and the longest for which it may stand unlocked)",
    Pulse::MIN_MS,
    Pulse::MAX_MS
)]
pub struct PulseError {
    /// What was asked for.
    pub ms: u64,
}

impl Pulse {
    /// The shortest pulse in ms: IEC 60839-11-1 asks for a strike time of at least 3 s.
    pub const MIN_MS: u64 = 3_000;
    /// The longest pulse in ms.
    pub const MAX_MS: u64 = 60_000;

    /// A pulse of `ms` milliseconds.
    ///
    /// # Errors
    /// When it is not between [`Pulse::MIN_MS`] and [`Pulse::MAX_MS`].
    pub fn from_millis(ms: u64) -> Result<Self, PulseError> {
        if (Self::MIN_MS..=Self::MAX_MS).contains(&ms) {
            Ok(Self(Duration::from_millis(ms)))
        } else {
            Err(PulseError { ms })
        }
    }

    /// How long.
    pub fn duration(self) -> Duration {
        self.0
    }
}

/// How long an operator may hold the door open at most.
pub const MAX_HOLD_OPEN: Duration = Duration::from_secs(12 * 3600);

/// A door that is opened so soon after it was locked was opened by whoever it was unlocked for: bolts and springs take
/// their time.
const GRACE: Duration = Duration::from_secs(1);

/// When the strike is locked before its time is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Relock {
    /// Never.
    Timeout,
    /// As soon as the door is opened: for strikes that hold a latch.
    OnOpen,
    /// As soon as the door is closed again: for bolts and magnets, which need the door in its frame.
    #[default]
    OnClose,
}

/// What the operator of a door decides once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How long one opening lasts.
    pub pulse: Pulse,
    /// Whether it ends early.
    pub relock: Relock,
    /// How long the leaf may stand open.
    pub held_open_after: Duration,
}

/// What is wired to the door besides the strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sensor {
    /// The exit button, or a detector of people who leave (request to exit); active: somebody wants out.
    Rex,
    /// The contact in the frame; active: the door is open.
    Contact,
    /// The switch in the housing; active: somebody opens it.
    Tamper,
    /// The panic button; active: lockdown. The strike itself does nothing about it.
    Panic,
}

impl Sensor {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rex, Self::Contact, Self::Tamper, Self::Panic];

    /// For messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rex => "rex",
            Self::Contact => "contact",
            Self::Tamper => "tamper",
            Self::Panic => "panic",
        }
    }
}

/// What an operator wants of the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Unlock as for a grant.
    Unlock,
    /// Lock, whatever was ordered before.
    Lock,
    /// Stay unlocked for so long, [`MAX_HOLD_OPEN`] at most.
    HoldOpen(Duration),
}

/// What happens to the door.
#[derive(Debug)]
pub enum Input {
    /// The service starts; whatever the strike was left at, it is locked.
    Start,
    /// A recorded grant.
    Grant(Recorded<Grant>),
    /// An input has a new level that can be believed.
    Sensed {
        /// Which.
        sensor: Sensor,
        /// Its level.
        active: bool,
        /// Since when.
        since: MonoTime,
    },
    /// An operator's order.
    Operator {
        /// What.
        order: Order,
        /// Who, for the log.
        who: String,
    },
    /// Time passed.
    Tick,
    /// Lock now: stop or fault.
    Lock(&'static str),
    /// Somebody else has locked the strike.
    Lost(String),
}

/// What the caller must do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Unlock the strike, or go on doing so.
    Unlock {
        /// Until then at most.
        until: MonoTime,
        /// For the log.
        why: String,
    },
    /// Lock the strike, also when it is believed to be locked.
    Lock {
        /// For the log.
        why: String,
    },
    /// Write down that a grant opened nothing.
    Report(DroppedGrant),
    /// Write down what happened.
    Notice(Notice),
}

/// What happens at the door besides the strike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The exit button was pressed.
    Rex,
    /// It was pressed already when it was first read, and does nothing until it is released.
    RexStuck,
    /// The leaf.
    Leaf(LeafNotice),
    /// The housing was opened (or the switch was open at the start), or is closed again.
    Tamper(bool),
}

/// A grant that was recorded but not honoured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedGrant {
    /// The grant's event.
    pub event: EventId,
    /// Who was not let in after all.
    pub person: PersonId,
    /// Their name.
    pub name: String,
    /// Why not.
    pub why: &'static str,
}

impl DroppedGrant {
    /// Uses `grant` up without opening.
    pub(super) fn new(grant: Recorded<Grant>, why: &'static str) -> Self {
        let (event, grant) = (grant.event(), grant.what());
        Self { event, person: grant.person(), name: grant.name().to_owned(), why }
    }
}

/// For whom the strike is unlocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    /// One person, or an operator's single opening.
    Passage,
    /// An operator who wants it to stay so.
    Holding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    NotStarted,
    Locked,
    Unlocked { from: MonoTime, until: MonoTime, reason: For },
}

/// The exit button.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rex {
    Unknown,
    Released,
    Pressed,
    /// Pressed since before it was first read.
    Stuck,
}

/// One door.
#[derive(Debug)]
pub struct Door {
    rules: Rules,
    state: State,
    rex: Rex,
    leaf: Leaf,
    tampered: bool,
    /// The last time the strike was unlocked: from when to when.
    last_unlocked: Option<(MonoTime, MonoTime)>,
    /// The latest time it was told.
    last: MonoTime,
}

impl Door {
    /// A door that does nothing before [`Input::Start`].
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            state: State::NotStarted,
            rex: Rex::Unknown,
            leaf: Leaf::new(rules.held_open_after),
            tampered: false,
            last_unlocked: None,
            last: MonoTime::default(),
        }
    }

    /// Takes one input at `now` and says what to do. See the table at the head of this file.
    pub fn handle(&mut self, input: Input, now: MonoTime) -> Vec<Action> {
        let backwards = now < self.last;
        self.last = now;
        match (self.state, input) {
            (_, Input::Start) => vec![self.lock("start", now)],
            (_, Input::Lock(why)) => vec![self.lock(why, now)],
            (_, Input::Lost(why)) => vec![self.lock(&why, now)],
            (_, Input::Grant(grant)) if backwards => self.drop_grant(grant, "the clock ran backwards", now),
            (_, Input::Tick) if backwards => vec![self.lock("the clock ran backwards", now)],
            (State::Unlocked { .. }, input) if backwards => {
                let mut actions = vec![self.lock("the clock ran backwards", now)];
                actions.extend(self.handle(input, now));
                actions
            }
            (_, Input::Sensed { sensor, active, since }) => self.sensed(sensor, active, since, now),
            (State::NotStarted, Input::Tick | Input::Operator { .. }) => vec![],
            (State::NotStarted, Input::Grant(grant)) => {
                vec![Action::Report(DroppedGrant::new(grant, "the door was not started"))]
            }
            (_, Input::Grant(grant)) if !grant.what().is_good_at(now) => self.drop_grant(
                grant,
                "too late: the decision was too long ago when it had been written down",
                now,
            ),
            (_, Input::Grant(grant)) => {
                let why = format!("grant {} for {}", grant.event().0, grant.what().name());
                self.pass(why, now)
            }
            (_, Input::Operator { order, who }) => self.obey(order, &who, now),
            (_, Input::Tick) => self.tick(now),
        }
    }

    /// When the door must be ticked at the latest; `None` while nothing is due.
    pub fn next_deadline(&self) -> Option<MonoTime> {
        match self.state {
            State::Unlocked { until, .. } => Some(until),
            State::NotStarted | State::Locked => None,
        }
    }

    /// Whether the strike is to be unlocked.
    pub fn is_unlocked(&self) -> bool {
        matches!(self.state, State::Unlocked { .. })
    }

    /// Whether an operator holds it open.
    pub fn is_held_open(&self) -> bool {
        matches!(self.state, State::Unlocked { reason: For::Holding, .. })
    }

    /// Whether the leaf stands open; `None` without a contact.
    pub fn leaf_is_open(&self) -> Option<bool> {
        self.leaf.is_open()
    }

    /// What is wrong at the door now, for people.
    pub fn alarms(&self) -> Vec<&'static str> {
        let tamper = self.tampered.then_some("somebody opened the housing");
        let rex = (self.rex == Rex::Stuck)
            .then_some("the exit button has been pressed since the start: check its wiring");
        self.leaf.alarm().into_iter().chain(tamper).chain(rex).collect()
    }

    fn tick(&mut self, now: MonoTime) -> Vec<Action> {
        let pulse = self.rules.pulse.duration();
        let moved = match self.state {
            State::Unlocked { until, .. } if self.rex == Rex::Pressed && until.since(now) <= pulse / 2 => {
                self.unlock(For::Passage, now + pulse, "exit button", now)
            }
            State::Unlocked { until, reason, .. } if now >= until => Some(self.lock(
                match reason {
                    For::Passage => "the pulse is over",
                    For::Holding => "the time to hold it open is over",
                },
                now,
            )),
            _ => None,
        };
        let late =
            self.leaf.tick(self.is_held_open(), now).map(|notice| Action::Notice(Notice::Leaf(notice)));
        moved.into_iter().chain(late).collect()
    }

    fn sensed(&mut self, sensor: Sensor, active: bool, since: MonoTime, now: MonoTime) -> Vec<Action> {
        match sensor {
            Sensor::Panic => vec![],
            Sensor::Rex => self.exit_button(active, now),
            Sensor::Contact => self.contact(active, since, now),
            Sensor::Tamper => {
                let changed = self.tampered != active;
                self.tampered = active;
                changed.then_some(Action::Notice(Notice::Tamper(active))).into_iter().collect()
            }
        }
    }

    fn exit_button(&mut self, pressed: bool, now: MonoTime) -> Vec<Action> {
        self.rex = match (self.rex, pressed) {
            (_, false) => Rex::Released,
            (Rex::Unknown, true) => {
                self.rex = Rex::Stuck;
                return vec![Action::Notice(Notice::RexStuck)];
            }
            (Rex::Released, true) => Rex::Pressed,
            (Rex::Pressed | Rex::Stuck, true) => return vec![],
        };
        if !pressed || self.state == State::NotStarted {
            return vec![];
        }
        let mut actions = self.pass("exit button".to_owned(), now);
        actions.push(Action::Notice(Notice::Rex));
        actions
    }

    fn contact(&mut self, open: bool, since: MonoTime, now: MonoTime) -> Vec<Action> {
        let notices = self.leaf.contact(open, self.lets_open(since), since);
        let moved = !notices.is_empty();
        let mut actions: Vec<Action> = notices.into_iter().map(|n| Action::Notice(Notice::Leaf(n))).collect();
        let ends = match self.rules.relock {
            Relock::Timeout => None,
            Relock::OnOpen => open.then_some("the door was opened"),
            Relock::OnClose => (!open).then_some("the door was closed"),
        };
        let passage = matches!(self.state, State::Unlocked { reason: For::Passage, .. });
        if let Some(why) = ends.filter(|_| moved && passage && self.rex != Rex::Pressed) {
            actions.insert(0, self.lock(why, now));
        }
        actions
    }

    /// Whether the strike let the leaf open at `at`.
    fn lets_open(&self, at: MonoTime) -> bool {
        match self.state {
            State::Unlocked { from, .. } if at >= from => true,
            _ => self.last_unlocked.is_some_and(|(from, to)| from <= at && at <= to + GRACE),
        }
    }

    fn obey(&mut self, order: Order, who: &str, now: MonoTime) -> Vec<Action> {
        match order {
            Order::Unlock => self.pass(format!("unlocked by {who}"), now),
            Order::HoldOpen(time) => {
                // As ordered, also when that is shorter than what was left.
                let until = now + time.min(MAX_HOLD_OPEN);
                let from = self.unlocked_from(now);
                self.state = State::Unlocked { from, until, reason: For::Holding };
                vec![Action::Unlock { until, why: format!("held open by {who}") }]
            }
            Order::Lock if self.rex == Rex::Pressed && self.is_unlocked() => {
                // Nobody is locked in.
                let (from, until) = (self.unlocked_from(now), now + self.rules.pulse.duration());
                self.state = State::Unlocked { from, until, reason: For::Passage };
                vec![Action::Unlock { until, why: "exit button".to_owned() }]
            }
            Order::Lock => vec![self.lock(&format!("locked by {who}"), now)],
        }
    }

    /// Unlocks for one pulse from now, whatever was left of an earlier one.
    fn pass(&mut self, why: String, now: MonoTime) -> Vec<Action> {
        let until = now + self.rules.pulse.duration();
        self.unlock(For::Passage, until, &why, now).into_iter().collect()
    }

    /// Unlocks until `until` or, if it is unlocked for longer, not at all.
    fn unlock(&mut self, reason: For, until: MonoTime, why: &str, now: MonoTime) -> Option<Action> {
        if matches!(self.state, State::Unlocked { until: already, .. } if already >= until) {
            return None;
        }
        self.state = State::Unlocked { from: self.unlocked_from(now), until, reason };
        Some(Action::Unlock { until, why: why.to_owned() })
    }

    fn unlocked_from(&self, now: MonoTime) -> MonoTime {
        match self.state {
            State::Unlocked { from, .. } => from,
            State::NotStarted | State::Locked => now,
        }
    }

    fn lock(&mut self, why: &str, now: MonoTime) -> Action {
        if let State::Unlocked { from, .. } = self.state {
            self.last_unlocked = Some((from, now));
        }
        self.state = State::Locked;
        Action::Lock { why: why.to_owned() }
    }

    fn drop_grant(&mut self, grant: Recorded<Grant>, why: &'static str, now: MonoTime) -> Vec<Action> {
        vec![self.lock(why, now), Action::Report(DroppedGrant::new(grant, why))]
    }
}

#[cfg(test)]
mod tests;
