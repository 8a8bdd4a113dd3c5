//! Running a plan on the CPU, depth first: a step makes a few rows as soon as those it reads are there, so that they are
//! read again while still in cache. Maps that one step hands to one other hold only as many rows as that takes. The rows
//! that a step makes at a time are shared among the threads of the network's team.

use std::ops::Range;

use pulp::Arch;

use super::buffer::{Buffer, LINE, Map};
use super::plan::{MapId, Plan, Shape, Step};
use super::pointwise::{Packed, PixelAt, Pixels};
use super::whole::{max_pool_row, upsample_add_row};
use crate::nn::team::{Team, in_parts};

/// Pixels that a step makes at a time at least: enough for whole blocks of the kernels.
const PIXELS: usize = 112;
/// Weights for one pixel of a batch: a step with more weights makes more pixels each time it goes through them.
const WEIGHTS_PER_PIXEL: usize = 64;
/// Values of a tile between a depthwise and a 1×1 convolution: half of a small second-level cache.
const TILE: usize = 64 * 1024;
/// Multiply-adds from which on a part of a step is worth handing to another thread.
const PART: usize = 1024 * 1024;
/// What making a value otherwise than by a 1×1 convolution weighs, in its multiply-adds.
const OTHER_WORK: usize = 16;

/// A network with memory for its maps. Cloning shares the weights and makes maps of its own.
#[derive(Clone, Debug)]
pub struct Net {
    plan: Plan,
    maps: Vec<Map>,
    /// Rows made of each map in this run.
    made: Vec<usize>,
    batches: Vec<Batch>,
    scratch: Scratch,
    team: Team,
    arch: Arch,
}

/// What a step makes at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Batch {
    rows: usize,
    /// How many threads share it.
    parts: usize,
}

/// Memory that steps use while they run.
#[derive(Clone, Debug)]
struct Scratch {
    /// A row of zeros above and below every map.
    zeros: Buffer,
    /// One for each thread.
    lanes: Vec<Lane>,
}

/// What each thread has for itself.
#[derive(Clone, Debug)]
struct Lane {
    /// Between a depthwise and a 1×1 convolution, or a layer's own.
    tile: Buffer,
    rows: Vec<PixelAt>,
}

impl Net {
    /// Makes the maps for a plan that one thread runs.
    pub fn new(plan: Plan) -> Self {
        Self::for_team(plan, &Team::default())
    }

    /// Makes the maps for a plan that a team runs. The results are those of one thread, bit for bit.
    pub fn for_team(plan: Plan, team: &Team) -> Self {
        Self::shared(plan, team, PART)
    }

    /// The same, `worth` being the multiply-adds from which on a part is handed over.
    fn shared(plan: Plan, team: &Team, worth: usize) -> Self {
        let steps = plan.steps();
        let batches: Vec<Batch> =
            steps.iter().map(|step| batch(step, plan.shape(step.to()), team.threads(), worth)).collect();
        let mut readers = vec![Vec::new(); plan.shapes().len()];
        for (i, step) in steps.iter().enumerate() {
            step.reads().into_iter().flatten().for_each(|map| readers[map.index()].push(i));
        }
        let maps: Vec<Map> = (0..plan.shapes().len())
            .map(|i| {
                let Shape { height, width, channels } = plan.shapes()[i];
                let held = match (i, readers[i].as_slice()) {
                    (0, _) => height,
                    // A whole number of batches: none of them goes round the end of the ring.
                    (_, [reader]) => {
                        window(&steps[*reader], batches[*reader].rows).map_or(height, |window| {
                            let made = batches[i - 1].rows;
                            (window + made).next_multiple_of(made)
                        })
                    }
                    _ => height,
                };
                Map::new((height, width), channels, plan.pixel(MapId(i)), held)
            })
            .collect();
        let longest_row = maps.iter().map(Map::row_len).max().unwrap_or(0);
        let needs = steps
            .iter()
            .zip(&batches)
            .map(|(step, batch)| needs(step, batch.rows.div_ceil(batch.parts), plan.shape(step.to()).width));
        let (tile, rows) = needs.fold((0, 0), |a, b| (a.0.max(b.0), a.1.max(b.1)));
        let lane = || Lane { tile: Buffer::new(tile), rows: Vec::with_capacity(rows) };
        let lanes = batches.iter().map(|batch| batch.parts).max().unwrap_or(1);
        let scratch = Scratch {
            zeros: Buffer::new(longest_row),
            lanes: std::iter::repeat_with(lane).take(lanes).collect(),
        };
        Self {
            made: vec![0; maps.len()],
            plan,
            maps,
            batches,
            scratch,
            team: team.clone(),
            arch: Arch::new(),
        }
    }

    /// What it runs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The input: row `y`, its pixels of three values, to be written before a run.
    pub fn input_row(&mut self, y: usize) -> &mut [f32] {
        let map = &mut self.maps[0];
        let (at, len) = (map.at(0, y), map.width * 3);
        &mut map.buffer.values_mut()[at..][..len]
    }

    /// Fills row `y` of the input with bytes as they are, its pixels one behind the other.
    pub fn fill_row(&mut self, y: usize, bytes: &[u8]) {
        let arch = self.arch;
        let row = self.input_row(y);
        arch.dispatch(
            #[inline(always)]
            || row.iter_mut().zip(bytes).for_each(|(to, &from)| *to = f32::from(from)),
        );
    }

    /// A map that no step reads, after a run.
    pub fn map(&self, id: MapId) -> &Map {
        &self.maps[id.index()]
    }

    /// Runs all steps.
    pub fn run(&mut self) {
        let team = self.team.clone();
        team.run(|| self.run_all());
    }

    fn run_all(&mut self) {
        self.made.fill(0);
        self.made[0] = self.maps[0].height;
        for map in 1..self.maps.len() {
            // The others are made as rows of them are asked for.
            if self.maps[map].held == self.maps[map].height {
                self.make(map, self.maps[map].height);
            }
        }
    }

    /// Makes map `to` up to row `rows`.
    fn make(&mut self, to: usize, rows: usize) {
        while self.made[to] < rows {
            let (first, batch) = (self.made[to], self.batches[to - 1]);
            let last = (first + batch.rows).min(self.maps[to].height);
            for from in self.plan.steps()[to - 1].reads().into_iter().flatten() {
                let needed = needed(&self.plan.steps()[to - 1], from, last, self.maps[from.index()].height);
                self.make(from.index(), needed);
            }
            // A step writes its own map and reads earlier ones.
            let (before, after) = self.maps.split_at_mut(to);
            let Scratch { zeros, lanes } = &mut self.scratch;
            let step = &self.plan.steps()[to - 1];
            let work = Work { step, before, zeros: zeros.values(), arch: self.arch };
            work.run(&mut after[0], first..last, &mut lanes[..batch.parts]);
            self.made[to] = last;
        }
    }
}

/// Rows of the step's result to be made at a time, and by how many of `threads`, parts being `worth` so many multiply-adds.
fn batch(step: &Step, shape: Shape, threads: usize, worth: usize) -> Batch {
    let weights = |w: &Packed| w.k * w.n;
    let (weights, tile) = match step {
        Step::Conv3 { weights: w, .. } | Step::Pointwise { weights: w, .. } => (weights(w), 0),
        Step::DepthwisePointwise { pointwise, .. } => (weights(pointwise), tile_pixel(pointwise.k)),
        Step::Depthwise { .. } | Step::MaxPool { .. } | Step::UpsampleAdd { .. } => (0, 0),
        Step::Global { .. } | Step::Gated { .. } => return Batch { rows: shape.height, parts: 1 },
        Step::Dense { .. } => return Batch { rows: shape.height, parts: threads },
    };
    let row = shape.width * (weights + OTHER_WORK * shape.channels);
    // What one thread makes at a time, and what is worth handing to another.
    let alone = PIXELS.max(weights / WEIGHTS_PER_PIXEL).div_ceil(shape.width);
    let part = if threads == 1 { alone } else { alone.max(worth.div_ceil(row)) };
    let most = if tile == 0 { shape.height } else { (TILE / (tile * shape.width)).max(1) };
    let rows = part.min(most) * threads;
    let rows = if 2 * rows > shape.height { shape.height.min(most * threads) } else { rows };
    Batch { rows, parts: (rows * row / worth).clamp(1, threads).max(rows.div_ceil(most)) }
}

/// Values from one pixel of a tile to the next: never a power of two, so that pixels do not fall on the same cache sets.
fn tile_pixel(channels: usize) -> usize {
    channels.next_multiple_of(LINE) + LINE
}

/// Rows of its input that a step needs at a time to make `batch` rows; `None` when it needs all.
fn window(step: &Step, batch: usize) -> Option<usize> {
    match step {
        Step::Conv3 { stride, .. } => Some((batch - 1) * stride + 3),
        Step::Depthwise { weights: dw, .. } | Step::DepthwisePointwise { depthwise: dw, .. } => {
            Some((batch - 1) * dw.stride + 3)
        }
        Step::Pointwise { .. } => Some(batch),
        Step::MaxPool { .. } => Some(2 * batch),
        Step::UpsampleAdd { .. } | Step::Global { .. } | Step::Gated { .. } | Step::Dense { .. } => None,
    }
}

/// How many rows of `from`, which has `height`, must be there before rows up to `last` can be made.
fn needed(step: &Step, from: MapId, last: usize, height: usize) -> usize {
    let rows = match step {
        Step::Conv3 { stride, .. } => (last - 1) * stride + 2,
        Step::DepthwisePointwise { add: Some(add), .. } if *add == from => last,
        Step::Depthwise { weights: dw, .. } | Step::DepthwisePointwise { depthwise: dw, .. } => {
            (last - 1) * dw.stride + 2
        }
        Step::Pointwise { .. } => last,
        Step::MaxPool { .. } => 2 * last,
        Step::UpsampleAdd { a, .. } if *a == from => last,
        Step::UpsampleAdd { .. } => last.div_ceil(2),
        Step::Global { .. } | Step::Gated { .. } | Step::Dense { .. } => height,
    };
    rows.min(height)
}

/// Values of the tile and entries of the list that a step needs for `rows` rows of `width`.
fn needs(step: &Step, rows: usize, width: usize) -> (usize, usize) {
    match step {
        Step::DepthwisePointwise { pointwise, .. } => (rows * width * tile_pixel(pointwise.k), rows),
        Step::Pointwise { .. } => (0, rows),
        Step::Conv3 { .. } => (0, 0),
        Step::Gated { gate, .. } => (gate.scratch(), 0),
        Step::Dense { weights, .. } => (weights.scratch(), 0),
        Step::Depthwise { .. } | Step::MaxPool { .. } | Step::UpsampleAdd { .. } | Step::Global { .. } => {
            (0, 0)
        }
    }
}

/// A step with what it reads.
struct Work<'a> {
    step: &'a Step,
    /// The maps before its own.
    before: &'a [Map],
    zeros: &'a [f32],
    arch: Arch,
}

impl Work<'_> {
    /// Makes some rows of the step's map `to`, shared among `lanes`.
    fn run(&self, to: &mut Map, rows: Range<usize>, lanes: &mut [Lane]) {
        let map = |id: &MapId| &self.before[id.index()];
        let (at, channels) = (to.at(0, 0), to.channels);
        match self.step {
            Step::Global { from, weights, .. } => {
                weights.run(map(from), &mut to.buffer.values_mut()[at..][..channels]);
            }
            Step::Gated { from, add, gate, .. } => {
                gate.run(map(from), map(add), to, lanes[0].tile.values_mut());
            }
            Step::Dense { from, weights, .. } => {
                let parts = lanes.len();
                let out = &mut to.buffer.values_mut()[at..][..channels];
                weights.run(map(from), out, lanes[0].tile.values_mut(), parts);
            }
            _ => {
                let (len, width, pixel) = (to.row_len(), to.width, to.pixel);
                // Rows of a batch lie one behind the other: rings hold whole batches.
                let at = to.row_at(rows.start);
                let values = &mut to.buffer.values_mut()[at..][..rows.len() * len];
                in_parts(rows, len, values, lanes, &|rows, values, lane| {
                    self.rows(Rows { rows, width, pixel, values }, lane);
                });
            }
        }
    }

    /// Makes the rows of one part.
    fn rows(&self, mut to: Rows<'_>, lane: &mut Lane) {
        let map = |id: &MapId| &self.before[id.index()];
        let (width, pixel) = (to.width, to.pixel);
        match self.step {
            Step::Conv3 { from, stride, weights, .. } => {
                for y in to.rows.clone() {
                    let (from, row) = (map(from), to.row(y));
                    let rows = from.three_rows(y * stride, self.zeros);
                    let step = PixelAt { input: stride * from.pixel, output: pixel, add: 0 };
                    let pixels = Pixels { rows: &[PixelAt::default()], width, step };
                    weights.run(&rows, row, None, pixels);
                }
            }
            Step::Depthwise { from, weights, .. } => {
                for y in to.rows.clone() {
                    let rows = map(from).three_rows(y * weights.stride, self.zeros);
                    weights.run_row(rows, width, to.row(y), pixel);
                }
            }
            Step::Pointwise { from, add, weights, .. } => {
                let (from, add) = (map(from), add.as_ref().map(map));
                let pixels = list(&mut lane.rows, &to, add, from.pixel, |y| from.at(0, y));
                weights.run(&[from.buffer.values()], to.values, add.map(|m| m.buffer.values()), pixels);
            }
            Step::DepthwisePointwise { from, add, depthwise, pointwise, .. } => {
                let (from, add, between) = (map(from), add.as_ref().map(map), tile_pixel(depthwise.channels));
                let (row, first) = (width * between, to.rows.start);
                for (y, out) in to.rows.clone().zip(lane.tile.values_mut().chunks_exact_mut(row)) {
                    let rows = from.three_rows(y * depthwise.stride, self.zeros);
                    depthwise.run_row(rows, width, out, between);
                }
                let pixels = list(&mut lane.rows, &to, add, between, |y| (y - first) * row);
                let add = add.map(|m| m.buffer.values());
                pointwise.run(&[lane.tile.values()], to.values, add, pixels);
            }
            Step::MaxPool { from, .. } => {
                to.rows.clone().for_each(|y| max_pool_row(self.arch, map(from), to.row(y), y));
            }
            Step::UpsampleAdd { a, b, .. } => {
                to.rows.clone().for_each(|y| upsample_add_row(self.arch, map(a), map(b), to.row(y), y));
            }
            Step::Global { .. } | Step::Gated { .. } | Step::Dense { .. } => {
                unreachable!("it makes its map at once")
            }
        }
    }
}

/// Some rows of a map, to be written.
struct Rows<'a> {
    rows: Range<usize>,
    /// Pixels of a row, without the zeros at its sides.
    width: usize,
    /// Values from one pixel to the next.
    pixel: usize,
    /// The rows, each with the zeros at its sides.
    values: &'a mut [f32],
}

impl Rows<'_> {
    /// Where the first pixel of row `y` begins in `values`.
    fn at(&self, y: usize) -> usize {
        ((y - self.rows.start) * (self.width + 2) + 1) * self.pixel
    }

    /// The pixels of row `y`.
    fn row(&mut self, y: usize) -> &mut [f32] {
        let (at, len) = (self.at(y), self.width * self.pixel);
        &mut self.values[at..][..len]
    }
}

/// Lists where some rows begin in what is read, in those rows and in what is added; pixels of what is read are `pixel`
/// values apart.
fn list<'a>(
    list: &'a mut Vec<PixelAt>,
    to: &Rows<'_>,
    add: Option<&Map>,
    pixel: usize,
    input: impl Fn(usize) -> usize,
) -> Pixels<'a> {
    let at = |y| PixelAt { input: input(y), output: to.at(y), add: add.map_or(0, |map| map.at(0, y)) };
    list.clear();
    list.extend(to.rows.clone().map(at));
    let step = PixelAt { input: pixel, output: to.pixel, add: add.map_or(0, |map| map.pixel) };
    Pixels { rows: list, width: to.width, step }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nn::fused::Folded;
    use crate::nn::onnx::ConvSpec;

    /// Seeded values from −1 to 1.
    fn noise(len: usize, seed: usize) -> Vec<f32> {
        let value = |i: usize| ((i * 7919 + seed * 104_729 + 1).wrapping_mul(2_654_435_761) >> 7) % 2000;
        (0..len).map(|i| value(i) as f32 / 1000.0 - 1.0).collect()
    }

    fn folded(spec: ConvSpec, seed: usize) -> Folded {
        let per_output = spec.cin / spec.groups * spec.kernel * spec.kernel;
        let mut weight = noise(spec.cout * per_output, seed);
        weight.iter_mut().for_each(|w| *w /= (per_output as f32).sqrt());
        let slope = match seed % 3 {
            0 => vec![1.0; spec.cout],
            1 => vec![0.0; spec.cout],
            _ => noise(spec.cout, seed + 1),
        };
        Folded { spec, weight, bias: noise(spec.cout, seed + 2), slope }
    }

    /// A map by its definition: shape, and values by row, pixel and channel.
    #[derive(Clone)]
    struct Plain(Shape, Vec<f32>);

    impl Plain {
        fn at(&self, y: isize, x: isize, c: usize) -> f32 {
            let Shape { height, width, channels } = self.0;
            let inside = y >= 0 && x >= 0 && y < height as isize && x < width as isize;
            if inside { self.1[(y as usize * width + x as usize) * channels + c] } else { 0.0 }
        }

        fn make(shape: Shape, value: impl Fn(usize, usize, usize) -> f32) -> Self {
            let Shape { height, width, channels } = shape;
            let places = (0..height * width * channels)
                .map(|i| (i / channels / width, i / channels % width, i % channels));
            Self(shape, places.map(|(y, x, c)| value(y, x, c)).collect())
        }

        fn conv(&self, w: &Folded, add: Option<&Self>) -> Self {
            let (spec, k) = (w.spec, w.spec.kernel);
            let (per_group, per_out) = (spec.cin / spec.groups, spec.cout / spec.groups);
            let side = |v: usize| (v + 2 * spec.pad - k) / spec.stride + 1;
            let shape = Shape { height: side(self.0.height), width: side(self.0.width), channels: spec.cout };
            Self::make(shape, |y, x, o| {
                let mut sum = f64::from(w.bias[o]);
                for i in 0..per_group * k * k {
                    let (c, dy, dx) = (i / (k * k), i / k % k, i % k);
                    let place = |v: usize, d: usize| (v * spec.stride + d) as isize - spec.pad as isize;
                    let value = self.at(place(y, dy), place(x, dx), o / per_out * per_group + c);
                    sum += f64::from(value) * f64::from(w.weight[o * per_group * k * k + i]);
                }
                let y = sum as f32 + add.map_or(0.0, |a| a.at(y as isize, x as isize, o));
                if y < 0.0 { y * w.slope[o] } else { y }
            })
        }
    }

    /// Builds a network and computes every map by its definition at the same time.
    struct Twin {
        plan: Plan,
        plain: Vec<Plain>,
        seed: usize,
    }

    impl Twin {
        fn new(height: usize, width: usize, seed: usize) -> (Self, MapId) {
            let (plan, input) = Plan::new(height, width);
            let shape = plan.shape(input);
            let values = noise(height * width * 3, seed);
            (Self { plan, plain: vec![Plain(shape, values)], seed }, input)
        }

        fn weights(&mut self, spec: ConvSpec) -> Folded {
            self.seed += 1;
            folded(spec, self.seed)
        }

        /// One more layer of kind `kind` after `at`.
        fn layer(&mut self, kind: u8, at: MapId, cout: usize) -> MapId {
            let from = self.plain[at.index()].clone();
            let Shape { height, width, channels: c } = from.0;
            let stride = 1 + usize::from(kind.is_multiple_of(2) && height > 2 && width > 2);
            let (to, plain) = match kind {
                0 | 1 => {
                    let dw = self.weights(ConvSpec::depthwise3(c, stride));
                    (self.plan.depthwise(at, &dw), from.conv(&dw, None))
                }
                2 | 3 => {
                    let dw = self.weights(ConvSpec::depthwise3(c, stride));
                    let pw = self.weights(ConvSpec::pointwise(c, cout));
                    (self.plan.depthwise_pointwise(at, None, &dw, &pw), from.conv(&dw, None).conv(&pw, None))
                }
                8 => {
                    let conv = self.weights(ConvSpec::dense3(c, cout, stride));
                    (self.plan.conv3(at, &conv), from.conv(&conv, None))
                }
                4 => {
                    let pw = self.weights(ConvSpec::pointwise(c, cout));
                    (self.plan.pointwise(at, None, &pw), from.conv(&pw, None))
                }
                // An inverted residual.
                5 => {
                    let up = self.weights(ConvSpec::pointwise(c, cout));
                    let dw = self.weights(ConvSpec::depthwise3(cout, 1));
                    let down = self.weights(ConvSpec::pointwise(cout, c));
                    let middle = self.plan.pointwise(at, None, &up);
                    self.plain.push(from.conv(&up, None));
                    let to = self.plan.depthwise_pointwise(middle, Some(at), &dw, &down);
                    (to, from.conv(&up, None).conv(&dw, None).conv(&down, Some(&from)))
                }
                6 if height > 1 && width > 1 => {
                    let shape = Shape { height: height / 2, width: width / 2, channels: c };
                    let plain = Plain::make(shape, |y, x, c| {
                        let of = |d: isize| from.at(2 * y as isize + d / 2, 2 * x as isize + d % 2, c);
                        (0..4).map(of).fold(f32::MIN, f32::max)
                    });
                    (self.plan.max_pool(at), plain)
                }
                // A level of a pyramid: half the size, and back.
                7 if height % 2 == 0 && width % 2 == 0 => {
                    let dw = self.weights(ConvSpec::depthwise3(c, 2));
                    let small = self.plan.depthwise(at, &dw);
                    let half = from.conv(&dw, None);
                    self.plain.push(half.clone());
                    let plain = Plain::make(from.0, |y, x, c| {
                        from.at(y as isize, x as isize, c) + half.at(y as isize / 2, x as isize / 2, c)
                    });
                    (self.plan.upsample_add(at, small), plain)
                }
                _ => {
                    let squeezed = cout.div_ceil(4);
                    let mut down = self.weights(ConvSpec::pointwise(c, squeezed));
                    down.slope.fill(0.0);
                    let mut up = self.weights(ConvSpec::pointwise(squeezed, c));
                    up.slope.fill(1.0);
                    let one = Shape { height: 1, width: 1, channels: c };
                    let mean = Plain::make(one, |_, _, i| {
                        from.1.iter().skip(i).step_by(c).sum::<f32>() / (height * width) as f32
                    });
                    let gate = mean.conv(&down, None).conv(&up, None);
                    let plain = Plain::make(from.0, |y, x, i| {
                        let v = from.at(y as isize, x as isize, i);
                        v / (1.0 + (-gate.1[i]).exp()) + v
                    });
                    (self.plan.gated(at, at, &down, &up), plain)
                }
            };
            self.plain.push(plain);
            to
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
        #[test]
        fn any_network_equals_its_definition(
            height in 5_usize..60, width in 5_usize..60, seed in 0_usize..10_000, stride in 1_usize..3,
            layers in prop::collection::vec((0_u8..10, 1_usize..40), 1..6),
        ) {
            let (mut twin, input) = Twin::new(height, width, seed);
            let stem = twin.weights(ConvSpec::dense3(3, layers[0].1, stride));
            let mut at = twin.plan.conv3(input, &stem);
            twin.plain.push(twin.plain[0].conv(&stem, None));
            for (kind, cout) in &layers {
                at = twin.layer(*kind, at, *cout);
            }
            let shape = twin.plain[at.index()].0;
            let global = twin.weights(ConvSpec {
                cin: shape.channels, cout: shape.channels, kernel: shape.height, stride: 1, pad: 0, groups: shape.channels,
            });
            let mut ends = vec![at];
            if shape.height == shape.width {
                ends = vec![twin.plan.global(at, &Folded { slope: vec![1.0; shape.channels], ..global.clone() })];
                let plain = twin.plain[at.index()].conv(&Folded { slope: vec![1.0; shape.channels], ..global }, None);
                twin.plain.push(plain);
            }
            let team = Team::new(1 + seed % 3).unwrap();
            let (mut net, mut alone) = (Net::shared(twin.plan.clone(), &team, 1024), Net::new(twin.plan.clone()));
            // Twice: nothing of the run before may be left.
            for factor in [-3.0, 1.0] {
                for net in [&mut net, &mut alone] {
                    for y in 0..height {
                        let row = &twin.plain[0].1[3 * width * y..][..3 * width];
                        net.input_row(y).iter_mut().zip(row).for_each(|(to, from)| *to = from * factor);
                    }
                    net.run();
                }
            }
            for end in ends {
                let Plain(shape, want) = &twin.plain[end.index()];
                prop_assert_eq!(*shape, twin.plan.shape(end));
                prop_assert_eq!(net.map(end).buffer.values(), alone.map(end).buffer.values());
                for (i, want) in want.iter().enumerate() {
                    let pixel = i / shape.channels;
                    let got = net.map(end).pixel_at(pixel % shape.width, pixel / shape.width)[i % shape.channels];
                    prop_assert!((got - want).abs() < 1e-4 * want.abs().max(1.0), "{} for {}", got, want);
                }
            }
        }
    }

    #[test]
    fn what_only_the_next_step_reads_is_not_kept() {
        let (mut twin, input) = Twin::new(112, 112, 1);
        let stem = twin.weights(ConvSpec::dense3(3, 32, 1));
        let first = twin.plan.conv3(input, &stem);
        let pw = twin.weights(ConvSpec::pointwise(32, 16));
        let last = twin.plan.pointwise(first, None, &pw);
        let net = Net::new(twin.plan);
        assert!(net.map(first).held < 10 && net.map(last).held == 112);
    }
}
