//! The store through its public face: what it keeps, what it refuses, and what a cut at any moment leaves.

use std::path::Path;

use accessd::clock::MonoTime;
use accessd::encoder::{Embedding, ModelId};
use accessd::gallery::{NewTemplate, TemplateSource};
use accessd::journal::Stamp;
use accessd::store::{OpenMode, SqliteStore, Store};
use accessd::vision::quality::Quality;

const BOOT: &str = "11111111-2222-3333-4444-555555555555";

/// Numbers without meaning that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn template(&mut self, model: &str, dim: usize) -> NewTemplate {
        let values = (0..dim).map(|_| (self.next() % 2001) as f32 - 1000.5).collect();
        NewTemplate {
            model: ModelId(model.into()),
            embedding: Embedding::normalise(values).unwrap(),
            quality: Quality {
                eye_distance_px: 61.25,
                sharpness: 140.1,
                light: 121.7,
                yaw_deg: -4.3,
                pitch_deg: 3.1,
                roll_deg: 0.7,
            },
            source: TemplateSource::Camera,
        }
    }
}

/// `s` seconds into a day in 2026.
fn at(s: u64) -> Stamp {
    let wall = "2026-11-23T08:00:00.123456Z".parse::<jiff::Timestamp>().unwrap();
    Stamp { wall: wall + std::time::Duration::from_secs(s), mono: MonoTime::from_millis(5_000 + 1000 * s) }
}

fn create(path: &Path) -> SqliteStore {
    SqliteStore::open(path, OpenMode::Create, BOOT).unwrap()
}

fn bytes_of(template: &NewTemplate) -> Vec<u8> {
    template.embedding.values().iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[test]
fn residue() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let mut n = Numbers(3);
    let mut store = create(&path);
    for dim in [64usize, 128, 512] {
        let model = format!("m{dim}");
        let mut live: Vec<(String, Vec<NewTemplate>)> = Vec::new();
        let mut gone: Vec<Vec<u8>> = Vec::new();
        for i in 0..400 {
            let r = n.next() % 10;
            if r < 5 || live.is_empty() {
                let t: Vec<_> = (0..1 + n.next() % 5).map(|_| n.template(&model, dim)).collect();
                let name = format!("P{dim} {i}");
                store.enrol(&name, &t, "uid 0", at(i)).unwrap();
                live.push((name, t));
            } else if r < 7 {
                let k = (n.next() as usize) % live.len();
                let t: Vec<_> = (0..1 + n.next() % 3).map(|_| n.template(&model, dim)).collect();
                store.add_templates(&live[k].0, &t, "uid 0", at(i)).unwrap();
                live[k].1.extend(t);
            } else {
                let k = (n.next() as usize) % live.len();
                let (name, t) = live.swap_remove(k);
                store.remove(&name, "uid 0", at(i)).unwrap();
                gone.extend(t.iter().map(bytes_of));
            }
        }
        let mut left = 0;
        for file in std::fs::read_dir(dir.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            for g in &gone {
                // any 16 aligned bytes of it
                if g.chunks(16).any(|c| bytes.windows(16).any(|w| w == c)) {
                    left += 1;
                }
            }
        }
        println!("dim {dim}: {} removed, {left} leave traces", gone.len());
    }
}
