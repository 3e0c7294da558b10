use super::{watch::crossed, *};
use crate::{
    ledger::Store,
    pricing::{Cost, CostSource, Usd},
    record::{Record, tests::full},
};

fn budget(fields: &str) -> Result<Budget, String> {
    toml::from_str(&format!("name = \"b\"\nwindow = \"day\"\n{fields}")).map_err(|error| error.to_string())
}

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

/// A call at that time, of that user, for so much.
fn call(time: &str, user: &str, dollars: f64) -> Record {
    let mut record = full();
    record.started_unix_nanos = at(time).as_nanosecond();
    record.origin.process.user = Some(user.to_owned());
    let amount = Usd::from_dollars(dollars).unwrap();
    record.cost = Cost::Known { amount, list: None, source: CostSource::List };
    record
}

#[test]
fn windows_begin_with_the_calendar() {
    let now = at("2026-03-15T13:14:15.5Z");
    for (window, began) in [
        (Window::Hour, "2026-03-15T13:00:00Z"),
        (Window::Day, "2026-03-15T00:00:00Z"),
        (Window::Month, "2026-03-01T00:00:00Z"),
    ] {
        assert_eq!(window.began(now), at(began));
    }
}

#[test]
fn a_mistake_is_said() {
    for (fields, word) in [
        ("", "limit_usd"),
        ("limit_usd = 1.0\nlimit_tokens = 1", "either"),
        ("limit_usd = -1.0", "above zero"),
        ("limit_tokens = 1\nthresholds = [0.0]", "share of the limit"),
        ("limit_tokens = 1\nwhere = [\"usr=ada\"]", "there is no `usr`"),
        ("limit_tokens = 1\nwebhook = \"ftp://h/\"", "http://"),
        ("limit_tokens = 1\ncommand = [\"sh\"]", "whole path"),
        ("limit_tokens = 1\nlimits = 1", "unknown field"),
    ] {
        let error = budget(fields).unwrap_err();
        assert!(error.contains(word), "{fields}: {error}");
    }
    let two = [budget("limit_tokens = 1").unwrap(), budget("limit_usd = 1.0").unwrap()];
    assert_eq!(check(&two), Some("two are called b".to_owned()));
    assert_eq!(check(&two[..1]), None);
}

#[test]
fn each_threshold_is_told_once_in_each_window_and_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.db");
    let mut store = Store::open(&file).unwrap();
    let budgets = [budget("limit_usd = 10.0\nthresholds = [0.5]\nwhere = [\"user=ada\"]").unwrap()];
    let look = |now: &str| -> (f64, Vec<f64>) {
        let (used, crossings) = crossed(&file, &budgets, at(now)).unwrap();
        (used[0].used, crossings.iter().map(|crossing| crossing.threshold).collect())
    };
    store
        .append([&call("2026-03-15T10:00:00Z", "ada", 4.0), &call("2026-03-15T10:00:00Z", "bob", 90.0)])
        .unwrap();
    assert_eq!(look("2026-03-15T10:00:01Z"), (4.0, vec![]));
    store.append([&call("2026-03-15T10:01:00Z", "ada", 2.0)]).unwrap();
    assert_eq!(look("2026-03-15T10:01:01Z"), (6.0, vec![0.5]));
    // All that is known is in the file.
    assert_eq!(look("2026-03-15T10:01:02Z"), (6.0, vec![]));
    store.append([&call("2026-03-15T10:02:00Z", "ada", 5.0)]).unwrap();
    assert_eq!(look("2026-03-15T10:02:01Z"), (11.0, vec![1.0]));
    assert_eq!(look("2026-03-16T00:00:01Z"), (0.0, vec![]));
    store.append([&call("2026-03-16T00:00:02Z", "ada", 20.0)]).unwrap();
    assert_eq!(look("2026-03-16T00:00:03Z"), (20.0, vec![0.5, 1.0]));
}

#[test]
fn a_window_that_moves_on_can_be_exceeded_again_once_it_was_free() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.db");
    let mut store = Store::open(&file).unwrap();
    // Each has 120 tokens.
    let budgets = [budget("limit_tokens = 200\nrolling = true").unwrap()];
    let look = |now: &str| -> (f64, usize) {
        let (used, crossings) = crossed(&file, &budgets, at(now)).unwrap();
        (used[0].used, crossings.len())
    };
    store
        .append([&call("2026-03-15T10:00:00Z", "ada", 0.0), &call("2026-03-15T11:00:00Z", "bob", 0.0)])
        .unwrap();
    assert_eq!(look("2026-03-15T12:00:00Z"), (240.0, 1));
    assert_eq!(look("2026-03-16T09:59:59Z"), (240.0, 0));
    assert_eq!(look("2026-03-16T10:30:00Z"), (120.0, 0));
    store.append([&call("2026-03-16T10:45:00Z", "ada", 0.0)]).unwrap();
    assert_eq!(look("2026-03-16T10:50:00Z"), (240.0, 1));
}
