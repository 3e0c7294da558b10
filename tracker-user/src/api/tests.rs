//! Routes and their description, who sees what, and what is refused.

use std::{collections::BTreeSet, net::SocketAddr};

use http_body_util::BodyExt as _;
use serde_json::Value;

use super::*;
use crate::{
    ledger::Store,
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
            .filter(|parameter| parameter["in"] != "header")
            .map(|parameter| match parameter["$ref"].as_str() {
                Some(reference) => reference.rsplit('/').next().unwrap().to_owned(),
                None => parameter["name"].as_str().unwrap().to_owned(),
            })
            .collect();
        assert_eq!(names, route.parameters.iter().map(|name| (*name).to_owned()).collect(), "{}", route.path);
    }
}

/// A schema, what it refers to and what it is all of.
fn parts<'a>(description: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    let referred =
        schema["$ref"].as_str().map(|name| description.pointer(name.trim_start_matches('#')).unwrap());
    let all = referred.into_iter().chain(schema["allOf"].as_array().into_iter().flatten());
    std::iter::once(schema).chain(all.flat_map(|schema| parts(description, schema))).collect()
}

/// Goes through an answer beside its schema: fields that the schema has, and those that it has not.
fn compare(
    description: &Value,
    schema: &Value,
    answer: &Value,
    path: &str,
    found: &mut BTreeSet<(bool, String)>,
) {
    let parts = parts(description, schema);
    let keyword = |name: &str| parts.iter().find_map(|schema| schema.get(name));
    match answer {
        Value::Array(items) => {
            for item in items.iter().filter(|item| item.is_object()) {
                compare(description, keyword("items").unwrap(), item, path, found);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                let own = parts.iter().find_map(|schema| schema["properties"].get(name));
                let path = if own.is_some() { format!("{path}.{name}") } else { format!("{path}.*") };
                match own.or(keyword("additionalProperties")) {
                    Some(schema) => {
                        found.insert((true, path.clone()));
                        compare(description, schema, value, &path, found);
                    }
                    None => _ = found.insert((false, format!("{path} ({name})"))),
                }
            }
        }
        _ => {}
    }
}

/// All fields of a schema, by the same paths.
fn fields(description: &Value, schema: &Value, path: &str, all: &mut BTreeSet<String>) {
    for schema in parts(description, schema) {
        if let Some(items) = schema.get("items") {
            fields(description, items, path, all);
        }
        let named = schema["properties"].as_object().into_iter().flatten();
        let any = schema.get("additionalProperties").map(|schema| ("*", schema));
        for (name, schema) in named.map(|(name, schema)| (name.as_str(), schema)).chain(any) {
            let path = format!("{path}.{name}");
            all.insert(path.clone());
            fields(description, schema, &path, all);
        }
    }
}

/// Every field of every answer is described, and every field that is described is in an answer.
#[tokio::test]
async fn what_is_sent_is_described() {
    let description = description();
    let (_folder, api) = api_with_calls();
    let live = Arc::new(Live::new());
    let ended = jiff::Timestamp::now().as_nanosecond() - 120_000_000_000;
    live.record(&Record { started_unix_nanos: ended, ..full() });
    let origin = Arc::new(full().origin);
    for (second, tokens) in [(1, 5), (2, 50)] {
        let at = crate::capture::Timestamp(second * 1_000_000_000);
        live.observe(at, |each| {
            let mut seen = crate::live::tests::seen(&origin, tokens, Some(500_000_000));
            seen.progress.started = crate::capture::Timestamp(1);
            seen.progress.server_address = Some("api.openai.com");
            each(seen);
        });
    }
    let budgets = "[[budget]]\nname = \"b\"\nlimit_usd = 1.0\nwindow = \"day\"";
    let config: crate::config::Config = toml::from_str(budgets).unwrap();
    let api = api.with_live(live).with_budgets(Budgets::new(config.budget));
    let mut undescribed = BTreeSet::new();
    let mut missing = BTreeSet::new();
    for (route, queries) in [
        ("/api/v1/calls", &["", "?limit=1&settle=1"][..]),
        ("/api/v1/sessions", &["?settle=1"]),
        ("/api/v1/report", &["?by=model,session&settle=1"]),
        ("/api/v1/live", &[""]),
    ] {
        let content = &description["paths"][route]["get"]["responses"]["200"]["content"];
        let schema = &content["application/json"]["schema"];
        let mut found = BTreeSet::new();
        for query in queries {
            let (status, _, answer) = ask(&api, &of_viewer(Viewer::All), &format!("{route}{query}")).await;
            assert_eq!(status, StatusCode::OK, "{answer}");
            compare(&description, schema, &answer, route, &mut found);
        }
        let mut all = BTreeSet::new();
        fields(&description, schema, route, &mut all);
        let sent: BTreeSet<_> = found.iter().filter(|(is_described, _)| *is_described).collect();
        missing.extend(all.into_iter().filter(|path| !sent.contains(&(true, path.clone()))));
        undescribed.extend(found.into_iter().filter(|(is_described, _)| !is_described));
    }
    assert!(undescribed.is_empty(), "openapi.yaml has not these: {undescribed:?}");
    let rare = [
        // No call here ends what was reported before.
        "/api/v1/calls.calls.continued",
        // Root sees all budgets, and sessions have none.
        "/api/v1/report.budgets_not_shown",
    ];
    missing.retain(|path| !rare.contains(&path.as_str()) && !path.starts_with("/api/v1/sessions.budgets"));
    assert!(missing.is_empty(), "openapi.yaml has these, and they are not sent: {missing:?}");

    let names = description["components"]["schemas"]["Dimension"]["anyOf"][0]["enum"].as_array().unwrap();
    let names: Vec<_> = names.iter().filter_map(Value::as_str).collect();
    assert_eq!(names, Dimension::names().collect::<Vec<_>>());
}

#[tokio::test]
async fn users_see_the_budgets_of_which_they_see_all() {
    let (_folder, api) = api_with_calls();
    let budget = |name: &str, condition: &str| {
        format!(
            "[[budget]]\nname = \"{name}\"\nlimit_tokens = 1000\nwindow = \"day\"\nrolling = true\nwhere = [{condition}]\n"
        )
    };
    let config = [
        budget("all", ""),
        budget("theirs", "\"uid=1002\""),
        budget("others", "\"uid!=1002\""),
        budget("many", "\"uid=100*\""),
    ];
    let config: crate::config::Config = toml::from_str(&config.concat()).unwrap();
    let api = api.with_budgets(Budgets::new(config.budget));
    let used = async |viewer| {
        let (_, _, body) = ask(&api, &of_viewer(viewer), "/api/v1/report?since=1s").await;
        let report: Report = serde_json::from_value(body).unwrap();
        let used: Vec<_> = report.budgets.into_iter().map(|it| (it.budget, it.used)).collect();
        (used, report.budgets_not_shown)
    };
    let named = |name: &str, used: f64| (name.to_owned(), used);
    assert_eq!(used(Viewer::User(1002)).await, (vec![named("theirs", 120.0)], Some(3)));
    assert_eq!(used(Viewer::User(1000)).await, (vec![], Some(4)));
    let all = vec![named("all", 240.0), named("theirs", 120.0), named("others", 120.0), named("many", 240.0)];
    assert_eq!(used(Viewer::All).await, (all, None));
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
        ("/api/v1/stream?last=501", 400),
        ("/api/v1/stream?where=nothing", 400),
        ("/api/v1/stream?until=1h", 400),
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
async fn a_stream_goes_on_behind_an_id() {
    let (_folder, api) = api_with_calls();
    let open = async |last_event_id: &str| {
        let request = Request::get("/api/v1/stream?last=500&where=uid%3D1002").header(HOST, "localhost");
        let request = request.header(LAST_EVENT_ID, last_event_id).body(()).unwrap();
        let peer = Peer::of_tcp(([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 2).into());
        peer.set_viewer(Viewer::All);
        let mut response = api.answer(&request, &peer).await;
        loop {
            let first = response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
            let first = String::from_utf8(first.to_vec()).unwrap();
            if first != ": watching\n\n" {
                return (response.status().as_u16(), first);
            }
        }
    };
    for (id, calls) in [("0", 1), ("1", 1), ("2", 0)] {
        let (status, first) = open(id).await;
        assert_eq!((status, first.matches("event: call\n").count()), (200, calls), "{id}: {first}");
    }
    for id in ["", "x", "99999999999999999999"] {
        assert_eq!(open(id).await.0, 400, "{id}");
    }
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
