//! Bad input of every kind: each ends with its code and a message that names the thing and says what to do, and leaves
//! every file as it was.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use image::{ImageFormat, Rgb, RgbImage};

use crate::support::Site;

/// Makes one test a row: `name: setup, [arguments] => code, [words that the message has];`
macro_rules! refused {
    ($($name:ident: $setup:expr, [$($arg:expr),*] => $code:literal, [$($words:expr),+];)+) => {
        $(
            #[test]
            fn $name() {
                let site = Site::new();
                let setup: fn(&Site) = $setup;
                setup(&site);
                expect_refusal(&site, &[$($arg),*], $code, &[$($words),+]);
            }
        )+
    };
}

fn expect_refusal(site: &Site, args: &[&str], code: i32, words: &[&str]) {
    let before = site.fingerprint();
    let outcome = site.run(args.iter().copied());
    let message = &outcome.stderr;
    assert_eq!(outcome.code, code, "{args:?}: {message}{}", outcome.stdout);
    for words in words {
        assert!(message.contains(words), "{args:?} does not say {words:?}: {message}");
    }
    assert!(message.lines().any(|line| line.starts_with("error: ")), "{message}");
    assert!(!message.contains("panicked"), "{message}");
    assert_eq!(outcome.stdout, "", "{args:?}");
    assert_eq!(site.fingerprint(), before, "{args:?} changed a file");
}

/// A config of this text, instead of the good one.
fn config(site: &Site, text: &str) {
    fs::write(site.path("accessd.toml"), text).unwrap();
}

/// A database that is not one.
fn database(site: &Site, bytes: &[u8]) {
    fs::write(site.path("accessd.db"), bytes).unwrap();
}

/// Ada, enrolled.
fn ada(site: &Site) {
    site.enrol("Ada Lovelace", &[[1.0, 0.0, 0.0]]);
}

/// The bytes of Ada's database, everything folded into the one file.
fn ada_as_bytes(site: &Site) -> Vec<u8> {
    ada(site);
    let bytes = fs::read(site.path("accessd.db")).unwrap();
    for file in ["accessd.db", "accessd.db-wal", "accessd.db-shm"] {
        let _ = fs::remove_file(site.path(file));
    }
    bytes
}

/// Writes a number into the header of Ada's database.
fn header(site: &Site, offset: usize, number: u32) {
    let mut bytes = ada_as_bytes(site);
    bytes[offset..offset + 4].copy_from_slice(&number.to_be_bytes());
    database(site, &bytes);
}

/// A picture `a.jpg` of a grey wall, and `b.bin` of these bytes.
fn picture(site: &Site, bytes: &[u8]) {
    wall().save(site.path("a.jpg")).unwrap();
    fs::write(site.path("b.bin"), bytes).unwrap();
}

fn wall() -> RgbImage {
    RgbImage::from_fn(160, 120, |x, y| Rgb([(x % 200) as u8, (y % 200) as u8, 128]))
}

fn jpeg() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    wall().write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}

/// A service that answers the first request with these bytes and hangs up.
fn service(site: &Site, answer: &'static [u8]) {
    let listener = UnixListener::bind(site.path("control.sock")).unwrap();
    std::thread::spawn(move || {
        if let Ok((mut stream, _)) = listener.accept() {
            let mut request = String::new();
            let _ = BufReader::new(stream.try_clone().unwrap()).read_line(&mut request);
            let _ = stream.write_all(answer);
        }
    });
}

fn nothing(_: &Site) {}

refused! {
    config_syntax: |s| config(s, "[camera]\nsource = v4l\n"), ["list"]
        => 1, ["accessd.toml: line 2: not valid TOML"];
    config_unclosed_text: |s| config(s, "[log]\nlevel = \"info\n"), ["list"]
        => 1, ["line 2: not valid TOML"];
    config_duplicate_key: |s| config(s, "[camera]\nfps = 5\nfps = 6\n"), ["list"]
        => 1, ["line 3: not valid TOML: duplicate key"];
    config_unknown_key: |s| config(s, "[camera]\nwidht = 640\n"), ["list"]
        => 1, ["line 2: unknown key camera.widht; did you mean camera.width?"];
    config_unknown_section: |s| config(s, "[descision]\nthreshold = 0.6\n"), ["list"]
        => 1, ["line 1: unknown section [descision]; did you mean [decision]?"];
    config_key_in_the_wrong_section: |s| config(s, "[door]\nthreshold = 0.6\n"), ["list"]
        => 1, ["line 2: unknown key door.threshold; did you mean decision.threshold?"];
    config_key_without_section: |s| config(s, "pulse_ms = 4000\n"), ["list"]
        => 1, ["line 1: unknown key pulse_ms; did you mean door.pulse_ms?"];
    config_wrong_type: |s| config(s, "[camera]\nwidth = \"640\"\n"), ["list"]
        => 1, ["line 2: camera.width is a text, expected a whole number from 160 to 3840"];
    config_value_for_section: |s| config(s, "camera = \"v4l:0\"\n"), ["list"]
        => 1, ["line 1: camera is a text, expected a section: write [camera]"];
    config_camera_out_of_range: |s| config(s, "[camera]\nfps = 240\n"), ["list"]
        => 1, ["camera.fps is 240, expected a whole number from 1 to 60"];
    config_vision_out_of_range: |s| config(s, "[vision]\ndetect_px = 333\n"), ["list"]
        => 1, ["vision.detect_px is 333, expected a whole number from 160 to 1280, a multiple of 32"];
    config_decision_out_of_range: |s| config(s, "[decision]\nthreshold = 1.5\n"), ["list"]
        => 1, ["decision.threshold is 1.5, expected a number from 0 to 1"];
    config_threshold_is_no_number: |s| config(s, "[decision]\nthreshold = nan\n"), ["list"]
        => 1, ["decision.threshold is nan, expected a number from 0 to 1"];
    config_door_out_of_range: |s| config(s, "[door]\npulse_ms = -5000\n"), ["list"]
        => 1, ["door.pulse_ms is -5000, expected a whole number from 3000 to 60000"];
    config_enrolment_out_of_range: |s| config(s, "[enrolment]\nsamples = 0\n"), ["list"]
        => 1, ["enrolment.samples is 0, expected a whole number from 1 to 20"];
    config_bad_encoder: |s| config(s, "[encoder]\nmodel = \"../sface\"\n"), ["list"]
        => 1, ["encoder.model is \"../sface\", expected the name of an installed network"];
    config_bad_device: |s| config(s, "[encoder]\ndevice = \"gpu\"\n"), ["list"]
        => 1, ["encoder.device is \"gpu\", expected \"cpu\", \"cuda\" or \"cuda:N\""];
    config_empty_path: |s| config(s, "[paths]\ndatabase = \"\"\n"), ["list"]
        => 1, ["paths.database is \"\", expected a file name"];
    config_bad_level: |s| config(s, "[log]\nlevel = \"loud\"\n"), ["list"]
        => 1, ["log.level is \"loud\", expected one of \"error\", \"warn\""];
    config_window_below_needed: |s| config(s, "[decision]\nframes_needed = 9\n"), ["list"]
        => 1, ["line 2: decision.frames_needed (9) is more than decision.frames_window (5)"];
    config_light_upside_down: |s| config(s, "[vision]\nmin_light = 200\nmax_light = 100\n"), ["list"]
        => 1, ["line 3: vision.min_light (200) is not below vision.max_light (100)"];
    config_many_problems: |s| config(s, "[camera]\nfps = 0\n[door]\npulse = 1\n"), ["list"]
        => 1, ["2 problems", "line 2: camera.fps", "line 4: unknown key door.pulse"];
    config_missing: nothing, ["list", "--config", "no.toml"]
        => 1, ["config no.toml cannot be read", "because: No such file"];
    config_is_a_folder: nothing, ["list", "--config", "models"]
        => 1, ["config models cannot be read", "because: Is a directory"];
    config_is_not_text: |s| fs::write(s.path("accessd.toml"), b"# caf\xe9\n").unwrap(), ["list"]
        => 1, ["not UTF-8 text (first bad byte at 5)"];

    image_missing: |s| picture(s, b""), ["verify", "a.jpg", "no.jpg"]
        => 1, ["picture no.jpg: there is no such file"];
    image_empty: |s| picture(s, b""), ["verify", "a.jpg", "b.bin"]
        => 1, ["picture b.bin: the file is empty"];
    image_is_text: |s| picture(s, b"dear door, open\n"), ["identify", "b.bin"]
        => 1, ["picture b.bin: this is not a picture; give a JPEG, PNG or PNM"];
    image_is_a_folder: |s| picture(s, b""), ["verify", "models", "a.jpg"]
        => 1, ["picture models: this is a folder"];
    image_truncated: |s| picture(s, &jpeg()[..jpeg().len() / 2]), ["verify", "a.jpg", "b.bin"]
        => 1, ["picture b.bin: the file is cut short"];
    image_huge_header: |s| picture(s, b"P6 100000 100000 255\n"), ["identify", "b.bin"]
        => 1, ["picture b.bin: 100000×100000 px are more than"];
    image_foreign_format: |s| picture(s, b"GIF89a\x01\x00\x01\x00\x00\x00\x00;"), ["identify", "b.bin"]
        => 1, ["picture b.bin: GIF pictures are not read", "convert it to JPEG or PNG"];
    image_folder_without_pictures: nothing, ["enroll", "--name", "Ada", "--images", "models"]
        => 1, ["folder models has no pictures"];

    database_missing: nothing, ["list"]
        => 1, ["accessd.db: there is no such file", "`accessd enroll`"];
    database_garbage: |s| database(s, &[7; 4096]), ["list"]
        => 1, ["accessd.db: it is not an SQLite database"];
    database_empty: |s| database(s, b""), ["list"]
        => 1, ["accessd.db: it is empty"];
    database_truncated: |s| { let whole = ada_as_bytes(s); database(s, &whole[..whole.len() / 2]) },
        ["rename", "Ada Lovelace", "Ada"]
        => 1, ["accessd.db: "];
    database_of_another_program: |s| header(s, 68, 0x1234_5678), ["list"]
        => 1, ["a database of another program (application id 0x12345678)"];
    database_of_a_newer_accessd: |s| header(s, 60, 999), ["list"]
        => 1, ["written by a newer accessd (schema 999", "install that version"];
    database_is_a_folder: |s| fs::create_dir(s.path("accessd.db")).unwrap(), ["list"]
        => 1, ["accessd.db: it is a folder"];
    database_on_a_read_only_place: |s| config(s, "[paths]\ndatabase = \"/proc/accessd.db\"\nsocket = \"no.sock\"\n"),
        ["rename", "Ada", "Eve"]
        => 1, ["/proc/accessd.db: there is no such file"];

    person_unknown: ada, ["show", "Ada Lovelac"]
        => 1, ["nobody is enrolled as \"Ada Lovelac\"; did you mean \"Ada Lovelace\"?"];
    person_unknown_to_remove: ada, ["remove", "Eve", "--yes"]
        => 1, ["nobody is enrolled as \"Eve\""];
    person_name_empty: ada, ["rename", "Ada Lovelace", " "]
        => 1, ["\" \" cannot be a name: it is empty"];
    person_name_with_line_break: ada, ["rename", "Ada Lovelace", "Ada\nEve"]
        => 1, ["cannot be a name: it contains a control character"];
    person_name_too_long: ada, ["rename", "Ada Lovelace", "AdaAdaAdaAdaAdaAdaAdaAdaAdaAdaAdaAdaAdaAdaAdaAdaAdaAdaAdaAdaAdaAda"]
        => 1, ["it is longer than 64 characters"];
    person_name_taken: |s| { ada(s); s.enrol("Bob", &[[0.0, 1.0, 0.0]]) }, ["rename", "Bob", "Ada Lovelace"]
        => 1, ["\"Ada Lovelace\" is already enrolled"];
    person_enrolled_twice: ada, ["enroll", "--name", "Ada Lovelace", "--images", "a.jpg"]
        => 1, ["\"Ada Lovelace\" is already enrolled", "--more"];
    person_given_more_before_enrolment: nothing, ["enroll", "--name", "Eve", "--more", "--images", "a.jpg"]
        => 1, ["nobody is enrolled as \"Eve\""];
    removal_without_a_terminal: ada, ["remove", "Ada Lovelace"]
        => 2, ["no terminal to ask on", "add --yes"];

    networks_missing: |s| picture(s, b""), ["verify", "a.jpg", "a.jpg"]
        => 1, ["no network called \"yunet\"", "make models"];
    networks_folder_missing: |s| { picture(s, b""); fs::remove_dir(s.path("models")).unwrap() }, ["verify", "a.jpg", "a.jpg"]
        => 1, ["no network called \"yunet\"", "make models"];
    network_is_garbage: |s| { picture(s, b""); fs::write(s.path("models/yunet.safetensors"), [9; 64]).unwrap() },
        ["verify", "a.jpg", "a.jpg"]
        => 1, ["yunet.safetensors"];
    network_is_empty: |s| { picture(s, b""); fs::write(s.path("models/yunet.safetensors"), b"").unwrap() },
        ["verify", "a.jpg", "a.jpg"]
        => 1, ["yunet.safetensors"];

    camera_of_no_kind: nothing, ["run", "--camera", "usb:0"]
        => 1, ["unknown camera kind in \"usb:0\"", "clip:PATH"];
    camera_is_no_device: nothing, ["run", "--camera", "v4l:front door"]
        => 1, ["\"front door\" is no device"];
    camera_with_unknown_option: nothing, ["run", "--camera", "clip:a?speed=2"]
        => 1, ["unknown option \"speed=2\"", "pace=off"];
    camera_command_without_end: nothing, ["run", "--camera", "command:sh -c 'cat"]
        => 1, ["camera \"command:sh -c 'cat\" cannot be used"];
    clip_missing: nothing, ["enroll", "--name", "Ada", "--camera", "clip:no-clip"]
        => 1, ["no-clip"];
    clip_is_an_empty_folder: nothing, ["enroll", "--name", "Ada", "--camera", "clip:models"]
        => 1, ["models"];
    camera_program_missing: nothing, ["enroll", "--name", "Ada", "--camera", "command:no-such-program -x"]
        => 1, ["no-such-program"];
    relay_of_no_kind: nothing, ["run", "--relay", "gpio:17", "--camera", "clip:models"]
        => 1, ["gpio:17"];
    relay_without_folder: nothing, ["run", "--relay", "sim:no/relay.log", "--camera", "clip:models"]
        => 1, ["no/relay.log", "there is no folder"];

    socket_garbage: |s| service(s, b"\x00\xff\n"), ["list"]
        => 1, ["control.sock"];
    socket_of_another_protocol: |s| service(s, b"{\"is\":\"poem\"}\n"), ["status"]
        => 1, ["answers what this accessd does not understand", "one version"];
    socket_hangs_up: |s| service(s, b""), ["list"]
        => 1, ["control.sock hung up"];
    socket_answers_half: |s| service(s, b"{\"is\":\"peo"), ["list"]
        => 1, ["control.sock hung up"];
    socket_answers_another_question: |s| service(s, b"{\"is\":\"done\"}\n"), ["list"]
        => 1, ["answer to another question"];
    socket_refuses: |s| service(s, b"{\"is\":\"error\",\"message\":\"the daemon is stopping\"}\n"), ["rename", "a", "b"]
        => 1, ["error: the daemon is stopping"];
    socket_path_too_long: |s| config(s, &format!("[paths]\nsocket = \"/tmp/{}\"\n", "x".repeat(120))), ["list"]
        => 1, ["its path is too long"];
    no_service: nothing, ["status"]
        => 1, ["no service answers at", "start it with `accessd run`"];
    nothing_to_follow: ada, ["log", "--follow"]
        => 1, ["no service runs whose journal could be followed"];

    moment_that_is_none: nothing, ["log", "--since", "soonish"]
        => 2, ["\"soonish\" is no moment", "yesterday 18:00"];
    kind_that_is_none: nothing, ["log", "--kind", "grants"]
        => 2, ["invalid value 'grants'", "grant"];
    no_rounds: nothing, ["bench", "--rounds", "0"]
        => 2, ["0 is not in 1..=100000"];
    no_name: nothing, ["enroll", "--images", "a.jpg"]
        => 2, ["--name <NAME>"];
    pictures_and_camera: nothing, ["enroll", "--name", "Ada", "--images", "a.jpg", "--camera", "v4l:0"]
        => 2, ["cannot be used with"];
    command_misspelt: nothing, ["enrol", "--name", "Ada"]
        => 2, ["unrecognized subcommand 'enrol'", "enroll"];
}

#[test]
fn config_named_by_the_environment_and_missing() {
    let site = Site::new();
    let outcome = crate::support::outcome(site.accessd(["list"]).env("ACCESSD_CONFIG", "gone.toml"));
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("config gone.toml cannot be read"), "{}", outcome.stderr);
}

#[test]
fn database_through_a_dangling_link() {
    let site = Site::new();
    symlink("gone/accessd.db", site.path("accessd.db")).unwrap();
    expect_refusal(&site, &["list"], 1, &["accessd.db"]);
}

/// A user who may not use the socket is told so, and never led around the service into the database. Root may do
/// anything, so for root there is nothing to see.
#[test]
fn socket_without_permission() {
    if rustix::process::geteuid().is_root() {
        return;
    }
    let site = Site::new();
    ada(&site);
    service(&site, b"");
    fs::set_permissions(site.path("control.sock"), fs::Permissions::from_mode(0o000)).unwrap();
    expect_refusal(&site, &["list"], 1, &["no permission to use", "usermod -aG"]);
    expect_refusal(&site, &["remove", "Ada Lovelace", "--yes"], 1, &["no permission to use"]);
}

#[test]
fn net_image_without_a_face() {
    let site = Site::with_networks();
    picture(&site, b"");
    expect_refusal(&site, &["verify", "a.jpg", "a.jpg"], 1, &["a.jpg: no face is found in it"]);
    expect_refusal(
        &site,
        &["enroll", "--name", "Ada", "--images", "a.jpg"],
        1,
        &["nothing is stored", "no face"],
    );
    ada(&site);
    expect_refusal(&site, &["identify", "a.jpg"], 1, &["no face is found in it"]);
}

#[test]
fn net_clip_is_text() {
    let site = Site::with_networks();
    fs::write(site.path("clip.txt"), "no pictures here\n").unwrap();
    let args = ["enroll", "--name", "Ada", "--camera", "clip:clip.txt"];
    expect_refusal(&site, &args, 1, &["nothing is stored", "clip.txt"]);
    assert!(!site.path("accessd.db").exists());
}

#[test]
fn net_network_of_another_job() {
    let site = Site::with_networks();
    picture(&site, b"");
    let text = fs::read_to_string(site.path("accessd.toml")).unwrap();
    config(&site, &format!("{text}[encoder]\nmodel = \"yunet\"\n"));
    expect_refusal(
        &site,
        &["verify", "a.jpg", "a.jpg"],
        1,
        &["network \"yunet\" is a detector, and an encoder is needed"],
    );
}

#[test]
fn net_network_cut_short() {
    let site = Site::with_networks();
    picture(&site, b"");
    let whole = fs::read(site.path("models/yunet.safetensors")).unwrap();
    fs::remove_file(site.path("models")).unwrap();
    fs::create_dir(site.path("models")).unwrap();
    fs::write(site.path("models/yunet.safetensors"), &whole[..whole.len() / 2]).unwrap();
    expect_refusal(&site, &["verify", "a.jpg", "a.jpg"], 1, &["yunet.safetensors"]);
}
