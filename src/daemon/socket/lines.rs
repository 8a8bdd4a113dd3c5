//! One JSON object a line, both ways, with bounds: what comes from a client is never trusted to end.

use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use crate::daemon::protocol::Reply;

/// Longest request in bytes, with its newline.
pub(super) const MAX_LINE: usize = 1 << 20;

/// What came from a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line without its newline.
    Text(String),
    /// A line that is not UTF-8.
    NotText,
    /// A line longer than [`MAX_LINE`]; where the next one begins is not known.
    TooLong,
    /// The client hung up, perhaps in the middle of a line.
    End,
}

/// Reads a client's lines.
pub(super) struct Lines<R> {
    from: BufReader<R>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from: BufReader::new(from) }
    }

    /// The next line.
    pub(super) async fn next(&mut self) -> std::io::Result<Line> {
        let mut line = Vec::new();
        (&mut self.from).take(MAX_LINE as u64).read_until(b'\n', &mut line).await?;
        if line.pop_if(|last| *last == b'\n').is_none() {
            return Ok(if line.len() == MAX_LINE { Line::TooLong } else { Line::End });
        }
        Ok(String::from_utf8(line).map_or(Line::NotText, Line::Text))
    }

    /// Returns when the client hangs up, and not before. A further request stays unread.
    pub(super) async fn hung_up(&mut self) {
        match self.from.fill_buf().await {
            Ok(more) if !more.is_empty() => std::future::pending().await,
            _ => {}
        }
    }
}

/// A reply as it goes over the socket.
pub(super) fn encode(reply: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(reply).expect("a reply is plain data");
    line.push(b'\n');
    line
}

/// Sends a reply.
///
/// # Errors
/// When the client is gone, or has not taken it within `patience`.
pub(super) async fn send(
    to: &mut (impl AsyncWrite + Unpin),
    reply: &Reply,
    patience: Duration,
) -> std::io::Result<()> {
    tokio::time::timeout(patience, to.write_all(&encode(reply))).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(bytes: &[u8]) -> Vec<Line> {
        let mut lines = Lines::new(bytes);
        let mut all = Vec::new();
        loop {
            all.push(lines.next().await.unwrap());
            if matches!(all.last(), Some(Line::End | Line::TooLong)) {
                return all;
            }
        }
    }

    #[tokio::test]
    async fn lines_are_told_apart() {
        let lines = all(b"one\n\n\xff\xfe\nhalf a li").await;
        assert_eq!(lines, [Line::Text("one".into()), Line::Text(String::new()), Line::NotText, Line::End]);
    }

    #[tokio::test]
    async fn the_longest_line_is_taken_and_one_more_byte_is_too_long() {
        let mut longest = vec![b'x'; MAX_LINE - 1];
        longest.push(b'\n');
        assert!(matches!(all(&longest).await[0], Line::Text(ref text) if text.len() == MAX_LINE - 1));
        longest.insert(0, b'x');
        assert_eq!(all(&longest).await, [Line::TooLong]);
    }
}
