//! Batch norm and the activation after it as one operation: two passes forward, two back, and nothing kept but the
//! input (Ioffe and Szegedy, "Batch Normalization", 2015; PReLU: He et al., "Delving Deep into Rectifiers", 2015).

use std::sync::{Arc, Mutex};

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{values, with_values};

/// Mean and variance of each channel over a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchStats {
    /// Means.
    pub mean: Vec<f32>,
    /// Biased variances, as the batch is normalised with.
    pub var: Vec<f32>,
    /// Values a channel had.
    pub count: usize,
}

/// What a batch is normalised with.
#[derive(Clone, Debug)]
pub enum Statistics {
    /// Its own mean and variance, which are left in the slot.
    Batch(Arc<Mutex<BatchStats>>),
    /// Given ones, which no gradient goes through.
    Fixed(BatchStats),
}

struct NormAct {
    channels: usize,
    plane: usize,
    eps: f32,
    statistics: Statistics,
}

/// What one channel needs: `y = act(a·x + b)`.
#[derive(Clone, Copy)]
struct Channel {
    mean: f32,
    /// 1 / standard deviation.
    inverse: f32,
    gamma: f32,
    beta: f32,
    slope: f32,
}

impl Channel {
    fn line(&self) -> (f32, f32) {
        let a = self.gamma * self.inverse;
        (a, self.beta - self.mean * a)
    }
}

fn activate(z: f32, slope: f32) -> f32 {
    z.max(0.0) + slope * z.min(0.0)
}

/// Sum and sum of squares in lanes.
fn moments(plane: &[f32]) -> (f64, f64) {
    let (mut sums, mut squares) = ([0.0_f32; 16], [0.0_f32; 16]);
    let (chunks, rest) = plane.as_chunks::<16>();
    for chunk in chunks {
        for (v, (s, q)) in chunk.iter().zip(sums.iter_mut().zip(&mut squares)) {
            *s += v;
            *q += v * v;
        }
    }
    let wide = |lanes: [f32; 16]| lanes.iter().map(|&v| f64::from(v)).sum::<f64>();
    let tail: f64 = rest.iter().map(|&v| f64::from(v)).sum();
    let tail_squares: f64 = rest.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
    (wide(sums) + tail, wide(squares) + tail_squares)
}

impl NormAct {
    fn planes_of<'a>(&self, values: &'a [f32], channel: usize) -> impl Iterator<Item = &'a [f32]> {
        let plane = self.plane;
        values.chunks_exact(self.channels * plane).map(move |image| &image[channel * plane..][..plane])
    }

    fn measure(&self, input: &[f32]) -> BatchStats {
        let count = input.len() / self.channels;
        let of = |channel: usize| {
            let (sum, square) = self
                .planes_of(input, channel)
                .map(moments)
                .fold((0.0, 0.0), |(s, q), (ds, dq)| (s + ds, q + dq));
            let mean = sum / count as f64;
            (mean as f32, (square / count as f64 - mean * mean).max(0.0) as f32)
        };
        let (mean, var) = (0..self.channels).into_par_iter().map(of).unzip();
        BatchStats { mean, var, count }
    }

    fn channels(&self, stats: &BatchStats, params: &[f32]) -> Vec<Channel> {
        let c = self.channels;
        let of = |i: usize| Channel {
            mean: stats.mean[i],
            inverse: 1.0 / (stats.var[i] + self.eps).sqrt(),
            gamma: params[i],
            beta: params[c + i],
            slope: params[2 * c + i],
        };
        (0..c).map(of).collect()
    }

    fn used(&self) -> BatchStats {
        match &self.statistics {
            Statistics::Batch(slot) => slot.lock().expect("nothing panics while it holds the slot").clone(),
            Statistics::Fixed(stats) => stats.clone(),
        }
    }

    /// Σ dz, Σ dz·x̂ and Σ min(z, 0)·dy of one channel.
    fn sums(&self, channel: Channel, index: usize, input: &[f32], grad: &[f32]) -> [f32; 3] {
        let (a, b) = channel.line();
        let mut total = [0.0_f64; 3];
        for (xs, gs) in self.planes_of(input, index).zip(self.planes_of(grad, index)) {
            let mut lanes = [[0.0_f32; 16]; 3];
            let mut add = |lane: usize, x: f32, g: f32| {
                let z = a * x + b;
                let dz = if z > 0.0 { g } else { g * channel.slope };
                lanes[0][lane] += dz;
                lanes[1][lane] += dz * (x - channel.mean) * channel.inverse;
                lanes[2][lane] += z.min(0.0) * g;
            };
            let ((xc, xr), (gc, gr)) = (xs.as_chunks::<16>(), gs.as_chunks::<16>());
            for (xs, gs) in xc.iter().zip(gc) {
                for (lane, (&x, &g)) in xs.iter().zip(gs).enumerate() {
                    add(lane, x, g);
                }
            }
            for (lane, (&x, &g)) in xr.iter().zip(gr).enumerate() {
                add(lane, x, g);
            }
            for (t, l) in total.iter_mut().zip(lanes) {
                *t += l.iter().map(|&v| f64::from(v)).sum::<f64>();
            }
        }
        total.map(|t| t as f32)
    }
}

impl CustomOp2 for NormAct {
    fn name(&self) -> &'static str {
        "accessd-norm-act"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (input, params) = (values(s1, l1)?, values(s2, l2)?);
        if let Statistics::Batch(slot) = &self.statistics {
            *slot.lock().expect("nothing panics while it holds the slot") = self.measure(input);
        }
        let channels = self.channels(&self.used(), params);
        let mut output = vec![0.0; input.len()];
        output.par_chunks_mut(self.plane).zip(input.par_chunks(self.plane)).enumerate().for_each(
            |(i, (to, from))| {
                let channel = channels[i % self.channels];
                let (a, b) = channel.line();
                to.iter_mut().zip(from).for_each(|(t, x)| *t = activate(a * x + b, channel.slope));
            },
        );
        Ok((CpuStorage::F32(output), l1.shape().clone()))
    }

    fn bwd(
        &self,
        xs: &Tensor,
        ps: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        with_values([xs, ps, grad], |[input, params, grad]| {
            let stats = self.used();
            let channels = self.channels(&stats, params);
            let sum = |i: usize| self.sums(channels[i], i, input, grad);
            let sums: Vec<[f32; 3]> = (0..self.channels).into_par_iter().map(sum).collect();
            let dp: Vec<f32> = [1, 0, 2].iter().flat_map(|s| sums.iter().map(|of| of[*s])).collect();
            let through = match self.statistics {
                Statistics::Batch(_) => 1.0 / (input.len() / self.channels) as f32,
                Statistics::Fixed(_) => 0.0,
            };
            let mut dx = vec![0.0; input.len()];
            let planes = dx
                .par_chunks_mut(self.plane)
                .zip(input.par_chunks(self.plane))
                .zip(grad.par_chunks(self.plane));
            planes.enumerate().for_each(|(i, ((to, xs), gs))| {
                let (channel, [s1, s2, _]) = (channels[i % self.channels], sums[i % self.channels]);
                let (a, b) = channel.line();
                let (m1, m2) = (s1 * through, s2 * through * channel.inverse);
                for (t, (&x, &g)) in to.iter_mut().zip(xs.iter().zip(gs)) {
                    let z = a * x + b;
                    let dz = if z > 0.0 { g } else { g * channel.slope };
                    *t = a * (dz - m1 - (x - channel.mean) * m2);
                }
            });
            let dp = Tensor::from_vec(dp, ps.dims(), ps.device())?;
            Ok((Some(Tensor::from_vec(dx, xs.dims(), xs.device())?), Some(dp)))
        })
    }
}

/// Normalises `[n, c, …]` per channel and applies `max(z, 0) + slope · min(z, 0)`; `params` is `[3, c]`: scale, shift
/// and slope (1 does nothing, 0 is a ReLU). On the CPU.
///
/// # Errors
/// When the shapes do not fit.
pub fn norm_act(xs: &Tensor, params: &Tensor, eps: f64, statistics: Statistics) -> Result<Tensor> {
    let channels = xs.dim(1)?;
    let known = match &statistics {
        Statistics::Batch(_) => channels,
        Statistics::Fixed(stats) => stats.mean.len().min(stats.var.len()),
    };
    if params.dims() != [3, channels] || known != channels || xs.elem_count() == 0 {
        candle_core::bail!("a norm with parameters {:?} does not take {:?}", params.dims(), xs.dims());
    }
    let plane = xs.dims()[2..].iter().product();
    let op = NormAct { channels, plane, eps: eps as f32, statistics };
    xs.contiguous()?.apply_op2(&params.contiguous()?, op)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use candle_nn::{BatchNorm, BatchNormConfig, Module, ModuleT, PReLU, VarBuilder};

    use super::super::testing::{same, var};
    use super::*;

    fn theirs(x: &Tensor, p: &Tensor, train: bool) -> Result<Tensor> {
        let tensors = [
            ("weight", p.get(0)?),
            ("bias", p.get(1)?),
            ("running_mean", Tensor::new(&[0.1_f32, -0.2, 0.3], &Device::Cpu)?),
            ("running_var", Tensor::new(&[0.5_f32, 1.5, 0.8], &Device::Cpu)?),
        ];
        let tensors = tensors.map(|(n, t)| (n.to_owned(), t)).into();
        let vb = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        let bn: BatchNorm = candle_nn::batch_norm(3, BatchNormConfig::default(), vb)?;
        PReLU::new(p.get(2)?, false).forward(&bn.forward_t(x, train)?)
    }

    #[test]
    fn agrees_with_candle_in_values_and_gradients() {
        for shape in [vec![4, 3, 5, 7], vec![9, 3, 1, 1]] {
            let (x, p) = (var(&shape, 1), var(&[3, 3], 3));
            let slot = Arc::new(Mutex::new(BatchStats::default()));
            let ours = || norm_act(&x, &p, 1e-5, Statistics::Batch(slot.clone()));
            same(&[&x, &p], ours, || theirs(&x, &p, true));
            let fixed = BatchStats { mean: vec![0.1, -0.2, 0.3], var: vec![0.5, 1.5, 0.8], count: 1 };
            let ours = || norm_act(&x, &p, 1e-5, Statistics::Fixed(fixed.clone()));
            same(&[&x, &p], ours, || theirs(&x, &p, false));
        }
    }

    #[test]
    fn the_batchs_statistics_are_told() {
        let x = Tensor::new(&[[[1.0_f32, 3.0]], [[5.0, 7.0]]], &Device::Cpu).unwrap();
        let p = Tensor::new(&[[1.0_f32], [0.0], [1.0]], &Device::Cpu).unwrap();
        let slot = Arc::new(Mutex::new(BatchStats::default()));
        norm_act(&x, &p, 0.0, Statistics::Batch(slot.clone())).unwrap();
        assert_eq!(*slot.lock().unwrap(), BatchStats { mean: vec![4.0], var: vec![5.0], count: 4 });
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let slot = Statistics::Batch(Arc::default());
        let error = norm_act(&var(&[2, 3, 4], 1), &var(&[3, 4], 1), 1e-5, slot).unwrap_err();
        assert!(error.to_string().contains("does not take [2, 3, 4]"), "{error}");
    }
}
