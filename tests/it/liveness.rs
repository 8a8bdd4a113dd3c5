//! The PAD networks: both forms equal, and equal to the reference where it stands beside the project.

use accessd::journal::{EventKind, Filter};
use accessd::liveness::minifasnet::{MiniFasNet, VARIANTS, Variant};
use accessd::liveness::network::Liveness;
use accessd::models::{ImportOptions, Library, import_own};
use accessd::nn::model_file::{Channels, InputSpec, ModelCard, ModelFile};
use accessd::nn::onnx::{Constant, Weights};
use accessd::store::{OpenMode, SqliteStore, Store, boot_id};
use accessd::vision::BBox;
use accessd::vision::margin::{MarginCrop, crop};
use candle_core::{DType, Device};
use candle_nn::{VarBuilder, VarMap};
use image::{Rgb, RgbImage};
use safetensors::SafeTensors;

use crate::support::{self, Service, Site, models_dir};

fn pattern(side: u32, seed: u32) -> MarginCrop {
    let image = RgbImage::from_fn(side, side, |x, y| {
        let noise = (x * 7919 + y * 104_729 + seed * 31).wrapping_mul(2_654_435_761) >> 24;
        let wave = ((x + seed) as f32 / 9.0).sin() * 60.0 + (y as f32 / 13.0).cos() * 60.0;
        let value = |shift: f32| (128.0 + wave + shift + noise as f32 / 8.0).clamp(0.0, 255.0) as u8;
        Rgb([value(0.0), value(10.0), value(-20.0)])
    });
    MarginCrop { image, margin: 2.7 }
}

/// A network of this shape with seeded weights.
fn made_up(variant: &Variant) -> ModelFile {
    let vars = VarMap::new();
    MiniFasNet::new(variant, VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu)).unwrap();
    let mut weights = Weights::new();
    for (name, var) in vars.data().lock().unwrap().iter() {
        let seed = name.bytes().fold(17_usize, |h, b| (h * 31 + usize::from(b)) % 1_000_003);
        let noise = |i: usize| ((i * 7919 + seed).wrapping_mul(2_654_435_761) >> 7) % 2000;
        let inputs = (var.elem_count() / var.dims()[0]).max(1) as f32;
        let values = (0..var.elem_count()).map(|i| (noise(i) as f32 / 1000.0 - 1.0) * (1.7 / inputs.sqrt()));
        weights.insert(name.clone(), Constant { shape: var.dims().to_vec(), values: values.collect() });
        if name.ends_with("prelu.weight") {
            let slopes = (0..var.elem_count()).map(|i| noise(i) as f32 / 4000.0).collect();
            weights.insert(name.clone(), Constant { shape: var.dims().to_vec(), values: slopes });
        } else {
            let bias = (0..var.dims()[0]).map(|i| noise(i + 5) as f32 / 2000.0).collect();
            let name = name.replace(".weight", ".bias");
            weights.insert(name, Constant { shape: vec![var.dims()[0]], values: bias });
        }
    }
    let (width, height) = (variant.side, variant.side);
    let card = ModelCard {
        format: 0,
        name: "made-up".into(),
        job: "liveness".into(),
        architecture: variant.name.into(),
        input: InputSpec { width, height, channels: Channels::Bgr, mean: 0.0, scale: 1.0 / 64.0 },
        dim: None,
        licence: String::new(),
        provenance: String::new(),
        source_sha256: String::new(),
        weights_blake3: String::new(),
        framing: None,
    };
    ModelFile::new(card, &weights).unwrap()
}

/// Both forms give the same logits, within 1e-4 of the largest.
fn forms_agree(file: &ModelFile) {
    let mut fused = Liveness::new(file, &Device::Cpu).unwrap();
    let mut plain = Liveness::plain(file, &Device::Cpu).unwrap();
    for seed in 0..3 {
        let crop = pattern(fused.side(), seed);
        let (a, b) = (fused.logits(&crop).unwrap(), plain.logits(&crop).unwrap());
        let largest = b.iter().fold(1.0_f32, |m, v| m.max(v.abs()));
        for (x, y) in a.iter().zip(b) {
            assert!((x - y).abs() < 1e-4 * largest, "{}: {a:?} {b:?}", file.card.architecture);
        }
        let live = fused.live(&crop).unwrap();
        assert!((0.0..=1.0).contains(&live));
    }
}

#[test]
fn fused_liveness_networks_equal_their_plain_form() {
    VARIANTS.iter().for_each(|variant| forms_agree(&made_up(variant)));
}

#[test]
fn a_crop_of_another_size_and_a_network_of_another_job_are_refused() {
    let file = made_up(&VARIANTS[0]);
    let error = Liveness::new(&file, &Device::Cpu).unwrap().logits(&pattern(64, 0)).unwrap_err().to_string();
    assert!(error.contains("(64, 64) px, this network takes 80×80"), "{error}");
    let mut other = file;
    other.card.architecture = "sface".into();
    let error = Liveness::new(&other, &Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("\"sface\" is not a PAD network's; known are minifasnet-v2"), "{error}");
}

#[test]
fn net_the_installed_liveness_network_equals_its_plain_form() {
    match Library::new(&models_dir()).load("fr_liveness", "liveness") {
        Ok(file) => forms_agree(&file),
        Err(e) => println!("{e}: skipped"),
    }
}

/// Crops and logits of the reference; networks that no registry carries are taken from beside the project.
#[test]
fn net_crops_and_logits_are_those_of_the_reference() {
    let Some(golden) = support::beside("golden/golden.safetensors") else { return };
    let folder = golden.parent().unwrap().to_path_buf();
    let bytes = std::fs::read(&golden).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let floats = |name: String| -> Vec<f32> {
        let data = golden.tensor(&name).unwrap().data().as_chunks::<4>().0.to_vec();
        data.into_iter().map(f32::from_le_bytes).collect()
    };
    let own = |name: &str| {
        let path = support::beside(&format!("models/{name}.safetensors"))?;
        let (channels, norm) = (Channels::Rgb, (127.5, 0.5));
        let options = ImportOptions { name: "own".into(), channels, norm, licence: String::new() };
        Some(import_own(&path, &options).unwrap())
    };
    let networks = [
        ("fp", Library::new(&models_dir()).load("fr_liveness", "liveness").ok()),
        ("V2", own("MiniFASNetV2_2.7_80x80")),
        ("V1SE", own("MiniFASNetV1SE_4.0_80x80")),
    ];
    for (key, file) in networks {
        let Some(file) = file else {
            println!("network {key} is not there: skipped");
            continue;
        };
        let mut network = Liveness::new(&file, &Device::Cpu).unwrap();
        for photo in ["astronaut.png", "obama.jpg", "obama2.jpg", "biden.jpg"] {
            let name = photo.split('.').next().unwrap();
            let side = network.side();
            let bgr = golden.tensor(&format!("{name}.{key}.crop_bgr_u8")).unwrap().data().to_vec();
            let rgb: Vec<u8> = bgr.chunks_exact(3).flat_map(|p| [p[2], p[1], p[0]]).collect();
            let want = MarginCrop { image: RgbImage::from_raw(side, side, rgb).unwrap(), margin: 0.0 };
            let logits = floats(format!("{name}.{key}.logits"));
            for (got, want) in network.logits(&want).unwrap().iter().zip(&logits) {
                assert!((got - want).abs() < 2e-3, "{name} {key}: {got} for {want}");
            }
            let [x, y, w, h] = *floats(format!("{name}.yunet_row")).first_chunk().unwrap();
            let image = accessd::frame::load_image(&folder.join(photo)).unwrap();
            let own = crop(&image, &BBox { x, y, w, h }, network.margin(), side);
            let apart = own.image.iter().zip(want.image.iter()).map(|(a, b)| a.abs_diff(*b)).max();
            // The reference rounds its weights to 11 bits, and its JPEG decoder is another.
            assert!(apart <= Some(4), "{name} {key}: {apart:?}");
            for (got, want) in network.logits(&own).unwrap().iter().zip(&logits) {
                assert!((got - want).abs() < 0.1, "{name} {key}: {got} for {want}");
            }
        }
    }
}

#[test]
fn a_state_dict_is_imported_and_one_of_another_network_is_not() {
    let site = Site::new();
    std::fs::write(
        site.path("x.safetensors"),
        safetensors::serialize::<&str, safetensors::tensor::TensorView<'_>, _>([], None).unwrap(),
    )
    .unwrap();
    let outcome = site.run(["models", "import", "x.safetensors", "--name", "x"]);
    assert_eq!(outcome.code, 1);
    for word in ["supported architectures are", "minifasnet-v1se", "there is no tensor \"conv1.conv.weight\""]
    {
        assert!(outcome.stderr.contains(word), "{word:?} is not in: {}", outcome.stderr);
    }
    let Some(file) = support::beside("models/MiniFASNetV1SE_4.0_80x80.safetensors") else { return };
    let outcome = site.run(["models", "import", file.to_str().unwrap(), "--name", "fasnet"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let listed = site.run(["models", "list"]);
    assert!(listed.stdout.contains("fasnet") && listed.stdout.contains("liveness"), "{}", listed.stdout);
}

/// Plays twenty pictures of an enrolled person's photograph, each moved by `step` px, to a door without a photo check; how
/// often it opened.
fn grants_for_a_photograph_that_moves_by(step: u32) -> usize {
    let site = Site::with_networks();
    let enrolled = support::photo("obama.jpg");
    let enrolment = site.run(["enroll", "--name", "Ada", "--images", enrolled.to_str().unwrap()]);
    assert_eq!(enrolment.code, 0, "{}", enrolment.stderr);
    let photo = accessd::frame::load_image(&support::photo("obama2.jpg")).unwrap();
    let (width, height) = (photo.width() - 20 * 4, photo.height());
    std::fs::create_dir(site.path("clip")).unwrap();
    for number in 0..20 {
        let shown = image::imageops::crop_imm(&photo, number * step, 0, width, height).to_image();
        shown.save(site.path(&format!("clip/{number:02}.png"))).unwrap();
    }
    site.write_config(
        "[camera]\nsource = \"clip:clip?fps=10\"\n[door]\nrelay = \"sim:relay.log\"\n[liveness]\nmode = \"off\"\n",
    );
    assert_eq!(Service::spawn(&site).wait(), Some(0));
    let store =
        SqliteStore::open(&site.path("accessd.db"), OpenMode::ReadOnly, &boot_id(), &site.keys()).unwrap();
    store.records(&Filter { kinds: vec![EventKind::Grant], ..Filter::default() }).unwrap().len()
}

#[test]
fn net_a_still_that_the_camera_repeats_opens_nothing() {
    assert_eq!(grants_for_a_photograph_that_moves_by(0), 0);
    assert_eq!(grants_for_a_photograph_that_moves_by(4), 1, "and it is the standstill that keeps it shut");
}
