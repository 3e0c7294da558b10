//! Files of earlier versions.

use super::*;

/// A file as version 1 wrote it: its tables, and two calls of one hour with their sums.
const VERSION_1: &str = include_str!("version-1.sql");

fn version_1() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.db");
    rusqlite::Connection::open(&file).unwrap().execute_batch(VERSION_1).unwrap();
    (folder, file)
}

#[test]
fn a_file_of_the_first_version_is_read_and_written() {
    let (_folder, file) = version_1();
    let error = Ledger::open(&file).unwrap_err().to_string();
    assert!(error.contains("version 1") && error.contains("llm-tracker run"), "{error}");

    let mut store = Store::open(&file).unwrap();
    let ledger = Ledger::open(&file).unwrap();
    let calls = ledger.calls(ALL, &[], 10).unwrap();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0]["process"]["pid"], 4711);
    assert_eq!(calls[0]["response_id"], "chatcmpl-1");
    let old = ledger.report(ALL, &by(&["model"]), &[]).unwrap();
    assert_eq!((old.total.calls, old.total.input_tokens, old.total.known_cost), (2, 200, 0));
    // 1.5 s is in a bucket whose middle is within 4.5 % of it.
    let near = |seconds: Option<f64>, exact: f64| (seconds.unwrap() / exact - 1.0).abs() < 0.046;
    assert!(near(old.total.durations.quantile(0.95), 1.5));
    assert!(near(old.total.first_tokens.quantile(0.5), 0.25));

    // The same origin and target as before, in the same hour: it is added to what is there.
    store.append(&[full()]).unwrap();
    let new = ledger.report(ALL, &by(&["model"]), &[]).unwrap();
    assert_eq!((new.groups.len(), new.total.calls, new.total.input_tokens), (1, 3, 300));
    assert!(near(new.total.durations.quantile(0.5), 1.5));
    assert!(!store.prune(1_767_323_045, keep()).unwrap());
    assert_eq!(ledger.calls(ALL, &[], 10).unwrap().len(), 3);
}

#[test]
fn a_migration_that_fails_leaves_the_file_as_it_was() {
    let (_folder, file) = version_1();
    // In the way of the next version's tables.
    rusqlite::Connection::open(&file)
        .unwrap()
        .execute_batch("CREATE INDEX origin_last_hour ON origin (id)")
        .unwrap();
    assert!(Store::open(&file).is_err());
    let database = rusqlite::Connection::open(&file).unwrap();
    let version = database.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).unwrap();
    let times: i64 = database.query_row("SELECT count(*) FROM hour_time", [], |row| row.get(0)).unwrap();
    assert_eq!((version, times), (1, 2));
}

#[test]
fn a_new_file_has_the_newest_version_and_nothing_refers_to_nothing() {
    let (folder, _) = stored(&[full(), bare()]);
    let database = rusqlite::Connection::open(folder.path().join("ledger.db")).unwrap();
    let one = |sql: &str| database.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(one("SELECT user_version FROM pragma_user_version"), i64::from(schema::VERSION));
    assert_eq!(one("SELECT count(*) FROM pragma_foreign_key_check"), 0);
}
