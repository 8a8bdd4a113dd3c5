//! 2×2 max-pool. The gradient goes to the largest value, the first of equal ones; an odd last row or column is left
//! out.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{values, with_values};

struct MaxPool {
    from: (usize, usize),
}

impl MaxPool {
    fn to(&self) -> (usize, usize) {
        (self.from.0 / 2, self.from.1 / 2)
    }

    /// The four places of an output.
    fn four(&self, x: usize, y: usize) -> [usize; 4] {
        let w = self.from.1;
        let a = 2 * y * w + 2 * x;
        [a, a + 1, a + w, a + w + 1]
    }
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "accessd-max-pool2"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let input = values(storage, layout)?;
        let (h, w) = self.to();
        let planes = input.len() / (self.from.0 * self.from.1);
        let mut output = vec![0.0; planes * h * w];
        output.par_chunks_mut(h * w).zip(input.par_chunks(self.from.0 * self.from.1)).for_each(
            |(to, from)| {
                for (y, line) in to.chunks_exact_mut(w).enumerate() {
                    let [upper, lower] = [0, 1].map(|d| &from[(2 * y + d) * self.from.1..][..2 * w]);
                    let pairs = upper.as_chunks::<2>().0.iter().zip(lower.as_chunks::<2>().0);
                    for (t, ([a, b], [c, d])) in line.iter_mut().zip(pairs) {
                        *t = a.max(*b).max(c.max(*d));
                    }
                }
            },
        );
        let dims = layout.dims();
        Ok((CpuStorage::F32(output), Shape::from((dims[0], dims[1], h, w))))
    }

    fn bwd(&self, arg: &Tensor, res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (h, w) = self.to();
        let size = self.from.0 * self.from.1;
        with_values([arg, res, grad], |[input, output, grad]| {
            let mut dx = vec![0.0; input.len()];
            let given = output.par_chunks(h * w).zip(grad.par_chunks(h * w));
            dx.par_chunks_mut(size).zip(input.par_chunks(size)).zip(given).for_each(
                |((to, xs), (ys, gs))| {
                    for y in 0..h {
                        for x in 0..w {
                            let four = self.four(x, y);
                            let largest = four.into_iter().find(|at| xs[*at] == ys[y * w + x]);
                            to[largest.unwrap_or(four[0])] = gs[y * w + x];
                        }
                    }
                },
            );
            Ok(Some(Tensor::from_vec(dx, arg.dims(), arg.device())?))
        })
    }
}

/// `[n, c, h, w]` → `[n, c, h / 2, w / 2]`, on the CPU.
///
/// # Errors
/// When the map is smaller than 2×2.
pub fn max_pool2(xs: &Tensor) -> Result<Tensor> {
    let (_, _, h, w) = xs.dims4()?;
    if h < 2 || w < 2 {
        candle_core::bail!("a 2×2 max-pool does not take {:?}", xs.dims());
    }
    xs.contiguous()?.apply_op1(MaxPool { from: (h, w) })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{apart, same, var};
    use super::*;

    #[test]
    fn agrees_with_candle_in_values_and_gradients() {
        // The gradient of candle's own max-pool is a quarter of what it should be, so by two maxima one after another.
        let x = var(&[2, 3, 6, 8], 1);
        same(&[&x], || max_pool2(&x), || x.reshape((2, 3, 3, 2, 4, 2))?.max(5)?.max(3));
        assert!(apart(&max_pool2(&x).unwrap(), &x.max_pool2d(2).unwrap()) < 1e-6);
    }

    #[test]
    fn an_odd_rim_is_left_out_and_gets_no_gradient() {
        let x = var(&[1, 1, 5, 5], 1);
        let y = max_pool2(&x).unwrap();
        assert!(
            apart(&y, &x.narrow(2, 0, 4).unwrap().narrow(3, 0, 4).unwrap().max_pool2d(2).unwrap()) < 1e-6
        );
        let grads = y.sum_all().unwrap().backward().unwrap();
        let grad = grads.get(&x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(grad.iter().sum::<f32>(), 4.0);
        assert!(grad[20..].iter().all(|g| *g == 0.0) && grad[4] == 0.0);
        assert!(max_pool2(&var(&[1, 1, 1, 5], 1)).is_err());
    }

    #[test]
    fn of_equal_values_the_first_gets_the_gradient() {
        let x = candle_core::Var::zeros((1, 1, 2, 2), candle_core::DType::F32, &candle_core::Device::Cpu)
            .unwrap();
        let grads = max_pool2(&x).unwrap().sum_all().unwrap().backward().unwrap();
        assert_eq!(
            grads.get(&x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap(),
            [1.0, 0.0, 0.0, 0.0]
        );
    }
}
