//! How fast one core turns captured plaintext into calls, and in how much memory.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::Parser;
use llm_tracker::provider::{Catalog, Estimates};
use llm_tracker_bench::{
    allocator::{self, Counting},
    process,
    replay::Workload,
    sample::median,
    table::{Table, Target, against},
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Measures decoding through `stream` and `provider` on one core.
#[derive(Parser)]
#[command(name = "bench-decode")]
struct Arguments {
    /// Captured plaintext of each run, MiB
    #[arg(long, default_value_t = 64)]
    mebibytes: usize,
    /// Runs of each; the median is reported
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Only workloads whose name contains this
    #[arg(long, default_value = "")]
    only: String,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let catalog = Arc::new(Catalog::new());
    let reports_only = Arc::new(Catalog::new().with_estimates(Estimates::Never));
    let size = arguments.mebibytes << 20;
    let header = [
        "",
        "MB/s captured",
        "MB/s decoded",
        "against --no-estimate",
        "peak heap KiB",
        "with 10 times the data",
    ];
    let mut table = Table::new("Decoding on one core, in 16 KiB records where nothing else is said", &header);
    for workload in Workload::all()?.iter().filter(|workload| workload.name.contains(&arguments.only)) {
        let repetitions = workload.repetitions_for(size);
        let mut rates = [Vec::new(), Vec::new()];
        let mut ratios = Vec::new();
        for _ in 0..arguments.rounds {
            let start = process::thread_cpu_time();
            workload.run(&reports_only, repetitions)?;
            let without = (process::thread_cpu_time() - start).as_secs_f64();
            // The thread's CPU time: neighbours on the machine take none of it.
            let start = process::thread_cpu_time();
            let fed = workload.run(&catalog, repetitions)?;
            let seconds = (process::thread_cpu_time() - start).as_secs_f64();
            ratios.push(without / seconds);
            for (rates, bytes) in rates.iter_mut().zip([fed.captured, fed.decoded]) {
                rates.push(bytes as f64 / 1e6 / seconds);
            }
        }
        let small = workload.repetitions_for(size / 16);
        let (once, fed) = allocator::peak_growth(|| workload.run(&catalog, small));
        fed?;
        let (tenfold, fed) = allocator::peak_growth(|| workload.run(&catalog, small * 10));
        fed?;
        let [captured, decoded] = rates.map(|rates| median(&rates));
        let captured = captured.context("no rounds, no figures")?;
        table.row([
            workload.name.to_owned(),
            match workload.target {
                Some(least) => against(captured, 0, Target::AtLeast(least)),
                None => format!("{captured:.0}"),
            },
            format!("{:.0}", decoded.unwrap_or_default()),
            against(median(&ratios).unwrap_or_default(), 2, Target::AtLeast(0.5)),
            format!("{:.1}", once as f64 / 1024.0),
            format!("{:.1}", tenfold as f64 / 1024.0),
        ]);
    }
    println!("{table}");
    Ok(())
}
