//! The tests that SECURITY.md and docs/complaints.md name are there. A threat whose test was renamed or taken out is guarded by nothing.

use std::fs;
use std::path::{Path, PathBuf};

/// `module::name` of each test that a table of the page names.
fn named(page: &str) -> Vec<(String, String)> {
    let rows = page.lines().filter(|line| line.starts_with('|'));
    let words =
        rows.filter_map(|row| row.trim_end_matches('|').rsplit('|').next()).flat_map(|last| last.split('`'));
    let tests = words.filter_map(|word| word.split_once("::"));
    tests.map(|(module, name)| (module.to_owned(), name.to_owned())).collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a source folder can be read") {
        let path = entry.expect("a source folder can be read").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// Whether `path` is the module: `seal` is `src/seal/mod.rs` and `src/seal.rs`.
fn is_module(path: &Path, module: &str) -> bool {
    let stem = |path: &Path| path.file_stem().is_some_and(|stem| stem == module);
    stem(path) || (path.ends_with("mod.rs") || path.ends_with("tests.rs")) && path.parent().is_some_and(stem)
}

#[test]
fn every_test_that_the_pages_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    sources(&root.join("tests"), &mut files);
    for page in ["SECURITY.md", "docs/complaints.md"] {
        let text = fs::read_to_string(root.join(page)).expect("the page can be read");
        let tests = named(&text);
        assert!(tests.len() > 15, "only {} tests were found in {page}", tests.len());
        for (module, name) in tests {
            let begin = format!("fn {name}(");
            let is_there = |path: &PathBuf| {
                let source = fs::read_to_string(path).unwrap_or_default();
                let before = source.split_once(&begin).map_or("", |(before, _)| before);
                let marks = before.rsplit("\n\n").next().unwrap_or_default();
                is_module(path, &module) && (marks.contains("#[test]") || marks.contains("#[tokio::test]"))
            };
            assert!(files.iter().any(is_there), "{page} names {module}::{name}, which is no test");
        }
    }
}

#[test]
fn names_are_read_from_the_last_column_alone() {
    let page = "`a::b`\n| x | `no::such` | `store::one`, `seal::two` |\n|---|---|---|\n| y | z | |\n";
    let expected = [("store", "one"), ("seal", "two")].map(|(m, n)| (m.to_owned(), n.to_owned()));
    assert_eq!(named(page), expected);
}
