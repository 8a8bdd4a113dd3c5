//! The 1:N protocol's list: who is enrolled from which images, and which probes are then searched for.
//!
//! A CSV with the columns `role,identity,path` (in any order, more are ignored); `path` is relative to the folder of
//! images. Roles: `enrol`, a template of an enrolled person; `mated`, a probe of an enrolled person; `nonmated`, a
//! probe of somebody who is not.

use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};

use super::EvalError;
use super::pairs::ImageTable;

/// A probe of an enrolled person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatedProbe {
    /// An index into [`OpenSet::images`].
    pub image: usize,
    /// An index into [`OpenSet::people`].
    pub person: usize,
}

/// A whole protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSet {
    /// All images, each once, relative to the folder of images.
    pub images: Vec<PathBuf>,
    /// Who is enrolled, by name.
    pub people: Vec<String>,
    /// Each person's images, as indices into `images`.
    pub enrolled: Vec<Vec<usize>>,
    /// Probes of enrolled people.
    pub mated: Vec<MatedProbe>,
    /// Probes of others, as indices into `images`.
    pub nonmated: Vec<usize>,
    /// Who is on each of them.
    pub strangers: Vec<String>,
}

/// A line that was understood.
struct Row {
    line: usize,
    role: Role,
    identity: String,
    path: PathBuf,
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Enrol,
    Mated,
    Nonmated,
}

impl OpenSet {
    /// Reads and parses a protocol.
    ///
    /// # Errors
    /// When the file cannot be read, lacks a column, has a line that is wrong (with its number), or contradicts
    /// itself: a mated probe of nobody enrolled, a non-mated one of somebody enrolled, an image used twice.
    pub fn read(path: &Path) -> Result<Self, EvalError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| EvalError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Parses a protocol; `path` is for messages.
    ///
    /// # Errors
    /// As for [`OpenSet::read`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, EvalError> {
        let rows = rows(text, path)?;
        let mut by_name = BTreeMap::new();
        for row in rows.iter().filter(|r| r.role == Role::Enrol) {
            by_name.entry(row.identity.clone()).or_insert(0);
        }
        for (number, slot) in by_name.values_mut().enumerate() {
            *slot = number;
        }
        let mut set = Self {
            images: Vec::new(),
            people: by_name.keys().cloned().collect(),
            enrolled: vec![Vec::new(); by_name.len()],
            mated: Vec::new(),
            nonmated: Vec::new(),
            strangers: Vec::new(),
        };
        let mut table = ImageTable::default();
        let mut first_use: HashMap<PathBuf, usize> = HashMap::new();
        for row in rows {
            let at = |what: String| EvalError::Line { path: path.to_owned(), line: row.line, what };
            if let Some(earlier) = first_use.insert(row.path.clone(), row.line) {
                return Err(at(format!(
                    "{} is used on line {earlier} already; an image has one role",
                    row.path.display()
                )));
            }
            let image = table.index(row.path);
            match (row.role, by_name.get(&row.identity)) {
                (Role::Enrol, Some(person)) => set.enrolled[*person].push(image),
                (Role::Mated, Some(person)) => set.mated.push(MatedProbe { image, person: *person }),
                (Role::Nonmated, None) => {
                    set.nonmated.push(image);
                    set.strangers.push(row.identity);
                }
                (_, None) => {
                    return Err(at(format!(
                        "a mated probe of {}, who is not enrolled in this list",
                        row.identity
                    )));
                }
                (_, Some(_)) => {
                    return Err(at(format!("a non-mated probe of {}, who is enrolled", row.identity)));
                }
            }
        }
        set.images = table.paths;
        for (role, empty) in [
            ("enrol", set.people.is_empty()),
            ("mated", set.mated.is_empty()),
            ("nonmated", set.nonmated.is_empty()),
        ] {
            if empty {
                let what = format!("no line has the role {role}; an open-set test needs all three roles");
                return Err(EvalError::List { path: path.to_owned(), what });
            }
        }
        Ok(set)
    }
}

fn rows(text: &str, path: &Path) -> Result<Vec<Row>, EvalError> {
    let list = |what: String| EvalError::List { path: path.to_owned(), what };
    if text.trim().is_empty() {
        return Err(list("the list is empty; expected a CSV with the columns role,identity,path".into()));
    }
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|e| list(e.to_string()))?.clone();
    let column = |name: &str| {
        header.iter().position(|h| h == name).ok_or_else(|| {
            let found = header.iter().collect::<Vec<_>>().join(",");
            list(format!("no column {name:?} in the header ({found}); expected role,identity,path"))
        })
    };
    let (role, identity, image) = (column("role")?, column("identity")?, column("path")?);
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| list(e.to_string()))?;
        let line = record.position().map_or(0, |p| p.line() as usize);
        let at = |what: String| EvalError::Line { path: path.to_owned(), line, what };
        let field = |column: usize, name: &str| match record.get(column) {
            Some(value) if !value.is_empty() => Ok(value),
            _ => Err(at(format!("no {name}; expected role,identity,path"))),
        };
        let role = match field(role, "role")? {
            "enrol" => Role::Enrol,
            "mated" => Role::Mated,
            "nonmated" => Role::Nonmated,
            other => return Err(at(format!("role {other:?} is unknown; it is enrol, mated or nonmated"))),
        };
        let identity = field(identity, "identity")?.to_owned();
        let image = PathBuf::from(field(image, "path")?);
        if !image.components().all(|c| matches!(c, Component::Normal(_))) {
            return Err(at(format!(
                "path {} leads out of the folder of images; give a relative path",
                image.display()
            )));
        }
        rows.push(Row { line, role, identity, path: image });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<OpenSet, String> {
        OpenSet::parse(text, Path::new("set.csv")).map_err(|e| e.to_string())
    }

    const GOOD: &str = "role,identity,path\nenrol,Bob,b1.jpg\nenrol,Ann,a1.jpg\nenrol,Bob,b2.jpg\nmated,Bob,b3.jpg\nnonmated,Cy,c1.jpg\n";

    #[test]
    fn people_images_and_probes_are_put_together() {
        let set = parse(GOOD).unwrap();
        assert_eq!(set.people, ["Ann", "Bob"]);
        assert_eq!(set.enrolled, [vec![1], vec![0, 2]]);
        assert_eq!(set.mated, [MatedProbe { image: 3, person: 1 }]);
        assert_eq!(set.nonmated, [4]);
        assert_eq!(set.images[4], Path::new("c1.jpg"));
    }

    #[test]
    fn columns_may_stand_in_any_order_with_others_between() {
        let text = "path,note,identity,role\na1.jpg,x,Ann,enrol\na2.jpg,,Ann,mated\nc.jpg,,Cy,nonmated\n";
        assert_eq!(parse(text).unwrap().people, ["Ann"]);
    }

    #[test]
    fn bad_lists_say_what_is_wrong_and_where() {
        let after = |line: &str| format!("{GOOD}{line}\n");
        for (text, message) in [
            (String::new(), "set.csv: the list is empty"),
            ("role,path\nenrol,a.jpg\n".into(), "no column \"identity\" in the header (role,path)"),
            ("role,identity,path\n".into(), "no line has the role enrol"),
            ("role,identity,path\nenrol,Ann,a.jpg\n".into(), "no line has the role mated"),
            (
                "role,identity,path\nenrol,Ann,a.jpg\nmated,Ann,b.jpg\n".into(),
                "no line has the role nonmated",
            ),
            (
                after("probe,Ann,a9.jpg"),
                "set.csv line 7: role \"probe\" is unknown; it is enrol, mated or nonmated",
            ),
            (after("mated,Ann"), "line 7: no path"),
            (after("mated,,a9.jpg"), "line 7: no identity"),
            (after("mated,Dee,d.jpg"), "line 7: a mated probe of Dee, who is not enrolled"),
            (after("nonmated,Ann,a9.jpg"), "line 7: a non-mated probe of Ann, who is enrolled"),
            (after("mated,Ann,a1.jpg"), "line 7: a1.jpg is used on line 3 already"),
            (after("mated,Ann,../a9.jpg"), "line 7: path ../a9.jpg leads out of the folder"),
            (after("mated,Ann,/a9.jpg"), "line 7: path /a9.jpg leads out of the folder"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(message), "{text:?} gave {error:?}, not {message:?}");
        }
    }

    #[test]
    fn a_missing_list_is_named() {
        let error = OpenSet::read(Path::new("/nowhere/set.csv")).unwrap_err();
        assert!(error.to_string().starts_with("/nowhere/set.csv cannot be read"));
    }
}
