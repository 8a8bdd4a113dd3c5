//! `accessd doctor --kill-test`: a process unlocks the strike through the guard, as the service does, and is killed
//! with the strike energised; how long the relay stays so is measured from outside.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use super::super::adapters::{prefix, start_guard};
use super::super::backend::Service;
use super::super::output::Output;
use super::Exit;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, DoorConfig};
use crate::door::{self, LineSpec, Strike, StrikeKind};

/// How long the strike may stay unlocked after the kill.
const LIMIT: Duration = Duration::from_secs(1);

/// How long is waited for it, and for the process to unlock.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks at the line.
const PAUSE: Duration = Duration::from_millis(1);

/// Runs the test.
pub(super) fn perform(config: &Config) -> anyhow::Result<Exit> {
    ensure!(
        Service::find(&config.paths.socket)?.is_none(),
        "the service runs and holds the relay; stop it first (systemctl stop accessd)"
    );
    let mut all_within = true;
    for door in config.doors() {
        all_within &= of_door(&door.door, &prefix(config, &door))?;
    }
    Ok(if all_within { Exit::Done } else { Exit::No })
}

/// Whether the strike of this door was locked in time.
fn of_door(door: &DoorConfig, name: &str) -> anyhow::Result<bool> {
    let spec: LineSpec = door.relay.parse().context("door.relay cannot be used")?;
    let kind: StrikeKind = door.strike.parse()?;
    let mut out = Output::new();
    out.line(format_args!("{name}{spec}: the strike is unlocked for a moment"))?;
    out.flush()?;
    let mut child = Command::new("/proc/self/exe")
        .args(std::env::args_os().skip(1).filter(|arg| arg != "--kill-test"))
        .args(["--hold", &door.name])
        .stdout(Stdio::piped())
        .spawn()
        .context("the process to be killed could not be started")?;
    let mut line = String::new();
    let stdout = child.stdout.take().context("its output was asked for")?;
    BufReader::new(stdout).read_line(&mut line)?;
    if line.trim() != "unlocked" {
        let status = child.wait()?;
        bail!("the strike could not be unlocked ({status})");
    }
    let clock = SystemClock;
    let killed = clock.now();
    child.kill()?;
    let released = until_locked(&spec, kind, &clock);
    child.wait()?;
    match released? {
        Some(at) => {
            let took = at.since(killed);
            let within = took <= LIMIT;
            let word = if within { "ok" } else { "FAIL" };
            out.line(format_args!(
                "{word}    locked {} ms after SIGKILL (at most {})",
                took.as_millis(),
                LIMIT.as_millis()
            ))?;
            out.flush()?;
            Ok(within)
        }
        None => {
            out.line(format_args!(
                "FAIL  still unlocked {} s after SIGKILL: look at the relay",
                PATIENCE.as_secs()
            ))?;
            out.flush()?;
            Ok(false)
        }
    }
}

/// When the line is seen at the locked level; a line that is held by the guard cannot be looked at yet.
fn until_locked(
    spec: &LineSpec,
    kind: StrikeKind,
    clock: &dyn Clock,
) -> anyhow::Result<Option<crate::clock::MonoTime>> {
    let deadline = clock.now() + PATIENCE;
    while clock.now() < deadline {
        if door::level_now(spec)? == Some(kind.energised(false)) {
            return Ok(Some(clock.now()));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(None)
}

/// The process that is killed: unlocks, says so, and shows signs of life until the end.
pub(super) fn hold(door: &DoorConfig) -> anyhow::Result<Exit> {
    let mut strike = start_guard(door, Arc::new(SystemClock))?;
    strike.unlock(PATIENCE, "kill test")?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "unlocked")?;
    stdout.flush()?;
    let until = SystemClock.now() + PATIENCE;
    while SystemClock.now() < until {
        strike.beat(true)?;
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("nobody killed this process")
}
