//! With the feature `cuda`: compiles the kernels of `src/nn/gpu/kernels.cu` to PTX, which the driver of any later GPU
//! understands. Needs nvcc, as candle does then: `NVCC`, or that of `CUDA_HOME`, or the one on the path.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

const KERNELS: &str = "src/nn/gpu/kernels.cu";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={KERNELS}");
    for variable in ["NVCC", "CUDA_HOME", "CUDA_COMPUTE_CAP"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    if env::var_os("CARGO_FEATURE_CUDA").is_some()
        && let Err(why) = compile(&nvcc())
    {
        println!("cargo::error={KERNELS}: {why}");
    }
}

fn nvcc() -> PathBuf {
    let of_home = |home| Path::new(&home).join("bin/nvcc");
    env::var_os("NVCC")
        .map(PathBuf::from)
        .or_else(|| env::var_os("CUDA_HOME").map(of_home))
        .unwrap_or("nvcc".into())
}

fn compile(nvcc: &Path) -> Result<(), String> {
    let out = env::var_os("OUT_DIR").ok_or("cargo gives no OUT_DIR")?;
    let mut command = Command::new(nvcc);
    command.args(["--ptx", "-O3", "-o"]).arg(Path::new(&out).join("kernels.ptx")).arg(KERNELS);
    if let Ok(capability) = env::var("CUDA_COMPUTE_CAP") {
        command.arg(format!("--gpu-architecture=compute_{capability}"));
    }
    let done = command.output().map_err(|error| {
        format!(
            "{} cannot be run: {error}; install the CUDA toolkit, or set NVCC or CUDA_HOME",
            nvcc.display()
        )
    })?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!(
        "{} failed: {}",
        nvcc.display(),
        String::from_utf8_lossy(&done.stderr).trim().replace('\n', "; ")
    ))
}
