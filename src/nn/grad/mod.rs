//! Convolution, normalisation and pooling for training on the CPU, with their gradients: what candle's own layers
//! compute, in a fraction of the time. candle runs a depthwise convolution as one convolution per channel, gets the
//! gradient of a convolution through transposed ones, and takes some twenty passes over memory for a batch norm.
//!
//! [`ConvUnit`](super::layers::ConvUnit) chooses: these on the CPU, candle's layers elsewhere. A test holds both
//! together, values and gradients. Every sum runs in an order that does not depend on the number of threads, so that
//! a run gives the same bits again.

mod conv;
mod depthwise;
mod norm;
mod pool;
mod product;

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor};

pub use conv::conv2d;
pub use depthwise::depthwise2d;
pub use norm::{BatchStats, Statistics, norm_act};
pub use pool::max_pool2;

/// In how many parts sums over a batch are made, whatever the number of threads.
const PARTS: usize = 8;

/// The contiguous values of a custom operation's argument.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((from, to)) = layout.contiguous_offsets() else {
        candle_core::bail!("an operation of accessd takes contiguous tensors");
    };
    Ok(&storage.as_slice::<f32>()?[from..to])
}

/// Calls `use_it` with the values of CPU tensors.
fn with_values<const N: usize, R>(
    tensors: [&Tensor; N],
    use_it: impl FnOnce([&[f32]; N]) -> Result<R>,
) -> Result<R> {
    let tensors = tensors.map(Tensor::contiguous);
    let mut held = Vec::with_capacity(N);
    for tensor in &tensors {
        match tensor {
            Ok(tensor) => held.push(tensor.storage_and_layout()),
            Err(e) => candle_core::bail!("a tensor could not be made contiguous: {e}"),
        }
    }
    let mut slices: [&[f32]; N] = [&[]; N];
    for (slice, (storage, layout)) in slices.iter_mut().zip(&held) {
        let Storage::Cpu(storage) = &**storage else {
            candle_core::bail!("an operation of accessd runs on the CPU");
        };
        *slice = values(storage, layout)?;
    }
    use_it(slices)
}

/// The parts `0..n` is cut into for sums.
fn parts(n: usize) -> Vec<std::ops::Range<usize>> {
    let size = n.div_ceil(PARTS).max(1);
    (0..n).step_by(size).map(|from| from..(from + size).min(n)).collect()
}

/// The sum of equally long rows, in their order.
fn sum_rows(rows: Vec<Vec<f32>>) -> Vec<f32> {
    let mut rows = rows.into_iter();
    let mut total = rows.next().unwrap_or_default();
    for row in rows {
        total.iter_mut().zip(row).for_each(|(t, r)| *t += r);
    }
    total
}

#[cfg(test)]
pub(crate) mod testing {
    //! Gradients the slow way.

    use candle_core::{Device, Result, Tensor, Var};

    /// Values between −1 and 1 that look random.
    pub fn values(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| (((i + seed * 977) * 2_654_435_761) % 10_007) as f32 / 5_003.0 - 1.0).collect()
    }

    pub fn var(shape: &[usize], seed: usize) -> Var {
        let n = shape.iter().product();
        Var::from_tensor(&Tensor::from_vec(values(n, seed), shape, &Device::Cpu).unwrap()).unwrap()
    }

    /// Largest difference of two tensors.
    pub fn apart(a: &Tensor, b: &Tensor) -> f32 {
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(a.dims(), b.dims());
        flat(a).iter().zip(flat(b)).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
    }

    /// Compares values and gradients of two functions of the same variables, weighing the outputs unevenly.
    pub fn same(vars: &[&Var], ours: impl Fn() -> Result<Tensor>, theirs: impl Fn() -> Result<Tensor>) {
        let (a, b) = (ours().unwrap(), theirs().unwrap());
        assert!(apart(&a, &b) < 2e-4, "values differ by {}", apart(&a, &b));
        let weigh = Tensor::from_vec(values(a.elem_count(), 5), a.dims(), &Device::Cpu).unwrap();
        let grads = [a, b].map(|y| (y * &weigh).unwrap().sum_all().unwrap().backward().unwrap());
        for (i, var) in vars.iter().enumerate() {
            let [x, y] = grads.each_ref().map(|g| g.get(var).expect("a gradient"));
            let scale = y.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap();
            assert!(
                apart(x, y) < 1e-4 * scale.max(1.0),
                "gradient {i} differs by {} of {scale}",
                apart(x, y)
            );
        }
    }
}
