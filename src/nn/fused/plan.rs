//! What a network does, as a list: feature maps with their shapes, and steps that each make one map out of earlier
//! ones. Nothing here has memory for the maps; [`super::Net`] has, on the CPU, and another device may walk the same list.

use std::sync::Arc;

use super::buffer::LINE;
use super::dense::Dense;
use super::depthwise::Depthwise;
use super::fold::Folded;
use super::pointwise::Packed;
use super::whole::{Gate, Global};

/// One of a network's feature maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapId(pub(super) usize);

impl MapId {
    /// Its place in [`Plan::shapes`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// Size of a feature map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Values of a pixel.
    pub channels: usize,
}

impl Shape {
    /// Values of all pixels.
    pub fn values(self) -> usize {
        self.height * self.width * self.channels
    }
}

/// One step of a network. Convolutions of 3×3 have zeros around their input; each convolution has a bias and ends with
/// `max(x, 0) + slope · min(x, 0)`, a slope per channel.
#[derive(Clone, Debug)]
pub enum Step {
    /// A dense 3×3 convolution. The weights' inputs are taps × channels, these padded as they are in a [`super::Map`].
    Conv3 {
        /// The input.
        from: MapId,
        /// The result.
        to: MapId,
        /// Step.
        stride: usize,
        /// Weights.
        weights: Arc<Packed>,
    },
    /// A depthwise 3×3 convolution.
    Depthwise {
        /// The input.
        from: MapId,
        /// The result.
        to: MapId,
        /// Weights and stride.
        weights: Arc<Depthwise>,
    },
    /// A 1×1 convolution.
    Pointwise {
        /// The input.
        from: MapId,
        /// The result.
        to: MapId,
        /// Added before the activation.
        add: Option<MapId>,
        /// Weights.
        weights: Arc<Packed>,
    },
    /// A depthwise 3×3 convolution and a 1×1 convolution after it.
    DepthwisePointwise {
        /// The input.
        from: MapId,
        /// The result.
        to: MapId,
        /// Added before the last activation.
        add: Option<MapId>,
        /// Weights of the first.
        depthwise: Arc<Depthwise>,
        /// Weights of the second.
        pointwise: Arc<Packed>,
    },
    /// The greatest of 2×2 pixels.
    MaxPool {
        /// The input.
        from: MapId,
        /// The result.
        to: MapId,
    },
    /// `a + b`, each pixel of `b` standing for 2×2.
    UpsampleAdd {
        /// The larger.
        a: MapId,
        /// The smaller.
        b: MapId,
        /// The result.
        to: MapId,
    },
    /// Each channel's weighted sum over the whole map.
    Global {
        /// The input.
        from: MapId,
        /// The result, one pixel.
        to: MapId,
        /// Weights.
        weights: Arc<Global>,
    },
    /// Squeeze-and-excitation, and the sum with a shortcut: `from · gate(mean of from) + add`.
    Gated {
        /// The input.
        from: MapId,
        /// The shortcut.
        add: MapId,
        /// The result.
        to: MapId,
        /// Weights.
        gate: Arc<Gate>,
    },
    /// A fully connected layer over the whole map.
    Dense {
        /// The input.
        from: MapId,
        /// The result, one pixel.
        to: MapId,
        /// Weights.
        weights: Arc<Dense>,
    },
}

impl Step {
    /// The map it makes.
    pub fn to(&self) -> MapId {
        match self {
            Self::Conv3 { to, .. }
            | Self::Depthwise { to, .. }
            | Self::Pointwise { to, .. }
            | Self::DepthwisePointwise { to, .. }
            | Self::MaxPool { to, .. }
            | Self::UpsampleAdd { to, .. }
            | Self::Global { to, .. }
            | Self::Gated { to, .. }
            | Self::Dense { to, .. } => *to,
        }
    }

    /// The maps it reads.
    pub fn reads(&self) -> [Option<MapId>; 2] {
        match self {
            Self::Conv3 { from, .. }
            | Self::Depthwise { from, .. }
            | Self::MaxPool { from, .. }
            | Self::Global { from, .. }
            | Self::Dense { from, .. } => [Some(*from), None],
            Self::Pointwise { from, add, .. } | Self::DepthwisePointwise { from, add, .. } => {
                [Some(*from), *add]
            }
            Self::UpsampleAdd { a, b, .. } => [Some(*a), Some(*b)],
            Self::Gated { from, add, .. } => [Some(*from), Some(*add)],
        }
    }
}

/// A network for one input size. Cloning shares the weights.
#[derive(Clone, Debug)]
pub struct Plan {
    shapes: Vec<Shape>,
    steps: Vec<Step>,
}

impl Plan {
    /// A network that takes `height × width` pixels of three channels; the input is the returned map.
    pub fn new(height: usize, width: usize) -> (Self, MapId) {
        (Self { shapes: vec![Shape { height, width, channels: 3 }], steps: Vec::new() }, MapId(0))
    }

    /// All maps, the input first. Map `i + 1` is made by step `i`.
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// All steps, each after those it reads from.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Size of a map.
    pub fn shape(&self, id: MapId) -> Shape {
        self.shapes[id.0]
    }

    /// Values from one pixel of a map to the next on the CPU: whole cache lines, except in the input.
    pub fn pixel(&self, id: MapId) -> usize {
        let channels = self.shape(id).channels;
        if id.0 == 0 { channels } else { channels.next_multiple_of(LINE) }
    }

    fn make(&mut self, shape: Shape, step: impl FnOnce(MapId) -> Step) -> MapId {
        let to = MapId(self.shapes.len());
        self.shapes.push(shape);
        self.steps.push(step(to));
        to
    }

    fn strided(&self, from: MapId, stride: usize, channels: usize) -> Shape {
        let Shape { height, width, .. } = self.shape(from);
        Shape { height: height.div_ceil(stride), width: width.div_ceil(stride), channels }
    }

    /// Appends a dense 3×3 convolution.
    pub fn conv3(&mut self, from: MapId, weights: &Folded) -> MapId {
        let (stride, weights) = (weights.spec.stride, weights.packed_taps(self.pixel(from)));
        self.make(self.strided(from, stride, weights.n), |to| Step::Conv3 { from, to, stride, weights })
    }

    /// Appends a depthwise 3×3 convolution.
    pub fn depthwise(&mut self, from: MapId, weights: &Folded) -> MapId {
        let weights = weights.depthwise();
        let shape = self.strided(from, weights.stride, weights.channels);
        self.make(shape, |to| Step::Depthwise { from, to, weights })
    }

    /// Appends a 1×1 convolution, `add` going into its sum.
    pub fn pointwise(&mut self, from: MapId, add: Option<MapId>, weights: &Folded) -> MapId {
        let weights = weights.packed();
        self.make(self.strided(from, 1, weights.n), |to| Step::Pointwise { from, to, add, weights })
    }

    /// Appends a depthwise 3×3 and a 1×1 convolution, fused; `add` goes into the latter's sum.
    pub fn depthwise_pointwise(
        &mut self,
        from: MapId,
        add: Option<MapId>,
        dw: &Folded,
        pw: &Folded,
    ) -> MapId {
        let (depthwise, pointwise) = (dw.depthwise(), pw.packed());
        let shape = self.strided(from, depthwise.stride, pointwise.n);
        self.make(shape, |to| Step::DepthwisePointwise { from, to, add, depthwise, pointwise })
    }

    /// Appends a 2×2 max-pool.
    pub fn max_pool(&mut self, from: MapId) -> MapId {
        let Shape { height, width, channels } = self.shape(from);
        self.make(Shape { height: height / 2, width: width / 2, channels }, |to| Step::MaxPool { from, to })
    }

    /// Appends the sum of `a` and of `b` at twice its size.
    pub fn upsample_add(&mut self, a: MapId, b: MapId) -> MapId {
        self.make(self.shape(a), |to| Step::UpsampleAdd { a, b, to })
    }

    /// Appends a depthwise convolution over the whole map: each channel becomes one value.
    pub fn global(&mut self, from: MapId, weights: &Folded) -> MapId {
        let weights = Arc::new(weights.global());
        let channels = self.shape(from).channels;
        self.make(Shape { height: 1, width: 1, channels }, |to| Step::Global { from, to, weights })
    }

    /// Appends squeeze-and-excitation and the sum with `add`; `down` ends with a ReLU, a sigmoid follows `up`.
    pub fn gated(&mut self, from: MapId, add: MapId, down: &Folded, up: &Folded) -> MapId {
        let gate = Arc::new(Gate::new(down, up));
        self.make(self.shape(from), |to| Step::Gated { from, add, to, gate })
    }

    /// Appends a fully connected layer.
    pub fn dense(&mut self, from: MapId, weights: Dense) -> MapId {
        let (channels, weights) = (weights.outputs(), Arc::new(weights));
        self.make(Shape { height: 1, width: 1, channels }, |to| Step::Dense { from, to, weights })
    }
}
