//! Raw pixel layouts of cameras and recordings turned into RGB.
//!
//! YCbCr is that of ITU-R BT.601. Chroma that is shared by several pixels is repeated, not interpolated: a face is
//! made of luma. Bytes behind a frame are ignored, as capture buffers are longer than what they hold.

use image::RgbImage;

/// What the numbers of Y, Cb and Cr span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// Y 16–235, Cb and Cr 16–240: video.
    Limited,
    /// 0–255: JPEG.
    Full,
}

/// How many pixels share a chroma sample in planar YCbCr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chroma {
    /// No chroma: grey.
    Mono,
    /// 2×2 pixels.
    C420,
    /// 2×1 pixels.
    C422,
    /// One sample a pixel.
    C444,
}

impl Chroma {
    /// Pixels that share a sample, across and down.
    const fn steps(self) -> (usize, usize) {
        match self {
            Self::C420 => (2, 2),
            Self::C422 => (2, 1),
            Self::Mono | Self::C444 => (1, 1),
        }
    }

    /// Bytes of a planar frame.
    pub fn frame_bytes(self, width: usize, height: usize) -> usize {
        let (across, down) = self.steps();
        let planes = if self == Self::Mono { 0 } else { 2 };
        width * height + planes * width.div_ceil(across) * height.div_ceil(down)
    }
}

/// Fewer bytes than the frame needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the frame has {got} bytes where {needed} are needed")]
pub struct ShortFrame {
    /// What the frame needs.
    pub needed: usize,
    /// What there is.
    pub got: usize,
}

/// The matrix of BT.601 for one range, in 1/65536.
#[derive(Clone, Copy)]
struct Matrix {
    y_zero: i32,
    y: i32,
    cr_to_r: i32,
    cb_to_g: i32,
    cr_to_g: i32,
    cb_to_b: i32,
}

impl Matrix {
    const fn of(range: Range) -> Self {
        match range {
            // Y by 255/219; chroma by 255/224 and 1.402, 0.344136, 0.714136, 1.772.
            Range::Limited => Self {
                y_zero: 16,
                y: 76_309,
                cr_to_r: 104_597,
                cb_to_g: 25_675,
                cr_to_g: 53_279,
                cb_to_b: 132_201,
            },
            Range::Full => Self {
                y_zero: 0,
                y: 65_536,
                cr_to_r: 91_881,
                cb_to_g: 22_554,
                cr_to_g: 46_802,
                cb_to_b: 116_130,
            },
        }
    }

    fn rgb(self, y: u8, cb: u8, cr: u8) -> [u8; 3] {
        let y = (i32::from(y) - self.y_zero) * self.y + 32_768;
        let (cb, cr) = (i32::from(cb) - 128, i32::from(cr) - 128);
        let byte = |value: i32| (value >> 16).clamp(0, 255) as u8;
        [
            byte(y + self.cr_to_r * cr),
            byte(y - self.cb_to_g * cb - self.cr_to_g * cr),
            byte(y + self.cb_to_b * cb),
        ]
    }
}

/// The `needed` bytes of a frame.
fn exactly(data: &[u8], needed: usize) -> Result<&[u8], ShortFrame> {
    data.get(..needed).ok_or(ShortFrame { needed, got: data.len() })
}

/// A picture from its rows: `fill` writes the RGB bytes of row `y`.
fn by_rows(width: u32, height: u32, mut fill: impl FnMut(usize, &mut [u8])) -> RgbImage {
    let mut image = RgbImage::new(width, height);
    let stride = (width as usize * 3).max(1);
    for (y, row) in image.chunks_exact_mut(stride).enumerate() {
        fill(y, row);
    }
    image
}

/// Planar YCbCr: all Y, then all Cb, then all Cr. Odd sizes have their last chroma sample for one pixel.
///
/// # Errors
/// When `data` is shorter than a frame.
pub fn planar(
    width: u32,
    height: u32,
    chroma: Chroma,
    range: Range,
    data: &[u8],
) -> Result<RgbImage, ShortFrame> {
    let (w, h) = (width as usize, height as usize);
    let data = exactly(data, chroma.frame_bytes(w, h))?;
    let (luma, rest) = data.split_at(w * h);
    let (across, down) = chroma.steps();
    let (cb, cr) = rest.split_at(rest.len() / 2);
    let matrix = Matrix::of(range);
    let chroma_width = w.div_ceil(across);
    Ok(by_rows(width, height, |y, row| {
        let luma = &luma[y * w..][..w];
        if chroma == Chroma::Mono {
            for (pixel, &y) in row.chunks_exact_mut(3).zip(luma) {
                pixel.copy_from_slice(&matrix.rgb(y, 128, 128));
            }
            return;
        }
        let at = y / down * chroma_width;
        let (cb, cr) = (&cb[at..][..chroma_width], &cr[at..][..chroma_width]);
        for (x, (pixel, &y)) in row.chunks_exact_mut(3).zip(luma).enumerate() {
            pixel.copy_from_slice(&matrix.rgb(y, cb[x / across], cr[x / across]));
        }
    }))
}

/// YUYV (YUY2): Y0 Cb Y1 Cr for two pixels, limited range as V4L2 has it for webcams.
///
/// # Errors
/// When `data` is shorter than a frame.
pub fn yuyv(width: u32, height: u32, data: &[u8]) -> Result<RgbImage, ShortFrame> {
    let stride = (width as usize).div_ceil(2) * 4;
    let data = exactly(data, stride * height as usize)?;
    let matrix = Matrix::of(Range::Limited);
    Ok(by_rows(width, height, |y, row| {
        for (pixels, yuyv) in row.chunks_mut(6).zip(data[y * stride..].chunks_exact(4)) {
            for (pixel, &y) in pixels.chunks_exact_mut(3).zip([yuyv[0], yuyv[2]].iter()) {
                pixel.copy_from_slice(&matrix.rgb(y, yuyv[1], yuyv[3]));
            }
        }
    }))
}

/// NV12: all Y, then Cb and Cr in turn for 2×2 pixels, limited range.
///
/// # Errors
/// When `data` is shorter than a frame.
pub fn nv12(width: u32, height: u32, data: &[u8]) -> Result<RgbImage, ShortFrame> {
    let (w, h) = (width as usize, height as usize);
    let data = exactly(data, Chroma::C420.frame_bytes(w, h))?;
    let (luma, chroma) = data.split_at(w * h);
    let stride = w.div_ceil(2) * 2;
    let matrix = Matrix::of(Range::Limited);
    Ok(by_rows(width, height, |y, row| {
        let chroma = chroma[y / 2 * stride..].chunks_exact(2);
        for ((pixels, luma), c) in row.chunks_mut(6).zip(luma[y * w..][..w].chunks(2)).zip(chroma) {
            for (pixel, &y) in pixels.chunks_exact_mut(3).zip(luma) {
                pixel.copy_from_slice(&matrix.rgb(y, c[0], c[1]));
            }
        }
    }))
}

/// RGB, three bytes a pixel.
///
/// # Errors
/// When `data` is shorter than a frame.
pub fn rgb(width: u32, height: u32, data: &[u8]) -> Result<RgbImage, ShortFrame> {
    let (w, h) = (width as usize, height as usize);
    let data = exactly(data, w * h * 3)?;
    Ok(by_rows(width, height, |y, row| row.copy_from_slice(&data[y * w * 3..][..w * 3])))
}

/// BGR, three bytes a pixel.
///
/// # Errors
/// When `data` is shorter than a frame.
pub fn bgr(width: u32, height: u32, data: &[u8]) -> Result<RgbImage, ShortFrame> {
    let mut image = rgb(width, height, data)?;
    image.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2));
    Ok(image)
}

/// Grey, a byte a pixel, as infrared cameras have it: repeated in all three channels.
///
/// # Errors
/// When `data` is shorter than a frame.
pub fn grey(width: u32, height: u32, data: &[u8]) -> Result<RgbImage, ShortFrame> {
    planar(width, height, Chroma::Mono, Range::Full, data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// BT.601 as the standard writes it, in floating point.
    fn slow(range: Range, y: u8, cb: u8, cr: u8) -> [f64; 3] {
        let (y, chroma) = match range {
            Range::Limited => ((f64::from(y) - 16.0) * 255.0 / 219.0, 255.0 / 224.0),
            Range::Full => (f64::from(y), 1.0),
        };
        let (pb, pr) = ((f64::from(cb) - 128.0) * chroma, (f64::from(cr) - 128.0) * chroma);
        let (kr, kg, kb) = (0.299, 0.587, 0.114);
        let r = y + 2.0 * (1.0 - kr) * pr;
        let b = y + 2.0 * (1.0 - kb) * pb;
        let g = y - (2.0 * kr * (1.0 - kr) * pr + 2.0 * kb * (1.0 - kb) * pb) / kg;
        [r, g, b].map(|v| v.clamp(0.0, 255.0))
    }

    fn assert_near(fast: [u8; 3], slow: [f64; 3], at: &str) {
        for (fast, slow) in fast.iter().zip(slow) {
            assert!((f64::from(*fast) - slow).abs() <= 0.51, "{at}: {fast} for {slow}");
        }
    }

    /// A frame of `len` bytes that differ from their neighbours.
    fn noise(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 89 + i / 7 * 31) as u8).collect()
    }

    #[test]
    fn every_colour_is_that_of_the_standard() {
        for range in [Range::Limited, Range::Full] {
            let matrix = Matrix::of(range);
            for (y, cb, cr) in (0..=255u8)
                .flat_map(|y| (0..=255).step_by(5).map(move |cb| (y, cb)))
                .flat_map(|(y, cb)| (0..=255).step_by(5).map(move |cr| (y, cb, cr)))
            {
                assert_near(
                    matrix.rgb(y, cb, cr),
                    slow(range, y, cb, cr),
                    &format!("{range:?} {y} {cb} {cr}"),
                );
            }
        }
    }

    #[test]
    fn black_grey_and_white() {
        assert_eq!(Matrix::of(Range::Limited).rgb(16, 128, 128), [0; 3]);
        assert_eq!(Matrix::of(Range::Limited).rgb(235, 128, 128), [255; 3]);
        assert_eq!(Matrix::of(Range::Full).rgb(77, 128, 128), [77; 3]);
    }

    proptest! {
        #[test]
        fn planar_frames_take_each_sample_from_its_place(width in 1u32..20, height in 1u32..20, kind in 0usize..3) {
            let chroma = [Chroma::C420, Chroma::C422, Chroma::C444][kind];
            let (w, h) = (width as usize, height as usize);
            let data = noise(chroma.frame_bytes(w, h));
            let image = planar(width, height, chroma, Range::Limited, &data).expect("long enough");
            let (across, down) = [(2, 2), (2, 1), (1, 1)][kind];
            let (cw, ch) = (w.div_ceil(across), h.div_ceil(down));
            for (x, y, pixel) in image.enumerate_pixels() {
                let (x, y) = (x as usize, y as usize);
                let at = w * h + y / down * cw + x / across;
                let expected = slow(Range::Limited, data[y * w + x], data[at], data[at + cw * ch]);
                assert_near(pixel.0, expected, &format!("{chroma:?} {x},{y} of {w}×{h}"));
            }
        }

        #[test]
        fn packed_frames_take_each_sample_from_its_place(width in 1u32..20, height in 1u32..20) {
            let (w, h) = (width as usize, height as usize);
            let stride = w.div_ceil(2) * 4;
            let data = noise(stride * h);
            for (x, y, pixel) in yuyv(width, height, &data).expect("long enough").enumerate_pixels() {
                let (x, y) = (x as usize, y as usize);
                let four = &data[y * stride + x / 2 * 4..][..4];
                assert_near(pixel.0, slow(Range::Limited, four[x % 2 * 2], four[1], four[3]), "YUYV");
            }
            let data = noise(Chroma::C420.frame_bytes(w, h));
            for (x, y, pixel) in nv12(width, height, &data).expect("long enough").enumerate_pixels() {
                let (x, y) = (x as usize, y as usize);
                let at = w * h + (y / 2 * w.div_ceil(2) + x / 2) * 2;
                assert_near(pixel.0, slow(Range::Limited, data[y * w + x], data[at], data[at + 1]), "NV12");
            }
        }
    }

    #[test]
    fn rgb_bgr_and_grey() {
        let data = [1, 2, 3, 4, 5, 6, 99];
        assert_eq!(rgb(2, 1, &data).map(RgbImage::into_raw), Ok(vec![1, 2, 3, 4, 5, 6]));
        assert_eq!(bgr(2, 1, &data).map(RgbImage::into_raw), Ok(vec![3, 2, 1, 6, 5, 4]));
        assert_eq!(grey(2, 1, &data).map(RgbImage::into_raw), Ok(vec![1, 1, 1, 2, 2, 2]));
    }

    #[test]
    fn a_short_frame_is_an_error_and_a_long_one_is_not() {
        type Decode = fn(u32, u32, &[u8]) -> Result<RgbImage, ShortFrame>;
        let table: [(Decode, usize); 5] = [(yuyv, 24), (nv12, 20), (rgb, 36), (bgr, 36), (grey, 12)];
        for (decode, needed) in table {
            assert!(decode(4, 3, &noise(needed)).is_ok());
            assert!(decode(4, 3, &noise(needed + 5)).is_ok());
            let short = decode(4, 3, &noise(needed - 1));
            assert_eq!(short, Err(ShortFrame { needed, got: needed - 1 }));
        }
    }
}
