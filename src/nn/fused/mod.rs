//! Networks in their inference form: a list of fused layers over feature maps that are made once and reused from
//! frame to frame. Batch norms are folded into the convolutions before them, weights are packed for the CPU's vector
//! width (found at run time), and a depthwise convolution hands its rows to the 1×1 convolution after it while they
//! are still in cache.
//!
//! The trainable form of every network is the definition; a test holds both together.

mod buffer;
mod conv;
mod depthwise;
mod gemm;
mod layers;

use std::sync::Arc;

pub use buffer::Map;
use buffer::{Buffer, LINE};
use depthwise::Depthwise;
use gemm::{Packed, RowAt};
pub use layers::{Dense, Folded, fold};

/// Values of a tile between a depthwise and a 1×1 convolution: a quarter of a small second-level cache.
const TILE: usize = 32 * 1024;

/// One of a network's feature maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapId(usize);

/// One step of a network. Maps are named by their number.
#[derive(Clone, Debug)]
enum Step {
    /// Dense 3×3 on three channels, as a matrix product over gathered neighbourhoods.
    Stem {
        from: usize,
        to: usize,
        stride: usize,
        weights: Arc<Packed>,
    },
    Depthwise {
        from: usize,
        to: usize,
        weights: Arc<Depthwise>,
    },
    Pointwise {
        from: usize,
        to: usize,
        add: Option<usize>,
        weights: Arc<Packed>,
        rows: Vec<RowAt>,
    },
    DepthwisePointwise {
        from: usize,
        to: usize,
        add: Option<usize>,
        depthwise: Arc<Depthwise>,
        pointwise: Arc<Packed>,
    },
    /// Dense 3×3 of stride 1 on a map of any depth.
    Conv3 {
        from: usize,
        to: usize,
        weights: Arc<Packed>,
    },
    MaxPool {
        from: usize,
        to: usize,
    },
    /// `to = a + b`, each value of `b` standing for 2×2.
    UpsampleAdd {
        a: usize,
        b: usize,
        to: usize,
    },
    /// Each channel's weighted sum over the whole map.
    Global {
        from: usize,
        to: usize,
        weights: Arc<Vec<f32>>,
        bias: Arc<Vec<f32>>,
    },
}

/// A network for one input size. Cloning shares the weights and makes maps of its own.
#[derive(Clone, Debug)]
pub struct Net {
    steps: Vec<Step>,
    maps: Vec<Map>,
    tile: Buffer,
    tile_rows: Vec<RowAt>,
}

impl Net {
    /// A network that takes `height × width` pixels of three channels; the input is the returned map.
    pub fn new(height: usize, width: usize) -> (Self, MapId) {
        let input = Map::with_pixel(height, width, 3, 3);
        let net = Self { steps: Vec::new(), maps: vec![input], tile: Buffer::new(0), tile_rows: Vec::new() };
        (net, MapId(0))
    }

    fn make(&mut self, height: usize, width: usize, channels: usize) -> MapId {
        self.maps.push(Map::new(height, width, channels));
        MapId(self.maps.len() - 1)
    }

    fn reserve_tile(&mut self, values: usize, rows: usize) {
        if self.tile.values().len() < values {
            self.tile = Buffer::new(values);
        }
        self.tile_rows.reserve(rows.saturating_sub(self.tile_rows.capacity()));
    }

    /// Appends a dense 3×3 convolution on the three-channel input.
    pub fn stem(&mut self, from: MapId, weights: &Folded) -> MapId {
        let stride = weights.spec.stride;
        let map = &self.maps[from.0];
        let to = self.make(map.height.div_ceil(stride), map.width.div_ceil(stride), weights.spec.cout);
        let width = self.maps[to.0].width;
        self.reserve_tile(width * STEM_PIXEL, width);
        self.steps.push(Step::Stem { from: from.0, to: to.0, stride, weights: Arc::clone(&weights.packed) });
        to
    }

    /// Appends a depthwise 3×3 convolution.
    pub fn depthwise(&mut self, from: MapId, weights: &Folded) -> MapId {
        let depthwise = Arc::clone(&weights.depthwise);
        let to = self.after_depthwise(from, &depthwise, depthwise.channels);
        self.steps.push(Step::Depthwise { from: from.0, to: to.0, weights: depthwise });
        to
    }

    fn after_depthwise(&mut self, from: MapId, depthwise: &Depthwise, channels: usize) -> MapId {
        let map = &self.maps[from.0];
        let side = |v: usize| v.div_ceil(depthwise.stride);
        let (height, width) = (side(map.height), side(map.width));
        self.make(height, width, channels)
    }

    /// Appends a 1×1 convolution, `add` going into its sum.
    pub fn pointwise(&mut self, from: MapId, add: Option<MapId>, weights: &Folded) -> MapId {
        let map = &self.maps[from.0];
        let to = self.make(map.height, map.width, weights.spec.cout);
        let (from_map, to_map) = (&self.maps[from.0], &self.maps[to.0]);
        let places = (0..to_map.height).flat_map(|y| (0..to_map.width).map(move |x| (x, y)));
        let rows = places.map(|(x, y)| RowAt { input: from_map.at(x, y), output: to_map.at(x, y) }).collect();
        let weights = Arc::clone(&weights.packed);
        self.steps.push(Step::Pointwise { from: from.0, to: to.0, add: add.map(|m| m.0), weights, rows });
        to
    }

    /// Appends a depthwise 3×3 and a 1×1 convolution, fused; `add` goes into the latter's sum.
    pub fn depthwise_pointwise(
        &mut self,
        from: MapId,
        add: Option<MapId>,
        dw: &Folded,
        pw: &Folded,
    ) -> MapId {
        let (depthwise, pointwise) = (Arc::clone(&dw.depthwise), Arc::clone(&pw.packed));
        let to = self.after_depthwise(from, &depthwise, pw.spec.cout);
        let map = &self.maps[to.0];
        let (pixels, tile) = (map.width * map.height, tile_shape(map, pw.spec.cin));
        self.reserve_tile(tile.rows * map.width * tile.pixel, pixels);
        let add = add.map(|m| m.0);
        self.steps.push(Step::DepthwisePointwise { from: from.0, to: to.0, add, depthwise, pointwise });
        to
    }

    /// Appends a 2×2 max-pool.
    pub fn max_pool(&mut self, from: MapId) -> MapId {
        let map = &self.maps[from.0];
        let (height, width, channels) = (map.height / 2, map.width / 2, map.channels);
        let to = self.make(height, width, channels);
        self.steps.push(Step::MaxPool { from: from.0, to: to.0 });
        to
    }

    /// Appends the sum of `a` and of `b` at twice its size.
    pub fn upsample_add(&mut self, a: MapId, b: MapId) -> MapId {
        let map = &self.maps[a.0];
        let (height, width, channels) = (map.height, map.width, map.channels);
        let to = self.make(height, width, channels);
        self.steps.push(Step::UpsampleAdd { a: a.0, b: b.0, to: to.0 });
        to
    }

    /// Appends a depthwise convolution over the whole map: each channel becomes one value.
    pub fn global(&mut self, from: MapId, weights: &Folded) -> MapId {
        let channels = self.maps[from.0].channels;
        let to = self.make(1, 1, channels);
        let (weights, bias) = (Arc::clone(&weights.weight), Arc::clone(&weights.bias));
        self.steps.push(Step::Global { from: from.0, to: to.0, weights, bias });
        to
    }

    /// A map, after a run.
    pub fn map(&self, id: MapId) -> &Map {
        &self.maps[id.0]
    }

    /// The input: row `y`, its pixels of three values, to be written before a run.
    pub fn input_row(&mut self, y: usize) -> &mut [f32] {
        let map = &mut self.maps[0];
        let (at, len) = (map.at(0, y), map.width * 3);
        &mut map.buffer.values_mut()[at..][..len]
    }

    /// Runs all steps.
    pub fn run(&mut self) {
        for step in &self.steps {
            // A step writes its own map and reads earlier ones.
            let (before, after) = self.maps.split_at_mut(step.to());
            let to = &mut after[0];
            match step {
                Step::Stem { from, stride, weights, .. } => {
                    stem(&before[*from], to, *stride, weights, &mut self.tile, &mut self.tile_rows);
                }
                Step::Depthwise { from, weights, .. } => {
                    for y in 0..to.height {
                        let (at, width, pixel) = (to.at(0, y), to.width, to.pixel);
                        weights.run_row(&before[*from], y, width, &mut to.buffer.values_mut()[at..], pixel);
                    }
                }
                Step::Pointwise { from, add, weights, rows, .. } => {
                    let add = add.map(|m| before[m].buffer.values());
                    weights.run(before[*from].buffer.values(), to.buffer.values_mut(), add, rows);
                }
                Step::DepthwisePointwise { from, add, depthwise, pointwise, .. } => {
                    let add = add.map(|m| &before[m]);
                    let tile = (&mut self.tile, &mut self.tile_rows);
                    depthwise_pointwise(&before[*from], to, add, depthwise, pointwise, tile);
                }
                Step::Conv3 { from, weights, .. } => {
                    conv::run(&before[*from], to, weights, &mut self.tile, &mut self.tile_rows);
                }
                Step::MaxPool { from, .. } => max_pool(&before[*from], to),
                Step::UpsampleAdd { a, b, .. } => upsample_add(&before[*a], &before[*b], to),
                Step::Global { from, weights, bias, .. } => global(&before[*from], to, weights, bias),
            }
        }
    }
}

impl Step {
    fn to(&self) -> usize {
        match self {
            Self::Stem { to, .. }
            | Self::Depthwise { to, .. }
            | Self::Pointwise { to, .. }
            | Self::DepthwisePointwise { to, .. }
            | Self::Conv3 { to, .. }
            | Self::MaxPool { to, .. }
            | Self::UpsampleAdd { to, .. }
            | Self::Global { to, .. } => *to,
        }
    }
}

/// Values from one gathered neighbourhood (27 values) to the next.
const STEM_PIXEL: usize = 28;

fn stem(from: &Map, to: &mut Map, stride: usize, weights: &Packed, tile: &mut Buffer, rows: &mut Vec<RowAt>) {
    let input = from.buffer.values();
    for y in 0..to.height {
        let gathered = tile.values_mut();
        rows.clear();
        for x in 0..to.width {
            let pixel = &mut gathered[x * STEM_PIXEL..][..27];
            for (dy, nine) in pixel.chunks_exact_mut(9).enumerate() {
                let at = (y * stride + dy) * from.row() + x * stride * 3;
                nine.copy_from_slice(&input[at..][..9]);
            }
            rows.push(RowAt { input: x * STEM_PIXEL, output: to.at(x, y) });
        }
        weights.run(tile.values(), to.buffer.values_mut(), None, rows);
    }
}

struct TileShape {
    /// Output rows in a tile.
    rows: usize,
    /// Values from one pixel to the next: never a power of two, so that pixels do not fall on the same cache sets.
    pixel: usize,
}

fn tile_shape(to: &Map, channels: usize) -> TileShape {
    let pixel = channels.next_multiple_of(LINE) + LINE;
    TileShape { rows: (TILE / (pixel * to.width)).clamp(1, to.height), pixel }
}

fn depthwise_pointwise(
    from: &Map,
    to: &mut Map,
    add: Option<&Map>,
    depthwise: &Depthwise,
    pointwise: &Packed,
    (tile, rows): (&mut Buffer, &mut Vec<RowAt>),
) {
    let shape = tile_shape(to, depthwise.channels);
    let mut first = 0;
    while first < to.height {
        let last = (first + shape.rows).min(to.height);
        rows.clear();
        for y in first..last {
            let begin = (y - first) * to.width * shape.pixel;
            depthwise.run_row(from, y, to.width, &mut tile.values_mut()[begin..], shape.pixel);
            rows.extend((0..to.width).map(|x| RowAt { input: begin + x * shape.pixel, output: to.at(x, y) }));
        }
        pointwise.run(tile.values(), to.buffer.values_mut(), add.map(|m| m.buffer.values()), rows);
        first = last;
    }
}

fn max_pool(from: &Map, to: &mut Map) {
    let (input, pixel, row) = (from.buffer.values(), from.pixel, from.row());
    for y in 0..to.height {
        for x in 0..to.width {
            let (a, o) = (from.at(2 * x, 2 * y), to.at(x, y));
            let [p, q, r, s] = [a, a + pixel, a + row, a + row + pixel].map(|at| &input[at..][..pixel]);
            let out = &mut to.buffer.values_mut()[o..][..pixel];
            for (c, o) in out.iter_mut().enumerate() {
                *o = p[c].max(q[c]).max(r[c].max(s[c]));
            }
        }
    }
}

fn upsample_add(a: &Map, b: &Map, to: &mut Map) {
    for y in 0..to.height {
        for x in 0..to.width {
            let (i, j, o) = (a.at(x, y), b.at(x / 2, y / 2), to.at(x, y));
            let (p, q) = (&a.buffer.values()[i..][..a.pixel], &b.buffer.values()[j..][..b.pixel]);
            for ((o, p), q) in to.buffer.values_mut()[o..].iter_mut().zip(p).zip(q) {
                *o = p + q;
            }
        }
    }
}

fn global(from: &Map, to: &mut Map, weights: &[f32], bias: &[f32]) {
    let pixels = from.width * from.height;
    let at = to.at(0, 0);
    let out = &mut to.buffer.values_mut()[at..][..from.channels];
    out.copy_from_slice(bias);
    for y in 0..from.height {
        for x in 0..from.width {
            let tap = y * from.width + x;
            for ((c, o), v) in out.iter_mut().enumerate().zip(from.pixel_at(x, y)) {
                *o += v * weights[c * pixels + tap];
            }
        }
    }
}
