//! The fully connected layer of an encoder over a whole map.
//!
//! Its weights are most of the network's bytes and each is used once a pass, so reading them is what it costs. Published
//! encoders come with weights of 8 bits in blocks of 64 that share a scale; where all blocks of a layer turn out to be
//! such, they are kept so: a quarter of the bytes, and the same values.

use pulp::{Arch, Simd, WithSimd};

use super::buffer::{Buffer, Map};
use super::pointwise::lanes;
use crate::nn::team::{MOST_THREADS, in_parts};

/// Weights that share a scale.
const BLOCK: usize = 64;
/// Steps of an 8-bit block from its least to its greatest value.
const STEPS: i32 = 255;
/// Output values computed at once.
const ROWS: usize = 4;

/// A fully connected layer, `outputs × (channels × pixels)`, with a scale and a shift of its inputs by channel and of its
/// outputs.
#[derive(Clone, Debug)]
pub struct Dense {
    inputs: usize,
    weight: Weight,
    /// What each channel of the map is multiplied with, and what is added then.
    before: [Vec<f32>; 2],
    /// The same for each output, and what values below zero are multiplied with in the end.
    after: [Vec<f32>; 3],
    arch: Arch,
    lanes: usize,
}

#[derive(Clone, Debug)]
enum Weight {
    /// Row after row.
    Full(Buffer),
    /// Row after row in blocks: 64 unsigned bytes, and for each block its scale and its least value. Byte `b` of lane
    /// `l` of a block's vector `v` is weight `(4v + b) · lanes + l`.
    Blocks { bytes: Buffer, scale_least: Vec<[f32; 2]> },
}

impl Dense {
    /// Takes `weight` as `outputs × inputs`, inputs being `channels × pixels`; `before` is scale and shift, and
    /// `after` too with the slopes below zero: 1 does nothing, 0 is a ReLU.
    ///
    /// # Panics
    /// When the sizes do not fit.
    pub fn new(weight: &[f32], before: [Vec<f32>; 2], after: [Vec<f32>; 3]) -> Self {
        Self::for_arch(Arch::new(), weight, before, after)
    }

    fn for_arch(arch: Arch, weight: &[f32], before: [Vec<f32>; 2], after: [Vec<f32>; 3]) -> Self {
        let (lanes, inputs) = (lanes(arch), weight.len() / after[0].len());
        assert!(inputs * after[0].len() == weight.len() && inputs.is_multiple_of(before[0].len()));
        let weight = blocks(weight, inputs, lanes).unwrap_or_else(|| {
            let mut all = Buffer::new(weight.len());
            all.values_mut()[..weight.len()].copy_from_slice(weight);
            Weight::Full(all)
        });
        Self { inputs, weight, before, after, arch, lanes }
    }

    /// How many values it gives.
    pub fn outputs(&self) -> usize {
        self.after[0].len()
    }

    /// Scale and shift of each channel of the map before the layer.
    pub fn before(&self) -> &[Vec<f32>; 2] {
        &self.before
    }

    /// Scale and shift of each output after the layer, and its slope below zero.
    pub fn after(&self) -> &[Vec<f32>; 3] {
        &self.after
    }

    /// The weights, `outputs × (channels × pixels)`.
    pub fn unpacked(&self) -> Vec<f32> {
        match &self.weight {
            Weight::Full(all) => all.values()[..self.inputs * self.outputs()].to_vec(),
            Weight::Blocks { bytes, scale_least } => {
                let bytes: &[u32] = bytemuck::cast_slice(bytes.values());
                let value = |i: usize| {
                    let (block, at) = (i / BLOCK, i % BLOCK);
                    let (vector, byte, lane) = (at / (4 * self.lanes), at / self.lanes % 4, at % self.lanes);
                    let word = bytes[block * BLOCK / 4 + vector * self.lanes + lane];
                    let [scale, least] = scale_least[block];
                    ((word >> (8 * byte) & 255) as f32 + least) * scale
                };
                (0..self.inputs * self.outputs()).map(value).collect()
            }
        }
    }

    /// Values that [`Dense::run`] needs as scratch.
    pub fn scratch(&self) -> usize {
        self.inputs + self.inputs.div_ceil(BLOCK)
    }

    /// The outputs for a map, computed in `parts` at once; more than one only within [`crate::nn::team::Team::run`].
    pub fn run(&self, map: &Map, out: &mut [f32], scratch: &mut [f32], parts: usize) {
        let pixels = self.inputs / self.before[0].len();
        assert!(map.channels == self.before[0].len() && map.height * map.width == pixels);
        assert_eq!(out.len(), self.outputs());
        let (inputs, sums) = scratch.split_at_mut(self.inputs);
        let [scale, shift] = &self.before;
        for pixel in 0..pixels {
            let values = map.pixel_at(pixel % map.width, pixel / map.width);
            for (c, (v, (s, t))) in values.iter().zip(scale.iter().zip(shift)).enumerate() {
                inputs[c * pixels + pixel] = v * s + t;
            }
        }
        if matches!(self.weight, Weight::Blocks { .. }) {
            for (sum, block) in sums.iter_mut().zip(inputs.chunks_exact(BLOCK)) {
                *sum = block.iter().sum();
            }
        }
        let (inputs, sums) = (&*inputs, &*sums);
        in_parts(
            0..out.len().div_ceil(ROWS),
            ROWS,
            out,
            &mut [(); MOST_THREADS][..parts],
            &|rows, out, ()| {
                self.outputs_from(ROWS * rows.start, inputs, sums, out);
            },
        );
    }

    /// The outputs from `first` on, for inputs and the sums of their blocks.
    fn outputs_from(&self, first: usize, inputs: &[f32], sums: &[f32], out: &mut [f32]) {
        match &self.weight {
            Weight::Full(all) => self.arch.dispatch(|| {
                let rows = all.values()[first * self.inputs..].chunks_exact(self.inputs);
                for (o, row) in out.iter_mut().zip(rows) {
                    *o = lanes_dot(inputs, row);
                }
            }),
            Weight::Blocks { bytes, scale_least } => {
                let bytes: &[u32] = bytemuck::cast_slice(bytes.values());
                let per_row = self.inputs / BLOCK;
                let bytes = bytes[first * self.inputs / 4..].chunks(ROWS * self.inputs / 4);
                let scale_least = scale_least[first * per_row..].chunks(ROWS * per_row);
                for ((out, bytes), scale_least) in out.chunks_mut(ROWS).zip(bytes).zip(scale_least) {
                    let product = Blocks { inputs, sums: &sums[..per_row], bytes, scale_least, out };
                    self.arch.dispatch(product);
                }
            }
        }
        let [scale, shift, slope] = self.after.each_ref().map(|values| &values[first..]);
        for (o, ((s, t), slope)) in out.iter_mut().zip(scale.iter().zip(shift).zip(slope)) {
            let y = *o * s + t;
            *o = y.max(0.0) + slope * y.min(0.0);
        }
    }
}

/// The weights in blocks of 8 bits, when they are such and this CPU's vectors divide a block.
fn blocks(weight: &[f32], inputs: usize, lanes: usize) -> Option<Weight> {
    if !inputs.is_multiple_of(BLOCK) || !BLOCK.is_multiple_of(4 * lanes) {
        return None;
    }
    let mut bytes = Buffer::new(weight.len() / 4);
    let all: &mut [u32] = bytemuck::cast_slice_mut(bytes.values_mut());
    let mut scale_least = Vec::with_capacity(weight.len() / BLOCK);
    for (words, block) in all.chunks_exact_mut(BLOCK / 4).zip(weight.chunks_exact(BLOCK)) {
        let (scale, least) = scale_of(block)?;
        for (i, w) in block.iter().enumerate() {
            let step = nearest(w / scale) as i32 - least;
            let (vector, byte, lane) = (i / (4 * lanes), i / lanes % 4, i % lanes);
            words[vector * lanes + lane] |= u32::try_from(step).ok()? << (8 * byte);
        }
        scale_least.push([scale, least as f32]);
    }
    Some(Weight::Blocks { bytes, scale_least })
}

/// The scale of which all values are multiples, no more than [`STEPS`] apart, and the least multiple.
fn scale_of(block: &[f32]) -> Option<(f32, i32)> {
    // Zero is always one of the values that can be told apart.
    let (least, greatest) = block.iter().fold((0.0_f32, 0.0_f32), |(l, g), &v| (l.min(v), g.max(v)));
    if least == greatest {
        return Some((1.0, 0));
    }
    let fits = |scale: f32| {
        let inverse = 1.0 / scale;
        block.iter().all(|v| (nearest(v * inverse) - v * inverse).abs() < 1e-3)
    };
    let scale = (1..=STEPS).rev().map(|steps| (greatest - least) / steps as f32).find(|&s| fits(s))?;
    // All values together give the scale to the last bit: least squares.
    let (mut product, mut square) = (0.0, 0.0);
    for v in block {
        let steps = f64::from(nearest(v / scale));
        (product, square) = (product + f64::from(*v) * steps, square + steps * steps);
    }
    let scale = (product / square) as f32;
    let exact = |v: &f32| (nearest(v / scale) * scale - v).abs() <= v.abs() * f32::EPSILON;
    block.iter().all(exact).then(|| (scale, nearest(least / scale) as i32))
}

/// The nearest integer, for values up to 2²².
#[inline(always)]
fn nearest(x: f32) -> f32 {
    x + 1.5 * BIAS - 1.5 * BIAS
}

/// Up to [`ROWS`] outputs of a layer in blocks.
struct Blocks<'a> {
    inputs: &'a [f32],
    /// Of each block of the inputs.
    sums: &'a [f32],
    bytes: &'a [u32],
    scale_least: &'a [[f32; 2]],
    out: &'a mut [f32],
}

impl WithSimd for Blocks<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { inputs, sums, bytes, scale_least, out } = self;
        let rows: [_; ROWS] = std::array::from_fn(|r| {
            // With fewer rows than that the last is computed several times.
            let r = r.min(out.len() - 1);
            let words = &bytes[r * inputs.len() / 4..][..inputs.len() / 4];
            (S::as_simd_u32s(words).0, &scale_least[r * sums.len()..][..sums.len()])
        });
        let (inputs, _) = S::as_simd_f32s(inputs);
        let vectors = BLOCK / S::F32_LANES;
        let (byte, exponent) = (simd.splat_u32s(255), simd.splat_u32s(BIAS.to_bits()));
        let bias = simd.splat_f32s(BIAS);
        let mut totals = [simd.splat_f32s(0.0); ROWS];
        let mut constant = [0.0; ROWS];
        for (b, (inputs, sum)) in inputs.chunks_exact(vectors).zip(sums).enumerate() {
            for (r, (words, scale_least)) in rows.iter().enumerate() {
                let mut block = simd.splat_f32s(0.0);
                let words = &words[b * vectors / 4..][..vectors / 4];
                for (word, inputs) in words.iter().zip(inputs.chunks_exact(4)) {
                    for (i, x) in inputs.iter().enumerate() {
                        let shifted = simd.wrapping_dyn_shr_u32s(*word, simd.splat_u32s(8 * i as u32));
                        let low = simd.and_u32s(shifted, byte);
                        // A small integer in the mantissa of 2^23 is 2^23 and that integer.
                        let value = simd.transmute_f32s_u32s(simd.or_u32s(low, exponent));
                        block = simd.mul_add_e_f32s(simd.sub_f32s(value, bias), *x, block);
                    }
                }
                let [scale, least] = scale_least[b];
                totals[r] = simd.mul_add_e_f32s(block, simd.splat_f32s(scale), totals[r]);
                constant[r] += scale * least * sum;
            }
        }
        for (r, o) in out.iter_mut().enumerate() {
            *o = simd.reduce_sum_f32s(totals[r]) + constant[r];
        }
    }
}

/// 2²³: from here on `f32` has the integers and nothing between.
const BIAS: f32 = 8_388_608.0;

/// A dot product in 32 lanes, so that sums neither wait for each other nor lose precision one after the other.
#[inline(always)]
fn lanes_dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 32];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<32>(), b.as_chunks::<32>());
    for (a, b) in a.iter().zip(b) {
        for (s, (x, y)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *s += x * y;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: usize) -> impl Iterator<Item = u32> {
        (0..).map(move |i: u32| {
            (i ^ seed as u32).wrapping_mul(2_654_435_761).rotate_left(15).wrapping_mul(97) >> 24
        })
    }

    /// A layer of 7 outputs on 4 × 4 pixels of 16 channels, and what it gives by its definition.
    fn check(weight: &[f32], kept_as_blocks: bool) {
        let mut map = Map::new((4, 4), 16, 16, 4);
        for (i, v) in (0..256).zip(noise(3)) {
            let at = map.at(i / 16 % 4, i / 64);
            map.buffer.values_mut()[at + i % 16] = v as f32 / 64.0 - 2.0;
        }
        let vary = |n: usize, by: f32| (0..n).map(|i| 1.0 + i as f32 * by).collect::<Vec<_>>();
        let (before, after) = ([vary(16, 0.1), vary(16, -0.2)], [vary(7, 0.3), vary(7, 2.0), vary(7, -0.15)]);
        #[cfg(target_arch = "x86_64")]
        let avx2 = pulp::x86::V3::try_new().map(Arch::V3);
        #[cfg(not(target_arch = "x86_64"))]
        let avx2 = None;
        for arch in [Some(Arch::Scalar), avx2, Some(Arch::new())].into_iter().flatten() {
            let dense = Dense::for_arch(arch, weight, before.clone(), after.clone());
            assert_eq!(matches!(dense.weight, Weight::Blocks { .. }), kept_as_blocks, "{arch:?}");
            for (a, b) in dense.unpacked().iter().zip(weight) {
                assert!((a - b).abs() <= b.abs() * 2.0 * f32::EPSILON, "{arch:?}: {a} for {b}");
            }
            let (mut out, mut scratch) = (vec![0.0; 7], vec![0.0; dense.scratch()]);
            dense.run(&map, &mut out, &mut scratch, 1);
            for (o, got) in out.iter().enumerate() {
                let sum: f64 = (0..256)
                    .map(|i| {
                        let (c, p) = (i / 16, i % 16);
                        let x = map.pixel_at(p % 4, p / 4)[c] * before[0][c] + before[1][c];
                        f64::from(x) * f64::from(weight[o * 256 + i])
                    })
                    .sum();
                let want = sum * f64::from(after[0][o]) + f64::from(after[1][o]);
                let want = if want < 0.0 { want * f64::from(after[2][o]) } else { want };
                assert!(
                    (f64::from(*got) - want).abs() < 1e-3 * want.abs().max(1.0),
                    "{arch:?}: {got} for {want}"
                );
            }
        }
    }

    #[test]
    fn weights_that_were_8_bits_stay_so_and_mean_the_same() {
        let scale = |block: usize| 0.0013 * (block % 5 + 1) as f32;
        let zero = |block: usize| (block * 13 % 200) as f32;
        let mut weight: Vec<f32> = (0..7 * 256)
            .zip(noise(1))
            .map(|(i, q)| (q as f32 - zero(i / BLOCK)) * scale(i / BLOCK))
            .collect();
        check(&weight, true);
        // A block of nothing but zeros, and one that is positive throughout.
        weight[..BLOCK].fill(0.0);
        weight[BLOCK..2 * BLOCK].iter_mut().for_each(|w| *w = w.abs());
        check(&weight, true);
    }

    #[test]
    fn other_weights_stay_as_they_are() {
        let mut weight: Vec<f32> =
            (0..7 * 256).zip(noise(2)).map(|(i, q)| (i as f32 * 0.37 + q as f32).sin()).collect();
        check(&weight, false);
        weight.iter_mut().for_each(|w| *w = (*w * 100.0).round() / 64.0);
        weight[700] = 0.123_456;
        check(&weight, false);
    }
}
