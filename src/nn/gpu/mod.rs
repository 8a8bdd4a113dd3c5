//! Plans on a GPU: each step of a [`Plan`] as one launch of a kernel in `kernels.cu`, over maps that are made once.
//!
//! What a GPU must be able to do is the [`Gpu`] trait: CUDA does it through candle's device, and in tests the same kernels
//! run index by index on the CPU.

#[cfg(feature = "cuda")]
pub(super) mod cuda;
#[cfg(test)]
mod host;

use candle_core::{Result, bail};

use super::fused::{Dense, Depthwise, MapId, Packed, Plan, Shape, Step};

/// Values of a fully connected layer's input that one index of `dense_parts` sums.
const PART: usize = 256;

/// Numbers a kernel gets; the layout is the one in `kernels.cu`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Dims {
    height: i32,
    width: i32,
    channels: i32,
    to_height: i32,
    to_width: i32,
    to_channels: i32,
    /// What the kernel says it is.
    extra: i32,
}

/// Arguments of a kernel. What it has no use for is left out.
struct Launch<'a, B> {
    kernel: &'static str,
    /// How many indices.
    count: usize,
    x: &'a B,
    weight: Option<&'a B>,
    bias: Option<&'a B>,
    slope: Option<&'a B>,
    add: Option<&'a B>,
    to: &'a mut B,
    dims: Dims,
}

impl<'a, B> Launch<'a, B> {
    /// A kernel that reads one map and makes another.
    fn new(
        kernel: &'static str,
        count: usize,
        (x, from): (&'a B, Shape),
        (to, shape): (&'a mut B, Shape),
    ) -> Self {
        let sizes = [from.height, from.width, from.channels, shape.height, shape.width, shape.channels];
        let [height, width, channels, to_height, to_width, to_channels] = sizes.map(|size| size as i32);
        let dims = Dims { height, width, channels, to_height, to_width, to_channels, extra: 0 };
        Self { kernel, count, x, weight: None, bias: None, slope: None, add: None, to, dims }
    }

    fn weights(self, [weight, bias, slope]: &'a [B; 3]) -> Self {
        Self { weight: Some(weight), bias: Some(bias), slope: Some(slope), ..self }
    }

    fn add(self, add: Option<&'a B>) -> Self {
        Self { add, ..self }
    }

    fn extra(self, extra: usize) -> Self {
        Self { dims: Dims { extra: extra as i32, ..self.dims }, ..self }
    }
}

/// A device that keeps values in buffers and runs the kernels of `kernels.cu` in the order they are launched.
trait Gpu {
    /// Values in the device's memory.
    type Buffer;

    /// Copies values to the device.
    fn upload(&self, values: &[f32]) -> Result<Self::Buffer>;

    /// Room for `len` values.
    fn room(&self, len: usize) -> Result<Self::Buffer>;

    /// Runs a kernel.
    fn launch(&self, launch: Launch<'_, Self::Buffer>) -> Result<()>;
}

/// Weights of one step on the device, each as its kernel takes them.
enum Weights<B> {
    None,
    /// Weight, bias, slope.
    One([B; 3]),
    /// Depthwise, then 1×1, and the map between them.
    Two([B; 3], [B; 3], B),
    /// The two layers, and means, middle and gate.
    Gate([[B; 3]; 2], [B; 3]),
    /// Weight, scale and shift of what goes in; nothing, scale and shift of what comes out; and the parts.
    Dense([B; 3], [B; 3], B),
}

/// A network on a device: weights and maps.
struct GpuNet<G: Gpu> {
    gpu: G,
    plan: Plan,
    weights: Vec<Weights<G::Buffer>>,
    maps: Vec<G::Buffer>,
}

/// `rows × columns` turned into `columns × rows`, each row then padded with zeros to a multiple of `pad`.
fn transposed(values: &[f32], columns: usize, pad: usize) -> Vec<f32> {
    let rows = values.len() / columns.max(1);
    let width = rows.next_multiple_of(pad);
    let at = |i: usize| (i % width < rows).then(|| values[i % width * columns + i / width]);
    (0..columns * width).map(|i| at(i).unwrap_or(0.0)).collect()
}

impl<G: Gpu> GpuNet<G> {
    /// Uploads the weights of `plan` and makes its maps.
    ///
    /// # Errors
    /// When the device has no room.
    fn new(gpu: G, plan: Plan) -> Result<Self> {
        let maps = plan.shapes().iter().map(|shape| gpu.room(shape.values())).collect::<Result<_>>()?;
        let weights = plan.steps().iter().map(|step| upload(&gpu, &plan, step)).collect::<Result<_>>()?;
        Ok(Self { gpu, plan, weights, maps })
    }

    /// Runs all steps; the input is map 0.
    fn run(&mut self) -> Result<()> {
        for (step, weights) in self.plan.steps().iter().zip(&mut self.weights) {
            run(&self.gpu, &self.plan, step, weights, &mut self.maps)?;
        }
        Ok(())
    }

    /// Puts the values of `maps` one after the other into `to`.
    fn gather(&self, maps: &[MapId], to: &mut G::Buffer) -> Result<()> {
        let mut at = 0;
        for id in maps {
            let shape = self.plan.shape(*id);
            let from = (&self.maps[id.index()], shape);
            self.gpu.launch(Launch::new("put", shape.values(), from, (&mut *to, shape)).extra(at))?;
            at += shape.values();
        }
        Ok(())
    }
}

fn upload<G: Gpu>(gpu: &G, plan: &Plan, step: &Step) -> Result<Weights<G::Buffer>> {
    let pointwise = |packed: &Packed| {
        let [weight, bias, slope] = packed.unpacked();
        let four = |v: &[f32]| transposed(v, 1, 4);
        upload_all(gpu, [transposed(&weight, packed.k, 4), four(&bias), four(&slope)])
    };
    let depthwise = |packed: &Depthwise| {
        let [weight, bias, slope] = packed.unpacked();
        upload_all(gpu, [transposed(&weight, 9, 1), bias, slope])
    };
    Ok(match step {
        Step::Conv3 { from, weights, .. } => {
            let [weight, bias, slope] = weights.unpacked();
            // Maps have no padding here.
            let channels = plan.shape(*from).channels;
            let taps = weight.chunks_exact(weights.k / 9).flat_map(|tap| &tap[..channels]);
            let weight: Vec<f32> = taps.copied().collect();
            Weights::One(upload_all(gpu, [transposed(&weight, 9 * channels, 1), bias, slope])?)
        }
        Step::Depthwise { weights, .. } => Weights::One(depthwise(weights)?),
        Step::Pointwise { weights, .. } => Weights::One(pointwise(weights)?),
        Step::DepthwisePointwise { depthwise: dw, pointwise: pw, to, .. } => {
            let to = plan.shape(*to);
            let middle = gpu.room(to.height * to.width * dw.channels)?;
            Weights::Two(depthwise(dw)?, pointwise(pw)?, middle)
        }
        Step::MaxPool { .. } | Step::UpsampleAdd { .. } => Weights::None,
        Step::Global { weights, .. } => {
            let [weight, bias] = weights.unpacked().map(<[f32]>::to_vec);
            Weights::One(upload_all(gpu, [weight, bias, Vec::new()])?)
        }
        Step::Gated { gate, .. } => {
            let [[down, down_bias], [up, up_bias]] = gate.unpacked();
            let (squeezed, channels) = (down_bias.len(), up_bias.len());
            let between = [gpu.room(channels)?, gpu.room(squeezed)?, gpu.room(channels)?];
            let layer = |w: &Vec<f32>, b: &Vec<f32>| upload_all(gpu, [w.clone(), b.clone(), Vec::new()]);
            Weights::Gate([layer(down, down_bias)?, layer(up, up_bias)?], between)
        }
        Step::Dense { from, weights, .. } => {
            let ([scale, shift], [out_scale, out_shift, slope]) =
                (weights.before().clone(), weights.after().clone());
            let parts = gpu.room(parts(plan.shape(*from)) * weights.outputs())?;
            let weight = dense_weight(weights, plan.shape(*from));
            let before = upload_all(gpu, [weight, scale, shift])?;
            Weights::Dense(before, upload_all(gpu, [slope, out_scale, out_shift])?, parts)
        }
    })
}

fn upload_all<G: Gpu, const N: usize>(gpu: &G, all: [Vec<f32>; N]) -> Result<[G::Buffer; N]> {
    let buffers = all.iter().map(|values| gpu.upload(values)).collect::<Result<Vec<_>>>()?;
    Ok(buffers.try_into().unwrap_or_else(|_| unreachable!("as many buffers as vectors")))
}

fn parts(from: Shape) -> usize {
    from.values().div_ceil(PART)
}

/// `outputs × (channels × pixels)` as `(pixels × channels) × outputs`.
fn dense_weight(layer: &Dense, from: Shape) -> Vec<f32> {
    let (pixels, inputs) = (from.height * from.width, from.values());
    let weight = layer.unpacked();
    let at = |k: usize, o: usize| weight[o * inputs + k % from.channels * pixels + k / from.channels];
    (0..inputs).flat_map(|k| (0..layer.outputs()).map(move |o| (k, o))).map(|(k, o)| at(k, o)).collect()
}

fn run<G: Gpu>(
    gpu: &G,
    plan: &Plan,
    step: &Step,
    weights: &mut Weights<G::Buffer>,
    maps: &mut [G::Buffer],
) -> Result<()> {
    let shape = plan.shape(step.to());
    // A step writes its own map and reads earlier ones.
    let (before, after) = maps.split_at_mut(step.to().index());
    let to = (&mut after[0], shape);
    let map = |id: &MapId| (&before[id.index()], plan.shape(*id));
    let added = |id: &Option<MapId>| id.as_ref().map(|id| map(id).0);
    let fours = (shape.height * shape.width).div_ceil(4) * shape.channels.div_ceil(4);
    let flat = |channels: usize| Shape { height: 1, width: 1, channels };
    match (step, weights) {
        (Step::Conv3 { from, stride, .. }, Weights::One(w)) => {
            gpu.launch(Launch::new("conv3", shape.values(), map(from), to).weights(w).extra(*stride))
        }
        (Step::Depthwise { from, weights, .. }, Weights::One(w)) => {
            let launch = Launch::new("depthwise", shape.values(), map(from), to);
            gpu.launch(launch.weights(w).extra(weights.stride))
        }
        (Step::Pointwise { from, add, .. }, Weights::One(w)) => {
            gpu.launch(Launch::new("pointwise", fours, map(from), to).weights(w).add(added(add)))
        }
        (Step::DepthwisePointwise { from, add, depthwise, .. }, Weights::Two(dw, pw, middle)) => {
            let inner = Shape { channels: depthwise.channels, ..shape };
            let launch = Launch::new("depthwise", inner.values(), map(from), (&mut *middle, inner));
            gpu.launch(launch.weights(dw).extra(depthwise.stride))?;
            gpu.launch(Launch::new("pointwise", fours, (middle, inner), to).weights(pw).add(added(add)))
        }
        (Step::MaxPool { from, .. }, _) => gpu.launch(Launch::new("max_pool", shape.values(), map(from), to)),
        (Step::UpsampleAdd { a, b, .. }, _) => {
            gpu.launch(Launch::new("upsample_add", shape.values(), map(a), to).add(Some(map(b).0)))
        }
        (Step::Global { from, .. }, Weights::One(w)) => {
            gpu.launch(Launch::new("global_sum", shape.channels, map(from), to).weights(w))
        }
        (Step::Gated { from, add, gate, .. }, Weights::Gate([down, up], [mean, middle, weight])) => {
            let (whole, squeezed) = (flat(shape.channels), flat(gate.unpacked()[0][1].len()));
            gpu.launch(Launch::new("mean", shape.channels, map(from), (&mut *mean, whole)))?;
            let launch = Launch::new("layer", squeezed.channels, (mean, whole), (&mut *middle, squeezed));
            gpu.launch(launch.weights(down))?;
            let launch = Launch::new("layer", whole.channels, (middle, squeezed), (&mut *weight, whole));
            gpu.launch(launch.weights(up).extra(1))?;
            let launch = Launch::new("gated", shape.values(), map(from), to).add(Some(map(add).0));
            gpu.launch(Launch { weight: Some(weight), ..launch })
        }
        (Step::Dense { from, .. }, Weights::Dense(before, after, room)) => {
            let parts = parts(plan.shape(*from));
            let count = parts * shape.channels;
            let launch = Launch::new("dense_parts", count, map(from), (&mut *room, shape));
            gpu.launch(launch.weights(before).extra(PART))?;
            gpu.launch(
                Launch::new("dense_sum", shape.channels, (room, shape), to).weights(after).extra(parts),
            )
        }
        (step, _) => bail!("the step that makes map {} has weights of another kind", step.to().index()),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::host::Host;
    use super::*;
    use crate::nn::fused::Folded;
    use crate::nn::onnx::ConvSpec;
    use crate::nn::op::FusedOp;

    fn value(i: usize) -> f32 {
        ((i * 2_654_435_761) % 1000) as f32 / 500.0 - 1.0
    }

    fn weights(spec: ConvSpec, slope: f32) -> Folded {
        let inputs = spec.cin / spec.groups * spec.kernel * spec.kernel;
        let scale = 1.0 / (inputs as f32).sqrt();
        Folded {
            spec,
            weight: (0..spec.cout * inputs).map(|i| value(i + spec.cin) * scale).collect(),
            bias: (0..spec.cout).map(|i| value(i + 7) * 0.1).collect(),
            slope: vec![slope; spec.cout],
        }
    }

    /// A plan for each kind of step, ending with it, after those of the plans before; with channels that are no multiple
    /// of four and sides that are odd.
    fn every_step() -> Vec<(Plan, MapId)> {
        let (mut plan, input) = Plan::new(24, 36);
        let mut plans = Vec::new();
        let mut make = |step: &dyn Fn(&mut Plan) -> MapId| {
            let made = step(&mut plan);
            plans.push((plan.clone(), made));
            made
        };
        let stem = make(&|plan| plan.conv3(input, &weights(ConvSpec::dense3(3, 6, 2), 0.0)));
        let dw = make(&|plan| plan.depthwise(stem, &weights(ConvSpec::depthwise3(6, 1), 0.25)));
        let pw = make(&|plan| plan.pointwise(dw, Some(dw), &weights(ConvSpec::pointwise(6, 6), 1.0)));
        let wide = make(&|plan| plan.pointwise(pw, None, &weights(ConvSpec::pointwise(6, 13), 0.25)));
        let pair = |channels: usize, to: usize, stride: usize| {
            let depthwise = weights(ConvSpec::depthwise3(channels, stride), 0.25);
            (depthwise, weights(ConvSpec::pointwise(channels, to), 0.0))
        };
        let (first, second) = pair(13, 9, 2);
        let down = make(&|plan| plan.depthwise_pointwise(wide, None, &first, &second));
        let squeeze = weights(ConvSpec::pointwise(9, 4), 0.0);
        let excite = weights(ConvSpec::pointwise(4, 9), 1.0);
        let gated = make(&|plan| plan.gated(down, down, &squeeze, &excite));
        let (first, second) = pair(9, 9, 1);
        let residual = make(&|plan| plan.depthwise_pointwise(gated, Some(gated), &first, &second));
        make(&|plan| plan.global(residual, &whole(plan.shape(residual))));
        let dense = make(&|plan| plan.dense(residual, matrix(plan.shape(residual), 5)));
        make(&|plan| plan.dense(dense, matrix(plan.shape(dense), 3)));
        make(&|plan| plan.conv3(wide, &weights(ConvSpec::dense3(13, 7, 1), 0.25)));
        let pool = make(&|plan| plan.max_pool(wide));
        make(&|plan| plan.upsample_add(wide, pool));
        plans
    }

    fn whole(from: Shape) -> Folded {
        let channels = from.channels;
        let spec = ConvSpec { cin: channels, cout: channels, kernel: 1, stride: 1, pad: 0, groups: channels };
        Folded { weight: (0..from.values()).map(value).collect(), ..weights(spec, 1.0) }
    }

    fn matrix(from: Shape, outputs: usize) -> Dense {
        let matrix: Vec<f32> = (0..outputs * from.values()).map(|i| value(i) * 0.05).collect();
        let vector = |n: usize, first: usize| -> Vec<f32> { (first..first + n).map(value).collect() };
        let (before, after) =
            ([1, 2].map(|i| vector(from.channels, i)), [3, 4, 5].map(|i| vector(outputs, i)));
        Dense::new(&matrix, before, after)
    }

    fn on_the_cpu(plan: &Plan, output: MapId, pixels: &[f32]) -> Vec<f32> {
        let op = FusedOp::new(plan.clone(), vec![output]);
        let Shape { height, width, channels } = plan.shapes()[0];
        let input = Tensor::from_slice(pixels, (height, width, channels), &Device::Cpu).unwrap();
        input.apply_op1_no_bwd(&op).unwrap().to_vec1().unwrap()
    }

    #[test]
    fn every_kernel_agrees_with_the_cpu() {
        let folder = tempfile::tempdir().unwrap();
        let mut host = Host::compile(folder.path());
        for (plan, output) in every_step() {
            let step = plan.steps().last().unwrap().clone();
            let mut net = GpuNet::new(host, plan.clone()).unwrap();
            let pixels: Vec<f32> = (0..plan.shapes()[0].values()).map(|i| value(i * 3 + 1)).collect();
            net.maps[0].copy_from_slice(&pixels);
            net.run().unwrap();
            let mut found = net.gpu.room(plan.shape(output).values()).unwrap();
            net.gather(&[output], &mut found).unwrap();
            let wanted = on_the_cpu(&plan, output, &pixels);
            assert_eq!(found.len(), wanted.len());
            for (i, (a, b)) in found.iter().zip(&wanted).enumerate() {
                let map = output.index();
                assert!((a - b).abs() < 1e-4, "map {map}, value {i}: {a}, on the CPU {b}, after {step:?}");
            }
            host = net.gpu;
        }
        let source = include_str!("kernels.cu");
        for kernel in source.split("KERNEL ").skip(1).filter_map(|rest| rest.split_once("(ARGUMENTS)")) {
            let name = kernel.0;
            assert!(host.ran.borrow().contains(&name), "no step of the test runs kernel {name}");
        }
    }

    #[test]
    fn rows_are_transposed_and_padded() {
        let rows = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(transposed(&rows, 3, 1), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(transposed(&rows, 3, 4)[..8], [1.0, 4.0, 0.0, 0.0, 2.0, 5.0, 0.0, 0.0]);
    }
}
