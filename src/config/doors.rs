//! Several doors: from the `[[door]]` sections of a file to a [`DoorSetup`] each, and what doors must not share. One door
//! may be written as `[camera]`, `[door]`, `[inputs]`, `[lamps]` as well.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::load::Problem;
use super::{CameraConfig, Config, DoorConfig, DoorSetup, InputsConfig, LampsConfig};

/// The section that may be there several times.
pub(super) const KEY: &str = "door";

/// The sections that a door may have below it.
pub(super) const PARTS: [&str; 3] = ["camera", "inputs", "lamps"];

/// More would be a matter for several machines: each door has a camera whose pictures are looked at.
const MOST: usize = 8;

/// Where a `[[door]]` stands.
#[derive(Debug)]
pub(super) struct DoorAt {
    pub(super) line: usize,
    /// The keys in it, with their lines: `door.relay`, `camera.source`.
    pub(super) keys: Vec<(String, usize)>,
}

impl DoorAt {
    fn line_of(&self, key: &str) -> Option<usize> {
        self.keys.iter().find(|(known, _)| known == key).map(|(_, line)| *line)
    }
}

/// Reads a file whose keys are known to be right.
pub(super) fn read(text: &str) -> Result<Config, toml::de::Error> {
    let mut table: Table = toml::from_str(text)?;
    let doors = match table.get(KEY) {
        Some(Value::Array(_)) => table.remove(KEY),
        _ => None,
    };
    let shared = table.get("camera").cloned();
    let mut config = Config::deserialize(table)?;
    let Some(Value::Array(doors)) = doors else { return Ok(config) };
    let doors = doors.into_iter().map(|door| setup(door, shared.as_ref()));
    config.several = doors.collect::<Result<_, _>>()?;
    if let [only] = config.several.as_slice() {
        let DoorSetup { camera, door, inputs, lamps } = only.clone();
        (config.camera, config.door, config.inputs, config.lamps) = (camera, door, inputs, lamps);
        config.several.clear();
    }
    Ok(config)
}

fn setup(door: Value, shared: Option<&Value>) -> Result<DoorSetup, toml::de::Error> {
    let Value::Table(mut door) = door else { return Ok(DoorSetup::default()) };
    let mut camera = shared.and_then(Value::as_table).cloned().unwrap_or_default();
    if let Some(Value::Table(own)) = door.remove("camera") {
        camera.extend(own);
    }
    Ok(DoorSetup {
        camera: CameraConfig::deserialize(camera)?,
        inputs: part::<InputsConfig>(&mut door, "inputs")?,
        lamps: part::<LampsConfig>(&mut door, "lamps")?,
        door: DoorConfig::deserialize(door)?,
    })
}

fn part<T: DeserializeOwned + Default>(door: &mut Table, name: &str) -> Result<T, toml::de::Error> {
    door.remove(name).map_or_else(|| Ok(T::default()), T::deserialize)
}

/// What the doors of a config must not share, and what each of several must say for itself.
pub(super) fn contradictions(config: &Config, at: &[DoorAt], sections: &[(String, usize)]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut note = |line: usize, what: String| problems.push(Problem { line, what });
    if !at.is_empty() {
        let mut told = "";
        for (key, line) in sections {
            let section = key.split('.').next().unwrap_or_default();
            if matches!(section, "inputs" | "lamps") && section != std::mem::replace(&mut told, section) {
                note(
                    *line,
                    format!(
                        "[{section}] stands beside [[door]]: write [door.{section}] below the door it is wired to"
                    ),
                );
            }
            if key == "camera.source" && at.len() > 1 {
                note(
                    *line,
                    "camera.source stands beside several [[door]]: write it into the [door.camera] of each"
                        .into(),
                );
            }
        }
    }
    if let Some(beyond) = at.get(MOST) {
        note(beyond.line, format!("there are {} doors, at most {MOST} can be served", at.len()));
    }
    let doors = config.doors();
    let called = |n: usize| match at.len() {
        0 | 1 => "the door".to_owned(),
        _ => format!("door {:?}", doors[n].door.name),
    };
    if at.len() > 1 {
        for (n, door) in at.iter().enumerate() {
            for (key, shown) in [
                ("door.name", "name"),
                ("door.relay", "relay"),
                ("camera.source", "source in its [door.camera]"),
            ] {
                if door.line_of(key).is_none() {
                    let which = if key == "door.name" { format!("door {}", n + 1) } else { called(n) };
                    note(
                        door.line,
                        format!("{which} has no {shown}: where there are several doors each has its own"),
                    );
                }
            }
        }
    }
    // What is left out has been told.
    let given = |n: usize, key: &str| at.len() < 2 || at[n].line_of(key).is_some();
    let line = |n: usize, key: &str| match at.get(n) {
        Some(door) => door.line_of(key).unwrap_or(door.line),
        None => sections.iter().find(|(known, _)| known == key).map_or(1, |(_, line)| *line),
    };
    let mut taken: Vec<(String, String)> = Vec::new();
    for (n, door) in doors.iter().enumerate() {
        for (key, value) in uses(door) {
            let Some(thing) = thing(key, value) else { continue };
            if !given(n, key) && matches!(key, "door.name" | "door.relay" | "camera.source") {
                continue;
            }
            match taken.iter().find(|(known, _)| *known == thing) {
                Some((_, by)) => {
                    note(line(n, key), format!("{key} of {} is {value:?}, which is {by} already", called(n)))
                }
                None => taken.push((thing, format!("{key} of {}", called(n)))),
            }
        }
    }
    problems
}

/// What one door alone can use.
fn uses(door: &DoorSetup) -> [(&'static str, &str); 16] {
    let DoorSetup { camera, door, inputs, lamps } = door;
    [
        ("door.name", &door.name),
        ("camera.source", &camera.source),
        ("camera.second", &camera.second),
        ("door.relay", &door.relay),
        ("inputs.rex", &inputs.rex),
        ("inputs.contact", &inputs.contact),
        ("inputs.tamper", &inputs.tamper),
        ("inputs.panic", &inputs.panic),
        ("inputs.keypad", &inputs.keypad),
        ("lamps.granted", &lamps.granted),
        ("lamps.refused", &lamps.refused),
        ("lamps.look", &lamps.look),
        ("lamps.left", &lamps.left),
        ("lamps.right", &lamps.right),
        ("lamps.fault", &lamps.fault),
        ("lamps.pin", &lamps.pin),
    ]
}

/// The thing behind a text, without its options and under one of its names; `None` for what is not there.
fn thing(key: &str, text: &str) -> Option<String> {
    if key == "door.name" {
        return Some(format!("name {}", text.to_lowercase()));
    }
    if text == "none" {
        return None;
    }
    let (kind, rest) = text.trim().split_once(':')?;
    let bare = if kind == "command" { rest } else { rest.split('?').next().unwrap_or(rest) }.trim();
    let short = match kind {
        "v4l" => bare.strip_prefix("/dev/video"),
        "gpiochip" => bare.strip_prefix("/dev/gpiochip"),
        _ => None,
    };
    let numbered = short.filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    Some(format!("{kind}:{}", numbered.unwrap_or(bare)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "[camera]\nfps = 9\n\
        [[door]]\nname = \"entry\"\nrelay = \"sim:a\"\n[door.camera]\nsource = \"clip:a\"\n[door.inputs]\nrex = \"sim:rex\"\n\
        [[door]]\nname = \"exit\"\nside = \"out\"\nrelay = \"sim:b\"\n[door.camera]\nsource = \"clip:b\"\nfps = 20\n\
        [door.lamps]\nfault = \"sim:lamp\"\n";

    fn problems(text: &str) -> Vec<String> {
        Config::parse(text).expect_err("this config is wrong").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_door_has_its_own_and_shares_what_the_camera_section_says() {
        let config = Config::parse(TWO).unwrap();
        assert!(config.has_several_doors());
        let [entry, exit]: [DoorSetup; 2] = config.doors().try_into().unwrap();
        assert_eq!(
            (entry.door.name.as_str(), entry.door.side.as_str(), entry.camera.fps),
            ("entry", "in", 9)
        );
        assert_eq!((exit.door.name.as_str(), exit.door.side.as_str(), exit.camera.fps), ("exit", "out", 20));
        assert_eq!((entry.camera.source.as_str(), exit.camera.source.as_str()), ("clip:a", "clip:b"));
        assert_eq!((entry.inputs.rex.as_str(), exit.inputs.rex.as_str()), ("sim:rex", "none"));
        assert_eq!((entry.lamps.fault.as_str(), exit.lamps.fault.as_str()), ("none", "sim:lamp"));
        assert_eq!((exit.door.pulse_ms, exit.door.area.as_str()), (5_000, "inside"));
    }

    #[test]
    fn one_door_is_the_same_in_both_forms() {
        let flat = "[camera]\nsource = \"clip:a\"\nfps = 9\n[door]\nname = \"entry\"\nrelay = \"sim:a\"\n[inputs]\nrex = \"sim:r\"\n";
        let listed = "[camera]\nfps = 9\n[[door]]\nname = \"entry\"\nrelay = \"sim:a\"\n[door.camera]\nsource = \"clip:a\"\n\
                      [door.inputs]\nrex = \"sim:r\"\n";
        assert_eq!(Config::parse(flat).unwrap(), Config::parse(listed).unwrap());
        let shared = "[camera]\nsource = \"clip:a\"\n[[door]]\nrelay = \"sim:a\"\n";
        assert_eq!(Config::parse(shared).unwrap().doors()[0].camera.source, "clip:a");
    }

    #[test]
    fn what_doors_share_and_what_they_lack_is_refused_where_it_stands() {
        let with = |from: &str, to: &str| {
            assert!(TWO.contains(from), "{from}");
            problems(&TWO.replacen(from, to, 1))
        };
        for (found, wanted) in [
            (
                with("\"exit\"", "\"Entry\""),
                "line 11: door.name of door \"Entry\" is \"Entry\", which is door.name of door \"entry\" already",
            ),
            (
                with("sim:b", "sim:a"),
                "line 13: door.relay of door \"exit\" is \"sim:a\", which is door.relay of door \"entry\" already",
            ),
            (
                with("clip:b", "clip:a?loop"),
                "line 15: camera.source of door \"exit\" is \"clip:a?loop\", which is camera.source of door \"entry\" already",
            ),
            (
                with("sim:lamp", "sim:rex"),
                "line 18: lamps.fault of door \"exit\" is \"sim:rex\", which is inputs.rex of door \"entry\" already",
            ),
            (
                with("side = \"out\"", "side = \"up\""),
                "line 12: door.side is \"up\", expected one of \"in\", \"out\"",
            ),
            (with("fps = 20", "fpss = 20"), "line 16: unknown key camera.fpss; did you mean camera.fps?"),
            (with("side = ", "sied = "), "line 12: unknown key door.sied; did you mean door.side?"),
            (
                with("name = \"exit\"\n", ""),
                "line 10: door 2 has no name: where there are several doors each has its own",
            ),
            (
                with("relay = \"sim:b\"\n", ""),
                "line 10: door \"exit\" has no relay: where there are several doors each has its own",
            ),
            (
                with("source = \"clip:b\"\n", ""),
                "line 10: door \"exit\" has no source in its [door.camera]: where there are several doors each has its own",
            ),
            (
                with("fps = 9", "source = \"clip:c\""),
                "line 2: camera.source stands beside several [[door]]: write it into the [door.camera] of each",
            ),
            (
                with("[camera]\nfps = 9", "[inputs]\nrex = \"sim:x\""),
                "line 2: [inputs] stands beside [[door]]: write [door.inputs] below the door it is wired to",
            ),
        ] {
            assert_eq!(found, [wanted]);
        }
        assert!(problems("door = 5").len() == 1 && problems("door = [5]")[0].contains("write [[door]]"));
        let nine: String = (0..9)
            .map(|n| {
                format!("[[door]]\nname = \"d{n}\"\nrelay = \"sim:r{n}\"\ncamera.source = \"clip:c{n}\"\n")
            })
            .collect();
        assert_eq!(problems(&nine), ["line 33: there are 9 doors, at most 8 can be served"]);
    }

    #[test]
    fn one_line_under_two_names_is_one_line() {
        assert_eq!(
            problems(
                "[door]\nrelay = \"gpiochip:0:17?active-low\"\n[inputs]\nrex = \"gpiochip:/dev/gpiochip0:17\""
            ),
            [
                "line 4: inputs.rex of the door is \"gpiochip:/dev/gpiochip0:17\", which is door.relay of the door already"
            ]
        );
        for (a, b, same) in [
            ("v4l:0", "v4l:/dev/video0", true),
            ("v4l:0", "v4l:1", false),
            ("clip:x?fps=5", "clip:x", true),
            ("command:a ?b", "command:a ?c", false),
            ("sim:17", "rppal:17", false),
        ] {
            assert_eq!(thing("camera.source", a) == thing("camera.source", b), same, "{a} {b}");
        }
        assert_eq!(thing("inputs.rex", "none"), None);
    }
}
