//! Style, script and sign, as they are in the tree. Their address bears the hash of what they say, so that browsers keep
//! them for good and still get new ones at once.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// A file that browsers get.
struct Asset {
    name: String,
    kind: &'static str,
    bytes: &'static str,
}

impl Asset {
    fn new(stem: &str, ending: &str, kind: &'static str, bytes: &'static str) -> Self {
        let hash = blake3::hash(bytes.as_bytes()).to_hex();
        Self { name: format!("{stem}-{}.{ending}", &hash[..12]), kind, bytes }
    }
}

static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("console", "css", "text/css; charset=utf-8", include_str!("assets/console.css"))
});
static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("console", "js", "text/javascript; charset=utf-8", include_str!("assets/console.js"))
});
static SIGN: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("sign", "svg", "image/svg+xml", include_str!("assets/sign.svg")));

/// Addresses of style, script and sign.
pub(super) fn style() -> String {
    format!("/assets/{}", STYLE.name)
}

pub(super) fn script() -> String {
    format!("/assets/{}", SCRIPT.name)
}

pub(super) fn sign() -> String {
    format!("/assets/{}", SIGN.name)
}

/// Gives one of them.
pub(super) async fn get(Path(name): Path<String>) -> Response {
    let found = [&*STYLE, &*SCRIPT, &*SIGN].into_iter().find(|asset| asset.name == name);
    match found {
        Some(asset) => {
            let headers = [
                (header::CONTENT_TYPE, asset.kind),
                (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
            ];
            (headers, asset.bytes).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_page_needs_is_small_and_ours_alone() {
        let weight: usize = [&*STYLE, &*SCRIPT, &*SIGN].iter().map(|asset| asset.bytes.len()).sum();
        assert!(weight <= 60_000, "{weight} bytes");
        for asset in [&*STYLE, &*SCRIPT] {
            let foreign = asset.bytes.contains("http://") || asset.bytes.contains("https://");
            assert!(!foreign, "{} names another site", asset.name);
        }
    }
}
