//! Dense convolution: neighbourhoods gathered into the columns of a matrix, a band of output rows at a time so that it
//! stays in cache, and one matrix product per band. A 1×1 convolution takes its input as that matrix.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::product::{View, product};
use super::{parts, sum_rows, values, with_values};

/// Values of a band of gathered neighbourhoods: half of a usual second-level cache.
const BAND: usize = 96 * 1024;

/// Shape of a convolution with one image's sizes.
#[derive(Clone, Copy, Debug)]
struct Conv {
    cin: usize,
    cout: usize,
    kernel: usize,
    stride: usize,
    pad: usize,
    /// Height and width of the input.
    from: (usize, usize),
    /// Height and width of the output.
    to: (usize, usize),
}

impl Conv {
    /// Rows of the matrix of neighbourhoods.
    fn k(&self) -> usize {
        self.cin * self.kernel * self.kernel
    }

    fn input(&self) -> usize {
        self.cin * self.from.0 * self.from.1
    }

    fn pixels(&self) -> usize {
        self.to.0 * self.to.1
    }

    fn output(&self) -> usize {
        self.cout * self.pixels()
    }

    /// Whether the input is the matrix already.
    fn pointwise(&self) -> bool {
        (self.kernel, self.stride, self.pad) == (1, 1, 0)
    }

    /// Bands of output rows.
    fn bands(&self) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let (height, rows) = (self.to.0, (BAND / (self.k() * self.to.1)).clamp(1, self.to.0));
        (0..height).step_by(rows).map(move |y| y..(y + rows).min(height))
    }

    /// For each row of the matrix and each output row of the band: `(place in the matrix, input row or None outside,
    /// first output column inside, columns inside, first input column)`.
    fn stretches(
        &self,
        band: std::ops::Range<usize>,
        mut each: impl FnMut(usize, Option<(usize, usize, usize, usize)>),
    ) {
        let (h, w) = self.from;
        let width = self.to.1;
        let mut place = 0;
        for c in 0..self.cin {
            for ky in 0..self.kernel {
                for kx in 0..self.kernel {
                    // Output columns whose input column x·stride + kx − pad lies in 0..w.
                    let first = self.pad.saturating_sub(kx).div_ceil(self.stride);
                    let end = (w + self.pad).saturating_sub(kx).div_ceil(self.stride).min(width);
                    for y in band.clone() {
                        let iy = (y * self.stride + ky).wrapping_sub(self.pad);
                        let inside = iy < h && first < end;
                        let input = || (c * h + iy) * w + first * self.stride + kx - self.pad;
                        each(place, inside.then(|| (first, end - first, input(), width)));
                        place += width;
                    }
                }
            }
        }
    }

    /// Gathers a band's neighbourhoods: `k × (rows · width)`.
    fn gather(&self, input: &[f32], band: std::ops::Range<usize>, columns: &mut [f32]) {
        let width = self.to.1;
        self.stretches(band, |place, inside| {
            let to = &mut columns[place..place + width];
            let Some((first, count, from, _)) = inside else {
                to.fill(0.0);
                return;
            };
            to[..first].fill(0.0);
            to[first + count..].fill(0.0);
            let to = &mut to[first..first + count];
            if self.stride == 1 {
                to.copy_from_slice(&input[from..from + count]);
            } else {
                to.iter_mut().zip(input[from..].iter().step_by(self.stride)).for_each(|(t, v)| *t = *v);
            }
        });
    }

    /// Adds a band's gradients of neighbourhoods to where they were gathered from.
    fn scatter(&self, columns: &[f32], band: std::ops::Range<usize>, input: &mut [f32]) {
        self.stretches(band, |place, inside| {
            let Some((first, count, to, _)) = inside else { return };
            let from = &columns[place + first..][..count];
            if self.stride == 1 {
                input[to..to + count].iter_mut().zip(from).for_each(|(t, v)| *t += v);
            } else {
                input[to..].iter_mut().step_by(self.stride).zip(from).for_each(|(t, v)| *t += v);
            }
        });
    }

    fn forward(&self, input: &[f32], weight: &[f32], output: &mut [f32], scratch: &mut Vec<f32>) {
        let (k, pixels, width) = (self.k(), self.pixels(), self.to.1);
        let weight = View::rows(weight, k);
        if self.pointwise() {
            product((self.cout, pixels, k), weight, View::rows(input, pixels), output, pixels, false);
            return;
        }
        for band in self.bands() {
            let n = band.len() * width;
            scratch.resize(k * n, 0.0);
            self.gather(input, band.clone(), scratch);
            let to = &mut output[band.start * width..];
            product((self.cout, n, k), weight, View::rows(scratch, n), to, pixels, false);
        }
    }

    /// Adds to the gradient of the weights.
    fn weight_gradient(&self, input: &[f32], grad: &[f32], to: &mut [f32], scratch: &mut Vec<f32>) {
        let (k, pixels, width) = (self.k(), self.pixels(), self.to.1);
        if self.pointwise() {
            let input = View::rows(input, pixels).turned();
            product((self.cout, k, pixels), View::rows(grad, pixels), input, to, k, true);
            return;
        }
        for band in self.bands() {
            let n = band.len() * width;
            scratch.resize(k * n, 0.0);
            self.gather(input, band.clone(), scratch);
            let grad = View::rows(&grad[band.start * width..], pixels);
            product((self.cout, k, n), grad, View::rows(scratch, n).turned(), to, k, true);
        }
    }

    /// Sets the gradient of the input; `to` holds zeros.
    fn input_gradient(&self, weight: &[f32], grad: &[f32], to: &mut [f32], scratch: &mut Vec<f32>) {
        let (k, pixels, width) = (self.k(), self.pixels(), self.to.1);
        let weight = View::rows(weight, k).turned();
        if self.pointwise() {
            product((k, pixels, self.cout), weight, View::rows(grad, pixels), to, pixels, false);
            return;
        }
        for band in self.bands() {
            let n = band.len() * width;
            scratch.resize(k * n, 0.0);
            let grad = View::rows(&grad[band.start * width..], pixels);
            product((k, n, self.cout), weight, grad, scratch, n, false);
            self.scatter(scratch, band, to);
        }
    }
}

/// The operation, without a bias.
struct ConvOp(Conv);

impl CustomOp2 for ConvOp {
    fn name(&self) -> &'static str {
        "accessd-conv2d"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let conv = self.0;
        let (input, weight) = (values(s1, l1)?, values(s2, l2)?);
        let n = input.len() / conv.input();
        let mut output = vec![0.0; n * conv.output()];
        output
            .par_chunks_mut(conv.output())
            .zip(input.par_chunks(conv.input()))
            .for_each_init(Vec::new, |scratch, (to, from)| conv.forward(from, weight, to, scratch));
        Ok((CpuStorage::F32(output), Shape::from((n, conv.cout, conv.to.0, conv.to.1))))
    }

    fn bwd(
        &self,
        xs: &Tensor,
        ws: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let conv = self.0;
        with_values([xs, ws, grad], |[input, weight, grad]| {
            let images = input.len() / conv.input();
            let one = |i: usize| {
                (&input[i * conv.input()..][..conv.input()], &grad[i * conv.output()..][..conv.output()])
            };
            let rows = parts(images).into_par_iter().map(|part| {
                let (mut sum, mut scratch) = (vec![0.0; conv.cout * conv.k()], Vec::new());
                for i in part {
                    let (input, grad) = one(i);
                    conv.weight_gradient(input, grad, &mut sum, &mut scratch);
                }
                sum
            });
            let dw = Tensor::from_vec(sum_rows(rows.collect()), ws.dims(), ws.device())?;
            // Pictures need no gradient: nothing before the first layer learns.
            if !xs.track_op() {
                return Ok((None, Some(dw)));
            }
            let mut dx = vec![0.0; input.len()];
            dx.par_chunks_mut(conv.input())
                .zip(grad.par_chunks(conv.output()))
                .for_each_init(Vec::new, |scratch, (to, grad)| {
                    conv.input_gradient(weight, grad, to, scratch)
                });
            Ok((Some(Tensor::from_vec(dx, xs.dims(), xs.device())?), Some(dw)))
        })
    }
}

/// `[n, cin, h, w]` → `[n, cout, h', w']` with weights `[cout, cin, k, k]`, on the CPU.
///
/// # Errors
/// When the shapes do not fit.
pub fn conv2d(xs: &Tensor, weight: &Tensor, stride: usize, pad: usize) -> Result<Tensor> {
    let (_, cin, h, w) = xs.dims4()?;
    let (cout, of, kernel, _) = weight.dims4()?;
    if cin != of || h + 2 * pad < kernel || w + 2 * pad < kernel {
        candle_core::bail!("a convolution with weights {:?} does not take {:?}", weight.dims(), xs.dims());
    }
    let side = |v: usize| (v + 2 * pad - kernel) / stride + 1;
    let conv = Conv { cin, cout, kernel, stride, pad, from: (h, w), to: (side(h), side(w)) };
    xs.contiguous()?.apply_op2(&weight.contiguous()?, ConvOp(conv))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{same, var};
    use super::*;

    #[test]
    fn agrees_with_candle_in_values_and_gradients() {
        for (cin, cout, kernel, stride, pad, side) in [
            (3, 8, 3, 1, 1, 9),
            (4, 5, 3, 2, 1, 10),
            (4, 6, 3, 2, 1, 7),
            (6, 4, 1, 1, 0, 5),
            (2, 3, 5, 1, 0, 8),
        ] {
            let (x, w) = (var(&[3, cin, side, side + 2], 1), var(&[cout, cin, kernel, kernel], 2));
            same(&[&x, &w], || conv2d(&x, &w, stride, pad), || x.conv2d(&w, pad, stride, 1, 1));
        }
    }

    #[test]
    fn many_bands_make_one_image() {
        let (x, w) = (var(&[1, 32, 40, 40], 1), var(&[4, 32, 3, 3], 2));
        assert!(
            Conv { cin: 32, cout: 4, kernel: 3, stride: 1, pad: 1, from: (40, 40), to: (40, 40) }
                .bands()
                .count()
                > 3
        );
        same(&[&x, &w], || conv2d(&x, &w, 1, 1), || x.conv2d(&w, 1, 1, 1, 1));
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let error = conv2d(&var(&[1, 3, 4, 4], 1), &var(&[2, 4, 3, 3], 1), 1, 1).unwrap_err();
        assert!(error.to_string().contains("does not take [1, 3, 4, 4]"), "{error}");
    }
}
