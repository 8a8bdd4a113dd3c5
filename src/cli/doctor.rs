//! `accessd doctor`: what this machine has for a door, tried out, with what to change. Useful on a machine that has
//! none of it: what is missing is named with the next step.
//!
//! `accessd check` reads the config and touches nothing; this opens cameras and reads lines. What the running service
//! holds is left alone.

mod cameras;
mod kill_test;
mod lines;
mod system;

use clap::Args;
use serde::Serialize;

use super::adapters::door_called;
use super::output::{self, Output};
use super::{Exit, Globals};
use crate::config::Config;

/// Try cameras, GPIO lines, files and clock of this machine, and say what to change; exit code 3 when something is wrong
#[derive(Args, Debug)]
pub(super) struct Doctor {
    /// Print JSON: {"ok", "findings": [{"part", "state": "ok"|"note"|"warn"|"fail", "what"}]}
    #[arg(long, conflicts_with_all = ["kill_test", "hold"])]
    json: bool,
    /// Unlock each strike, kill the process that did, and measure until the relay is released; the service must be stopped
    #[arg(long)]
    kill_test: bool,
    /// The process that is killed in it, with its door
    #[arg(long, hide = true, value_name = "DOOR")]
    hold: Option<String>,
}

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it should be.
    Ok,
    /// Not there, and not needed.
    Note,
    /// The door works, and somebody should know.
    Warn,
    /// The door does not work.
    Fail,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Note => "-",
            State::Warn => "WARN",
            State::Fail => "FAIL",
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    part: &'static str,
    state: State,
    /// How it is, and what to do about it.
    what: String,
}

impl Finding {
    fn new(part: &'static str, state: State, what: impl Into<String>) -> Self {
        Self { part, state, what: what.into() }
    }

    /// The same of a door, whose name begins it.
    fn of(self, prefix: &str) -> Self {
        Self { what: format!("{prefix}{}", self.what), ..self }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    findings: &'a [Finding],
}

impl Doctor {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let config = globals.load()?;
        if let Some(door) = &self.hold {
            return kill_test::hold(&door_called(&config, Some(door))?.door);
        }
        if self.kill_test {
            return kill_test::perform(&config);
        }
        let findings = examine(&config);
        let ok = findings.iter().all(|finding| finding.state != State::Fail);
        let mut out = Output::new();
        if self.json {
            out.json(&Report { ok, findings: &findings })?;
        } else {
            let mut table = output::table(["", "PART", "HOW IT IS"]);
            for finding in &findings {
                table.add_row([finding.state.word(), finding.part, &finding.what]);
            }
            out.table(&table)?;
        }
        out.flush()?;
        Ok(if ok { Exit::Done } else { Exit::No })
    }
}

fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = system::service(config);
    findings.extend(cameras::examine(config));
    findings.extend(lines::examine(config));
    findings.extend(system::examine(config));
    findings
}
