//! What happens while a page is open: news as server-sent events, rendered here, and the picture of now.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::header;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{Stream, unfold};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::super::App;
use super::super::feed::News;
use super::super::session::{TokenHash, Visitor};
use super::events::{is_told, row};
use super::form::Query;
use super::{Page, Shared, Who, now, odd};
use crate::daemon::protocol::{Picture, Reply, Request};

/// A session that ends meanwhile is noticed after this time at the latest.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// However many watch, the daemon is asked this seldom.
const PICTURE_EVERY: Duration = Duration::from_millis(400);

/// One page that listens.
struct Listener {
    app: Arc<App>,
    session: TokenHash,
    news: Receiver<News>,
}

/// The news for one page, until its session ends.
pub(super) async fn news(State(app): Shared, Extension(visitor): Who) -> Response {
    let news = app.feed.listen();
    let listener = Listener { app, session: visitor.session, news };
    Sse::new(stream(listener)).keep_alive(KeepAlive::default()).into_response()
}

fn stream(listener: Listener) -> impl Stream<Item = Result<Event, Infallible>> {
    unfold(listener, |mut listener| async move {
        loop {
            let news = tokio::time::timeout(LOOK_EVERY, listener.news.recv()).await;
            // The page asks by itself: this keeps no session alive.
            let visitor = listener.app.visitor(listener.session, false)?;
            match news {
                Ok(Ok(news)) => {
                    if let Some(event) = listener.render(&news, &visitor) {
                        return Some((Ok(event), listener));
                    }
                }
                // It is behind: what it missed is on the page that it loads next.
                Ok(Err(RecvError::Lagged(_))) | Err(_) => {}
                Ok(Err(RecvError::Closed)) => return None,
            }
        }
    })
}

impl Listener {
    fn render(&self, news: &News, visitor: &Visitor) -> Option<Event> {
        match news {
            News::Happened(record) if is_told(record.event.kind) => {
                let row = row(record, &self.app.zone()).into_string();
                Some(Event::default().event("happened").data(row))
            }
            News::Happened(_) => None,
            News::State(status) => {
                let state = now::state(status.as_deref(), visitor).into_string();
                Some(Event::default().event("state").data(state))
            }
        }
    }
}

/// What the camera sees now.
pub(super) async fn picture(State(app): Shared, Extension(visitor): Who, Query(query): Query) -> Page {
    let door = Some(query.get("door").to_owned()).filter(|door| !door.is_empty());
    let picture = newest(&app, &visitor, door).await?;
    let text = serde_json::to_string(&*picture).unwrap_or_default();
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

/// One question to the daemon serves all who watch.
async fn newest(app: &App, visitor: &Visitor, door: Option<String>) -> Result<Arc<Picture>, super::Failed> {
    let mut kept = app.picture.lock().await;
    if let Some((at, of, picture)) = &*kept
        && *of == door
        && app.now().since(*at) < PICTURE_EVERY
    {
        return Ok(picture.clone());
    }
    *kept = None;
    let Reply::Picture(picture) = app.desk.ask(visitor, Request::Picture { door: door.clone() }).await?
    else {
        return Err(odd());
    };
    let picture: Arc<Picture> = Arc::from(picture);
    *kept = Some((app.now(), door, picture.clone()));
    Ok(picture)
}
