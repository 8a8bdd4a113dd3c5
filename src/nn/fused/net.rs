//! Running a plan on the CPU, depth first: a step makes a few rows as soon as those it reads are there, so that they are
//! read again while still in cache. Maps that one step hands to one other hold only as many rows as that takes.

use super::buffer::{Buffer, LINE, Map};
use super::plan::{MapId, Plan, Shape, Step};
use super::pointwise::{Packed, PixelAt};
use super::whole::{max_pool_row, upsample_add_row};

/// Pixels that a step makes at a time at least: enough for whole blocks of the kernels.
const PIXELS: usize = 112;
/// Weights for one pixel of a batch: a step with more weights makes more pixels each time it goes through them.
const WEIGHTS_PER_PIXEL: usize = 64;
/// Values of a tile between a depthwise and a 1×1 convolution: half of a small second-level cache.
const TILE: usize = 64 * 1024;

/// A network with memory for its maps. Cloning shares the weights and makes maps of its own.
#[derive(Clone, Debug)]
pub struct Net {
    plan: Plan,
    maps: Vec<Map>,
    /// Rows made of each map in this run.
    made: Vec<usize>,
    /// Rows that each step makes at a time.
    batch: Vec<usize>,
    scratch: Scratch,
}

/// Memory that steps use while they run.
#[derive(Clone, Debug)]
struct Scratch {
    /// A row of zeros above and below every map.
    zeros: Buffer,
    /// Between a depthwise and a 1×1 convolution, or a layer's own.
    tile: Buffer,
    pixels: Vec<PixelAt>,
}

impl Net {
    /// Makes the maps for a plan.
    pub fn new(plan: Plan) -> Self {
        let batch: Vec<usize> = plan.steps().iter().map(|step| batch(step, plan.shape(step.to()))).collect();
        let mut readers = vec![Vec::new(); plan.shapes().len()];
        for (i, step) in plan.steps().iter().enumerate() {
            step.reads().into_iter().flatten().for_each(|map| readers[map.index()].push(i));
        }
        let maps: Vec<Map> = (0..plan.shapes().len())
            .map(|i| {
                let Shape { height, width, channels } = plan.shapes()[i];
                let held = match (i, readers[i].as_slice()) {
                    (0, _) => height,
                    (_, [reader]) => window(&plan.steps()[*reader], batch[*reader])
                        .map_or(height, |window| window + batch[i - 1]),
                    _ => height,
                };
                Map::new((height, width), channels, plan.pixel(MapId(i)), held)
            })
            .collect();
        let longest_row = maps.iter().map(Map::row_len).max().unwrap_or(0);
        let needs = plan
            .steps()
            .iter()
            .zip(&batch)
            .map(|(step, &rows)| needs(step, rows, plan.shape(step.to()).width));
        let (tile, pixels) = needs.fold((0, 0), |a, b| (a.0.max(b.0), a.1.max(b.1)));
        let scratch = Scratch {
            zeros: Buffer::new(longest_row),
            tile: Buffer::new(tile),
            pixels: Vec::with_capacity(pixels),
        };
        Self { made: vec![0; maps.len()], plan, maps, batch, scratch }
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

    /// A map that no step reads, after a run.
    pub fn map(&self, id: MapId) -> &Map {
        &self.maps[id.index()]
    }

    /// Runs all steps.
    pub fn run(&mut self) {
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
            let first = self.made[to];
            let last = (first + self.batch[to - 1]).min(self.maps[to].height);
            for from in self.plan.steps()[to - 1].reads().into_iter().flatten() {
                let needed = needed(&self.plan.steps()[to - 1], from, last, self.maps[from.index()].height);
                self.make(from.index(), needed);
            }
            // A step writes its own map and reads earlier ones.
            let (before, after) = self.maps.split_at_mut(to);
            rows_of(&self.plan.steps()[to - 1], before, &mut after[0], (first, last), &mut self.scratch);
            self.made[to] = last;
        }
    }
}

/// Rows of the step's result to be made at a time.
fn batch(step: &Step, shape: Shape) -> usize {
    let weights = |w: &Packed| w.k * w.n;
    let (weights, tile) = match step {
        Step::Conv3 { weights: w, .. } | Step::Pointwise { weights: w, .. } => (weights(w), 0),
        Step::DepthwisePointwise { pointwise, .. } => (weights(pointwise), tile_pixel(pointwise.k)),
        Step::Depthwise { .. } | Step::MaxPool { .. } | Step::UpsampleAdd { .. } => (0, 0),
        Step::Global { .. } | Step::Gated { .. } | Step::Dense { .. } => return shape.height,
    };
    let pixels = PIXELS.max(weights / WEIGHTS_PER_PIXEL);
    let rows = pixels.div_ceil(shape.width);
    let most = if tile == 0 { shape.height } else { (TILE / (tile * shape.width)).max(1) };
    if 2 * rows > shape.height { shape.height.min(most) } else { rows.min(most) }
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

/// Values of the tile and pixels that a step needs for `rows` rows of `width`.
fn needs(step: &Step, rows: usize, width: usize) -> (usize, usize) {
    match step {
        Step::DepthwisePointwise { pointwise, .. } => (rows * width * tile_pixel(pointwise.k), rows * width),
        Step::Conv3 { .. } | Step::Pointwise { .. } => (0, rows * width),
        Step::Gated { gate, .. } => (gate.scratch(), 0),
        Step::Dense { weights, .. } => (weights.scratch(), 0),
        Step::Depthwise { .. } | Step::MaxPool { .. } | Step::UpsampleAdd { .. } | Step::Global { .. } => {
            (0, 0)
        }
    }
}

/// Makes rows `first` to `last` of a step's map.
fn rows_of(step: &Step, before: &[Map], to: &mut Map, (first, last): (usize, usize), scratch: &mut Scratch) {
    let map = |id: &MapId| &before[id.index()];
    match step {
        Step::Conv3 { from, stride, weights, .. } => {
            (first..last).for_each(|y| conv3_row(map(from), to, y, *stride, weights, scratch));
        }
        Step::Depthwise { from, weights, .. } => {
            for y in first..last {
                let rows = map(from).three_rows(y * weights.stride, scratch.zeros.values());
                let (at, width, pixel) = (to.at(0, y), to.width, to.pixel);
                weights.run_row(rows, width, &mut to.buffer.values_mut()[at..], pixel);
            }
        }
        Step::Pointwise { from, add, weights, .. } => {
            let (from, add) = (map(from), add.as_ref().map(map));
            list_pixels(&mut scratch.pixels, to, add, (first, last), |x, y| from.at(x, y));
            let add = add.map(|m| m.buffer.values());
            weights.run(&[from.buffer.values()], to.buffer.values_mut(), add, &scratch.pixels);
        }
        Step::DepthwisePointwise { from, add, depthwise, pointwise, .. } => {
            let (from, add, pixel) = (map(from), add.as_ref().map(map), tile_pixel(depthwise.channels));
            let row = to.width * pixel;
            for (y, out) in (first..last).zip(scratch.tile.values_mut().chunks_exact_mut(row)) {
                let rows = from.three_rows(y * depthwise.stride, scratch.zeros.values());
                depthwise.run_row(rows, to.width, out, pixel);
            }
            list_pixels(&mut scratch.pixels, to, add, (first, last), |x, y| (y - first) * row + x * pixel);
            let add = add.map(|m| m.buffer.values());
            pointwise.run(&[scratch.tile.values()], to.buffer.values_mut(), add, &scratch.pixels);
        }
        Step::MaxPool { from, .. } => (first..last).for_each(|y| max_pool_row(map(from), to, y)),
        Step::UpsampleAdd { a, b, .. } => (first..last).for_each(|y| upsample_add_row(map(a), map(b), to, y)),
        Step::Global { from, weights, .. } => {
            let (at, channels) = (to.at(0, 0), to.channels);
            weights.run(map(from), &mut to.buffer.values_mut()[at..][..channels]);
        }
        Step::Gated { from, add, gate, .. } => gate.run(map(from), map(add), to, scratch.tile.values_mut()),
        Step::Dense { from, weights, .. } => {
            let (at, channels) = (to.at(0, 0), to.channels);
            let out = &mut to.buffer.values_mut()[at..][..channels];
            weights.run(map(from), out, scratch.tile.values_mut());
        }
    }
}

/// Lists where the pixels of some rows begin in what is read, in `to` and in what is added.
fn list_pixels(
    pixels: &mut Vec<PixelAt>,
    to: &Map,
    add: Option<&Map>,
    (first, last): (usize, usize),
    input: impl Fn(usize, usize) -> usize,
) {
    pixels.clear();
    for y in first..last {
        let (output, add) = (to.at(0, y), add.map_or(0, |add| add.at(0, y)));
        let step = |x: usize| x * to.pixel;
        pixels.extend((0..to.width).map(|x| PixelAt {
            input: input(x, y),
            output: output + step(x),
            add: add + step(x),
        }));
    }
}

fn conv3_row(from: &Map, to: &mut Map, y: usize, stride: usize, weights: &Packed, scratch: &mut Scratch) {
    let rows = from.three_rows(y * stride, scratch.zeros.values());
    list_pixels(&mut scratch.pixels, to, None, (y, y + 1), |x, _| x * stride * from.pixel);
    weights.run(&rows, to.buffer.values_mut(), None, &scratch.pixels);
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
            let mut net = Net::new(twin.plan.clone());
            // Twice: nothing of the run before may be left.
            for factor in [-3.0, 1.0] {
                for y in 0..height {
                    let row = &twin.plain[0].1[3 * width * y..][..3 * width];
                    net.input_row(y).iter_mut().zip(row).for_each(|(to, from)| *to = from * factor);
                }
                net.run();
            }
            for end in ends {
                let Plain(shape, want) = &twin.plain[end.index()];
                prop_assert_eq!(*shape, twin.plan.shape(end));
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
