//! The kernels on an NVIDIA GPU, through candle's device. They are compiled to PTX when accessd is built.

use std::fmt;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DeviceRepr, LaunchConfig, PushKernelArg};
use candle_core::{CudaDevice, CudaStorage, Result};

use super::{Dims, Gpu, GpuNet, Launch};
use crate::nn::fused::{MapId, Plan};

/// Made from `kernels.cu` by `build.rs`.
const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));

// SAFETY: plain numbers, laid out as the struct of the kernels.
unsafe impl DeviceRepr for Dims {}

impl Gpu for CudaDevice {
    type Buffer = CudaSlice<f32>;

    fn upload(&self, values: &[f32]) -> Result<CudaSlice<f32>> {
        // An empty allocation is an error in CUDA.
        if values.is_empty() { self.room(1) } else { self.clone_htod(values) }
    }

    fn room(&self, len: usize) -> Result<CudaSlice<f32>> {
        self.alloc_zeros(len)
    }

    fn launch(&self, launch: Launch<'_, CudaSlice<f32>>) -> Result<()> {
        let Launch { kernel, count, x, weight, bias, slope, add, to, dims } = launch;
        let function = self.get_or_load_custom_func(kernel, "accessd", PTX)?;
        let (count, nothing) = (count as i32, 0_u64);
        let mut builder = function.builder();
        builder.arg(x);
        for values in [weight, bias, slope, add] {
            match values {
                Some(values) => builder.arg(values),
                None => builder.arg(&nothing),
            };
        }
        builder.arg(to).arg(&dims).arg(&count);
        // SAFETY: the arguments are those of every kernel in kernels.cu, which checks its index against `count`; buffers
        // are as long as the plan's shapes say.
        unsafe { builder.launch(LaunchConfig::for_num_elems(count as u32)) }.w()?;
        Ok(())
    }
}

/// A network on a GPU.
pub(in crate::nn) struct CudaNet(GpuNet<CudaDevice>);

impl fmt::Debug for CudaNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CudaNet").field("plan", &self.0.plan).finish_non_exhaustive()
    }
}

impl CudaNet {
    pub(in crate::nn) fn new(device: &CudaDevice, plan: Plan) -> Result<Self> {
        GpuNet::new(device.clone(), plan).map(Self)
    }

    /// Runs the network on the input at `first..last` of `storage`; gives `len` values, those of `outputs`.
    pub(in crate::nn) fn run(
        &mut self,
        storage: &CudaStorage,
        (first, last): (usize, usize),
        outputs: &[MapId],
        len: usize,
    ) -> Result<CudaStorage> {
        let net = &mut self.0;
        let device = net.gpu.clone();
        device.memcpy_dtod(&storage.as_cuda_slice::<f32>()?.slice(first..last), &mut net.maps[0])?;
        net.run()?;
        let mut values = device.room(len)?;
        net.gather(outputs, &mut values)?;
        Ok(CudaStorage::wrap_cuda_slice(values, device))
    }
}
