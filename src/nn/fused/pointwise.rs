//! Matrix product for 1×1 convolutions: rows are pixels, columns are output channels; bias, shortcut and activation
//! are applied while the sums are still in registers. A dense 3×3 convolution is the same product over three rows of
//! the input at once.

use pulp::{Arch, Simd, WithSimd};

use super::buffer::Buffer;

/// The `k × n` weights of a convolution with bias and slopes, cut into panels as wide as the kernel of this CPU.
#[derive(Clone, Debug)]
pub struct Packed {
    /// Values of a pixel's input.
    pub k: usize,
    /// Output channels.
    pub n: usize,
    panels: Buffer,
    bias: Buffer,
    slope: Buffer,
    activation: Activation,
    arch: Arch,
    lanes: usize,
}

/// What comes after the sum, told from the slopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activation {
    /// Slopes of 1.
    None,
    /// Slopes of 0.
    Relu,
    /// Any slopes.
    PRelu,
}

impl Activation {
    /// The one that these slopes are.
    pub(super) fn of(slope: &[f32]) -> Self {
        let all = |slope_is: f32| slope.iter().all(|&s| s == slope_is);
        match () {
            () if all(1.0) => Self::None,
            () if all(0.0) => Self::Relu,
            () => Self::PRelu,
        }
    }
}

/// Values in a vector of this CPU.
pub fn lanes(arch: Arch) -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    arch.dispatch(Lanes)
}

/// Vectors of output channels that a wide panel has on a CPU with vectors of `lanes` values. Together with the pixels
/// computed at once it fills the registers: 32 of them with AVX-512 and NEON, 16 with AVX2 and SSE. Wide rather than tall,
/// because each pixel costs an address and a load for each input.
const fn vectors(lanes: usize) -> usize {
    match lanes {
        4 | 16 => 4,
        _ => 2,
    }
}

/// How the output channels are cut into panels: wide ones, then one of two vectors, then one of a single one.
struct Panels {
    lanes: usize,
    /// Vectors of all panels together.
    all: usize,
}

impl Panels {
    fn new(n: usize, lanes: usize) -> Self {
        Self { lanes, all: n.div_ceil(lanes) }
    }

    /// Values of a row of all panels.
    fn width(&self) -> usize {
        self.all * self.lanes
    }

    /// How many vectors the panel has that begins with vector `first`.
    fn vectors(&self, first: usize) -> usize {
        match (vectors(self.lanes), self.all - first) {
            (wide, left) if left >= wide => wide,
            (_, 2..) => 2,
            _ => 1,
        }
    }

    /// Where the weight of input `i` and output `column` lies.
    fn at(&self, k: usize, i: usize, column: usize) -> usize {
        let (mut first, vector) = (0, column / self.lanes);
        while first + self.vectors(first) <= vector {
            first += self.vectors(first);
        }
        first * self.lanes * k + i * self.vectors(first) * self.lanes + column - first * self.lanes
    }
}

/// Pixels computed at once by panels that are narrower than they could be.
const NARROW: usize = 8;

/// Where a pixel of the product begins in each segment of the input, in the output and in what is added; or how far it is
/// from one pixel to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PixelAt {
    /// In each segment of the input.
    pub input: usize,
    /// In the output.
    pub output: usize,
    /// In what is added.
    pub add: usize,
}

impl PixelAt {
    /// So many steps further.
    #[inline(always)]
    fn on(self, step: Self, count: usize) -> Self {
        Self {
            input: self.input + count * step.input,
            output: self.output + count * step.output,
            add: self.add + count * step.add,
        }
    }
}

/// The pixels of a product: rows of one width, wherever each of them begins.
#[derive(Clone, Copy, Debug)]
pub struct Pixels<'a> {
    /// The first pixel of each row.
    pub rows: &'a [PixelAt],
    /// Pixels of a row.
    pub width: usize,
    /// From one pixel of a row to the next.
    pub step: PixelAt,
}

impl Pixels<'_> {
    /// `N` pixels, the first of them being `x` of row `y`; they may go on in the next rows.
    #[inline(always)]
    fn block<const N: usize>(&self, mut y: usize, mut x: usize) -> [PixelAt; N] {
        if x + N <= self.width {
            let first = self.rows[y].on(self.step, x);
            return std::array::from_fn(|j| first.on(self.step, j));
        }
        std::array::from_fn(|_| {
            let at = self.rows[y].on(self.step, x);
            x += 1;
            if x == self.width {
                (y, x) = (y + 1, 0);
            }
            at
        })
    }
}

impl Packed {
    /// Packs `weight` (`n × k`, row-major). After the sum comes `max(x, 0) + slope · min(x, 0)`: slopes of 1 do
    /// nothing, of 0 are a ReLU.
    pub fn new(weight: &[f32], k: usize, n: usize, bias: &[f32], slope: &[f32]) -> Self {
        Self::for_arch(Arch::new(), weight, k, n, bias, slope)
    }

    fn for_arch(arch: Arch, weight: &[f32], k: usize, n: usize, bias: &[f32], slope: &[f32]) -> Self {
        let lanes = lanes(arch);
        let places = Panels::new(n, lanes);
        let mut panels = Buffer::new(places.width() * k);
        let to = panels.values_mut();
        for (column, row) in weight.chunks_exact(k).enumerate() {
            for (i, &w) in row.iter().enumerate() {
                to[places.at(k, i, column)] = w;
            }
        }
        let padded = |values: &[f32]| {
            let mut buffer = Buffer::new(places.width());
            buffer.values_mut()[..n].copy_from_slice(values);
            buffer
        };
        let activation = Activation::of(slope);
        Self { k, n, panels, bias: padded(bias), slope: padded(slope), activation, arch, lanes }
    }

    /// The weights as they were given: `n × k`, bias, slopes.
    pub fn unpacked(&self) -> [Vec<f32>; 3] {
        let (values, places) = (self.panels.values(), Panels::new(self.n, self.lanes));
        let weight = (0..self.n * self.k).map(|i| values[places.at(self.k, i % self.k, i / self.k)]);
        let first = |buffer: &Buffer| buffer.values()[..self.n].to_vec();
        [weight.collect(), first(&self.bias), first(&self.slope)]
    }

    /// Computes one output pixel for each of `pixels`.
    ///
    /// A pixel's input is `k / segments.len()` values of each of the `segments`; `add` is added before the activation.
    /// The offsets in `pixels` say where each begins. Output channels are written up to the next multiple of a
    /// vector. No pixel may lie in the output twice with different inputs.
    pub fn run(&self, segments: &[&[f32]], output: &mut [f32], add: Option<&[f32]>, pixels: Pixels<'_>) {
        // Every address the kernel touches is checked here, once a row: offsets grow along it.
        let (written, read) = (self.n.next_multiple_of(self.lanes), self.k / segments.len());
        assert!(read * segments.len() == self.k);
        let shortest = segments.iter().map(|s| s.len()).min().unwrap_or(0);
        let Some(steps) = pixels.width.checked_sub(1) else { return };
        for first in pixels.rows {
            let last = first.on(pixels.step, steps);
            assert!(last.input + read <= shortest && last.output + written <= output.len());
            assert!(add.is_none_or(|a| last.add + written <= a.len()));
        }
        self.arch.dispatch(Product { packed: self, segments, output, add, pixels });
    }
}

struct Product<'a> {
    packed: &'a Packed,
    segments: &'a [&'a [f32]],
    output: &'a mut [f32],
    add: Option<&'a [f32]>,
    pixels: Pixels<'a>,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Product { packed, segments, output, add, pixels } = self;
        let mut kernel = Kernel { simd, packed, segments, output, add };
        // As many pixels at once as the accumulators of this CPU's registers allow.
        match S::F32_LANES {
            4 | 16 => kernel.panels::<{ vectors(16) }, 6, 3>(pixels),
            _ => kernel.panels::<{ vectors(8) }, 6, 3>(pixels),
        }
    }
}

struct Kernel<'a, S: Simd> {
    simd: S,
    packed: &'a Packed,
    segments: &'a [&'a [f32]],
    output: &'a mut [f32],
    add: Option<&'a [f32]>,
}

/// One panel of output channels.
struct Panel<'a, S: Simd> {
    weights: &'a [S::f32s],
    bias: &'a [S::f32s],
    slope: &'a [S::f32s],
    /// First output channel.
    first: usize,
}

impl<S: Simd> Kernel<'_, S> {
    /// All panels of all pixels, `MANY` or `FEW` at once.
    #[inline(always)]
    fn panels<const VECTORS: usize, const MANY: usize, const FEW: usize>(&mut self, pixels: Pixels<'_>) {
        let packed = self.packed;
        let places = Panels::new(packed.n, S::F32_LANES);
        let (mut weights, _) = S::as_simd_f32s(packed.panels.values());
        let (mut bias, _) = S::as_simd_f32s(packed.bias.values());
        let (mut slope, _) = S::as_simd_f32s(packed.slope.values());
        let mut first = 0;
        while first < places.all {
            let vectors = places.vectors(first);
            let part;
            (part, weights) = weights.split_at(vectors * packed.k);
            let channel = first * S::F32_LANES;
            let panel =
                Panel { weights: part, bias: &bias[..vectors], slope: &slope[..vectors], first: channel };
            (bias, slope) = (&bias[vectors..], &slope[vectors..]);
            first += vectors;
            match vectors {
                1 => self.pixels::<1, NARROW, 4>(&panel, &pixels),
                2 if VECTORS > 2 => self.pixels::<2, NARROW, 4>(&panel, &pixels),
                _ => self.pixels::<VECTORS, MANY, FEW>(&panel, &pixels),
            }
        }
    }

    /// The last pixels, when they are no whole block, are computed together with some that were there before.
    #[inline(always)]
    fn pixels<const VECTORS: usize, const MANY: usize, const FEW: usize>(
        &mut self,
        panel: &Panel<'_, S>,
        pixels: &Pixels<'_>,
    ) {
        let (width, count) = (pixels.width, pixels.width * pixels.rows.len());
        let (mut y, mut x) = (0, 0);
        for _ in 0..count / MANY {
            self.block::<VECTORS, MANY>(panel, &pixels.block(y, x));
            x += MANY;
            while x >= width {
                (y, x) = (y + 1, x - width);
            }
        }
        let from = |i: usize| (i / width, i % width);
        let rest = count % MANY;
        if rest == 0 {
            return;
        }
        if rest <= FEW && count >= FEW {
            let (y, x) = from(count - FEW);
            self.block::<VECTORS, FEW>(panel, &pixels.block(y, x));
        } else if count >= MANY {
            let (y, x) = from(count - MANY);
            self.block::<VECTORS, MANY>(panel, &pixels.block(y, x));
        } else if count >= FEW {
            let (y, x) = from(count - FEW);
            self.block::<VECTORS, FEW>(panel, &pixels.block(0, 0));
            self.block::<VECTORS, FEW>(panel, &pixels.block(y, x));
        } else {
            for i in 0..count {
                let (y, x) = from(i);
                self.block::<VECTORS, 1>(panel, &pixels.block(y, x));
            }
        }
    }

    #[inline(always)]
    fn block<const VECTORS: usize, const PIXELS: usize>(
        &mut self,
        panel: &Panel<'_, S>,
        pixels: &[PixelAt; PIXELS],
    ) {
        let simd = self.simd;
        let bias: [S::f32s; VECTORS] = std::array::from_fn(|v| panel.bias[v]);
        let mut sums = [bias; PIXELS];
        let read = self.packed.k / self.segments.len();
        for (segment, weights) in self.segments.iter().zip(panel.weights.chunks_exact(read * VECTORS)) {
            for (k, weights) in weights.chunks_exact(VECTORS).enumerate() {
                for (sum, pixel) in sums.iter_mut().zip(pixels) {
                    // SAFETY: `Packed::run` checked `pixel.input + read <= segment.len()`, and `k < read`.
                    let x = simd.splat_f32s(unsafe { *segment.get_unchecked(pixel.input + k) });
                    for (s, &w) in sum.iter_mut().zip(weights) {
                        *s = simd.mul_add_e_f32s(x, w, *s);
                    }
                }
            }
        }
        let zero = simd.splat_f32s(0.0);
        // Which activation it is costs a narrow panel more than the activation: there the question comes first. In wide
        // panels the compiler would keep the sums in memory for it.
        match (VECTORS, self.packed.activation, self.add) {
            (1, Activation::None, None) => self.store(panel, pixels, sums, |y| y),
            (1, Activation::Relu, None) => self.store(panel, pixels, sums, |y| simd.max_f32s(y, zero)),
            (_, activation, _) => self.store_any(panel, pixels, sums, activation),
        }
    }

    #[inline(always)]
    fn store<const VECTORS: usize, const PIXELS: usize>(
        &mut self,
        panel: &Panel<'_, S>,
        pixels: &[PixelAt; PIXELS],
        sums: [[S::f32s; VECTORS]; PIXELS],
        activation: impl Fn(S::f32s) -> S::f32s,
    ) {
        for (sum, pixel) in sums.into_iter().zip(pixels) {
            for (v, y) in sum.into_iter().enumerate() {
                let at = pixel.output + panel.first + v * S::F32_LANES;
                S::as_mut_simd_f32s(&mut self.output[at..][..S::F32_LANES]).0[0] = activation(y);
            }
        }
    }

    #[inline(always)]
    fn store_any<const VECTORS: usize, const PIXELS: usize>(
        &mut self,
        panel: &Panel<'_, S>,
        pixels: &[PixelAt; PIXELS],
        sums: [[S::f32s; VECTORS]; PIXELS],
        activation: Activation,
    ) {
        let simd = self.simd;
        let zero = simd.splat_f32s(0.0);
        for (sum, pixel) in sums.into_iter().zip(pixels) {
            for (v, mut y) in sum.into_iter().enumerate() {
                let channel = panel.first + v * S::F32_LANES;
                if let Some(add) = self.add {
                    y = simd.add_f32s(y, S::as_simd_f32s(&add[pixel.add + channel..][..S::F32_LANES]).0[0]);
                }
                y = match activation {
                    Activation::None => y,
                    Activation::Relu => simd.max_f32s(y, zero),
                    Activation::PRelu => {
                        simd.mul_add_e_f32s(simd.min_f32s(y, zero), panel.slope[v], simd.max_f32s(y, zero))
                    }
                };
                S::as_mut_simd_f32s(&mut self.output[pixel.output + channel..][..S::F32_LANES]).0[0] = y;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(i: usize) -> f32 {
        ((i * 2_654_435_761) % 1000) as f32 / 500.0 - 1.0
    }

    /// Everything this CPU can run, and the code for those without vectors.
    fn archs() -> Vec<Arch> {
        #[cfg(target_arch = "x86_64")]
        let avx2 = pulp::x86::V3::try_new().map(Arch::V3);
        #[cfg(not(target_arch = "x86_64"))]
        let avx2 = None;
        [Some(Arch::Scalar), avx2, Some(Arch::new())].into_iter().flatten().collect()
    }

    fn values(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| value(i * 3 + seed)).collect()
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(
            k in 1_usize..70, n in 1_usize..100, width in 1_usize..24, height in 1_usize..4, shortcut: bool,
            segments in 1_usize..4, act in 0..3,
        ) {
            let m = width * height;
            let read = k;
            let k = read * segments;
            let (weight, bias) = (values(n * k, 0), values(n, 7));
            let slope = match act { 0 => vec![1.0; n], 1 => vec![0.0; n], _ => values(n, 5) };
            let input: Vec<Vec<f32>> = (0..segments).map(|s| values(m * read, 100 + s)).collect();
            let stride = n.next_multiple_of(16);
            let add = values((m + 1) * stride, 11);
            let step = PixelAt { input: read, output: stride, add: stride };
            // Rows lie anywhere: here the last one comes first.
            let begin = |y: usize| PixelAt { add: stride, ..PixelAt::default() }.on(step, (height - 1 - y) * width);
            let begins: Vec<PixelAt> = (0..height).map(begin).collect();
            let pixels = Pixels { rows: &begins, width, step };
            let add = shortcut.then_some(add.as_slice());
            let rows: Vec<&[f32]> = input.iter().map(Vec::as_slice).collect();
            for arch in archs() {
                let mut output = vec![0.0; m * stride];
                let packed = Packed::for_arch(arch, &weight, k, n, &bias, &slope);
                packed.run(&rows, &mut output, add, pixels);
                for i in 0..m {
                    for j in 0..n {
                        let x = |t: usize| f64::from(input[t / read][i * read + t % read]);
                        let dot: f64 = (0..k).map(|t| x(t) * f64::from(weight[j * k + t])).sum();
                        let y = dot + f64::from(bias[j]) + add.map_or(0.0, |a| f64::from(a[(i + 1) * stride + j]));
                        let y = if y < 0.0 { y * f64::from(slope[j]) } else { y };
                        prop_assert!((f64::from(output[i * stride + j]) - y).abs() < 1e-4, "{arch:?}");
                    }
                }
                prop_assert_eq!(packed.unpacked(), [weight.clone(), bias.clone(), slope.clone()]);
            }
        }
    }

    /// A row of pixels from the beginning of everything.
    fn row_of(width: usize, step: PixelAt) -> Pixels<'static> {
        Pixels { rows: &[PixelAt { input: 0, output: 0, add: 0 }], width, step }
    }

    #[test]
    #[should_panic(expected = "assertion failed")]
    fn pixels_beyond_the_input_are_refused() {
        let packed = Packed::new(&[1.0; 4], 4, 1, &[0.0], &[1.0]);
        packed.run(&[&[0.0; 7]], &mut [0.0; 32], None, row_of(2, PixelAt { input: 4, ..PixelAt::default() }));
    }

    #[test]
    #[should_panic(expected = "assertion failed")]
    fn pixels_beyond_the_output_are_refused() {
        let packed = Packed::new(&[1.0; 4], 4, 1, &[0.0], &[1.0]);
        packed.run(
            &[&[0.0; 8]],
            &mut [0.0; 16],
            None,
            row_of(2, PixelAt { output: 16, ..PixelAt::default() }),
        );
    }

    #[test]
    #[should_panic(expected = "assertion failed")]
    fn pixels_beyond_what_is_added_are_refused() {
        let packed = Packed::new(&[1.0; 4], 4, 1, &[0.0], &[1.0]);
        packed.run(
            &[&[0.0; 8]],
            &mut [0.0; 16],
            Some(&[0.0; 16]),
            row_of(2, PixelAt { add: 16, ..PixelAt::default() }),
        );
    }
}
