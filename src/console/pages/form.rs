//! What a browser sends: the fields of a form or of a query, by name.

use std::convert::Infallible;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;

use super::super::desk::Trouble;
use super::super::{text as t, url};
use super::bad;

/// Fields, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// The fields of a query, or of a form's body.
    pub(super) fn parse(text: &str) -> Self {
        Self(url::fields(text))
    }

    /// A field without blanks around it; empty when it is not there.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.trim())
    }

    /// A field as it came, blanks and all.
    pub(super) fn raw(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// All fields of this name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.trim())
    }

    /// Whether a box was ticked.
    pub(super) fn has(&self, name: &str) -> bool {
        !self.get(name).is_empty()
    }

    /// A field that must be there.
    pub(super) fn need(&self, name: &str) -> Result<String, Trouble> {
        match self.get(name) {
            "" => Err(bad(t::BAD_FORM)),
            value => Ok(value.to_owned()),
        }
    }
}

/// The fields of the query.
#[derive(Debug)]
pub(super) struct Query(pub(super) Fields);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(Fields::parse(parts.uri.query().unwrap_or_default())))
    }
}

/// The fields of a form.
#[derive(Debug)]
pub(super) struct Form(pub(super) Fields);

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = Infallible;
    async fn from_request(request: Request, state: &S) -> Result<Self, Infallible> {
        // The guard has read it already, within bounds.
        let body = Bytes::from_request(request, state).await.unwrap_or_default();
        let text = String::from_utf8_lossy(&body);
        Ok(Self(Fields::parse(&text)))
    }
}
