//! The layers of our networks: differentiable, on any device, weights under readable names. Evaluation is plain
//! candle-nn, the definition that the fused form is held to; training on the CPU goes through [`grad`](super::grad),
//! which computes the same.
//!
//! A unit whose weights are not variables is frozen: it trains with the statistics it has and passes no gradient to
//! its own weights.

use std::sync::{Arc, Mutex};

use candle_core::{Result, Tensor, Var};
use candle_nn::{BatchNorm, BatchNormConfig, Conv2d, Conv2dConfig, Module, ModuleT, PReLU, VarBuilder};

use super::grad::{self, BatchStats, Statistics};
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
    bn: Option<Norm>,
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
        let bn = vb.contains_tensor("bn.weight").then(|| Norm::new(spec.cout, vb.pp("bn"))).transpose()?;
        let activation = match act {
            Act::None => Activation::None,
            Act::Relu => Activation::Relu,
            Act::PRelu => Activation::PRelu(PReLU::new(vb.get(spec.cout, "prelu.weight")?, false)),
        };
        Ok(Self { conv: Conv2d::new(weight, bias, config), bn, activation })
    }

    fn convolve(&self, xs: &Tensor, quick: bool) -> Result<Tensor> {
        let (config, weight) = (self.conv.config(), self.conv.weight());
        let depthwise = config.groups == weight.dim(0)? && weight.dim(1)? == 1;
        if !quick || (config.groups != 1 && !depthwise) {
            return self.conv.forward(xs);
        }
        let (stride, pad) = (config.stride, config.padding);
        let ys = if config.groups == 1 {
            grad::conv2d(xs, weight, stride, pad)?
        } else {
            grad::depthwise2d(xs, weight, stride, pad)?
        };
        match self.conv.bias() {
            Some(bias) => ys.broadcast_add(&bias.reshape((1, bias.dim(0)?, 1, 1))?),
            None => Ok(ys),
        }
    }

    fn activate(&self, ys: Tensor) -> Result<Tensor> {
        match &self.activation {
            Activation::None => Ok(ys),
            Activation::Relu => ys.relu(),
            Activation::PRelu(prelu) => prelu.forward(&ys),
        }
    }

    /// The slopes below zero.
    fn slope(&self, like: &Tensor) -> Result<Tensor> {
        match &self.activation {
            Activation::None => like.ones_like(),
            Activation::Relu => like.zeros_like(),
            Activation::PRelu(prelu) => Ok(prelu.weight().clone()),
        }
    }
}

impl ModuleT for ConvUnit {
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        let quick = train && xs.device().is_cpu();
        let ys = self.convolve(xs, quick)?;
        match &self.bn {
            Some(bn) if quick => bn.quick(&ys, &self.slope(bn.running(0))?),
            Some(bn) => self.activate(bn.forward_t(&ys, train)?),
            None => self.activate(ys),
        }
    }
}

/// A batch norm with the epsilon that all stored networks share.
#[derive(Clone, Debug)]
pub struct Norm {
    bn: BatchNorm,
    frozen: bool,
}

impl Norm {
    /// Loads or creates `weight`, `bias`, `running_mean` and `running_var` in `vb`.
    ///
    /// # Errors
    /// When a weight is missing or of another shape.
    pub fn new(channels: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let config = BatchNormConfig { eps: f64::from(BN_EPS), ..Default::default() };
        let bn = candle_nn::batch_norm(channels, config, vb)?;
        let frozen = bn.weight_and_bias().is_none_or(|(weight, _)| !weight.is_variable());
        Ok(Self { bn, frozen })
    }

    fn running(&self, which: usize) -> &Tensor {
        [self.bn.running_mean(), self.bn.running_var()][which]
    }

    /// Norm and activation in one, on the CPU, as training does it.
    fn quick(&self, xs: &Tensor, slope: &Tensor) -> Result<Tensor> {
        let Some((weight, bias)) = self.bn.weight_and_bias() else {
            candle_core::bail!("a batch norm without scale and shift cannot be trained");
        };
        let params = Tensor::stack(&[weight, bias, slope], 0)?;
        if self.frozen {
            let stats =
                BatchStats { mean: self.running(0).to_vec1()?, var: self.running(1).to_vec1()?, count: 0 };
            return grad::norm_act(xs, &params, self.bn.eps(), Statistics::Fixed(stats));
        }
        let slot = Arc::new(Mutex::new(BatchStats::default()));
        let ys = grad::norm_act(xs, &params, self.bn.eps(), Statistics::Batch(slot.clone()))?;
        let stats = slot.lock().expect("nothing panics while it holds the slot").clone();
        let keep = 1.0 - self.bn.momentum();
        let unbiased = stats.count as f64 / (stats.count as f64 - 1.0).max(1.0);
        for (which, batch, scale) in [(0, stats.mean, 1.0), (1, stats.var, unbiased)] {
            let running = self.running(which);
            let batch = (Tensor::new(batch, running.device())? * (scale * self.bn.momentum()))?;
            Var::from_tensor(running)?.set(&((running.detach() * keep)? + batch)?)?;
        }
        Ok(ys)
    }
}

impl ModuleT for Norm {
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        if train && xs.device().is_cpu() {
            return self.quick(xs, &self.running(0).ones_like()?);
        }
        self.bn.forward_t(xs, train && !self.frozen)
    }
}

/// A 2×2 max-pool. candle's own passes a quarter of the gradient it should, so elsewhere than on the CPU it is two
/// maxima one after the other.
///
/// # Errors
/// When the map is smaller than 2×2.
pub fn max_pool2(xs: &Tensor, train: bool) -> Result<Tensor> {
    if !train {
        return xs.max_pool2d(2);
    }
    if xs.device().is_cpu() {
        return grad::max_pool2(xs);
    }
    let (n, c, h, w) = xs.dims4()?;
    let (h, w) = (h / 2, w / 2);
    let even = xs.narrow(2, 0, 2 * h)?.narrow(3, 0, 2 * w)?.contiguous()?;
    even.reshape((n, c, h, 2, w, 2))?.max(5)?.max(3)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use candle_core::{DType, Device};

    use super::super::grad::testing::{apart, var};
    use super::*;

    /// A unit of variables, or frozen, and its weights.
    fn unit(spec: ConvSpec, frozen: bool) -> (ConvUnit, HashMap<String, Var>) {
        let c = spec.cout;
        let positive = |seed| Var::from_tensor(&(var(&[c], seed).abs().unwrap() + 0.5).unwrap()).unwrap();
        let vars = HashMap::from([
            ("weight".to_owned(), var(&[c, spec.cin / spec.groups, spec.kernel, spec.kernel], 1)),
            ("bn.weight".to_owned(), positive(2)),
            ("bn.bias".to_owned(), var(&[c], 3)),
            ("bn.running_mean".to_owned(), var(&[c], 4)),
            ("bn.running_var".to_owned(), positive(5)),
            ("prelu.weight".to_owned(), var(&[c], 6)),
        ]);
        let tensors = vars.iter().map(|(name, var)| {
            (name.clone(), if frozen { var.as_detached_tensor() } else { var.as_tensor().clone() })
        });
        let vb = VarBuilder::from_tensors(tensors.collect(), DType::F32, &Device::Cpu);
        (ConvUnit::new(spec, Act::PRelu, vb).unwrap(), vars)
    }

    #[test]
    fn training_moves_the_running_statistics_as_candle_does() {
        for spec in [ConvSpec::dense3(3, 4, 2), ConvSpec::depthwise3(4, 1), ConvSpec::pointwise(3, 4)] {
            let xs = var(&[5, spec.cin, 6, 6], 9);
            let (ours, our_vars) = unit(spec, false);
            let (theirs, their_vars) = unit(spec, false);
            let a = ours.forward_t(&xs, true).unwrap();
            let bn = theirs.bn.as_ref().unwrap();
            let b =
                theirs.activate(bn.bn.forward_train(&theirs.conv.forward(&xs).unwrap()).unwrap()).unwrap();
            assert!(apart(&a, &b) < 1e-4);
            for name in ["bn.running_mean", "bn.running_var"] {
                assert!(apart(&our_vars[name], &their_vars[name]) < 1e-5, "{name}");
            }
        }
    }

    #[test]
    fn a_frozen_unit_trains_as_it_evaluates_and_learns_nothing() {
        let spec = ConvSpec::dense3(3, 4, 1);
        let xs = var(&[2, 3, 5, 5], 9);
        let (unit, vars) = unit(spec, true);
        let (a, b) = (unit.forward_t(&xs, true).unwrap(), unit.forward_t(&xs, false).unwrap());
        assert!(apart(&a, &b) < 1e-4);
        let grads = a.sum_all().unwrap().backward().unwrap();
        assert!(vars.values().all(|var| grads.get(var).is_none()));
        assert!(grads.get(&xs).is_some(), "what comes before may still learn");
    }

    #[test]
    fn pooling_is_the_same_in_both_modes() {
        let xs = var(&[1, 2, 5, 6], 3);
        assert!(apart(&max_pool2(&xs, true).unwrap(), &max_pool2(&xs, false).unwrap()) < 1e-6);
    }
}
