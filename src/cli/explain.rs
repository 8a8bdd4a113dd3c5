//! `accessd explain`: why the door did what a record of its log says.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use comfy_table::Table;

use super::backend::Backend;
use super::log::line;
use super::output::{self, Output};
use super::{Exit, Globals};
use crate::journal::EventId;
use crate::journal::explain::{Explanation, Gate};

/// Explain why somebody was let in or refused
///
/// Every condition with what was found and what was wanted, who it could have been, the rule, and where the time went. The
/// number of an event is in the first column of `accessd log --csv`, and in the service's own log.
#[derive(Args, Debug)]
pub(super) struct Explain {
    /// Number of the event
    #[arg(value_name = "EVENT")]
    event: i64,
    /// Also write the picture of a refusal to this file (JPEG), where one is kept; that is written down in the log
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let (config, event) = (globals.load()?, EventId(self.event));
        let mut backend = match self.picture {
            None => Backend::to_read(&config)?,
            Some(_) => Backend::to_change(&config)?,
        };
        let explanation = backend.explain(event)?;
        if let Some(file) = &self.picture {
            let picture = backend.snapshot(event)?;
            write_for_its_owner(file, &picture)
                .with_context(|| format!("{} cannot be written", file.display()))?;
        }
        let mut out = Output::new();
        if self.json {
            out.json(&explanation)?;
        } else {
            print(&explanation, &mut out)?;
        }
        out.flush()?;
        Ok(Exit::Done)
    }
}

/// A face is nobody else's business.
fn write_for_its_owner(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    to.write_all(bytes)
}

fn print(explained: &Explanation, out: &mut Output) -> anyhow::Result<()> {
    let record = &explained.record;
    out.line(format_args!("event {}", record.id.0))?;
    out.line(line::describe(record))?;
    if let Some(why) = &explained.why {
        out.line(format_args!("why           {why}"))?;
    }
    if let Some(hash) = &record.hash {
        out.line(format_args!("hash          {hash}"))?;
    }
    let clock = match record.clock_trusted {
        Some(true) => ", believed",
        Some(false) => ", NOT believed",
        None => "",
    };
    out.line(format_args!(
        "clock         {}{clock}; {} ms after boot {}",
        record.at.wall,
        record.at.mono.as_millis(),
        record.boot_id
    ))?;
    if let Some(model) = &explained.model {
        out.line(format_args!("encoder       {model}"))?;
    }
    if let Some(from) = &explained.threshold_from {
        out.line(format_args!("threshold     {from}"))?;
    }
    if !explained.frame_ages_ms.is_empty() {
        let ages: Vec<_> = explained.frame_ages_ms.iter().map(|age| format!("{age} ms")).collect();
        out.line(format_args!("frames        {} old", ages.join(", ")))?;
    }
    if !explained.stages_us.is_empty() {
        let stages =
            explained.stages_us.iter().map(|(stage, us)| format!("{stage} {:.1}", *us as f64 / 1000.0));
        out.line(format_args!("newest, in ms {}", stages.collect::<Vec<_>>().join(", ")))?;
    }
    if !explained.gates.is_empty() {
        out.line("")?;
        out.table(&gates(&explained.gates))?;
    }
    if !explained.candidates.is_empty() {
        out.line("")?;
        let mut table = output::table(["MOST ALIKE", "SCORE"]);
        for candidate in &explained.candidates {
            table.add_row([candidate.name.to_string(), format!("{:.4}", candidate.score)]);
        }
        out.table(&table)?;
    }
    if !explained.related.is_empty() {
        out.line("")?;
        for related in &explained.related {
            out.line(line::describe(related))?;
        }
    }
    Ok(())
}

fn gates(gates: &[Gate]) -> Table {
    let mut table = output::table(["CONDITION", "FOUND", "WANTED", ""]);
    for gate in gates {
        let limit = gate.limit.map_or("not known any more".into(), |limit| {
            format!(
                "{} {} {}",
                if gate.wants == ">=" { "at least" } else { "at most" },
                figure(limit),
                gate.unit
            )
        });
        let met = match gate.met {
            Some(true) => "met",
            Some(false) => "NOT MET",
            None => "",
        };
        table.add_row([gate.name.clone(), figure(gate.value), limit.trim().to_owned(), met.to_owned()]);
    }
    table
}

/// With as many digits as say something.
fn figure(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}
