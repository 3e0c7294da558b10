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
#[path = "recordings/costs.rs"]
mod costs;
#[path = "recordings/estimates.rs"]
mod estimates;
#[path = "recordings/feed.rs"]
mod feed;
#[path = "recordings/http2.rs"]
mod http2;
#[path = "recordings/row.rs"]
mod row;
#[path = "recordings/variants.rs"]
mod variants;

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

/// The same over HTTP/2, twice on one connection at the same time.
#[test]
fn recordings_come_out_as_expected_over_http2() {
    let said = for_all(|row| {
        if row.ambiguous {
            return Vec::new();
        }
        // What has an id that is asked for again and again is counted once; to make it is a call each
        // time, though here both are given the recorded id.
        let once = feed::calls(row, &Chunking::Whole).len();
        let again = feed::is_polled(row) && !check::made_here(row);
        let expected = if again { once } else { 2 * once };
        let length = row.response_body().len();
        let small = if length <= BYTEWISE / 2 { 1 } else { 61 };
        let differ = |chunking: &Chunking| {
            let (calls, counters) = http2::calls(row, chunking, http2::From::Start);
            let mut wrong = Vec::new();
            if calls.len() != expected
                || counters.malformed + counters.hpack_desync + counters.skipped_bytes > 0
            {
                wrong.push(format!("{} calls, {counters:?}", calls.len()));
            }
            // One by one, and where there is none, none was expected.
            let each = calls.chunks(1).chain(calls.is_empty().then_some(&[][..]));
            wrong.extend(each.flat_map(|call| check::differences(row, call)));
            (!wrong.is_empty()).then(|| format!("{} {chunking:?}: {}", row.id, wrong.join("; ")))
        };
        let chunkings = [Chunking::Whole, Chunking::Fixed(small), Chunking::Random(1), Chunking::Random(2)];
        chunkings.iter().filter_map(differ).collect()
    });
    eprintln!("{} recordings over HTTP/2", said.len());
    let failures: Vec<_> = said.into_iter().flatten().collect();
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}

/// Joined when host, path and all header fields stand in a part of the header table that was never
/// seen: what the bodies give away is right, and nothing else is said.
#[test]
fn from_the_middle_of_http2_nothing_wrong_is_said() {
    let told = Mutex::new(BTreeMap::<String, (usize, usize)>::new());
    let said = for_all(|row| {
        if row.ambiguous {
            return Vec::new();
        }
        let (calls, counters) = http2::calls(row, &Chunking::Random(1), http2::From::Middle);
        let mut wrong = Vec::new();
        if counters.hpack_desync != 2 {
            wrong.push(format!("{} {counters:?}", row.id));
        }
        let whole = feed::calls(row, &Chunking::Whole);
        for call in &calls {
            let [whole] = &whole[..] else {
                wrong.push(format!("{}: {call:?}, but it is no call", row.id));
                continue;
            };
            // Mistral counts audio beside the prompt, and only the host says that it is Mistral.
            if row.provider == "mistral" && call.model.as_ref().is_some_and(|it| it.starts_with("voxtral")) {
                continue;
            }
            let mut told = feed::same_times(call, whole);
            // What only the head has.
            told.status = told.status.or(whole.status);
            told.path.clone_from(&whole.path);
            told.server_address.clone_from(&whole.server_address);
            told.server_port = whole.server_port;
            told.subscription = whole.subscription;
            told.provider = whole.provider;
            told.model = told.model.or_else(|| whole.model.clone());
            if told != *whole {
                wrong.push(format!("{}: {told:?}, not {whole:?}", row.id));
            }
        }
        // Where the source did not record the request, half of what would tell is missing.
        if row.has_request_body() {
            let mut told = told.lock().unwrap();
            let entry = told.entry(row.endpoint.clone()).or_insert((0, 0));
            *entry = (entry.0 + usize::from(calls.len() == 2), entry.1 + 1);
        }
        wrong
    });
    for (endpoint, (told, all)) in told.into_inner().unwrap() {
        eprintln!("{endpoint:32} {told:5} of {all:5} told by their bodies alone");
    }
    let wrong: Vec<_> = said.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
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
