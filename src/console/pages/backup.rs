//! A backup, as the daemon seals it, passed on to the browser piece by piece: the console holds none of it and cannot read
//! it.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream::unfold;
use tokio::sync::mpsc::Receiver;

use super::super::desk::Trouble;
use super::{Page, Shared, Who, odd};
use crate::daemon::protocol::{Reply, Request};

type Replies = Receiver<Result<Reply, Trouble>>;

/// Downloads one. What cannot be begun is an error and no empty file; one that breaks off breaks the connection, so that
/// no part is taken for the whole.
pub(super) async fn get(State(app): Shared, Extension(visitor): Who) -> Page {
    let mut replies = app.desk.stream(&visitor, Request::Backup)?;
    let Some(first) = next(&mut replies).await.transpose()? else { return Err(odd()) };
    let name = app.options.clock.wall().strftime("accessd-%Y-%m-%d.backup").to_string();
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
    ];
    let pieces = unfold((Some(first), replies), |(first, mut replies)| async move {
        let piece = match first {
            Some(first) => Ok(first),
            None => next(&mut replies).await?.map_err(std::io::Error::other),
        };
        Some((piece, (None, replies)))
    });
    Ok((headers, Body::from_stream(pieces)).into_response())
}

/// The next piece; none after the last one.
async fn next(replies: &mut Replies) -> Option<Result<Vec<u8>, Trouble>> {
    match replies.recv().await {
        Some(Ok(Reply::Piece { data })) => {
            Some(STANDARD.decode(data).map_err(|error| Trouble::Gone(error.to_string())))
        }
        Some(Ok(Reply::BackedUp { .. })) => None,
        Some(Ok(_)) | None => Some(Err(odd().0)),
        Some(Err(trouble)) => Some(Err(trouble)),
    }
}
