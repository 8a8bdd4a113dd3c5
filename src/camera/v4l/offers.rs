//! What a camera offers, which of it suits best, and how its pixels become a picture.
//!
//! Stands between the device that [`super`] opens and the pictures that it hands on.

use std::io;

use image::RgbImage;
use v4l::frameinterval::FrameIntervalEnum;
use v4l::framesize::{FrameSizeEnum, Stepwise};
use v4l::video::Capture;
use v4l::{Device, FourCC};

use super::super::{WantedFormat, pixels};
use crate::frame::{MAX_FRAME_PIXELS, decode_jpeg};

/// How pixels lie in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layout {
    /// A JPEG a picture.
    Mjpeg,
    /// Y0 Cb Y1 Cr.
    Yuyv,
    /// Y, then Cb and Cr in turn.
    Nv12,
    /// Three bytes a pixel.
    Rgb,
    /// The same, blue first.
    Bgr,
    /// A byte a pixel: infrared cameras.
    Grey,
}

/// The driver's names for the layouts that are decoded here.
const FOURCCS: [(&[u8; 4], Layout); 7] = [
    (b"MJPG", Layout::Mjpeg),
    (b"JPEG", Layout::Mjpeg),
    (b"YUYV", Layout::Yuyv),
    (b"NV12", Layout::Nv12),
    (b"RGB3", Layout::Rgb),
    (b"BGR3", Layout::Bgr),
    (b"GREY", Layout::Grey),
];

impl Layout {
    pub(super) fn of(fourcc: FourCC) -> Option<Self> {
        FOURCCS.iter().find(|(name, _)| **name == fourcc.repr).map(|(_, layout)| *layout)
    }

    /// Bytes of a row, and rows, of a picture that is not compressed and has no padding.
    pub(super) fn rows(self, width: u32, height: u32) -> Option<(usize, usize)> {
        let (width, height) = (width as usize, height as usize);
        match self {
            Self::Mjpeg => None,
            Self::Yuyv => Some((width.div_ceil(2) * 4, height)),
            Self::Nv12 => Some((width.div_ceil(2) * 2, height + height.div_ceil(2))),
            Self::Rgb | Self::Bgr => Some((width * 3, height)),
            Self::Grey => Some((width, height)),
        }
    }
}

/// One thing that a camera can give.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offer {
    /// How the pixels lie.
    pub layout: Layout,
    /// The driver's name for it.
    pub fourcc: [u8; 4],
    /// Width in px.
    pub width: u32,
    /// Height in px.
    pub height: u32,
    /// Time between two pictures in s, as a fraction; `None` when the driver does not say.
    pub interval: Option<(u32, u32)>,
}

impl Offer {
    /// Frames a second; 0 when the driver does not say.
    pub fn fps(&self) -> f32 {
        self.interval.map_or(0.0, |(num, den)| den as f32 / num.max(1) as f32)
    }
}

impl std::fmt::Display for Offer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fourcc = String::from_utf8_lossy(&self.fourcc);
        write!(f, "{fourcc} {}×{}", self.width, self.height)?;
        if self.interval.is_some() { write!(f, " at {:.3} frames/s", self.fps()) } else { Ok(()) }
    }
}

/// What a device can give, as far as it is decoded here; of what it gives in any size, the size nearest to `wanted`.
pub(super) fn offers_of(device: &Device, wanted: WantedFormat) -> io::Result<Vec<Offer>> {
    let mut offers = Vec::new();
    for format in device.enum_formats()? {
        let Some(layout) = Layout::of(format.fourcc) else { continue };
        let fourcc = format.fourcc;
        let mut sizes: Vec<(u32, u32)> = Vec::new();
        for size in device.enum_framesizes(fourcc).unwrap_or_default() {
            sizes.push(match size.size {
                FrameSizeEnum::Discrete(size) => (size.width, size.height),
                FrameSizeEnum::Stepwise(steps) => nearest_size(&steps, wanted),
            });
        }
        if sizes.is_empty() {
            // A driver that lists none takes what it is asked for, or says what it has.
            sizes.push((wanted.width, wanted.height));
        }
        for (width, height) in sizes {
            let offer = Offer { layout, fourcc: fourcc.repr, width, height, interval: None };
            let intervals = device.enum_frameintervals(fourcc, width, height).unwrap_or_default();
            let intervals = intervals.into_iter().map(|each| match each.interval {
                FrameIntervalEnum::Discrete(interval) => (interval.numerator, interval.denominator),
                FrameIntervalEnum::Stepwise(steps) => nearest_interval(
                    (steps.min.numerator, steps.min.denominator),
                    (steps.max.numerator, steps.max.denominator),
                    wanted.fps,
                ),
            });
            let known = offers.len();
            offers.extend(intervals.map(|interval| Offer { interval: Some(interval), ..offer }));
            if offers.len() == known {
                offers.push(offer);
            }
        }
    }
    Ok(offers)
}

fn nearest_size(steps: &Stepwise, wanted: WantedFormat) -> (u32, u32) {
    let near = |wanted: u32, min: u32, max: u32, step: u32| {
        let wanted = wanted.clamp(min, max.max(min));
        wanted - (wanted - min) % step.max(1)
    };
    (
        near(wanted.width, steps.min_width, steps.max_width, steps.step_width),
        near(wanted.height, steps.min_height, steps.max_height, steps.step_height),
    )
}

/// The interval nearest to 1/`fps` between `min` and `max`.
fn nearest_interval(min: (u32, u32), max: (u32, u32), fps: u32) -> (u32, u32) {
    let seconds = |(num, den): (u32, u32)| f64::from(num) / f64::from(den.max(1));
    let wanted = (1, fps.max(1));
    if seconds(wanted) < seconds(min) {
        min
    } else if seconds(wanted) > seconds(max) {
        max
    } else {
        wanted
    }
}

/// Best first: nearest in size, then fast enough, then the layout that suits the size (above 640×480 raw pixels do not
/// fit through USB 2 at full rate, below they save the JPEG's loss), then not faster than needed.
pub(super) fn nearest_first(mut offers: Vec<Offer>, wanted: WantedFormat) -> Vec<Offer> {
    let pixels = |offer: &Offer| u64::from(offer.width) * u64::from(offer.height);
    offers.retain(|offer| (1..=MAX_FRAME_PIXELS).contains(&pixels(offer)));
    offers.sort_by_key(|offer| {
        let off = offer.width.abs_diff(wanted.width) + offer.height.abs_diff(wanted.height);
        // In thousandths: rates such as 29.97 are fast enough for 30.
        let rate = (offer.fps() * 1000.0) as i64;
        let asked = i64::from(wanted.fps) * 1000;
        let too_slow = (asked - rate - asked / 100).max(0);
        let large = pixels(offer) > 640 * 480;
        let rank = match offer.layout {
            Layout::Mjpeg if large => 0,
            Layout::Yuyv => 1,
            Layout::Nv12 => 2,
            Layout::Mjpeg => 3,
            Layout::Rgb | Layout::Bgr => 4,
            Layout::Grey => 5,
        };
        (off, too_slow, rank, (rate - asked).max(0))
    });
    offers
}

/// The pixels of a picture.
pub(super) fn decode(offer: &Offer, bytes: &[u8]) -> Result<RgbImage, String> {
    let (width, height) = (offer.width, offer.height);
    let raw = match offer.layout {
        Layout::Mjpeg => return decode_jpeg(bytes, MAX_FRAME_PIXELS).map_err(|error| error.to_string()),
        Layout::Yuyv => pixels::yuyv(width, height, bytes),
        Layout::Nv12 => pixels::nv12(width, height, bytes),
        Layout::Rgb => pixels::rgb(width, height, bytes),
        Layout::Bgr => pixels::bgr(width, height, bytes),
        Layout::Grey => pixels::grey(width, height, bytes),
    };
    raw.map_err(|error| error.to_string())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A thing that a camera gives `fps` times a second.
    pub(crate) fn offer(width: u32, height: u32, name: &[u8; 4], fps: u32) -> Offer {
        let layout = Layout::of(FourCC::new(name)).expect("a known layout");
        Offer { layout, fourcc: *name, width, height, interval: Some((1, fps)) }
    }

    fn best(offered: &[Offer], width: u32, height: u32, fps: u32) -> Option<Offer> {
        nearest_first(offered.to_vec(), WantedFormat { width, height, fps }).first().copied()
    }

    #[test]
    fn a_webcam_is_used_at_the_nearest_size_in_the_layout_that_suits_it() {
        let webcam = [
            offer(320, 240, b"YUYV", 30),
            offer(640, 480, b"MJPG", 15),
            offer(640, 480, b"MJPG", 30),
            offer(640, 480, b"YUYV", 30),
            offer(640, 480, b"YUYV", 15),
            offer(1280, 720, b"YUYV", 10),
            offer(1280, 720, b"MJPG", 30),
            offer(1920, 1080, b"YUYV", 30),
            offer(1920, 1080, b"MJPG", 30),
        ];
        for (wanted, expected) in [
            ((640, 480, 15), offer(640, 480, b"YUYV", 15)),
            ((640, 480, 20), offer(640, 480, b"YUYV", 30)),
            ((1280, 720, 15), offer(1280, 720, b"MJPG", 30)),
            ((1920, 1080, 30), offer(1920, 1080, b"MJPG", 30)),
            ((160, 120, 30), offer(320, 240, b"YUYV", 30)),
            ((3840, 2160, 60), offer(1920, 1080, b"MJPG", 30)),
        ] {
            assert_eq!(best(&webcam, wanted.0, wanted.1, wanted.2), Some(expected), "{wanted:?}");
        }
    }

    #[test]
    fn size_comes_before_rate_and_rate_before_layout() {
        let offered =
            [offer(640, 480, b"MJPG", 30), offer(640, 480, b"NV12", 5), offer(800, 600, b"NV12", 60)];
        assert_eq!(best(&offered, 640, 480, 25), Some(offered[0]));
    }

    #[test]
    fn rates_that_are_no_whole_numbers_are_rates_too() {
        let ntsc = Offer { interval: Some((1001, 30_000)), ..offer(640, 480, b"YUYV", 30) };
        let slow = offer(640, 480, b"YUYV", 25);
        assert_eq!(best(&[slow, ntsc], 640, 480, 30), Some(ntsc));
        assert!((ntsc.fps() - 29.97).abs() < 0.01);
        assert_eq!(ntsc.to_string(), "YUYV 640×480 at 29.970 frames/s");
    }

    #[test]
    fn impossible_offers_are_left_out() {
        let offered = [offer(0, 0, b"YUYV", 30), offer(40_000, 40_000, b"MJPG", 30)];
        assert_eq!(best(&offered, 640, 480, 15), None);
        assert_eq!(best(&[], 640, 480, 15), None);
        assert_eq!(Layout::of(FourCC::new(b"H264")), None);
    }

    #[test]
    fn a_camera_that_gives_any_size_and_rate_gives_the_one_wanted() {
        let steps = Stepwise {
            min_width: 48,
            max_width: 1920,
            step_width: 16,
            min_height: 32,
            max_height: 1200,
            step_height: 8,
        };
        let size = |width, height| nearest_size(&steps, WantedFormat { width, height, fps: 15 });
        assert_eq!((size(640, 480), size(645, 481)), ((640, 480), (640, 480)));
        assert_eq!((size(16, 16), size(9_000, 9_000)), ((48, 32), (1920, 1200)));
        let rate = |fps| nearest_interval((1, 60), (1, 5), fps);
        assert_eq!((rate(15), rate(200), rate(1)), ((1, 15), (1, 60), (1, 5)));
    }
}
