//! A small MobileFaceNet, at 112×112 with 128 values and a quarter of the work of the wide one: what can be trained on
//! a CPU and still runs quickly on a small board. Half the channels of Chen et al., "MobileFaceNets" (2018).

use candle_core::{Result, Tensor};
use candle_nn::{ModuleT, VarBuilder};

use super::mobilefacenet::{Bottleneck, units};
use crate::nn::fused::{Folded, MapId, Plan, fold};
use crate::nn::layers::{Act, ConvUnit};
use crate::nn::model_file::ModelFile;
use crate::nn::onnx::ConvSpec;

/// The name model files carry.
pub const ARCHITECTURE: &str = "mobilefacenet-s";
/// Length of the embedding.
pub const DIM: usize = 128;

/// First two convolutions, with names and activations.
const STEM: [(&str, ConvSpec, Act); 2] =
    [("stem", ConvSpec::dense3(3, 32, 2), Act::PRelu), ("stem_dw", ConvSpec::depthwise3(32, 1), Act::PRelu)];

/// Channels before the global depthwise convolution.
const HEAD: usize = 256;

/// Last three convolutions: up, over the whole 7×7 map per channel, and linear.
const TAIL: [(&str, ConvSpec, Act); 3] = [
    ("head", ConvSpec::pointwise(64, HEAD), Act::PRelu),
    ("gdc", ConvSpec { cin: HEAD, cout: HEAD, kernel: 7, stride: 1, pad: 0, groups: HEAD }, Act::None),
    ("linear", ConvSpec::pointwise(HEAD, DIM), Act::None),
];

fn bottlenecks() -> Vec<Bottleneck> {
    let down = |cin, hidden, cout| Bottleneck { cin, hidden, cout, stride: 2, residual: false };
    let stay = |c, hidden| Bottleneck { cin: c, hidden, cout: c, stride: 1, residual: true };
    let mut all = vec![down(32, 64, 32)];
    all.extend([stay(32, 64); 4]);
    all.push(down(32, 128, 64));
    all.extend([stay(64, 128); 6]);
    all.push(down(64, 256, 64));
    all.extend([stay(64, 128); 2]);
    all
}

/// The network. `stem`, `stem_dw`, `block1.{up,dw,down}` …, `head`, `gdc`, `linear` in the weights.
#[derive(Clone, Debug)]
pub struct MobileFaceNetS {
    stem: [ConvUnit; 2],
    blocks: Vec<([ConvUnit; 3], bool)>,
    tail: [ConvUnit; 3],
}

impl MobileFaceNetS {
    /// Builds the network on weights.
    ///
    /// # Errors
    /// When a weight is missing or of another shape.
    pub fn new(vb: VarBuilder<'_>) -> Result<Self> {
        let [stem, stem_dw] = STEM.map(|(name, spec, act)| ConvUnit::new(spec, act, vb.pp(name)));
        let blocks = bottlenecks().into_iter().enumerate();
        let blocks =
            blocks.map(|(i, b)| Ok((units(&vb.pp(format!("block{}", i + 1)), b.convs())?, b.residual)));
        Ok(Self { stem: [stem?, stem_dw?], blocks: blocks.collect::<Result<_>>()?, tail: units(&vb, TAIL)? })
    }
}

impl ModuleT for MobileFaceNetS {
    /// `[n, 3, 112, 112]` normalised RGB → `[n, 128]`, not yet of unit length.
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        let run = |xs: Tensor, units: &[ConvUnit]| units.iter().try_fold(xs, |xs, u| u.forward_t(&xs, train));
        let mut xs = run(xs.clone(), &self.stem)?;
        for (units, residual) in &self.blocks {
            let ys = run(xs.clone(), units)?;
            xs = if *residual { (xs + ys)? } else { ys };
        }
        run(xs, &self.tail)?.flatten_from(1)
    }
}

/// The inference form, and the map that holds the 128 values.
///
/// # Errors
/// When a weight is missing or of another size.
pub fn fused(file: &ModelFile, side: usize) -> Result<(Plan, MapId)> {
    let (mut plan, input) = Plan::new(side, side);
    let load = |prefix: &str, convs: &[(&str, ConvSpec, Act)]| -> Result<Vec<Folded>> {
        convs.iter().map(|(name, spec, act)| fold(file, &format!("{prefix}{name}"), *spec, *act)).collect()
    };
    let stem = load("", &STEM)?;
    let first = plan.conv3(input, &stem[0]);
    let mut at = plan.depthwise(first, &stem[1]);
    for (i, block) in bottlenecks().into_iter().enumerate() {
        let convs = load(&format!("block{}.", i + 1), &block.convs())?;
        let up = plan.pointwise(at, None, &convs[0]);
        at = plan.depthwise_pointwise(up, block.residual.then_some(at), &convs[1], &convs[2]);
    }
    let tail = load("", &TAIL)?;
    let head = plan.pointwise(at, None, &tail[0]);
    let pooled = plan.global(head, &tail[1]);
    let out = plan.pointwise(pooled, None, &tail[2]);
    Ok((plan, out))
}
