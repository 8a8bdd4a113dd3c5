//! The classic small Siamese branch: three convolution blocks with batch norm on a grey picture of 100×100, then two
//! fully connected layers to 64 values. For learning how it is done, and for small sets of faces.
//!
//! After Hadsell, Chopra and LeCun, "Dimensionality Reduction by Learning an Invariant Mapping" (2006), and the many
//! tutorials that followed.

use candle_core::{Result, Tensor};
use candle_nn::{Linear, Module, ModuleT, VarBuilder};

use crate::nn::fused::{MapId, Plan, dense, fold};
use crate::nn::layers::{Act, ConvUnit, Norm, max_pool2};
use crate::nn::model_file::{Channels, InputSpec, ModelFile};
use crate::nn::onnx::ConvSpec;

/// The name model files carry.
pub const ARCHITECTURE: &str = "siamese-cnn";
/// Length of the embedding.
pub const DIM: usize = 64;
/// What it takes.
pub const INPUT: InputSpec = InputSpec {
    width: SIDE as u32,
    height: SIDE as u32,
    channels: Channels::Grey,
    mean: 127.5,
    scale: 1.0 / 64.0,
};

const SIDE: usize = 100;
/// The blocks: 3×3 convolution, batch norm, ReLU, 2×2 max-pool.
const BLOCKS: [(&str, ConvSpec); 3] = [
    ("block1", ConvSpec::dense3(1, 16, 1)),
    ("block2", ConvSpec::dense3(16, 32, 1)),
    ("block3", ConvSpec::dense3(32, CHANNELS, 1)),
];
/// Channels of the last block.
const CHANNELS: usize = 64;
/// Pixels of the last map: 100 → 50 → 25 → 12.
const PIXELS: usize = 12 * 12;
/// Values between the two fully connected layers.
const HIDDEN: usize = 256;

/// The network. `block1` … `block3`, `fc1`, `fc1_bn`, `fc2` in the weights.
#[derive(Clone, Debug)]
pub struct SiameseCnn {
    blocks: Vec<ConvUnit>,
    fc1: Linear,
    fc1_bn: Norm,
    fc2: Linear,
}

impl SiameseCnn {
    /// Builds the network on weights.
    ///
    /// # Errors
    /// When a weight is missing or of another shape.
    pub fn new(vb: VarBuilder<'_>) -> Result<Self> {
        let blocks = BLOCKS.map(|(name, spec)| ConvUnit::new(spec, Act::Relu, vb.pp(name)));
        Ok(Self {
            blocks: blocks.into_iter().collect::<Result<_>>()?,
            fc1: candle_nn::linear(CHANNELS * PIXELS, HIDDEN, vb.pp("fc1"))?,
            fc1_bn: Norm::new(HIDDEN, vb.pp("fc1_bn"))?,
            fc2: candle_nn::linear(HIDDEN, DIM, vb.pp("fc2"))?,
        })
    }
}

impl ModuleT for SiameseCnn {
    /// `[n, 1, 100, 100]` normalised grey → `[n, 64]`, not yet of unit length.
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        let mut xs = xs.clone();
        for block in &self.blocks {
            xs = max_pool2(&block.forward_t(&xs, train)?, train)?;
        }
        let hidden = self.fc1_bn.forward_t(&self.fc1.forward(&xs.flatten_from(1)?)?, train)?;
        self.fc2.forward(&hidden.relu()?)
    }
}

/// The inference form, and the map that holds the 64 values.
///
/// # Errors
/// When a weight is missing or of another size.
pub fn fused(file: &ModelFile) -> Result<(Plan, MapId)> {
    let (mut plan, input) = Plan::new(SIDE, SIDE);
    let mut at = input;
    for (i, (name, spec)) in BLOCKS.into_iter().enumerate() {
        let folded = fold(file, name, spec, Act::Relu)?;
        let folded = if i == 0 { folded.on_first_of_three() } else { folded };
        let conv = plan.conv3(at, &folded);
        at = plan.max_pool(conv);
    }
    let fc1 = dense(file, ("", "fc1", "fc1_bn"), (CHANNELS, PIXELS), HIDDEN, Act::Relu)?;
    let hidden = plan.dense(at, fc1);
    let out = plan.dense(hidden, dense(file, ("", "fc2", ""), (HIDDEN, 1), DIM, Act::None)?);
    Ok((plan, out))
}
