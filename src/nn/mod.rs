//! What all networks share: ONNX weight import, model files, and the layers in their trainable form with gradients
//! that are quick on a CPU.

pub mod fused;
#[cfg(any(feature = "cuda", test))]
mod gpu;
pub mod grad;
pub mod layers;
pub mod model_file;
pub mod onnx;
pub mod op;
pub mod team;

use candle_core::Device;

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// Not a device's name.
    #[error("{0:?} is not a device; use `cpu`, `cuda` or `cuda:N`")]
    Unknown(String),
    /// Not there.
    #[error("device {name:?} cannot be used{}", if cfg!(feature = "cuda") { "" } else { ": this build has no CUDA; use `cpu`, or build with `--features cuda`" })]
    Unavailable {
        /// The name asked for.
        name: String,
        /// What candle said.
        #[source]
        source: candle_core::Error,
    },
}

/// The device called `cpu`, `cuda` or `cuda:N`.
///
/// # Errors
/// When the name is unknown or the device is not there.
pub fn device(name: &str) -> Result<Device, DeviceError> {
    let cuda = |ordinal| {
        Device::new_cuda(ordinal).map_err(|source| DeviceError::Unavailable { name: name.to_owned(), source })
    };
    match name.split_once(':') {
        None if name == "cpu" => Ok(Device::Cpu),
        None if name == "cuda" => cuda(0),
        Some(("cuda", n)) => n.parse().map_err(|_| DeviceError::Unknown(name.to_owned())).and_then(cuda),
        _ => Err(DeviceError::Unknown(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_by_name() {
        assert!(device("cpu").unwrap().is_cpu());
        assert!(device("gpu").unwrap_err().to_string().contains("`cuda:N`"));
        assert!(device("cuda:x").unwrap_err().to_string().contains("is not a device"));
        #[cfg(not(feature = "cuda"))]
        assert!(device("cuda").unwrap_err().to_string().contains("--features cuda"));
    }
}
