//! What is kept, and what gives way.

use super::*;
use crate::{ledger::prune::ROWS_AN_HOUR, stream::Role};

/// A call of somebody else each: `number` is in the name of the container.
fn of_another(number: usize, record: Record) -> Record {
    let mut record = record;
    record.origin.container.as_mut().unwrap().id = format!("{number:064}");
    record
}

fn prune_all(store: &mut Store, now: i64, keep: Retention) -> usize {
    (1..).find(|_| !store.prune(now, keep).unwrap()).unwrap()
}

fn count(file: &Path, what: &str) -> u64 {
    let database = rusqlite::Connection::open(file).unwrap();
    database.query_row(&format!("SELECT count(*) FROM {what}"), [], |row| row.get(0)).unwrap()
}

fn open(folder: &tempfile::TempDir) -> (std::path::PathBuf, Store) {
    let file = folder.path().join("ledger.db");
    let store = Store::open(&file).unwrap();
    (file, store)
}

/// Bytes of pages that are in use.
fn used(file: &Path) -> u64 {
    let database = rusqlite::Connection::open(file).unwrap();
    let pragma = |name| database.pragma_query_value(None, name, |row| row.get::<_, u64>(0)).unwrap();
    (pragma("page_count") - pragma("freelist_count")) * pragma("page_size")
}

#[test]
fn a_full_database_forgets_its_oldest_calls() {
    let folder = tempfile::tempdir().unwrap();
    let (file, mut store) = open(&folder);
    let records: Vec<Record> = (0..30_000).map(|nanos| at(nanos, full())).collect();
    store.append(&records).unwrap();
    let bytes = used(&file) / 2;
    let length = || fs::metadata(&file).unwrap().len();
    prune_all(&mut store, 0, Retention { bytes, ..keep() });
    rusqlite::Connection::open(&file)
        .unwrap()
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    assert!(length() <= bytes, "the disk has it back: {} of {bytes}", length());
    let ledger = Ledger::open(&file).unwrap();
    let calls = ledger.calls(ALL, &[], 30_000).unwrap();
    assert!((12_000..15_000).contains(&calls.len()), "{}", calls.len());
    assert_eq!(calls.last().unwrap()["timestamp"], "1970-01-01T00:00:00.000029Z");
    assert_eq!(ledger.report(ALL, &[], &[]).unwrap().total.calls, 30_000, "their sums stay");
}

#[test]
fn names_and_sums_that_fill_the_file_do_not_drive_out_the_calls() {
    let folder = tempfile::tempdir().unwrap();
    let (file, mut store) = open(&folder);
    // Four days of a new container for each call.
    let hours = 96;
    for hour in 0..hours {
        let records: Vec<Record> =
            (0..50).map(|n| of_another(hour * 50 + n, at(hour as i64 * HOUR_NANOS, full()))).collect();
        store.append(&records).unwrap();
    }
    let before = used(&file);
    let steps = prune_all(&mut store, 96 * 3600, Retention { bytes: before * 2 / 3, ..keep() });
    assert!(used(&file) <= before * 2 / 3, "{} of {before}", used(&file));
    assert!(steps < 50, "{steps}");
    let ledger = Ledger::open(&file).unwrap();
    let (calls, hours) = (count(&file, "call"), count(&file, "hour"));
    assert!(calls > 1000 && hours > 1000, "the latest of both stay: {calls}, {hours}");
    // However little there is: it ends, and what is left is whole.
    prune_all(&mut store, 96 * 3600, Retention { bytes: 1, ..keep() });
    assert_eq!(count(&file, "origin"), 0);
    store.append(&[full()]).unwrap();
    assert_eq!(ledger.report(ALL, &[], &[]).unwrap().total.calls, 1);
}

#[test]
fn a_name_goes_with_its_last_call_and_sum() {
    let folder = tempfile::tempdir().unwrap();
    let (file, mut store) = open(&folder);
    store.append(&[of_another(1, at(0, full())), of_another(2, at(0, full()))]).unwrap();
    store.append(&[of_another(2, at(200 * HOUR_NANOS, full()))]).unwrap();
    let hours = Retention { calls: Duration::from_secs(3600), ..keep() };
    prune_all(&mut store, 200 * 3600, hours);
    assert_eq!(count(&file, "origin"), 2, "a sum needs it");
    prune_all(&mut store, 200 * 3600, Retention { hours: Duration::from_secs(3600), ..hours });
    assert_eq!((count(&file, "origin"), count(&file, "target")), (1, 1));
    let dangling = count(&file, "pragma_foreign_key_check");
    // Its id is not remembered either.
    store.append(&[of_another(1, at(200 * HOUR_NANOS, full()))]).unwrap();
    assert_eq!((count(&file, "origin"), dangling, count(&file, "pragma_foreign_key_check")), (2, 0, 0));
}

#[test]
fn an_hour_of_many_names_is_folded_and_its_sums_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (file, mut store) = open(&folder);
    let all = ROWS_AN_HOUR as usize + 500;
    let mut records: Vec<Record> = (0..all).map(|n| of_another(n, at(0, full()))).collect();
    // The one with the most tokens keeps its name.
    records[all - 1].call.usage.input_tokens = Some(1_000_000);
    store.append(&records).unwrap();
    let ledger = Ledger::open(&file).unwrap();
    let totals = || ledger.report(ALL, &[], &[]).unwrap().total;
    let before = totals();
    assert_eq!(before.calls, all as u64);
    assert_eq!(count(&file, "hour"), all as u64);
    prune_all(&mut store, 4 * 3600, keep());
    assert_eq!(totals(), before);
    assert_eq!(count(&file, "hour"), u64::from(ROWS_AN_HOUR) + 1);
    let processes = ledger.report(ALL, &by(&["process"]), &[]).unwrap().groups;
    let other = processes.iter().find(|group| group.key == [Some("other".to_owned())]).unwrap();
    assert_eq!((processes.len(), other.sums.calls), (2, 500));
    let largest = ledger.report(ALL, &by(&["container"]), &[]).unwrap();
    assert_eq!(largest.total, before);
    // Once more changes nothing.
    prune_all(&mut Store::open(&file).unwrap(), 4 * 3600, keep());
    assert_eq!((totals(), count(&file, "hour")), (before, u64::from(ROWS_AN_HOUR) + 1));
}

#[test]
fn an_hour_of_many_models_is_folded_too() {
    let folder = tempfile::tempdir().unwrap();
    let (file, mut store) = open(&folder);
    let of = |n: usize| {
        let mut record = at(0, full());
        record.call.model = Some(format!("model-{n}"));
        record.call.role = if n.is_multiple_of(3) { Role::Server } else { Role::Client };
        record
    };
    let records: Vec<Record> = (0..2 * ROWS_AN_HOUR as usize + 1).map(of).collect();
    store.append(&records).unwrap();
    prune_all(&mut store, 4 * 3600, keep());
    assert_eq!(count(&file, "hour"), u64::from(ROWS_AN_HOUR) + 2, "what was asked and what was served");
    let ledger = Ledger::open(&file).unwrap();
    let calls = |conditions: &[Condition]| ledger.report(ALL, &[], conditions).unwrap().total.calls;
    let served = records.iter().filter(|record| record.call.role == Role::Server).count() as u64;
    assert_eq!(calls(&["role=server".parse().unwrap()]), served);
    assert_eq!(calls(&[]), records.len() as u64 - served, "what is served is left out unless asked for");
}
