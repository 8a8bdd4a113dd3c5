//! The 1:1 protocol's list as a CSV, for people whose pictures are not named as LFW names its own: columns `a,b,same`
//! and, if wanted, `fold`. Paths are relative to the folder of images; `same` is 1 or 0. Without folds the pairs of
//! each kind are dealt out to ten in turn.

use std::path::{Component, Path, PathBuf};

use super::EvalError;
use super::pairs::{ImageTable, Pair, PairList};

/// Folds when the list has none.
const FOLDS: usize = 10;

/// Parses a list; `path` is for messages.
///
/// # Errors
/// When a column is missing, a line is wrong, or a fold lacks pairs of one kind.
pub(super) fn parse(text: &str, path: &Path) -> Result<PairList, EvalError> {
    let list = |what: String| EvalError::List { path: path.to_owned(), what };
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|e| list(e.to_string()))?.clone();
    let column = |name: &str| header.iter().position(|h| h == name);
    let need = |name: &str| {
        let found = header.iter().collect::<Vec<_>>().join(",");
        column(name)
            .ok_or_else(|| list(format!("no column {name:?} in the header ({found}); expected a,b,same")))
    };
    let (a, b, same, fold) = (need("a")?, need("b")?, need("same")?, column("fold"));
    let mut images = ImageTable::default();
    let mut pairs: Vec<Pair> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| list(e.to_string()))?;
        let line = record.position().map_or(0, |p| p.line() as usize);
        let at = |what: String| EvalError::Line { path: path.to_owned(), line, what };
        let field = |column: usize, name: &str| match record.get(column) {
            Some(value) if !value.is_empty() => Ok(value),
            _ => Err(at(format!("no {name}; expected a,b,same"))),
        };
        let mated = match field(same, "same")? {
            "1" | "true" => true,
            "0" | "false" => false,
            other => return Err(at(format!("same is {other:?}; it is 1 for one person, 0 for two"))),
        };
        let image = |column, name| {
            let image = PathBuf::from(field(column, name)?);
            match image.components().all(|c| matches!(c, Component::Normal(_))) {
                true => Ok(image),
                false => Err(at(format!(
                    "path {} leads out of the folder of images; give a relative path",
                    image.display()
                ))),
            }
        };
        let (first, second) = (image(a, "a")?, image(b, "b")?);
        if first == second {
            return Err(at("an image is paired with itself".into()));
        }
        let number = match fold {
            Some(column) => {
                let name = field(column, "fold")?;
                names.iter().position(|n| n == name).unwrap_or_else(|| {
                    names.push(name.to_owned());
                    names.len() - 1
                })
            }
            None => pairs.iter().filter(|p| p.mated == mated).count() % FOLDS,
        };
        pairs.push(Pair { a: images.index(first), b: images.index(second), mated, fold: number });
    }
    let folds = pairs.iter().map(|p| p.fold + 1).max().unwrap_or(0);
    if folds < 2 {
        return Err(list(
            "fewer than 2 folds; at least 2 are needed to choose a threshold on the others".into(),
        ));
    }
    for fold in 0..folds {
        let has = |mated| pairs.iter().any(|p| p.fold == fold && p.mated == mated);
        if !(has(true) && has(false)) {
            return Err(list(format!("fold {} lacks pairs of one kind; every fold needs both", fold + 1)));
        }
    }
    pairs.sort_by_key(|p| p.fold);
    Ok(PairList { folds, images: images.paths, pairs })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<PairList, String> {
        parse(text, Path::new("pairs.csv")).map_err(|e| e.to_string())
    }

    #[test]
    fn pairs_come_with_their_folds_or_are_dealt_out() {
        let list =
            parsed("fold,a,b,same\nx,1.jpg,2.jpg,1\nx,1.jpg,3.jpg,0\ny,2.jpg,4.jpg,1\ny,2.jpg,3.jpg,0\n")
                .unwrap();
        assert_eq!((list.folds, list.images.len(), list.pairs.len()), (2, 4, 4));
        assert_eq!(list.pairs[3], Pair { a: 1, b: 2, mated: false, fold: 1 });
        let mut text = "same,b,a\n".to_owned();
        for i in 0..30 {
            text += &format!("{},b{i}.jpg,a{i}.jpg\n", i % 2);
        }
        let list = parsed(&text).unwrap();
        assert_eq!(list.folds, 10);
        assert_eq!(list.pairs.iter().filter(|p| p.fold == 0).count(), 4, "15 of each kind over ten folds");
    }

    #[test]
    fn bad_lists_say_what_is_wrong() {
        for (text, message) in [
            ("a,b\n1,2\n", "no column \"same\" in the header (a,b)"),
            ("a,b,same\n1,2,yes\n", "line 2: same is \"yes\"; it is 1 for one person"),
            ("a,b,same\n1,../2,1\n", "line 2: path ../2 leads out"),
            ("a,b,same\n1,1,1\n", "line 2: an image is paired with itself"),
            ("a,b,same\n1,2,1\n1,3,0\n", "fewer than 2 folds"),
            ("a,b,same,fold\n1,2,1,x\n1,3,0,y\n", "fold 1 lacks pairs of one kind"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(message), "{text:?} gave {error:?}");
        }
    }
}
