//! Measures a cohort: every face against every other person of its set and against the rest of its own person's
//! pictures, for people with one template and with several.

use std::collections::{BTreeMap, HashSet};
use std::path::{Component, Path, PathBuf};

use super::EvalError;
use crate::calibration::cohort::{Cohort, Point, Source, Tail};
use crate::encoder::matrix::Matrix;
use crate::encoder::{Embedding, ModelId};

/// Templates a person, for which errors are counted.
const TEMPLATES: [usize; 5] = [1, 2, 3, 5, 10];
/// Groups of people for the jackknife.
const GROUPS: usize = 20;
/// Thresholds, in hundredths: from −0.2 to 1.
const FIRST: i32 = -20;
const STEPS: usize = 120;
/// Pairs of people that are named.
const CLOSEST: usize = 20;
/// Points with a greater FMR than this are of no use to a door.
const LARGEST_FMR: f64 = 0.1;

/// Pictures of known people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeopleSet {
    /// All pictures, each once, relative to the folder of images.
    pub images: Vec<PathBuf>,
    /// Whose each is.
    pub person: Vec<usize>,
    /// Names.
    pub people: Vec<String>,
    /// Whether the list says which fold a person is in.
    pub folded: bool,
}

/// Names of two people who must not be compared: one person under two names, or pictures of one filed under the other.
pub type Except = HashSet<(String, String)>;

impl PeopleSet {
    /// Reads a CSV with the columns `identity,path`, or `identity` alone, which stands for every picture in the
    /// folder of that name under `images`. Where there is a column `fold` and `folds` are
    /// given, only lines with one of them count. People in `without` are left out.
    ///
    /// # Errors
    /// When it cannot be read, lacks a column, has a line that is wrong, or names fewer than two people.
    pub fn read(
        list: &Path,
        images: &Path,
        folds: &[String],
        without: &HashSet<String>,
    ) -> Result<Self, EvalError> {
        let wrong = |what: String| EvalError::List { path: list.to_owned(), what };
        let mut rows = rows(list, &["identity"], &["path", "fold"])?;
        let folded = rows.iter().any(|row| row.values[2].is_some());
        if folded && !folds.is_empty() {
            rows.retain(|row| row.values[2].as_ref().is_some_and(|fold| folds.contains(fold)));
        }
        rows.retain(|row| row.values[0].as_ref().is_some_and(|name| !without.contains(name)));
        let mut of: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for row in rows {
            let [name, path, _] = row.values;
            let name = name.expect("a column that is needed");
            let inside = Path::new(path.as_ref().unwrap_or(&name)).components();
            if !inside.into_iter().all(|c| matches!(c, Component::Normal(_))) {
                let what = "leads out of the folder of images; give a relative path".to_owned();
                return Err(EvalError::Line { path: list.to_owned(), line: row.line, what });
            }
            match path {
                Some(path) => of.entry(name).or_default().push(path.into()),
                None => of.entry(name.clone()).or_default().extend(pictures(images, &name)?),
            }
        }
        let mut set = Self { images: Vec::new(), person: Vec::new(), people: Vec::new(), folded };
        for (person, (name, images)) in of.into_iter().enumerate() {
            set.person.extend(images.iter().map(|_| person));
            set.images.extend(images);
            set.people.push(name);
        }
        if set.people.len() < 2 {
            return Err(wrong(format!(
                "{} people; at least two are needed to be compared",
                set.people.len()
            )));
        }
        Ok(set)
    }
}

/// Reads the names in a CSV's column `identity`.
///
/// # Errors
/// When it cannot be read, or lacks the column or a value.
pub fn read_people(list: &Path) -> Result<HashSet<String>, EvalError> {
    let names = rows(list, &["identity"], &[])?.into_iter().map(|row: Row<1>| row.values);
    Ok(names.flatten().flatten().collect())
}

/// Reads a CSV of pairs of names with the columns `a,b`.
///
/// # Errors
/// When it cannot be read, or lacks a column or a value.
pub fn read_except(list: &Path) -> Result<Except, EvalError> {
    let rows = rows(list, &["a", "b"], &[])?;
    let pair = |row: Row<2>| row.values.map(|name| name.expect("a column that is needed"));
    Ok(rows.into_iter().map(pair).flat_map(|[a, b]| [(a.clone(), b.clone()), (b, a)]).collect())
}

struct Row<const N: usize> {
    line: usize,
    values: [Option<String>; N],
}

/// The lines of a CSV as values of the columns that must and that may be there.
fn rows<const N: usize>(path: &Path, needed: &[&str], optional: &[&str]) -> Result<Vec<Row<N>>, EvalError> {
    let list = |what: String| EvalError::List { path: path.to_owned(), what };
    let text =
        std::fs::read_to_string(path).map_err(|source| EvalError::Read { path: path.to_owned(), source })?;
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|e| list(e.to_string()))?.clone();
    let mut columns = [None; N];
    for (slot, name) in columns.iter_mut().zip(needed.iter().chain(optional)) {
        *slot = header.iter().position(|h| h == *name);
        if slot.is_none() && needed.contains(name) {
            let (found, wanted) = (header.iter().collect::<Vec<_>>().join(","), needed.join(","));
            return Err(list(format!("no column {name:?} in the header ({found}); expected {wanted}")));
        }
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| list(e.to_string()))?;
        let line = record.position().map_or(0, |p| p.line() as usize);
        let mut values = [const { None }; N];
        for (value, column) in values.iter_mut().zip(columns) {
            let Some(column) = column else { continue };
            let text = record.get(column).filter(|text| !text.is_empty());
            let missing = || format!("no {}", header.get(column).unwrap_or_default());
            let text =
                text.ok_or_else(|| EvalError::Line { path: path.to_owned(), line, what: missing() })?;
            *value = Some(text.to_owned());
        }
        rows.push(Row { line, values });
    }
    Ok(rows)
}

/// The pictures in one person's folder, relative to `images`, in order.
fn pictures(images: &Path, name: &str) -> Result<Vec<PathBuf>, EvalError> {
    let folder = images.join(name);
    let unread = |source| EvalError::Folder { path: folder.clone(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(unread)? {
        let file = PathBuf::from(entry.map_err(unread)?.file_name());
        let kind = file.extension().map(|e| e.to_string_lossy().to_lowercase());
        if matches!(kind.as_deref(), Some("jpg" | "jpeg" | "png" | "pgm" | "ppm")) {
            found.push(Path::new(name).join(file));
        }
    }
    found.sort();
    Ok(found)
}

/// Two people of a set with the highest score of their pictures. At the top of this list are kin, and one person under
/// two names.
#[derive(Clone, Debug, PartialEq)]
pub struct Closest {
    /// The one.
    pub a: String,
    /// The other.
    pub b: String,
    /// Their highest score, rounded down to hundredths.
    pub score: f32,
}

/// Counts the errors of a model on sets of people, and names the closest pairs; embeddings stand in the order of each
/// set's images, and those without a face are left out.
pub fn measure(
    model: ModelId,
    sets: &[(String, PeopleSet, Vec<Option<Embedding>>)],
    except: &Except,
) -> (Cohort, Vec<Closest>) {
    let mut closest = Vec::new();
    let mut tallies = TEMPLATES.map(Tally::new);
    let mut sources = Vec::new();
    for (name, set, embeddings) in sets {
        let faces: Vec<(usize, &Embedding)> =
            set.person.iter().zip(embeddings).filter_map(|(&p, e)| e.as_ref().map(|e| (p, e))).collect();
        sources.push(Source {
            name: name.clone(),
            people: faces.iter().map(|(p, _)| p).collect::<HashSet<_>>().len(),
            images: faces.len(),
        });
        compare_all(set, &faces, except, &mut tallies);
        closest.extend(tallies[0].closest(set));
        tallies.iter_mut().for_each(Tally::end);
    }
    closest.sort_by(|a, b| b.score.total_cmp(&a.score));
    closest.truncate(CLOSEST);
    let tails = tallies.into_iter().filter(|tally| tally.impostors() > 0).map(|tally| tally.tail()).collect();
    (Cohort { model, sources, tails }, closest)
}

fn compare_all(
    set: &PeopleSet,
    faces: &[(usize, &Embedding)],
    except: &Except,
    tallies: &mut [Tally; TEMPLATES.len()],
) {
    let all = faces.iter().map(|(_, e)| *e).collect::<Vec<_>>();
    let matrix = Matrix::new(all.iter().copied());
    let mut of = vec![Vec::new(); set.people.len()];
    faces.iter().enumerate().for_each(|(i, (person, _))| of[*person].push(i));
    let strangers = |a: usize, b: usize| !except.contains(&(set.people[a].clone(), set.people[b].clone()));
    let allowed: Vec<Vec<bool>> = if except.is_empty() {
        Vec::new()
    } else {
        (0..of.len()).map(|a| (0..of.len()).map(|b| strangers(a, b)).collect()).collect()
    };
    tallies.iter_mut().for_each(|tally| tally.begin(of.len()));
    let mut cosines = vec![0.0; faces.len()];
    for (probe, (person, embedding)) in faces.iter().enumerate() {
        matrix.cosines(embedding, 0..faces.len(), &mut cosines);
        for (other, images) in of.iter().enumerate() {
            if !allowed.is_empty() && !allowed[*person][other] {
                continue;
            }
            for tally in tallies.iter_mut() {
                for block in images.chunks_exact(tally.templates).filter(|block| !block.contains(&probe)) {
                    let best = block.iter().map(|i| cosines[*i]).fold(f32::NEG_INFINITY, f32::max);
                    tally.count(*person, other, best);
                }
            }
        }
    }
}

/// Scores counted by step, for each pair of groups of people.
struct Tally {
    templates: usize,
    /// Group × group × step.
    impostor: Vec<u64>,
    /// Group × step.
    genuine: Vec<u64>,
    /// Pairs of people by the step of their highest score.
    pairs: Vec<usize>,
    /// Of the set at hand: the step of each pair's highest score, and how many people.
    highest: (Vec<u8>, usize),
}

impl Tally {
    fn new(templates: usize) -> Self {
        let (impostor, genuine) = (vec![0; GROUPS * GROUPS * STEPS], vec![0; GROUPS * STEPS]);
        Self { templates, impostor, genuine, pairs: vec![0; STEPS], highest: (Vec::new(), 0) }
    }

    fn begin(&mut self, people: usize) {
        self.highest = (vec![0; people * people], people);
    }

    fn count(&mut self, person: usize, other: usize, score: f32) {
        let step = ((score * 100.0).floor() as i32 - FIRST).clamp(0, STEPS as i32 - 1) as usize;
        if person == other {
            self.genuine[person % GROUPS * STEPS + step] += 1;
            return;
        }
        self.impostor[(person % GROUPS * GROUPS + other % GROUPS) * STEPS + step] += 1;
        let (highest, people) = &mut self.highest;
        let pair = &mut highest[person.min(other) * *people + person.max(other)];
        *pair = (*pair).max(step as u8);
    }

    fn closest(&self, set: &PeopleSet) -> Vec<Closest> {
        let (highest, people) = &self.highest;
        let mut by_step: Vec<(u8, usize)> =
            highest.iter().copied().zip(0..).filter(|(step, _)| *step > 0).collect();
        by_step.sort_by_key(|(step, at)| (std::cmp::Reverse(*step), *at));
        let name = |at: usize| set.people[at].clone();
        let pair = |(step, at): &(u8, usize)| {
            let score = (FIRST + i32::from(*step)) as f32 / 100.0;
            Closest { a: name(at / people), b: name(at % people), score }
        };
        by_step.iter().take(CLOSEST).map(pair).collect()
    }

    fn end(&mut self) {
        let (highest, people) = std::mem::take(&mut self.highest);
        for a in 0..people {
            highest[a * people + a + 1..(a + 1) * people]
                .iter()
                .for_each(|step| self.pairs[usize::from(*step)] += 1);
        }
    }

    fn impostors(&self) -> u64 {
        self.impostor.iter().sum()
    }

    fn tail(&self) -> Tail {
        let impostor = |a: usize, b: usize| &self.impostor[(a * GROUPS + b) * STEPS..][..STEPS];
        let genuine = |a: usize| &self.genuine[a * STEPS..][..STEPS];
        let everybody = |left_out: Option<usize>| {
            let groups: Vec<usize> = (0..GROUPS).filter(|g| Some(*g) != left_out).collect();
            let strangers = groups.iter().flat_map(|a| groups.iter().map(|b| impostor(*a, *b)));
            let twins = groups.iter().map(|a| genuine(*a));
            let fnmr = from_above(sums(twins)).into_iter().map(|at_or_above| 1.0 - at_or_above).collect();
            (from_above(sums(strangers)), fnmr)
        };
        let (fmr, fnmr) = everybody(None);
        let without: Vec<Shares> = (0..GROUPS).map(|g| everybody(Some(g))).collect();
        let error = |of: &dyn Fn(&Shares) -> f64| {
            let values: Vec<f64> = without.iter().map(of).collect();
            let mean = values.iter().sum::<f64>() / GROUPS as f64;
            let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
            ((GROUPS - 1) as f64 / GROUPS as f64 * squares).sqrt()
        };
        let mut points: Vec<Point> = (0..STEPS)
            .map(|step| Point {
                score: (FIRST + step as i32) as f32 / 100.0,
                fmr: rounded(fmr[step]),
                fmr_se: rounded(error(&|(fmr, _)| fmr[step])),
                pairs: self.pairs[step..].iter().sum(),
                fnmr: rounded(fnmr[step]),
                fnmr_se: rounded(error(&|(_, fnmr)| fnmr[step])),
            })
            .filter(|point| point.fmr <= LARGEST_FMR)
            .collect();
        // One point after the last that anybody reached tells that nobody did.
        let end = points.iter().position(|p| p.pairs == 0).map_or(points.len(), |i| i + 1);
        points.truncate(end);
        Tail {
            templates: self.templates,
            impostors: self.impostors(),
            genuine: self.genuine.iter().sum(),
            points,
        }
    }
}

/// For each step the share of impostors that reach it, and of genuine looks that do not.
type Shares = (Vec<f64>, Vec<f64>);

/// To four digits, which is more than is known.
fn rounded(share: f64) -> f64 {
    format!("{share:.3e}").parse().expect("a number was written")
}

fn sums<'a>(all: impl Iterator<Item = &'a [u64]>) -> [u64; STEPS] {
    all.fold([0; STEPS], |mut sums, counts| {
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        sums
    })
}

/// The share of all counts that stand at a step or after it.
fn from_above(counts: [u64; STEPS]) -> Vec<f64> {
    let total = counts.iter().sum::<u64>().max(1) as f64;
    let mut above: u64 = counts.iter().sum();
    let mut shares = Vec::with_capacity(STEPS);
    for count in counts {
        shares.push(above as f64 / total);
        above -= count;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::testing::{at, touch};

    fn set(people: &[(&str, &[f32])]) -> (String, PeopleSet, Vec<Option<Embedding>>) {
        let mut set = PeopleSet { images: Vec::new(), person: Vec::new(), people: Vec::new(), folded: false };
        let mut faces = Vec::new();
        for (person, (name, degrees)) in people.iter().enumerate() {
            set.people.push((*name).into());
            for d in *degrees {
                set.images.push(format!("{name}/{d}").into());
                set.person.push(person);
                faces.push(d.is_finite().then(|| at(*d)));
            }
        }
        ("drawn".into(), set, faces)
    }

    fn point(tail: &Tail, score: f32) -> &Point {
        tail.points.iter().find(|p| (p.score - score).abs() < 1e-6).unwrap()
    }

    #[test]
    fn errors_counted_by_hand() {
        // Two far from each other, one of them with two pictures; a third near the first; one picture without a face.
        let people = [("Ann", &[0.0, 20.0][..]), ("Bob", &[180.0]), ("Cy", &[40.5, f32::NAN])];
        let (cohort, closest) = measure(ModelId("m@1".into()), &[set(&people)], &Except::new());
        assert_eq!((cohort.sources[0].people, cohort.sources[0].images), (3, 4));
        let tail = &cohort.tails[0];
        // Ann–Bob 2 × 2, Ann–Cy 2 × 2, Bob–Cy 2.
        assert_eq!((tail.templates, tail.impostors, tail.genuine), (1, 10, 2));
        assert_eq!((closest[0].a.as_str(), closest[0].b.as_str()), ("Ann", "Cy"));
        assert!((closest[0].score - 0.93).abs() < 1e-6, "cos 20.5°");
        assert!(tail.points.iter().all(|p| p.fmr <= LARGEST_FMR));
        let last = tail.points.last().unwrap();
        assert_eq!((last.pairs, last.fmr), (0, 0.0), "the end of what was seen is told");
        assert_eq!(point(tail, 0.94).fnmr, 1.0, "Ann's pictures score 0.9397");
        // Her two pictures as one template set: probes of Bob and Cy, nobody left of her own.
        let two = &cohort.tails[1];
        assert_eq!((two.templates, two.impostors, two.genuine), (2, 2, 0));
    }

    #[test]
    fn who_is_one_person_is_not_compared() {
        let people = [("Ann", &[0.0][..]), ("Anne", &[0.5]), ("Bob", &[90.0])];
        let except = Except::from([("Ann".into(), "Anne".into()), ("Anne".into(), "Ann".into())]);
        let (cohort, closest) = measure(ModelId("m@1".into()), &[set(&people)], &except);
        assert_eq!(cohort.tails[0].impostors, 4);
        assert_ne!((closest[0].a.as_str(), closest[0].b.as_str()), ("Ann", "Anne"));
    }

    #[test]
    fn lists_name_pictures_or_whole_folders() {
        let folder = tempfile::tempdir().unwrap();
        touch(folder.path(), &["Ann/2.jpg", "Ann/1.JPG", "Ann/notes.txt", "Bob/1.png", "Cy/1.png"]);
        let list = folder.path().join("people.csv");
        let read = |text: &str, folds: &[&str], without: &[&str]| {
            std::fs::write(&list, text).unwrap();
            let folds: Vec<String> = folds.iter().map(|f| (*f).into()).collect();
            let without = without.iter().map(|w| (*w).into()).collect();
            PeopleSet::read(&list, folder.path(), &folds, &without).map_err(|e| e.to_string())
        };
        let set = read("identity,fold\nAnn,1\nBob,2\nCy,3\n", &["1", "2"], &[]).unwrap();
        assert_eq!(set.people, ["Ann", "Bob"]);
        assert_eq!(set.images, ["Ann/1.JPG", "Ann/2.jpg", "Bob/1.png"].map(PathBuf::from));
        assert_eq!(set.person, [0, 0, 1]);
        let set = read("path,identity\nx.png,B\ny.png,A\nz.png,B\n", &["1"], &[]).unwrap();
        assert_eq!((set.people.len(), set.person, set.folded), (2, vec![0, 1, 1], false));
        assert_eq!(read("identity\nAnn\nBob\nCy\n", &[], &["Bob"]).unwrap().people, ["Ann", "Cy"]);
        for (text, message) in [
            ("name\nAnn\n", "no column \"identity\" in the header (name)"),
            ("identity\nAnn\n", "1 people; at least two"),
            ("identity,path\nAnn,\n", "line 2: no path"),
            ("identity\nAnn\nDot\n", "Dot cannot be read; is --images the folder"),
            ("identity,path\nAnn,../a.png\nBob,b.png\n", "line 2: leads out of the folder"),
        ] {
            let error = read(text, &[], &[]).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
