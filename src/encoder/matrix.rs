//! Many embeddings in one packed, aligned matrix, and the cosines of a probe with stretches of it.
//!
//! The gallery searches with this. A product reads the matrix once, front to back, at the speed of memory.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use zeroize::Zeroize;

use super::Embedding;
use crate::nn::fused::{Buffer, LINE};

/// Sums kept side by side, so that additions do not wait for each other. Rows are taken one after the other: several
/// at once are several streams to the memory, which took three times as long.
const SUMS: usize = 2;

/// Embeddings of one dimension, one a row; rows begin on cache lines and are padded with zeros. Wiped when dropped.
#[derive(Clone)]
pub struct Matrix {
    dim: usize,
    rows: usize,
    /// Values from one row to the next.
    stride: usize,
    values: Buffer,
    arch: Arch,
}

impl Drop for Matrix {
    fn drop(&mut self) {
        self.values.values_mut().zeroize();
    }
}

impl Matrix {
    /// Packs `embeddings`.
    ///
    /// # Panics
    /// When they differ in dimension: they cannot be of one model then.
    pub fn new<'a>(embeddings: impl ExactSizeIterator<Item = &'a Embedding>) -> Self {
        let rows = embeddings.len();
        let mut matrix = Self { dim: 0, rows, stride: 0, values: Buffer::new(0), arch: Arch::new() };
        for (row, embedding) in embeddings.enumerate() {
            if row == 0 {
                matrix.dim = embedding.dim();
                matrix.stride = matrix.dim.next_multiple_of(LINE);
                matrix.values = Buffer::new(rows * matrix.stride);
            }
            assert_eq!(embedding.dim(), matrix.dim, "embeddings of different dimensions in one matrix");
            let at = row * matrix.stride;
            matrix.values.values_mut()[at..][..matrix.dim].copy_from_slice(embedding.values());
        }
        matrix
    }

    /// The embedding in a row.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn embedding(&self, row: usize) -> Embedding {
        Embedding(self.values.values()[row * self.stride..][..self.dim].to_vec())
    }

    /// How many embeddings.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many values each has; 0 when there is none.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Memory taken by the values, in bytes.
    pub fn bytes(&self) -> usize {
        size_of_val(self.values.values())
    }

    /// Writes the cosine of `probe` with each of `rows` to `out`, in order, unclamped.
    ///
    /// # Panics
    /// When the probe has another dimension, `rows` goes beyond the last, or `out` is not as long as `rows`.
    pub fn cosines(&self, probe: &Embedding, rows: Range<usize>, out: &mut [f32]) {
        assert_eq!(probe.dim(), self.dim, "a probe of another dimension");
        assert!(rows.end <= self.rows && out.len() == rows.len(), "rows {rows:?} of {}", self.rows);
        let values = &self.values.values()[rows.start * self.stride..rows.end * self.stride];
        self.arch.dispatch(Products { values, stride: self.stride, probe: probe.values(), out });
    }
}

struct Products<'a> {
    values: &'a [f32],
    stride: usize,
    probe: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Products { values, stride, probe, out } = self;
        // Whole vectors of the probe, and what is left of it; the rows' padding is not looked at.
        let (body, tail) = S::as_simd_f32s(probe);
        let (pairs, odd) = body.as_chunks::<SUMS>();
        for (row, cosine) in values.chunks_exact(stride).zip(out) {
            let (vectors, _) = S::as_simd_f32s(row);
            let mut sums = [simd.splat_f32s(0.0); SUMS];
            for (v, p) in vectors.as_chunks::<SUMS>().0.iter().zip(pairs) {
                for ((sum, &v), &p) in sums.iter_mut().zip(v).zip(p) {
                    *sum = simd.mul_add_e_f32s(v, p, *sum);
                }
            }
            for (&v, &p) in vectors[body.len() - odd.len()..].iter().zip(odd) {
                sums[0] = simd.mul_add_e_f32s(v, p, sums[0]);
            }
            let sum = simd.add_f32s(sums[0], sums[1]);
            *cosine = simd.reduce_sum_f32s(sum) + plain(&row[probe.len() - tail.len()..], tail);
        }
    }
}

#[inline(always)]
fn plain(row: &[f32], tail: &[f32]) -> f32 {
    row.iter().zip(tail).map(|(v, p)| v * p).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::compare;
    use proptest::prelude::*;

    fn vectors(dims: Range<usize>, count: Range<usize>) -> impl Strategy<Value = Vec<Embedding>> {
        dims.prop_flat_map(move |dim| {
            let vector = prop::collection::vec(-1.0_f32..1.0, dim)
                .prop_filter_map("too short", |v| Embedding::normalise(v).ok());
            prop::collection::vec(vector, count.clone())
        })
    }

    proptest! {
        #[test]
        fn cosines_are_those_of_the_one_comparison(all in vectors(1..150, 2..40), from in 0_usize..40) {
            let (probe, templates) = all.split_first().unwrap();
            let matrix = Matrix::new(templates.iter());
            let from = from.min(templates.len());
            let mut out = vec![f32::NAN; templates.len() - from];
            matrix.cosines(probe, from..templates.len(), &mut out);
            for (cosine, template) in out.iter().zip(&templates[from..]) {
                prop_assert!((cosine - compare(probe, template).score.0).abs() < 1e-5);
            }
        }
    }

    fn two() -> Matrix {
        let rows = [vec![3.0, 4.0], vec![0.0, 1.0]].map(|v| Embedding::normalise(v).unwrap());
        Matrix::new(rows.iter())
    }

    #[test]
    fn rows_are_padded_to_cache_lines() {
        let matrix = two();
        assert_eq!((matrix.rows(), matrix.dim(), matrix.bytes()), (2, 2, 2 * 64));
        let none: [Embedding; 0] = [];
        assert_eq!((Matrix::new(none.iter()).rows(), Matrix::new(none.iter()).bytes()), (0, 0));
    }

    #[test]
    #[should_panic(expected = "rows 1..3 of 2")]
    fn rows_beyond_the_last_are_refused() {
        two().cosines(&Embedding::normalise(vec![1.0, 0.0]).unwrap(), 1..3, &mut [0.0; 2]);
    }

    #[test]
    #[should_panic(expected = "a probe of another dimension")]
    fn a_probe_of_another_dimension_is_refused() {
        two().cosines(&Embedding::normalise(vec![1.0]).unwrap(), 0..2, &mut [0.0; 2]);
    }

    #[test]
    #[should_panic(expected = "embeddings of different dimensions")]
    fn embeddings_of_different_dimensions_are_refused() {
        let rows = [vec![1.0], vec![1.0, 2.0]].map(|v| Embedding::normalise(v).unwrap());
        let _ = Matrix::new(rows.iter());
    }
}
