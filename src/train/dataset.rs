//! Whose face is in which file: a folder per person, or a CSV with `identity,path` and optional landmarks; and who is
//! trained on and who is held back. Files → [`Dataset`] → [`Parts`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::TrainError;
use super::random::{Purpose, Random};
use super::settings::{DataSettings, Split};
use crate::vision::Landmarks;

/// One picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// The file.
    pub path: PathBuf,
    /// An index into [`Dataset::people`].
    pub person: usize,
    /// Five points in its pixels, image-left eye first, when the list has them.
    pub landmarks: Option<Landmarks>,
}

/// All pictures of known people.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Where it came from.
    pub source: PathBuf,
    /// Names.
    pub people: Vec<String>,
    /// Pictures, person by person.
    pub pictures: Vec<Picture>,
}

/// The columns of landmarks in a CSV: right eye of the person (left in the picture), left eye, nose, mouth corners.
const LANDMARKS: [[&str; 2]; 5] = [
    ["lm_rex", "lm_rey"],
    ["lm_lex", "lm_ley"],
    ["lm_nx", "lm_ny"],
    ["lm_mrx", "lm_mry"],
    ["lm_mlx", "lm_mly"],
];

/// Names of pictures.
const ENDINGS: [&str; 6] = ["pgm", "ppm", "pnm", "png", "jpg", "jpeg"];

impl Dataset {
    /// Reads a folder with a folder per person, a folder with `labels.csv`, or a CSV file.
    ///
    /// # Errors
    /// When there is nothing to read, fewer than two people, or a line of the CSV is wrong.
    pub fn read(source: &Path) -> Result<Self, TrainError> {
        let list = source.join("labels.csv");
        let set = match source.metadata() {
            Err(e) => return Err(TrainError::File { path: source.to_owned(), doing: "read", source: e }),
            Ok(meta) if meta.is_file() => Self::from_csv(source)?,
            Ok(_) if list.is_file() => Self::from_csv(&list)?,
            Ok(_) => Self::from_folders(source)?,
        };
        match set.people.len() {
            0 => Err(TrainError::Data(format!(
                "{}: no pictures in it; expected one folder for each person with PGM, PNG or JPEG files, or a CSV with the columns identity,path",
                source.display()
            ))),
            1 => Err(TrainError::Data(format!(
                "{}: only one person ({}); telling people apart takes at least two",
                source.display(),
                set.people[0]
            ))),
            _ => Ok(set),
        }
    }

    /// What it is called: the folder's name, or the list's where that is no `labels.csv`.
    pub fn name(&self) -> String {
        let named = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let own = named(&self.source).filter(|name| name != "labels.csv");
        own.or_else(|| named(self.source.parent()?)).unwrap_or_else(|| "pictures".into())
    }

    fn new(source: &Path, by_name: BTreeMap<Natural, Vec<(PathBuf, Option<Landmarks>)>>) -> Self {
        let mut set = Self { source: source.to_owned(), people: Vec::new(), pictures: Vec::new() };
        for (person, (name, pictures)) in by_name.into_iter().enumerate() {
            set.people.push(name.0);
            set.pictures.extend(pictures.into_iter().map(|(path, landmarks)| Picture {
                path,
                person,
                landmarks,
            }));
        }
        set
    }

    fn from_folders(root: &Path) -> Result<Self, TrainError> {
        let mut by_name = BTreeMap::new();
        for folder in entries(root)? {
            let Some(name) = folder.file_name().and_then(|n| n.to_str()) else { continue };
            if !folder.is_dir() || name.starts_with('.') {
                continue;
            }
            let is_picture = |path: &PathBuf| {
                let ending = path.extension().and_then(|e| e.to_str()).map(str::to_lowercase);
                path.is_file() && ending.is_some_and(|e| ENDINGS.contains(&e.as_str()))
            };
            let mut files: Vec<PathBuf> = entries(&folder)?.into_iter().filter(is_picture).collect();
            files.sort_by_key(|path| Natural(path.display().to_string()));
            if !files.is_empty() {
                by_name.insert(Natural(name.to_owned()), files.into_iter().map(|f| (f, None)).collect());
            }
        }
        Ok(Self::new(root, by_name))
    }

    fn from_csv(list: &Path) -> Result<Self, TrainError> {
        let file = std::fs::File::open(list).map_err(|source| TrainError::File {
            path: list.to_owned(),
            doing: "read",
            source,
        })?;
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(file);
        let wrong = |what: String| TrainError::Data(format!("{}: {what}", list.display()));
        let header = reader.headers().map_err(|e| wrong(e.to_string()))?.clone();
        let column = |name: &str| header.iter().position(|h| h == name);
        let need = |name: &str| {
            let found = header.iter().collect::<Vec<_>>().join(",");
            column(name).ok_or_else(|| {
                wrong(format!("no column {name:?} in the header ({found}); expected identity,path"))
            })
        };
        let (identity, path) = (need("identity")?, need("path")?);
        let landmarks: Option<Vec<usize>> =
            LANDMARKS.as_flattened().iter().map(|name| column(name)).collect();
        let root = list.parent().unwrap_or(Path::new("."));
        let mut by_name: BTreeMap<Natural, Vec<_>> = BTreeMap::new();
        for record in reader.records() {
            let record = record.map_err(|e| wrong(e.to_string()))?;
            let line = record.position().map_or(0, csv::Position::line);
            let field = |column: usize, name: &str| match record.get(column) {
                Some(value) if !value.is_empty() => Ok(value),
                _ => Err(wrong(format!("line {line}: no {name}"))),
            };
            let points = landmarks.as_ref().map(|columns| {
                let mut points = Landmarks::default();
                for (value, column) in points.as_flattened_mut().iter_mut().zip(columns) {
                    let text = field(*column, "landmark")?;
                    let parsed = text.parse().ok().filter(|v: &f32| v.is_finite());
                    *value = parsed
                        .ok_or_else(|| wrong(format!("line {line}: landmark {text:?} is not a number")))?;
                }
                Ok::<_, TrainError>(points)
            });
            let name = Natural(field(identity, "identity")?.to_owned());
            by_name.entry(name).or_default().push((root.join(field(path, "path")?), points.transpose()?));
        }
        Ok(Self::new(list, by_name))
    }
}

/// Two pictures to be compared, and whether they show one person.
pub type PicturePair = (usize, usize, bool);

impl Dataset {
    /// Random pairs, as many of one person as of two, in random order; the same for the same seed.
    ///
    /// # Errors
    /// When nobody has two pictures.
    pub fn random_pairs(&self, count: usize, seed: u64) -> Result<Vec<PicturePair>, TrainError> {
        let mut people: Vec<Vec<usize>> = vec![Vec::new(); self.people.len()];
        for (i, picture) in self.pictures.iter().enumerate() {
            people[picture.person].push(i);
        }
        let several: Vec<&Vec<usize>> = people.iter().filter(|p| p.len() > 1).collect();
        if several.is_empty() {
            return Err(TrainError::Data(format!("{}: nobody has two pictures", self.source.display())));
        }
        let mut random = Random::new(seed, Purpose::Judge, &[]);
        let mut pairs: Vec<PicturePair> = (0..count)
            .map(|i| {
                if i % 2 == 0 {
                    let list = several[random.below(several.len())];
                    let a = random.below(list.len());
                    let b = (a + 1 + random.below(list.len() - 1)) % list.len();
                    return (list[a], list[b], true);
                }
                let a = random.below(people.len());
                let b = (a + 1 + random.below(people.len() - 1)) % people.len();
                (people[a][random.below(people[a].len())], people[b][random.below(people[b].len())], false)
            })
            .collect();
        random.shuffle(&mut pairs);
        Ok(pairs)
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let fail = |source| TrainError::File { path: folder.to_owned(), doing: "read", source };
    std::fs::read_dir(folder).map_err(fail)?.map(|entry| Ok(entry.map_err(fail)?.path())).collect()
}

/// A name that sorts as people count: `s9` before `s10`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Natural(String);

impl Natural {
    /// Stretches of digits by their value, all else by its letters.
    fn parts(&self) -> Vec<(u8, u64, &str)> {
        let mut parts = Vec::new();
        let mut rest = self.0.as_str();
        while let Some(first) = rest.chars().next() {
            let digit = first.is_ascii_digit();
            let end = rest.find(|c: char| c.is_ascii_digit() != digit).unwrap_or(rest.len());
            let (part, after) = rest.split_at(end);
            parts.push(match part.parse() {
                Ok(number) if digit => (0, number, part),
                _ => (1, 0, part),
            });
            rest = after;
        }
        parts
    }
}

impl Ord for Natural {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.parts().cmp(&other.parts()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Natural {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Pictures of one part of the data, person by person.
pub type Group = Vec<Vec<usize>>;

/// What is trained on, what the best epoch is chosen by, and what is judged at the end: for each person the indices of
/// their pictures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Trained on.
    pub train: Group,
    /// Chosen by; empty without.
    pub validation: Group,
    /// Judged with.
    pub test: Group,
}

impl Parts {
    /// Splits `usable` pictures of a set: those that could be read and show a face.
    ///
    /// # Errors
    /// When a named person is not there, or a part has too little to work with.
    pub fn split(
        set: &Dataset,
        usable: &[bool],
        settings: &DataSettings,
        seed: u64,
    ) -> Result<Self, TrainError> {
        let mut people: Vec<Vec<usize>> = vec![Vec::new(); set.people.len()];
        for (i, picture) in set.pictures.iter().enumerate().filter(|(i, _)| usable[*i]) {
            people[picture.person].push(i);
        }
        let parts = match settings.split {
            Split::Identity => by_identity(set, people, settings, seed)?,
            Split::Pictures => by_picture(people, settings, seed),
        };
        let pairs = |group: &Group| group.iter().any(|p| p.len() > 1);
        if parts.train.iter().filter(|p| p.len() > 1).count() < 2 {
            return Err(TrainError::Data(format!(
                "{}: training needs at least two people with two pictures each; {} are left to train on",
                set.source.display(),
                super::people(parts.train.len())
            )));
        }
        if parts.test.len() < 2 || !pairs(&parts.test) {
            return Err(TrainError::Data(format!(
                "{}: the test needs at least two people, one of them with two pictures, and has {}; raise data.test_share or name them in data.test_people",
                set.source.display(),
                super::people(parts.test.len())
            )));
        }
        if settings.validation_share > 0.0 && (parts.validation.len() < 2 || !pairs(&parts.validation)) {
            return Err(TrainError::Data(format!(
                "{}: the validation needs at least two people; raise data.validation_share, or set it to 0",
                set.source.display()
            )));
        }
        Ok(parts)
    }
}

fn by_identity(
    set: &Dataset,
    people: Vec<Vec<usize>>,
    settings: &DataSettings,
    seed: u64,
) -> Result<Parts, TrainError> {
    let mut order: Vec<usize> = (0..people.len()).filter(|p| !people[*p].is_empty()).collect();
    Random::new(seed, Purpose::Split, &[]).shuffle(&mut order);
    let count = |share: f64| (share * order.len() as f64).round() as usize;
    let (of_test, of_validation) = (count(settings.test_share).max(2), count(settings.validation_share));
    let mut test = Vec::new();
    for name in &settings.test_people {
        let person = set.people.iter().position(|p| p == name).ok_or_else(|| {
            TrainError::Settings(format!(
                "data.test_people names {name:?}, who is not in {}",
                set.source.display()
            ))
        })?;
        test.push(person);
    }
    if test.is_empty() {
        test = order.iter().copied().take(of_test).collect();
    }
    order.retain(|person| !test.contains(person));
    let mut validation = order.split_off(order.len() - of_validation.min(order.len()));
    for list in [&mut order, &mut validation, &mut test] {
        list.sort_unstable();
    }
    let group = |list: Vec<usize>| list.into_iter().map(|p| people[p].clone()).collect();
    Ok(Parts { train: group(order), validation: group(validation), test: group(test) })
}

fn by_picture(people: Vec<Vec<usize>>, settings: &DataSettings, seed: u64) -> Parts {
    let mut parts = Parts::default();
    for (person, mut pictures) in people.into_iter().enumerate().filter(|(_, p)| !p.is_empty()) {
        Random::new(seed, Purpose::Split, &[person as u64]).shuffle(&mut pictures);
        let count = |share: f64| (share * pictures.len() as f64).round() as usize;
        let (of_test, of_validation) = (count(settings.test_share), count(settings.validation_share));
        let mut rest = pictures.split_off(of_test.min(pictures.len()));
        let mut train = rest.split_off(of_validation.min(rest.len()));
        for (group, list) in [
            (&mut parts.test, &mut pictures),
            (&mut parts.validation, &mut rest),
            (&mut parts.train, &mut train),
        ] {
            list.sort_unstable();
            if !list.is_empty() {
                group.push(std::mem::take(list));
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(people: &[(&str, usize)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, pictures) in people {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            for i in 1..=*pictures {
                std::fs::write(dir.path().join(name).join(format!("{i}.pgm")), b"P5 1 1 255 x").unwrap();
            }
        }
        dir
    }

    fn parts(people: &[(&str, usize)], settings: &DataSettings, seed: u64) -> Result<Parts, String> {
        let dir = folder(people);
        let set = Dataset::read(dir.path()).map_err(|e| e.to_string())?;
        Parts::split(&set, &vec![true; set.pictures.len()], settings, seed).map_err(|e| e.to_string())
    }

    const TEN: [(&str, usize); 10] = [
        ("s1", 4),
        ("s2", 4),
        ("s3", 4),
        ("s4", 4),
        ("s5", 4),
        ("s6", 4),
        ("s7", 4),
        ("s8", 4),
        ("s9", 4),
        ("s10", 4),
    ];

    #[test]
    fn folders_are_read_in_the_order_people_count() {
        let dir = folder(&TEN);
        std::fs::write(dir.path().join("s1/notes.txt"), b"no picture").unwrap();
        std::fs::create_dir(dir.path().join(".cache")).unwrap();
        std::fs::create_dir(dir.path().join("empty")).unwrap();
        let set = Dataset::read(dir.path()).unwrap();
        assert_eq!((set.people.len(), set.pictures.len()), (10, 40));
        assert_eq!((set.people[1].as_str(), set.people[9].as_str()), ("s2", "s10"));
        assert!(set.pictures[39].path.ends_with("s10/4.pgm") && set.pictures[39].person == 9);
    }

    #[test]
    fn a_list_is_read_with_its_landmarks() {
        let dir = tempfile::tempdir().unwrap();
        let columns = LANDMARKS.as_flattened().join(",");
        let text = format!(
            "identity,path,{columns}\nAnn,a/1.jpg,1,2,3,4,5,6,7,8,9,10.5\nBob,b/1.jpg,1,2,3,4,5,6,7,8,9,10\n"
        );
        std::fs::write(dir.path().join("labels.csv"), &text).unwrap();
        let set = Dataset::read(dir.path()).unwrap();
        assert_eq!(set.people, ["Ann", "Bob"]);
        assert_eq!(Some(set.name().as_str()), dir.path().file_name().unwrap().to_str());
        assert_eq!(set.pictures[0].landmarks.unwrap()[4], [9.0, 10.5]);
        assert_eq!(set.pictures[1].path, dir.path().join("b/1.jpg"));
        for (from, to, message) in [
            ("10.5", "x", "line 2: landmark \"x\" is not a number"),
            ("Ann,", ",", "line 2: no identity"),
            ("identity,", "name,", "no column \"identity\" in the header (name,path,"),
        ] {
            std::fs::write(dir.path().join("labels.csv"), text.replace(from, to)).unwrap();
            let error = Dataset::read(dir.path()).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn too_little_data_is_refused() {
        let settings = DataSettings::default();
        for (people, message) in [
            (&[][..], "no pictures in it; expected one folder for each person"),
            (&[("Ann", 3)][..], "only one person (Ann)"),
            (&[("Ann", 3), ("Bob", 3), ("Cy", 3)][..], "1 person are left to train on"),
            (
                &[("Ann", 1), ("Bob", 1), ("Cy", 1), ("Di", 1)][..],
                "at least two people with two pictures each",
            ),
        ] {
            let error = parts(people, &settings, 1).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
        let settings = DataSettings { test_people: vec!["s3".into()], ..DataSettings::default() };
        assert!(parts(&TEN, &settings, 1).unwrap_err().contains("the test needs at least two people"));
        let settings = DataSettings { test_people: vec!["Zoe".into()], ..DataSettings::default() };
        assert!(parts(&TEN, &settings, 1).unwrap_err().contains("names \"Zoe\", who is not in"));
        assert!(
            Dataset::read(Path::new("/nowhere")).unwrap_err().to_string().contains("/nowhere cannot be read")
        );
    }

    #[test]
    fn nobody_is_in_two_parts_and_the_seed_decides() {
        let settings = DataSettings { test_share: 0.3, validation_share: 0.2, ..DataSettings::default() };
        let split = parts(&TEN, &settings, 1).unwrap();
        assert_eq!((split.train.len(), split.validation.len(), split.test.len()), (5, 2, 3));
        let mut all: Vec<usize> =
            [&split.train, &split.validation, &split.test].into_iter().flatten().flatten().copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..40).collect::<Vec<_>>());
        assert_eq!(split, parts(&TEN, &settings, 1).unwrap());
        assert_ne!(split, parts(&TEN, &settings, 2).unwrap());
    }

    #[test]
    fn people_can_be_named_for_the_test() {
        let settings =
            DataSettings { test_people: vec!["s9".into(), "s10".into()], ..DataSettings::default() };
        let split = parts(&TEN, &settings, 1).unwrap();
        assert_eq!(split.test, [vec![32, 33, 34, 35], vec![36, 37, 38, 39]]);
        assert_eq!(split.train.len(), 8);
    }

    #[test]
    fn random_pairs_are_half_genuine_and_follow_from_the_seed() {
        let dir = folder(&TEN);
        let set = Dataset::read(dir.path()).unwrap();
        let pairs = set.random_pairs(200, 4).unwrap();
        for (a, b, same) in &pairs {
            assert!(a != b && (set.pictures[*a].person == set.pictures[*b].person) == *same);
        }
        assert_eq!(pairs.iter().filter(|p| p.2).count(), 100);
        assert_eq!(pairs, set.random_pairs(200, 4).unwrap());
        assert_ne!(pairs, set.random_pairs(200, 5).unwrap());
    }

    #[test]
    fn by_picture_everybody_is_in_every_part() {
        let settings = DataSettings { split: Split::Pictures, test_share: 0.5, ..DataSettings::default() };
        let split = parts(&TEN, &settings, 1).unwrap();
        assert!(split.train.iter().chain(&split.test).all(|p| p.len() == 2) && split.train.len() == 10);
    }
}
