//! Matrix product for 1×1 convolutions: rows are pixels, columns are output channels; bias, shortcut and activation
//! are applied while the sums are still in registers.

use pulp::{Arch, Simd, WithSimd};

use super::buffer::Buffer;

/// Vectors of output channels a kernel computes at once.
const VECTORS: usize = 2;

/// The `k × n` weights of a 1×1 convolution with bias and slopes, cut into panels as wide as the kernel of this CPU.
#[derive(Clone, Debug)]
pub struct Packed {
    /// Input channels.
    pub k: usize,
    /// Output channels.
    pub n: usize,
    panels: Buffer,
    bias: Buffer,
    slope: Buffer,
    arch: Arch,
    lanes: usize,
}

/// Values in a vector of this CPU.
fn lanes(arch: Arch) -> usize {
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

impl Packed {
    /// Packs `weight` (`n × k`, row-major). After the sum comes `max(x, 0) + slope · min(x, 0)`: slopes of 1 do
    /// nothing, of 0 are a ReLU.
    pub fn new(weight: &[f32], k: usize, n: usize, bias: &[f32], slope: &[f32]) -> Self {
        let arch = Arch::new();
        let lanes = lanes(arch);
        let width = VECTORS * lanes;
        let count = n.div_ceil(width);
        let mut panels = Buffer::new(count * k * width);
        let to = panels.values_mut();
        for (column, row) in weight.chunks_exact(k).enumerate() {
            let (panel, at) = (column / width, column % width);
            for (i, &w) in row.iter().enumerate() {
                to[(panel * k + i) * width + at] = w;
            }
        }
        let padded = |values: &[f32]| {
            let mut buffer = Buffer::new(count * width);
            buffer.values_mut()[..n].copy_from_slice(values);
            buffer
        };
        Self { k, n, panels, bias: padded(bias), slope: padded(slope), arch, lanes }
    }

    /// Computes one output row for each entry of `rows`.
    ///
    /// `input` holds the input rows, `output` takes the output rows, `add` is added before the activation; the
    /// offsets in `rows` say where each begins. Output channels are written up to the next multiple of a vector.
    pub fn run(&self, input: &[f32], output: &mut [f32], add: Option<&[f32]>, rows: &[RowAt]) {
        // Every address the kernel touches is checked here, once a call.
        let written = self.n.next_multiple_of(self.lanes);
        for row in rows {
            assert!(row.input + self.k <= input.len() && row.output + written <= output.len());
            assert!(add.is_none_or(|a| row.output + written <= a.len()));
        }
        self.arch.dispatch(Product { packed: self, input, output, add, rows });
    }
}

/// Where a row of the product begins in the input and in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowAt {
    /// In the input.
    pub input: usize,
    /// In the output and in what is added.
    pub output: usize,
}

struct Product<'a> {
    packed: &'a Packed,
    input: &'a [f32],
    output: &'a mut [f32],
    add: Option<&'a [f32]>,
    rows: &'a [RowAt],
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Product { packed, input, output, add, rows } = self;
        let width = VECTORS * S::F32_LANES;
        let (panels, _) = S::as_simd_f32s(packed.panels.values());
        let (bias, _) = S::as_simd_f32s(packed.bias.values());
        let (slope, _) = S::as_simd_f32s(packed.slope.values());
        for (p, panel) in panels.chunks_exact(packed.k * VECTORS).take(packed.n.div_ceil(width)).enumerate() {
            let mut part = Panel {
                simd,
                weights: panel,
                bias: &bias[p * VECTORS..][..VECTORS],
                slope: &slope[p * VECTORS..][..VECTORS],
                first: p * width,
                n: packed.n,
                input,
                output,
                add,
            };
            // As many rows at once as the accumulators of this CPU's registers allow.
            match S::F32_LANES {
                16 => part.all::<14>(rows),
                4 => part.all::<8>(rows),
                _ => part.all::<6>(rows),
            }
        }
    }
}

/// One panel of output channels for all rows.
struct Panel<'a, S: Simd> {
    simd: S,
    weights: &'a [S::f32s],
    bias: &'a [S::f32s],
    slope: &'a [S::f32s],
    /// First output channel of the panel.
    first: usize,
    n: usize,
    input: &'a [f32],
    output: &'a mut [f32],
    add: Option<&'a [f32]>,
}

impl<S: Simd> Panel<'_, S> {
    #[inline(always)]
    fn all<const ROWS: usize>(&mut self, rows: &[RowAt]) {
        let (blocks, rest) = rows.as_chunks::<ROWS>();
        for block in blocks {
            self.block(block);
        }
        let (sevens, rest) = rest.as_chunks::<7>();
        for block in sevens {
            self.block(block);
        }
        let (threes, rest) = rest.as_chunks::<3>();
        for block in threes {
            self.block(block);
        }
        for row in rest {
            self.block(&[*row]);
        }
    }

    #[inline(always)]
    fn block<const ROWS: usize>(&mut self, rows: &[RowAt; ROWS]) {
        let simd = self.simd;
        let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
        for (k, weights) in self.weights.chunks_exact(VECTORS).enumerate() {
            for (sum, row) in sums.iter_mut().zip(rows) {
                // SAFETY: `Packed::run` checked `row.input + k_max <= input.len()`, and k < k_max, the number of
                // weight rows of a panel.
                let x = simd.splat_f32s(unsafe { *self.input.get_unchecked(row.input + k) });
                for (s, &w) in sum.iter_mut().zip(weights) {
                    *s = simd.mul_add_e_f32s(x, w, *s);
                }
            }
        }
        let zero = simd.splat_f32s(0.0);
        for (sum, row) in sums.into_iter().zip(rows) {
            for (v, s) in sum.into_iter().enumerate() {
                let channel = self.first + v * S::F32_LANES;
                if channel >= self.n {
                    break;
                }
                let at = row.output + channel;
                let mut y = simd.add_f32s(s, self.bias[v]);
                if let Some(add) = self.add {
                    y = simd.add_f32s(y, S::as_simd_f32s(&add[at..][..S::F32_LANES]).0[0]);
                }
                let y = simd.mul_add_e_f32s(simd.min_f32s(y, zero), self.slope[v], simd.max_f32s(y, zero));
                S::as_mut_simd_f32s(&mut self.output[at..][..S::F32_LANES]).0[0] = y;
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

    proptest! {
        #[test]
        fn agrees_with_the_definition(k in 1_usize..70, n in 1_usize..70, m in 1_usize..40, shortcut: bool) {
            let weight: Vec<f32> = (0..n * k).map(value).collect();
            let bias: Vec<f32> = (0..n).map(|i| value(i + 7)).collect();
            let slope: Vec<f32> = (0..n).map(|i| value(i + 3)).collect();
            let input: Vec<f32> = (0..m * k).map(|i| value(i * 3 + 1)).collect();
            let stride = n.next_multiple_of(16);
            let add: Vec<f32> = (0..m * stride).map(|i| value(i + 11)).collect();
            let rows: Vec<RowAt> = (0..m).map(|i| RowAt { input: i * k, output: i * stride }).collect();
            let mut output = vec![0.0; m * stride];
            let add = shortcut.then_some(add.as_slice());
            Packed::new(&weight, k, n, &bias, &slope).run(&input, &mut output, add, &rows);
            for i in 0..m {
                for j in 0..n {
                    let dot: f64 = (0..k).map(|t| f64::from(input[i * k + t]) * f64::from(weight[j * k + t])).sum();
                    let y = dot + f64::from(bias[j]) + add.map_or(0.0, |a| f64::from(a[i * stride + j]));
                    let y = if y < 0.0 { y * f64::from(slope[j]) } else { y };
                    prop_assert!((f64::from(output[i * stride + j]) - y).abs() < 1e-4);
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "assertion failed")]
    fn rows_beyond_the_input_are_refused() {
        let packed = Packed::new(&[1.0; 4], 4, 1, &[0.0], &[1.0]);
        packed.run(&[0.0; 7], &mut [0.0; 32], None, &[RowAt { input: 4, output: 0 }]);
    }

    #[test]
    #[should_panic(expected = "assertion failed")]
    fn rows_beyond_the_output_are_refused() {
        let packed = Packed::new(&[1.0; 4], 4, 1, &[0.0], &[1.0]);
        packed.run(&[0.0; 8], &mut [0.0; 16], None, &[RowAt { input: 0, output: 16 }]);
    }
}
