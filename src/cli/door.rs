//! `accessd door`: what an operator does at the door itself.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use jiff::SignedDuration;

use super::adapters::{door_called, open_strike_directly};
use super::backend::Service;
use super::output::Output;
use super::{Exit, Globals, pin};
use crate::access::pin::Pin;
use crate::clock::{Clock, SystemClock};
use crate::config::DoorConfig;
use crate::daemon::protocol::{DoorStatus, PinAnswer, Request};
use crate::door::Strike;
use crate::gallery::PersonId;
use crate::policy::{WhichDoor, which_door};

/// The guard of a service that has just died may still hold the line: it locks and lets go.
const RELOCK_PATIENCE: Duration = Duration::from_secs(2);

/// Move a door by hand
#[derive(Args, Debug)]
pub(super) struct Door {
    #[command(subcommand)]
    order: Order,
    /// Which door; need not be said where there is one
    #[arg(long, global = true, value_name = "NAME")]
    door: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Unlock the door once, as for a person who is let in
    Unlock,
    /// Lock the door, and end an unlock or a hold-open
    Lock,
    /// Keep the door unlocked for some time, 12 hours at most; a restart of the service ends it
    HoldOpen {
        /// For how long, such as 90s, 15m or 2h
        #[arg(long = "for", value_name = "TIME", default_value = "15m")]
        time: SignedDuration,
    },
    /// Hand a PIN on as if it were typed at the door's keypad: one line of standard input, PIN or NUMBER*PIN
    Pin {
        /// Whose it is; whoever the door is asking when not given
        name: Option<String>,
    },
    /// Let faces open the door again after failed attempts
    FaceOn,
    /// Show how the door is
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Drive the relays locked without the service, for its unit's ExecStopPost=: after any death of the service
    Relock,
}

impl Door {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let door = self.door;
        match self.order {
            Order::Unlock => order(globals, &Request::Unlock { door }),
            Order::Lock => order(globals, &Request::Lock { door }),
            Order::FaceOn => order(globals, &Request::FaceOn { door }),
            Order::Pin { name } => type_pin(globals, name.as_deref(), door),
            Order::HoldOpen { time } => {
                let for_s = u64::try_from(time.as_secs()).unwrap_or(0);
                order(globals, &Request::HoldOpen { for_s, door })
            }
            Order::Status { json } => status(globals, door.as_deref(), json),
            Order::Relock => relock(globals, door.as_deref()),
        }
    }
}

fn order(globals: &Globals, request: &Request) -> anyhow::Result<Exit> {
    Service::connect(&globals.load()?.paths.socket)?.order(request)?;
    Ok(Exit::Done)
}

/// Says what came of it; fails when the door stays shut.
fn type_pin(globals: &Globals, name: Option<&str>, door: Option<String>) -> anyhow::Result<Exit> {
    let mut service = Service::connect(&globals.load()?.paths.socket)?;
    let named = name.map(|name| service.person(name)).transpose()?.map(|person| person.id);
    let text = pin::line()?;
    let (person, digits) = match text.split_once(['*', '-', '/', '+', '.']) {
        Some((number, digits)) => {
            let number = number.parse().map(PersonId);
            (Some(number.context("what stands before the PIN is no number")?), digits)
        }
        None => (named, text.as_str()),
    };
    let answer = service.type_pin(person, Pin::new(digits)?, door)?;
    let mut out = Output::new();
    out.line(match answer {
        PinAnswer::Open => "open".to_owned(),
        PinAnswer::Look => "right; look at the camera".to_owned(),
        PinAnswer::Wrong => "wrong PIN".to_owned(),
        PinAnswer::Refused => "right, but not let in; `accessd log` says why".to_owned(),
        PinAnswer::Paused { for_s } => format!("no PIN is taken for {for_s} s, after wrong ones"),
        PinAnswer::Off => "this PIN is off after far too many wrong ones: accessd pin on NAME".to_owned(),
        PinAnswer::NobodyAsked => "the door asks nobody for a PIN; give NUMBER*PIN, or the name".to_owned(),
        PinAnswer::Busy => "the door is busy with another PIN or an enrolment; try again".to_owned(),
    })?;
    out.flush()?;
    Ok(if matches!(answer, PinAnswer::Open | PinAnswer::Look) { Exit::Done } else { Exit::No })
}

fn status(globals: &Globals, door: Option<&str>, json: bool) -> anyhow::Result<Exit> {
    let state = Service::connect(&globals.load()?.paths.socket)?.status()?;
    let names: Vec<&str> = state.doors.iter().map(|door| door.name.as_str()).collect();
    let doors = match which_door(&names, door) {
        Ok(at) => &state.doors[at..=at],
        // Whoever names none sees all.
        Err(WhichDoor::Several { .. }) => state.doors.as_slice(),
        Err(error) => return Err(error.into()),
    };
    let mut out = Output::new();
    if json {
        let told = |state: &DoorStatus| {
            serde_json::json!({
                "name": state.name, "door": state.state, "held_open": state.held_open, "leaf": state.leaf,
                "alarms": state.alarms, "relay": state.relay,
            })
        };
        match doors {
            [only] => out.json(&told(only))?,
            several => out.json(&several.iter().map(told).collect::<Vec<_>>())?,
        }
    } else {
        for state in doors {
            let name = if doors.len() > 1 { format!("{}: ", state.name) } else { String::new() };
            out.line(format_args!("{name}{}", in_words(state)))?;
            state.alarms.iter().try_for_each(|alarm| out.line(format_args!("{name}ALARM: {alarm}")))?;
        }
    }
    out.flush()?;
    Ok(Exit::Done)
}

/// `unlocked, held open; the door is open`
pub(super) fn in_words(state: &DoorStatus) -> String {
    let held = if state.held_open { ", held open" } else { "" };
    let leaf = state.leaf.as_ref().map_or(String::new(), |leaf| format!("; the door is {leaf}"));
    format!("{}{held}{leaf}", state.state)
}

/// Takes each relay, which drives it at its inactive level, locks, and lets go. One that fails keeps none of the others.
fn relock(globals: &Globals, door: Option<&str>) -> anyhow::Result<Exit> {
    let config = globals.load()?;
    let doors = match door {
        Some(_) => vec![door_called(&config, door)?],
        None => config.doors(),
    };
    let outcomes: Vec<_> = doors.iter().map(|door| relock_one(&door.door)).collect();
    outcomes.into_iter().collect::<anyhow::Result<()>>()?;
    Ok(Exit::Done)
}

fn relock_one(door: &DoorConfig) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let deadline = clock.now() + RELOCK_PATIENCE;
    loop {
        match open_strike_directly(door, clock.clone()) {
            Ok(mut strike) => return Ok(strike.lock("relocked from outside")?),
            Err(error)
                if error.source.kind() == std::io::ErrorKind::ResourceBusy && clock.now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(error) => return Err(error).context("the relay could not be locked from outside"),
        }
    }
}
