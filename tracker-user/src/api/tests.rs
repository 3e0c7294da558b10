//! Routes and their description, who sees what, and what is refused.

use std::{collections::BTreeSet, net::SocketAddr};

use http_body_util::BodyExt as _;
use serde_json::Value;

use super::*;
use crate::{
    ledger::{Store, Totals},
    record::{
        Record, Sink as _,
        tests::{bare, full},
    },
};

/// What is asked over TCP and cannot be told apart.
fn stranger() -> Peer {
    let address = SocketAddr::from(([192, 0, 2, 1], 1));
    Peer::of_tcp(address, address)
}

fn description() -> Value {
    serde_saphyr::from_str(OPENAPI).unwrap()
}

async fn ask(api: &Api, peer: &Peer, path: &str) -> (StatusCode, String, Value) {
    let request = Request::get(path).header(HOST, "127.0.0.1:9435").body(()).unwrap();
    let response = api.answer(&request, peer).await;
    let status = response.status();
    let content_type = response.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, content_type, serde_json::from_slice(&body).unwrap_or_default())
}

/// Calls of 1000 in a login of 1001, of 1002, and of nobody known.
fn api_with_calls() -> (tempfile::TempDir, Api) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.db");
    let now = jiff::Timestamp::now().as_nanosecond();
    let mut other = Record { started_unix_nanos: now - 2_000_000_000, ..full() };
    other.origin.process.uid = Some(1002);
    other.origin.login = None;
    let records = [
        Record { started_unix_nanos: now - 3_000_000_000, ..full() },
        other,
        Record { started_unix_nanos: now - 1_000_000_000, ..bare() },
    ];
    Store::open(&file).unwrap().append(&records).unwrap();
    let api = Api::new(Access::default()).with_ledger(file);
    (folder, api)
}

fn of_viewer(viewer: Viewer) -> Peer {
    let peer = stranger();
    peer.set_viewer(viewer);
    peer
}

#[test]
fn routes_and_their_description_are_the_same() {
    let description = description();
    let paths = description["paths"].as_object().unwrap();
    let described: BTreeSet<_> = paths.keys().map(String::as_str).collect();
    assert_eq!(described, ROUTES.iter().map(|route| route.path).collect());
    for route in ROUTES {
        let operations = paths[route.path].as_object().unwrap();
        assert_eq!(operations.keys().collect::<Vec<_>>(), ["get"]);
        let parameters = operations["get"]["parameters"].as_array().cloned().unwrap_or_default();
        let names: BTreeSet<String> = parameters
            .iter()
            .map(|parameter| match parameter["$ref"].as_str() {
                Some(reference) => reference.rsplit('/').next().unwrap().to_owned(),
                None => parameter["name"].as_str().unwrap().to_owned(),
            })
            .collect();
        assert_eq!(names, route.parameters.iter().map(|name| (*name).to_owned()).collect(), "{}", route.path);
    }
}

#[test]
fn what_is_sent_is_described() {
    let description = description();
    let described = |schema: &str| -> BTreeSet<String> {
        let properties = description["components"]["schemas"][schema]["properties"].as_object();
        properties.unwrap().keys().cloned().collect()
    };
    let mut record = full();
    record.call.continued = true;
    let call = crate::record::line::fields(&record).unwrap();
    let undescribed: Vec<_> = call.keys().filter(|name| !described("Call").contains(*name)).collect();
    assert!(undescribed.is_empty(), "openapi.yaml has not these of a call: {undescribed:?}");
    let totals = serde_json::to_value(Totals::default()).unwrap();
    let fields: BTreeSet<_> = totals.as_object().unwrap().keys().cloned().collect();
    assert_eq!(fields, described("ReportSums"));
    let names = description["components"]["schemas"]["Dimension"]["anyOf"][0]["enum"].as_array().unwrap();
    let names: Vec<_> = names.iter().filter_map(Value::as_str).collect();
    assert_eq!(names, Dimension::names().collect::<Vec<_>>());
}

#[tokio::test]
async fn users_see_their_own_and_root_sees_all() {
    let (_folder, api) = api_with_calls();
    for (viewer, expected) in [
        (Viewer::All, 3),
        (Viewer::User(1000), 1),
        (Viewer::User(1001), 1),
        (Viewer::User(1002), 1),
        (Viewer::User(1003), 0),
        (Viewer::User(0), 0),
    ] {
        let peer = of_viewer(viewer);
        let (status, _, body) = ask(&api, &peer, "/api/v1/calls").await;
        assert_eq!(
            (status, body["calls"].as_array().unwrap().len()),
            (StatusCode::OK, expected),
            "{viewer:?}"
        );
        let (status, _, body) = ask(&api, &peer, "/api/v1/report").await;
        let calls: u64 =
            body["groups"].as_array().unwrap().iter().filter_map(|it| it["calls"].as_u64()).sum();
        assert_eq!((status, calls), (StatusCode::OK, expected as u64), "{viewer:?}");
        // A condition shows no more.
        let (_, _, body) = ask(&api, &peer, "/api/v1/report?by=uid&where=uid%3D1002").await;
        let mine = usize::from(matches!(viewer, Viewer::All | Viewer::User(1002)));
        assert_eq!(body["groups"].as_array().unwrap().len(), mine, "{viewer:?}");
    }
    let (status, content_type, body) = ask(&api, &stranger(), "/api/v1/calls").await;
    assert_eq!((status, content_type.as_str()), (StatusCode::FORBIDDEN, PROBLEM_JSON));
    assert_eq!(body["type"], "urn:llm-tracker:problem:unknown-user");
}

#[tokio::test]
async fn calls_come_by_the_page() {
    let (_folder, api) = api_with_calls();
    let peer = of_viewer(Viewer::All);
    let mut seen = Vec::new();
    let mut path = "/api/v1/calls?limit=1".to_owned();
    loop {
        let (status, _, body) = ask(&api, &peer, &path).await;
        assert_eq!(status, StatusCode::OK);
        seen.extend(body["calls"].as_array().unwrap().iter().map(|call| call["process"]["uid"].clone()));
        let Some(before) = body["before"].as_str() else { break };
        path = format!("/api/v1/calls?limit=1&before={before}");
    }
    assert_eq!(seen, [Value::Null, 1002.into(), 1000.into()]);
}

#[tokio::test]
async fn what_cannot_be_answered_is_a_problem() {
    let (_folder, api) = api_with_calls();
    let peer = of_viewer(Viewer::All);
    for (path, status) in [
        ("/api/", 404),
        ("/api/v1/call", 404),
        ("/api/v1/calls/", 404),
        ("/api/v1/live", 404),
        ("/api/v1/calls?limits=1", 400),
        ("/api/v1/calls?limit=0", 400),
        ("/api/v1/calls?limit=501", 400),
        ("/api/v1/calls?before=x", 400),
        ("/api/v1/calls?since=yesterday", 400),
        ("/api/v1/calls?where=nothing", 400),
        ("/api/v1/report?by=colour", 400),
        ("/api/v1/report?by=", 400),
        ("/api/v1/report?by=model,model,model,model,model,model,model,model,model", 400),
    ] {
        let (found, content_type, body) = ask(&api, &peer, path).await;
        assert_eq!((found.as_u16(), content_type.as_str()), (status, PROBLEM_JSON), "{path}");
        assert_eq!(body["status"], status, "{path}");
    }
    let (status, _, body) = ask(&Api::new(Access::default()), &peer, "/api/v1/calls").await;
    assert_eq!(
        (status, body["type"].as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, Some("urn:llm-tracker:problem:no-ledger"))
    );
    let (status, content_type, _) = ask(&api, &stranger(), "/api/v1/openapi.yaml").await;
    assert_eq!((status, content_type.as_str()), (StatusCode::OK, "application/yaml"));
}

#[tokio::test]
async fn a_client_understands_what_is_sent() {
    let (_folder, api) = api_with_calls();
    let peer = of_viewer(Viewer::All);
    let (_, _, body) = ask(&api, &peer, "/api/v1/report?by=model&settle=1").await;
    let report: Report = serde_json::from_value(body).unwrap();
    // Nothing tells it when what had happened is there.
    assert_eq!(report.settled, Some(false));
    let [known, unknown] = report.answer.groups.as_slice() else { panic!("{report:?}") };
    assert_eq!((known.totals.calls, known.totals.input_tokens), (2, Some(200)));
    assert_eq!(known.by["model"], full().call.response_model);
    assert!(known.totals.duration_seconds_p50.is_some());
    assert!(unknown.totals.time_to_first_token_seconds_p50.is_none());
    let (_, _, body) = ask(&api, &peer, "/api/v1/calls").await;
    let calls: Calls = serde_json::from_value(body).unwrap();
    assert_eq!((calls.calls.len(), calls.before, calls.settled), (3, None, None));
}

#[tokio::test]
async fn what_runs_now_is_shown_as_far_as_it_may_be() {
    let live = Arc::new(Live::new());
    // Made by 1000 in a login of 1001. It has ended: one that ends in the next minute is not shown in this one.
    let started = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(2);
    live.record(&Record { started_unix_nanos: started.as_nanosecond(), ..full() });
    let api = Api::new(Access::default()).with_live(live);
    for (viewer, calls) in [(Viewer::All, 1), (Viewer::User(1001), 1), (Viewer::User(5), 0)] {
        let (status, _, body) = ask(&api, &of_viewer(viewer), "/api/v1/live").await;
        assert_eq!((status, body["totals"]["hour"]["calls"].as_u64()), (StatusCode::OK, Some(calls)));
    }
}
