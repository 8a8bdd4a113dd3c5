//! How well the trained encoder tells people apart whom it has never seen: all their pictures embedded as the door
//! does it, all pairs compared.

use rayon::prelude::*;

use super::dataset::Group;
use super::pictures::Pictures;
use super::random::{Purpose, Random};
use crate::encoder::network::Encoder;
use crate::encoder::{Embedding, compare};
use crate::eval::metrics::Scores;

/// The most impostor pairs that are compared; of more a seeded choice is made.
const MOST_IMPOSTORS: usize = 1_000_000;

/// Two pictures compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compared {
    /// Indices into the set's pictures.
    pub pictures: [usize; 2],
    /// Whether both show one person.
    pub genuine: bool,
    /// Cosine.
    pub score: f32,
    /// Euclidean distance of the unit vectors.
    pub distance: f32,
}

/// Compares all pairs of a group's pictures.
///
/// # Errors
/// When the encoder fails.
pub fn compare_all(
    encoder: &Encoder,
    pictures: &Pictures,
    group: &Group,
    seed: u64,
) -> candle_core::Result<Vec<Compared>> {
    let all: Vec<(usize, usize)> =
        group.iter().enumerate().flat_map(|(p, list)| list.iter().map(move |i| (p, *i))).collect();
    let one = |encoder: &mut Encoder, (_, picture): &(usize, usize)| {
        let embedded = encoder.embed(&[pictures.crop(*picture)])?.pop();
        Ok(embedded.expect("one embedding a picture"))
    };
    let embeddings: Vec<Embedding> =
        all.par_iter().map_init(|| encoder.clone(), one).collect::<candle_core::Result<_>>()?;
    let (mut genuine, mut impostor) = (Vec::new(), Vec::new());
    for i in 0..all.len() {
        for j in i + 1..all.len() {
            if all[i].0 == all[j].0 { &mut genuine } else { &mut impostor }.push((i, j));
        }
    }
    if impostor.len() > MOST_IMPOSTORS {
        Random::new(seed, Purpose::Judge, &[]).shuffle(&mut impostor);
        impostor.truncate(MOST_IMPOSTORS);
    }
    let compared = |genuine: bool| {
        let (all, embeddings) = (&all, &embeddings);
        move |(i, j): (usize, usize)| {
            let c = compare(&embeddings[i], &embeddings[j]);
            Compared { pictures: [all[i].1, all[j].1], genuine, score: c.score.0, distance: c.distance }
        }
    };
    Ok(genuine.into_iter().map(compared(true)).chain(impostor.into_iter().map(compared(false))).collect())
}

/// The scores of comparisons.
pub fn scores(compared: &[Compared]) -> Scores {
    let of = |genuine: bool| {
        let wanted = compared.iter().filter(move |c| c.genuine == genuine);
        wanted.map(|c| f64::from(c.score)).collect()
    };
    Scores::new(of(true), of(false))
}
