//! Layers that read a whole map for each value they make: depthwise convolution over all of it, and
//! squeeze-and-excitation.

use pulp::Arch;

use super::buffer::Map;
use super::fold::Folded;

/// A depthwise convolution over a whole map: each channel becomes one value.
#[derive(Clone, Debug)]
pub struct Global {
    /// Taps × channels.
    weight: Vec<f32>,
    bias: Vec<f32>,
    arch: Arch,
}

impl Global {
    /// Takes `weight` as `channels × taps`.
    pub fn new(weight: &[f32], bias: &[f32]) -> Self {
        let channels = bias.len();
        let taps = weight.len() / channels.max(1);
        let weight = (0..weight.len()).map(|i| weight[i % channels * taps + i / channels]).collect();
        Self { weight, bias: bias.to_vec(), arch: Arch::new() }
    }

    /// Taps × channels, and a bias for each channel.
    pub fn unpacked(&self) -> [&[f32]; 2] {
        [&self.weight, &self.bias]
    }

    /// The one pixel of the result.
    pub fn run(&self, from: &Map, out: &mut [f32]) {
        assert_eq!(self.weight.len(), from.width * from.height * out.len());
        out.copy_from_slice(&self.bias);
        self.arch.dispatch(|| {
            for (tap, weights) in self.weight.chunks_exact(out.len()).enumerate() {
                let pixel = from.pixel_at(tap % from.width, tap / from.width);
                for ((o, v), w) in out.iter_mut().zip(pixel).zip(weights) {
                    *o += v * w;
                }
            }
        });
    }
}

/// Squeeze-and-excitation (Hu et al., "Squeeze-and-Excitation Networks", 2018): the mean of each channel over the map
/// goes through two small layers and a sigmoid and says how much of the channel is let through.
#[derive(Clone, Debug)]
pub struct Gate {
    /// Channels × squeezed, and bias, of the layer before the ReLU.
    down: [Vec<f32>; 2],
    /// Squeezed × channels, and bias, of the layer before the sigmoid.
    up: [Vec<f32>; 2],
    arch: Arch,
}

/// Rows of `inputs` turned into rows of outputs.
fn turned(weight: &[f32], inputs: usize) -> Vec<f32> {
    let outputs = weight.len() / inputs.max(1);
    (0..weight.len()).map(|i| weight[i % outputs * inputs + i / outputs]).collect()
}

impl Gate {
    /// From the two 1×1 convolutions.
    pub fn new(down: &Folded, up: &Folded) -> Self {
        let layer = |of: &Folded| [turned(&of.weight, of.spec.cin), of.bias.clone()];
        Self { down: layer(down), up: layer(up), arch: Arch::new() }
    }

    /// Weight (inputs × outputs) and bias of the layer before the ReLU and of the one before the sigmoid.
    pub fn unpacked(&self) -> [&[Vec<f32>; 2]; 2] {
        [&self.down, &self.up]
    }

    /// Values that [`Gate::run`] needs as scratch.
    pub fn scratch(&self) -> usize {
        2 * self.up[1].len() + self.down[1].len()
    }

    /// `to = from · gate + add`, all of one shape.
    pub fn run(&self, from: &Map, add: &Map, to: &mut Map, scratch: &mut [f32]) {
        let (mean, rest) = scratch.split_at_mut(self.up[1].len());
        let (middle, gate) = rest[..self.scratch() - mean.len()].split_at_mut(self.down[1].len());
        self.arch.dispatch(|| {
            mean.fill(0.0);
            for y in 0..from.height {
                for x in 0..from.width {
                    mean.iter_mut().zip(from.pixel_at(x, y)).for_each(|(m, v)| *m += v);
                }
            }
            let share = 1.0 / (from.height * from.width) as f32;
            mean.iter_mut().for_each(|m| *m *= share);
            layer(mean, &self.down, middle);
            middle.iter_mut().for_each(|v| *v = v.max(0.0));
            layer(middle, &self.up, gate);
            gate.iter_mut().for_each(|v| *v = 1.0 / (1.0 + (-*v).exp()));
            for y in 0..to.height {
                for x in 0..to.width {
                    let at = to.at(x, y);
                    let out = &mut to.buffer.values_mut()[at..][..gate.len()];
                    let inputs = from.pixel_at(x, y).iter().zip(add.pixel_at(x, y)).zip(&*gate);
                    out.iter_mut().zip(inputs).for_each(|(o, ((v, a), g))| *o = v * g + a);
                }
            }
        });
    }
}

#[inline(always)]
fn layer(inputs: &[f32], [weight, bias]: &[Vec<f32>; 2], outputs: &mut [f32]) {
    outputs.copy_from_slice(bias);
    for (x, weights) in inputs.iter().zip(weight.chunks_exact(outputs.len())) {
        outputs.iter_mut().zip(weights).for_each(|(o, w)| *o += x * w);
    }
}

/// Row `y` of a 2×2 max-pool, its pixels going to `out`.
pub fn max_pool_row(arch: Arch, from: &Map, out: &mut [f32], y: usize) {
    let pixel = from.pixel;
    let (upper, lower) = (&from.row(2 * y)[pixel..], &from.row(2 * y + 1)[pixel..]);
    // Not `f32::max`, which must look at values that are no numbers and takes several instructions for it.
    let greater = |p: f32, q: f32| if p > q { p } else { q };
    arch.dispatch(
        #[inline(always)]
        || {
            let out = out.chunks_exact_mut(pixel);
            for (out, (p, q)) in out.zip(upper.chunks_exact(2 * pixel).zip(lower.chunks_exact(2 * pixel))) {
                let ((p, q), (r, s)) = (p.split_at(pixel), q.split_at(pixel));
                for (o, ((p, q), (r, s))) in out.iter_mut().zip(p.iter().zip(q).zip(r.iter().zip(s))) {
                    *o = greater(greater(*p, *q), greater(*r, *s));
                }
            }
        },
    );
}

/// Row `y` of `a + b`, each pixel of `b` standing for 2×2, its pixels going to `out`.
pub fn upsample_add_row(arch: Arch, a: &Map, b: &Map, out: &mut [f32], y: usize) {
    let pixel = a.pixel;
    let (larger, smaller) = (&a.row(y)[pixel..], &b.row(y / 2)[pixel..]);
    arch.dispatch(
        #[inline(always)]
        || {
            let pairs = out.chunks_exact_mut(2 * pixel).zip(larger.chunks_exact(2 * pixel));
            for ((out, p), q) in pairs.zip(smaller.chunks_exact(pixel)) {
                for (out, p) in out.chunks_exact_mut(pixel).zip(p.chunks_exact(pixel)) {
                    out.iter_mut().zip(p.iter().zip(q)).for_each(|(o, (p, q))| *o = p + q);
                }
            }
        },
    );
}
