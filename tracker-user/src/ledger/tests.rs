//! Calls stored, asked for, added up; files that are none.

use std::{fs, path::Path, time::Duration};

use proptest::prelude::*;

mod bounds;
mod crash;
mod disk;
mod groups;
mod migration;

use super::*;
use crate::attribution::Session;
use crate::record::{
    Record, Sink as _,
    tests::{bare, full},
};

const HOUR_NANOS: i64 = 3600 * 1_000_000_000;
/// What the configuration's defaults keep.
fn keep() -> Retention {
    crate::config::LedgerConfig::default().retention()
}

const ALL: Span = Span { from: 0, until: i64::MAX };

fn stored(records: &[Record]) -> (tempfile::TempDir, Ledger) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.db");
    Store::open(&file).unwrap().append(records).unwrap();
    let ledger = Ledger::open(&file).unwrap();
    (folder, ledger)
}

fn by(names: &[&str]) -> Vec<Dimension> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn only(conditions: &[&str]) -> Vec<Condition> {
    conditions.iter().map(|condition| condition.parse().unwrap()).collect()
}

fn at(nanos: i64, record: Record) -> Record {
    Record { started_unix_nanos: nanos.into(), ..record }
}

#[test]
fn a_call_comes_back_as_its_line_in_the_event_log() {
    for record in [full(), bare()] {
        let (_folder, ledger) = stored(std::slice::from_ref(&record));
        let calls = ledger.calls(ALL, &[], 10).unwrap();
        let line: StoredCall =
            serde_json::from_slice(&crate::record::line::encode(&record).unwrap()).unwrap();
        assert_eq!(calls, [line]);
    }
}

#[test]
fn who_follows_gets_each_call_once() {
    let (folder, ledger) = stored(&[full(), bare()]);
    let mut store = Store::open(&folder.path().join("ledger.db")).unwrap();
    let (calls, number) = ledger.calls_and_number(ALL, &only(&["model=gpt*"]), 10).unwrap();
    assert_eq!(calls.len(), 1);
    assert_eq!(ledger.calls_after(number, &[], 10).unwrap(), (Vec::new(), number));
    store.append(&[full(), bare(), full(), full()]).unwrap();
    let (calls, number) = ledger.calls_after(number, &only(&["model=gpt*"]), 2).unwrap();
    assert_eq!(calls.len(), 2);
    let (calls, number) = ledger.calls_after(number, &only(&["model=gpt*"]), 2).unwrap();
    assert_eq!(calls.len(), 1);
    assert_eq!(ledger.calls_after(number, &[], 10).unwrap().0.len(), 0);
}

#[test]
fn a_mistyped_name_is_answered_with_the_nearest() {
    let error = |text: &str| text.parse::<Condition>().unwrap_err().to_string();
    assert!(error("modle=gpt*").contains("did you mean `model`?"));
    assert!(error("colour=red").contains("model, request_model") && !error("colour=red").contains("mean"));
    assert!(error("model").contains("NAME=PATTERN"));
    for text in ["model=gpt*", "user!=", "tool=a=b", "label.run!=7"] {
        assert_eq!(text.parse::<Condition>().unwrap().to_string(), text);
    }
}

#[test]
fn no_number_keeps_others_from_being_stored() {
    let mut absurd = full();
    absurd.call.usage.input_tokens = Some(u64::MAX);
    absurd.call.duration_seconds = f64::NAN;
    absurd.call.time_to_first_token_seconds = Some(f64::INFINITY);
    absurd.started_unix_nanos = i128::MAX;
    let many: Vec<Record> = std::iter::repeat_n(absurd, 100).chain([full()]).collect();
    let (_folder, ledger) = stored(&many);
    assert_eq!(ledger.report(ALL, &[], &[]).unwrap().total.calls, 101);
}

#[test]
fn a_stretch_of_time_is_the_same_from_hours_and_from_calls() {
    proptest!(|(times in prop::collection::vec(0..10 * HOUR_NANOS, 1..40), from in 0..10 * HOUR_NANOS, length in 0..10 * HOUR_NANOS)| {
        let mut records: Vec<Record> = times.iter().map(|nanos| at(*nanos, full())).collect();
        // The oldest call is there, so that the first hour is not taken whole.
        records.push(at(0, bare()));
        let (_folder, ledger) = stored(&records);
        let span = Span { from, until: from + length };
        let expected = times.iter().filter(|nanos| (span.from..span.until).contains(*nanos)).count() as u64;
        let report = ledger.report(span, &[], &only(&["model=gpt*"])).unwrap();
        let sum = report.total;
        prop_assert_eq!(report.span, span);
        prop_assert_eq!(sum.calls, expected);
        prop_assert_eq!(sum.input_tokens, expected * 100);
        prop_assert_eq!(sum.durations.quantile(0.5).is_some(), expected > 0);
        let calls = ledger.calls(span, &only(&["model=gpt*"]), 100).unwrap();
        prop_assert_eq!(calls.len() as u64, expected);
    });
}

#[test]
fn groups_are_told_apart_and_absent_is_not_zero() {
    let (_folder, ledger) = stored(&[full(), full(), bare()]);
    let report = ledger.report(ALL, &by(&["model", "user"]), &[]).unwrap();
    let [known, unknown] = report.groups.as_slice() else { panic!("{report:?}") };
    assert_eq!(known.key, [Some("gpt-4o-2024-08-06".to_owned()), Some("ada".to_owned())]);
    assert_eq!(unknown.key, [None, None]);
    let (known, unknown) = (&known.sums, &unknown.sums);
    assert_eq!((known.calls, known.errors, known.retries, known.known_usage), (2, 2, 2, 2));
    assert_eq!((known.input_tokens, known.output_tokens, known.reasoning_tokens), (200, 40, 10));
    assert_eq!((unknown.calls, unknown.known_usage, unknown.known_cost), (1, 0, 0));
    assert_eq!((report.total.calls, report.total.input_tokens), (3, 200));

    for (condition, calls) in
        [("model=", 1), ("model!=", 2), ("user=a*", 2), ("user!=ada", 1), ("error=interrupted", 2)]
    {
        let report = ledger.report(ALL, &[], &only(&[condition])).unwrap();
        assert_eq!(report.total.calls, calls, "{condition}");
    }
}

#[test]
fn tools_are_told_apart_by_single_calls() {
    let mut two = full();
    two.call.tool_calls = ["read", "write", "read"].map(str::to_owned).to_vec();
    let (_folder, ledger) = stored(&[full(), two, bare()]);
    let report = ledger.report(ALL, &by(&["tool"]), &[]).unwrap();
    assert_eq!(report.total.calls, 3, "each once");
    let mut tools: Vec<_> = report.groups.into_iter().map(|group| (group.key, group.sums.calls)).collect();
    tools.sort();
    let some = |name: &str| vec![Some(name.to_owned())];
    assert_eq!(tools, [(vec![None], 1), (some("get_weather"), 1), (some("read"), 1), (some("write"), 1)]);
    for (condition, calls) in
        [("tool=read", 1), ("tool=r*", 1), ("tool!=read", 2), ("tool=*", 2), ("tool=", 1), ("tool!=", 2)]
    {
        assert_eq!(ledger.calls(ALL, &only(&[condition]), 10).unwrap().len(), calls, "{condition}");
        assert_eq!(ledger.report(ALL, &[], &only(&[condition])).unwrap().total.calls, calls as u64);
    }
    let reads = ledger.report(ALL, &by(&["tool"]), &only(&["tool=r*"])).unwrap();
    assert_eq!(reads.groups.len(), 1, "the others are not asked for");
}

fn in_session(name: Option<&str>, labels: &[(&str, &str)]) -> Record {
    let mut record = full();
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    record.origin.session = Some(Session { name: name.map(str::to_owned), labels });
    record
}

#[test]
fn a_session_is_asked_for_with_those_within_it() {
    let (_folder, ledger) = stored(&[
        in_session(Some("nightly"), &[("data_id", "1")]),
        in_session(Some("nightly/suite"), &[("data_id", "1"), ("a.b-c", "x")]),
        in_session(Some("nightly2"), &[]),
        in_session(None, &[("data_id", "2")]),
        bare(),
    ]);
    for (condition, calls) in [
        ("session=nightly", 2),
        ("session=nightly/*", 1),
        ("session!=nightly", 3),
        ("session=", 2),
        ("session=n*", 3),
        ("label.data_id=1", 2),
        ("label.data_id!=", 3),
        ("label.a.b-c=x", 1),
        ("label.none=", 5),
    ] {
        let report = ledger.report(ALL, &[], &only(&[condition])).unwrap();
        assert_eq!(report.total.calls, calls, "{condition}");
        assert_eq!(ledger.calls(ALL, &only(&[condition]), 10).unwrap().len() as u64, calls, "{condition}");
    }
    let report = ledger.report(ALL, &by(&["label.data_id", "session"]), &[]).unwrap();
    assert_eq!(report.groups.len(), 5);
    assert!("label.a'b".parse::<Dimension>().unwrap_err().to_string().contains("label.KEY"));
    assert!("label.\"".parse::<Dimension>().is_err() && "label.".parse::<Dimension>().is_err());
}

#[test]
fn a_session_for_each_call_makes_no_row_of_sums_for_each() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.db");
    let records: Vec<Record> = (0..500)
        .map(|number| at(number, in_session(Some("eval"), &[("data_id", &number.to_string())])))
        .collect();
    let mut store = Store::open(&file).unwrap();
    store.append(&records).unwrap();
    let count = |table: &str| -> i64 {
        let database = rusqlite::Connection::open(&file).unwrap();
        database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    assert_eq!(["hour", "origin", "session"].map(count), [1, 1, 500]);
    // They go with the last of their calls, and may come again.
    store.prune(100 * 3600, Retention { calls: Duration::from_secs(3600), ..keep() }).unwrap();
    assert_eq!(["hour", "session"].map(count), [1, 0]);
    store.append(&records[..2]).unwrap();
    assert_eq!(["call", "session"].map(count), [2, 2]);
}

#[test]
fn the_end_of_a_call_is_no_further_call() {
    let mut end = full();
    end.call.continued = true;
    let (_folder, ledger) = stored(&[full(), end]);
    let sum = ledger.report(ALL, &[], &[]).unwrap().total;
    assert_eq!((sum.calls, sum.input_tokens), (1, 200));
}

#[test]
fn old_calls_go_and_their_sums_stay() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.db");
    let mut store = Store::open(&file).unwrap();
    store.append(&[at(0, full()), at(100 * HOUR_NANOS, full())]).unwrap();
    let keep = Retention { calls: Duration::from_secs(3600), ..keep() };
    assert!(!store.prune(100 * 3600, keep).unwrap());
    let ledger = Ledger::open(&file).unwrap();
    assert_eq!(ledger.calls(ALL, &[], 10).unwrap().len(), 1);
    let span = Span { from: 1, until: 101 * HOUR_NANOS };
    let report = ledger.report(span, &[], &[]).unwrap();
    assert_eq!((report.span.from, report.total.calls), (0, 2), "the first hour is taken whole");
    // Then the sums, with their times.
    store.prune(101 * 3600, Retention { hours: Duration::from_secs(3600), ..keep }).unwrap();
    assert_eq!(ledger.report(ALL, &[], &[]).unwrap().total.calls, 1);
}

#[test]
fn a_file_that_is_none_of_ours_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    assert!(Ledger::open(&file).unwrap_err().to_string().contains("--ledger"));

    fs::write(&file, "this is not a database, but some other file of somebody's").unwrap();
    let before = fs::read(&file).unwrap();
    assert!(Store::open(&file).unwrap_err().to_string().contains("not a database"));
    assert!(Ledger::open(&file).is_err());
    assert_eq!(fs::read(&file).unwrap(), before);

    let foreign = folder.path().join("foreign.db");
    rusqlite::Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    assert!(Store::open(&foreign).unwrap_err().to_string().contains("not llm-tracker's"));

    let newer = folder.path().join("newer.db");
    drop(Store::open(&newer).unwrap());
    rusqlite::Connection::open(&newer).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(Store::open(&newer).unwrap_err().to_string().contains("version 99"));
}

/// One of the sink's numbers: of a reason, or the only one of its name.
fn sample(sink: &LedgerSink, name: &str, reason: &str) -> u64 {
    let samples = sink.samples();
    let is_it = |sample: &&crate::record::Sample| {
        sample.name == name && (reason.is_empty() || sample.labels.iter().any(|(_, value)| value == reason))
    };
    samples.iter().find(is_it).unwrap().value as u64
}

fn lost(sink: &LedgerSink, reason: &str) -> u64 {
    sample(sink, "llm_tracker_ledger_lost_total", reason)
}

fn stored_by(sink: &LedgerSink) -> u64 {
    sample(sink, "llm_tracker_ledger_stored_total", "")
}

fn sink(file: &Path, queue: usize) -> LedgerSink {
    LedgerSink::start(LedgerConfig { file: file.to_owned(), retention: keep(), queue }).unwrap()
}

#[test]
fn a_sink_stores_what_it_was_given_before_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.db");
    let sink = sink(&file, 8192);
    for _ in 0..3000 {
        sink.record(&full());
    }
    sink.shutdown(Duration::from_secs(30));
    sink.record(&full());
    assert_eq!(stored_by(&sink), 3000);
    assert_eq!(lost(&sink, "shutdown"), 1);
    assert_eq!(Ledger::open(&file).unwrap().report(ALL, &[], &[]).unwrap().total.calls, 3000);
}

#[test]
fn what_cannot_be_stored_is_counted_and_stored_again_once_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.db");
    fs::write(&file, "no database at all: the file was damaged, say").unwrap();
    let sink = sink(&file, 4);
    for _ in 0..100 {
        sink.record(&full());
    }
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while lost(&sink, "corrupt") == 0 {
        assert!(std::time::Instant::now() < deadline);
        sink.record(&full());
        std::thread::sleep(Duration::from_millis(20));
    }
    // What the operator does.
    fs::rename(&file, folder.path().join("damaged")).unwrap();
    while stored_by(&sink) == 0 {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
    sink.shutdown(Duration::from_secs(10));
    let stored = stored_by(&sink);
    assert_eq!(Ledger::open(&file).unwrap().report(ALL, &[], &[]).unwrap().total.calls, stored);
}
