//! Signs, drawn as strokes on a field of 20 × 20.

use maud::{Markup, PreEscaped, html};

/// A sign by its name; decoration, so readers skip it.
pub(super) fn icon(name: &str) -> Markup {
    let path = match name {
        "now" => r#"<circle cx="10" cy="10" r="7"/><path d="M10 6v4l2.6 1.8"/>"#,
        "events" => r#"<path d="M7 5h9M7 10h9M7 15h9"/><path d="M3.6 5h.01M3.6 10h.01M3.6 15h.01"/>"#,
        "people" => {
            r#"<circle cx="8" cy="7" r="3"/><path d="M2.5 16.5c.5-3.2 2.6-4.8 5.5-4.8s5 1.6 5.5 4.8"/><path d="M13.2 4.3a3 3 0 0 1 0 5.4M15 12.3c1.4.7 2.3 2 2.6 4.2"/>"#
        }
        "policy" => {
            r#"<rect x="3" y="4.5" width="14" height="12.5" rx="2"/><path d="M3 8.500h14M7 2.500v3.500M13 2.500v3.5"/>"#
        }
        "site" => r#"<path d="M3 16.500h14M5 16.500v-4M9 16.500v-9M13 16.500v-6M17 16.500v-12"/>"#,
        "lock" => {
            r#"<rect x="4.5" y="9" width="11" height="8" rx="2"/><path d="M7 9V6.500a3 3 0 0 1 6 0V9"/>"#
        }
        "unlock" => {
            r#"<rect x="4.5" y="9" width="11" height="8" rx="2"/><path d="M7 9V6.500a3 3 0 0 1 5.8-1"/>"#
        }
        "good" => r#"<path d="M4.5 10.500l3.5 3.5 7.5-8"/>"#,
        "refused" => r#"<path d="M5.5 5.500l9 9M14.5 5.500l-9 9"/>"#,
        "alarm" => r#"<path d="M10 3.200l7 12.600H3z"/><path d="M10 8.200v3.400M10 13.700v.01"/>"#,
        "change" => r#"<path d="M4 16l.8-3.200L13.3 4.300l2.4 2.4-8.5 8.500z"/>"#,
        "search" => r#"<circle cx="9" cy="9" r="5"/><path d="M13 13l4 4"/>"#,
        "camera" => {
            r#"<rect x="2.5" y="6" width="15" height="10" rx="2"/><circle cx="10" cy="11" r="2.8"/><path d="M7 6l1.2-2h3.600L13 6"/>"#
        }
        "next" => r#"<path d="M8 5l5 5-5 5"/>"#,
        "back" => r#"<path d="M12 5l-5 5 5 5"/>"#,
        "add" => r#"<path d="M10 4v12M4 10h12"/>"#,
        "out" => {
            r#"<path d="M8 4H5a1.5 1.5 0 0 0-1.5 1.500v9A1.5 1.5 0 0 0 5 16h3M12.5 6.500L16 10l-3.5 3.500M16 10H8"/>"#
        }
        "download" => r#"<path d="M10 3.500v9M6.5 9.500l3.5 3.5 3.5-3.500M4 16.500h12"/>"#,
        _ => r#"<circle cx="10" cy="10" r="2.5" fill="currentColor" stroke="none"/>"#,
    };
    html! {
        svg .icon viewBox="0 0 20 20" aria-hidden="true" focusable="false" { (PreEscaped(path)) }
    }
}
