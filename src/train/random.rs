//! Seeded randomness that needs no state: every draw is made by a generator that was put together from the run's seed
//! and the place it is for (purpose, epoch, step, item). A run that is resumed anywhere draws what it would have drawn.

/// SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What a draw is for: generators of different purposes are independent.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// First weights, one generator for each weight.
    Weights = 1,
    /// Who is in which part of the split.
    Split = 2,
    /// Which pictures make a batch.
    Batch = 3,
    /// How a picture is changed.
    Augment = 4,
    /// Which pairs are judged.
    Judge = 5,
}

impl Random {
    /// The generator for a purpose at a place.
    pub fn new(seed: u64, purpose: Purpose, place: &[u64]) -> Self {
        let all = [seed, purpose as u64].into_iter().chain(place.iter().copied());
        Self(all.fold(0x9e37_79b9_7f4a_7c15, |state, part| mix(state ^ mix(part.wrapping_add(0x9e37_79b9)))))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number from 0 to `n` − 1.
    ///
    /// # Panics
    /// When `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "there is nothing to choose from");
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// A number from 0 up to but not including 1.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1_u32 << 24) as f32
    }

    /// A number from −`limit` to `limit`.
    pub fn within(&mut self, limit: f32) -> f32 {
        (2.0 * self.unit() - 1.0) * limit
    }

    /// A normally distributed number of mean 0 and deviation 1 (Box and Muller, 1958).
    pub fn normal(&mut self) -> f32 {
        let (u, v) = (1.0 - self.unit(), self.unit());
        (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
    }

    /// Puts a list into random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for i in (1..list.len()).rev() {
            list.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_place_draws_the_same_and_another_place_does_not() {
        let draw = |seed, purpose, place: &[u64]| Random::new(seed, purpose, place).bits();
        assert_eq!(draw(1, Purpose::Batch, &[2, 3]), draw(1, Purpose::Batch, &[2, 3]));
        let others = [
            draw(2, Purpose::Batch, &[2, 3]),
            draw(1, Purpose::Augment, &[2, 3]),
            draw(1, Purpose::Batch, &[3, 2]),
            draw(1, Purpose::Batch, &[2]),
        ];
        assert!(!others.contains(&draw(1, Purpose::Batch, &[2, 3])));
    }

    #[test]
    fn draws_have_the_distribution_they_should() {
        let mut random = Random::new(7, Purpose::Split, &[]);
        let n = 20_000;
        let normal: Vec<f32> = (0..n).map(|_| random.normal()).collect();
        let mean = normal.iter().sum::<f32>() / n as f32;
        let var = normal.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / n as f32;
        assert!(mean.abs() < 0.03 && (var - 1.0).abs() < 0.05, "{mean} {var}");
        let mut counts = [0; 5];
        (0..n).for_each(|_| counts[random.below(5)] += 1);
        assert!(counts.iter().all(|c| (3_700..4_300).contains(c)), "{counts:?}");
        assert!((0..n).all(|_| random.within(2.0).abs() <= 2.0));
        let mut list: Vec<usize> = (0..50).collect();
        random.shuffle(&mut list);
        assert_ne!(list, (0..50).collect::<Vec<_>>());
        list.sort_unstable();
        assert_eq!(list, (0..50).collect::<Vec<_>>());
    }
}
