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

use std::{collections::BTreeMap, path::Path, sync::Arc};

use feed::Chunking;
use llm_tracker::provider::Catalog;
use row::Row;

/// Endpoints whose dialects are read by this version.
const ENDPOINTS: &[&str] = &[
    "openai.chat",
    "openai.responses",
    "openai.completions",
    "openai.embeddings",
    "anthropic.messages",
    "gemini.generateContent",
    "gemini.streamGenerateContent",
    "gemini.embedContent",
    "vertex.rawPredict",
    "vertex.streamRawPredict",
];

/// Bodies up to here are also fed one byte at a time, larger ones 61 bytes at a time.
const BYTEWISE: usize = 256 * 1024;

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

#[test]
fn recordings_come_out_as_expected() {
    let catalog = Arc::new(Catalog::new());
    let mut failures = Vec::new();
    let (mut rows_seen, mut ambiguous) = (0, BTreeMap::new());
    for row in rows() {
        if !ENDPOINTS.contains(&row.endpoint.as_str()) {
            continue;
        }
        let length = row.response_body().len();
        let bytewise = if length <= BYTEWISE { 1 } else { 61 };
        let mut chunkings =
            vec![Chunking::Whole, Chunking::Fixed(bytewise), Chunking::Random(1), Chunking::Random(2)];
        chunkings.extend(row.read_chunks().map(Chunking::Recorded));
        for chunking in chunkings {
            let calls = feed::calls(&catalog, &row, &chunking);
            let differences = check::differences(&row, &calls);
            if row.ambiguous {
                if !differences.is_empty() && matches!(chunking, Chunking::Whole) {
                    eprintln!("ambiguous: {}: {}", row.id, differences.join("; "));
                }
                let right = ambiguous.entry(row.id.clone()).or_insert(true);
                *right &= differences.is_empty();
            } else if !differences.is_empty() {
                failures.push(format!("{} {chunking:?}: {}", row.id, differences.join("; ")));
            }
        }
        rows_seen += 1;
    }
    let also_right = ambiguous.values().filter(|&&right| right).count();
    eprintln!(
        "{rows_seen} recordings; of {} ambiguous ones {also_right} are as expected too",
        ambiguous.len()
    );
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}

/// What the rows of dialects that are not read yet would give: a measure for the work ahead.
#[test]
#[ignore = "a report, not a test: run with --ignored --nocapture"]
fn report_all_endpoints() {
    let catalog = Arc::new(Catalog::new());
    let mut table = BTreeMap::<String, (usize, usize)>::new();
    for row in rows() {
        let entry = table.entry(row.endpoint.clone()).or_default();
        entry.1 += 1;
        let differences = check::differences(&row, &feed::calls(&catalog, &row, &Chunking::Whole));
        entry.0 += usize::from(differences.is_empty());
    }
    let (right, all) = table.values().fold((0, 0), |(right, all), row| (right + row.0, all + row.1));
    for (endpoint, (right, all)) in table {
        eprintln!("{endpoint:32} {right:5} of {all:5}");
    }
    eprintln!("{:32} {right:5} of {all:5}", "all");
}
