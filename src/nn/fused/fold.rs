//! Weights of a model file made ready for the kernels: batch norms folded in, packed for this CPU.

use std::sync::Arc;

use super::dense::Dense;
use super::depthwise::Depthwise;
use super::pointwise::Packed;
use super::whole::Global;
use crate::nn::layers::Act;
use crate::nn::model_file::ModelFile;
use crate::nn::onnx::{BN_EPS, ConvSpec};

/// A convolution with its batch norm folded in.
#[derive(Clone, Debug)]
pub struct Folded {
    /// Its shape.
    pub spec: ConvSpec,
    /// Outputs × inputs × taps.
    pub weight: Vec<f32>,
    /// One for each output.
    pub bias: Vec<f32>,
    /// What values below zero are multiplied with, one for each output.
    pub slope: Vec<f32>,
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
    let slope = slopes(file, name, spec.cout, act)?;
    Ok(Folded { spec, weight, bias, slope })
}

/// What values below zero are multiplied with after the layer `name`.
fn slopes(file: &ModelFile, name: &str, outputs: usize, act: Act) -> candle_core::Result<Vec<f32>> {
    Ok(match act {
        Act::None => vec![1.0; outputs],
        Act::Relu => vec![0.0; outputs],
        Act::PRelu => take(file, &format!("{name}.prelu.weight"), outputs)?,
    })
}

impl Folded {
    /// Packed as a 1×1 convolution.
    pub fn packed(&self) -> Arc<Packed> {
        self.packed_taps(self.spec.cin)
    }

    /// Packed as a matrix on taps × channels, the channels of each tap with zeros after them up to `pixel`.
    pub fn packed_taps(&self, pixel: usize) -> Arc<Packed> {
        let Self { spec, weight, bias, slope } = self;
        let taps = spec.kernel * spec.kernel;
        let weight = channels_last(weight, spec.cin, taps);
        let mut padded = vec![0.0; spec.cout * taps * pixel];
        for (to, from) in padded.chunks_exact_mut(pixel).zip(weight.chunks_exact(spec.cin)) {
            to[..spec.cin].copy_from_slice(from);
        }
        Arc::new(Packed::new(&padded, pixel * taps, spec.cout, bias, slope))
    }

    /// A dense convolution whose inputs come in the opposite order.
    pub fn on_reversed_inputs(mut self) -> Self {
        let taps = self.spec.kernel * self.spec.kernel;
        for row in self.weight.chunks_exact_mut(self.spec.cin * taps) {
            let turned: Vec<f32> = row.rchunks_exact(taps).flatten().copied().collect();
            row.copy_from_slice(&turned);
        }
        self
    }

    /// A 3×3 convolution on one channel as one on the first of three.
    pub fn on_first_of_three(self) -> Self {
        let weight = self.weight.chunks_exact(9).flat_map(|nine| nine.iter().copied().chain([0.0; 18]));
        Self { spec: ConvSpec { cin: 3, ..self.spec }, weight: weight.collect(), ..self }
    }

    /// Packed as a depthwise 3×3 convolution.
    pub fn depthwise(&self) -> Arc<Depthwise> {
        Arc::new(Depthwise::new(&self.weight, self.spec.cout, self.spec.stride, &self.bias, &self.slope))
    }

    /// As a depthwise convolution over a whole map.
    pub fn global(&self) -> Global {
        Global::new(&self.weight, &self.bias)
    }

    /// Several convolutions of one kind as one whose outputs stand side by side, of shape `spec`.
    pub fn side_by_side(parts: &[&Self], spec: ConvSpec) -> Self {
        let join = |of: fn(&Self) -> &Vec<f32>| parts.iter().flat_map(|p| of(p).iter().copied()).collect();
        Self { spec, weight: join(|p| &p.weight), bias: join(|p| &p.bias), slope: join(|p| &p.slope) }
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

/// Takes the fully connected layer `name` over a map of `channels`, with the batch norm `before` of the map and `after`
/// of its `outputs`, both optional in the file, and the activation `act` at the end.
///
/// # Errors
/// When a weight is missing or of another size.
pub fn dense(
    file: &ModelFile,
    (before, name, after): (&str, &str, &str),
    (channels, pixels): (usize, usize),
    outputs: usize,
    act: Act,
) -> candle_core::Result<Dense> {
    let weight = take(file, &format!("{name}.weight"), outputs * channels * pixels)?;
    let bias = take(file, &format!("{name}.bias"), outputs)?;
    let nothing = |n: usize| (vec![1.0; n], vec![0.0; n]);
    let (scale, shift) = batch_norm(file, before, channels)?.unwrap_or_else(|| nothing(channels));
    let (out_scale, out_shift) = batch_norm(file, after, outputs)?.unwrap_or_else(|| nothing(outputs));
    let out_shift = bias.iter().zip(&out_scale).zip(&out_shift).map(|((b, s), t)| b * s + t).collect();
    let slope = slopes(file, name, outputs, act)?;
    Ok(Dense::new(&weight, [scale, shift], [out_scale, out_shift, slope]))
}
