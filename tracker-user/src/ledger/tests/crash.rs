//! A writer that is killed at any moment.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::Instant,
};

use super::*;

/// The test runs itself with the ledger's file in here, to be killed.
const CHILD: &str = "LEDGER_OF_A_TEST";
const KILLED: u32 = 100;

/// Stores calls for ever and says how many are committed, a line each time.
fn store_for_ever(file: &Path) -> ! {
    let mut store = Store::open(file).unwrap();
    // Now, or they would be pruned.
    let records: Vec<Record> =
        (0..50).map(|n| at(jiff::Timestamp::now().as_nanosecond() as i64 + n, full())).collect();
    for batch in 1.. {
        store.append(&records).unwrap();
        println!("stored {}", batch * records.len());
    }
    unreachable!("it is killed")
}

#[test]
fn a_hundred_kills_lose_no_committed_row() {
    if let Some(file) = std::env::var_os(CHILD) {
        store_for_ever(Path::new(&file));
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.db");
    let name = "ledger::tests::crash::a_hundred_kills_lose_no_committed_row";
    let deadline = Instant::now() + Duration::from_secs(600);
    let (mut committed, mut before) = (0, 0);
    for round in 0..KILLED {
        assert!(Instant::now() < deadline, "round {round}");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, &file)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said =
            || lines.by_ref().find_map(|line| line.unwrap().strip_prefix("stored ")?.parse::<u64>().ok());
        // Sometimes as soon as something is committed, sometimes in the middle of more.
        let mut of_this = said().unwrap();
        std::thread::sleep(Duration::from_micros(u64::from(round * 37 % 100) * 200));
        child.kill().unwrap();
        child.wait().unwrap();
        while let Some(stored) = said() {
            of_this = stored;
        }
        committed += of_this;

        let ledger = Ledger::open(&file).unwrap();
        let calls = ledger.report(ALL, &[], &[]).unwrap().total.calls;
        assert!(calls >= committed, "{calls} of {committed} in round {round}");
        // What was committed and not yet said belongs to this round.
        committed = calls;
        assert!(calls > before);
        before = calls;
    }
    let database = rusqlite::Connection::open(&file).unwrap();
    let one = |sql: &str| database.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(one("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
    for sums in ["sum(1)", "sum(input_tokens)", "sum(output_tokens)"] {
        let hours = if sums == "sum(1)" { "sum(calls)" } else { sums };
        assert_eq!(
            one(&format!("SELECT {sums} FROM call")),
            one(&format!("SELECT {hours} FROM hour")),
            "{sums}"
        );
    }
}
