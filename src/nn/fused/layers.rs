//! Weights of a model file made ready for the kernels: batch norms folded in, packed for this CPU.

use std::sync::Arc;

use pulp::Arch;

use super::buffer::Map;
use super::depthwise::Depthwise;
use super::gemm::Packed;
use crate::nn::layers::Act;
use crate::nn::model_file::ModelFile;
use crate::nn::onnx::{BN_EPS, ConvSpec};

/// A convolution with its batch norm folded in, in the forms that the steps take. Only the form that fits the
/// convolution's kind is filled.
#[derive(Clone, Debug)]
pub struct Folded {
    /// Its shape.
    pub spec: ConvSpec,
    /// For a 1×1 convolution, and for the 3×3 stem.
    pub packed: Arc<Packed>,
    /// For a depthwise 3×3 convolution.
    pub depthwise: Arc<Depthwise>,
    /// Outputs × inputs × taps, as a global depthwise convolution takes them.
    pub weight: Arc<Vec<f32>>,
    /// One for each output.
    pub bias: Arc<Vec<f32>>,
    /// What values below zero are multiplied with.
    slope: Arc<Vec<f32>>,
}

/// Takes the convolution `name` from a model file and folds the batch norm into it.
///
/// # Errors
/// When a weight is missing or of another size.
pub fn fold(file: &ModelFile, name: &str, spec: ConvSpec, act: Act) -> candle_core::Result<Folded> {
    let inputs = spec.cin / spec.groups;
    let per_output = inputs * spec.kernel * spec.kernel;
    let mut weight = take(file, &format!("{name}.weight"), spec.cout * per_output)?;
    let bias_name = format!("{name}.bias");
    let mut bias =
        if file.has(&bias_name) { take(file, &bias_name, spec.cout)? } else { vec![0.0; spec.cout] };
    if let Some((scale, shift)) = batch_norm(file, &format!("{name}.bn"), spec.cout)? {
        for ((row, b), (s, t)) in
            weight.chunks_exact_mut(per_output).zip(&mut bias).zip(scale.iter().zip(&shift))
        {
            row.iter_mut().for_each(|w| *w *= s);
            *b = *b * s + t;
        }
    }
    let slope = match act {
        Act::None => vec![1.0; spec.cout],
        Act::Relu => vec![0.0; spec.cout],
        Act::PRelu => take(file, &format!("{name}.prelu.weight"), spec.cout)?,
    };
    Ok(Folded::pack(spec, weight, bias, slope))
}

impl Folded {
    fn pack(spec: ConvSpec, weight: Vec<f32>, bias: Vec<f32>, slope: Vec<f32>) -> Self {
        let inputs = spec.cin / spec.groups;
        let depthwise = spec.groups == spec.cin && spec.groups > 1;
        let packed = match (depthwise, spec.kernel) {
            (false, 1) => Packed::new(&weight, inputs, spec.cout, &bias, &slope),
            (false, 3) => {
                Packed::new(&channels_last(&weight, inputs, 9), 9 * inputs, spec.cout, &bias, &slope)
            }
            _ => Packed::new(&[], 1, 0, &[], &[]),
        };
        let depthwise = match (depthwise, spec.kernel) {
            (true, 3) => Depthwise::new(&weight, spec.cout, spec.stride, &bias, &slope),
            _ => Depthwise::new(&[], 0, 1, &[], &[]),
        };
        Self {
            spec,
            packed: Arc::new(packed),
            depthwise: Arc::new(depthwise),
            weight: Arc::new(weight),
            bias: Arc::new(bias),
            slope: Arc::new(slope),
        }
    }

    /// A 3×3 convolution on one channel as one on the first of three.
    pub fn on_first_of_three(&self) -> Self {
        let spec = ConvSpec { cin: 3, ..self.spec };
        let weight = self.weight.chunks_exact(9).flat_map(|nine| nine.iter().copied().chain([0.0; 18]));
        Self::pack(spec, weight.collect(), self.bias.to_vec(), self.slope.to_vec())
    }

    /// Several convolutions of one kind as one whose outputs stand side by side, of shape `spec`.
    pub fn side_by_side(parts: &[&Self], spec: ConvSpec) -> Self {
        let join =
            |of: fn(&Self) -> &Arc<Vec<f32>>| parts.iter().flat_map(|p| of(p).iter().copied()).collect();
        Self::pack(spec, join(|p| &p.weight), join(|p| &p.bias), join(|p| &p.slope))
    }
}

/// Rows of `channels × taps` turned into `taps × channels`.
fn channels_last(rows: &[f32], channels: usize, taps: usize) -> Vec<f32> {
    let turn = |row: &[f32]| -> Vec<f32> {
        (0..taps * channels).map(|i| row[i % channels * taps + i / channels]).collect()
    };
    rows.chunks_exact(channels * taps).flat_map(turn).collect()
}

fn take(file: &ModelFile, name: &str, len: usize) -> candle_core::Result<Vec<f32>> {
    match file.values(name) {
        Some(values) if values.len() == len => Ok(values),
        Some(values) => candle_core::bail!("weight {name:?} has {} values, not {len}", values.len()),
        None => candle_core::bail!("weight {name:?} is missing"),
    }
}

/// Scale and shift of a batch norm, when the file has it.
type ScaleShift = (Vec<f32>, Vec<f32>);

fn batch_norm(file: &ModelFile, name: &str, channels: usize) -> candle_core::Result<Option<ScaleShift>> {
    if !file.has(&format!("{name}.weight")) {
        return Ok(None);
    }
    let get = |key: &str| take(file, &format!("{name}.{key}"), channels);
    let (gamma, beta, mean, var) = (get("weight")?, get("bias")?, get("running_mean")?, get("running_var")?);
    let scale: Vec<f32> = gamma.iter().zip(&var).map(|(g, v)| g / (v + BN_EPS).sqrt()).collect();
    let shift = beta.iter().zip(&mean).zip(&scale).map(|((b, m), s)| b - m * s).collect();
    Ok(Some((scale, shift)))
}

/// The fully connected layer of an encoder over a whole map, batch norms before and after folded in.
#[derive(Clone, Debug)]
pub struct Dense {
    /// `outputs × (height × width × channels)`.
    weight: Arc<Vec<f32>>,
    bias: Arc<Vec<f32>>,
    arch: Arch,
}

impl Dense {
    /// Takes the layer `name` with the batch norm `before` of its input map and `after` of its outputs, both
    /// optional in the file.
    ///
    /// # Errors
    /// When a weight is missing or of another size.
    pub fn new(
        file: &ModelFile,
        (before, name, after): (&str, &str, &str),
        (channels, pixels): (usize, usize),
        outputs: usize,
    ) -> candle_core::Result<Self> {
        let inputs = channels * pixels;
        let mut weight =
            channels_last(&take(file, &format!("{name}.weight"), outputs * inputs)?, channels, pixels);
        let mut bias = take(file, &format!("{name}.bias"), outputs)?;
        if let Some((scale, shift)) = batch_norm(file, before, channels)? {
            for (row, b) in weight.chunks_exact_mut(inputs).zip(&mut bias) {
                for pixel in row.chunks_exact_mut(channels) {
                    for ((w, s), t) in pixel.iter_mut().zip(&scale).zip(&shift) {
                        *b += *w * t;
                        *w *= s;
                    }
                }
            }
        }
        if let Some((scale, shift)) = batch_norm(file, after, outputs)? {
            for ((row, b), (s, t)) in
                weight.chunks_exact_mut(inputs).zip(&mut bias).zip(scale.iter().zip(&shift))
            {
                row.iter_mut().for_each(|w| *w *= s);
                *b = *b * s + t;
            }
        }
        Ok(Self { weight: Arc::new(weight), bias: Arc::new(bias), arch: Arch::new() })
    }

    /// The outputs for a map without channel padding.
    pub fn run(&self, map: &Map) -> Vec<f32> {
        let stretch = map.width * map.channels;
        let row = stretch * map.height;
        let dot = |weights: &[f32]| -> f32 {
            let lines = (0..map.height).map(|y| {
                let values = &map.buffer.values()[map.at(0, y)..][..stretch];
                self.arch.dispatch(|| lanes_dot(values, &weights[y * stretch..][..stretch]))
            });
            lines.sum()
        };
        assert!(map.pixel == map.channels && self.weight.len() == row * self.bias.len());
        self.weight.chunks_exact(row).zip(self.bias.iter()).map(|(w, b)| dot(w) + b).collect()
    }
}

impl Dense {
    /// The outputs for plain values, without a map.
    pub fn run_values(&self, values: &[f32]) -> Vec<f32> {
        assert_eq!(self.weight.len(), values.len() * self.bias.len(), "as many values as the layer takes");
        let dot = |row: &[f32]| self.arch.dispatch(|| lanes_dot(values, row));
        self.weight.chunks_exact(values.len()).zip(self.bias.iter()).map(|(w, b)| dot(w) + b).collect()
    }
}

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
