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

/// A feature map: rows of pixels of channels (NHWC), with a frame of one pixel of zeros around it, so that a 3×3
/// kernel needs no case for the rim. Channels are padded to whole cache lines, except in the input's three.
#[derive(Clone, Debug)]
pub struct Map {
    /// Height without the frame.
    pub height: usize,
    /// Width without the frame.
    pub width: usize,
    /// Channels that mean something.
    pub channels: usize,
    /// Values from one pixel to the next.
    pub pixel: usize,
    /// The values, frame included.
    pub buffer: Buffer,
}

impl Map {
    /// A map of zeros with padded channels.
    pub fn new(height: usize, width: usize, channels: usize) -> Self {
        Self::with_pixel(height, width, channels, channels.next_multiple_of(LINE))
    }

    /// A map of zeros whose pixels are `pixel` values apart.
    pub fn with_pixel(height: usize, width: usize, channels: usize, pixel: usize) -> Self {
        let buffer = Buffer::new((height + 2) * (width + 2) * pixel);
        Self { height, width, channels, pixel, buffer }
    }

    /// Values from one row to the next.
    pub fn row(&self) -> usize {
        (self.width + 2) * self.pixel
    }

    /// Where the pixel at `(x, y)` begins.
    pub fn at(&self, x: usize, y: usize) -> usize {
        (y + 1) * self.row() + (x + 1) * self.pixel
    }

    /// The channels of the pixel at `(x, y)`.
    pub fn pixel_at(&self, x: usize, y: usize) -> &[f32] {
        &self.buffer.values()[self.at(x, y)..][..self.channels]
    }
}
