//! `accessd eval` and `accessd demo` from a shell: what they measure on real photographs, and what they say to bad
//! lists before a network runs.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{self, Outcome, Site, photo};

/// Three people's photographs in the folders of the protocols: Obama 1–3, Biden 1, Collins 1.
fn with_photos(site: &Site) {
    for (file, to) in [
        ("obama.jpg", "Obama/Obama_0001.jpg"),
        ("obama2.jpg", "Obama/Obama_0002.jpg"),
        ("obama3.jpg", "Obama/Obama_0003.jpg"),
        ("biden.jpg", "Biden/Biden_0001.jpg"),
        ("astronaut.png", "Collins/Collins_0001.jpg"),
    ] {
        let to = site.path("images").join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(photo(file), to).unwrap();
    }
}

const PAIRS: &str = "2\t2\n\
    Obama\t1\t2\nObama\t1\t3\nObama\t1\tBiden\t1\nObama\t1\tCollins\t1\n\
    Obama\t2\t3\nObama\t2\t1\nObama\t2\tBiden\t1\nBiden\t1\tCollins\t1\n";

const OPEN_SET: &str = "role,identity,path\nenrol,Obama,Obama/Obama_0001.jpg\n\
    mated,Obama,Obama/Obama_0002.jpg\nmated,Obama,Obama/Obama_0003.jpg\n\
    nonmated,Biden,Biden/Biden_0001.jpg\nnonmated,Collins,Collins/Collins_0001.jpg\n";

fn verify(site: &Site, more: &[&str]) -> Outcome {
    let args = ["eval", "verify", "--images", "images", "--pairs", "pairs.txt"];
    site.run(args.iter().chain(more).copied())
}

fn identify(site: &Site, more: &[&str]) -> Outcome {
    let args = ["eval", "identify", "--images", "images", "--protocol", "openset.csv"];
    site.run(args.iter().chain(more).copied())
}

#[test]
fn verify_tells_people_apart_and_counts_each_picture_once() {
    let site = Site::with_networks();
    with_photos(&site);
    fs::write(site.path("pairs.txt"), PAIRS).unwrap();
    let Outcome { code, stdout, stderr } = verify(&site, &["--json", "-", "--threads", "2"]);
    assert_eq!((code, stderr.as_str()), (0, ""), "no progress bar where there is no terminal");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&report["pairs"], &report["images"]), (&8.into(), &5.into()));
    assert_eq!((&report["accuracy"], &report["eer"]), (&1.0.into(), &0.0.into()));
    assert_eq!((&report["accuracy_std"], &report["undetected"]), (&0.0.into(), &0.into()));
    assert_eq!(
        report["tmr_at_fmr"],
        serde_json::json!({"0.01": null, "0.001": null}),
        "four pairs cannot tell"
    );
    let threshold = report["threshold"].as_f64().unwrap();
    assert!((0.2..0.7).contains(&threshold), "{threshold}");
}

#[test]
fn a_picture_without_a_face_counts_against_the_encoder() {
    let site = Site::with_networks();
    with_photos(&site);
    let grey = image::RgbImage::from_pixel(250, 250, image::Rgb([128; 3]));
    grey.save(site.path("images/Obama/Obama_0002.jpg")).unwrap();
    fs::write(site.path("pairs.txt"), PAIRS).unwrap();
    let Outcome { code, stdout, stderr } = verify(&site, &["--json", "out.json"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("no face in    1 picture: Obama/Obama_0002.jpg"), "{stdout}");
    let report: Value = serde_json::from_slice(&fs::read(site.path("out.json")).unwrap()).unwrap();
    assert_eq!((&report["undetected"], &report["undetected_pairs"]), (&1.into(), &4.into()));
    assert!(report["accuracy"].as_f64().unwrap() < 1.0);
}

#[test]
fn identify_finds_the_enrolled_and_reports_what_few_probes_cannot_show_as_null() {
    let site = Site::with_networks();
    with_photos(&site);
    fs::write(site.path("openset.csv"), OPEN_SET).unwrap();
    let Outcome { code, stdout, stderr } = identify(&site, &["--json"]);
    assert_eq!(code, 0, "{stderr}");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["rank1"], 1.0);
    for (key, count) in [("enrolled", 1), ("mated", 2), ("nonmated", 2), ("undetected", 0)] {
        assert_eq!(report[key], count, "{key}");
    }
    assert_eq!(report["fnir_at_fpir"], serde_json::json!({"0.1": null, "0.01": null}));
}

#[test]
fn net_pairs_of_a_folder_are_shown_with_their_distance() {
    let site = Site::with_networks();
    with_photos(&site);
    let args = ["eval", "pairs", "--images", "images", "--count", "6", "--seed", "3"];
    let Outcome { code, stdout, stderr } = site.run(args.iter().chain(&["--report", "page"]).copied());
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("DISTANCE") && stdout.contains("6 of 6 right at cosine 0.4"), "{stdout}");
    assert_eq!(stdout.lines().filter(|line| line.ends_with(" yes")).count(), 6, "{stdout}");
    let page = fs::read_to_string(site.path("page/report.html")).unwrap();
    assert!(page.contains("Two people") && page.matches("data:image/jpeg").count() == 12);
    let json: Value =
        serde_json::from_str(&site.run(args.iter().chain(&["--json"]).copied()).stdout).unwrap();
    assert_eq!((json["right"].as_u64(), json["pairs"].as_array().unwrap().len()), (Some(6), 6));
    for pair in json["pairs"].as_array().unwrap() {
        let distance = pair["distance"].as_f64().unwrap();
        assert_eq!(distance < 1.0, pair["same"] == true, "{pair}");
    }
}

#[test]
fn a_list_of_pairs_as_csv_makes_a_page_that_says_what_it_cannot_tell() {
    let site = Site::with_networks();
    with_photos(&site);
    let list = "a,b,same,fold\nObama/Obama_0001.jpg,Obama/Obama_0002.jpg,1,1\n\
        Obama/Obama_0001.jpg,Biden/Biden_0001.jpg,0,1\nObama/Obama_0002.jpg,Obama/Obama_0003.jpg,1,2\n\
        Obama/Obama_0003.jpg,Collins/Collins_0001.jpg,0,2\n";
    fs::write(site.path("pairs.csv"), list).unwrap();
    let told = site.run(["eval", "verify", "--images", "images", "--pairs", "pairs.csv", "--report", "page"]);
    assert_eq!(told.code, 0, "{}", told.stderr);
    for part in ["accuracy      100.00 % ± ", "95 % interval", "TMR@FMR 1e-6  not supported: too few pairs"]
    {
        assert!(told.stdout.contains(part), "{part:?} is not in {}", told.stdout);
    }
    for chart in ["roc.svg", "det.svg", "distances.svg"] {
        assert!(fs::read_to_string(site.path("page").join(chart)).unwrap().starts_with("<svg"));
    }
    let page = fs::read_to_string(site.path("page/report.html")).unwrap();
    assert!(page.contains("not supported") && page.contains("Farthest genuine pairs"));
}

#[test]
fn attacks_are_judged_by_species_at_a_fixed_threshold() {
    let site = Site::new();
    let pad = |more: &[&str]| site.run(["eval", "pad", "--scores", "scores.csv"].iter().chain(more).copied());
    let rows =
        "live,a.jpg,0.9,1\nlive,b.jpg,0.4,2\nprint,c.jpg,0.1,1\nprint,d.jpg,0.6,1\nreplay,e.jpg,0.2,2\n";
    fs::write(site.path("scores.csv"), format!("label,path,score,subject\n{rows}")).unwrap();
    let told = pad(&["--report", "page"]);
    assert_eq!(told.code, 0, "{}", told.stderr);
    for part in ["print: 50.00 %, 95 % interval", "(1 of 2 pictures of 1 subject)", "replay: 0.00 %", "BPCER"]
    {
        assert!(told.stdout.contains(part), "{part:?} is not in {}", told.stdout);
    }
    assert!(fs::read_to_string(site.path("page/report.html")).unwrap().contains("Presentation attacks"));
    let stricter: Value = serde_json::from_str(&pad(&["--threshold", "0.7", "--json"]).stdout).unwrap();
    assert_eq!((&stricter["apcer_worst"], &stricter["bpcer"]["rate"]), (&0.0.into(), &0.5.into()));
    for (text, message) in [
        (
            "label,path\n",
            "scores.csv: no column \"score\" in the header (label,path); expected label,path,score",
        ),
        (
            "label,path,score\nlive,a.jpg,1.5\n",
            "scores.csv line 2: score \"1.5\" is not a number from 0 to 1",
        ),
        ("label,path,score\nlive,a.jpg,0.5\n", "no picture is an attack; both kinds are needed"),
    ] {
        fs::write(site.path("scores.csv"), text).unwrap();
        refused(&pad(&[]), message);
    }
}

/// Runs without networks: the lists are judged first.
#[track_caller]
fn refused(outcome: &Outcome, message: &str) {
    assert_eq!(outcome.code, 1, "{}{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stderr.contains(message), "{message:?} is not in {:?}", outcome.stderr);
    assert_eq!(outcome.stdout, "");
}

#[test]
fn bad_lists_are_refused_before_a_network_runs() {
    let site = Site::new();
    refused(&verify(&site, &[]), "pairs.txt cannot be read; give the path of a protocol file");
    refused(&identify(&site, &[]), "openset.csv cannot be read; give the path of a protocol file");
    for (text, message) in [
        ("", "pairs.txt: the list is empty"),
        ("2\t2\nObama\t1\t2\n", "pairs.txt: only 1 of the 8 pairs that the header announces"),
        ("2\t1\nObama\t1\tx\n", "pairs.txt line 2: \"x\" is not an image number"),
        (PAIRS, "pairs.txt names 5 images that are not under images (first: Obama/Obama_0001.jpg)"),
    ] {
        fs::write(site.path("pairs.txt"), text).unwrap();
        refused(&verify(&site, &[]), message);
    }
    for (text, message) in [
        ("identity,path\n", "openset.csv: no column \"role\" in the header (identity,path)"),
        ("role,identity,path\nguest,Obama,a.jpg\n", "openset.csv line 2: role \"guest\" is unknown"),
        (OPEN_SET, "openset.csv names 5 images that are not under images"),
    ] {
        fs::write(site.path("openset.csv"), text).unwrap();
        refused(&identify(&site, &[]), message);
    }
}

#[test]
fn a_damaged_picture_and_a_result_that_cannot_be_written_are_named() {
    let site = Site::with_networks();
    with_photos(&site);
    fs::write(site.path("pairs.txt"), PAIRS).unwrap();
    refused(&verify(&site, &["--json", "no/such/folder.json"]), "no/such/folder.json cannot be written");
    fs::write(site.path("images/Biden/Biden_0001.jpg"), b"no picture").unwrap();
    refused(&verify(&site, &[]), "Biden_0001.jpg: this is not a picture");
}

#[test]
fn sizes_out_of_range_are_a_matter_of_usage() {
    let site = Site::new();
    let outcome = verify(&site, &["--detect-px", "300"]);
    assert_eq!(outcome.code, 2);
    assert!(outcome.stderr.contains("from 160 to 1280, a multiple of 32"), "{}", outcome.stderr);
    assert_eq!(verify(&site, &["--threads", "0"]).code, 2);
}

#[test]
fn the_demo_says_what_it_lacks() {
    let site = Site::new();
    refused(
        &site.run(["demo"]),
        "target/photos/biden.jpg cannot be read; fetch the photographs with `make photos`",
    );
    let photos = photo("obama.jpg");
    let photos = photos.parent().map(Path::display).unwrap().to_string();
    let outcome = site.run(["demo", "--photos", &photos, "--models", "models", "--out", "played", "--quiet"]);
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.stderr.contains("no network called")
            && outcome.stderr.contains("Barack Obama could not be enrolled"),
        "{}",
        outcome.stderr
    );
    assert!(!site.path("played/report.html").exists());
}

#[test]
fn eval_pad_runs_the_networks_where_there_are_any_and_says_so_where_there_is_none() {
    let site = Site::new();
    fs::create_dir(site.path("pictures")).unwrap();
    for (from, to) in [("obama.jpg", "a.jpg"), ("biden.jpg", "b.jpg")] {
        fs::copy(photo(from), site.path("pictures").join(to)).unwrap();
    }
    fs::write(site.path("labels.csv"), "label,path\nlive,a.jpg\nprint,b.jpg\n").unwrap();
    let args = ["eval", "pad", "--images", "pictures", "--labels", "labels.csv", "--json", "-"];
    for name in ["yunet", "sface"] {
        let file = format!("{name}.safetensors");
        fs::copy(support::models_dir().join(&file), site.path("models").join(&file)).unwrap();
    }
    let without = site.run(args);
    assert_eq!(without.code, 1);
    assert!(
        without.stderr.contains("no network in") && without.stderr.contains("where npm is installed"),
        "{}",
        without.stderr
    );
    let missing = site.run(["eval", "pad", "--images", "pictures"]);
    assert_eq!(missing.code, 2, "{}", missing.stderr);
    let network = support::models_dir().join("fr_liveness.safetensors");
    if !network.is_file() {
        println!("no fr_liveness among the networks: skipped");
        return;
    }
    fs::copy(network, site.path("models/fr_liveness.safetensors")).unwrap();
    let with = site.run(args.into_iter().chain(["--write-scores", "scores.csv"]));
    assert_eq!(with.code, 0, "{}", with.stderr);
    let told: Value = serde_json::from_str(&with.stdout).unwrap();
    assert_eq!((&told["threshold"], &told["bpcer"]["pictures"]), (&0.38.into(), &1.into()));
    assert!(told["networks"][0].as_str().unwrap().starts_with("fr_liveness@"), "{told}");
    let again = site.run(["eval", "pad", "--scores", "scores.csv", "--threshold", "0.38", "--json", "-"]);
    let again: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(
        again["apcer"]["print"]["wrong"], told["apcer"]["print"]["wrong"],
        "what is written is what is read"
    );
}
