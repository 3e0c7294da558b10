//! The local API: what programs on this host, the command line among them, ask about calls.
//!
//! It is answered on a Unix socket and on loopback (`export/http` has the connections). Users see their own
//! calls, root and one group see all ([`Viewer`]). `openapi.yaml` describes it; errors are
//! `application/problem+json`. Questions are bounded in time, size and number, and never wait for each other's
//! thread or hold up the pipeline.

mod access;
mod client;
mod problem;
mod query;
mod reader;
mod settle;
mod stream;
mod wire;

use std::{path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HOST, HeaderValue},
};
use serde::Serialize;

use crate::{
    budget::{BudgetUse, Budgets},
    ledger::{Answer, Condition, Dimension, Ledger, Span},
    live::Live,
    report::Moment,
};
pub use access::{Access, Peer, UnknownGroup, Viewer};
pub use client::{Client, ClientError, Following};
pub use problem::{PROBLEM_JSON, Problem};
use query::Query;
use reader::Reader;
pub(crate) use settle::Asked;
pub use settle::Settle;
pub use stream::Events;
use stream::{Begin, Followed, Stored, Streams};
use wire::Cursor;
pub use wire::{Calls, Report};

/// Everything that this module answers lies under it.
pub const PREFIX: &str = "/api/";
/// The description of all of it.
const OPENAPI: &str = include_str!("openapi.yaml");
/// Calls of one answer, if nobody says otherwise, and at most.
const CALLS: (u32, u32) = (50, 500);
/// The latest calls that a stream may begin with, at most.
pub(crate) const MAX_LAST: u32 = CALLS.1;
/// By which clients go on where a stream of theirs broke off: the HTML standard's.
const LAST_EVENT_ID: &str = "last-event-id";
/// Bytes of the calls of one answer, about.
const CALLS_BYTES: usize = 512 << 10;
/// The longest that a question may wait for what has happened, seconds.
const MAX_SETTLE: u32 = 30;
/// What calls are told apart by, at most.
const MAX_DIMENSIONS: usize = 8;

/// A body: whole, or as it happens.
pub type Body = Either<Full<Bytes>, Events>;

/// What is answered where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Calls,
    Sessions,
    Report,
    Stream,
    Live,
    Description,
}

struct Route {
    path: &'static str,
    endpoint: Endpoint,
    /// The parameters that it takes.
    parameters: &'static [&'static str],
}

/// All of them.
const ROUTES: &[Route] = &[
    Route {
        path: "/api/v1/calls",
        endpoint: Endpoint::Calls,
        parameters: &["since", "until", "where", "limit", "before", "settle"],
    },
    Route {
        path: "/api/v1/sessions",
        endpoint: Endpoint::Sessions,
        parameters: &["since", "until", "where", "settle"],
    },
    Route {
        path: "/api/v1/report",
        endpoint: Endpoint::Report,
        parameters: &["since", "until", "where", "by", "settle"],
    },
    Route { path: "/api/v1/stream", endpoint: Endpoint::Stream, parameters: &["since", "where", "last"] },
    Route { path: "/api/v1/live", endpoint: Endpoint::Live, parameters: &[] },
    Route { path: "/api/v1/openapi.yaml", endpoint: Endpoint::Description, parameters: &[] },
];

/// The local API.
pub struct Api {
    access: Access,
    ledger: Option<Arc<Reader>>,
    settle: Option<Arc<Settle>>,
    budgets: Budgets,
    streams: Streams,
    live: Option<Arc<Live>>,
}

impl Api {
    /// One that says what it is, and nothing of calls yet.
    #[must_use]
    pub fn new(access: Access) -> Self {
        Self {
            access,
            ledger: None,
            settle: None,
            budgets: Budgets::default(),
            streams: Streams::new(),
            live: None,
        }
    }

    /// The same with the calls that are stored in this file.
    #[must_use]
    pub fn with_ledger(self, file: PathBuf) -> Self {
        Self { ledger: Some(Arc::new(Reader::new(file))), ..self }
    }

    /// The same with a way to wait until that has all that has happened.
    #[must_use]
    pub fn with_settle(self, settle: Settle) -> Self {
        Self { settle: Some(Arc::new(settle)), ..self }
    }

    /// The same with budgets, of which reports say how far they are used.
    #[must_use]
    pub fn with_budgets(self, budgets: Budgets) -> Self {
        Self { budgets, ..self }
    }

    /// The same with what runs now (`/api/v1/live`).
    #[must_use]
    pub fn with_live(self, live: Arc<Live>) -> Self {
        Self { live: Some(live), ..self }
    }

    /// Ends the answers that have no end of their own.
    pub(crate) fn stop(&self) {
        self.streams.stop();
    }

    /// Answers a `GET` of something under [`PREFIX`].
    pub async fn answer<B>(&self, request: &Request<B>, peer: &Peer) -> Response<Body> {
        self.try_answer(request, peer).await.unwrap_or_else(|problem| problem.response())
    }

    async fn try_answer<B>(&self, request: &Request<B>, peer: &Peer) -> Result<Response<Body>, Problem> {
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        peer.check_host(host)?;
        let path = request.uri().path();
        let route = ROUTES.iter().find(|route| route.path == path).ok_or_else(Problem::not_found)?;
        let query = Query::parse(request.uri().query(), route.parameters)?;
        if route.endpoint == Endpoint::Description {
            // RFC 9512.
            return Ok(response("application/yaml", Either::Left(Full::from(OPENAPI))));
        }
        let viewer = peer.viewer(&self.access).await?;
        match route.endpoint {
            Endpoint::Calls => self.calls(&query, viewer).await.map(whole),
            Endpoint::Sessions => {
                let (by, within) = sessions()?;
                self.report(&query, viewer, by, Some(within)).await.map(whole)
            }
            Endpoint::Report => self.report(&query, viewer, dimensions(&query)?, None).await.map(whole),
            // A stream has no length; there is nothing to be said of one that is not sent.
            Endpoint::Stream if request.method() == Method::HEAD => {
                Ok(event_stream(Either::Left(Full::default())))
            }
            Endpoint::Stream => {
                let behind = request.headers().get(LAST_EVENT_ID);
                self.stream(&query, viewer, behind).await.map(Either::Right).map(event_stream)
            }
            Endpoint::Live => self.live(viewer).map(whole),
            Endpoint::Description => Err(Problem::not_found()),
        }
    }

    /// Waits as `settle` says; whether all that had happened is in the ledger then.
    async fn settle(&self, query: &Query) -> Result<Option<bool>, Problem> {
        let Some(seconds) = query.number("settle", 1..=MAX_SETTLE)? else { return Ok(None) };
        let patience = Duration::from_secs(seconds.into());
        match &self.settle {
            Some(settle) => Ok(Some(settle.settled(patience).await)),
            None => Ok(Some(false)),
        }
    }

    fn ledger(&self) -> Result<&Arc<Reader>, Problem> {
        self.ledger.as_ref().ok_or_else(|| {
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "no-ledger",
                "the daemon stores no calls: `ledger.file` in its configuration makes it do so",
            )
        })
    }

    async fn calls(&self, query: &Query, viewer: Viewer) -> Result<Bytes, Problem> {
        let (span, conditions) = (span(query)?, conditions(query)?);
        let most = query.number("limit", 1..=CALLS.1)?.unwrap_or(CALLS.0);
        let before = query.one::<Cursor>("before")?.map(|cursor| cursor.0);
        let settled = self.settle(query).await?;
        let question = move |ledger: &Ledger| ledger.page(span, &conditions, most, before);
        let (page, turn) = self.ledger()?.ask(viewer, question).await?;
        let mut bytes = 0_usize;
        // The latest of them, as far as there is room; one in any case.
        let room = page.calls.iter().rev().take_while(|(_, call)| {
            let fits = bytes == 0 || bytes < CALLS_BYTES;
            bytes += serde_json::to_string(call).map_or(0, |text| text.len());
            fits
        });
        let room = room.count();
        let left_out = page.calls.len() - room;
        let kept = page.calls.into_iter().skip(left_out);
        let (positions, calls): (Vec<_>, Vec<_>) = kept.unzip();
        let earlier = positions.first().filter(|_| page.earlier || left_out > 0);
        let answer = Calls { calls, before: earlier.map(|at| Cursor(*at).to_string()), settled };
        reader::json(&answer, turn)
    }

    async fn report(
        &self,
        query: &Query,
        viewer: Viewer,
        by: Vec<Dimension>,
        within: Option<Condition>,
    ) -> Result<Bytes, Problem> {
        let span = span(query)?;
        let budgets = if within.is_none() { self.budgets.get() } else { Vec::new() };
        let conditions: Vec<_> = conditions(query)?.into_iter().chain(within).collect();
        let settled = self.settle(query).await?;
        let question = move |ledger: &Ledger| {
            let answer = Answer::new(&by, &ledger.report(span, &by, &conditions)?);
            let all = budgets.len();
            let budgets = viewer.budgets(budgets);
            let budgets_not_shown = Some(all - budgets.len()).filter(|not_shown| *not_shown > 0);
            let now = jiff::Timestamp::now();
            let used = budgets.iter().map(|budget| budget.used(now, ledger).map(BudgetUse::from));
            Ok(Report { answer, budgets: used.collect::<Result<_, _>>()?, budgets_not_shown, settled })
        };
        let (report, turn) = self.ledger()?.ask(viewer, question).await?;
        reader::json(&report, turn)
    }

    async fn stream(
        &self,
        query: &Query,
        viewer: Viewer,
        behind: Option<&HeaderValue>,
    ) -> Result<Events, Problem> {
        let conditions = conditions(query)?;
        let span = Span { until: i64::MAX, ..span(query)? };
        let last = query.number("last", 0..=MAX_LAST)?.unwrap_or(0);
        let begin = match behind {
            Some(id) => {
                let number = id.to_str().ok().and_then(|id| id.parse().ok());
                Begin::Behind(
                    number.ok_or_else(|| Problem::bad_parameter("`Last-Event-ID` is none of ours"))?,
                )
            }
            None => Begin::Latest(span, last),
        };
        let stored = Stored { ledger: Arc::clone(self.ledger()?), settle: self.settle.clone() };
        self.streams.open(stored, Followed { viewer, conditions, begin }).await
    }

    fn live(&self, viewer: Viewer) -> Result<Bytes, Problem> {
        let live = self.live.as_ref().ok_or_else(Problem::not_found)?;
        to_json(&live.snapshot(|owner| viewer.sees(owner))).map(Bytes::from)
    }
}

/// What `since` and `until` say; the last day by default.
fn span(query: &Query) -> Result<Span, Problem> {
    let now = jiff::Timestamp::now();
    let nanos = |moment: Moment| i64::try_from(moment.before(now).as_nanosecond().max(0)).unwrap_or(i64::MAX);
    let day = Moment::Age(Duration::from_secs(86_400));
    let until = query.one("until")?.map_or_else(|| nanos(Moment::At(now)), nanos);
    Ok(Span { from: nanos(query.one("since")?.unwrap_or(day)), until })
}

fn conditions(query: &Query) -> Result<Vec<Condition>, Problem> {
    let conditions = query.all("where").map(Condition::from_str).collect::<Result<_, _>>();
    conditions.map_err(|error| Problem::bad_parameter(format!("`where`: {error}")))
}

/// What tells sessions apart, and that there is one.
fn sessions() -> Result<(Vec<Dimension>, Condition), Problem> {
    let parse = || Some((vec!["session".parse().ok()?], "session!=".parse().ok()?));
    parse().ok_or_else(Problem::not_found)
}

fn dimensions(query: &Query) -> Result<Vec<Dimension>, Problem> {
    let Some(names) = query.all("by").next() else { return Ok(Vec::new()) };
    let by = names.split(',').map(Dimension::from_str).collect::<Result<Vec<_>, _>>();
    let by = by.map_err(|error| Problem::bad_parameter(format!("`by`: {error}")))?;
    if by.len() > MAX_DIMENSIONS {
        return Err(Problem::bad_parameter(format!("`by` may have {MAX_DIMENSIONS} names")));
    }
    Ok(by)
}

fn failed(error: &serde_json::Error) -> Problem {
    tracing::error!(%error, "an answer could not be written");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "the daemon's log says why")
}

fn to_json(answer: &impl Serialize) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(answer).map_err(|error| failed(&error))
}

/// An answer that comes bit by bit. It ends its connection: nobody asks for more behind it.
fn event_stream(body: Body) -> Response<Body> {
    let mut response = response(stream::EVENT_STREAM, body);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// An answer that is there.
fn whole(json: Bytes) -> Response<Body> {
    response("application/json", Either::Left(Full::new(json)))
}

/// What is answered, here or by the server of all this: true now, and not for a cache.
pub(crate) fn response(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
