//! What every request passes before a page sees it: bounds, the session, the proof that a change was sent from one of our
//! own pages; and what every answer bears.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};

use super::App;
use super::pages::shell;
use super::session::{TokenHash, Visitor, is_same};
use super::text as t;

/// Longest body of a request in bytes: a picture fits, with base64 it fits the control socket.
pub const MAX_BODY: usize = 720 * 1024;

/// How long a body may take.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// Longest path with its query.
const MAX_URI: usize = 4096;

/// No script, style, picture, font or connection but our own; nobody frames us; forms go to us.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// From where the request comes.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// Paths for whoever is not logged in.
fn is_public(path: &str) -> bool {
    path == "/login" || path.starts_with("/assets/")
}

/// Paths that a page asks for by itself: they keep no session alive.
fn asks_by_itself(path: &str) -> bool {
    path.starts_with("/live")
}

/// Passes a request on, or answers it here.
pub async fn watch(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let (secure, path) = (app.is_secure(), request.uri().path().to_owned());
    let mut response = admit(&app, request, next).await;
    let headers = response.headers_mut();
    let mut set = |name, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set(header::CONTENT_SECURITY_POLICY, POLICY);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "same-origin");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    let none = "camera=(), microphone=(), geolocation=(), payment=(), usb=()";
    set(header::HeaderName::from_static("permissions-policy"), none);
    if secure {
        set(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    if !path.starts_with("/assets/") {
        set(header::CACHE_CONTROL, "no-store");
    }
    response
}

async fn admit(app: &Arc<App>, mut request: Request, next: Next) -> Response {
    if request.uri().path_and_query().is_some_and(|path| path.as_str().len() > MAX_URI) {
        return plain(StatusCode::URI_TOO_LONG);
    }
    let path = request.uri().path().to_owned();
    let changes = match *request.method() {
        Method::GET | Method::HEAD => false,
        Method::POST => true,
        _ => return plain(StatusCode::METHOD_NOT_ALLOWED),
    };
    if changes && !is_from_us(request.headers()) {
        return shell::refusal(StatusCode::FORBIDDEN, t::NOT_FROM_US);
    }
    let visitor = visitor(app, request.headers(), !asks_by_itself(&path));
    match visitor {
        Some(visitor) => {
            if changes {
                request = match with_proof(request, &visitor).await {
                    Ok(request) => request,
                    Err(response) => return *response,
                };
            }
            request.extensions_mut().insert(visitor);
        }
        None if is_public(&path) => {
            if changes {
                request = match bounded(request).await {
                    Ok((request, _)) => request,
                    Err(response) => return *response,
                };
            }
        }
        None if changes || asks_by_itself(&path) => {
            return shell::refusal(StatusCode::UNAUTHORIZED, t::SESSION_OVER);
        }
        None => return Redirect::to(&login_path(request.uri())).into_response(),
    }
    next.run(request).await
}

/// Where to log in, and to come back to.
fn login_path(uri: &Uri) -> String {
    match uri.path_and_query().map(|path| path.as_str()) {
        Some("/") | None => "/login".to_owned(),
        Some(path) => format!("/login?to={}", super::url::encode(path)),
    }
}

fn visitor(app: &App, headers: &HeaderMap, counts: bool) -> Option<Visitor> {
    let token = cookie(headers, app.cookie_name())?;
    app.visitor(TokenHash::of(token), counts)
}

/// A cookie's value.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|line| line.split(';')).find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then_some(value)
    })
}

/// Whether a browser that says where a change was sent from names us. One that says nothing must know the session's proof
/// all the same.
fn is_from_us(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
    let site = text(header::HeaderName::from_static("sec-fetch-site"));
    if site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return false;
    }
    match (text(header::ORIGIN), text(header::HOST)) {
        (None, _) => true,
        (Some(origin), Some(host)) => {
            let after = origin.split_once("://").map(|(_, rest)| rest);
            after.is_some_and(|origin| origin.eq_ignore_ascii_case(host))
        }
        (Some(_), None) => false,
    }
}

/// Reads the body, which must not be too large or too slow.
async fn bounded(request: Request) -> Result<(Request, Bytes), Box<Response>> {
    let (parts, body) = request.into_parts();
    let read = tokio::time::timeout(BODY_PATIENCE, to_bytes(body, MAX_BODY)).await;
    match read {
        Ok(Ok(bytes)) => Ok((Request::from_parts(parts, Body::from(bytes.clone())), bytes)),
        Ok(Err(_)) => Err(Box::new(shell::refusal(StatusCode::PAYLOAD_TOO_LARGE, t::TOO_LARGE))),
        Err(_) => Err(Box::new(plain(StatusCode::REQUEST_TIMEOUT))),
    }
}

/// A change bears the session's proof, as a field of its form or as a header.
async fn with_proof(request: Request, visitor: &Visitor) -> Result<Request, Box<Response>> {
    let is_form = request.headers().get(header::CONTENT_TYPE).is_some_and(|kind| {
        kind.to_str().is_ok_and(|kind| kind.starts_with("application/x-www-form-urlencoded"))
    });
    let in_header = request.headers().get("x-csrf").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (request, body) = bounded(request).await?;
    let proof = in_header.or_else(|| is_form.then(|| super::url::field(&body, "csrf")).flatten());
    match proof.is_some_and(|proof| is_same(&proof, &visitor.csrf)) {
        true => Ok(request),
        false => Err(Box::new(shell::refusal(StatusCode::FORBIDDEN, t::NO_PROOF))),
    }
}

fn plain(status: StatusCode) -> Response {
    (status, status.canonical_reason().unwrap_or_default()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn changes_from_other_sites_are_told_by_what_the_browser_says() {
        for (pairs, ours) in [
            (&[("host", "door:8480"), ("origin", "http://door:8480")][..], true),
            (&[("host", "door:8480"), ("origin", "https://DOOR:8480")], true),
            (&[("host", "door:8480"), ("origin", "http://evil")], false),
            (&[("host", "door:8480"), ("origin", "null")], false),
            (&[("origin", "http://door:8480")], false),
            (&[("host", "door:8480")], true),
            (&[("host", "door:8480"), ("sec-fetch-site", "cross-site")], false),
            (&[("host", "door:8480"), ("sec-fetch-site", "same-site")], false),
            (&[("host", "door:8480"), ("sec-fetch-site", "same-origin")], true),
        ] {
            assert_eq!(is_from_us(&headers(pairs)), ours, "{pairs:?}");
        }
    }

    #[test]
    fn cookies_are_found_among_others() {
        let all = headers(&[("cookie", "a=1; accessd=token"), ("cookie", "b=2")]);
        assert_eq!(cookie(&all, "accessd"), Some("token"));
        assert_eq!(cookie(&all, "b"), Some("2"));
        assert_eq!(cookie(&all, "access"), None);
    }

    #[test]
    fn whoever_logs_in_comes_back_to_where_they_were() {
        assert_eq!(login_path(&Uri::from_static("/")), "/login");
        assert_eq!(
            login_path(&Uri::from_static("/events?kind=grant&q=a+b")),
            "/login?to=%2Fevents%3Fkind%3Dgrant%26q%3Da%2Bb"
        );
    }
}
