//! Groups against the same added up call by call.

use std::collections::BTreeMap;

use super::*;
use crate::pricing::{Cost, CostSource, Usd};

/// Calls of a few hours that differ in everything that a group may be told by. All amounts are halves and
/// quarters, whose sums are the same in any order.
fn records() -> impl Strategy<Value = Vec<Record>> {
    let one = (0..3 * HOUR_NANOS, 0..3_usize, 0..3_usize, any::<bool>(), 1..2000_u32, 0..4_u64);
    prop::collection::vec(one, 1..60).prop_map(|calls| {
        let of = |(nanos, who, what, fails, quarters, tokens): (i64, usize, usize, bool, u32, u64)| {
            let mut record = at(nanos, if what == 2 { bare() } else { full() });
            record.origin.process.name = Some(["python3", "node", "curl"][who].to_owned());
            record.origin.session.take_if(|_| who == 1);
            record.call.model = Some(["gpt-5", "claude", "gemini"][what].to_owned());
            record.call.response_model = None;
            record.call.error = fails.then(|| "overloaded".to_owned());
            record.call.usage.input_tokens = (tokens > 0).then_some(tokens * 1000);
            record.call.duration_seconds = f64::from(quarters) / 4.0;
            let amount = Usd::from_pico(u64::from(quarters) * 250_000_000_000);
            record.cost = Cost::Known { amount, list: None, source: CostSource::List };
            record
        };
        calls.into_iter().map(of).collect()
    })
}

/// What the calls with each of the values of `key` add up to.
fn added_up(
    records: &[Record],
    key: impl Fn(&Record) -> Vec<Option<String>>,
) -> BTreeMap<Vec<Option<String>>, Sums> {
    let mut groups = BTreeMap::<_, Sums>::new();
    for record in records {
        let Record { call, cost, .. } = record;
        let sums = groups.entry(key(record)).or_default();
        let tokens = |tokens: Option<u64>| tokens.unwrap_or(0);
        sums.calls += 1;
        sums.errors += u64::from(call.error.is_some());
        sums.retries += u64::from(call.retry.unwrap_or(0) > 0);
        sums.known_usage += u64::from(call.usage.input_tokens.or(call.usage.output_tokens).is_some());
        sums.input_tokens += tokens(call.usage.input_tokens);
        sums.cache_read_input_tokens += tokens(call.usage.cache_read_input_tokens);
        sums.cache_creation_input_tokens += tokens(call.usage.cache_creation_input_tokens);
        sums.output_tokens += tokens(call.usage.output_tokens);
        sums.reasoning_tokens += tokens(call.usage.reasoning_tokens);
        sums.known_cost += 1;
        sums.cost_usd += cost.amount().unwrap().dollars();
        sums.duration_seconds += call.duration_seconds;
        sums.output_seconds += call.usage.output_tokens.map_or(0.0, |_| call.duration_seconds);
        sums.durations.count(call.duration_seconds);
        if let Some(seconds) = call.time_to_first_token_seconds {
            sums.first_tokens.count(seconds);
        }
    }
    groups
}

#[test]
fn groups_are_what_their_calls_add_up_to() {
    type Key = fn(&Record) -> Vec<Option<String>>;
    let cases: [(&[&str], Key); 6] = [
        (&[], |_| Vec::new()),
        (&["model"], |record| vec![record.call.model.clone()]),
        (&["error", "usage_source"], |Record { call, .. }| {
            vec![call.error.clone(), Some(call.usage.source.as_str().to_owned())]
        }),
        (&["process", "model", "error"], |Record { call, origin, .. }| {
            vec![origin.process.name.clone(), call.model.clone(), call.error.clone()]
        }),
        (&["session"], |record| {
            vec![record.origin.session.as_ref().and_then(|session| session.name.clone())]
        }),
        (&["label.data_id", "process"], |Record { origin, .. }| {
            let label = origin.session.as_ref().and_then(|session| session.labels.get("data_id"));
            vec![label.cloned(), origin.process.name.clone()]
        }),
    ];
    proptest!(ProptestConfig::with_cases(24), |(records in records())| {
        let (_folder, ledger) = stored(&records);
        for (names, key) in cases {
            let expected = added_up(&records, key);
            // Sums by the hour do not tell tools: the second takes each call.
            for conditions in [&["role=*"][..], &["role=*", "tool!=none"]] {
                let report = ledger.report(ALL, &by(names), &only(conditions)).unwrap();
                prop_assert_eq!(report.groups.len(), expected.len());
                for Group { key, sums } in &report.groups {
                    prop_assert_eq!(Some(sums), expected.get(key), "{:?} {:?}", key, conditions);
                }
                prop_assert_eq!(&report.total, &added_up(&records, |_| Vec::new())[&Vec::new()]);
            }
        }
    });
}

#[test]
fn a_report_has_so_many_groups_and_no_more() {
    let records: Vec<Record> =
        (0..10).map(|number| in_session(Some(&format!("run-{}", number % 5)), &[])).collect();
    let (_folder, ledger) = stored(&records);
    let ledger = ledger.with_most_groups(5);
    assert_eq!(ledger.report(ALL, &by(&["session"]), &[]).unwrap().groups.len(), 5);
    let ledger = ledger.with_most_groups(4);
    let error = ledger.report(ALL, &by(&["session"]), &[]).unwrap_err().to_string();
    assert!(error.contains("more than 4 groups"), "{error}");
    // It answers on.
    assert_eq!(ledger.report(ALL, &[], &[]).unwrap().total.calls, 10);
}

#[test]
fn who_reads_and_who_writes_do_not_wait_for_each_other() {
    let (folder, ledger) = stored(&[full()]);
    let file = folder.path().join("ledger.db");
    let calls = || ledger.report(ALL, &[], &[]).unwrap().total.calls;
    let (reader, writer) =
        (rusqlite::Connection::open(&file).unwrap(), rusqlite::Connection::open(&file).unwrap());
    let seen = || reader.query_row("SELECT count(*) FROM call", [], |row| row.get::<_, i64>(0)).unwrap();
    // In the midst of a long answer, for which the file stays as it was.
    reader.execute_batch("BEGIN").unwrap();
    assert_eq!(seen(), 1);
    let mut store = Store::open(&file).unwrap();
    store.append(&[full(), full()]).unwrap();
    assert!(!store.prune(1_767_323_045, keep()).unwrap());
    assert_eq!((seen(), calls()), (1, 3));
    // In the midst of storing.
    writer.execute_batch("BEGIN IMMEDIATE; DELETE FROM hour").unwrap();
    assert_eq!(calls(), 3);
}
