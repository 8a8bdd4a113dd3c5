//! Depthwise convolution, one filter per channel: plane by plane, on a copy with its rim of zeros.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{parts, sum_rows, values, with_values};

#[derive(Clone, Copy, Debug)]
struct Depthwise {
    channels: usize,
    kernel: usize,
    stride: usize,
    pad: usize,
    from: (usize, usize),
    to: (usize, usize),
}

impl Depthwise {
    fn input(&self) -> usize {
        self.from.0 * self.from.1
    }

    fn output(&self) -> usize {
        self.to.0 * self.to.1
    }

    fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Width of the copy with its rim.
    fn row(&self) -> usize {
        self.from.1 + 2 * self.pad
    }

    fn pad(&self, plane: &[f32], padded: &mut Vec<f32>) {
        let row = self.row();
        padded.clear();
        padded.resize((self.from.0 + 2 * self.pad) * row, 0.0);
        for (y, line) in plane.chunks_exact(self.from.1).enumerate() {
            padded[(y + self.pad) * row + self.pad..][..line.len()].copy_from_slice(line);
        }
    }

    /// Where in the copy the input of tap `(ky, kx)` for output row `y` begins.
    fn begin(&self, y: usize, ky: usize, kx: usize) -> usize {
        (y * self.stride + ky) * self.row() + kx
    }

    fn forward(&self, padded: &[f32], weight: &[f32], to: &mut [f32]) {
        for (y, line) in to.chunks_exact_mut(self.to.1).enumerate() {
            for (tap, w) in weight.iter().enumerate() {
                let from = &padded[self.begin(y, tap / self.kernel, tap % self.kernel)..];
                if self.stride == 1 {
                    line.iter_mut().zip(from).for_each(|(o, v)| *o += w * v);
                } else {
                    line.iter_mut().zip(from.iter().step_by(self.stride)).for_each(|(o, v)| *o += w * v);
                }
            }
        }
    }

    /// The gradient of the copy with its rim.
    fn input_gradient(&self, weight: &[f32], grad: &[f32], padded: &mut Vec<f32>) {
        padded.clear();
        padded.resize((self.from.0 + 2 * self.pad) * self.row(), 0.0);
        for (y, line) in grad.chunks_exact(self.to.1).enumerate() {
            for (tap, w) in weight.iter().enumerate() {
                let to = &mut padded[self.begin(y, tap / self.kernel, tap % self.kernel)..];
                if self.stride == 1 {
                    to.iter_mut().zip(line).for_each(|(t, g)| *t += w * g);
                } else {
                    to.iter_mut().step_by(self.stride).zip(line).for_each(|(t, g)| *t += w * g);
                }
            }
        }
    }

    fn weight_gradient(&self, padded: &[f32], grad: &[f32], to: &mut [f32]) {
        for (y, line) in grad.chunks_exact(self.to.1).enumerate() {
            for (tap, sum) in to.iter_mut().enumerate() {
                let from = &padded[self.begin(y, tap / self.kernel, tap % self.kernel)..];
                *sum += if self.stride == 1 {
                    dot(line, &from[..line.len()])
                } else {
                    line.iter().zip(from.iter().step_by(self.stride)).map(|(g, v)| g * v).sum()
                };
            }
        }
    }
}

/// A dot product in lanes, which the compiler turns into vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 16];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    for (a, b) in a.iter().zip(b) {
        lanes.iter_mut().zip(a.iter().zip(b)).for_each(|(l, (x, y))| *l += x * y);
    }
    lanes.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum::<f32>()
}

struct DepthwiseOp(Depthwise);

impl CustomOp2 for DepthwiseOp {
    fn name(&self) -> &'static str {
        "accessd-depthwise2d"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let d = self.0;
        let (input, weight) = (values(s1, l1)?, values(s2, l2)?);
        let planes = input.len() / d.input();
        let mut output = vec![0.0; planes * d.output()];
        output.par_chunks_mut(d.output()).zip(input.par_chunks(d.input())).enumerate().for_each_init(
            Vec::new,
            |padded, (plane, (to, from))| {
                d.pad(from, padded);
                d.forward(padded, &weight[plane % d.channels * d.taps()..][..d.taps()], to);
            },
        );
        Ok((CpuStorage::F32(output), Shape::from((planes / d.channels, d.channels, d.to.0, d.to.1))))
    }

    fn bwd(
        &self,
        xs: &Tensor,
        ws: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let d = self.0;
        with_values([xs, ws, grad], |[input, weight, grad]| {
            let images = input.len() / (d.input() * d.channels);
            let rows = parts(images).into_par_iter().map(|part| {
                let (mut sum, mut padded) = (vec![0.0; d.channels * d.taps()], Vec::new());
                for plane in part.start * d.channels..part.end * d.channels {
                    d.pad(&input[plane * d.input()..][..d.input()], &mut padded);
                    let to = &mut sum[plane % d.channels * d.taps()..][..d.taps()];
                    d.weight_gradient(&padded, &grad[plane * d.output()..][..d.output()], to);
                }
                sum
            });
            let dw = Tensor::from_vec(sum_rows(rows.collect()), ws.dims(), ws.device())?;
            let mut dx = vec![0.0; input.len()];
            dx.par_chunks_mut(d.input()).zip(grad.par_chunks(d.output())).enumerate().for_each_init(
                Vec::new,
                |padded, (plane, (to, grad))| {
                    d.input_gradient(&weight[plane % d.channels * d.taps()..][..d.taps()], grad, padded);
                    for (y, line) in to.chunks_exact_mut(d.from.1).enumerate() {
                        line.copy_from_slice(&padded[(y + d.pad) * d.row() + d.pad..][..d.from.1]);
                    }
                },
            );
            Ok((Some(Tensor::from_vec(dx, xs.dims(), xs.device())?), Some(dw)))
        })
    }
}

/// `[n, c, h, w]` → `[n, c, h', w']` with weights `[c, 1, k, k]`, on the CPU.
///
/// # Errors
/// When the shapes do not fit.
pub fn depthwise2d(xs: &Tensor, weight: &Tensor, stride: usize, pad: usize) -> Result<Tensor> {
    let (_, channels, h, w) = xs.dims4()?;
    let (cout, one, kernel, _) = weight.dims4()?;
    if (cout, one) != (channels, 1) || h + 2 * pad < kernel || w + 2 * pad < kernel {
        candle_core::bail!(
            "a depthwise convolution with weights {:?} does not take {:?}",
            weight.dims(),
            xs.dims()
        );
    }
    let side = |v: usize| (v + 2 * pad - kernel) / stride + 1;
    let op = Depthwise { channels, kernel, stride, pad, from: (h, w), to: (side(h), side(w)) };
    xs.contiguous()?.apply_op2(&weight.contiguous()?, DepthwiseOp(op))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{same, var};
    use super::*;

    #[test]
    fn agrees_with_candle_in_values_and_gradients() {
        for (kernel, stride, pad, side) in
            [(3, 1, 1, 9), (3, 2, 1, 10), (3, 2, 1, 7), (7, 1, 0, 7), (3, 1, 1, 20)]
        {
            let (x, w) = (var(&[2, 5, side, side], 1), var(&[5, 1, kernel, kernel], 2));
            same(&[&x, &w], || depthwise2d(&x, &w, stride, pad), || x.conv2d(&w, pad, stride, 1, 5));
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let error = depthwise2d(&var(&[1, 3, 4, 4], 1), &var(&[4, 1, 3, 3], 1), 1, 1).unwrap_err();
        assert!(error.to_string().contains("does not take [1, 3, 4, 4]"), "{error}");
    }
}
