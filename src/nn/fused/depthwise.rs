//! Depthwise 3×3 convolution, pixel rows of whole channel vectors, with bias and activation.
//!
//! Several output pixels are computed at once: a tap's weights and an input pixel's channels are loaded once and serve
//! all of them, so that the multiplications and not the loads set the pace.

use pulp::{Arch, Simd, WithSimd};

use super::buffer::{Buffer, LINE};
use super::pointwise::Activation;

/// Weights of a depthwise 3×3 convolution, channels padded to whole lines: nine taps, then bias, then slope, each a
/// row of channels.
#[derive(Clone, Debug)]
pub struct Depthwise {
    /// Channels.
    pub channels: usize,
    /// Step, 1 or 2.
    pub stride: usize,
    rows: Buffer,
    activation: Activation,
    arch: Arch,
}

/// Rows of [`Depthwise::rows`].
const ROWS: usize = 11;

/// What [`Activation`] is to the kernel, which is compiled for each.
const NONE: u8 = Activation::None as u8;
const RELU: u8 = Activation::Relu as u8;
const PRELU: u8 = Activation::PRelu as u8;

impl Depthwise {
    /// Packs `weight` (`channels × 3 × 3`).
    ///
    /// # Panics
    /// When `stride` is neither 1 nor 2.
    pub fn new(weight: &[f32], channels: usize, stride: usize, bias: &[f32], slope: &[f32]) -> Self {
        assert!(stride == 1 || stride == 2, "a depthwise convolution of stride {stride}");
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
        Self { channels, stride, rows, activation: Activation::of(slope), arch: Arch::new() }
    }

    /// Computes one output row of `width` pixels from three input rows; pixel `x` goes to `output[x · pixel..]`.
    pub fn run_row(&self, rows: [&[f32]; 3], width: usize, output: &mut [f32], pixel: usize) {
        let padded = self.channels.next_multiple_of(LINE);
        // Every address the kernel touches is checked here, once a row.
        let read = ((width - 1) * self.stride + 3) * padded;
        assert!(rows.iter().all(|row| read <= row.len()));
        assert!((width - 1) * pixel + padded <= output.len() && pixel.is_multiple_of(LINE));
        let row = Row { weights: self.rows.values(), padded, rows, width, output, pixel };
        match (self.stride, self.activation) {
            (1, Activation::None) => self.arch.dispatch(Strided::<1, NONE>(row)),
            (1, Activation::Relu) => self.arch.dispatch(Strided::<1, RELU>(row)),
            (1, Activation::PRelu) => self.arch.dispatch(Strided::<1, PRELU>(row)),
            _ => self.arch.dispatch(Strided::<2, PRELU>(row)),
        }
    }

    /// The weights as they were given: `channels × 3 × 3`, bias, slopes.
    pub fn unpacked(&self) -> [Vec<f32>; 3] {
        let padded = self.channels.next_multiple_of(LINE);
        let row = |t: usize| &self.rows.values()[t * padded..][..self.channels];
        let taps = (0..self.channels * 9).map(|i| row(i % 9)[i / 9]).collect();
        [taps, row(9).to_vec(), row(10).to_vec()]
    }
}

struct Row<'a> {
    weights: &'a [f32],
    padded: usize,
    rows: [&'a [f32]; 3],
    width: usize,
    output: &'a mut [f32],
    pixel: usize,
}

struct Strided<'a, const STRIDE: usize, const ACT: u8>(Row<'a>);

impl<const STRIDE: usize, const ACT: u8> WithSimd for Strided<'_, STRIDE, ACT> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Row { weights, padded, rows, width, output, pixel } = self.0;
        let lanes = S::F32_LANES;
        let mut kernel = Kernel {
            simd,
            weights: S::as_simd_f32s(weights).0,
            per_pixel: padded / lanes,
            rows: rows.map(|row| S::as_simd_f32s(row).0),
            output: S::as_mut_simd_f32s(output).0,
            step: pixel / lanes,
        };
        // Seven divides the widths of the encoders' maps. The last pixels of other widths are computed together with
        // some that were there before.
        match width {
            7.. => kernel.all::<STRIDE, ACT, 7>(width),
            3.. => kernel.all::<STRIDE, ACT, 3>(width),
            _ => kernel.all::<STRIDE, ACT, 1>(width),
        }
    }
}

struct Kernel<'a, S: Simd> {
    simd: S,
    weights: &'a [S::f32s],
    /// Vectors of an input pixel.
    per_pixel: usize,
    rows: [&'a [S::f32s]; 3],
    output: &'a mut [S::f32s],
    /// Vectors from one output pixel to the next.
    step: usize,
}

impl<S: Simd> Kernel<'_, S> {
    /// A row of at least `N` pixels.
    #[inline(always)]
    fn all<const STRIDE: usize, const ACT: u8, const N: usize>(&mut self, width: usize) {
        let mut first = 0;
        while first + N < width {
            self.pixels::<STRIDE, ACT, N>(first);
            first += N;
        }
        self.pixels::<STRIDE, ACT, N>(width - N);
    }

    /// Output pixels `first` to `first + N`, all channels.
    #[inline(always)]
    fn pixels<const STRIDE: usize, const ACT: u8, const N: usize>(&mut self, first: usize) {
        let (simd, per_pixel) = (self.simd, self.per_pixel);
        let zero = simd.splat_f32s(0.0);
        let from = first * STRIDE * per_pixel;
        for c in 0..per_pixel {
            // SAFETY: `run_row` checked that the last output pixel's neighbourhood lies in the rows, that the output
            // holds `width` pixels, and `weights` has `ROWS · per_pixel` vectors; `first + N <= width`, `c < per_pixel`.
            let weight = |t: usize| unsafe { *self.weights.get_unchecked(t * per_pixel + c) };
            let mut sums = [weight(9); N];
            for (dy, row) in self.rows.iter().enumerate() {
                let taps = [weight(3 * dy), weight(3 * dy + 1), weight(3 * dy + 2)];
                for x in 0..(N - 1) * STRIDE + 3 {
                    // SAFETY: as above.
                    let value = unsafe { *row.get_unchecked(from + x * per_pixel + c) };
                    for (j, sum) in sums.iter_mut().enumerate() {
                        if let Some(&w) = x.checked_sub(j * STRIDE).and_then(|dx| taps.get(dx)) {
                            *sum = simd.mul_add_e_f32s(value, w, *sum);
                        }
                    }
                }
            }
            for (j, sum) in sums.into_iter().enumerate() {
                let y = match ACT {
                    NONE => sum,
                    RELU => simd.max_f32s(sum, zero),
                    _ => simd.mul_add_e_f32s(simd.min_f32s(sum, zero), weight(10), simd.max_f32s(sum, zero)),
                };
                // SAFETY: as above.
                unsafe { *self.output.get_unchecked_mut((first + j) * self.step + c) = y };
            }
        }
    }
}
