//! The layers of our networks in plain candle-nn: differentiable, on any device, weights under readable names.

use candle_core::{Result, Tensor};
use candle_nn::{BatchNorm, BatchNormConfig, Conv2d, Conv2dConfig, Module, ModuleT, PReLU, VarBuilder};

use super::onnx::{BN_EPS, ConvSpec};

/// What follows a convolution.
#[derive(Clone, Debug)]
enum Activation {
    None,
    Relu,
    PRelu(PReLU),
}

/// A convolution, the batch norm after it if the weights have one, and an activation.
///
/// Weights: `NAME.weight` (`[cout, cin / groups, k, k]`), `NAME.bias` (`[cout]`, optional), `NAME.bn.*` (optional),
/// `NAME.prelu.weight` (`[cout]`, when asked for).
#[derive(Clone, Debug)]
pub struct ConvUnit {
    conv: Conv2d,
    bn: Option<BatchNorm>,
    activation: Activation,
}

/// Which activation a [`ConvUnit`] ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// None.
    None,
    /// max(0, x).
    Relu,
    /// max(0, x) + slope · min(0, x), a slope per channel.
    PRelu,
}

impl ConvUnit {
    /// Loads or creates the unit's weights in `vb`.
    ///
    /// # Errors
    /// When a weight is missing or of another shape.
    pub fn new(spec: ConvSpec, act: Act, vb: VarBuilder<'_>) -> Result<Self> {
        let config = Conv2dConfig {
            stride: spec.stride,
            padding: spec.pad,
            groups: spec.groups,
            ..Default::default()
        };
        let weight = vb.get((spec.cout, spec.cin / spec.groups, spec.kernel, spec.kernel), "weight")?;
        let bias = vb.contains_tensor("bias").then(|| vb.get(spec.cout, "bias")).transpose()?;
        let bn = vb.contains_tensor("bn.weight").then(|| batch_norm(spec.cout, vb.pp("bn"))).transpose()?;
        let activation = match act {
            Act::None => Activation::None,
            Act::Relu => Activation::Relu,
            Act::PRelu => Activation::PRelu(PReLU::new(vb.get(spec.cout, "prelu.weight")?, false)),
        };
        Ok(Self { conv: Conv2d::new(weight, bias, config), bn, activation })
    }
}

impl ModuleT for ConvUnit {
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        let mut ys = self.conv.forward(xs)?;
        if let Some(bn) = &self.bn {
            ys = bn.forward_t(&ys, train)?;
        }
        match &self.activation {
            Activation::None => Ok(ys),
            Activation::Relu => ys.relu(),
            Activation::PRelu(prelu) => prelu.forward(&ys),
        }
    }
}

/// A batch norm with the epsilon that all stored networks share.
///
/// # Errors
/// When a weight is missing or of another shape.
pub fn batch_norm(channels: usize, vb: VarBuilder<'_>) -> Result<BatchNorm> {
    candle_nn::batch_norm(channels, BatchNormConfig { eps: f64::from(BN_EPS), ..Default::default() }, vb)
}
