//! Memory for the kernels: `f32` on cache lines, and feature maps in it.

use std::mem::MaybeUninit;

use bytemuck::{Pod, Zeroable};

/// One cache line.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

/// Values in a cache line; feature maps and packed weights are padded to whole lines of channels.
pub const LINE: usize = 16;

/// Memory from which on huge pages are asked for: eight of 2 MiB, so that little is wasted at both ends.
const HUGE: usize = 16 << 20;

/// Large matrices are read from front to back: with pages of 4 KiB much of that time goes into page tables. Done
/// before the memory is first touched; where the kernel has no huge pages nothing changes.
fn ask_for_huge_pages(memory: &mut [MaybeUninit<Line>]) {
    let page = rustix::param::page_size();
    let bytes = size_of_val(memory);
    if bytes >= HUGE {
        let start = memory.as_mut_ptr().cast::<u8>();
        let inner = start.align_offset(page);
        // SAFETY: the range lies within `memory`, on whole pages; the advice changes how it is mapped, never its values.
        let advised = unsafe {
            let len = (bytes - inner) / page * page;
            rustix::mm::madvise(start.add(inner).cast(), len, rustix::mm::Advice::LinuxHugepage)
        };
        if let Err(error) = advised {
            log::debug!("no huge pages for {bytes} bytes: {error}");
        }
    }
}

/// `f32` values that begin on a cache line; all zero at first.
#[derive(Clone, Debug)]
pub struct Buffer(Vec<Line>);

impl Buffer {
    /// Room for `len` values.
    pub fn new(len: usize) -> Self {
        let lines = len.div_ceil(LINE);
        let mut values = Vec::with_capacity(lines);
        ask_for_huge_pages(values.spare_capacity_mut());
        values.resize(lines, Line([0.0; LINE]));
        Self(values)
    }

    /// The values, and zeros up to the end of the last line.
    pub fn values(&self) -> &[f32] {
        bytemuck::cast_slice(&self.0)
    }

    /// The values, to be written.
    pub fn values_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

/// A feature map: rows of pixels of channels (NHWC), with a pixel of zeros left and right of each row, so that a 3×3
/// kernel needs no case for the rim. Channels are padded to whole cache lines, except in the input's three.
///
/// A map need not hold all its rows: where one step hands its rows to one other, the map is a ring of the last few,
/// which stay in cache.
#[derive(Clone, Debug)]
pub struct Map {
    /// Rows.
    pub height: usize,
    /// Width without the zeros at the sides.
    pub width: usize,
    /// Channels that mean something.
    pub channels: usize,
    /// Values from one pixel to the next.
    pub pixel: usize,
    /// Rows held at a time: row `y` lies where row `y + held` will.
    pub held: usize,
    /// The values.
    pub buffer: Buffer,
}

impl Map {
    /// A map of zeros that holds `held` rows of pixels `pixel` values apart.
    pub fn new((height, width): (usize, usize), channels: usize, pixel: usize, held: usize) -> Self {
        let held = held.clamp(1, height.max(1));
        let buffer = Buffer::new(held * (width + 2) * pixel);
        Self { height, width, channels, pixel, held, buffer }
    }

    /// Values from one row to the next.
    pub fn row_len(&self) -> usize {
        (self.width + 2) * self.pixel
    }

    /// Where row `y` begins, with the zeros at its side.
    pub fn row_at(&self, y: usize) -> usize {
        y % self.held * self.row_len()
    }

    /// Where the pixel at `(x, y)` begins.
    pub fn at(&self, x: usize, y: usize) -> usize {
        self.row_at(y) + (x + 1) * self.pixel
    }

    /// Row `y` with the zeros at its sides.
    pub fn row(&self, y: usize) -> &[f32] {
        &self.buffer.values()[self.row_at(y)..][..self.row_len()]
    }

    /// The three rows that a 3×3 kernel centred on row `y` reads; `zeros` stands for those above and below the map.
    pub fn three_rows<'a>(&'a self, y: usize, zeros: &'a [f32]) -> [&'a [f32]; 3] {
        let zeros = &zeros[..self.row_len()];
        let below = if y + 1 < self.height { self.row(y + 1) } else { zeros };
        [if y == 0 { zeros } else { self.row(y - 1) }, self.row(y), below]
    }

    /// The channels of the pixel at `(x, y)`.
    pub fn pixel_at(&self, x: usize, y: usize) -> &[f32] {
        &self.buffer.values()[self.at(x, y)..][..self.channels]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_keeps_the_last_rows_and_zeros_around_the_map() {
        let mut map = Map::new((5, 2), 16, 16, 3);
        for y in 0..4 {
            let at = map.at(0, y);
            map.buffer.values_mut()[at..][..32].fill(y as f32 + 1.0);
        }
        assert_eq!(map.row(3).len(), 4 * 16);
        assert_eq!([map.row(1)[16], map.row(2)[16], map.row(3)[16]], [2.0, 3.0, 4.0]);
        assert_eq!([map.row(3)[0], map.row(3)[63]], [0.0; 2]);
        let zeros = [0.0; 64];
        assert_eq!(map.three_rows(2, &zeros).map(|row| row[20]), [2.0, 3.0, 4.0]);
        assert_eq!(Map::new((2, 2), 3, 3, 9).three_rows(1, &zeros)[2], [0.0; 12]);
        assert_eq!(map.pixel_at(1, 2), [3.0; 16]);
    }
}
