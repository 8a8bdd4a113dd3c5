//! `accessd identify`: who is in this picture?

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::adapters::{bar, gates, load_networks, rule};
use super::backend::open_to_read;
use super::output::{self, Output};
use super::picture::Picture;
use super::{Exit, Globals};
use crate::access::LookAlikes;
use crate::config::Config;
use crate::encoder::{Embedding, ModelId, Score};
use crate::gallery::{Candidate, Gallery, PersonId};
use crate::store::Store;
use crate::vision::BBox;
use crate::vision::quality::Quality;

/// Say who is in a picture; exit code 0 when somebody is known, 3 when nobody is
///
/// Judges the one picture with threshold and margin of the config. The door asks for more: several frames that agree.
#[derive(Args, Debug)]
pub(super) struct Identify {
    /// The picture
    image: PathBuf,
    /// How many candidates are shown for each face
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    top: u16,
    /// Print JSON: {"image", "model", "threshold", "margin", "faces": [{"box", "quality", "problem", "verdict",
    /// "person", "looks_like", "candidates"}]}
    #[arg(long)]
    json: bool,
}

/// A picture and who is in it.
#[derive(Debug, Serialize)]
struct Answer {
    image: PathBuf,
    model: ModelId,
    threshold: f32,
    margin: f32,
    faces: Vec<Identified>,
}

/// One face and whose it may be.
#[derive(Debug, Serialize)]
struct Identified {
    #[serde(rename = "box")]
    bbox: BBox,
    quality: Quality,
    /// Why the door would not look at it.
    problem: Option<String>,
    verdict: Verdict,
    /// Who, when known.
    person: Option<String>,
    /// Whom the best candidate is easily taken for.
    looks_like: Option<Candidate>,
    /// How far ahead of everybody else the best candidate must be.
    #[serde(skip)]
    margin: f32,
    candidates: Vec<Candidate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Known,
    Unknown,
    Ambiguous,
}

impl Identify {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let config = globals.load()?;
        let picture = Picture::read(&self.image)?;
        let store = open_to_read(&config)?;
        let answer = self.look(&config, &picture, &store)?;
        let known = answer.faces.iter().any(|face| face.verdict == Verdict::Known);
        let mut out = Output::new();
        if self.json {
            out.json(&answer)?;
        } else {
            answer.print(&mut out)?;
        }
        out.flush()?;
        Ok(if known { Exit::Done } else { Exit::No })
    }

    fn look(&self, config: &Config, picture: &Picture, store: &dyn Store) -> anyhow::Result<Answer> {
        let mut networks = load_networks(config)?;
        let gallery = store.gallery(networks.model())?;
        let found = picture.faces(&mut networks)?;
        let gates = gates(config);
        let (rule, _) = bar(config, networks.model())?.apply(&gallery, &rule(config));
        let alike = LookAlikes::of(&gallery, &rule);
        let mut faces = Vec::new();
        for face in &found {
            let probe = picture.embed(&mut networks, face)?;
            let mut candidates = everybody(&gallery, &probe);
            let best = candidates.first().map(|best| best.person);
            let margin = best.map_or(rule.margin, |best| alike.margin(best, &rule));
            let verdict = judge(&candidates, rule.threshold, margin);
            candidates.truncate(self.top.into());
            let person = candidates.first().filter(|_| verdict == Verdict::Known);
            faces.push(Identified {
                bbox: face.face.bbox,
                quality: face.quality,
                problem: gates.judge(&face.quality).map(|issue| gates.explain(issue, &face.quality)),
                verdict,
                person: person.map(|p| p.name.to_string()),
                looks_like: best.and_then(|best| alike.of_person(best)).cloned(),
                margin,
                candidates,
            });
        }
        Ok(Answer {
            image: self.image.clone(),
            model: networks.model().clone(),
            threshold: rule.threshold.0,
            margin: rule.margin,
            faces,
        })
    }
}

/// Everybody, most alike first.
fn everybody(gallery: &Gallery, probe: &Embedding) -> Vec<Candidate> {
    /// No person has this id: they count from 1.
    const NOBODY: PersonId = PersonId(0);
    gallery.nearest_other(probe, NOBODY, Score(-1.0))
}

/// What the door's rule makes of one look.
fn judge(candidates: &[Candidate], threshold: Score, margin: f32) -> Verdict {
    match candidates {
        [best, ..] if best.score < threshold => Verdict::Unknown,
        [best, second, ..] if best.score.0 - second.score.0 < margin => Verdict::Ambiguous,
        [_, ..] => Verdict::Known,
        [] => Verdict::Unknown,
    }
}

impl Answer {
    fn print(&self, out: &mut Output) -> anyhow::Result<()> {
        for (n, face) in self.faces.iter().enumerate() {
            let at = &face.bbox;
            let verdict = match face.verdict {
                Verdict::Known => face.person.clone().unwrap_or_default(),
                Verdict::Unknown => "nobody known".into(),
                Verdict::Ambiguous => format!("two people closer than {:.2} to each other", face.margin),
            };
            out.line(format_args!(
                "face {} at {:.0},{:.0}, {:.0}×{:.0} px: {verdict}",
                n + 1,
                at.x,
                at.y,
                at.w,
                at.h
            ))?;
            if let Some(problem) = &face.problem {
                out.line(format_args!("  note: the door would not look at it: {problem}"))?;
            }
            let mut table = output::table(["", "CANDIDATE", "SCORE", "NAMED FROM"]);
            for candidate in &face.candidates {
                let score = candidate.score.0;
                let named = if score >= self.threshold { "yes" } else { "no" };
                table.add_row([
                    " ".into(),
                    candidate.name.to_string(),
                    format!("{score:.3}"),
                    format!("{:.3}: {named}", self.threshold),
                ]);
            }
            output::align_right(&mut table, [2]);
            if face.candidates.is_empty() {
                out.line(format_args!("  nobody is enrolled with {}", self.model))?;
            } else {
                out.table(&table)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(scores: &[f32]) -> Vec<Candidate> {
        let candidate = |(i, score): (usize, &f32)| Candidate {
            person: PersonId(i as i64 + 1),
            name: format!("p{i}").into(),
            score: Score(*score),
        };
        scores.iter().enumerate().map(candidate).collect()
    }

    #[test]
    fn one_look_is_judged_by_threshold_and_margin() {
        for (scores, verdict) in [
            (&[][..], Verdict::Unknown),
            (&[0.49], Verdict::Unknown),
            (&[0.50], Verdict::Known),
            (&[0.70, 0.65], Verdict::Ambiguous),
            (&[0.70, 0.60], Verdict::Known),
            (&[0.40, 0.39], Verdict::Unknown),
        ] {
            assert_eq!(judge(&candidates(scores), Score(0.5), 0.08), verdict, "{scores:?}");
        }
    }
}
