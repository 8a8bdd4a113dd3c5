//! `accessd status`: how the door is.

use clap::Args;

use super::backend::Service;
use super::door::in_words;
use super::output::{Output, count, one_in};
use super::{Exit, Globals};
use crate::daemon::protocol::{DoorStatus, Far, Status as State};

/// Show how the door and its service are; fails when no service runs
#[derive(Args, Debug)]
pub(super) struct Status {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let state = Service::connect(&globals.load()?.paths.socket)?.status()?;
        let mut out = Output::new();
        if self.json {
            out.json(&state)?;
        } else {
            for (what, value) in rows(&state) {
                out.line(format_args!("{what:<9} {value}"))?;
            }
        }
        out.flush()?;
        Ok(Exit::Done)
    }
}

fn rows(state: &State) -> Vec<(&'static str, String)> {
    let several = state.doors.len() > 1;
    let mut rows: Vec<_> = state.doors.iter().flat_map(|door| of_door(door, several)).collect();
    rows.extend([
        ("people", format!("{} with {}", count(state.people, "person", "people"), state.model)),
        ("rule", rule(state)),
        ("photos", state.photo_check.clone()),
        ("service", format!("accessd {}, pid {}, up {}", state.version, state.pid, up(state.uptime_s))),
    ]);
    if state.lockdown {
        rows.push(("LOCKDOWN", "nobody is let in; to end it: accessd lockdown off".into()));
    }
    if !state.clock_trusted {
        rows.push((
            "clock",
            "NOT TRUSTED, neither kept nor set since boot: what is limited in time refuses".into(),
        ));
    }
    rows.extend(state.duress.iter().map(|who| ("DURESS", format!("{who}: accessd log --kind duress"))));
    rows
}

/// One door; where there are several each begins with its name.
fn of_door(door: &DoorStatus, several: bool) -> Vec<(&'static str, String)> {
    let age = door.frame_age_ms.map_or("no frame yet".into(), |ms| format!("newest frame {ms} ms old"));
    let latency = door.latency_ms.map_or(String::new(), |ms| format!(", decided {ms} ms after capture"));
    let name = if several { format!("{} ({} {}): ", door.name, door.side, door.area) } else { String::new() };
    let mut rows = vec![
        ("door", format!("{name}{}, {}", in_words(door), door.mode)),
        ("relay", door.relay.clone()),
        ("camera", format!("{}: {:.1} frames/s{latency}, {age}", door.camera, door.fps)),
        (
            "proof",
            format!("{}{}", if several { format!("{}: ", door.name) } else { String::new() }, proof(door)),
        ),
    ];
    rows.extend(
        door.second_camera
            .iter()
            .map(|second| ("second", format!("{name}{second}: must see each face as well"))),
    );
    rows.extend(door.prompt.iter().map(|what| ("asks", what.clone())));
    rows.extend(door.told.iter().map(|told| ("told", format!("{told}, to who stands at the door"))));
    rows.extend(door.advice.iter().map(|advice| ("told", format!("{advice}, to who stands at the door"))));
    rows.extend(door.throttle.iter().map(|what| ("THROTTLED", what.clone())));
    rows.extend(door.alarms.iter().map(|alarm| ("ALARM", alarm.clone())));
    match door.faults.as_slice() {
        [] => rows.push(("faults", "none".to_owned())),
        some => rows.extend(some.iter().map(|fault| ("fault", fault.clone()))),
    }
    rows
}

/// What has been shown of it; and how to show more, as long as there is more to show.
fn proof(door: &DoorStatus) -> String {
    let proof = &door.photo_proof;
    let text = if proof.text.is_empty() { "photo-proof: not shown" } else { &proof.text };
    if proof.is_shown() { text.to_owned() } else { format!("{text}; to try it: accessd spoof-test") }
}

fn rule(state: &State) -> String {
    let threshold = format!("score from {:.3}", state.threshold);
    match state.far {
        None => format!("{threshold}, set by hand"),
        Some(Far { at_most, supported: true, .. }) => {
            format!("{threshold}: at most {} of strangers' attempts open", one_in(at_most))
        }
        Some(Far { wanted, at_most, .. }) => format!(
            "{threshold}, the strictest that is supported by measurements: {} of strangers' attempts may open, {} was \
             wanted; ask for a second factor as well",
            one_in(at_most),
            one_in(wanted)
        ),
    }
}

/// `3d 4h`, `5m 12s`: the two largest units.
fn up(seconds: u64) -> String {
    let units =
        [(seconds / 86_400, 'd'), (seconds / 3600 % 24, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
    let first = units.iter().position(|(n, _)| *n > 0).unwrap_or(units.len() - 1);
    let shown = units[first..].iter().take(2).map(|(n, unit)| format!("{n}{unit}"));
    shown.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_is_told_in_its_two_largest_units() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (60, "1m 0s"), (3_725, "1h 2m"), (273_600, "3d 4h")] {
            assert_eq!(up(seconds), text);
        }
    }
}
