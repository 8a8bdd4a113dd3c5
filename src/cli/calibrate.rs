//! `accessd calibrate`: the threshold that follows from the stated rate, what is known about it, and which of the
//! people enrolled are hard to tell apart.

use clap::Args;
use serde::Serialize;

use super::adapters::rule;
use super::backend::open_to_read;
use super::output::{Output, count, one_in};
use super::{Exit, Globals};
use crate::access::{LookAlikes, Rule};
use crate::calibration::cohort::{Cohort, Source};
use crate::calibration::{Calibration, Estimate, Exposure, calibrate, exposure, judged};
use crate::config::Config;
use crate::encoder::{ModelId, Score};
use crate::gallery::{Candidate, Gallery};
use crate::models::Library;
use crate::store::Store;

/// Numbers of people for which the threshold is shown as well.
const PEOPLE: [usize; 6] = [1, 10, 50, 150, 500, 2000];

/// Show the threshold that keeps the stated false-accept rate, and who is hard to tell apart
///
/// Reads people and config, and changes nothing.
#[derive(Args, Debug)]
pub(super) struct Calibrate {
    /// Rate to keep instead of decision.far_per_attempt in the config
    #[arg(long, value_name = "RATE")]
    far: Option<f64>,
    /// Print JSON; shares are from 0 to 1, thresholds and scores are cosines
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer {
    cohort: Vec<Source>,
    /// What follows from the rate.
    follows: Calibration,
    /// What is known of the threshold in force, when it was set by hand.
    set_by_hand: Option<Calibration>,
    by_people: Vec<AtSize>,
    /// How far ahead of everybody else a look-alike must be.
    margin: f32,
    look_alikes: Vec<LookAlike>,
    disagreeing: Vec<Candidate>,
}

#[derive(Serialize)]
struct AtSize {
    people: usize,
    threshold: Score,
    supported: bool,
    false_accepts: f64,
    false_rejects: f64,
}

#[derive(Serialize)]
struct LookAlike {
    a: String,
    b: String,
    score: Score,
}

impl Calibrate {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let mut config = globals.load()?;
        if let Some(far) = self.far {
            config = far_in_range(config, far)?;
        }
        let file = Library::new(&config.paths.models).load(&config.encoder.model, "encoder")?;
        let model = file.card.id();
        let cohort = Cohort::of(&model, &config.paths.models)?;
        let gallery = open_to_read(&config)?.gallery(&model)?;
        let answer = answer(&config, &model, &cohort, &gallery);
        let mut out = Output::new();
        if self.json {
            out.json(&answer)?;
        } else {
            answer.print(&mut out)?;
        }
        out.flush()?;
        Ok(Exit::Done)
    }
}

fn far_in_range(mut config: Config, far: f64) -> anyhow::Result<Config> {
    if !(1e-7..=0.1).contains(&far) {
        anyhow::bail!("--far {far}: a share from 0.0000001 to 0.1 is expected, such as 1e-4");
    }
    config.decision.far_per_attempt = far;
    Ok(config)
}

fn answer(config: &Config, model: &ModelId, cohort: &Cohort, gallery: &Gallery) -> Answer {
    let (rule, far) = (rule(config), config.decision.far_per_attempt);
    let here = exposure(gallery, cohort, &rule);
    let follows = calibrate(cohort, far, here);
    let set_by_hand = (config.decision.threshold > 0.0)
        .then(|| judged(Score(config.decision.threshold), gallery, cohort, &rule));
    let in_force = set_by_hand.as_ref().map_or(follows.threshold, |set| set.threshold);
    let near = gallery.likenesses(LookAlikes::bar(&Rule { threshold: in_force, ..rule.clone() }));
    let look_alike = |(a, b): (Candidate, Candidate)| LookAlike {
        a: a.name.to_string(),
        b: b.name.to_string(),
        score: a.score,
    };
    debug_assert_eq!(gallery.model(), model);
    Answer {
        cohort: cohort.sources.clone(),
        by_people: PEOPLE
            .iter()
            .map(|people| at_size(cohort, far, Exposure { people: *people, ..here }))
            .collect(),
        margin: rule.margin.max(rule.alike_margin),
        look_alikes: near.pairs.into_iter().map(look_alike).collect(),
        disagreeing: gallery.disagreeing(in_force),
        follows,
        set_by_hand,
    }
}

fn at_size(cohort: &Cohort, far: f64, exposure: Exposure) -> AtSize {
    let known = calibrate(cohort, far, exposure);
    AtSize {
        people: exposure.people,
        threshold: known.threshold,
        supported: known.supported,
        false_accepts: known.false_accepts.value,
        false_rejects: known.false_rejects.value,
    }
}

impl Answer {
    fn print(&self, out: &mut Output) -> anyhow::Result<()> {
        let follows = &self.follows;
        let Exposure { people, templates, frames_needed, frames_window, alike } = follows.exposure;
        let mut line = |what: &str, text: String| out.line(format_args!("{what:<15}{text}"));
        line("encoder", follows.model.to_string())?;
        for Source { name, people, images } in &self.cohort {
            let (of, from) = (count(*people, "person", "people"), count(*images, "picture", "pictures"));
            line("measured on", format!("{name}: {of}, {from}"))?;
        }
        let alike =
            if alike > 1.0 { format!("; {alike:.1} times as often alike as those") } else { String::new() };
        let samples = count(templates, "sample", "samples");
        line("enrolled", format!("{}, at most {samples} each{alike}", count(people, "person", "people")))?;
        line("an attempt", format!("{frames_needed} of {frames_window} looks must name the same person"))?;
        line("wanted", format!("at most {} of strangers' attempts opens", one_in(follows.far_per_attempt)))?;
        known(follows, "threshold", &mut line)?;
        if !follows.supported {
            line(
                "",
                "too little was measured to show the rate that is wanted: this is the strictest threshold"
                    .into(),
            )?;
            line(
                "",
                "supported. Ask for a second factor, or measure a larger cohort (`accessd eval cohort`)"
                    .into(),
            )?;
        }
        if let Some(set) = &self.set_by_hand {
            known(set, "set by hand", &mut line)?;
        }
        out.line("")?;
        out.line("people    threshold    strangers let in    looks missed")?;
        for AtSize { people, threshold, supported, false_accepts, false_rejects } in &self.by_people {
            let support = if *supported { "" } else { "   not what is wanted: too little was measured" };
            out.line(format_args!(
                "{people:>6}{:>13.3}{:>20}{:>14.1} %{support}",
                threshold.0,
                one_in(*false_accepts),
                100.0 * false_rejects
            ))?;
        }
        out.line("")?;
        match self.look_alikes.as_slice() {
            [] => out.line("nobody looks like somebody else enough to be taken for them")?,
            some => {
                out.line(format_args!(
                    "look-alikes: each look at one of them must be {:.2} ahead of everybody else; ask them for a second factor",
                    self.margin
                ))?;
                for LookAlike { a, b, score } in some {
                    out.line(format_args!("  {:.3}  {a} and {b}", score.0))?;
                }
            }
        }
        for Candidate { name, score, .. } in &self.disagreeing {
            out.line(format_args!(
                "{name}: one sample is like none of the others (at most {:.3}); enrol anew if it is a bad picture",
                score.0
            ))?;
        }
        Ok(())
    }
}

fn known<E: std::error::Error + Send + Sync + 'static>(
    of: &Calibration,
    what: &str,
    line: &mut impl FnMut(&str, String) -> Result<(), E>,
) -> anyhow::Result<()> {
    let (low, high) = of.threshold_ci95;
    let interval = if low == high { String::new() } else { format!(" ({:.3} to {:.3})", low.0, high.0) };
    line(what, format!("cosine {:.3}{interval}", of.threshold.0))?;
    let Estimate { value, ci95: (low, high) } = of.false_accepts;
    let strangers = format!("at most {} let in (95 %: {} to {})", one_in(value), one_in(low), one_in(high));
    line("  strangers", strangers)?;
    let Estimate { value, ci95: (low, high) } = of.false_rejects;
    let [value, low, high] = [value, low, high].map(|share| 100.0 * share);
    line("  the enrolled", format!("{value:.1} % of looks miss (95 %: {low:.1} to {high:.1} %)"))?;
    Ok(())
}
