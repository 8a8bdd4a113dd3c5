//! ArcFace (Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", 2019, equation 3): a unit
//! vector for each person of the training set, and cross entropy over scaled cosines, with an angle added to that of
//! the right person. The vectors belong to the loss and are thrown away after training.

use candle_core::{D, Result, Tensor};

use super::unit_rows;

/// The mean over unit rows `[n, d]` of people `people`; `centres` is `[people, d]`, of any length. Beyond π the angle
/// goes on in a straight line, `cos θ − margin · sin(margin)`, as in the authors' code.
///
/// # Errors
/// When a person has no centre.
pub fn arcface(rows: &Tensor, people: &[u32], centres: &Tensor, margin: f64, scale: f64) -> Result<Tensor> {
    let (count, total) = (people.len(), centres.dim(0)?);
    let mut mask = vec![0.0_f32; count * total];
    for (row, &person) in mask.chunks_exact_mut(total).zip(people) {
        let Some(own) = row.get_mut(person as usize) else {
            candle_core::bail!("person {person} has no centre among {total}");
        };
        *own = 1.0;
    }
    // A mask in place of gather and scatter: the gradient of candle's scatter_add asks for other shapes than it gets.
    let mask = Tensor::from_vec(mask, (count, total), rows.device())?;
    let own = |of: &Tensor| (of * &mask)?.sum_keepdim(D::Minus1);
    let cosines = rows.matmul(&unit_rows(centres)?.t()?)?;
    let right = own(&cosines)?;
    // Away from 1, where the root below has no gradient.
    let inner = right.clamp(-1.0 + 1e-6, 1.0 - 1e-6)?;
    let sine = inner.sqr()?.affine(-1.0, 1.0)?.sqrt()?;
    let added = ((&inner * margin.cos())? - (sine * margin.sin())?)?;
    let beyond = (&inner - margin * margin.sin())?;
    // cos is falling from 0 to π: θ + margin ≤ π exactly when cos θ ≥ cos(π − margin).
    let within = inner.ge((std::f64::consts::PI - margin).cos())?;
    let target = within.where_cond(&added, &beyond)?;
    // Only the right person's cosine is changed.
    let logits = ((cosines + mask.broadcast_mul(&(target - right)?)?)? * scale)?;
    let top = logits.max_keepdim(D::Minus1)?.detach();
    let all = (logits.broadcast_sub(&top)?.exp()?.sum_keepdim(D::Minus1)?.log()? + top)?;
    (all - own(&logits)?)?.mean_all()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{gradients_are_right, rows, unit};
    use super::*;

    const PEOPLE: [u32; 5] = [0, 2, 1, 1, 3];

    fn by_hand(x: &[Vec<f64>], centres: &[Vec<f64>], margin: f64, scale: f64) -> f64 {
        let losses = x.iter().zip(PEOPLE).map(|(row, person)| {
            let logits = centres.iter().enumerate().map(|(c, centre)| {
                let cosine: f64 = row.iter().zip(centre).map(|(a, b)| a * b).sum();
                let theta = cosine.clamp(-1.0, 1.0).acos();
                let cosine = match c == person as usize {
                    true if theta + margin <= std::f64::consts::PI => (theta + margin).cos(),
                    true => cosine - margin * margin.sin(),
                    false => cosine,
                };
                scale * cosine
            });
            let logits: Vec<f64> = logits.collect();
            logits.iter().map(|l| l.exp()).sum::<f64>().ln() - logits[person as usize]
        });
        losses.sum::<f64>() / PEOPLE.len() as f64
    }

    #[test]
    fn agrees_with_the_definition_on_both_sides_of_pi() {
        let centres = rows(4, 6, 8);
        for (seed, margin) in [(1, 0.0), (2, 0.3), (3, 0.5), (4, 1.2), (5, 1.5)] {
            let x = rows(5, 6, seed);
            let got = arcface(&unit_rows(&x).unwrap(), &PEOPLE, &centres, margin, 4.0).unwrap();
            let got = f64::from(got.to_scalar::<f32>().unwrap());
            let expected = by_hand(&unit(&x), &unit(&centres), margin, 4.0);
            assert!((got - expected).abs() < 1e-4, "margin {margin}: {got} {expected}");
        }
        // Opposite of its centre: beyond π whatever the margin.
        let x = centres.narrow(0, 0, 1).unwrap().neg().unwrap().repeat((5, 1)).unwrap();
        let got = arcface(&unit_rows(&x).unwrap(), &[0; 5], &centres, 0.5, 4.0).unwrap();
        assert!(got.to_scalar::<f32>().unwrap().is_finite());
    }

    #[test]
    fn its_gradient_is_that_of_its_values() {
        let (x, centres) = (rows(5, 6, 1), rows(4, 6, 8));
        gradients_are_right(&[&x, &centres], || arcface(&unit_rows(&x)?, &PEOPLE, &centres, 0.4, 3.0));
    }

    #[test]
    fn the_margin_makes_it_harder() {
        let (x, centres) = (rows(5, 6, 1), rows(4, 6, 8));
        let value = |margin| {
            arcface(&unit_rows(&x).unwrap(), &PEOPLE, &centres, margin, 8.0)
                .unwrap()
                .to_scalar::<f32>()
                .unwrap()
        };
        assert!(value(0.5) > value(0.2) && value(0.2) > value(0.0));
    }
}
