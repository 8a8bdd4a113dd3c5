//! Which pictures make a batch. A plan is a function of the seed, the epoch and the step alone.

use super::dataset::Group;
use super::random::{Purpose, Random};
use super::settings::{BatchSettings, Sampler};

/// The pictures of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Indices into the set's pictures. Of pairs the first halves come first, then the second ones.
    pub pictures: Vec<usize>,
    /// Whose they are: indices into the group that is trained on.
    pub people: Vec<u32>,
    /// For pairs, whether both show one person.
    pub genuine: Vec<bool>,
}

/// Makes the batches of a run.
#[derive(Clone, Debug)]
pub struct Batches {
    group: Group,
    /// People with at least two pictures.
    several: Vec<usize>,
    settings: BatchSettings,
    seed: u64,
}

impl Batches {
    /// For the people that are trained on.
    pub fn new(group: Group, settings: BatchSettings, seed: u64) -> Self {
        let several = (0..group.len()).filter(|p| group[*p].len() > 1).collect();
        Self { group, several, settings, seed }
    }

    /// Steps in an epoch.
    pub fn steps(&self) -> usize {
        let pictures: usize = self.group.iter().map(Vec::len).sum();
        match (self.settings.steps, self.settings.sampler) {
            (0, Sampler::Pictures) => pictures.div_ceil(self.settings.pictures),
            (0, _) => ((pictures as f64 * self.settings.rounds / self.settings.pictures as f64).ceil()
                as usize)
                .max(1),
            (steps, _) => steps,
        }
    }

    /// The batch of a step, both counted from 0.
    pub fn batch(&self, epoch: usize, step: usize) -> Batch {
        let mut random = Random::new(self.seed, Purpose::Batch, &[epoch as u64, step as u64]);
        let mut chosen: Vec<(usize, usize)> = Vec::new();
        let mut genuine = Vec::new();
        match self.settings.sampler {
            Sampler::Pairs => {
                let mut second = Vec::new();
                for _ in 0..self.settings.pictures / 2 {
                    let same = f64::from(random.unit()) < self.settings.genuine_share;
                    let (a, b) = if same { self.genuine(&mut random) } else { self.impostor(&mut random) };
                    chosen.push(a);
                    second.push(b);
                    genuine.push(same);
                }
                chosen.append(&mut second);
            }
            Sampler::Triplets => {
                for _ in 0..self.settings.pictures / 3 {
                    let (anchor, positive) = self.genuine(&mut random);
                    let other = self.other(anchor.0, &mut random);
                    chosen.extend([anchor, positive, other]);
                }
            }
            Sampler::MPerClass => {
                let mut people = self.several.clone();
                random.shuffle(&mut people);
                let count = (self.settings.pictures / self.settings.per_person).max(2);
                for person in people.into_iter().take(count) {
                    let mut pictures = self.group[person].clone();
                    random.shuffle(&mut pictures);
                    pictures.truncate(self.settings.per_person);
                    chosen.extend(pictures.into_iter().map(|p| (person, p)));
                }
            }
            Sampler::Pictures => {
                let mut all: Vec<(usize, usize)> = self
                    .group
                    .iter()
                    .enumerate()
                    .flat_map(|(p, list)| list.iter().map(move |i| (p, *i)))
                    .collect();
                Random::new(self.seed, Purpose::Batch, &[epoch as u64]).shuffle(&mut all);
                let size = self.settings.pictures.min(all.len());
                // The last batch is filled up from the beginning.
                chosen.extend((0..size).map(|i| all[(step * size + i) % all.len()]));
            }
        }
        Batch {
            pictures: chosen.iter().map(|c| c.1).collect(),
            people: chosen.iter().map(|c| c.0 as u32).collect(),
            genuine,
        }
    }

    fn any(&self, person: usize, random: &mut Random) -> (usize, usize) {
        (person, self.group[person][random.below(self.group[person].len())])
    }

    /// Two pictures of one person.
    fn genuine(&self, random: &mut Random) -> ((usize, usize), (usize, usize)) {
        let person = self.several[random.below(self.several.len())];
        let list = &self.group[person];
        let a = random.below(list.len());
        let b = (a + 1 + random.below(list.len() - 1)) % list.len();
        ((person, list[a]), (person, list[b]))
    }

    /// A picture of somebody else.
    fn other(&self, person: usize, random: &mut Random) -> (usize, usize) {
        self.any((person + 1 + random.below(self.group.len() - 1)) % self.group.len(), random)
    }

    fn impostor(&self, random: &mut Random) -> ((usize, usize), (usize, usize)) {
        let person = random.below(self.group.len());
        (self.any(person, random), self.other(person, random))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    /// Ten people with six pictures each, and one with one.
    fn batches(sampler: Sampler, pictures: usize) -> Batches {
        let mut group: Group = (0..10).map(|p| (p * 6..p * 6 + 6).collect()).collect();
        group.push(vec![60]);
        Batches::new(group, BatchSettings { sampler, pictures, ..BatchSettings::default() }, 3)
    }

    fn person(picture: usize) -> u32 {
        (picture / 6) as u32
    }

    #[test]
    fn pairs_are_what_they_say_in_the_share_asked_for() {
        let b = batches(Sampler::Pairs, 64);
        let mut genuine = 0;
        for step in 0..100 {
            let batch = b.batch(0, step);
            assert_eq!((batch.pictures.len(), batch.genuine.len()), (64, 32));
            for i in 0..32 {
                let (x, y) = (batch.pictures[i], batch.pictures[i + 32]);
                assert_ne!(x, y);
                assert_eq!(person(x) == person(y), batch.genuine[i]);
                assert_eq!([batch.people[i], batch.people[i + 32]], [person(x), person(y)]);
                genuine += usize::from(batch.genuine[i]);
            }
        }
        assert!((1500..1700).contains(&genuine), "{genuine} of 3200");
    }

    #[test]
    fn triplets_are_two_of_one_and_one_of_another() {
        let batch = batches(Sampler::Triplets, 64).batch(1, 1);
        assert_eq!(batch.pictures.len(), 63);
        for three in batch.pictures.as_chunks::<3>().0 {
            assert!(person(three[0]) == person(three[1]) && three[0] != three[1]);
            assert_ne!(person(three[0]), person(three[2]));
        }
    }

    #[test]
    fn m_per_class_has_m_different_pictures_of_each() {
        let batch = batches(Sampler::MPerClass, 32).batch(2, 0);
        let mut counts: HashMap<u32, HashSet<usize>> = HashMap::new();
        for (picture, who) in batch.pictures.iter().zip(&batch.people) {
            counts.entry(*who).or_default().insert(*picture);
        }
        assert_eq!(counts.len(), 8);
        assert!(counts.values().all(|p| p.len() == 4) && !counts.contains_key(&10));
    }

    #[test]
    fn every_picture_comes_once_an_epoch() {
        let b = batches(Sampler::Pictures, 20);
        assert_eq!(b.steps(), 4);
        let seen: Vec<usize> = (0..4).flat_map(|s| b.batch(0, s).pictures).collect();
        assert_eq!(seen.iter().take(61).collect::<HashSet<_>>().len(), 61);
        assert_ne!(b.batch(0, 0), b.batch(1, 0));
    }

    #[test]
    fn a_plan_follows_from_seed_epoch_and_step() {
        let b = batches(Sampler::Pairs, 16);
        assert_eq!(b.batch(3, 7), b.batch(3, 7));
        assert_ne!(b.batch(3, 7), b.batch(3, 8));
        assert_eq!(b.steps(), 16, "61 pictures four times, 16 a step");
    }
}
