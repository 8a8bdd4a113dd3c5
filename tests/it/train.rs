//! `accessd train` from a shell on drawn faces: what a run leaves, that it goes on after a kill as if nothing had
//! happened, what it says to bad data, and that its encoder opens the simulated door.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use accessd::door::sim::Line;
use accessd::frame::load_image;
use accessd::nn::model_file::ModelFile;
use accessd::vision::align::TEMPLATE;
use image::imageops::{self, FilterType};
use image::{GrayImage, Luma, Rgb, RgbImage};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::Value;

use crate::support::{Outcome, Service, Site, photo, until};

/// A number from 0 to 1 that follows from its arguments.
fn drawn(seed: u32, i: u32) -> f32 {
    let mixed = (seed * 977 + i * 7919 + 13).wrapping_mul(2_654_435_761);
    (mixed >> 8 & 0xFFFF) as f32 / 65_535.0
}

/// A face of `person`: an oval with features where this person has them, in a light and at a place of `picture`'s own.
fn face(person: u32, picture: u32) -> GrayImage {
    let spot = |i: u32| {
        let (x, y) = (0.25 + 0.5 * drawn(person, 3 * i), 0.25 + 0.5 * drawn(person, 3 * i + 1));
        (x * 112.0, y * 112.0, drawn(person, 3 * i + 2) * 240.0 - 120.0)
    };
    let spots: Vec<_> = (0..7).map(spot).collect();
    let (light, move_x, move_y) =
        (drawn(picture, 90) * 40.0, drawn(picture, 91) * 6.0 - 3.0, drawn(picture, 92) * 6.0 - 3.0);
    GrayImage::from_fn(112, 112, |x, y| {
        let (x, y) = (x as f32 + move_x, y as f32 + move_y);
        let features = spots
            .iter()
            .map(|(sx, sy, depth)| depth * (-((x - sx).powi(2) + (y - sy).powi(2)) / 120.0).exp());
        Luma([(90.0 + light + features.sum::<f32>()).clamp(0.0, 255.0) as u8])
    })
}

/// Six people, `data/p1` … `data/p6`, with five pictures each; and settings for a few seconds.
fn with_faces(settings: &str) -> Site {
    let site = Site::new();
    for person in 1..=6 {
        let folder = site.path(&format!("data/p{person}"));
        fs::create_dir_all(&folder).unwrap();
        for picture in 1..=5 {
            face(person, 10 * person + picture).save(folder.join(format!("{picture}.pgm"))).unwrap();
        }
    }
    let text = format!(
        "[data]\nframing = \"whole\"\ntest_people = [\"p5\", \"p6\"]\n\
         [batch]\npictures = 8\nsteps = 6\n[run]\nepochs = 2\ncheckpoint_every = 2\n{settings}"
    );
    fs::write(site.path("train.toml"), text).unwrap();
    site
}

const TRAIN: [&str; 7] = ["--config", "train.toml", "train", "--data", "data", "--out", "run"];

fn train(site: &Site, more: &[&str]) -> Outcome {
    site.run(TRAIN.iter().chain(more).copied())
}

fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    // The last line may be half written while the run goes on.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Steps and epochs without what depends on the clock.
fn curve(run: &Path) -> Vec<Value> {
    let mut lines = metrics(run);
    for line in lines.iter_mut().filter_map(Value::as_object_mut) {
        line.remove("seconds");
        line.remove("pictures_per_s");
    }
    lines
}

#[test]
fn a_run_learns_and_leaves_curves_a_card_and_a_page() {
    let site = with_faces("");
    let Outcome { code, stdout, stderr } = train(&site, &[]);
    assert_eq!(code, 0, "{stderr}");
    for part in ["EER ", "accuracy ", "distance ", "20 genuine and 25 impostor pairs", "run/report.html"] {
        assert!(stdout.contains(part), "{part:?} is not in {stdout}");
    }
    assert!(stderr.contains("epoch 2/2: loss "), "{stderr}");
    let run = site.path("run");
    let lines = metrics(&run);
    let steps: Vec<f64> =
        lines.iter().filter(|l| l["kind"] == "step").map(|l| l["loss"].as_f64().unwrap()).collect();
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    assert_eq!((steps.len(), lines.len()), (12, 14));
    assert!(mean(&steps[6..]) < mean(&steps[..6]), "the loss falls: {steps:?}");

    for chart in ["loss.svg", "roc.svg", "det.svg", "distances.svg"] {
        let svg = fs::read_to_string(run.join(chart)).unwrap();
        assert!(svg.starts_with("<svg") && !svg.contains("NaN"), "{chart}");
    }
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    for part in
        ["Closest impostor pairs", "Farthest genuine pairs", "data:image/jpeg", "p5/1.pgm", "not supported"]
    {
        assert!(page.contains(part), "{part:?} is not on the page");
    }
    let card = fs::read_to_string(run.join("MODEL_CARD.md")).unwrap();
    for part in ["4 people", "contrastive", "seed 1", "## Limits", "optimiser"] {
        assert!(card.contains(part), "{part:?} is not on the card");
    }
    let results: Value = serde_json::from_slice(&fs::read(run.join("results.json")).unwrap()).unwrap();
    assert_eq!((&results["genuine_pairs"], &results["impostor_pairs"]), (&20.into(), &25.into()));

    // Both runs in one chart, and a table of both.
    let again =
        site.run(["--config", "train.toml", "train", "--data", "data", "--out", "short", "--epochs", "1"]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    let curves = site.run(["eval", "curves", "run", "short", "--out", "both.svg"]);
    assert_eq!(curves.code, 0, "{}", curves.stderr);
    assert!(curves.stdout.contains("EPOCHS") && curves.stdout.contains("short"), "{}", curves.stdout);
    let svg = fs::read_to_string(site.path("both.svg")).unwrap();
    assert!(svg.contains("run, mean of an epoch") && svg.contains("short, mean of an epoch"));
    let nothing = site.run(["eval", "curves", "data"]);
    assert!(nothing.stderr.contains("data/metrics.jsonl cannot be read"), "{}", nothing.stderr);
}

#[test]
fn after_kill_9_a_run_goes_on_to_the_bit() {
    let site = with_faces("");
    let whole = train(&site, &[]);
    assert_eq!(whole.code, 0, "{}", whole.stderr);
    let run = site.path("run");
    fs::rename(&run, site.path("whole")).unwrap();

    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("accessd"));
    command.args(TRAIN).current_dir(site.path("")).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    until("some steps are made", || metrics(&run).len() >= 5);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!run.join("model.safetensors").exists(), "it was killed too late to prove anything");

    let refused = train(&site, &[]);
    assert!(refused.stderr.contains("a run is in it already; go on with --resume"), "{}", refused.stderr);
    let resumed = site.run(["train", "--data", "data", "--out", "run", "--resume"]);
    assert_eq!(resumed.code, 0, "{}", resumed.stderr);
    assert_eq!(curve(&run), curve(&site.path("whole")));
    let model = |folder: &str| fs::read(site.path(folder).join("model.safetensors")).unwrap();
    assert!(model("run") == model("whole"), "the same weights, byte for byte");
}

#[test]
fn a_run_whose_validation_gets_no_better_ends_and_keeps_the_best_epoch() {
    let site = with_faces("patience = 2\n");
    let text = fs::read_to_string(site.path("train.toml")).unwrap();
    let text = text.replace("[batch]", "validation_share = 0.34\n[batch]").replace("steps = 6", "steps = 1");
    // Hardly anything is learnt, so it soon stays as it is.
    fs::write(site.path("train.toml"), format!("{text}[optimiser]\nrate = 1e-9\n")).unwrap();
    let made = train(&site, &["--epochs", "30"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert!(made.stderr.contains("validation EER "), "{}", made.stderr);
    let results: Value = serde_json::from_slice(&fs::read(site.path("run/results.json")).unwrap()).unwrap();
    let (epochs, kept) = (results["epochs"].as_u64().unwrap(), results["kept_epoch"].as_u64().unwrap());
    assert!(epochs < 30 && kept + 2 == epochs, "{kept} is kept of {epochs}");
    let lines = metrics(&site.path("run"));
    let validation = lines.iter().filter_map(|line| line["validation_eer"].as_f64());
    let best = validation.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    assert_eq!(best.0 as u64 + 1, kept, "the first of the best");
}

#[track_caller]
fn refused(outcome: &Outcome, message: &str) {
    assert_eq!(outcome.code, 1, "{}{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stderr.contains(message), "{message:?} is not in {:?}", outcome.stderr);
}

#[test]
fn bad_data_is_refused_in_words() {
    let site = with_faces("");
    let on = |data: &str| site.run(["--config", "train.toml", "train", "--data", data, "--out", "run"]);
    fs::create_dir(site.path("empty")).unwrap();
    refused(&on("empty"), "empty: no pictures in it; expected one folder for each person");
    refused(&on("nowhere"), "nowhere cannot be read");
    fs::create_dir(site.path("one")).unwrap();
    fs::rename(site.path("data/p1"), site.path("one/p1")).unwrap();
    refused(&on("one"), "only one person (p1)");
    refused(
        &site.run(["train", "--data", "data", "--out", "run", "--resume"]),
        "run/settings.toml cannot be read",
    );
    fs::write(site.path("data/p2/1.pgm"), "P5 no picture").unwrap();
    refused(&on("data"), "p2/1.pgm");
    assert!(!site.path("run").exists(), "nothing is begun with bad data");
    fs::write(site.path("train.toml"), "[optimiser]\nrat = 1.0\n").unwrap();
    refused(&on("data"), "unknown field `rat`");
}

/// Writes a safetensors file anew with one of its tensors changed.
fn change(path: &Path, name: &str, with: impl Fn(&TensorView<'_>) -> (Vec<usize>, Vec<u8>)) {
    let bytes = fs::read(path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let all: HashMap<String, _> = file
        .tensors()
        .into_iter()
        .map(|(n, view)| {
            let own = if n == name { with(&view) } else { (view.shape().to_vec(), view.data().to_vec()) };
            (n, (view.dtype(), own))
        })
        .collect();
    assert!(all.contains_key(name));
    let views = all.iter().map(|(n, (dtype, (shape, data)))| {
        (n.as_str(), TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    fs::write(path, safetensors::serialize(views, header.metadata().clone()).unwrap()).unwrap();
}

#[test]
fn checkpoints_that_do_not_fit_and_losses_that_are_no_numbers_are_refused() {
    // It ends with the first of three epochs, for want of time.
    let site = with_faces("minutes = 0.00001\n");
    let made = train(&site, &["--epochs", "3"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let (checkpoint, settings) = (site.path("run/checkpoint.safetensors"), site.path("run/settings.toml"));
    let good = (fs::read(&checkpoint).unwrap(), fs::read_to_string(&settings).unwrap());
    let resume = || site.run(["train", "--data", "data", "--out", "run", "--resume"]);

    let bias = "model/fc2.bias";
    change(&checkpoint, bias, |view| (vec![32], view.data()[..128].to_vec()));
    refused(
        &resume(),
        "weight \"fc2.bias\" has shape [32], the network needs [64]; it is of another network",
    );
    fs::write(&checkpoint, &good.0[..good.0.len() / 2]).unwrap();
    refused(&resume(), "damaged or cut short");
    fs::write(&checkpoint, &good.0).unwrap();
    fs::write(&settings, good.1.replace("seed = 1", "seed = 2")).unwrap();
    refused(&resume(), "it was made with other settings");
    fs::write(&settings, good.1.replace("epochs = 3", "epochs = 4")).unwrap();
    refused(&resume(), "it was made with other settings");
    fs::write(&settings, &good.1).unwrap();
    fs::rename(site.path("data/p1/1.pgm"), site.path("data/p1/9.pgm")).unwrap();
    refused(&resume(), "the pictures are others than when the run began");

    // Weights that are no numbers any more give a loss that is none.
    fs::rename(site.path("data/p1/9.pgm"), site.path("data/p1/1.pgm")).unwrap();
    change(&checkpoint, bias, |view| {
        (view.shape().to_vec(), f32::NAN.to_le_bytes().repeat(view.data().len() / 4))
    });
    refused(&resume(), "the loss is NaN at step 7 (learning rate ");
    fs::write(&checkpoint, &good.0).unwrap();
    let resumed = resume();
    assert_eq!(resumed.code, 0, "{}", resumed.stderr);
    assert!(resumed.stdout.contains("2 epochs"), "the good one goes on: {}", resumed.stdout);
}

#[test]
fn net_a_trained_encoder_is_installed_enrolled_and_opens_the_simulated_door() {
    let site = with_faces("");
    // The drawn faces are aligned already: their landmarks are those of the template.
    let points = TEMPLATE.as_flattened().iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let rows = (1..=6).flat_map(|p| (1..=5).map(move |i| (p, i)));
    let rows: String = rows.map(|(p, i)| format!("p{p},p{p}/{i}.pgm,{points}\n")).collect();
    let columns = ["re", "le", "n", "mr", "ml"].map(|c| format!("lm_{c}x,lm_{c}y")).join(",");
    fs::write(site.path("data/labels.csv"), format!("identity,path,{columns}\n{rows}")).unwrap();
    let settings = fs::read_to_string(site.path("train.toml")).unwrap().replace("whole", "aligned");
    fs::write(site.path("train.toml"), format!("[network]\nname = \"own\"\n{settings}")).unwrap();
    let made = train(&site, &["--epochs", "1"]);
    assert_eq!(made.code, 0, "{}", made.stderr);

    let door = Site::with_networks();
    let run = site.path("run").display().to_string();
    fs::remove_file(door.path("models")).unwrap();
    fs::create_dir(door.path("models")).unwrap();
    for name in ["yunet", "sface"] {
        let file = format!("{name}.safetensors");
        fs::copy(crate::support::models_dir().join(&file), door.path("models").join(&file)).unwrap();
    }
    refused(
        &door.run(["models", "install", "models"]),
        "models: no model.safetensors in it; give the folder of a run",
    );
    refused(&door.run(["models", "install", &run, "--name", "a/b"]), "cannot be a model's name");
    refused(
        &door.run(["models", "install", &run, "--name", "yunet"]),
        "another network has the name \"yunet\"",
    );
    let installed = door.run(["models", "install", &run]);
    assert_eq!(installed.code, 0, "{}", installed.stderr);
    let id = ModelFile::read(&door.path("models/own.safetensors")).unwrap().card.id();
    assert!(installed.stdout.contains(&id.to_string()), "{}", installed.stdout);

    // One who was enrolled with SFace stays, and is nobody to the new encoder.
    let obama = photo("obama.jpg").display().to_string();
    let enroll = |name: &str| door.run(["enroll", "--name", name, "--images", &obama]);
    assert_eq!(enroll("Before").code, 0);
    let image = load_image(&photo("obama2.jpg")).unwrap();
    let image = imageops::resize(&image, image.width() * 480 / image.height(), 480, FilterType::Triangle);
    fs::create_dir(door.path("clip")).unwrap();
    for i in 0..20_u32 {
        let mut frame = RgbImage::from_pixel(640, 480, Rgb([110, 112, 108]));
        imageops::replace(&mut frame, &image, 150 + i64::from(i % 10) * 3, 0);
        frame.save(door.path(&format!("clip/{i:02}.png"))).unwrap();
    }
    // A few steps on drawn faces make no good encoder, so the threshold is one that no door should have.
    door.write_config(
        "[camera]\nsource = \"clip:clip?loop&fps=10\"\n[door]\nrelay = \"sim:relay.log\"\n\
         [encoder]\nmodel = \"own\"\n[decision]\nthreshold = 0.2\n[liveness]\nwatch_ms = 0\n",
    );
    let enrolled = enroll("After");
    assert_eq!(enrolled.code, 0, "{}", enrolled.stderr);
    let service = Service::start(&door);
    until("the door opens", || {
        let text = fs::read_to_string(door.path("relay.log")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()).any(|line| line.energised)
    });
    assert_eq!(service.stop(), Some(0));
    let log = door.run(["log", "--kind", "grant"]);
    assert!(log.stdout.contains("After") && !log.stdout.contains("Before"), "{}", log.stdout);
    let show = door.run(["show", "Before"]);
    assert!(show.stdout.contains("sface@"), "its samples are still there: {}", show.stdout);
}
