//! The page at `/`: what runs now, as the API tells whoever looks at it.
//!
//! It is one file, which asks for nothing from elsewhere. What it may do is said by its hashes: names come from
//! whoever is watched, and none of them can become anything but text.

use std::sync::LazyLock;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hyper::{
    Response,
    header::{CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS},
};
use ring::digest::{SHA256, digest};

use crate::api::Body;

pub(super) const PAGE: &str = include_str!("index.html");

/// What the browser is to allow the page.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let policy = format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
        hash(within("script")),
        hash(within("style")),
    );
    // It is made of what a header can carry; without it the page would be allowed nothing.
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// The text of the only such element.
fn within(element: &str) -> &'static str {
    let text = PAGE.split_once(&format!("<{element}>")).map_or("", |(_, rest)| rest);
    text.split_once(&format!("</{element}>")).map_or("", |(text, _)| text)
}

/// A source of CSP level 3.
fn hash(text: &str) -> String {
    format!("sha256-{}", BASE64_STANDARD.encode(digest(&SHA256, text.as_bytes())))
}

/// Adds what browsers are to know of the page.
pub(super) fn protected(mut page: Response<Body>) -> Response<Body> {
    let headers = page.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_all_there_is_and_makes_no_markup() {
        assert!(
            within("script").contains("/api/v1/live") && within("style").contains("prefers-color-scheme")
        );
        assert_eq!((PAGE.matches("<script").count(), PAGE.matches("<style").count()), (1, 1));
        for never in
            ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "style=", "onclick"]
        {
            assert!(!PAGE.contains(never), "{never}");
        }
        let addresses = PAGE.matches("http://").count() + PAGE.matches("https://").count();
        assert_eq!(addresses, 1, "the name of SVG's vocabulary, which nobody asks for");
        let policy = POLICY.to_str().unwrap();
        assert!(policy.contains("script-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    }
}
