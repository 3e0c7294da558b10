//! Errors as RFC 9457 has them: `application/problem+json`.

use std::borrow::Cow;

use http_body_util::{Either, Full};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::{Body, response};

/// The media type of an error.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Why there is no answer. Nothing in it comes from a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    status: StatusCode,
    name: &'static str,
    detail: Cow<'static, str>,
}

impl Problem {
    /// An error whose type is `urn:llm-tracker:problem:NAME`; `detail` is for people and says what to do.
    pub fn new(status: StatusCode, name: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, name, detail: detail.into() }
    }

    /// The question itself is wrong.
    pub(crate) fn bad_parameter(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-parameter", detail)
    }

    /// There is nothing at this path.
    pub(crate) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not-found",
            "there is nothing here: /api/v1/openapi.yaml says what there is",
        )
    }

    /// Its status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// As it is sent.
    #[must_use]
    pub fn response(&self) -> Response<Body> {
        let body = json!({
            "type": format!("urn:llm-tracker:problem:{}", self.name),
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = response(PROBLEM_JSON, Either::Left(Full::from(body.to_string())));
        *response.status_mut() = self.status;
        response
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use hyper::header::CONTENT_TYPE;
    use serde_json::Value;

    use super::*;

    #[tokio::test]
    async fn a_problem_has_the_fields_of_the_standard() {
        let response = Problem::not_found().response();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers()[CONTENT_TYPE], PROBLEM_JSON);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (body["type"].as_str(), body["status"].as_u64()),
            (Some("urn:llm-tracker:problem:not-found"), Some(404))
        );
        assert!(body["title"].is_string() && body["detail"].is_string());
    }
}
