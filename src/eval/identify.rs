//! 1:N open-set identification: who is this, if anybody enrolled? Rank-1, and FNIR at fixed FPIR (ISO/IEC 19795-1).
//!
//! A person's score is the highest over their templates, as in the door's gallery. A probe in which no face is found
//! scores lowest of all: a miss for an enrolled person, no false alarm for a stranger.

use std::collections::BTreeMap;

use serde::Serialize;

use super::metrics::{Interval, Proportion, threshold_at};
use super::openset::OpenSet;
use super::verify::{NO_FACE_SCORE, undetected};
use crate::encoder::{Embedding, compare};

/// The false positive identification rates at which FNIR is reported, as they are written in JSON.
const FPIR_TARGETS: [&str; 2] = ["0.1", "0.01"];

/// The outcome of the 1:N protocol.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IdentifyReport {
    /// Share of mated probes whose best person is the right one, whatever the score.
    pub rank1: f64,
    /// Its Wilson 95 % interval.
    pub rank1_ci95: Interval,
    /// False negative identification rate, the share of mated probes that are below the threshold or whose best
    /// person is wrong, at the lowest threshold that keeps the false positive identification rate; `null` where the
    /// non-mated probes are fewer than 1/FPIR and cannot tell.
    pub fnir_at_fpir: BTreeMap<&'static str, Option<f64>>,
    /// Wilson 95 % intervals of those.
    pub fnir_at_fpir_ci95: BTreeMap<&'static str, Option<Interval>>,
    /// The thresholds, cosines, by FPIR.
    pub thresholds: BTreeMap<&'static str, Option<f64>>,
    /// The mated probes whose best person is wrong, for a look at the pictures: lists have mistakes, people have kin.
    pub misidentified: Vec<Misidentified>,
    /// People enrolled.
    pub enrolled: usize,
    /// Templates they have.
    pub templates: usize,
    /// People of whom no image shows a face: their probes can only be missed.
    pub failed_to_enrol: usize,
    /// Probes of enrolled people.
    pub mated: usize,
    /// Probes of others.
    pub nonmated: usize,
    /// Images in which no face was found.
    pub undetected: usize,
    /// Which, relative to the folder of images.
    pub undetected_images: Vec<String>,
    /// Images looked at, each once.
    pub images: usize,
}

/// A probe of an enrolled person that looks more like another one, or shows no face.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Misidentified {
    /// The probe, relative to the folder of images.
    pub image: String,
    /// Who it is.
    pub person: String,
    /// Whom it looks like most; `None` without a face.
    pub taken_for: Option<String>,
    /// The score with them, a cosine.
    pub score: f64,
}

/// The best person for a probe and their score.
struct Top {
    person: Option<usize>,
    score: f64,
}

/// Searches for all probes; `embeddings` stand in the order of the protocol's images.
///
/// # Panics
/// When there is not one entry for each image of the protocol.
pub fn identify(set: &OpenSet, embeddings: &[Option<Embedding>]) -> IdentifyReport {
    assert_eq!(set.images.len(), embeddings.len(), "one entry an image");
    let templates: Vec<(usize, &Embedding)> = set
        .enrolled
        .iter()
        .enumerate()
        .flat_map(|(person, images)| images.iter().map(move |i| (person, *i)))
        .filter_map(|(person, image)| embeddings[image].as_ref().map(|e| (person, e)))
        .collect();
    let mated: Vec<(Top, usize)> =
        set.mated.iter().map(|p| (search(&templates, embeddings[p.image].as_ref()), p.person)).collect();
    let mut strangers: Vec<f64> =
        set.nonmated.iter().map(|i| search(&templates, embeddings[*i].as_ref()).score).collect();
    strangers.sort_by(f64::total_cmp);

    let right = |(top, person): &&(Top, usize)| top.person == Some(*person);
    let rank1 = Proportion { hits: mated.iter().filter(right).count(), trials: mated.len() };
    let points = FPIR_TARGETS.map(|name| {
        let threshold = threshold_at(&strangers, name.parse().expect("a number"));
        let fnir = threshold.map(|threshold| {
            let found = mated.iter().filter(right).filter(|(top, _)| top.score >= threshold).count();
            Proportion { hits: mated.len() - found, trials: mated.len() }
        });
        (name, threshold, fnir)
    });
    let wrong = mated.iter().zip(&set.mated).filter(|(found, _)| !right(found));
    let misidentified = wrong.map(|((top, person), probe)| Misidentified {
        image: set.images[probe.image].display().to_string(),
        person: set.people[*person].clone(),
        taken_for: top.person.map(|p| set.people[p].clone()),
        score: top.score,
    });
    let undetected_images = undetected(&set.images, embeddings);
    IdentifyReport {
        rank1: rank1.rate(),
        rank1_ci95: rank1.wilson95(),
        fnir_at_fpir: points.iter().map(|(name, _, fnir)| (*name, fnir.map(|p| p.rate()))).collect(),
        fnir_at_fpir_ci95: points.iter().map(|(name, _, fnir)| (*name, fnir.map(|p| p.wilson95()))).collect(),
        thresholds: points.iter().map(|(name, threshold, _)| (*name, *threshold)).collect(),
        misidentified: misidentified.collect(),
        enrolled: set.people.len(),
        templates: templates.len(),
        failed_to_enrol: (0..set.people.len()).filter(|p| templates.iter().all(|(of, _)| of != p)).count(),
        mated: set.mated.len(),
        nonmated: set.nonmated.len(),
        undetected: undetected_images.len(),
        undetected_images,
        images: set.images.len(),
    }
}

fn search(templates: &[(usize, &Embedding)], probe: Option<&Embedding>) -> Top {
    let none = Top { person: None, score: NO_FACE_SCORE };
    let Some(probe) = probe else { return none };
    templates.iter().fold(none, |best, (person, template)| {
        let score = f64::from(compare(template, probe).score.0);
        if score > best.score { Top { person: Some(*person), score } } else { best }
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::eval::testing::at;

    /// Ann at 0° and 10°, Bob at 90°; strangers and probes where the test puts them. Images are named by their angle.
    fn run(mated: &[(&str, f32)], strangers: &[Option<f32>]) -> IdentifyReport {
        let mut text = String::from("role,identity,path\nenrol,Ann,a\nenrol,Ann,b\nenrol,Bob,c\n");
        let mut embeddings = vec![Some(at(0.0)), Some(at(10.0)), Some(at(90.0))];
        for (i, (name, degrees)) in mated.iter().enumerate() {
            text.push_str(&format!("mated,{name},m{i}\n"));
            embeddings.push(degrees.is_finite().then(|| at(*degrees)));
        }
        for (i, degrees) in strangers.iter().enumerate() {
            text.push_str(&format!("nonmated,S{i},s{i}\n"));
            embeddings.push(degrees.map(at));
        }
        identify(&OpenSet::parse(&text, Path::new("s")).unwrap(), &embeddings)
    }

    #[test]
    fn a_persons_score_is_that_of_the_best_template() {
        let report = run(&[("Ann", 15.0), ("Ann", 49.0), ("Ann", 51.0), ("Bob", 85.0)], &[Some(180.0); 10]);
        assert_eq!(report.rank1, 0.75, "51° is nearer to Bob's 90° than to Ann's 10°");
        let wrong: Vec<_> =
            report.misidentified.iter().map(|m| (m.image.as_str(), m.taken_for.as_deref())).collect();
        assert_eq!(wrong, [("m2", Some("Bob"))]);
        assert_eq!((report.enrolled, report.templates, report.mated, report.nonmated), (2, 3, 4, 10));
    }

    #[test]
    fn a_miss_is_below_the_threshold_or_of_the_wrong_person() {
        // The strangers' best scores are cosines of 30° (once) and 60° (nine times): at FPIR 0.1 the one at 30°
        // may pass, so the threshold is just above cos 60°.
        let mut strangers = vec![Some(-60.0); 9];
        strangers.push(Some(-30.0));
        let report = run(&[("Ann", -20.0), ("Ann", -70.0), ("Bob", 20.0), ("Bob", f32::NAN)], &strangers);
        assert_eq!(report.rank1, 0.5, "the far one is still nearest to Ann");
        assert_eq!(report.fnir_at_fpir["0.1"], Some(0.75), "far, wrong and without a face");
        assert!((report.thresholds["0.1"].unwrap() - 0.5).abs() < 1e-6);
        assert_eq!(report.fnir_at_fpir["0.01"], None, "ten strangers cannot show one in a hundred");
        assert_eq!(report.undetected_images, ["m3"]);
    }

    #[test]
    fn a_stranger_without_a_face_raises_no_alarm() {
        let mut strangers = vec![None; 9];
        strangers.push(Some(0.0));
        let report = run(&[("Ann", 45.0)], &strangers);
        assert_eq!(report.fnir_at_fpir["0.1"], Some(0.0));
        assert_eq!(report.undetected, 9);
    }

    #[test]
    fn a_person_without_a_face_in_any_image_can_only_be_missed() {
        let set =
            OpenSet::parse("role,identity,path\nenrol,Ann,a\nmated,Ann,b\nnonmated,S,c\n", Path::new("s"))
                .unwrap();
        let report = identify(&set, &[None, Some(at(0.0)), Some(at(50.0))]);
        assert_eq!((report.failed_to_enrol, report.templates, report.rank1), (1, 0, 0.0));
    }
}
