//! `accessd replay`: what another setting would have changed, before it is set.

use clap::{ArgGroup, Args};
use comfy_table::Table;

use super::backend::Backend;
use super::output::{self, Output, count};
use super::{Exit, Globals};
use crate::access::RefusalReason;
use crate::daemon::protocol::Request;
use crate::journal::explain::Gate;
use crate::journal::replay::{Difference, Outcome, Replayed};
use crate::models::Library;

/// Show what another rate, threshold or encoder would have changed in the last days, before it is set
///
/// Puts the attempts of which embeddings are kept (privacy.keep_attempts) through the decision again, against the people of now,
/// and lists those that would have ended otherwise. Whether the rules would let somebody in is not asked, nor is a challenge.
/// Changes nothing.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("what").required(true).multiple(true).args(["far", "threshold", "model"])))]
pub(super) struct Replay {
    /// Rate of a stranger's attempts to try, as decision.far_per_attempt
    #[arg(long, value_name = "RATE", conflicts_with = "threshold")]
    far: Option<f64>,
    /// Score to try, as decision.threshold
    #[arg(long, value_name = "SCORE")]
    threshold: Option<f32>,
    /// Encoder to try, as encoder.model; there must be attempts and samples of it
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Replay {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let config = globals.load()?;
        let id = |name: &str| {
            let file = Library::new(&config.paths.models).load(name, "encoder")?;
            anyhow::Ok(file.card.id().0)
        };
        let model = self.model.as_deref().map(id).transpose()?;
        let request = Request::Replay { far: self.far, threshold: self.threshold, model };
        let found = Backend::to_read(&config)?.replay(&request)?;
        let mut out = Output::new();
        if self.json {
            out.json(&found)?;
        } else {
            print(&found, &mut out)?;
        }
        out.flush()?;
        Ok(Exit::Done)
    }
}

fn print(found: &Replayed, out: &mut Output) -> anyhow::Result<()> {
    let span = match (found.from, found.until) {
        (Some(from), Some(until)) => {
            format!(" from {} to {}", output::local_time(from), output::local_time(until))
        }
        _ => String::new(),
    };
    out.line(format_args!(
        "{}{span}, encoder {}",
        count(found.attempts, "attempt", "attempts"),
        found.model
    ))?;
    out.line(format_args!("threshold {:.3} instead of {:.3}", found.threshold, found.threshold_now))?;
    if !found.supported {
        out.line(
            "too little was measured to show the rate asked for: this is the strictest threshold supported",
        )?;
    }
    if found.left_out > 0 {
        out.line(format_args!("{} left out: of somebody who is gone, or of other samples", found.left_out))?;
    }
    out.line(headline(found))?;
    let already = found.differences.iter().filter(|difference| difference.already).count();
    if already > 0 {
        out.line(format_args!(
            "{already} of these follow from the settings in force already: people have changed since"
        ))?;
    }
    if !found.differences.is_empty() {
        out.line("")?;
        out.table(&table(&found.differences))?;
    }
    if found.differences.iter().any(|difference| difference.photo_check_unasked) {
        out.line("\n* the photo check was not asked about this face then; it counts as alive here")?;
    }
    Ok(())
}

/// `would have granted 2 more, refused 1 that came in`
pub(super) fn headline(found: &Replayed) -> String {
    let mut told = format!(
        "would have granted {} more, refused {} that came in",
        found.count(Outcome::Granted),
        found.count(Outcome::Refused)
    );
    if let n @ 1.. = found.count(Outcome::Unrecognised) {
        told += &format!(", not recognised {n} that the rules or a PIN kept out anyway");
    }
    if let n @ 1.. = found.count(Outcome::Other) {
        told += &format!(", TAKEN {n} FOR SOMEBODY ELSE");
    }
    told
}

fn table(differences: &[Difference]) -> Table {
    let mut table =
        output::table(["EVENT", "TIME", "DOOR", "WAS", "WOULD BE", "SCORE THEN", "SCORE NOW", "CONDITION"]);
    for difference in differences {
        let mark = if difference.photo_check_unasked { " *" } else { "" };
        let score = |score: Option<f32>| score.map_or("-".to_owned(), |score| format!("{score:.3}"));
        table.add_row([
            difference.event.map_or("-".to_owned(), |event| event.0.to_string()),
            output::local_time(difference.wall),
            difference.door.clone(),
            ended(difference.was.as_deref(), difference.was_refused),
            ended(difference.would_be.as_deref(), difference.would_be_refused) + mark,
            score(difference.score_then),
            score(difference.score),
            difference.gate.as_ref().map_or("frames that agree: too few".to_owned(), condition),
        ]);
    }
    output::align_right(&mut table, [0, 5, 6]);
    table
}

/// A name, a reason, or that nothing was decided.
fn ended(name: Option<&str>, refused: Option<RefusalReason>) -> String {
    match (name, refused) {
        (Some(name), _) => name.to_owned(),
        (None, Some(reason)) => {
            let word = serde_json::to_value(reason).ok().and_then(|word| word.as_str().map(str::to_owned));
            format!("refused: {}", word.unwrap_or_default().replace('_', " "))
        }
        (None, None) => "not decided".to_owned(),
    }
}

/// `score 0.461 of at least 0.440`
fn condition(gate: &Gate) -> String {
    let wants = if gate.wants == ">=" { "at least" } else { "at most" };
    let limit = gate.limit.map_or(String::new(), |limit| format!(" of {wants} {}", figure(limit)));
    format!("{} {}{limit}", gate.name, figure(gate.value))
}

fn figure(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}
