//! What training minimises. Every loss takes embeddings of unit length and gives one number; each stands in a file of
//! its own and is held to a slow recomputation and to numerical gradients.

mod arcface;
mod contrastive;
mod triplet;

use candle_core::{D, Result, Tensor};

pub use arcface::arcface;
pub use contrastive::contrastive;
pub use triplet::batch_hard_triplet;

/// Scales rows to length 1: `[n, d]` → `[n, d]`.
///
/// # Errors
/// When it is no matrix.
pub fn unit_rows(rows: &Tensor) -> Result<Tensor> {
    let length = (rows.sqr()?.sum_keepdim(D::Minus1)? + 1e-12)?.sqrt()?;
    rows.broadcast_div(&length)
}

/// Euclidean distances of rows: `[n, d]`, `[n, d]` → `[n]`. The small number under the root keeps the gradient finite
/// where two rows are the same.
fn distances(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    ((a - b)?.sqr()?.sum(D::Minus1)? + 1e-9)?.sqrt()
}

#[cfg(test)]
mod testing {
    //! Embeddings to test losses with, and gradients the slow way.

    use candle_core::{Device, Result, Tensor, Var};

    use super::unit_rows;
    use crate::train::random::{Purpose, Random};

    /// Rows that have no length yet.
    pub fn rows(n: usize, d: usize, seed: u64) -> Var {
        let mut random = Random::new(seed, Purpose::Judge, &[]);
        let values: Vec<f32> = (0..n * d).map(|_| random.normal()).collect();
        Var::from_tensor(&Tensor::from_vec(values, (n, d), &Device::Cpu).unwrap()).unwrap()
    }

    /// Unit rows as plain numbers.
    pub fn unit(rows: &Tensor) -> Vec<Vec<f64>> {
        let rows: Vec<Vec<f32>> = unit_rows(rows).unwrap().to_vec2().unwrap();
        rows.into_iter().map(|r| r.into_iter().map(f64::from).collect()).collect()
    }

    pub fn distance(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt()
    }

    /// Compares the gradient of `loss` with central differences at every value of every variable.
    pub fn gradients_are_right(vars: &[&Var], loss: impl Fn() -> Result<Tensor>) {
        let grads = loss().unwrap().backward().unwrap();
        for (i, var) in vars.iter().enumerate() {
            let grad = grads.get(var).expect("a gradient").flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let at = var.as_tensor().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let largest = grad.iter().fold(0.0_f32, |m, g| m.max(g.abs()));
            assert!(largest > 1e-4, "variable {i} has a gradient");
            for k in 0..at.len() {
                let step = 4e-3_f32;
                let [low, high] = [-step, step].map(|d| {
                    let mut moved = at.clone();
                    moved[k] += d;
                    var.set(&Tensor::from_vec(moved, var.dims(), &Device::Cpu).unwrap()).unwrap();
                    loss().unwrap().to_scalar::<f32>().unwrap()
                });
                let numeric = (high - low) / (2.0 * step);
                let error = (numeric - grad[k]).abs();
                assert!(error < 0.02 * largest + 2e-4, "variable {i}, value {k}: {} and {numeric}", grad[k]);
            }
            var.set(&Tensor::from_vec(at, var.dims(), &Device::Cpu).unwrap()).unwrap();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{gradients_are_right, rows};
    use super::*;

    #[test]
    fn unit_rows_have_length_one_and_right_gradients() {
        let x = rows(3, 4, 1);
        let lengths = unit_rows(&x).unwrap().sqr().unwrap().sum(1).unwrap().to_vec1::<f32>().unwrap();
        assert!(lengths.iter().all(|l| (l - 1.0).abs() < 1e-5));
        gradients_are_right(&[&x], || unit_rows(&x)?.narrow(1, 0, 2)?.sum_all());
    }

    #[test]
    fn equal_rows_have_a_finite_gradient() {
        let x = rows(1, 4, 1);
        let grads = distances(&x, &x.detach()).unwrap().sum_all().unwrap().backward().unwrap();
        let grad = grads.get(&x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(grad.iter().all(|g| g.is_finite()));
    }
}
