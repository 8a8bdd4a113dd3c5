//! Embeds the largest face of each picture, so many times over, and prints the embeddings: the means by which
//! `scripts/arm64` holds a build for another processor against this one, and counts what a pass costs there.
//!
//!     embed MODELS ENCODER fused|plain PASSES PICTURE...
//!
//! `fused` is how accessd runs on a processor, `plain` is the same network in candle's own layers. Output: a line of
//! JSON for each picture, `{"picture", "face": [x, y, width, height], "embedding": [...]}`.

use std::error::Error;
use std::path::Path;

use accessd::encoder::network::Encoder;
use accessd::frame::load_image;
use accessd::models::Library;
use accessd::vision::align::align;
use accessd::vision::yunet::{self, Detector};
use candle_core::Device;
use serde_json::json;

const USAGE: &str = "usage: embed MODELS ENCODER fused|plain PASSES PICTURE...";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [models, name, form, passes, pictures @ ..] = &arguments[..] else { return Err(USAGE.into()) };
    let library = Library::new(Path::new(models));
    let file = library.load(name, "encoder")?;
    let mut encoder = match form.as_str() {
        "fused" => Encoder::new(&file, &Device::Cpu)?,
        "plain" => Encoder::plain(&file, &Device::Cpu)?,
        _ => return Err(USAGE.into()),
    };
    let file = library.load(yunet::ARCHITECTURE, "detector")?;
    let mut detector = Detector::new(&file, &Device::Cpu, 320, 0.7)?;
    let passes: u32 = passes.parse()?;
    for picture in pictures {
        let image = load_image(Path::new(picture))?;
        let faces = detector.detect(&image)?;
        let face = faces.first().ok_or_else(|| format!("{picture}: no face found"))?;
        let crop = align(&image, &face.landmarks);
        let mut embedding = Vec::new();
        for _ in 0..passes {
            embedding = encoder.embed(&[&crop])?;
        }
        let b = face.bbox;
        let values = embedding.first().map(|e| e.values().to_vec());
        println!("{}", json!({ "picture": picture, "face": [b.x, b.y, b.w, b.h], "embedding": values }));
    }
    Ok(())
}
