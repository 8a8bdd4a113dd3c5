//! All templates of one model in one matrix, and the search through them.
//!
//! Stands between the encoder, whose probe comes in, and the decision, which gets the two most alike people. A search
//! reads the matrix once, front to back, and remembers two people: the cost is one multiplication per stored number.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::{Candidate, Match, PersonId};
use crate::encoder::matrix::Matrix;
use crate::encoder::{Embedding, ModelId, Score};

/// Templates scored at a time: few enough that their scores stay in the first-level cache.
const BLOCK: usize = 512;

/// A snapshot of everybody enrolled, for one model. Immutable; a change of people makes a new one.
#[derive(Clone)]
pub struct Gallery {
    model: ModelId,
    generation: u64,
    /// By ascending id, so that the first of two equals is the one with the lower id.
    people: Vec<Enrolled>,
    /// One template a row; the rows of one person are neighbours.
    matrix: Matrix,
}

/// People that [`Gallery::likenesses`] holds against all others.
const MOST_COMPARED: usize = 500;

/// Pairs of enrolled people who look alike.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Likenesses {
    /// The two, each with their score.
    pub pairs: Vec<(Candidate, Candidate)>,
    /// How many pairs were compared.
    pub compared: usize,
}

/// A person in the gallery and where their templates are.
#[derive(Clone)]
struct Enrolled {
    id: PersonId,
    name: Arc<str>,
    /// Their part of the matrix.
    rows: Range<usize>,
}

impl Gallery {
    /// Builds a snapshot. `generation` counts changes of the people; templates of other models must be left out
    /// by the caller.
    ///
    /// # Panics
    /// When the templates differ in dimension: they cannot be of one model then.
    pub fn new(model: ModelId, generation: u64, mut templates: Vec<(PersonId, Arc<str>, Embedding)>) -> Self {
        templates.sort_by_key(|(person, ..)| *person);
        let matrix = Matrix::new(templates.iter().map(|(.., embedding)| embedding));
        let mut people: Vec<Enrolled> = Vec::new();
        for (row, (id, name, _)) in templates.into_iter().enumerate() {
            match people.last_mut() {
                Some(last) if last.id == id => last.rows.end = row + 1,
                _ => people.push(Enrolled { id, name, rows: row..row + 1 }),
            }
        }
        Self { model, generation, people, matrix }
    }

    /// The network all templates came from.
    pub fn model(&self) -> &ModelId {
        &self.model
    }

    /// Which state of the people this is.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How many people have at least one template here.
    pub fn people(&self) -> usize {
        self.people.len()
    }

    /// How many templates there are.
    pub fn templates(&self) -> usize {
        self.matrix.rows()
    }

    /// The name of somebody who has a template here.
    pub fn name_of(&self, person: PersonId) -> Option<&str> {
        let at = self.people.binary_search_by_key(&person, |enrolled| enrolled.id).ok()?;
        Some(&self.people[at].name)
    }

    /// Templates of the person who has most.
    pub fn most_templates(&self) -> usize {
        self.people.iter().map(|person| person.rows.len()).max().unwrap_or(0)
    }

    /// Which two people reach `at_least` so high a score with each other, most alike first. Of very many people an even
    /// choice is held against all others, so that this ends soon; `compared` says how many pairs there were.
    pub fn likenesses(&self, at_least: Score) -> Likenesses {
        let stride = self.people.len().div_ceil(MOST_COMPARED).max(1);
        let chosen = |at: usize| at.is_multiple_of(stride);
        let mut found = Likenesses::default();
        let mut cosines = vec![0.0; self.matrix.rows()];
        for (at, person) in self.people.iter().enumerate().filter(|(at, _)| chosen(*at)) {
            let mut highest = vec![f32::NEG_INFINITY; self.people.len()];
            for row in person.rows.clone() {
                self.matrix.cosines(&self.matrix.embedding(row), 0..self.matrix.rows(), &mut cosines);
                for (highest, other) in highest.iter_mut().zip(&self.people) {
                    *highest = cosines[other.rows.clone()].iter().copied().fold(*highest, f32::max);
                }
            }
            // A pair of two chosen people is looked at from the later one only.
            let others = self.people.iter().zip(highest).enumerate();
            for (_, (other, score)) in others.filter(|(i, _)| *i < at || (*i > at && !chosen(*i))) {
                found.compared += 1;
                if score >= at_least.0 {
                    found.pairs.push((person.candidate(score), other.candidate(score)));
                }
            }
        }
        found.pairs.sort_by(|(a, _), (b, _)| b.score.0.total_cmp(&a.score.0));
        found
    }

    /// People of whom one template is not like any other of their own: it scores below `at_least` with each of them.
    /// The score is that of the least alike template with the one it is most alike to.
    pub fn disagreeing(&self, at_least: Score) -> Vec<Candidate> {
        let mut found = Vec::new();
        for person in self.people.iter().filter(|person| person.rows.len() > 1) {
            let mut cosines = vec![0.0; person.rows.len()];
            let mut nearest = |row: usize| {
                self.matrix.cosines(&self.matrix.embedding(row), person.rows.clone(), &mut cosines);
                let others = person.rows.clone().zip(&cosines).filter(|(other, _)| *other != row);
                others.map(|(_, score)| *score).fold(f32::NEG_INFINITY, f32::max)
            };
            let least = person.rows.clone().map(&mut nearest).fold(f32::INFINITY, f32::min);
            if least < at_least.0 {
                found.push(person.candidate(least));
            }
        }
        found
    }

    /// How many values an embedding has here; 0 when nobody is enrolled.
    pub fn dim(&self) -> usize {
        self.matrix.dim()
    }

    /// The best person and the runner-up, who is always *another* person; `None` when nobody is enrolled. A person's
    /// score is the highest over their templates; of equal scores the lower person id is ahead. A score that is not a
    /// number never wins: a probe that gives no other finds nobody.
    ///
    /// # Panics
    /// When the probe's dimension is not the gallery's: embeddings of another model must never get here.
    pub fn find(&self, probe: &Embedding) -> Option<Match> {
        let mut best: Option<(&Enrolled, f32)> = None;
        let mut runner_up: Option<(&Enrolled, f32)> = None;
        self.each(probe, |person, score| {
            // `>` is false for an equal score, which so stays with the lower id.
            if best.is_none_or(|(_, leading)| score > leading) {
                runner_up = best.replace((person, score));
            } else if runner_up.is_none_or(|(_, second)| score > second) {
                runner_up = Some((person, score));
            }
        });
        let (person, score) = best?;
        Some(Match {
            best: person.candidate(score),
            runner_up: runner_up.map(|(person, score)| person.candidate(score)),
        })
    }

    /// Everybody but `excluding` who scores `at_least` so much against the embedding, most alike first: whom a
    /// person just enrolled could be taken for.
    ///
    /// # Panics
    /// As [`Gallery::find`].
    pub fn nearest_other(
        &self,
        embedding: &Embedding,
        excluding: PersonId,
        at_least: Score,
    ) -> Vec<Candidate> {
        let mut near: Vec<Candidate> = Vec::new();
        self.each(embedding, |person, score| {
            if person.id != excluding && score >= at_least.0 {
                near.push(person.candidate(score));
            }
        });
        // Stable: equals stay in the order of their ids.
        near.sort_by(|a, b| b.score.partial_cmp(&a.score).unwrap_or(Ordering::Equal));
        near
    }

    /// The `count` people who are most alike, most alike first.
    ///
    /// # Panics
    /// As [`Gallery::find`].
    pub fn nearest(&self, probe: &Embedding, count: usize) -> Vec<Candidate> {
        let mut near: Vec<Candidate> = Vec::with_capacity(count + 1);
        self.each(probe, |person, score| {
            // `>=` keeps equals in the order of their ids.
            let at = near.iter().take_while(|other| other.score.0 >= score).count();
            if at < count {
                near.insert(at, person.candidate(score));
                near.truncate(count);
            }
        });
        near
    }

    /// Whom `person`'s samples are most like among the others; `None` when there is nobody else, or no such person.
    pub fn nearest_to(&self, person: PersonId) -> Option<Candidate> {
        let own = self.people.iter().find(|enrolled| enrolled.id == person)?;
        let mut nearest: Option<Candidate> = None;
        for row in own.rows.clone() {
            let others = self.nearest_other(&self.matrix.embedding(row), person, Score(-1.0));
            let first = others.into_iter().next();
            nearest = nearest.into_iter().chain(first).max_by(|a, b| a.score.0.total_cmp(&b.score.0));
        }
        nearest
    }

    /// Hands over each person with their best score, by ascending id; people without a score that is a number are
    /// left out.
    fn each<'a>(&'a self, probe: &Embedding, mut take: impl FnMut(&'a Enrolled, f32)) {
        assert!(
            self.people.is_empty() || probe.dim() == self.dim(),
            "a probe of {} values against a gallery of {} ({}): another model's embedding got here",
            probe.dim(),
            self.dim(),
            self.model
        );
        let mut scores = [0.0; BLOCK];
        let mut people = self.people.iter();
        let mut current = people.next();
        let mut best = f32::NAN;
        for first in (0..self.matrix.rows()).step_by(BLOCK) {
            let rows = first..(first + BLOCK).min(self.matrix.rows());
            let scores = &mut scores[..rows.len()];
            self.matrix.cosines(probe, rows.clone(), scores);
            for (row, score) in rows.zip(scores) {
                // `f32::max` ignores NaN, so one damaged row does not hide the others.
                best = best.max(*score);
                if let Some(person) = current.filter(|person| person.rows.end == row + 1) {
                    if !best.is_nan() {
                        take(person, best);
                    }
                    (current, best) = (people.next(), f32::NAN);
                }
            }
        }
    }
}

impl Enrolled {
    fn candidate(&self, score: f32) -> Candidate {
        // Rounding can carry the product of two unit vectors just over 1.
        Candidate { person: self.id, name: self.name.clone(), score: Score(score.clamp(-1.0, 1.0)) }
    }
}

impl fmt::Debug for Gallery {
    /// Never prints the matrix: templates are biometric data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gallery")
            .field("model", &self.model)
            .field("generation", &self.generation)
            .field("dim", &self.dim())
            .field("people", &self.people())
            .field("templates", &self.templates())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;
    use crate::encoder::compare;

    fn embedding(values: &[f32]) -> Embedding {
        Embedding::normalise(values.to_vec()).unwrap()
    }

    /// An embedding that was never normalised, as only outside data can make one.
    fn raw(json: &str) -> Embedding {
        serde_json::from_str(json).unwrap()
    }

    fn gallery(people: &[(i64, &[f32])]) -> Gallery {
        let templates = people
            .iter()
            .map(|(id, values)| (PersonId(*id), format!("P{id}").into(), embedding(values)))
            .collect();
        Gallery::new(ModelId("test@1".into()), 7, templates)
    }

    #[test]
    fn look_alikes_are_pairs_of_two_people_each_once() {
        let angle = |degrees: f32| {
            let (y, x) = degrees.to_radians().sin_cos();
            Embedding::normalise(vec![x, y]).unwrap()
        };
        let people = [(1, "Ann", 0.0), (1, "Ann", 50.0), (2, "Bob", 60.0), (3, "Cy", 180.0)];
        let templates = people.map(|(id, name, degrees)| (PersonId(id), Arc::from(name), angle(degrees)));
        let gallery = Gallery::new(ModelId("m@1".into()), 1, templates.into());
        let found = gallery.likenesses(Score(0.5));
        assert_eq!((found.compared, found.pairs.len()), (3, 1));
        let (a, b) = &found.pairs[0];
        assert_eq!((a.person, b.person), (PersonId(2), PersonId(1)));
        assert!((a.score.0 - 10.0f32.to_radians().cos()).abs() < 1e-6, "the nearest two of their templates");
        assert_eq!(gallery.likenesses(Score(-1.0)).pairs.len(), 3);
        assert_eq!(gallery.most_templates(), 2);
        let disagreeing = gallery.disagreeing(Score(0.7));
        assert_eq!(disagreeing.iter().map(|c| c.person).collect::<Vec<_>>(), [PersonId(1)], "50° score 0.64");
        assert!(gallery.disagreeing(Score(0.6)).is_empty());
    }

    #[test]
    fn the_nearest_other_of_a_person_is_that_of_any_of_their_samples() {
        let g = gallery(&[(1, &[1.0, 0.0]), (1, &[0.6, 0.8]), (2, &[0.0, 1.0]), (3, &[-1.0, 0.0])]);
        let nearest = g.nearest_to(PersonId(1)).unwrap();
        assert!(nearest.person == PersonId(2) && (nearest.score.0 - 0.8).abs() < 1e-6, "{nearest:?}");
        assert_eq!(g.nearest_to(PersonId(9)), None);
        assert_eq!(gallery(&[(1, &[1.0, 0.0])]).nearest_to(PersonId(1)), None);
    }

    #[test]
    fn of_very_many_people_an_even_choice_is_compared() {
        let count = 2 * MOST_COMPARED + 1;
        let one = Embedding::normalise(vec![1.0, 0.0]).unwrap();
        let templates = (0..count).map(|i| (PersonId(i as i64 + 1), Arc::from("x"), one.clone())).collect();
        let found = Gallery::new(ModelId("m@1".into()), 1, templates).likenesses(Score(0.9));
        let chosen = count.div_ceil(3);
        assert_eq!(found.compared, chosen * (count - chosen) + chosen * (chosen - 1) / 2);
        assert_eq!(found.pairs.len(), found.compared);
    }

    #[test]
    fn nobody_enrolled_finds_nobody() {
        let empty = gallery(&[]);
        assert_eq!(empty.find(&embedding(&[1.0, 0.0])), None);
        assert_eq!((empty.people(), empty.templates(), empty.generation()), (0, 0, 7));
        assert!(empty.nearest_other(&embedding(&[1.0]), PersonId(1), Score(-1.0)).is_empty());
    }

    #[test]
    fn one_person_has_no_runner_up() {
        let found = gallery(&[(4, &[1.0, 0.0]), (4, &[0.0, 1.0])]).find(&embedding(&[0.0, 2.0])).unwrap();
        assert_eq!(found.best.person, PersonId(4));
        assert_eq!(&*found.best.name, "P4");
        assert_eq!(found.best.score, Score(1.0));
        assert_eq!(found.runner_up, None);
    }

    #[test]
    fn the_runner_up_is_another_person_even_when_all_templates_of_the_best_are_ahead() {
        // Interleaved on purpose: rows of one person are brought together.
        let g = gallery(&[
            (2, &[1.0, 0.1, 0.0]),
            (1, &[0.0, 0.0, 1.0]),
            (2, &[1.0, 0.0, 0.1]),
            (1, &[1.0, 2.0, 0.0]),
        ]);
        assert_eq!((g.people(), g.templates()), (2, 4));
        let found = g.find(&embedding(&[1.0, 0.0, 0.0])).unwrap();
        assert_eq!(found.best.person, PersonId(2));
        let runner_up = found.runner_up.unwrap();
        assert_eq!(runner_up.person, PersonId(1));
        assert!((runner_up.score.0 - 1.0 / 5f32.sqrt()).abs() < 1e-6);
    }

    #[test]
    fn of_equal_scores_the_lower_id_is_ahead() {
        let same: &[f32] = &[0.6, 0.8];
        for order in [[9, 3, 5], [3, 5, 9], [5, 9, 3]] {
            let found = gallery(&order.map(|id| (id, same))).find(&embedding(same)).unwrap();
            assert_eq!(found.best.person, PersonId(3));
            assert_eq!(found.runner_up.unwrap().person, PersonId(5));
        }
    }

    #[test]
    fn a_score_that_is_not_a_number_never_wins() {
        // A value of the f64 range reads as infinite in f32; infinity times zero is NaN.
        let infinite = raw("[1e300, 0.0]");
        assert!(infinite.values()[0].is_infinite());
        let templates = vec![
            (PersonId(1), "Damaged".into(), infinite.clone()),
            (PersonId(2), "Half".into(), infinite.clone()),
            (PersonId(2), "Half".into(), embedding(&[0.0, 1.0])),
            (PersonId(3), "Whole".into(), embedding(&[0.1, 1.0])),
        ];
        let g = Gallery::new(ModelId("test@1".into()), 1, templates);
        let found = g.find(&embedding(&[0.0, 1.0])).unwrap();
        assert_eq!(found.best.person, PersonId(2));
        assert_eq!(found.runner_up.unwrap().person, PersonId(3));
        assert_eq!(gallery(&[(1, &[0.0, 1.0])]).find(&infinite), None);
    }

    #[test]
    #[should_panic(expected = "another model's embedding got here")]
    fn a_probe_of_another_dimension_is_a_programming_error() {
        let _ = gallery(&[(1, &[1.0, 0.0])]).find(&embedding(&[1.0, 0.0, 0.0]));
    }

    #[test]
    #[should_panic(expected = "embeddings of different dimensions")]
    fn templates_of_different_dimensions_are_a_programming_error() {
        let _ = gallery(&[(1, &[1.0, 0.0]), (2, &[1.0])]);
    }

    #[test]
    fn lookalikes_leave_the_person_out_and_come_most_alike_first() {
        let g = gallery(&[
            (1, &[1.0, 0.0]),
            (2, &[0.8, 0.6]),
            (3, &[0.0, 1.0]),
            (4, &[0.99, 0.1]),
            (4, &[-1.0, 0.0]),
        ]);
        let near = g.nearest_other(&embedding(&[1.0, 0.0]), PersonId(1), Score(0.5));
        assert_eq!(near.iter().map(|c| c.person.0).collect::<Vec<_>>(), [4, 2]);
        assert!((near[1].score.0 - 0.8).abs() < 1e-6);
    }

    #[test]
    fn the_nearest_come_in_order_and_no_more_than_asked_for() {
        let g = gallery(&[(1, &[1.0, 0.0]), (2, &[0.8, 0.6]), (3, &[0.0, 1.0]), (4, &[0.8, 0.6])]);
        let near = |count| {
            let near = g.nearest(&embedding(&[1.0, 0.0]), count);
            near.iter().map(|c| c.person.0).collect::<Vec<_>>()
        };
        assert_eq!((near(0), near(3), near(9)), (vec![], vec![1, 2, 4], vec![1, 2, 4, 3]));
        assert_eq!(
            Some(&g.nearest(&embedding(&[1.0, 0.2]), 1)[0]),
            g.find(&embedding(&[1.0, 0.2])).map(|m| m.best).as_ref()
        );
    }

    #[test]
    fn debug_does_not_leak_the_templates() {
        let text = format!("{:?}", gallery(&[(1, &[0.6, 0.8])]));
        assert!(text.contains("templates: 1") && !text.contains("0.8"), "{text}");
    }

    #[test]
    fn ten_thousand_templates_are_searched_in_no_time() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        };
        let templates: Vec<_> = (0..10_000)
            .map(|i| {
                let values = (0..128).map(|_| next()).collect();
                (PersonId(i / 4), "x".into(), Embedding::normalise(values).unwrap())
            })
            .collect();
        let probe = templates[7_777].2.clone();
        let g = Gallery::new(ModelId("test@1".into()), 1, templates);
        let started = Instant::now();
        let found = g.find(&probe).unwrap();
        // A sanity bound for an unoptimised build on a busy machine, not a measurement.
        assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
        assert_eq!(found.best.person, PersonId(7_777 / 4));
        assert!(found.best.score.0 > 0.9999 && found.runner_up.unwrap().score.0 < 0.6);
    }

    /// The slow way: everybody's best score, sorted.
    fn brute_force(templates: &[(PersonId, Arc<str>, Embedding)], probe: &Embedding) -> Vec<(PersonId, f32)> {
        let mut best: Vec<(PersonId, f32)> = Vec::new();
        for (person, _, template) in templates {
            let score = compare(template, probe).score.0;
            match best.iter_mut().find(|(p, _)| p == person) {
                Some((_, s)) => *s = s.max(score),
                None => best.push((*person, score)),
            }
        }
        best.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        best
    }

    fn people_and_probe() -> impl Strategy<Value = (Vec<(PersonId, Arc<str>, Embedding)>, Embedding)> {
        // Small whole numbers make exact ties likely; dimensions above and below one chunk of the product.
        (1usize..40).prop_flat_map(|dim| {
            let vector = prop::collection::vec(-3i8..=3, dim).prop_filter_map("zero", |v| {
                Embedding::normalise(v.into_iter().map(f32::from).collect()).ok()
            });
            let template = (0i64..6, vector.clone()).prop_map(|(id, e)| (PersonId(id), "x".into(), e));
            (prop::collection::vec(template, 0..24), vector)
        })
    }

    proptest! {
        #[test]
        fn find_agrees_with_brute_force((templates, probe) in people_and_probe()) {
            let slow = brute_force(&templates, &probe);
            let g = Gallery::new(ModelId("test@1".into()), 1, templates);
            let found = g.find(&probe);
            prop_assert_eq!(g.people(), slow.len());
            prop_assert_eq!(found.is_some(), !slow.is_empty());
            let Some(found) = found else { return Ok(()) };
            let of = |id: PersonId| slow.iter().find(|(p, _)| *p == id).map(|(_, s)| *s);
            // The sums are taken in another order, so scores agree up to rounding and the person up to near-ties.
            prop_assert!((found.best.score.0 - slow[0].1).abs() < 1e-5);
            prop_assert!((of(found.best.person).unwrap() - slow[0].1).abs() < 1e-5);
            prop_assert_eq!(found.runner_up.is_some(), slow.len() > 1);
            if let Some(second) = found.runner_up {
                prop_assert!(second.person != found.best.person);
                prop_assert!((second.score.0 - slow[1].1).abs() < 1e-5);
                prop_assert!((of(second.person).unwrap() - slow[1].1).abs() < 1e-5);
            }
        }

        #[test]
        fn lookalikes_agree_with_brute_force((templates, probe) in people_and_probe(), who in 0i64..6) {
            // Between the multiples that small whole numbers give, so that rounding decides nothing.
            let at_least = Score(0.123_456);
            let mut slow: Vec<_> = brute_force(&templates, &probe);
            slow.retain(|(p, s)| p.0 != who && *s >= at_least.0);
            let g = Gallery::new(ModelId("test@1".into()), 1, templates);
            let near = g.nearest_other(&probe, PersonId(who), at_least);
            prop_assert_eq!(near.len(), slow.len());
            for (candidate, (_, score)) in near.iter().zip(&slow) {
                prop_assert!((candidate.score.0 - score).abs() < 1e-5);
            }
        }
    }
}
