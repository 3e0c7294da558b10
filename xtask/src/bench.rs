//! The benchmarks: one table, and starting them.
//!
//! They print ratios of figures taken in one run; none is part of the test suite.

use std::ffi::OsString;

use clap::builder::{PossibleValue, PossibleValuesParser};

use crate::build::{self, Profile};
use crate::context::Context;
use crate::{packages, process};

/// A benchmark: the binary `bench-NAME` of the `bench` crate.
struct Benchmark {
    name: &'static str,
    /// What it measures.
    about: &'static str,
}

const BENCHMARKS: &[Benchmark] = &[
    Benchmark { name: "overhead", about: "What a probe costs each TLS call, and an nginx under load" },
    Benchmark {
        name: "go",
        about: "What being watched costs a program in Go (needs Go; GO names its command)",
    },
    Benchmark { name: "attach", about: "How many first calls of new libraries are seen, and how soon" },
    Benchmark { name: "scan", about: "What it costs to look at a host with 2,000 processes" },
    Benchmark { name: "churn", about: "Whether calls are named rightly where processes come and go" },
    Benchmark { name: "decode", about: "MB/s of recorded exchanges through stream and provider" },
    Benchmark { name: "scrape", about: "What the metrics page costs, with 10,000 series" },
    Benchmark { name: "ledger", about: "Calls stored a second, and how soon the ledger answers" },
    Benchmark { name: "memory", about: "The daemon's memory and CPU, idle and per open connection" },
];

/// The names, for the command line.
pub(crate) fn names() -> PossibleValuesParser {
    let value = |Benchmark { name, about }: &Benchmark| PossibleValue::new(*name).help(*about);
    PossibleValuesParser::new(BENCHMARKS.iter().map(value))
}

/// Builds the daemon, then runs the benchmark called `name`, or all of them.
///
/// # Errors
/// When the build or a benchmark fails.
pub(crate) fn run(context: &Context, name: Option<&str>, args: &[OsString]) -> anyhow::Result<()> {
    let binary = build::build(context, Profile::Release)?;
    packages::ensure(context, "the benchmarks", packages::TEST)?;
    for Benchmark { name, .. } in BENCHMARKS.iter().filter(|it| name.is_none_or(|name| name == it.name)) {
        let mut cargo = context.cargo();
        cargo
            .args([
                "run",
                "--release",
                "--package",
                "llm-tracker-bench",
                "--bin",
                &format!("bench-{name}"),
                "--",
            ])
            .args(args)
            .env("LLM_TRACKER_BIN", &binary);
        process::run(&format!("benchmark {name}"), &mut cargo)?;
    }
    Ok(())
}
