//! The seeds of the fuzz targets, and what a seeded generator makes of them: what `make fuzz` does with instrumentation and
//! for as long as one likes, in a second or two of the ordinary tests. Former crashes are seeds with a name.

#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};

/// Variations of each seed.
const VARIATIONS: u64 = 40;

/// The seeds of a target, by name.
fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let listed = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut seeds: Vec<_> = listed
        .map(|entry| {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            (path, bytes)
        })
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "no seeds in {}", folder.display());
    seeds
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// The seed with a few bytes changed, cut out, doubled or taken from another one.
fn varied(seed: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        let (at, length) = (random.below(bytes.len()), random.below(16));
        let end = (at + length).min(bytes.len());
        match random.below(6) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = [0, 0xFF, 0x7F, 0x80, b'\n', b'9'][random.below(6)],
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => bytes.splice(at..at, bytes[at..end].to_vec()).for_each(drop),
            _ => {
                let from = random.below(other.len());
                let piece = &other[from..(from + length).min(other.len())];
                bytes.splice(at..end, piece.iter().copied()).for_each(drop);
            }
        }
    }
    bytes
}

fn play(name: &str) {
    let (_, run) = *targets::TARGETS.iter().find(|(target, _)| *target == name).unwrap();
    let seeds = seeds(name);
    for (number, (path, bytes)) in seeds.iter().enumerate() {
        println!("{}", path.display());
        run(bytes);
        let mut random = Random(number as u64);
        for _ in 0..VARIATIONS {
            let other = &seeds[random.below(seeds.len())].1;
            run(&varied(bytes, other, &mut random));
        }
    }
}

#[test]
fn config_seeds_break_no_promise() {
    play("config");
}

#[test]
fn documents_seeds_break_no_promise() {
    play("documents");
}

#[test]
fn onnx_seeds_break_no_promise() {
    play("onnx");
}

#[test]
fn safetensors_seeds_break_no_promise() {
    play("safetensors");
}

#[test]
fn mjpeg_seeds_break_no_promise() {
    play("mjpeg");
}

#[test]
fn y4m_seeds_break_no_promise() {
    play("y4m");
}

#[test]
fn picture_seeds_break_no_promise() {
    play("picture");
}

#[test]
fn socket_seeds_break_no_promise() {
    play("socket");
}

#[test]
fn database_seeds_break_no_promise() {
    play("database");
}

#[test]
fn backup_seeds_break_no_promise() {
    play("backup");
}

#[test]
fn attempt_seeds_break_no_promise() {
    play("attempt");
}

/// A target that is in the list alone would be played by nobody.
#[test]
fn every_target_has_a_program_and_seeds() {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/targets");
    let mut named: Vec<String> = fs::read_dir(programs)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    named.sort();
    let mut listed: Vec<&str> = targets::TARGETS.iter().map(|(name, _)| *name).collect();
    listed.sort_unstable();
    assert_eq!(named, listed);
    listed.iter().for_each(|target| drop(seeds(target)));
}
