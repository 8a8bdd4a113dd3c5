//! Pixels and when they were taken: what every camera delivers and what vision reads; and the pictures that an
//! operator hands over instead of a camera.

mod jpeg;

use std::fs::File;
use std::io::{Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use crate::clock::MonoTime;

pub use jpeg::{JpegError, MAX_STREAM_JPEG_BYTES, decode_jpeg};
pub(crate) use jpeg::{Step, Walk};

/// The most pixels a camera's frame may have: 16 Mi, a square of 4096 px.
pub const MAX_FRAME_PIXELS: u64 = 1 << 24;

/// The most pixels a picture given by an operator may have: 64 megapixels.
pub const MAX_IMAGE_PIXELS: u64 = 64_000_000;

/// The most bytes a picture file may have: 256 MiB.
const MAX_IMAGE_BYTES: u64 = 256 << 20;

/// The most memory decoding may take: that of 16-bit RGBA.
const BYTES_A_PIXEL: u64 = 8;

/// One picture from a camera.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Counts up by one per picture the camera delivered, also those that nobody looked at.
    pub seq: u64,
    /// When the light was caught, as near as the camera tells.
    pub captured: MonoTime,
    /// RGB, 8 bits a channel, upright.
    pub image: RgbImage,
}

/// Why a picture file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// No such file.
    #[error("picture {}: there is no such file; check the path", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Not ours to read.
    #[error("picture {}: no permission to read it; make it readable for the user who runs accessd", path.display())]
    Denied {
        /// The file.
        path: PathBuf,
    },
    /// A folder.
    #[error("picture {}: this is a folder; name the picture files in it", path.display())]
    Directory {
        /// The folder.
        path: PathBuf,
    },
    /// A device, a pipe, a socket.
    #[error("picture {}: this is not a regular file; give a JPEG, PNG or PNM file", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// No bytes.
    #[error("picture {}: the file is empty; copy it again", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Not a picture at all, as far as can be told.
    #[error("picture {}: this is not a picture; give a JPEG, PNG or PNM (PGM, PPM) file", path.display())]
    NotAPicture {
        /// The file.
        path: PathBuf,
    },
    /// A picture in a format that is not read.
    #[error("picture {}: {format} pictures are not read; convert it to JPEG or PNG", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The format's name.
        format: &'static str,
    },
    /// Too many pixels.
    #[error(
        "picture {}: {width}×{height} px are more than {} megapixels; scale it down", path.display(),
        limit / 1_000_000
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its width in px.
        width: u32,
        /// Its height in px.
        height: u32,
        /// The most pixels it may have.
        limit: u64,
    },
    /// Too many bytes.
    #[error("picture {}: the file has {bytes} bytes, more than {MAX_IMAGE_BYTES}; scale it down", path.display())]
    TooManyBytes {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// The end is missing.
    #[error("picture {}: the file is cut short; copy it again from where it came from", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
    },
    /// It begins like a picture and goes on as something else.
    #[error("picture {}: the file is damaged; copy it again or save it anew as PNG", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The disk or the file system failed.
    #[error("picture {}: it could not be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Reads a picture file: JPEG, PNG or PNM, told by content and not by name. The picture is turned upright as its EXIF
/// data say; 16-bit and grey ones become 8-bit RGB, transparency is dropped.
///
/// # Errors
/// Names the file, what is wrong with it and what to try.
pub fn load_image(path: &Path) -> Result<RgbImage, ImageError> {
    let bytes = read_file(path)?;
    image_from(path, &bytes, MAX_IMAGE_PIXELS)
}

fn read_file(path: &Path) -> Result<Vec<u8>, ImageError> {
    let owned = || path.to_path_buf();
    let failed = |source: std::io::Error| match source.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => ImageError::Missing { path: owned() },
        ErrorKind::PermissionDenied => ImageError::Denied { path: owned() },
        _ => ImageError::Read { path: owned(), source },
    };
    // Asked before opening: opening a pipe would wait for a writer.
    let kind = std::fs::metadata(path).map_err(failed)?;
    if kind.is_dir() {
        return Err(ImageError::Directory { path: owned() });
    }
    if !kind.is_file() {
        return Err(ImageError::NotAFile { path: owned() });
    }
    if kind.len() > MAX_IMAGE_BYTES {
        return Err(ImageError::TooManyBytes { path: owned(), bytes: kind.len() });
    }
    let mut bytes = Vec::with_capacity(kind.len() as usize);
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_IMAGE_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.is_empty() {
        return Err(ImageError::Empty { path: owned() });
    }
    Ok(bytes)
}

/// Reads a picture as [`load_image`] does, from bytes that are at hand and of at most so many pixels; `path` is what
/// errors call it.
///
/// # Errors
/// As for [`load_image`].
pub fn image_from(path: &Path, bytes: &[u8], most_pixels: u64) -> Result<RgbImage, ImageError> {
    let owned = || path.to_path_buf();
    if let Some(format) = foreign_format(bytes) {
        return Err(ImageError::Unsupported { path: owned(), format });
    }
    let image = match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => decode_jpeg_file(path, bytes, most_pixels),
        Ok(format @ (ImageFormat::Png | ImageFormat::Pnm)) => decode_other(path, bytes, format, most_pixels),
        _ => Err(ImageError::NotAPicture { path: owned() }),
    }?;
    match image.dimensions() {
        (0, _) | (_, 0) => Err(ImageError::Damaged { path: owned(), source: "it has no pixels".into() }),
        _ => Ok(image),
    }
}

/// JPEG through our own decoder: the image crate shows half a picture where the other half is missing.
fn decode_jpeg_file(path: &Path, bytes: &[u8], most_pixels: u64) -> Result<RgbImage, ImageError> {
    let path = path.to_path_buf();
    match jpeg::decode_with_exif(bytes, most_pixels) {
        Ok((image, exif)) => {
            let turn = exif.and_then(|exif| Orientation::from_exif_chunk(&exif));
            Ok(upright(image.into(), turn.unwrap_or(Orientation::NoTransforms)))
        }
        Err(JpegError::TooLarge { width, height, .. }) => {
            Err(ImageError::TooLarge { path, width, height, limit: most_pixels })
        }
        Err(JpegError::Truncated) => Err(ImageError::Truncated { path }),
        Err(JpegError::NotJpeg) => Err(ImageError::NotAPicture { path }),
        Err(source @ JpegError::Damaged(_)) => Err(ImageError::Damaged { path, source: source.into() }),
    }
}

fn decode_other(
    path: &Path,
    bytes: &[u8],
    format: ImageFormat,
    most_pixels: u64,
) -> Result<RgbImage, ImageError> {
    let failed = |error: image::ImageError| match has_end(bytes, format, &error) {
        true => ImageError::Damaged { path: path.to_path_buf(), source: error.into() },
        false => ImageError::Truncated { path: path.to_path_buf() },
    };
    let mut limits = Limits::default();
    limits.max_alloc = Some(most_pixels * BYTES_A_PIXEL);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > most_pixels {
        let path = path.to_path_buf();
        return Err(ImageError::TooLarge { path, width, height, limit: most_pixels });
    }
    let turn = decoder.orientation().map_err(failed)?;
    let image = DynamicImage::from_decoder(decoder).map_err(failed)?;
    Ok(upright(image, turn))
}

fn upright(mut image: DynamicImage, turn: Orientation) -> RgbImage {
    image.apply_orientation(turn);
    image.into_rgb8()
}

/// Whether a picture that could not be decoded is there up to its end: a PNG has its last chunk, a PNM was not read
/// beyond its bytes.
fn has_end(bytes: &[u8], format: ImageFormat, error: &image::ImageError) -> bool {
    match (format, error) {
        (ImageFormat::Png, _) => bytes.windows(4).any(|chunk| chunk == b"IEND"),
        (_, image::ImageError::IoError(io)) => io.kind() != ErrorKind::UnexpectedEof,
        _ => true,
    }
}

/// The name of a picture format that people have and accessd does not read.
fn foreign_format(bytes: &[u8]) -> Option<&'static str> {
    if let (Some(b"ftyp"), Some(brand)) = (bytes.get(4..8), bytes.get(8..12)) {
        return match brand {
            b"avif" | b"avis" => Some("AVIF"),
            b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"mif1" | b"msf1" => Some("HEIC"),
            _ => None,
        };
    }
    match image::guess_format(bytes).ok()? {
        ImageFormat::Gif => Some("GIF"),
        ImageFormat::WebP => Some("WebP"),
        ImageFormat::Tiff => Some("TIFF"),
        ImageFormat::Bmp => Some("BMP"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::codecs::jpeg::JpegEncoder;
    use image::{GrayImage, ImageBuffer, Luma, Rgb, Rgba};
    use std::os::unix::fs::PermissionsExt;

    /// Four quarters of different colour, so that a turn is seen: red, green / blue, white.
    fn quarters(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| match (x < width / 2, y < height / 2) {
            (true, true) => Rgb([255, 0, 0]),
            (false, true) => Rgb([0, 255, 0]),
            (true, false) => Rgb([0, 0, 255]),
            (false, false) => Rgb([255; 3]),
        })
    }

    fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).expect("encode");
        bytes.into_inner()
    }

    /// The JPEG with an EXIF segment that says how it is turned.
    fn turned(jpeg: &[u8], orientation: u8) -> Vec<u8> {
        let mut exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
        exif.extend_from_slice(&[orientation, 0, 0, 0, 0, 0, 0]);
        let length = exif.len() as u16 + 2;
        [&jpeg[..2], &[0xFF, 0xE1], &length.to_be_bytes(), &exif, &jpeg[2..]].concat()
    }

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a folder"))
        }

        fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
            let path = self.0.path().join(name);
            std::fs::write(&path, bytes).expect("write");
            path
        }

        fn load(&self, name: &str, bytes: &[u8]) -> Result<RgbImage, ImageError> {
            load_image(&self.put(name, bytes))
        }

        fn message(&self, name: &str, bytes: &[u8]) -> String {
            self.load(name, bytes).expect_err("must be refused").to_string()
        }
    }

    fn quarter_colours(image: &RgbImage) -> [[u8; 3]; 4] {
        let (w, h) = image.dimensions();
        [(1, 1), (3, 1), (1, 3), (3, 3)].map(|(x, y)| {
            // Rounded to full and none: JPEG is not exact.
            image.get_pixel(w * x / 4, h * y / 4).0.map(|value| if value > 127 { 255 } else { 0 })
        })
    }

    const R: [u8; 3] = [255, 0, 0];
    const G: [u8; 3] = [0, 255, 0];
    const B: [u8; 3] = [0, 0, 255];
    const W: [u8; 3] = [255; 3];

    #[test]
    fn formats_are_told_by_content_and_not_by_name() {
        let folder = Folder::new();
        let image = quarters(32, 24);
        for (name, format) in
            [("a.jpg", ImageFormat::Png), ("b", ImageFormat::Pnm), ("c.png", ImageFormat::Jpeg)]
        {
            let loaded = folder.load(name, &encoded(&image.clone().into(), format)).expect(name);
            assert_eq!(loaded.dimensions(), (32, 24), "{name}");
            assert_eq!(quarter_colours(&loaded), [R, G, B, W], "{name}");
        }
    }

    #[test]
    fn exif_turns_are_undone() {
        let folder = Folder::new();
        let mut jpeg = Vec::new();
        JpegEncoder::new_with_quality(&mut jpeg, 95).encode_image(&quarters(64, 32)).expect("encode");
        for (orientation, size, colours) in [
            (1, (64, 32), [R, G, B, W]),
            (2, (64, 32), [G, R, W, B]),
            (3, (64, 32), [W, B, G, R]),
            (4, (64, 32), [B, W, R, G]),
            (5, (32, 64), [R, B, G, W]),
            (6, (32, 64), [B, R, W, G]),
            (7, (32, 64), [W, G, B, R]),
            (8, (32, 64), [G, W, R, B]),
            (0, (64, 32), [R, G, B, W]),
            (77, (64, 32), [R, G, B, W]),
        ] {
            let loaded = folder.load("turned.jpg", &turned(&jpeg, orientation)).expect("loads");
            assert_eq!(loaded.dimensions(), size, "orientation {orientation}");
            assert_eq!(quarter_colours(&loaded), colours, "orientation {orientation}");
        }
    }

    #[test]
    fn grey_16_bit_and_transparent_pictures_become_rgb() {
        let folder = Folder::new();
        let grey: DynamicImage = GrayImage::from_fn(9, 4, |x, _| Luma([x as u8 * 25])).into();
        let grey16: DynamicImage =
            ImageBuffer::<Luma<u16>, _>::from_fn(9, 4, |x, _| Luma([x as u16 * 25 * 257])).into();
        let rgba16: DynamicImage = ImageBuffer::<Rgba<u16>, _>::from_fn(9, 4, |x, _| {
            let value = x as u16 * 25 * 257;
            Rgba([value, value, value, 0xFFFF])
        })
        .into();
        let expected = RgbImage::from_fn(9, 4, |x, _| Rgb([x as u8 * 25; 3]));
        for (name, image, format) in [
            ("grey.png", &grey, ImageFormat::Png),
            ("grey.pgm", &grey, ImageFormat::Pnm),
            ("grey16.png", &grey16, ImageFormat::Png),
            ("grey16.pgm", &grey16, ImageFormat::Pnm),
            ("rgba16.png", &rgba16, ImageFormat::Png),
        ] {
            assert_eq!(folder.load(name, &encoded(image, format)).expect(name), expected, "{name}");
        }
    }

    #[test]
    fn cut_short_files_are_told_from_damaged_ones() {
        let folder = Folder::new();
        let image: DynamicImage = quarters(64, 48).into();
        for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Pnm] {
            let whole = encoded(&image, format);
            for part in [2, 5, 9] {
                let message = folder.message("cut", &whole[..whole.len() * part / 10]);
                assert!(message.contains("the file is cut short"), "{format:?} {part}/10: {message}");
            }
        }
        let mut damaged = encoded(&image, ImageFormat::Png);
        let middle = damaged.len() / 2;
        damaged[middle..middle + 8].fill(0x55);
        let message = folder.message("damaged.png", &damaged);
        assert!(message.contains("the file is damaged"), "{message}");
        let mut damaged = encoded(&image, ImageFormat::Jpeg);
        damaged[20] = 0x55;
        let message = folder.message("damaged.jpg", &damaged);
        assert!(message.contains("damaged.jpg: the file is damaged"), "{message}");
    }

    #[test]
    fn a_picture_without_pixels_is_refused() {
        let folder = Folder::new();
        for bytes in [b"P5 0 5 255\n".as_slice(), b"P3 7 0 255\n", b"P6 0 0 255\n"] {
            let message = folder.message("empty.ppm", bytes);
            assert!(message.contains("empty.ppm: the file is damaged"), "{message}");
        }
    }

    #[test]
    fn huge_sizes_are_refused_before_memory_is_taken() {
        let folder = Folder::new();
        let image: DynamicImage = quarters(16, 16).into();
        let mut jpeg = encoded(&image, ImageFormat::Jpeg);
        let frame = jpeg.windows(2).position(|w| w == [0xFF, 0xC0]).expect("a frame header");
        jpeg[frame + 5..frame + 9].copy_from_slice(&[0xFF; 4]);
        let message = folder.message("huge.jpg", &jpeg);
        assert!(message.contains("65535×65535 px are more than 64 megapixels; scale it down"), "{message}");

        let message = folder.message("huge.ppm", b"P6\n100000 100000\n255\n....");
        assert!(message.contains("100000×100000 px"), "{message}");

        // A PNG is the same size with its header's checksum made right.
        let mut png = encoded(&image, ImageFormat::Png);
        png[16..24].copy_from_slice(&[0, 0, 0x40, 0, 0, 0, 0x40, 0]);
        let crc = crc32(&png[12..29]);
        png[29..33].copy_from_slice(&crc.to_be_bytes());
        let message = folder.message("huge.png", &png);
        assert!(message.contains("16384×16384 px"), "{message}");
    }

    /// CRC-32 as PNG has it (ISO 3309), bit by bit.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, byte| {
            (0..8).fold(
                crc ^ u32::from(*byte),
                |crc, _| {
                    if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 }
                },
            )
        })
    }

    #[test]
    fn other_files_are_named_for_what_they_are() {
        let folder = Folder::new();
        for (name, bytes, expected) in [
            ("empty.jpg", &b""[..], "the file is empty"),
            ("text.jpg", b"hello, I am no picture", "this is not a picture; give a JPEG, PNG or PNM"),
            ("one.jpg", b"\xFF", "this is not a picture"),
            ("phone.jpg", b"\0\0\0\x24ftypheic\0\0\0\0mif1heic", "HEIC pictures are not read"),
            ("net.avif", b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF pictures are not read"),
            ("film.mp4", b"\0\0\0\x1cftypisom\0\0\0\0", "this is not a picture"),
            ("a.gif", b"GIF89a\x01\0\x01\0", "GIF pictures are not read"),
            ("a.webp", b"RIFF\x24\0\0\0WEBPVP8 ", "WebP pictures are not read"),
            ("a.bmp", b"BM\0\0\0\0", "convert it to JPEG or PNG"),
            ("a.tif", b"II*\0\0\0\0\0", "TIFF pictures are not read"),
        ] {
            let message = folder.message(name, bytes);
            assert!(message.contains(expected) && message.contains(name), "{message}");
        }
    }

    #[test]
    fn paths_that_are_no_file_are_named_for_what_they_are() {
        let folder = Folder::new();
        let root = folder.0.path();
        let message = |path: &Path| load_image(path).expect_err("must be refused").to_string();
        assert!(message(&root.join("nobody.jpg")).contains("nobody.jpg: there is no such file"));
        assert!(message(root).contains("this is a folder; name the picture files in it"));
        let file = folder.put("a.txt", b"x");
        assert!(message(&file.join("b.jpg")).contains("there is no such file"));
        assert!(message(Path::new("/dev/null")).contains("this is not a regular file"));
        let huge = File::create(root.join("huge")).expect("create");
        huge.set_len(MAX_IMAGE_BYTES + 1).expect("a sparse file");
        assert!(message(&root.join("huge")).contains("the file has 268435457 bytes"));
    }

    #[test]
    fn a_file_without_permission_says_so() {
        let folder = Folder::new();
        let path = folder.put("secret.png", b"x");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o000)).expect("chmod");
        match File::open(&path) {
            // Root reads everything.
            Ok(_) => {}
            Err(_) => {
                let message = load_image(&path).expect_err("must be refused").to_string();
                assert!(message.contains("no permission to read it"), "{message}");
            }
        }
    }
}
