//! The contrastive loss of Hadsell, Chopra and LeCun, "Dimensionality Reduction by Learning an Invariant Mapping"
//! (2006), equation 4: `½·d²` for a genuine pair, `½·max(0, margin − d)²` for an impostor pair.

use candle_core::{Result, Tensor};

use super::distances;

/// The mean over pairs of unit rows `[n, d]`; `genuine` says which pairs show one person.
///
/// # Errors
/// When the counts differ.
pub fn contrastive(a: &Tensor, b: &Tensor, genuine: &[bool], margin: f64) -> Result<Tensor> {
    let is = |wanted: bool| -> Result<Tensor> {
        let values: Vec<f32> = genuine.iter().map(|g| f32::from(*g == wanted)).collect();
        Tensor::new(values, a.device())
    };
    let d = distances(a, b)?;
    let apart = d.affine(-1.0, margin)?.relu()?;
    let together = (d.sqr()? * is(true)?)?;
    let pushed = (apart.sqr()? * is(false)?)?;
    (together + pushed)?.mean_all()? * 0.5
}

#[cfg(test)]
mod tests {
    use super::super::testing::{distance, gradients_are_right, rows, unit};
    use super::super::unit_rows;
    use super::*;

    const GENUINE: [bool; 6] = [true, false, true, false, false, true];

    fn loss(a: &Tensor, b: &Tensor, margin: f64) -> Result<Tensor> {
        contrastive(&unit_rows(a)?, &unit_rows(b)?, &GENUINE, margin)
    }

    #[test]
    fn agrees_with_the_definition() {
        let (a, b) = (rows(6, 5, 1), rows(6, 5, 2));
        for margin in [0.5, 1.3, 2.0] {
            let each = unit(&a).into_iter().zip(unit(&b)).zip(GENUINE).map(|((x, y), same)| {
                let d = distance(&x, &y);
                if same { d * d / 2.0 } else { (margin - d).max(0.0).powi(2) / 2.0 }
            });
            let expected = each.sum::<f64>() / 6.0;
            let got = f64::from(loss(&a, &b, margin).unwrap().to_scalar::<f32>().unwrap());
            assert!((got - expected).abs() < 1e-5, "{got} {expected}");
        }
    }

    #[test]
    fn its_gradient_is_that_of_its_values() {
        let (a, b) = (rows(6, 5, 1), rows(6, 5, 2));
        gradients_are_right(&[&a, &b], || loss(&a, &b, 1.5));
    }

    #[test]
    fn impostors_beyond_the_margin_cost_nothing() {
        let (a, b) = (rows(6, 5, 1), rows(6, 5, 2));
        let value = contrastive(&unit_rows(&a).unwrap(), &unit_rows(&b).unwrap(), &[false; 6], 0.1).unwrap();
        assert_eq!(value.to_scalar::<f32>().unwrap(), 0.0);
    }
}
