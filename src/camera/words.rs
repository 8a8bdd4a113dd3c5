//! A command line split into words as a shell does it, without a shell: nothing is expanded, and what only a shell
//! could do is refused rather than passed on as a word.

/// Why a command line cannot be split.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// An opening quote without its partner.
    #[error("the quote {0} is not closed")]
    OpenQuote(char),
    /// A backslash at the end.
    #[error("a backslash at the end quotes nothing")]
    OpenBackslash,
    /// A character that a shell would act on.
    #[error("no shell is run, so {0} has no effect; put it in single quotes, or run a shell: sh -c '…'")]
    ForShell(char),
    /// No word at all.
    #[error("there is no program to run")]
    Empty,
}

/// Characters that a shell acts on outside of quotes. `*`, `?`, `[`, `~` and `#` are not among them: they are common in
/// addresses, and a shell mostly leaves them alone there.
const FOR_SHELL: &[char] = &['|', '&', ';', '<', '>', '(', ')', '$', '`'];

/// Splits `line` at blanks. Quotes are honoured: all is plain between single ones, a backslash works before
/// `"`, `\`, `$` and `` ` `` between double ones and before anything outside.
///
/// # Errors
/// On an open quote, on no word at all, and on characters that only a shell would act on.
pub fn split(line: &str) -> Result<Vec<String>, WordsError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_ascii_whitespace() => words.extend(word.take()),
            '\'' => single_quoted(&mut chars, word.get_or_insert_default())?,
            '"' => double_quoted(&mut chars, word.get_or_insert_default())?,
            '\\' => {
                word.get_or_insert_default().push(chars.next().ok_or(WordsError::OpenBackslash)?);
            }
            c if FOR_SHELL.contains(&c) => return Err(WordsError::ForShell(c)),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if words.is_empty() { Err(WordsError::Empty) } else { Ok(words) }
}

fn single_quoted(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), WordsError> {
    for c in chars {
        if c == '\'' {
            return Ok(());
        }
        word.push(c);
    }
    Err(WordsError::OpenQuote('\''))
}

fn double_quoted(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), WordsError> {
    while let Some(c) = chars.next() {
        match c {
            '"' => return Ok(()),
            '\\' => match chars.next() {
                Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                Some(c) => word.extend(['\\', c]),
                None => break,
            },
            c => word.push(c),
        }
    }
    Err(WordsError::OpenQuote('"'))
}

/// One line that [`split`] takes apart into `words` again, and a shell too.
pub fn join(words: &[String]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn splits_as_a_shell_does() {
        let table: &[(&str, &[&str])] = &[
            ("rpicam-vid --codec mjpeg -o -", &["rpicam-vid", "--codec", "mjpeg", "-o", "-"]),
            ("  a \t b\n c  ", &["a", "b", "c"]),
            ("sh -c 'cat x | y > $z'", &["sh", "-c", "cat x | y > $z"]),
            (r#"a "b c" d"#, &["a", "b c", "d"]),
            (r#"a"b c"'d e'f"#, &["ab cd ef"]),
            (r#"a "" ''"#, &["a", "", ""]),
            (r#"a\ b \" \\"#, &["a b", "\"", "\\"]),
            (r#""a\"b\\c\$d\e""#, &[r#"a"b\c$d\e"#]),
            ("curl 'http://cam/v?a=1&b=2'", &["curl", "http://cam/v?a=1&b=2"]),
            ("naïve größe", &["naïve", "größe"]),
        ];
        for (line, words) in table {
            assert_eq!(split(line).as_deref(), Ok(&words.map_owned()[..]), "{line}");
        }
    }

    trait MapOwned {
        fn map_owned(&self) -> Vec<String>;
    }

    impl MapOwned for &[&str] {
        fn map_owned(&self) -> Vec<String> {
            self.iter().map(|word| (*word).to_owned()).collect()
        }
    }

    #[test]
    fn refuses_what_only_a_shell_could_do() {
        for (line, error) in [
            ("a | b", WordsError::ForShell('|')),
            ("a > b", WordsError::ForShell('>')),
            ("a $HOME", WordsError::ForShell('$')),
            ("a & b", WordsError::ForShell('&')),
            ("a 'b", WordsError::OpenQuote('\'')),
            ("a \"b", WordsError::OpenQuote('"')),
            ("a \"b\\", WordsError::OpenQuote('"')),
            ("a \\", WordsError::OpenBackslash),
            ("", WordsError::Empty),
            ("  ", WordsError::Empty),
        ] {
            assert_eq!(split(line), Err(error), "{line}");
        }
        assert!(WordsError::ForShell('|').to_string().contains("sh -c '…'"));
    }

    proptest! {
        #[test]
        fn joined_words_split_into_themselves(words in proptest::collection::vec(".{0,12}", 1..6)) {
            prop_assert_eq!(split(&join(&words)), Ok(words));
        }

        #[test]
        fn any_line_is_split_or_refused(line in ".{0,60}") {
            if let Ok(words) = split(&line) {
                prop_assert_eq!(split(&join(&words)), Ok(words));
            }
        }
    }
}
