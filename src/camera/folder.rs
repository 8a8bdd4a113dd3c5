//! A folder of numbered pictures played as a recording.

use std::cmp::Ordering;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use image::RgbImage;

use super::Fault;
use super::clip::Recording;
use super::pacing::FrameRate;
use crate::frame::load_image;

/// Endings of the pictures in a folder; other files are left alone.
const ENDINGS: &[&str] = &["jpg", "jpeg", "png", "pgm", "ppm", "pnm"];

/// The pictures of a folder, 2 before 10.
#[derive(Debug)]
pub(super) struct Folder {
    pictures: Vec<PathBuf>,
    next: usize,
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self, Fault> {
        let listing = |source| Fault::with("the folder could not be listed; check its permissions", source);
        let mut pictures = Vec::new();
        for entry in std::fs::read_dir(path).map_err(listing)? {
            let path = entry.map_err(listing)?.path();
            if is_picture(&path) {
                pictures.push(path);
            }
        }
        if pictures.is_empty() {
            return Err(Fault::new(format!(
                "there is no picture in the folder; it needs files that end in {}",
                ENDINGS.join(", ")
            )));
        }
        pictures.sort_by(|a, b| {
            natural_order(a.as_os_str().as_encoded_bytes(), b.as_os_str().as_encoded_bytes())
        });
        Ok(Self { pictures, next: 0 })
    }
}

fn is_picture(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_bytes().starts_with(b"."));
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    !hidden && ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

/// Numbers by value, everything else by bytes; equal values with fewer leading zeros first.
fn natural_order(a: &[u8], b: &[u8]) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        match (left.first(), right.first()) {
            (Some(l), Some(r)) if l.is_ascii_digit() && r.is_ascii_digit() => {
                let (number_l, rest_l) = split_number(left);
                let (number_r, rest_r) = split_number(right);
                let by_value = number_l.len().cmp(&number_r.len()).then(number_l.cmp(number_r));
                if by_value.is_ne() {
                    return by_value;
                }
                (left, right) = (rest_l, rest_r);
            }
            (Some(l), Some(r)) if l == r => (left, right) = (&left[1..], &right[1..]),
            (None, None) => return a.len().cmp(&b.len()).then(a.cmp(b)),
            (l, r) => return l.cmp(&r),
        }
    }
}

/// The digits at the start without leading zeros, and what follows.
fn split_number(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let zeros = number.iter().take_while(|&&byte| byte == b'0').count();
    (&number[zeros..], rest)
}

impl Recording for Folder {
    fn next(&mut self) -> Result<Option<RgbImage>, Fault> {
        let Some(path) = self.pictures.get(self.next) else { return Ok(None) };
        self.next += 1;
        load_image(path).map(Some).map_err(|error| Fault::told_by(&error))
    }

    fn skip(&mut self) -> Result<bool, Fault> {
        let there = self.next < self.pictures.len();
        self.next += usize::from(there);
        Ok(there)
    }

    fn rewind(&mut self) -> Result<(), Fault> {
        self.next = 0;
        Ok(())
    }

    fn rate(&self) -> Option<FrameRate> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sorted(mut names: Vec<&str>) -> Vec<&str> {
        names.sort_by(|a, b| natural_order(a.as_bytes(), b.as_bytes()));
        names
    }

    #[test]
    fn numbers_count_by_value() {
        assert_eq!(sorted(vec!["f10.png", "f9.png", "f1.png"]), ["f1.png", "f9.png", "f10.png"]);
        assert_eq!(sorted(vec!["010", "9", "0009", "09"]), ["9", "09", "0009", "010"]);
        assert_eq!(sorted(vec!["a2b10", "a2b9", "a1b99", "a"]), ["a", "a1b99", "a2b9", "a2b10"]);
        assert_eq!(
            sorted(vec!["99999999999999999999999999", "100000000000000000000000000"]),
            ["99999999999999999999999999", "100000000000000000000000000"]
        );
    }

    #[test]
    fn only_visible_pictures_count() {
        for (name, expected) in [
            ("a/1.jpg", true),
            ("a/1.JPEG", true),
            ("a/1.Pgm", true),
            ("a/.1.jpg", false),
            ("a/1.txt", false),
            ("a/jpg", false),
            ("a/1.jpg.tmp", false),
        ] {
            assert_eq!(is_picture(Path::new(name)), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn the_order_is_one(names in proptest::collection::vec("[a01290]{0,6}", 3)) {
            let order = |i: usize, j: usize| natural_order(names[i].as_bytes(), names[j].as_bytes());
            prop_assert_eq!(order(0, 1), order(1, 0).reverse());
            prop_assert_eq!(order(0, 1).is_eq(), names[0] == names[1]);
            if order(0, 1).is_le() && order(1, 2).is_le() {
                prop_assert!(order(0, 2).is_le());
            }
        }
    }
}
