//! The matrix product on one thread, over views of slices: rows and columns may be any step apart.

/// A matrix in a slice.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub values: &'a [f32],
    /// From one row to the next.
    pub row: usize,
    /// From one column to the next.
    pub column: usize,
}

impl<'a> View<'a> {
    /// Rows `width` values apart.
    pub fn rows(values: &'a [f32], width: usize) -> Self {
        Self { values, row: width, column: 1 }
    }

    /// The same matrix with rows and columns exchanged.
    pub fn turned(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }

    fn holds(&self, rows: usize, columns: usize) -> bool {
        rows == 0 || columns == 0 || (rows - 1) * self.row + (columns - 1) * self.column < self.values.len()
    }
}

/// `to = a·b`, or `to += a·b` with `add`: `a` is m × k, `b` k × n, `to` m × n with rows `to_row` values apart.
///
/// # Panics
/// When a slice is too short for its matrix.
pub(super) fn product(
    (m, n, k): (usize, usize, usize),
    a: View<'_>,
    b: View<'_>,
    to: &mut [f32],
    to_row: usize,
    add: bool,
) {
    assert!(a.holds(m, k) && b.holds(k, n) && to_row >= n);
    assert!(View::rows(to, to_row).holds(m, n));
    if m == 0 || n == 0 {
        return;
    }
    // SAFETY: every index `i · row + j · column` that the product touches was checked above to lie in its slice;
    // `to` is borrowed alone, and its rows do not overlap because `to_row >= n`.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            to.as_mut_ptr(),
            1,
            to_row as isize,
            add,
            a.values.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.values.as_ptr(),
            b.column as isize,
            b.row as isize,
            1.0_f32,
            1.0_f32,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::values;
    use super::*;

    #[test]
    fn agrees_with_the_definition_in_every_orientation() {
        let (m, n, k) = (5, 7, 3);
        let (a, b) = (values(m * k, 1), values(k * n, 2));
        for (turn_a, turn_b, add) in [(false, false, false), (true, false, true), (false, true, false)] {
            let va = if turn_a { View::rows(&a, m).turned() } else { View::rows(&a, k) };
            let vb = if turn_b { View::rows(&b, k).turned() } else { View::rows(&b, n) };
            let mut to = vec![1.0; m * 10];
            product((m, n, k), va, vb, &mut to, 10, add);
            for i in 0..m {
                for j in 0..n {
                    let at = |v: View<'_>, r: usize, c: usize| v.values[r * v.row + c * v.column];
                    let sum: f32 = (0..k).map(|t| at(va, i, t) * at(vb, t, j)).sum();
                    assert!((to[i * 10 + j] - sum - f32::from(add)).abs() < 1e-5);
                }
                assert_eq!(to[i * 10 + n], 1.0, "what lies between the rows is left alone");
            }
        }
    }

    #[test]
    #[should_panic(expected = "assertion failed")]
    fn a_slice_that_is_too_short_is_refused() {
        product((2, 2, 2), View::rows(&[0.0; 3], 2), View::rows(&[0.0; 4], 2), &mut [0.0; 4], 2, false);
    }
}
