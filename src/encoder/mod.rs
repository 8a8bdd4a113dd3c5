//! The Siamese network: one branch turns an aligned crop into an embedding, and two embeddings of the same branch
//! are compared here and nowhere else.

pub mod matrix;
pub mod mobilefacenet;
pub mod mobilefacenet_s;
pub mod network;
pub mod sface;
pub mod siamese_cnn;

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::nn::onnx::{OnnxError, Value, Walk};

/// Which network made an embedding: `name@hash-of-weights`. Embeddings of different models are never compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ModelId(pub String);

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A point on the unit sphere: what the encoder makes of one face. Wiped when dropped.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Embedding(Vec<f32>);

/// Why a vector is not an embedding.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum EmbeddingError {
    /// Empty, all zero, or with a value that is not a number.
    #[error("an embedding of {0} values cannot be scaled to length 1 (empty, zero or not finite)")]
    NotScalable(usize),
}

/// So near to 1 is the length of a vector that has been scaled: rounding its values leaves less.
const SAME_LENGTH: f64 = 1e-6;

impl Embedding {
    /// Scales `values` to length 1. What has that length already stays as it is to the last bit, so that nothing drifts on its
    /// way through files and sockets.
    ///
    /// # Errors
    /// When the vector is empty, zero or not finite.
    pub fn normalise(mut values: Vec<f32>) -> Result<Self, EmbeddingError> {
        let norm = values.iter().map(|v| f64::from(v * v)).sum::<f64>().sqrt();
        if !(norm.is_finite() && norm > 1e-12) {
            return Err(EmbeddingError::NotScalable(values.len()));
        }
        if (norm - 1.0).abs() > SAME_LENGTH {
            values.iter_mut().for_each(|v| *v = (f64::from(*v) / norm) as f32);
        }
        Ok(Self(values))
    }

    /// The values; their squares sum to 1.
    pub fn values(&self) -> &[f32] {
        &self.0
    }

    /// How many values.
    pub fn dim(&self) -> usize {
        self.0.len()
    }
}

impl Drop for Embedding {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Embedding {
    /// Never prints the values: an embedding is biometric data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Embedding({} values)", self.0.len())
    }
}

/// How alike two faces are: cosine of the angle between their embeddings, −1 to 1, higher is more alike.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Score(pub f32);

/// Two embeddings compared.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Cosine similarity, −1 to 1; higher is more alike.
    pub score: Score,
    /// Euclidean distance of the two unit vectors, 0 to 2; lower is more alike. `d² = 2 − 2·cosine`.
    pub distance: f32,
}

/// Compares two embeddings of the same model.
///
/// # Panics
/// When their dimensions differ: embeddings of different models must never get here.
pub fn compare(a: &Embedding, b: &Embedding) -> Comparison {
    assert_eq!(a.dim(), b.dim(), "embeddings of different models compared");
    let dot: f32 = a.0.iter().zip(&b.0).map(|(x, y)| x * y).sum();
    let distance = a.0.iter().zip(&b.0).map(|(x, y)| (x - y) * (x - y)).sum::<f32>().sqrt();
    Comparison { score: Score(dot.clamp(-1.0, 1.0)), distance }
}

/// Steps over the input normalisation `(x − mean) · scale` when the graph has it inside.
fn input_norm(walk: &Walk<'_>, at: &mut Value) -> Result<Option<(f32, f32)>, OnnxError> {
    if !walk.comes_from(at, "Mul") {
        return Ok(None);
    }
    let (inner, scale) = walk.scalar(at, "Mul")?;
    let (inner, mean) = walk.scalar(&inner, "Sub")?;
    *at = inner;
    Ok(Some((mean, scale)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn distance_and_cosine_agree() {
        let a = Embedding::normalise(vec![3.0, 4.0]).unwrap();
        let b = Embedding::normalise(vec![4.0, 3.0]).unwrap();
        let c = compare(&a, &b);
        assert!((c.score.0 - 0.96).abs() < 1e-6);
        assert!((c.distance.powi(2) - (2.0 - 2.0 * c.score.0)).abs() < 1e-6);
        assert_eq!(compare(&a, &a).distance, 0.0);
    }

    #[test]
    fn hopeless_vectors_are_refused() {
        assert_eq!(Embedding::normalise(vec![]), Err(EmbeddingError::NotScalable(0)));
        assert_eq!(Embedding::normalise(vec![0.0; 3]), Err(EmbeddingError::NotScalable(3)));
        assert_eq!(Embedding::normalise(vec![f32::NAN, 1.0]), Err(EmbeddingError::NotScalable(2)));
    }

    proptest! {
        #[test]
        fn what_has_length_one_stays_as_it_is(values in prop::collection::vec(-1f32..1.0, 1..600), off in -1e-4..1e-4f32) {
            prop_assume!(values.iter().any(|v| v.abs() > 1e-3));
            let once = Embedding::normalise(values).unwrap();
            let length: f64 = once.0.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            prop_assert!((length - 1.0).abs() < 1e-6, "{length}");
            prop_assert_eq!(&Embedding::normalise(once.0.clone()).unwrap(), &once);
            let nearly = Embedding::normalise(once.0.iter().map(|v| v * (1.0 + off)).collect()).unwrap();
            prop_assert_eq!(&Embedding::normalise(nearly.0.clone()).unwrap(), &nearly);
        }
    }

    #[test]
    fn debug_does_not_leak_the_values() {
        let e = Embedding::normalise(vec![1.0, 0.0]).unwrap();
        assert_eq!(format!("{e:?}"), "Embedding(2 values)");
    }
}
