//! Forms and queries as browsers write them.

use axum::body::Bytes;

/// A text as part of a path or query.
pub fn encode(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            // Writing into a text does not fail.
            _ => _ = write!(out, "%{byte:02X}"),
        }
    }
    out
}

/// A query of names and values; those without a value are left out.
pub fn query(pairs: &[(&str, &str)]) -> String {
    let set = pairs.iter().filter(|(_, value)| !value.is_empty());
    let parts: Vec<String> = set.map(|(name, value)| format!("{name}={}", encode(value))).collect();
    if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
}

/// All fields of a form's body or of a query, in order. What cannot be read as one is empty.
pub fn fields(text: &str) -> Vec<(String, String)> {
    let decode = |part: &str| {
        let plain = part.replace('+', " ");
        percent(&plain)
    };
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(a, b)| (decode(a), decode(b)))
        .collect()
}

/// One field of a form's body.
pub fn field(body: &Bytes, name: &str) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    fields(text).into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

/// `%41` to `A`; what is no such thing stays as it is, and what is no text gets a mark in its place.
fn percent(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
        let code = code.and_then(|hex| std::str::from_utf8(hex).ok()).filter(|hex| !hex.starts_with('+'));
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forms_are_read_as_browsers_write_them() {
        let all = fields("name=Ada+Lovelace&x=%C3%A4%26%3D&empty=&flag&bad=%zz%4");
        let wanted = [("name", "Ada Lovelace"), ("x", "ä&="), ("empty", ""), ("flag", ""), ("bad", "%zz%4")];
        let wanted: Vec<_> = wanted.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        assert_eq!(all, wanted);
    }

    #[test]
    fn a_query_has_what_is_set() {
        assert_eq!(query(&[("a", "1 2"), ("b", ""), ("c", "ä")]), "?a=1%202&c=%C3%A4");
        assert_eq!(query(&[("a", "")]), "");
    }

    proptest! {
        #[test]
        fn what_is_encoded_reads_back(text in ".*") {
            let read = fields(&format!("x={}", encode(&text)));
            prop_assert_eq!(&read[0].1, &text);
        }

        #[test]
        fn nothing_breaks_it(text in ".*") {
            fields(&text);
        }
    }
}
