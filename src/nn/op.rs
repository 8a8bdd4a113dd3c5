//! A network in its fused form as one candle operation: pixels in, the maps that are asked for out, on the CPU and on CUDA.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, bail};

use crate::nn::fused::{Map, MapId, Net, Plan};

/// A fused network as a [`CustomOp1`]: `[height, width, 3]` → the values of its outputs, one after the other, each rows of
/// pixels of channels. It has memory of its own for its maps and so works on one input at a time.
#[derive(Debug)]
pub struct FusedOp {
    plan: Plan,
    outputs: Vec<MapId>,
    cpu: Mutex<Option<Net>>,
    #[cfg(feature = "cuda")]
    cuda: Mutex<Option<super::gpu::cuda::CudaNet>>,
}

impl FusedOp {
    /// The operation that runs `plan` and gives `outputs`.
    pub fn new(plan: Plan, outputs: Vec<MapId>) -> Self {
        Self {
            plan,
            outputs,
            cpu: Mutex::default(),
            #[cfg(feature = "cuda")]
            cuda: Mutex::default(),
        }
    }

    /// Where in the result each output is: its first value and how many there are.
    pub fn places(&self) -> Vec<(usize, usize)> {
        let sizes = self.outputs.iter().map(|id| self.plan.shape(*id).values());
        sizes.scan(0, |at, size| Some((std::mem::replace(at, *at + size), size))).collect()
    }

    fn result(&self) -> usize {
        self.places().last().map_or(0, |(at, size)| at + size)
    }

    /// Where the input's values are in its storage.
    fn input(&self, layout: &Layout) -> Result<(usize, usize)> {
        let input = self.plan.shapes()[0];
        let wanted = [input.height, input.width, input.channels];
        match layout.contiguous_offsets() {
            Some(range) if layout.dims() == wanted => Ok(range),
            _ => bail!("input is {:?}, not a contiguous {wanted:?}", layout.dims()),
        }
    }
}

impl CustomOp1 for FusedOp {
    fn name(&self) -> &'static str {
        "fused-network"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (first, last) = self.input(layout)?;
        let pixels = &storage.as_slice::<f32>()?[first..last];
        let mut net = self.cpu.lock().unwrap_or_else(PoisonError::into_inner);
        let net = net.get_or_insert_with(|| Net::new(self.plan.clone()));
        for (y, row) in pixels.chunks_exact(3 * self.plan.shapes()[0].width).enumerate() {
            net.input_row(y).copy_from_slice(row);
        }
        net.run();
        let mut values = Vec::with_capacity(self.result());
        self.outputs.iter().for_each(|id| append(net.map(*id), &mut values));
        let shape = Shape::from(values.len());
        Ok((CpuStorage::F32(values), shape))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        storage: &candle_core::CudaStorage,
        layout: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        let range = self.input(layout)?;
        let mut net = self.cuda.lock().unwrap_or_else(PoisonError::into_inner);
        if net.is_none() {
            *net = Some(super::gpu::cuda::CudaNet::new(&storage.device, self.plan.clone())?);
        }
        let net = net.as_mut().expect("made above");
        Ok((net.run(storage, range, &self.outputs, self.result())?, Shape::from(self.result())))
    }
}

fn append(map: &Map, to: &mut Vec<f32>) {
    let pixels = (0..map.height).flat_map(|y| (0..map.width).map(move |x| (x, y)));
    pixels.for_each(|(x, y)| to.extend_from_slice(map.pixel_at(x, y)));
}
