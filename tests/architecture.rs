//! Reads the imports of every source file and fails when one goes against an arrow of `ARCHITECTURE.md`. The rules are
//! the tables of that document, so the map and the check are one:
//!
//! - `| room | may import |`: which rooms a room may name; `vision::align` allows that part of a room alone
//! - `| what | only in |`: crates and calls that belong to some files only
//! - `| where | never names |`: what the deciding, pure files must do without
//!
//! Test code is left out: a test may build whatever it needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

type Segments = Vec<String>;

/// What the tables of the document say.
#[derive(Debug, Default)]
struct Rules {
    /// Room → what of the crate it may name; `None` is everything.
    rooms: BTreeMap<String, Option<Vec<Segments>>>,
    /// A path → the files (or folders, ending in `/`) that alone may name it.
    only_in: Vec<(Segments, Vec<String>)>,
    /// A file or folder → paths that it must not name.
    never: Vec<(String, Vec<Segments>)>,
}

impl Rules {
    fn read(document: &str) -> Self {
        let mut rules = Self::default();
        let mut table = "";
        for line in document.lines() {
            let Some((left, right)) = row(line) else {
                table = "";
                continue;
            };
            match (table, left, right) {
                (_, "room", "may import") | (_, "what", "only in") | (_, "where", "never names") => {
                    table = left
                }
                ("room", ..) => {
                    let arrows = (right != "every room").then(|| names(right).map(segments).collect());
                    rules.rooms.extend(names(left).map(|room| (room.to_owned(), arrows.clone())));
                }
                ("what", ..) => {
                    let places: Vec<_> = names(right).map(str::to_owned).collect();
                    rules.only_in.extend(names(left).map(|what| (segments(what), places.clone())));
                }
                ("where", ..) => {
                    let paths: Vec<_> = names(right).map(segments).collect();
                    rules.never.extend(names(left).map(|place| (place.to_owned(), paths.clone())));
                }
                _ => {}
            }
        }
        rules
    }

    /// What one file does against the rules; `file` is its path from the root of the package, with `/`.
    fn broken_by(&self, file: &str, source: &str) -> Vec<String> {
        let module = module_of(file);
        let room =
            module.first().map_or(if file.ends_with("main.rs") { "main" } else { "lib" }, |r| r.as_str());
        let mut broken = BTreeSet::new();
        for (line, path) in paths(source, &module) {
            let shown = path.join("::");
            let mut fault = |why: String| broken.insert((line, format!("{file}:{line}: {shown}: {why}")));
            if path[0] == "crate"
                && let Some(why) = self.wrong_arrow(room, &path[1..])
            {
                fault(why);
            }
            for (what, places) in &self.only_in {
                if contains(&path, what) && !places.iter().any(|place| file.starts_with(place)) {
                    fault(format!("`{}` belongs in {} only", what.join("::"), places.join(" and ")));
                }
            }
            for (place, forbidden) in &self.never {
                if let Some(what) = forbidden.iter().find(|w| file.starts_with(place) && contains(&path, w)) {
                    fault(format!("{place} must do without `{}`", what.join("::")));
                }
            }
        }
        broken.into_iter().map(|(_, text)| text).collect()
    }

    fn wrong_arrow(&self, room: &str, path: &[String]) -> Option<String> {
        let Some(to) = path.first().filter(|to| *to != "*") else {
            return Some("name the room".into());
        };
        if to == room {
            return None;
        }
        match self.rooms.get(room) {
            None => Some(format!("room `{room}` is not in the table")),
            Some(None) => None,
            Some(Some(_)) if !self.rooms.contains_key(to) => {
                Some(format!("there is no room `{to}` in the table"))
            }
            Some(Some(arrows)) if arrows.iter().any(|arrow| path.starts_with(arrow)) => None,
            Some(Some(arrows)) => {
                let may: Vec<_> = arrows.iter().map(|arrow| arrow.join("::")).collect();
                Some(format!(
                    "`{room}` may import {}",
                    if may.is_empty() { "nothing".into() } else { may.join(", ") }
                ))
            }
        }
    }

    /// A room from which arrows to whole rooms lead back to it.
    fn cycle(&self) -> Option<Vec<String>> {
        let whole = |room: &str| -> Vec<String> {
            let arrows = self.rooms.get(room).cloned().flatten().unwrap_or_default();
            arrows.into_iter().filter(|arrow| arrow.len() == 1).flatten().collect()
        };
        self.rooms.keys().find_map(|start| {
            let mut ways = vec![vec![start.clone()]];
            let mut seen = BTreeSet::new();
            while let Some(way) = ways.pop() {
                for next in whole(way.last().expect("a way has a start")) {
                    let longer = [way.clone(), vec![next.clone()]].concat();
                    if next == *start {
                        return Some(longer);
                    }
                    if seen.insert(next) {
                        ways.push(longer);
                    }
                }
            }
            None
        })
    }
}

/// The first two cells of a table's row.
fn row(line: &str) -> Option<(&str, &str)> {
    let mut cells = line.trim().strip_prefix('|')?.split('|').map(str::trim);
    Some((cells.next()?, cells.next()?))
}

/// Everything in `backticks`.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

fn segments(path: &str) -> Segments {
    path.split("::").map(str::to_owned).collect()
}

fn contains(path: &[String], part: &[String]) -> bool {
    path.windows(part.len()).any(|window| window == part)
}

/// `src/door/sim.rs` → `door`, `sim`; the root of the crate is empty.
fn module_of(file: &str) -> Segments {
    let path = file.strip_prefix("src/").unwrap_or(file).trim_end_matches(".rs");
    let path = path.trim_end_matches("/mod");
    if path == "lib" || path == "main" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
}

/// All paths of two or more segments that the source names outside its tests, with their lines, from the root:
/// `crate::…`, or `std::…` and other crates. What an import shortened or renamed is written out.
fn paths(source: &str, module: &[String]) -> Vec<(usize, Segments)> {
    let tokens = without_tests(&tokens(source));
    let mut found = Vec::new();
    let mut imports: BTreeMap<String, Vec<Segments>> = BTreeMap::new();
    let mut inline = Vec::new();
    let mut here = module.to_vec();
    let mut open_modules = Vec::new();
    let mut depth = 0;
    let mut at = 0;
    while at < tokens.len() {
        let token = &tokens[at];
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if open_modules.last() == Some(&depth) {
                    open_modules.pop();
                    here.pop();
                }
            }
            "mod" if text(&tokens, at + 2) == "{" => {
                open_modules.push(depth);
                here.push(text(&tokens, at + 1).to_owned());
            }
            "use" if text(&tokens, at + 1) != "<" => {
                let mut imported = Vec::new();
                at = use_tree(&tokens, at + 1, &[], &mut imported);
                for (path, name) in imported {
                    let path = resolve(path, &here);
                    imports.entry(name).or_default().push(path.clone());
                    found.push((token.line, path));
                }
                continue;
            }
            _ if token.is_name() && text(&tokens, at + 1) == "::" => {
                let mut path = vec![token.text.clone()];
                while text(&tokens, at + 1) == "::" && tokens.get(at + 2).is_some_and(Token::is_name) {
                    path.push(tokens[at + 2].text.clone());
                    at += 2;
                }
                inline.push((token.line, resolve(path, &here)));
            }
            _ => {}
        }
        at += 1;
    }
    for (line, path) in inline {
        match imports.get(&path[0]) {
            // What is of this crate was judged where it was imported.
            Some(full) => {
                let outside = full.iter().filter(|full| full[0] != "crate");
                found.extend(outside.map(|full| (line, [full, &path[1..]].concat())));
            }
            None => found.push((line, path)),
        }
    }
    found
}

/// Reads one tree of a `use` from `at` on; each path with the name it gets here. Returns where the tree ends.
fn use_tree(
    tokens: &[Token],
    mut at: usize,
    before: &[String],
    found: &mut Vec<(Segments, String)>,
) -> usize {
    let mut path = before.to_vec();
    loop {
        match text(tokens, at) {
            "::" => at += 1,
            "{" => {
                at += 1;
                while !matches!(text(tokens, at), "}" | "") {
                    at = use_tree(tokens, at, &path, found);
                    at += usize::from(text(tokens, at) == ",");
                }
                return at + 1;
            }
            "as" => {
                found.push((path, text(tokens, at + 1).to_owned()));
                return at + 2;
            }
            "," | "}" | ";" | "" => {
                let name = path.last().cloned().unwrap_or_default();
                found.push((path, name));
                return at;
            }
            // `use vision::{self, Face}`: the room itself.
            "self" if !path.is_empty() => at += 1,
            segment => {
                path.push(segment.to_owned());
                at += 1;
            }
        }
    }
}

/// Writes a path from the root of the crate, if it is one of this crate.
fn resolve(path: Segments, here: &[String]) -> Segments {
    let supers = path.iter().take_while(|segment| *segment == "super" || *segment == "self").count();
    let up = path[..supers].iter().filter(|segment| *segment == "super").count();
    let root = || vec!["crate".to_owned()];
    match path[0].as_str() {
        "crate" | "accessd" => [root(), path[1..].to_vec()].concat(),
        "self" | "super" => {
            [root(), here[..here.len().saturating_sub(up)].to_vec(), path[supers..].to_vec()].concat()
        }
        _ => path,
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Token {
    text: String,
    line: usize,
}

impl Token {
    fn is_name(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

fn text(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |token| &token.text)
}

/// Names, `::` and single signs of Rust source; comments, texts, characters and lifetimes are left out.
fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let is_word = |c: &char| c.is_alphanumeric() || *c == '_';
    let (mut found, mut at, mut line) = (Vec::new(), 0, 1);
    while at < chars.len() {
        let start = at;
        let next = chars.get(at + 1).copied().unwrap_or(' ');
        let mut word = String::new();
        match chars[at] {
            '/' if next == '/' => at = end_of(&chars, at, &['\n']),
            '/' if next == '*' => at = end_of_comment(&chars, at),
            '"' => at = end_of_text(&chars, at + 1, '"'),
            '\'' if next == '\\' || chars.get(at + 2) == Some(&'\'') => {
                at = end_of_text(&chars, at + 1, '\'')
            }
            '\'' => at += 1 + chars[at + 1..].iter().take_while(|c| is_word(c)).count(),
            ':' if next == ':' => {
                word = "::".into();
                at += 2;
            }
            c if is_word(&c) => {
                word = chars[at..].iter().take_while(|c| is_word(c)).collect();
                at += word.chars().count();
                let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
                let quoted = chars.get(at + hashes) == Some(&'"');
                if quoted && matches!(word.as_str(), "r" | "br" | "cr") {
                    let end: Vec<char> =
                        std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                    at = end_of(&chars, at + hashes + 1, &end);
                    word.clear();
                } else if word == "r" && hashes == 1 {
                    // A raw name: r#type.
                    at += 1;
                    word.clear();
                }
            }
            c => {
                if !c.is_whitespace() {
                    word.push(c);
                }
                at += 1;
            }
        }
        if !word.is_empty() {
            found.push(Token { text: word, line });
        }
        line += chars[start..at].iter().filter(|c| **c == '\n').count();
    }
    found
}

/// Where the first `end` from `at` on is over.
fn end_of(chars: &[char], at: usize, end: &[char]) -> usize {
    let ahead = chars[at..].windows(end.len()).position(|window| window == end);
    ahead.map_or(chars.len(), |ahead| at + ahead + end.len())
}

fn end_of_comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match chars.get(at..at + 2) {
            Some(['/', '*']) => depth += 1,
            Some(['*', '/']) => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    at
}

fn end_of_text(chars: &[char], mut at: usize, quote: char) -> usize {
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// Leaves out items under `#[test]` and `#[cfg(test)]`; the latter at the top of a file leaves nothing.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let whole_file = text(tokens, at) == "#" && text(tokens, at + 1) == "!";
        let bracket = at + 1 + usize::from(whole_file);
        if text(tokens, at) != "#" || text(tokens, bracket) != "[" {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let end = after_group(tokens, bracket);
        if !is_test(&tokens[bracket + 1..end - 1]) {
            kept.extend_from_slice(&tokens[at..end]);
        } else if whole_file {
            return Vec::new();
        } else {
            at = after_item(tokens, end);
            continue;
        }
        at = end;
    }
    kept
}

fn is_test(attribute: &[Token]) -> bool {
    let has = |word: &str| attribute.iter().any(|token| token.text == word);
    match text(attribute, 0) {
        "test" => true,
        "cfg" => has("test") && !has("not"),
        _ => false,
    }
}

/// The modules that a file declares for tests only (`#[cfg(test)] mod tests;`): their files are tests.
fn test_modules(source: &str) -> Vec<String> {
    let tokens = tokens(source);
    let declared = |from: &[Token]| -> BTreeSet<String> {
        let is_declared = |three: &&[Token]| three[0].text == "mod" && three[2].text == ";";
        from.windows(3).filter(is_declared).map(|three| three[1].text.clone()).collect()
    };
    declared(&tokens).difference(&declared(&without_tests(&tokens))).cloned().collect()
}

/// Where a group that opens at `at` is over.
fn after_group(tokens: &[Token], mut at: usize) -> usize {
    let mut depth = 0;
    while at < tokens.len() {
        match text(tokens, at) {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    at
}

/// Where an item (with further attributes) that begins at `at` is over: after its `;` or its braces.
fn after_item(tokens: &[Token], mut at: usize) -> usize {
    loop {
        match text(tokens, at) {
            "" | "}" => return at,
            ";" => return at + 1,
            "{" => return after_group(tokens, at),
            "(" | "[" => at = after_group(tokens, at),
            _ => at += 1,
        }
    }
}

/// Every source file but the test modules: path from the package's root and content, in order.
fn sources(root: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a source folder can be read") {
            let path = entry.expect("a source folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path
                    .strip_prefix(root)
                    .expect("it is below the root")
                    .to_string_lossy()
                    .replace('\\', "/");
                found.push((name, fs::read_to_string(&path).expect("a source file can be read")));
            }
        }
    }
    found.sort();
    let mut tests = Vec::new();
    for (file, source) in &found {
        for name in test_modules(source) {
            let module = [module_of(file), vec![name]].concat().join("/");
            tests.extend([format!("src/{module}.rs"), format!("src/{module}/")]);
        }
    }
    found.retain(|(file, _)| !tests.iter().any(|test| file.starts_with(test)));
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn document() -> Rules {
    let path = root().join("ARCHITECTURE.md");
    Rules::read(&fs::read_to_string(path).expect("ARCHITECTURE.md can be read"))
}

#[test]
fn every_import_follows_an_arrow_of_the_document() {
    let rules = document();
    let files = sources(root());
    assert!(files.len() > 20, "only {} source files found", files.len());
    let broken: Vec<_> = files.iter().flat_map(|(file, source)| rules.broken_by(file, source)).collect();
    assert!(
        broken.is_empty(),
        "{} imports go against ARCHITECTURE.md; turn the import around, or discuss the arrow there:\n{}",
        broken.len(),
        broken.join("\n")
    );
}

#[test]
fn the_document_and_the_tree_name_the_same_rooms() {
    let rules = document();
    let in_tree: BTreeSet<String> =
        sources(root()).iter().filter_map(|(file, _)| module_of(file).first().cloned()).collect();
    let mut in_document: BTreeSet<String> = rules.rooms.keys().cloned().collect();
    assert!(in_document.remove("main"), "the table says what `main` may import");
    assert_eq!(in_document, in_tree, "left: the table of ARCHITECTURE.md, right: src/");
    for (_, arrows) in rules.rooms {
        for arrow in arrows.into_iter().flatten() {
            assert!(
                in_tree.contains(&arrow[0]),
                "the table has an arrow to `{}`, which is no room",
                arrow[0]
            );
        }
    }
}

#[test]
fn the_places_the_document_names_are_there() {
    let rules = document();
    assert!(!rules.only_in.is_empty() && !rules.never.is_empty(), "both tables were read");
    let places =
        rules.only_in.iter().flat_map(|(_, places)| places).chain(rules.never.iter().map(|(place, _)| place));
    for place in places {
        assert!(root().join(place).exists(), "ARCHITECTURE.md speaks of {place}, which is not there");
    }
}

#[test]
fn every_arrow_of_the_document_is_followed() {
    let rules = document();
    let mut followed = BTreeSet::new();
    for (file, source) in sources(root()) {
        let module = module_of(&file);
        let Some(room) = module.first() else { continue };
        for (_, path) in paths(&source, &module).into_iter().filter(|(_, path)| path[0] == "crate") {
            followed.insert((room.clone(), path[1..].to_vec()));
        }
    }
    for (room, arrows) in rules.rooms.into_iter().filter(|(room, _)| room != "main") {
        for arrow in arrows.into_iter().flatten() {
            assert!(
                followed.iter().any(|(from, path)| *from == room && path.starts_with(&arrow)),
                "ARCHITECTURE.md lets `{room}` import `{}`, which it does not: take the arrow out",
                arrow.join("::")
            );
        }
    }
}

#[test]
fn arrows_between_whole_rooms_never_lead_back() {
    assert_eq!(document().cycle(), None);
}

/// The checker itself, on small sources.
mod checker {
    use super::*;

    const DOCUMENT: &str = "
| room | may import | why |
|---|---|---|
| `clock` | nothing | |
| `vision` | `clock` | |
| `encoder` | `vision::align` | |
| `access`, `gallery` | `clock`, `encoder` | |
| `store` | `gallery` | |
| `cli` | every room | |

| what | only in |
|---|---|
| `rusqlite` | `src/store/` |
| `Instant::now`, `clock_gettime` | `src/clock.rs` |

| where | never names |
|---|---|
| `src/access/` | `std::fs`, `std::thread` |
";

    fn broken(file: &str, source: &str) -> Vec<String> {
        Rules::read(DOCUMENT).broken_by(file, source)
    }

    #[test]
    fn a_wrong_arrow_is_found_however_it_is_written() {
        for source in [
            "use crate::store::Store;",
            "pub use crate::store::Store as Keeper;",
            "use crate::{clock::Clock, store::{self, Store}};",
            "use crate::store;\nfn f() { store::open() }",
            "use accessd::store::Store;",
            "use super::store::Store;",
            "mod inner { use super::super::store::Store; }",
            "fn f() { let s = crate::store::open(); }",
            "fn f(s: &dyn crate::store::Store) {}",
            "macro_rules! m { () => { $crate::store::open() } }",
            "html! { (crate::store::count()) }",
            "#[cfg(not(test))]\nuse crate::store::Store;",
            "fn f<'a>(x: &'a str) { crate::store::open(x, '\"', b'\\'') }",
        ] {
            let found = broken("src/access/mod.rs", source);
            assert!(
                found
                    .iter()
                    .any(|text| text.starts_with("src/access/mod.rs:") && text.contains("crate::store")),
                "{source:?} gave {found:?}"
            );
        }
    }

    #[test]
    fn the_message_says_where_what_and_what_is_allowed() {
        assert_eq!(
            broken("src/access/attempt.rs", "\n\nuse crate::store::Store;"),
            ["src/access/attempt.rs:3: crate::store::Store: `access` may import clock, encoder"]
        );
        assert_eq!(
            broken("src/clock.rs", "use crate::vision::Face;"),
            ["src/clock.rs:1: crate::vision::Face: `clock` may import nothing"]
        );
    }

    #[test]
    fn allowed_arrows_tests_comments_and_texts_are_let_through() {
        let source = r####"
            //! See [`crate::store::Store`]. /* not a comment's start
            use crate::clock::{Clock, MonoTime};
            use super::encoder::Score;
            use self::attempt::Attempts;
            /* crate::store::open() /* nested */ crate::store::open() */
            const TEXT: &str = "crate::store \" crate::store";
            const RAW: &str = r#"crate::store " crate::store"#;
            const SIGN: char = '"'; // crate::store
            pub(in crate::access) fn f() -> impl Sized + use<> {}
            #[cfg(test)]
            fn helper<A, B>(store: &crate::store::Store) -> [u8; 2] { crate::store::open() }
            #[cfg(test)]
            #[allow(dead_code, reason = "a test")]
            mod tests {
                use crate::store::Store;
                fn f() { std::fs::read("x"); }
            }
        "####;
        assert_eq!(broken("src/access/mod.rs", source), [""; 0]);
        assert_eq!(broken("src/access/tests.rs", "#![cfg(test)]\nuse crate::store::Store;"), [""; 0]);
        assert_eq!(broken("src/cli/run.rs", "use crate::store::Store;"), [""; 0]);
    }

    #[test]
    fn code_after_a_test_module_is_read_again() {
        let source = "#[cfg(test)]\nmod tests { fn f() {} }\nuse crate::store::Store;";
        assert_eq!(broken("src/access/mod.rs", source).len(), 1);
    }

    #[test]
    fn a_part_of_a_room_allows_that_part_alone() {
        assert_eq!(broken("src/encoder/mod.rs", "use crate::vision::align::AlignedCrop;"), [""; 0]);
        assert_eq!(broken("src/encoder/mod.rs", "use crate::vision::Face;").len(), 1);
        assert_eq!(broken("src/encoder/mod.rs", "use crate::vision;").len(), 1);
        assert_eq!(broken("src/encoder/mod.rs", "use crate::vision::{align::Crop, Face};").len(), 1);
    }

    #[test]
    fn unknown_rooms_and_globs_of_the_crate_are_refused() {
        assert!(broken("src/access/mod.rs", "use crate::cellar::Wine;")[0].contains("no room `cellar`"));
        assert!(
            broken("src/cellar/mod.rs", "use crate::clock::Clock;")[0]
                .contains("`cellar` is not in the table")
        );
        assert!(broken("src/access/mod.rs", "use crate::*;")[0].contains("name the room"));
    }

    #[test]
    fn crates_and_calls_stay_where_they_belong() {
        assert_eq!(broken("src/store/sqlite.rs", "use rusqlite::Connection;"), [""; 0]);
        assert_eq!(
            broken("src/cli/list.rs", "use rusqlite::{Connection, params};").len(),
            2,
            "one for each name that is imported"
        );
        for source in [
            "fn f() { std::time::Instant::now(); }",
            "use std::time::Instant;\nfn f() { Instant::now(); }",
            "use std::time::Instant as Moment;\nfn f() { Moment::now(); }",
            "use std::time;\nfn f() { time::Instant::now(); }",
            "use rustix::time::clock_gettime;",
        ] {
            assert_eq!(broken("src/vision/mod.rs", source).len(), 1, "{source:?}");
            assert_eq!(broken("src/clock.rs", source), [""; 0]);
        }
        assert_eq!(broken("src/vision/mod.rs", "use std::time::{Duration, Instant};"), [""; 0]);
    }

    #[test]
    fn pure_files_do_without_the_world() {
        for source in [
            "use std::fs;",
            "use std::{fs::File, time::Duration};",
            "fn f() { std::thread::sleep(D) }",
            "use std::thread as t;\nfn f() {}",
        ] {
            assert_eq!(broken("src/access/mod.rs", source).len(), 1, "{source:?}");
            assert_eq!(broken("src/gallery/mod.rs", source), [""; 0]);
        }
    }

    #[test]
    fn files_of_test_modules_are_found() {
        let source = "mod attempt;\n#[cfg(test)]\npub(crate) mod fakes;\n#[cfg(test)]\nmod tests { }";
        assert_eq!(test_modules(source), ["fakes"]);
    }

    #[test]
    fn a_way_back_between_whole_rooms_is_found_and_one_through_a_part_is_not() {
        let table = |rows: &str| Rules::read(&format!("| room | may import |\n|---|---|\n{rows}"));
        let back = table("| `a` | `b` |\n| `b` | `c` |\n| `c` | `b`, `a::x` |");
        assert_eq!(back.cycle(), Some(vec!["b".into(), "c".into(), "b".into()]));
        assert_eq!(table("| `a` | `b` |\n| `b` | `a::x` |").cycle(), None);
    }
}
