//! From a file to a [`Config`]: reads it, holds every key against the table of [`super::keys`] and gathers all that is
//! wrong with it, each with its line, before giving up.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::Config;
use super::doors::{self, DoorAt};
use super::keys::{KEYS, Takes};

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error(
        "config {} cannot be read; name another with --config, or leave it out to use the built-in defaults",
        path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not text.
    #[error("config {} is not UTF-8 text (first bad byte at {at}); is it a config file?", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// Offset of the first bad byte.
        at: usize,
    },
    /// The file is text with something wrong in it.
    #[error("config {}: {}", path.display(), list(problems))]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong, in the file's order.
        problems: Vec<Problem>,
    },
}

/// One thing that is wrong in a config file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line in the file, from 1.
    pub line: usize,
    /// What is wrong, with the key's full name, and what is wanted.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

fn list(problems: &[Problem]) -> String {
    match problems {
        [one] => one.to_string(),
        many => {
            let lines: String = many.iter().map(|p| format!("\n  {p}")).collect();
            format!("{} problems{lines}", many.len())
        }
    }
}

impl Config {
    /// Reads a config file. Keys that are not in it keep their defaults.
    ///
    /// # Errors
    /// When it cannot be read, is not TOML, or has unknown keys, wrong types, values out of range or settings that
    /// contradict each other: all of them are named.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let bytes =
            std::fs::read(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let text = String::from_utf8(bytes)
            .map_err(|e| ConfigError::NotText { path: path.to_owned(), at: e.utf8_error().valid_up_to() })?;
        Self::parse(&text).map_err(|problems| ConfigError::Wrong { path: path.to_owned(), problems })
    }

    /// Reads a config from its text.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of its lines.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let line = |offset: usize| 1 + text[..offset.min(text.len())].matches('\n').count();
        let syntax = |e: toml::de::Error| {
            let at = e.span().map_or(0, |span| span.start);
            vec![Problem { line: line(at), what: format!("not valid TOML: {}", e.message()) }]
        };
        let root = DeTable::parse(text).map_err(syntax)?;
        let mut found = Walk { problems: Vec::new(), lines: Vec::new(), doors: Vec::new(), line: &line };
        found.root(root.get_ref());
        if found.problems.is_empty() {
            let config = doors::read(text).map_err(syntax)?;
            found.contradictions(&config);
            found.problems.extend(doors::contradictions(&config, &found.doors, &found.lines));
            if found.problems.is_empty() {
                return Ok(config);
            }
        }
        found.problems.sort_by_key(|problem| problem.line);
        Err(found.problems)
    }
}

/// A walk over the parsed file that notes what is wrong.
struct Walk<'a> {
    problems: Vec<Problem>,
    /// Where each key of the sections stands.
    lines: Vec<(String, usize)>,
    /// Each `[[door]]`.
    doors: Vec<DoorAt>,
    line: &'a dyn Fn(usize) -> usize,
}

impl Walk<'_> {
    fn root(&mut self, root: &DeTable<'_>) {
        for (name, value) in root.iter() {
            let at = (self.line)(name.span().start);
            let section = name.get_ref().as_ref();
            let is_section = sections().any(|known| known == section);
            if let (doors::KEY, Some(list)) = (section, value.get_ref().as_array()) {
                self.several_doors(list);
                continue;
            }
            match value.get_ref().as_table() {
                Some(table) if is_section => {
                    let lines = self.section(section, table);
                    self.lines.extend(lines);
                }
                Some(_) => self.note(
                    at,
                    format!(
                        "unknown section [{section}]{}",
                        suggest(section, sections(), |s| format!("[{s}]"))
                    ),
                ),
                None if is_section => self.note(
                    at,
                    format!(
                        "{section} is {}, expected a section: write [{section}] with its keys below it",
                        kind(value)
                    ),
                ),
                None => self.note(
                    at,
                    format!("unknown key {section}{}", suggest(section, every_key(), str::to_owned)),
                ),
            }
        }
    }

    /// Checks the keys of a section and says where each stands.
    fn section(&mut self, section: &str, table: &DeTable<'_>) -> Vec<(String, usize)> {
        let mut lines = Vec::new();
        for (name, value) in table.iter() {
            let at = (self.line)(name.span().start);
            lines.extend(self.key(&format!("{section}.{}", name.get_ref()), value, at));
        }
        lines
    }

    fn key(&mut self, key: &str, value: &Spanned<DeValue<'_>>, at: usize) -> Option<(String, usize)> {
        match KEYS.iter().find(|(known, _)| *known == key) {
            Some((_, takes)) => {
                self.value(key, *takes, value, at);
                Some((key.to_owned(), at))
            }
            None => {
                self.note(at, format!("unknown key {key}{}", suggest(key, every_key(), str::to_owned)));
                None
            }
        }
    }

    fn several_doors(&mut self, list: &DeArray<'_>) {
        for door in list.iter() {
            let line = (self.line)(door.span().start);
            let Some(table) = door.get_ref().as_table() else {
                self.note(line, format!("a door is {}, expected a section: write [[door]]", kind(door)));
                continue;
            };
            let mut keys = Vec::new();
            for (name, value) in table.iter() {
                let at = (self.line)(name.span().start);
                let name = name.get_ref().as_ref();
                match value.get_ref().as_table() {
                    Some(part) if doors::PARTS.contains(&name) => keys.extend(self.section(name, part)),
                    None if doors::PARTS.contains(&name) => self.note(
                        at,
                        format!("door.{name} is {}, expected a section: write [door.{name}]", kind(value)),
                    ),
                    _ => keys.extend(self.key(&format!("door.{name}"), value, at)),
                }
            }
            self.doors.push(DoorAt { line, keys });
        }
    }

    fn value(&mut self, key: &str, takes: Takes, value: &Spanned<DeValue<'_>>, at: usize) {
        let (shown, right_kind, good) = match value.get_ref() {
            DeValue::Integer(n) => {
                let whole = i64::from_str_radix(n.as_str(), n.radix()).ok();
                (n.to_string(), !takes.wants_text(), whole.is_some_and(|n| takes.accepts_whole(n)))
            }
            DeValue::Float(x) => {
                let number = x.as_str().parse::<f64>().ok();
                let right_kind = matches!(takes, Takes::Number { .. });
                (x.as_str().to_owned(), right_kind, number.is_some_and(|x| takes.accepts_number(x)))
            }
            DeValue::String(text) => {
                (format!("{text:?}"), takes.wants_text(), takes.wants_text() && takes.accepts_text(text))
            }
            _ => (kind(value).to_owned(), false, false),
        };
        if good {
            return;
        }
        let wrong = if right_kind { shown } else { kind(value).to_owned() };
        self.note(at, format!("{key} is {wrong}, expected {}", takes.describe()));
    }

    /// Pairs of settings that cannot both hold.
    fn contradictions(&mut self, config: &Config) {
        let (needed, window) = (config.decision.frames_needed, config.decision.frames_window);
        if needed > window {
            self.note_pair(
                ["decision.frames_window", "decision.frames_needed"],
                format!("decision.frames_needed ({needed}) is more than decision.frames_window ({window}): nobody could ever be let in"),
            );
        }
        let (dark, bright) = (config.vision.min_light, config.vision.max_light);
        if dark >= bright {
            self.note_pair(
                ["vision.max_light", "vision.min_light"],
                format!("vision.min_light ({dark}) is not below vision.max_light ({bright}): no face could ever be matched"),
            );
        }
    }

    /// Notes a contradiction at the line of whichever key of the two stands in the file.
    fn note_pair(&mut self, keys: [&str; 2], what: String) {
        let line_of = |key: &str| self.lines.iter().find(|(k, _)| k == key).map(|(_, line)| *line);
        let at = keys.iter().find_map(|key| line_of(key)).expect("defaults do not contradict each other");
        self.note(at, what);
    }

    fn note(&mut self, line: usize, what: String) {
        self.problems.push(Problem { line, what });
    }
}

fn every_key() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|(key, _)| *key)
}

fn sections() -> impl Iterator<Item = &'static str> {
    let mut last = "";
    every_key().filter_map(move |key| {
        let section = key.split('.').next().unwrap_or(key);
        (section != std::mem::replace(&mut last, section)).then_some(section)
    })
}

/// `; did you mean …?` with the most alike of the known names, or where to find them all.
fn suggest(wrong: &str, known: impl Iterator<Item = &'static str>, show: impl Fn(&str) -> String) -> String {
    // The last part counts, so that a key without its section, or in a wrong one, is found; the section breaks ties.
    let parts = |name| str::rsplit_once(name, '.').unwrap_or(("", name));
    let (wrong_section, wrong_key) = parts(wrong);
    let likeness = |name| {
        let (section, key) = parts(name);
        let one_slip = strsim::damerau_levenshtein(wrong_key, key) <= 1;
        let alike = strsim::jaro_winkler(wrong_key, key).max(if one_slip { 0.9 } else { 0.0 });
        if section == wrong_section { alike + 0.01 } else { alike }
    };
    let nearest = known.map(|name| (likeness(name), name)).max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((likeness, name)) if likeness > 0.8 => format!("; did you mean {}?", show(name)),
        _ => "; config/accessd.toml explains every key".into(),
    }
}

fn kind(value: &Spanned<DeValue<'_>>) -> &'static str {
    match value.get_ref() {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../config/accessd.toml");

    fn problems(text: &str) -> Vec<String> {
        Config::parse(text).expect_err("this config is wrong").iter().map(ToString::to_string).collect()
    }

    fn default_as_table() -> toml::Table {
        toml::Table::try_from(Config::default()).unwrap()
    }

    /// `section.key` → value of a serialised config.
    fn flat(config: &Config) -> Vec<(String, toml::Value)> {
        let table = toml::Table::try_from(config).unwrap();
        let entries = table.iter().flat_map(|(section, keys)| {
            keys.as_table()
                .unwrap()
                .iter()
                .map(move |(key, value)| (format!("{section}.{key}"), value.clone()))
        });
        entries.collect()
    }

    #[test]
    fn the_shipped_file_is_the_default() {
        assert_eq!(Config::parse(SHIPPED).unwrap(), Config::default());
        assert_eq!(Config::parse("").unwrap(), Config::default());
    }

    #[test]
    fn the_shipped_file_has_every_key_and_explains_it_with_default_and_range() {
        let lines: Vec<&str> = SHIPPED.lines().collect();
        let mut section = "";
        let mut explained = std::collections::BTreeMap::new();
        for (i, line) in lines.iter().enumerate() {
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_end_matches(']');
            } else if let Some((key, value)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
                let comment: Vec<&str> =
                    lines[..i].iter().rev().take_while(|l| l.starts_with('#')).copied().collect();
                explained.insert(format!("{section}.{key}"), (value, comment.join("\n")));
            }
        }
        for (key, takes) in KEYS {
            let (value, comment) = explained.remove(*key).unwrap_or_else(|| panic!("{key} is not explained"));
            let default = comment.split("Default: ").nth(1).unwrap_or_else(|| panic!("{key}: no default"));
            let default = default.lines().next().unwrap();
            let same = match (default.parse::<f64>(), value.parse::<f64>()) {
                (Ok(a), Ok(b)) => a == b,
                _ => default == value,
            };
            assert!(same, "{key}: the comment says {default}, the value is {value}");
            let range = match takes {
                Takes::Whole { min, max, step: 1 } => format!("Range: {min} to {max}."),
                Takes::Whole { min, max, step } => format!("Range: {min} to {max}, a multiple of {step}."),
                Takes::Number { min, max } => format!("Range: {min} to {max}."),
                Takes::Word(words) => words[0].to_owned(),
                Takes::Spec(prefixes) | Takes::SpecOrNone(prefixes) => format!("{}:", prefixes[0]),
                Takes::Path | Takes::ModelName | Takes::Device | Takes::Name | Takes::Address => {
                    String::new()
                }
            };
            assert!(comment.contains(&range), "{key}: its comment lacks {range:?}");
        }
        assert!(explained.is_empty(), "explained but unknown: {explained:?}");
    }

    #[test]
    fn the_table_of_keys_is_the_config_no_more_and_no_less() {
        let mut in_config: Vec<String> = flat(&Config::default()).into_iter().map(|(key, _)| key).collect();
        let mut in_table: Vec<String> = every_key().map(str::to_owned).collect();
        in_config.sort();
        in_table.sort();
        assert_eq!(in_config, in_table);
    }

    /// A value that `takes` accepts and that is not `default`.
    fn another(takes: Takes, default: &toml::Value) -> toml::Value {
        match takes {
            Takes::Whole { max, .. } => toml::Value::Integer(max),
            Takes::Number { min, max } => {
                let middle = f64::from(((min + max) / 2.0) as f32);
                let default = default.as_float().unwrap();
                toml::Value::Float(if (middle - default).abs() > 1e-3 { middle } else { max })
            }
            Takes::Word(words) => {
                words.iter().find(|w| Some(**w) != default.as_str()).map(|w| (*w).into()).unwrap()
            }
            Takes::Spec(prefixes) | Takes::SpecOrNone(prefixes) => {
                format!("{}:/elsewhere", prefixes[prefixes.len() - 1]).into()
            }
            Takes::Path => "/elsewhere".into(),
            Takes::ModelName | Takes::Name => "another".into(),
            Takes::Device => "cuda:1".into(),
            Takes::Address => "[::1]:443".into(),
        }
    }

    #[test]
    fn each_key_that_is_changed_is_seen_alone() {
        let defaults = default_as_table();
        for (key, takes) in KEYS {
            let (section, name) = key.split_once('.').unwrap();
            let value = another(*takes, &defaults[section][name]);
            let mut text = format!("[{section}]\n{name} = {value}\n");
            let mut also = Vec::new();
            if *key == "decision.frames_needed" {
                text += "frames_window = 60\n";
                also.push("decision.frames_window");
            }
            let config = Config::parse(&text).unwrap_or_else(|p| panic!("{text}: {p:?}"));
            for ((k, now), (_, before)) in flat(&config).into_iter().zip(flat(&Config::default())) {
                let changed = now != before;
                assert_eq!(changed, k == *key || also.contains(&k.as_str()), "{key} changed, {k} is {now}");
            }
        }
    }

    #[test]
    fn every_range_is_enforced_at_both_ends() {
        for (key, takes) in KEYS {
            let (section, name) = key.split_once('.').unwrap();
            let bad: Vec<String> = match takes {
                Takes::Whole { min, max, step } => {
                    vec![(min - step).to_string(), (max + step).to_string(), "-1000000".into()]
                }
                Takes::Number { min, max } => {
                    vec![format!("{:.3}", min - 0.01), format!("{:.3}", max + 0.01), "nan".into()]
                }
                _ => vec!["\"\"".into(), "7".into(), "true".into()],
            };
            for value in bad {
                let found = problems(&format!("[{section}]\n{name} = {value}\n"));
                assert_eq!(found.len(), 1, "{key} = {value}: {found:?}");
                assert!(found[0].starts_with(&format!("line 2: {key} is ")), "{found:?}");
                assert!(found[0].ends_with(&takes.describe()), "{found:?}");
            }
        }
    }

    #[test]
    fn unknown_keys_and_sections_name_the_nearest_known_one() {
        for (text, wanted) in [
            ("[camera]\nwidht = 5", "line 2: unknown key camera.widht; did you mean camera.width?"),
            ("[camara]\nwidth = 640", "line 1: unknown section [camara]; did you mean [camera]?"),
            (
                "[door]\nthreshold = 0.6",
                "line 2: unknown key door.threshold; did you mean decision.threshold?",
            ),
            ("\n\nthreshold = 0.6", "line 3: unknown key threshold; did you mean decision.threshold?"),
            ("[camera]\nqqqq = 1", "line 2: unknown key camera.qqqq; config/accessd.toml explains every key"),
            ("camera.fsp = 9", "line 1: unknown key camera.fsp; did you mean camera.fps?"),
        ] {
            assert_eq!(problems(text), [wanted]);
        }
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once_in_the_order_of_the_lines() {
        let text = "[vision]\ndetect_px = 333\nmax_yaw_deg = \"wide\"\n[door]\npulse = 5000\npulse_ms = 10\n[camera]\nfps = 2.5\n";
        assert_eq!(
            problems(text),
            [
                "line 2: vision.detect_px is 333, expected a whole number from 160 to 1280, a multiple of 32",
                "line 3: vision.max_yaw_deg is a text, expected a number from 5 to 90",
                "line 5: unknown key door.pulse; did you mean door.pulse_ms?",
                "line 6: door.pulse_ms is 10, expected a whole number from 3000 to 60000",
                "line 8: camera.fps is a number with a point, expected a whole number from 1 to 60",
            ]
        );
        let shown = ConfigError::Wrong { path: "a.toml".into(), problems: Config::parse(text).unwrap_err() };
        assert!(
            shown.to_string().starts_with("config a.toml: 5 problems\n  line 2: vision.detect_px"),
            "{shown}"
        );
    }

    #[test]
    fn contradictions_are_refused_at_the_line_that_is_there() {
        assert_eq!(
            problems("[decision]\nframes_needed = 6"),
            [
                "line 2: decision.frames_needed (6) is more than decision.frames_window (5): nobody could ever be let in"
            ]
        );
        assert_eq!(
            problems("[vision]\nmin_light = 100\nmax_light = 90"),
            [
                "line 3: vision.min_light (100) is not below vision.max_light (90): no face could ever be matched"
            ]
        );
    }

    #[test]
    fn syntax_errors_and_sections_that_are_values_name_their_line() {
        let found = problems("[camera]\nsource = v4l\n");
        assert!(found[0].starts_with("line 2: not valid TOML: "), "{found:?}");
        assert_eq!(
            problems("camera = 5"),
            ["line 1: camera is a whole number, expected a section: write [camera] with its keys below it"]
        );
        assert!(
            problems("[log]\nlevel = \"info\"\nlevel = \"warn\"")[0]
                .contains("line 3: not valid TOML: duplicate key")
        );
    }

    #[test]
    fn files_that_cannot_be_read_say_why() {
        let dir = tempfile::tempdir().unwrap();
        let missing = Config::load(&dir.path().join("no.toml")).unwrap_err();
        assert!(missing.to_string().contains("no.toml cannot be read"), "{missing}");
        assert!(matches!(Config::load(dir.path()), Err(ConfigError::Read { .. })));
        let latin = dir.path().join("latin.toml");
        std::fs::write(&latin, b"# caf\xe9\n").unwrap();
        let error = Config::load(&latin).unwrap_err();
        assert!(error.to_string().contains("not UTF-8 text (first bad byte at 5)"), "{error}");
    }
}
