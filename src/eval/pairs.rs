//! The 1:1 protocol's list: which two images are compared, in the format of LFW View 2 (`pairs.txt`).
//!
//! ```text
//! FOLDS<tab>PER_FOLD              e.g. 10 300
//! NAME<tab>I<tab>J                two images of one person, PER_FOLD lines a fold
//! NAME<tab>I<tab>OTHER<tab>J      images of two people, PER_FOLD lines a fold, after the mated ones
//! ```
//!
//! Image I of NAME is `NAME/NAME_000I.jpg` under the folder of images.

use std::path::{Path, PathBuf};

use super::EvalError;

/// One comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// First image, an index into [`PairList::images`].
    pub a: usize,
    /// Second image, another one.
    pub b: usize,
    /// Whether both show one person.
    pub mated: bool,
    /// Its fold, from 0.
    pub fold: usize,
}

/// A whole list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairList {
    /// How many folds.
    pub folds: usize,
    /// All images named, each once, relative to the folder of images, in the order of first mention.
    pub images: Vec<PathBuf>,
    /// All comparisons, fold by fold.
    pub pairs: Vec<Pair>,
}

impl PairList {
    /// Reads and parses a list: a CSV when its name ends so, else the format of LFW View 2.
    ///
    /// # Errors
    /// When the file cannot be read, a line is wrong (with its number), or the counts are not those of the header.
    pub fn read(path: &Path) -> Result<Self, EvalError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| EvalError::Read { path: path.to_owned(), source })?;
        let is_csv = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
        if is_csv { super::pairs_csv::parse(&text, path) } else { Self::parse(&text, path) }
    }

    /// Parses a list; `path` is for messages.
    ///
    /// # Errors
    /// As for [`PairList::read`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, EvalError> {
        let list = |what: String| EvalError::List { path: path.to_owned(), what };
        let mut lines =
            text.lines().enumerate().map(|(i, l)| (i + 1, l)).filter(|(_, l)| !l.trim().is_empty());
        let (line, header) = lines
            .next()
            .ok_or_else(|| list("the list is empty; expected a header \"folds pairs_per_fold\"".into()))?;
        let (folds, per_fold) =
            header_counts(header).map_err(|what| EvalError::Line { path: path.to_owned(), line, what })?;
        let Some(wanted) = per_fold.checked_mul(2).and_then(|n| n.checked_mul(folds)) else {
            return Err(list(format!(
                "the header announces {folds} folds of {per_fold} pairs; that is too many"
            )));
        };
        let mut images = ImageTable::default();
        let mut pairs = Vec::new();
        for (line, text) in lines {
            let at = |what: String| EvalError::Line { path: path.to_owned(), line, what };
            let place = pairs.len();
            if place == wanted {
                return Err(at(format!(
                    "one pair more than the {wanted} that the header announces ({folds} folds × 2 × {per_fold})"
                )));
            }
            let (a, b, mated) = pair_images(text).map_err(at)?;
            let mated_expected = place % (2 * per_fold) < per_fold;
            if mated != mated_expected {
                let (is, should) =
                    if mated { ("one person", "two people") } else { ("two people", "one person") };
                return Err(at(format!(
                    "a pair of {is} where the header puts one of {should}: each fold holds {per_fold} pairs \"NAME I J\", then {per_fold} pairs \"NAME I OTHER J\""
                )));
            }
            if a == b {
                return Err(at("an image is paired with itself".into()));
            }
            pairs.push(Pair { a: images.index(a), b: images.index(b), mated, fold: place / (2 * per_fold) });
        }
        if pairs.len() < wanted {
            return Err(list(format!(
                "only {} of the {wanted} pairs that the header announces ({folds} folds × 2 × {per_fold}); is the file cut short?",
                pairs.len()
            )));
        }
        Ok(Self { folds, images: images.paths, pairs })
    }
}

/// Gives every path one number.
#[derive(Default)]
pub(super) struct ImageTable {
    pub(super) paths: Vec<PathBuf>,
    numbers: std::collections::HashMap<PathBuf, usize>,
}

impl ImageTable {
    pub(super) fn index(&mut self, path: PathBuf) -> usize {
        *self.numbers.entry(path).or_insert_with_key(|path| {
            self.paths.push(path.clone());
            self.paths.len() - 1
        })
    }
}

fn header_counts(header: &str) -> Result<(usize, usize), String> {
    let wrong = || {
        format!(
            "the header is {:?}; expected two counts, \"folds pairs_per_fold\", as in LFW View 2",
            header.trim()
        )
    };
    let fields: Vec<&str> = header.split_whitespace().collect();
    let [folds, per_fold] = fields[..] else { return Err(wrong()) };
    let folds: usize = folds.parse().map_err(|_| wrong())?;
    let per_fold: usize = per_fold.parse().map_err(|_| wrong())?;
    if folds < 2 {
        return Err(format!("{folds} folds; at least 2 are needed to choose a threshold on the others"));
    }
    if per_fold == 0 {
        return Err("0 pairs a fold; nothing would be compared".into());
    }
    Ok((folds, per_fold))
}

/// The two images of a line and whether they are of one person.
fn pair_images(line: &str) -> Result<(PathBuf, PathBuf, bool), String> {
    // Fields are separated by tabs; lists passed through an editor often have spaces instead.
    let fields: Vec<&str> = if line.contains('\t') {
        line.split('\t').map(str::trim).collect()
    } else {
        line.split_whitespace().collect()
    };
    match fields[..] {
        [name, i, j] => Ok((image_path(name, i)?, image_path(name, j)?, true)),
        [name, _, other, _] if name == other => {
            Err(format!("{name} is paired with {other} as if they were two people; write \"{name} I J\""))
        }
        [name, i, other, j] => Ok((image_path(name, i)?, image_path(other, j)?, false)),
        _ => Err(format!(
            "{} fields; expected \"NAME I J\" or \"NAME I OTHER J\" separated by tabs",
            fields.len()
        )),
    }
}

fn image_path(name: &str, number: &str) -> Result<PathBuf, String> {
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\']) {
        return Err(format!("{name:?} cannot be a person's folder"));
    }
    match number.parse::<u32>() {
        Ok(n @ 1..=9999) => Ok(Path::new(name).join(format!("{name}_{n:04}.jpg"))),
        _ => Err(format!("{number:?} is not an image number, 1 to 9999")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PairList, String> {
        PairList::parse(text, Path::new("pairs.txt")).map_err(|e| e.to_string())
    }

    const GOOD: &str = "2\t1\nAnn\t1\t2\nAnn\t1\tBob\t3\nBob\t3\t10\nBob\t3\tCy\t1\n";

    #[test]
    fn every_image_is_named_once_and_every_pair_has_its_fold() {
        let list = parse(GOOD).unwrap();
        let names: Vec<_> = list.images.iter().map(|p| p.display().to_string()).collect();
        assert_eq!(
            names,
            [
                "Ann/Ann_0001.jpg",
                "Ann/Ann_0002.jpg",
                "Bob/Bob_0003.jpg",
                "Bob/Bob_0010.jpg",
                "Cy/Cy_0001.jpg"
            ]
        );
        let of = |a, b, mated, fold| Pair { a, b, mated, fold };
        assert_eq!(
            list.pairs,
            [of(0, 1, true, 0), of(0, 2, false, 0), of(2, 3, true, 1), of(2, 4, false, 1)]
        );
        assert_eq!(list.folds, 2);
    }

    #[test]
    fn spaces_and_windows_line_ends_are_read_too() {
        assert_eq!(parse(&GOOD.replace('\t', " ")), parse(GOOD));
        assert_eq!(parse(&GOOD.replace('\n', "\r\n")), parse(GOOD));
    }

    #[test]
    fn bad_lists_say_what_is_wrong_and_where() {
        for (text, message) in [
            ("", "pairs.txt: the list is empty; expected a header \"folds pairs_per_fold\""),
            ("500\nAnn\t1\t2\n", "line 1: the header is \"500\"; expected two counts"),
            ("Ann\t1\t2\n", "line 1: the header is \"Ann\\t1\\t2\"; expected two counts"),
            ("ten 300\n", "line 1: the header is \"ten 300\""),
            ("1 300\n", "line 1: 1 folds; at least 2 are needed"),
            ("2 0\n", "line 1: 0 pairs a fold"),
            ("99999999999 9999999999999999999\n", "too many"),
            (
                "2 1\nAnn 1 2\nAnn 1 Bob 3\nBob 3 10\n",
                "only 3 of the 4 pairs that the header announces (2 folds × 2 × 1)",
            ),
            (
                "2 1\nAnn 1 2\nAnn 1 Bob 3\nBob 3 10\nBob 3 Cy 1\nAnn 1 2\n",
                "line 6: one pair more than the 4",
            ),
            ("2 1\nAnn 1\n", "line 2: 2 fields; expected \"NAME I J\""),
            ("2 1\nAnn 1 2 3 4\n", "line 2: 5 fields"),
            ("2 1\nAnn 1 x\n", "line 2: \"x\" is not an image number"),
            ("2 1\nAnn 0 1\n", "line 2: \"0\" is not an image number"),
            ("2 1\nAnn 1 10000\n", "line 2: \"10000\" is not an image number, 1 to 9999"),
            ("2 1\n../etc 1 2\n", "line 2: \"../etc\" cannot be a person's folder"),
            ("2 1\nAnn 1 1\n", "line 2: an image is paired with itself"),
            ("2 1\nAnn 1 Ann 2\n", "line 2: Ann is paired with Ann as if they were two people"),
            ("2 1\nAnn 1 Bob 2\n", "line 2: a pair of two people where the header puts one of one person"),
            (
                "2 1\n\nAnn 1 2\nAnn 1 3\n",
                "line 4: a pair of one person where the header puts one of two people",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(message), "{text:?} gave {error:?}, not {message:?}");
            assert!(error.starts_with("pairs.txt"), "{error}");
        }
    }

    #[test]
    fn a_missing_list_is_named() {
        let error = PairList::read(Path::new("/nowhere/pairs.txt")).unwrap_err();
        assert_eq!(error.to_string(), "/nowhere/pairs.txt cannot be read; give the path of a protocol file");
    }
}
