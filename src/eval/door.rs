//! The whole decision, measured: everybody's pictures as one attempt at a door where others are enrolled, with the
//! threshold that follows from the stated rate and not from these pictures.
//!
//! An attempt shows its pictures one after the other, over and over, until the rule has had as many looks as it
//! remembers: a person with one picture stands still. Quality gates and liveness, which a door asks for as well, are
//! not; nor is the rule for tracks that are lost.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::metrics::Proportion;
use super::openset::OpenSet;
use crate::access::{Attempts, Demands, Look, LookAlikes, LookOutcome, Proof, Rule, Verdict};
use crate::calibration::cohort::Cohort;
use crate::calibration::{Calibration, Estimate, calibrate, exposure};
use crate::clock::MonoTime;
use crate::encoder::{Embedding, ModelId};
use crate::gallery::{Gallery, PersonId};
use crate::liveness::signs::Signs;
use crate::vision::tracks::TrackId;

/// Numbers of enrolled people that are tried beside all of them.
const SMALLER: [usize; 2] = [10, 50];
/// From one look to the next.
const FRAME: Duration = Duration::from_millis(100);

/// The outcome with everybody enrolled, and with fewer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DoorReport {
    /// Share of the attempts of people who are not enrolled, or at somebody else's name, that opened.
    pub false_accept_rate: f64,
    /// Upper end of its Wilson 95 % interval.
    pub false_accept_upper95: f64,
    /// Share of the attempts of enrolled people that did not open for them.
    pub false_reject_rate: f64,
    /// Upper end of its Wilson 95 % interval.
    pub false_reject_upper95: f64,
    /// The threshold that followed.
    pub threshold: f32,
    /// People enrolled.
    pub enrolled: usize,
    /// What was known beforehand.
    pub calibration: Calibration,
    /// Attempts of strangers.
    pub strangers: usize,
    /// Attempts of enrolled people.
    pub owners: usize,
    /// Who was let in as whom, wrongly.
    pub accepted: Vec<(String, String)>,
    /// Who was not let in, wrongly.
    pub rejected: Vec<String>,
    /// Predicted and measured, by the number of people enrolled.
    pub by_enrolled: Vec<AtSize>,
}

/// Predicted and measured with so many people enrolled.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AtSize {
    /// People enrolled at each door.
    pub enrolled: usize,
    /// Doors, with different people each; counts are over all of them.
    pub doors: usize,
    /// The thresholds that followed, lowest and highest.
    pub thresholds: (f32, f32),
    /// The share of strangers' attempts that opens, at most, as predicted at the first door.
    pub predicted: Estimate,
    /// Measured: attempts of strangers that opened.
    pub false_accepts: Share,
    /// The share of looks at enrolled people that miss, as predicted at the first door.
    pub predicted_rejects: Estimate,
    /// Measured: attempts of enrolled people that did not open.
    pub false_rejects: Share,
}

/// A measured share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Share {
    /// How many.
    pub hits: usize,
    /// Of how many.
    pub attempts: usize,
    /// The share.
    pub rate: f64,
    /// Upper end of its Wilson 95 % interval, as if attempts were independent.
    pub upper95: f64,
}

impl Share {
    fn of(hits: usize, attempts: usize) -> Self {
        let share = Proportion { hits, trials: attempts };
        let rate = if attempts == 0 { 0.0 } else { share.rate() };
        Self { hits, attempts, rate, upper95: share.wilson95().1 }
    }
}

/// One attempt: somebody's pictures.
struct Visit<'a> {
    name: &'a str,
    /// `None` is nobody who is ever enrolled in this list.
    person: Option<usize>,
    /// Those with a face.
    looks: Vec<&'a Embedding>,
}

/// How the visits at one door went.
#[derive(Default)]
struct Went {
    strangers: usize,
    owners: usize,
    accepted: Vec<(String, String)>,
    rejected: Vec<String>,
}

/// Lets everybody try; `embeddings` stand in the order of the protocol's images. `rule` is the door's but for its
/// threshold.
///
/// # Panics
/// When there is not one entry for each image of the protocol.
pub fn measure(
    set: &OpenSet,
    embeddings: &[Option<Embedding>],
    cohort: &Cohort,
    far_per_attempt: f64,
    rule: &Rule,
) -> DoorReport {
    assert_eq!(set.images.len(), embeddings.len(), "one entry an image");
    let visits = visits(set, embeddings);
    let everybody: Vec<usize> = (0..set.people.len()).collect();
    let door = |people: &[usize]| {
        let gallery = gallery(set, embeddings, &cohort.model, people);
        let known = calibrate(cohort, far_per_attempt, exposure(&gallery, cohort, rule));
        // Pictures are not alive: watching them would refuse everybody.
        let demands = Demands::default();
        let (threshold, supported) = (known.threshold, known.supported);
        let rule = Rule { threshold, supported, demands, ..rule.clone() };
        (attend(&gallery, &visits, people, &rule), known)
    };
    let (went, calibration) = door(&everybody);
    let mut by_enrolled = Vec::new();
    for size in SMALLER.into_iter().filter(|size| *size < everybody.len()).chain([everybody.len()]) {
        let mut all = Went::default();
        let mut known = Vec::new();
        // Who stands beside whom in the list must not matter: people are dealt out.
        let doors = everybody.len() / size;
        for first in 0..doors {
            let people: Vec<usize> =
                everybody.iter().copied().skip(first).step_by(doors).take(size).collect();
            let (went, calibration) = door(&people);
            all.strangers += went.strangers;
            all.owners += went.owners;
            all.accepted.extend(went.accepted);
            all.rejected.extend(went.rejected);
            known.push(calibration);
        }
        let bars = || known.iter().map(|k| k.threshold.0);
        by_enrolled.push(AtSize {
            enrolled: size,
            doors,
            thresholds: (bars().fold(f32::MAX, f32::min), bars().fold(f32::MIN, f32::max)),
            predicted: known[0].false_accepts,
            false_accepts: Share::of(all.accepted.len(), all.strangers),
            predicted_rejects: known[0].false_rejects,
            false_rejects: Share::of(all.rejected.len(), all.owners),
        });
    }
    let accepts = Share::of(went.accepted.len(), went.strangers);
    let rejects = Share::of(went.rejected.len(), went.owners);
    DoorReport {
        false_accept_rate: accepts.rate,
        false_accept_upper95: accepts.upper95,
        false_reject_rate: rejects.rate,
        false_reject_upper95: rejects.upper95,
        threshold: calibration.threshold.0,
        enrolled: everybody.len(),
        calibration,
        strangers: went.strangers,
        owners: went.owners,
        accepted: went.accepted,
        rejected: went.rejected,
        by_enrolled,
    }
}

/// One visit of each person who has probes.
fn visits<'a>(set: &'a OpenSet, embeddings: &'a [Option<Embedding>]) -> Vec<Visit<'a>> {
    let mut owners: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    set.mated.iter().for_each(|probe| owners.entry(probe.person).or_default().push(probe.image));
    let mut strangers: Vec<(&str, Vec<usize>)> = Vec::new();
    let mut at: HashMap<&str, usize> = HashMap::new();
    for (image, name) in set.nonmated.iter().zip(&set.strangers) {
        let slot = *at.entry(name).or_insert(strangers.len());
        if slot == strangers.len() {
            strangers.push((name, Vec::new()));
        }
        strangers[slot].1.push(*image);
    }
    let faces = |images: Vec<usize>| images.into_iter().filter_map(|i| embeddings[i].as_ref()).collect();
    let owners = owners.into_iter().map(|(person, images)| Visit {
        name: &set.people[person],
        person: Some(person),
        looks: faces(images),
    });
    owners
        .chain(strangers.into_iter().map(|(name, images)| Visit { name, person: None, looks: faces(images) }))
        .collect()
}

fn gallery(set: &OpenSet, embeddings: &[Option<Embedding>], model: &ModelId, people: &[usize]) -> Gallery {
    let mut templates = Vec::new();
    for &person in people {
        let name: Arc<str> = set.people[person].as_str().into();
        let faces = set.enrolled[person].iter().filter_map(|i| embeddings[*i].clone());
        templates.extend(faces.map(|face| (PersonId(person as i64), name.clone(), face)));
    }
    Gallery::new(model.clone(), 0, templates)
}

/// Lets every visitor try at one door.
fn attend(gallery: &Gallery, visits: &[Visit<'_>], people: &[usize], rule: &Rule) -> Went {
    let mut went = Went::default();
    let alike = LookAlikes::of(gallery, rule);
    for visit in visits {
        let owner = visit.person.filter(|person| people.contains(person));
        let let_in = attempt(gallery, &visit.looks, rule, &alike);
        match owner {
            Some(_) => went.owners += 1,
            None => went.strangers += 1,
        }
        match (owner, let_in) {
            (Some(person), Some((id, _))) if id == PersonId(person as i64) => {}
            (_, Some((_, name))) => went.accepted.push((visit.name.to_owned(), name)),
            (Some(_), None) => went.rejected.push(visit.name.to_owned()),
            (None, None) => {}
        }
    }
    went
}

/// Whom the door would have opened for.
fn attempt(
    gallery: &Gallery,
    looks: &[&Embedding],
    rule: &Rule,
    alike: &LookAlikes,
) -> Option<(PersonId, String)> {
    let mut attempts = Attempts::new(rule.clone());
    attempts.set_rule(rule.clone(), alike.clone());
    let count = looks.len().max(rule.frames_window);
    for (seq, embedding) in looks.iter().cycle().take(count).enumerate() {
        let captured = MonoTime::from_millis(1000) + FRAME * seq as u32;
        let look = Look {
            track: TrackId(1),
            seq: seq as u64,
            captured,
            size_px: 100.0,
            outcome: LookOutcome::Compared(gallery.find(embedding)),
            proof: Proof::Off,
            signs: Signs::default(),
            yaw_deg: 0.0,
        };
        for verdict in attempts.observe(&[look], captured) {
            if let Verdict::Grant(grant) = verdict {
                return Some((grant.person(), grant.name().to_owned()));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::calibration::cohort::{Point, Source, Tail};
    use crate::encoder::Score;
    use crate::eval::testing::at;

    fn cohort() -> Cohort {
        let point = |score: f32, fmr: f64, pairs: usize| Point {
            score,
            fmr,
            fmr_se: fmr / 10.0,
            pairs,
            fnmr: 0.01,
            fnmr_se: 0.001,
        };
        Cohort {
            model: ModelId("m@1".into()),
            sources: vec![Source { name: "made up".into(), people: 9, images: 99 }],
            tails: vec![Tail {
                templates: 1,
                impostors: 1000,
                genuine: 1000,
                points: vec![point(0.5, 1e-2, 30), point(0.9, 1e-6, 20)],
            }],
        }
    }

    fn rule() -> Rule {
        Rule {
            threshold: Score(0.0),
            margin: 0.05,
            alike_margin: 0.16,
            frames_needed: 2,
            frames_window: 3,
            max_frame_age: Duration::from_millis(500),
            regrant_after: Duration::from_secs(10),
            several: crate::access::Several::Nearest,
            supported: true,
            demands: Demands::default(),
        }
    }

    #[test]
    fn visits_by_hand() {
        // Ann at 0°, Bob at 90°; Ann comes at 10° and 80° and 5° (2 of 3 name her), Bob far off; strangers at 95° and 45°.
        let text = "role,identity,path\nenrol,Ann,a\nenrol,Bob,b\nmated,Ann,c\nmated,Ann,d\nmated,Ann,e\n\
                    mated,Bob,f\nnonmated,Cy,g\nnonmated,Dot,h\nnonmated,Dot,i\nnonmated,Eve,j\n";
        let set = OpenSet::parse(text, Path::new("s")).unwrap();
        let mut faces: Vec<_> =
            [0.0, 90.0, 10.0, 45.0, 5.0, 170.0, 95.0, 45.0, 44.0].into_iter().map(|d| Some(at(d))).collect();
        faces.push(None);
        let watched = Demands { watch: Duration::from_secs(9), ..Demands::default() };
        let report = measure(&set, &faces, &cohort(), 1e-3, &Rule { demands: watched, ..rule() });
        assert_eq!((report.enrolled, report.owners, report.strangers), (2, 2, 3));
        assert_eq!(report.accepted, [("Cy".to_owned(), "Bob".to_owned())]);
        assert_eq!(report.rejected, ["Bob"], "only his picture at 170°, far from 90°");
        assert_eq!((report.false_accept_rate, report.false_reject_rate), (1.0 / 3.0, 0.5));
        assert!(report.false_accept_upper95 > 0.7 && report.false_reject_upper95 > 0.9);
        assert!(report.threshold > 0.5 && report.threshold <= 0.9, "{report:?}");
        assert_eq!(report.by_enrolled.len(), 1, "no smaller door can be made of two people");
        assert_eq!(report.by_enrolled[0].false_accepts, Share::of(1, 3));
    }

    #[test]
    fn smaller_doors_have_different_people_and_lower_thresholds() {
        let mut text = String::from("role,identity,path\n");
        let mut faces = Vec::new();
        for i in 0..25 {
            text += &format!("enrol,P{i},e{i}\nmated,P{i},m{i}\n");
            faces.extend([Some(at(i as f32 * 14.0)), Some(at(i as f32 * 14.0 + 1.0))]);
        }
        text += "nonmated,S,s\n";
        faces.push(Some(at(7.0)));
        let set = OpenSet::parse(&text, Path::new("s")).unwrap();
        let report = measure(&set, &faces, &cohort(), 1e-2, &Rule { margin: 0.0, ..rule() });
        let sizes: Vec<_> = report.by_enrolled.iter().map(|at| (at.enrolled, at.doors)).collect();
        assert_eq!(sizes, [(10, 2), (25, 1)]);
        let [small, large] = &report.by_enrolled[..] else { panic!("{report:?}") };
        assert!(small.thresholds.0 <= large.thresholds.0);
        assert_eq!(small.false_rejects.attempts + small.false_accepts.attempts, 2 * 26);
        assert_eq!(large.false_accepts.attempts, 1);
    }
}
