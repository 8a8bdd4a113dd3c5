//! MobileFaceNet: inverted residuals at 112×112, a global depthwise convolution, 512 values.
//!
//! Chen et al., "MobileFaceNets: Efficient CNNs for Accurate Real-Time Face Verification on Mobile Devices" (2018), in
//! the wide variant of the InsightFace family: 64-channel stem, bottlenecks of 64/128 channels, linear 1×1 at the end.

use candle_core::{Result, Tensor};
use candle_nn::{ModuleT, VarBuilder};

use crate::nn::fused::{Folded, MapId, Plan, fold};
use crate::nn::layers::{Act, ConvUnit};
use crate::nn::model_file::{Channels, InputSpec, ModelFile};
use crate::nn::onnx::{ConvSpec, Graph, Imported, OnnxError, Value, Walk};

/// The name model files carry.
pub const ARCHITECTURE: &str = "mobilefacenet";
/// Length of the embedding.
pub const DIM: usize = 512;
/// What it takes when it is trained here.
pub const INPUT: InputSpec =
    InputSpec { width: 112, height: 112, channels: Channels::Rgb, mean: 127.5, scale: 1.0 / 128.0 };

/// One bottleneck: 1×1 up to `hidden`, depthwise 3×3, 1×1 down to `cout`; with a shortcut when `residual`.
#[derive(Clone, Copy, Debug)]
pub struct Bottleneck {
    /// Input channels.
    pub cin: usize,
    /// Channels in the middle.
    pub hidden: usize,
    /// Output channels.
    pub cout: usize,
    /// Step of the depthwise convolution.
    pub stride: usize,
    /// Whether the input is added to the output.
    pub residual: bool,
}

/// The bottlenecks in order.
pub fn bottlenecks() -> Vec<Bottleneck> {
    let down = |cin, hidden, cout| Bottleneck { cin, hidden, cout, stride: 2, residual: false };
    let stay = |c, hidden| Bottleneck { cin: c, hidden, cout: c, stride: 1, residual: true };
    let mut all = vec![down(64, 128, 64)];
    all.extend([stay(64, 128); 4]);
    all.push(down(64, 256, 128));
    all.extend([stay(128, 256); 6]);
    all.push(down(128, 512, 128));
    all.extend([stay(128, 256); 2]);
    all
}

/// The network. `stem`, `stem_dw`, `block1.{up,dw,down}` …, `head`, `gdc`, `linear` in the weights.
#[derive(Clone, Debug)]
pub struct MobileFaceNet {
    stem: [ConvUnit; 2],
    blocks: Vec<([ConvUnit; 3], bool)>,
    tail: [ConvUnit; 3],
}

/// First two convolutions, with names and activations.
pub const STEM: [(&str, ConvSpec, Act); 2] =
    [("stem", ConvSpec::dense3(3, 64, 2), Act::PRelu), ("stem_dw", ConvSpec::depthwise3(64, 1), Act::PRelu)];

/// Last three convolutions: up, over the whole 7×7 map per channel, and linear.
pub const TAIL: [(&str, ConvSpec, Act); 3] = [
    ("head", ConvSpec::pointwise(128, DIM), Act::PRelu),
    ("gdc", ConvSpec { cin: DIM, cout: DIM, kernel: 7, stride: 1, pad: 0, groups: DIM }, Act::None),
    ("linear", ConvSpec::pointwise(DIM, DIM), Act::None),
];

impl Bottleneck {
    /// Its three convolutions, with names and activations.
    pub fn convs(&self) -> [(&'static str, ConvSpec, Act); 3] {
        [
            ("up", ConvSpec::pointwise(self.cin, self.hidden), Act::PRelu),
            ("dw", ConvSpec::depthwise3(self.hidden, self.stride), Act::PRelu),
            ("down", ConvSpec::pointwise(self.hidden, self.cout), Act::None),
        ]
    }
}

pub(super) fn units(vb: &VarBuilder<'_>, convs: [(&str, ConvSpec, Act); 3]) -> Result<[ConvUnit; 3]> {
    let [a, b, c] = convs.map(|(name, spec, act)| ConvUnit::new(spec, act, vb.pp(name)));
    Ok([a?, b?, c?])
}

impl MobileFaceNet {
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

impl ModuleT for MobileFaceNet {
    /// `[n, 3, 112, 112]` normalised RGB → `[n, 512]`, not yet of unit length.
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

/// The inference form for crops of `side` px, and the map that holds the 512 values.
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

/// Walks back over convolutions with the batch norm and slopes they may have.
fn take(
    walk: &mut Walk<'_>,
    mut at: Value,
    prefix: &str,
    convs: &[(&str, ConvSpec, Act)],
) -> std::result::Result<Value, OnnxError> {
    for (name, spec, act) in convs.iter().rev() {
        let name = format!("{prefix}{name}");
        if *act == Act::PRelu {
            at = walk.prelu(&at, &format!("{name}.prelu"), spec.cout)?;
        }
        if walk.comes_from(&at, "BatchNormalization") {
            at = walk.batch_norm(&at, &format!("{name}.bn"), spec.cout)?;
        }
        at = walk.conv(&at, &name, *spec)?;
    }
    Ok(at)
}

/// Takes the weights out of an ONNX graph of this MobileFaceNet, with batch norms or folded.
///
/// # Errors
/// When it is another network.
pub fn import(graph: &Graph) -> std::result::Result<Imported, OnnxError> {
    let mut walk = Walk::new(graph, ARCHITECTURE);
    let at = walk.output()?;
    let at = walk.skip(at, &["Reshape", "Flatten"]);
    let mut at = take(&mut walk, at, "", &TAIL)?;
    for (i, block) in bottlenecks().iter().enumerate().rev() {
        let prefix = format!("block{}.", i + 1);
        if block.residual {
            let (a, b) = walk.both(&at, "Add")?;
            // The branch is the input that a linear 1×1 convolution made out of the other one. Two 1×1 convolutions
            // can meet here (the block before may be linear as well), so both orders are tried.
            let before = walk.weights.clone();
            at = match take(&mut walk, b.clone(), &prefix, &block.convs()) {
                Ok(from) if from == a => a,
                _ => {
                    walk.weights = before;
                    match take(&mut walk, a, &prefix, &block.convs())? {
                        from if from == b => b,
                        _ => {
                            return Err(OnnxError::OtherNetwork {
                                architecture: ARCHITECTURE,
                                what: format!("the shortcut of block {} leads elsewhere", i + 1),
                            });
                        }
                    }
                }
            };
        } else {
            at = take(&mut walk, at, &prefix, &block.convs())?;
        }
    }
    at = take(&mut walk, at, "", &STEM)?;
    let norm = super::input_norm(&walk, &mut at)?;
    walk.arrived(&at)?;
    Ok(Imported { weights: walk.weights, norm })
}
