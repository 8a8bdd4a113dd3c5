//! Depthwise 3×3 convolution, pixel rows of whole channel vectors, with bias and activation.

use pulp::{Arch, Simd, WithSimd};

use super::buffer::{Buffer, LINE, Map};

/// Weights of a depthwise 3×3 convolution, channels padded to whole lines: nine taps, then bias, then slope, each a
/// row of channels.
#[derive(Clone, Debug)]
pub struct Depthwise {
    /// Channels.
    pub channels: usize,
    /// Step.
    pub stride: usize,
    rows: Buffer,
    arch: Arch,
}

/// Rows of [`Depthwise::rows`].
const ROWS: usize = 11;

impl Depthwise {
    /// Packs `weight` (`channels × 3 × 3`).
    pub fn new(weight: &[f32], channels: usize, stride: usize, bias: &[f32], slope: &[f32]) -> Self {
        let padded = channels.next_multiple_of(LINE);
        let mut rows = Buffer::new(ROWS * padded);
        let to = rows.values_mut();
        for (c, taps) in weight.chunks_exact(9).enumerate() {
            for (t, &w) in taps.iter().enumerate() {
                to[t * padded + c] = w;
            }
        }
        to[9 * padded..][..channels].copy_from_slice(bias);
        to[10 * padded..][..channels].copy_from_slice(slope);
        Self { channels, stride, rows, arch: Arch::new() }
    }

    /// Computes output row `y` of `width` pixels; pixel `x` goes to `output[x · pixel..]`.
    pub fn run_row(&self, input: &Map, y: usize, width: usize, output: &mut [f32], pixel: usize) {
        let padded = self.channels.next_multiple_of(LINE);
        // The frame of zeros makes row y·stride the one above the centre.
        let first = y * self.stride * input.row();
        let rows: [&[f32]; 3] =
            std::array::from_fn(|i| &input.buffer.values()[first + i * input.row()..][..input.row()]);
        assert!(input.pixel == padded && (width - 1) * self.stride + 3 <= input.width + 2);
        assert!((width - 1) * pixel + padded <= output.len());
        self.arch.dispatch(Row {
            weights: self.rows.values(),
            padded,
            stride: self.stride,
            rows,
            width,
            output,
            pixel,
        });
    }
}

struct Row<'a> {
    weights: &'a [f32],
    padded: usize,
    stride: usize,
    rows: [&'a [f32]; 3],
    width: usize,
    output: &'a mut [f32],
    pixel: usize,
}

impl WithSimd for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Row { weights, padded, stride, rows, width, output, pixel } = self;
        let lanes = S::F32_LANES;
        let per_row = padded / lanes;
        let (weights, _) = S::as_simd_f32s(weights);
        let rows = rows.map(|row| S::as_simd_f32s(row).0);
        let (output, _) = S::as_mut_simd_f32s(output);
        let (step, pixel) = (stride * per_row, pixel / lanes);
        let zero = simd.splat_f32s(0.0);
        for c in 0..per_row {
            let w: [S::f32s; ROWS] = std::array::from_fn(|t| weights[t * per_row + c]);
            for x in 0..width {
                let mut sum = w[9];
                for (dy, row) in rows.iter().enumerate() {
                    for dx in 0..3 {
                        let value = row[x * step + dx * per_row + c];
                        sum = simd.mul_add_e_f32s(value, w[3 * dy + dx], sum);
                    }
                }
                output[x * pixel + c] =
                    simd.mul_add_e_f32s(simd.min_f32s(sum, zero), w[10], simd.max_f32s(sum, zero));
            }
        }
    }
}
