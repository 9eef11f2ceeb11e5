//! Vertical strips of a matrix, each for one thread, as `chunks_mut` is for rows: heads of a window, tokens of all branches.

use std::marker::PhantomData;
use std::ops::Range;

/// Some columns of a matrix whose rows are `stride` elements apart. No two strips of a matrix share an element.
pub(crate) struct Strip<'a> {
    first: *mut f32,
    rows: usize,
    columns: usize,
    stride: usize,
    matrix: PhantomData<&'a mut [f32]>,
}

// SAFETY: a strip is the only one to reach its elements, as a `&mut [f32]` would be.
unsafe impl Send for Strip<'_> {}

impl<'a> Strip<'a> {
    /// The first `columns` of a matrix whose rows are `stride` elements apart; the last may end with its columns.
    pub(crate) fn new(matrix: &'a mut [f32], columns: usize, stride: usize) -> Self {
        assert!(columns > 0 && columns <= stride && columns <= matrix.len());
        let rows = (matrix.len() + stride - columns) / stride;
        Self { first: matrix.as_mut_ptr(), rows, columns, stride, matrix: PhantomData }
    }

    /// It, cut into strips of `width` columns, the last of what remains.
    pub(crate) fn split(self, width: usize) -> Vec<Self> {
        assert!(width > 0);
        let strip = |start: usize| {
            // SAFETY: start < columns, so the pointer stays within the first row of the matrix.
            let first = unsafe { self.first.add(start) };
            Self { first, columns: width.min(self.columns - start), ..self }
        };
        (0..self.columns).step_by(width).map(strip).collect()
    }

    /// It, cut into strips of `count` rows, the last of what remains.
    pub(crate) fn split_rows(self, count: usize) -> Vec<Self> {
        assert!(count > 0);
        let strip = |start: usize| {
            // SAFETY: start < rows, so this is the first element of one of the matrix's rows.
            let first = unsafe { self.first.add(start * self.stride) };
            Self { first, rows: count.min(self.rows - start), ..self }
        };
        (0..self.rows).step_by(count).map(strip).collect()
    }

    /// Some of its rows.
    pub(crate) fn rows(&mut self, rows: Range<usize>) -> Strip<'_> {
        assert!(rows.start < rows.end && rows.end <= self.rows);
        // SAFETY: row number `start` is one of the matrix.
        let first = unsafe { self.first.add(rows.start * self.stride) };
        Strip { first, rows: rows.len(), ..*self }
    }

    /// Row number `row`.
    pub(crate) fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows);
        // SAFETY: by `new` each row's columns lie inside the matrix, and by `split` no other strip reaches these.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(row * self.stride), self.columns) }
    }

    /// Its first element, its rows, its columns, and the elements from one row to the next, for a product to write to.
    pub(crate) fn parts(&mut self) -> (*mut f32, [usize; 3]) {
        (self.first, [self.rows, self.columns, self.stride])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_cover_each_element_once() {
        // Three rows of five columns, six apart; the last row ends with its columns.
        let mut matrix = vec![0.0; 17];
        let mut strips = Strip::new(&mut matrix, 5, 6).split(2);
        assert_eq!(strips.iter().map(|strip| strip.columns).collect::<Vec<_>>(), [2, 2, 1]);
        for (number, strip) in strips.iter_mut().enumerate() {
            for row in 0..3 {
                strip.row(row).iter_mut().for_each(|x| *x += (1 + number) as f32);
            }
            strip.rows(1..3).row(0).fill(9.0);
        }
        let last = strips.pop().map(|strip| strip.split_rows(2)).unwrap_or_default();
        assert_eq!(last.iter().map(|strip| strip.rows).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(matrix, [1., 1., 2., 2., 3., 0., 9., 9., 9., 9., 9., 0., 1., 1., 2., 2., 3.]);
    }
}
