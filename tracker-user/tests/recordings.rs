//! Recorded exchanges, in many chunkings, through `stream` and `provider`: every number has to be
//! the one that stands in the recording.
//!
//! The recordings are not part of this repository. They are read from `../shared/wire` beside it
//! (`index.jsonl`, described there in `README.md`); where that is missing the test says so and only
//! runs on the examples in `tests/data`, which have the same form.
//!
//! What a failure prints are ids and fields, never bodies.

#![expect(clippy::unwrap_used, reason = "a recording that cannot be read fails the test")]

#[path = "recordings/check.rs"]
mod check;
#[path = "recordings/feed.rs"]
mod feed;
#[path = "recordings/row.rs"]
mod row;

use std::{collections::BTreeMap, path::Path, sync::Mutex};

use feed::Chunking;
use row::Row;

/// Bodies up to here are also fed one byte at a time, larger ones 61 bytes at a time.
const BYTEWISE: usize = 64 * 1024;

fn rows() -> Vec<Row> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = Row::load(&manifest.join("tests/data"));
    assert!(!own.is_empty());
    let shared = manifest.join("../../shared/wire");
    if shared.join("index.jsonl").is_file() {
        own.into_iter().chain(Row::load(&shared)).collect()
    } else {
        eprintln!("{} is missing: only the examples in tests/data are tested", shared.display());
        own
    }
}

/// Runs `check` on every row, on all cores, and collects what it says.
fn for_all<T: Send>(check: impl Fn(&Row) -> T + Sync) -> Vec<T> {
    let rows = Mutex::new(rows());
    let said = Mutex::new(Vec::new());
    let next = || rows.lock().unwrap().pop();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(row) = next() {
                    let one = check(&row);
                    said.lock().unwrap().push(one);
                }
            });
        }
    });
    said.into_inner().unwrap()
}

#[test]
fn recordings_come_out_as_expected() {
    let said = for_all(|row| {
        let length = row.response_body().len();
        let small = if length <= BYTEWISE { 1 } else { 61 };
        let mut chunkings =
            vec![Chunking::Whole, Chunking::Fixed(small), Chunking::Random(1), Chunking::Random(2)];
        chunkings.extend(row.read_chunks().map(Chunking::Recorded));
        let differ = |chunking: &Chunking| {
            let differences = check::differences(row, &feed::calls(row, chunking));
            (!differences.is_empty()).then(|| format!("{} {chunking:?}: {}", row.id, differences.join("; ")))
        };
        (row.ambiguous, chunkings.iter().filter_map(differ).collect::<Vec<_>>())
    });
    let (ambiguous, clear): (Vec<_>, Vec<_>) = said.into_iter().partition(|(ambiguous, _)| *ambiguous);
    let right = ambiguous.iter().filter(|(_, differences)| differences.is_empty()).count();
    eprintln!("{} recordings, and {} ambiguous ones, {right} as expected too", clear.len(), ambiguous.len());
    let failures: Vec<_> = clear.into_iter().flat_map(|(_, differences)| differences).collect();
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}

/// A stream that was cut is `interrupted`, and what it reports is never a number that the whole
/// stream would have corrected.
#[test]
fn a_cut_stream_gives_no_wrong_number() {
    let said = for_all(|row| {
        let whole = feed::calls(row, &Chunking::Whole);
        // Some ambiguous ones are several streams glued together: no cut of them means anything.
        let ([whole], true) = (&whole[..], row.streaming && !row.ambiguous) else { return (0, Vec::new()) };
        let mut wrong = Vec::new();
        for percent in [2, 10, 25, 40, 55, 70, 80, 90, 95, 98] {
            let calls = feed::cut_calls(row, percent);
            // Where the host is unknown a stream may be cut before it shows what it is.
            let [call] = &calls[..] else { continue };
            // After its own terminator only the end of the HTTP body is missing.
            let ended = call.error.is_none() && call == &feed::same_times(whole, call);
            if !ended && call.error.is_none() {
                wrong.push(format!("{} cut at {percent} %: not interrupted", row.id));
            }
            let (cut, full) = (call.usage.output_tokens, whole.usage.output_tokens);
            if cut.is_some() && cut != full && !check::counts_as_it_goes(row) {
                wrong.push(format!("{} cut at {percent} %: output is {cut:?} of {full:?}", row.id));
            }
        }
        (1, wrong)
    });
    eprintln!("{} streams cut", said.iter().map(|(streams, _)| streams).sum::<usize>());
    let wrong: Vec<_> = said.into_iter().flat_map(|(_, wrong)| wrong).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The table for the README: how many come out right, by provider, operation and streaming.
#[test]
#[ignore = "a report, not a test: run with --ignored --nocapture"]
fn report() {
    let mut table = BTreeMap::<_, (usize, usize)>::new();
    let said = for_all(|row| {
        let differences = check::differences(row, &feed::calls(row, &Chunking::Whole));
        if !differences.is_empty() {
            let ambiguous = if row.ambiguous { " (ambiguous)" } else { "" };
            eprintln!("{}{ambiguous}: {}", row.id, differences.join("; "));
        }
        (row.provider.clone(), row.endpoint.clone(), row.streaming, row.ambiguous, differences.is_empty())
    });
    for (provider, endpoint, streaming, ambiguous, right) in said {
        if !ambiguous {
            let entry = table.entry((provider, endpoint, streaming)).or_default();
            entry.0 += usize::from(right);
            entry.1 += 1;
        }
    }
    println!("| provider | operation | streaming | right | of |\n|---|---|---|---|---|");
    let (right, all) = table.values().fold((0, 0), |(right, all), row| (right + row.0, all + row.1));
    for ((provider, endpoint, streaming), (right, all)) in table {
        println!("| {provider} | {endpoint} | {} | {right} | {all} |", if streaming { "yes" } else { "no" });
    }
    println!("| all | | | {right} | {all} |");
}
