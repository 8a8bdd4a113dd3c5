//! What is wired to the door, and what an operator does to it: the exit button, the contact, the tamper switch, the
//! lamps, and orders by hand.
//!
//! An order of an operator is written down before the strike moves, as a grant is. The exit button moves it first: the
//! way out waits for no disk.

use serde_json::json;

use crate::clock::MonoTime;
use crate::daemon::DaemonError;
use crate::daemon::doorway::DoorId;
use crate::daemon::ops;
use crate::daemon::protocol::Reply;
use crate::daemon::status::DoorBoard;
use crate::door::{Input, Lamp, Lamps, LeafNotice, MAX_HOLD_OPEN, Notice, Order, Relay};
use crate::journal::{Event, EventKind};

use super::Control;

/// The lamps with their lines.
pub(crate) struct LampBoard {
    pub(crate) state: Lamps,
    lines: Vec<Line>,
}

struct Line {
    lamp: Lamp,
    relay: Box<dyn Relay>,
    /// What it was last told; `None` after it failed.
    on: Option<bool>,
    failed: bool,
}

impl LampBoard {
    pub(crate) fn new(lines: Vec<(Lamp, Box<dyn Relay>)>) -> Self {
        let lines = lines.into_iter();
        let lines = lines.map(|(lamp, relay)| Line { lamp, relay, on: None, failed: false }).collect();
        Self { state: Lamps::default(), lines }
    }

    /// Brings the lines up to date. A lamp that fails is said once and tried again; it stops nothing.
    pub(super) fn show(&mut self, board: &DoorBoard, now: MonoTime) {
        let (unlocked, fault) = (board.unlocked(), board.has_trouble());
        for line in &mut self.lines {
            let on = self.state.is_on(line.lamp, unlocked, fault, now);
            if line.on == Some(on) {
                continue;
            }
            match line.relay.set(on, "") {
                Ok(()) => (line.on, line.failed) = (Some(on), false),
                Err(error) if !line.failed => {
                    log::warn!("lamp {}: {error}: {}", line.lamp.as_str(), error.source);
                    line.failed = true;
                }
                Err(_) => {}
            }
        }
    }
}

impl Control {
    /// Carries out an operator's order at the door that is called so.
    pub(super) fn order(
        &mut self,
        door: Option<&str>,
        order: Order,
        actor: String,
    ) -> Result<Reply, DaemonError> {
        let door = match self.doors.called(door) {
            Ok(door) => door,
            Err(error) => return Ok(ops::refused(&error)),
        };
        let detail = match order {
            Order::Unlock => json!({ "order": "unlock" }),
            Order::Lock => json!({ "order": "lock" }),
            Order::HoldOpen(time) if time > MAX_HOLD_OPEN || time.is_zero() => {
                let message =
                    format!("a door is held open for 1 s to {} hours", MAX_HOLD_OPEN.as_secs() / 3600);
                return Ok(Reply::Error { message });
            }
            Order::HoldOpen(_) if self.house.is_locked_down() => {
                let message = "lockdown: no door is held open; first `accessd lockdown off`".to_owned();
                return Ok(Reply::Error { message });
            }
            Order::HoldOpen(time) => json!({ "order": "hold open", "for_s": time.as_secs() }),
        };
        log::info!(actor = actor.as_str(); "{} by {actor}", detail["order"].as_str().unwrap_or_default());
        let event = Event { actor: Some(actor.clone()), ..Event::new(EventKind::Operator, detail) };
        self.append_at(door, "an order of an operator", event)?;
        self.overrule(door);
        self.drive(door, Input::Operator { order, who: actor }, None)?;
        Ok(Reply::Done)
    }

    /// Writes down what happened at a door.
    pub(super) fn note(&mut self, door: DoorId, notice: &Notice) -> Result<(), DaemonError> {
        let (kind, detail) = match notice {
            Notice::Rex => (EventKind::Rex, json!({})),
            Notice::RexStuck => (EventKind::RexStuck, json!({})),
            Notice::Tamper(true) => (EventKind::Tamper, json!({})),
            Notice::Tamper(false) => (EventKind::TamperOver, json!({})),
            Notice::Leaf(LeafNotice::Opened) => (EventKind::DoorOpened, json!({})),
            Notice::Leaf(LeafNotice::Forced) => (EventKind::ForcedOpen, json!({})),
            Notice::Leaf(LeafNotice::Closed { open_ms }) => {
                (EventKind::DoorClosed, json!({ "open_ms": open_ms }))
            }
            Notice::Leaf(LeafNotice::HeldOpen { open_ms }) => {
                (EventKind::HeldOpen, json!({ "open_ms": open_ms }))
            }
        };
        let alarm = matches!(
            kind,
            EventKind::RexStuck | EventKind::Tamper | EventKind::ForcedOpen | EventKind::HeldOpen
        );
        let level = if alarm { log::Level::Warn } else { log::Level::Info };
        let name = self.doors[door].place.door.as_str();
        log::log!(level, kind:? = kind, door = name; "{}", said(kind));
        self.append_at(door, "what happened at the door", Event::new(kind, detail)).map(drop)
    }

    pub(super) fn inputs_lost(&mut self, door: DoorId, what: String) -> Result<(), DaemonError> {
        log::error!("{what}");
        self.doors[door].board.set_fault("inputs", Some(what.clone()));
        let event = Event::new(EventKind::InputsLost, json!({ "what": what }));
        self.append_at(door, "the loss of the inputs", event).map(drop)
    }

    pub(super) fn inputs_back(&mut self, door: DoorId) -> Result<(), DaemonError> {
        log::info!("the inputs can be read again");
        self.doors[door].board.set_fault("inputs", None);
        self.append_at(door, "the return of the inputs", Event::new(EventKind::InputsBack, json!({})))
            .map(drop)
    }
}

/// An event of the door, for the system's log.
fn said(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Rex => "the exit button was pressed",
        EventKind::RexStuck => {
            "the exit button is pressed at the start; it does nothing until it is released"
        }
        EventKind::Tamper => "somebody opened the housing",
        EventKind::TamperOver => "the housing is closed",
        EventKind::ForcedOpen => "the door was forced open",
        EventKind::HeldOpen => "the door is held open",
        EventKind::DoorClosed => "the door was closed",
        _ => "the door was opened",
    }
}
