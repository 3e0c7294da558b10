//! How good the estimates are: beside what was reported where something was, and where nothing was.

use std::collections::BTreeMap;

use llm_tracker::provider::{Call, Estimates, UsageSource};

use crate::{
    feed::{self, Chunking},
    for_all,
    row::Row,
};

fn one(calls: Vec<Call>) -> Option<Call> {
    <[Call; 1]>::try_from(calls).ok().map(|[call]| call)
}

fn estimated(row: &Row, estimates: Estimates) -> Option<Call> {
    one(feed::estimated(row, estimates, &Chunking::Random(1), 100))
}

/// Tokens from which on a text is not a short one.
const LONG: u64 = 100;

/// Relative errors of one column, in parts of what was reported.
#[derive(Default)]
struct Errors(Vec<f64>);

impl Errors {
    fn add(&mut self, reported: Option<u64>, estimated: Option<u64>) {
        if let (Some(reported @ 1..), Some(estimated)) = (reported, estimated) {
            self.0.push(estimated as f64 / reported as f64 - 1.0);
        }
    }

    /// How many, the median of the errors with their signs, and median and 90th percentile without.
    fn columns(&mut self) -> String {
        let at = |sorted: &[f64], part: usize| {
            sorted.get(sorted.len() * part / 100).map_or("-".to_owned(), |e| format!("{:+.0} %", e * 100.0))
        };
        self.0.sort_by(f64::total_cmp);
        let bias = at(&self.0, 50);
        let mut sizes: Vec<_> = self.0.iter().map(|error| error.abs()).collect();
        sizes.sort_by(f64::total_cmp);
        let size = |part| at(&sizes, part).replace('+', "");
        format!("{} | {bias} | {} | {}", sizes.len(), size(50), size(90))
    }
}

/// The table for the README. Prompts that the recording lacks are not compared, nor answers with reasoning,
/// which is billed and not always shown.
#[test]
#[ignore = "a report, not a test: run with --ignored --nocapture"]
fn errors_by_provider() {
    let mut table = BTreeMap::<_, [Errors; 2]>::new();
    for (provider, reported, estimated) in for_all(|row| {
        let reported = one(feed::calls(row, &Chunking::Whole)).filter(|_| !row.ambiguous)?;
        let mut estimated = estimated(row, Estimates::Always)?;
        if !row.has_request_body() {
            estimated.usage.input_tokens = None;
        }
        if reported.usage.reasoning_tokens > Some(0) {
            estimated.usage.output_tokens = None;
        }
        if std::env::var_os("EACH_ESTIMATE").is_some() {
            let (r, e) = (&reported.usage, &estimated.usage);
            eprintln!(
                "{} {:?}/{:?} {:?}/{:?}",
                row.id, e.input_tokens, r.input_tokens, e.output_tokens, r.output_tokens
            );
        }
        Some((row.provider.clone(), reported.usage, estimated.usage))
    })
    .into_iter()
    .flatten()
    {
        for (name, least) in [(provider, 0), ("all".to_owned(), 0), (format!("all of {LONG} or more"), LONG)]
        {
            // What a provider adds to a prompt is the most of a short one: by the text, not by the report.
            let long = |estimated: Option<u64>| estimated.filter(|&tokens| tokens >= least);
            let [input, output] = table.entry(name).or_default();
            input.add(reported.input_tokens, long(estimated.input_tokens));
            output.add(reported.output_tokens, long(estimated.output_tokens));
        }
    }
    println!("| provider | prompts | bias | median | p90 | answers | bias | median | p90 |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for (provider, [mut input, mut output]) in table {
        println!("| {provider} | {} | {} |", input.columns(), output.columns());
    }
}

/// What was reported stays, what was not is marked, and failures have no numbers.
#[test]
fn estimates_are_told_apart() {
    let said = for_all(|row| {
        let (Some(plain), Some(call)) =
            (one(feed::calls(row, &Chunking::Whole)), estimated(row, Estimates::Missing))
        else {
            return (false, None);
        };
        let failed = call.status.is_some_and(|status| status >= 400);
        let right = match call.usage.source {
            UsageSource::Estimated => {
                let kept = plain.usage.input_tokens.is_none_or(|n| call.usage.input_tokens == Some(n));
                let open = plain.usage.source == UsageSource::Missing
                    || plain.error.as_deref() == Some("interrupted") && plain.usage.output_tokens.is_none();
                kept && open && !failed
            }
            _ => plain.usage == call.usage,
        };
        let wrong = (!right && !row.ambiguous).then(|| format!("{}: {:?}", row.id, call.usage));
        (call.usage.source == UsageSource::Estimated, wrong)
    });
    let estimated = said.iter().filter(|(estimated, _)| *estimated).count();
    eprintln!("{estimated} of {} recordings have estimates", said.len());
    assert!(estimated > 0);
    let wrong: Vec<_> = said.into_iter().filter_map(|(_, wrong)| wrong).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The estimate depends on what was said, not on how the bytes came.
#[test]
fn estimates_do_not_depend_on_chunks() {
    let said = for_all(|row| {
        let usage =
            |chunking| one(feed::estimated(row, Estimates::Always, &chunking, 100)).map(|call| call.usage);
        let whole = usage(Chunking::Whole);
        let cut = [Chunking::Fixed(7), Chunking::Random(5)].map(usage);
        (!cut.iter().all(|cut| *cut == whole)).then(|| format!("{}: {whole:?}, {cut:?}", row.id))
    });
    let wrong: Vec<_> = said.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
