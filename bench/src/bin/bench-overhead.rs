//! What the watched programs pay: nanoseconds a TLS call, requests a second of an nginx.
//!
//! All variants are measured in turn, round after round, in one run; medians are compared.

use std::{
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use anyhow::{Result, ensure};
use clap::Parser;
use llm_tracker_bench::{
    daemon::{self, Daemon},
    load::{self, Kind, Load, Pairs},
    nginx::{Ask, Nginx},
    probe::{self, EmptyProbes, EmptySession, Return, Site},
    sample::median,
    table::{Table, Target, against},
    traffic,
};

/// Measures what probes cost the programs that are probed. Needs root.
#[derive(Parser)]
#[command(name = "bench-overhead")]
struct Arguments {
    /// Rounds over all variants; medians over the rounds are reported
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Sizes of a write, bytes
    #[arg(long, value_delimiter = ',', default_values_t = [64, 200, 1 << 10, 4 << 10, 16 << 10])]
    sizes: Vec<usize>,
    /// Timed bursts of each size in each round
    #[arg(long, default_value_t = 40)]
    bursts: usize,
    /// The most write and read pairs in a burst: a longer one outlasts a time slice and measures what else
    /// the machine does. Also bounded by bytes, against overflow of the ring buffer
    #[arg(long, default_value_t = 64)]
    pairs: usize,
    /// Rest after each burst, milliseconds, so that the ring buffer is emptied
    #[arg(long, default_value_t = 20)]
    rest: u64,
    /// Seconds of load on nginx in each variant of each round; 0 leaves nginx out
    #[arg(long, default_value_t = 2)]
    nginx_seconds: u64,
    /// Kept-alive connections to nginx
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// The daemon [default: target/release/llm-tracker of this workspace]
    #[arg(long, env = "LLM_TRACKER_BIN")]
    binary: Option<PathBuf>,
    /// Measure without a daemon: only empty probes
    #[arg(long)]
    no_daemon: bool,
}

/// What is attached while something is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    None,
    Public,
    Ours,
    Session,
    SessionSkipped,
    Copying,
    Llm,
    Ignored,
}

impl Variant {
    const ALL: [Self; 8] = [
        Self::None,
        Self::Public,
        Self::Ours,
        Self::Session,
        Self::SessionSkipped,
        Self::Copying,
        Self::Llm,
        Self::Ignored,
    ];

    const fn title(self) -> &'static str {
        match self {
            Self::None => "no probes",
            Self::Public => "empty probes on the public functions",
            Self::Ours => "empty probes where ours sit",
            Self::Session => "empty session link where ours sits",
            Self::SessionSkipped => "empty session link, return skipped",
            Self::Copying => "session link that only copies the bytes",
            Self::Llm => "llm-tracker, LLM connection",
            Self::Ignored => "llm-tracker, ignored connection",
        }
    }

    /// Whether the traffic is an LLM's. It is the same without a daemon; what differs is then the content alone.
    const fn kind(self) -> Kind {
        match self {
            Self::Ignored => Kind::Other,
            _ => Kind::Llm,
        }
    }

    /// The most that the time added may be of what empty probes on the public functions add.
    const fn target(self) -> Option<f64> {
        match self {
            Self::Llm => Some(0.10),
            Self::Ignored => Some(0.06),
            _ => None,
        }
    }
}

/// Above this size the issue sets no target.
const TARGET_SIZE: usize = 4 << 10;
/// The least of its throughput that nginx should keep.
const NGINX_TARGET: f64 = 0.85;
/// Bytes of a burst: far below the ring buffer's size, both directions and record heads included.
const BURST_BYTES: usize = 256 << 10;

/// Events and metrics are at most a second old.
const PUBLISHED: Duration = Duration::from_millis(1500);

/// What nginx is asked for: only with the second does it carry an LLM's traffic.
const ASKS: [Ask; 2] = [Ask::File, Ask::Completion];
/// What nginx is loaded with.
const CLIENTS: [&str; 2] = ["wrk, itself on libssl and probed too", "rustls client, only nginx probed"];

/// What keeps a variant in place while it lives.
enum Attached {
    Nothing,
    Empty { _probes: EmptyProbes },
    Session { _link: EmptySession },
    Daemon(Daemon),
}

/// Everything measured of one thing (a size, a way to load nginx): samples by variant.
type Samples = [Vec<f64>; Variant::ALL.len()];

/// Samples of nginx, by what is asked for and by client.
type Nginxes = [[Samples; CLIENTS.len()]; ASKS.len()];

#[derive(Default)]
struct Results {
    /// By size: nanoseconds a pair.
    pairs: Vec<Samples>,
    /// By size: nanoseconds of the daemon's CPU a pair.
    daemon_cpu: Vec<Samples>,
    /// Requests a second, by what is asked for and by client.
    nginx: Nginxes,
    /// The same without probes, a moment before each: the machine has slow minutes.
    unprobed: Nginxes,
    /// Bytes of the load's that the daemon says it lost.
    lost_pairs: f64,
    /// Bytes of nginx's that it saw, and those of them that it says it lost.
    nginx_bytes: f64,
    nginx_lost: f64,
    /// Calls of the load that it did not report with the right numbers, and all of them.
    missed_calls: usize,
    calls: usize,
}

fn main() -> Result<()> {
    if load::is_load() {
        return load::serve();
    }
    let arguments = Arguments::parse();
    ensure!(is_root(), "attaching probes needs root: run it with sudo");
    let mut load = Load::start()?;
    let library = load.library.clone();
    let public = probe::public_sites(&library)?;
    let ours = probe::our_sites(&library)?;
    let nginx = (arguments.nginx_seconds > 0).then(Nginx::start).transpose()?;
    let mut results = Results {
        pairs: vec![Samples::default(); arguments.sizes.len()],
        daemon_cpu: vec![Samples::default(); arguments.sizes.len()],
        ..Results::default()
    };
    for round in 0..arguments.rounds {
        for (index, variant) in Variant::ALL.into_iter().enumerate() {
            if arguments.no_daemon && matches!(variant, Variant::Llm | Variant::Ignored) {
                continue;
            }
            let sites = [public.as_slice(), ours.as_slice()].concat();
            if probe::probed_already(load.pid(), &load.library, &sites)? > 0 {
                eprintln!("somebody else probes {}: the ratios count that as free", load.library.display());
            }
            eprintln!("round {} of {}: {}", round + 1, arguments.rounds, variant.title());
            let attach = || attach(variant, &arguments, &library, &public, &ours);
            let Some(attached) = attach()? else {
                eprintln!("not on this kernel: it has no session links");
                continue;
            };
            measure_pairs(variant, index, &arguments, &mut load, &ours, &attached, &mut results)?;
            detach(attached, variant, &arguments, &mut results)?;
            if let Some(nginx) = &nginx {
                measure_nginx(variant, index, &arguments, nginx, &mut results.unprobed)?;
                let attached = attach()?;
                measure_nginx(variant, index, &arguments, nginx, &mut results.nginx)?;
                if let Some(Attached::Daemon(daemon)) = attached {
                    let metrics = daemon.metrics()?;
                    results.nginx_bytes += metrics.sum(daemon::KERNEL_BYTES, "");
                    results.nginx_lost += metrics.sum(daemon::LOST_BYTES, "");
                    daemon.stop()?;
                }
            }
        }
    }
    if let Some(nginx) = nginx {
        nginx.stop()?;
    }
    report(&arguments, &results);
    Ok(())
}

fn is_root() -> bool {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

fn attach(
    variant: Variant,
    arguments: &Arguments,
    library: &Path,
    public: &[Site],
    ours: &[Site],
) -> Result<Option<Attached>> {
    let empty = |sites| EmptyProbes::attach(library, sites).map(|probes| Attached::Empty { _probes: probes });
    let session = |on_return| {
        let made = EmptySession::attach(library, ours, on_return)?;
        anyhow::Ok(made.map(|link| Attached::Session { _link: link }))
    };
    Ok(Some(match variant {
        Variant::None => Attached::Nothing,
        // What is copied has a size: attached for each, if it can be.
        Variant::Copying => return Ok(session(Return::Taken)?.map(|_| Attached::Nothing)),
        Variant::Public => empty(public)?,
        Variant::Ours => empty(ours)?,
        Variant::Session => return session(Return::Taken),
        Variant::SessionSkipped => return session(Return::Skipped),
        Variant::Llm | Variant::Ignored => {
            let daemon = Daemon::start(&daemon::binary(arguments.binary.clone()))?;
            // Discovery has seen the load's library before it says that it is ready; this is for its caches.
            sleep(Duration::from_millis(500));
            Attached::Daemon(daemon)
        }
    }))
}

fn measure_pairs(
    variant: Variant,
    index: usize,
    arguments: &Arguments,
    load: &mut Load,
    ours: &[Site],
    attached: &Attached,
    results: &mut Results,
) -> Result<()> {
    for (row, &size) in arguments.sizes.iter().enumerate() {
        let pairs = (BURST_BYTES / size).min(arguments.pairs).max(16);
        let work = Pairs {
            kind: variant.kind(),
            size,
            bursts: arguments.bursts,
            pairs,
            rest: Duration::from_millis(arguments.rest),
        };
        let cpu = |attached: &Attached| match attached {
            Attached::Daemon(daemon) => daemon.cpu_time().map(Some),
            _ => Ok(None),
        };
        let _copying = (variant == Variant::Copying)
            .then(|| EmptySession::copying(&load.library, ours, size))
            .transpose()?;
        let before = cpu(attached)?;
        results.pairs[row][index].push(load.pairs(work)?);
        if let (Some(before), Some(after)) = (before, cpu(attached)?) {
            let spent = (after - before).as_nanos() as f64 / (pairs * arguments.bursts) as f64;
            results.daemon_cpu[row][index].push(spent);
        }
    }
    let Attached::Daemon(daemon) = attached else { return Ok(()) };
    sleep(PUBLISHED);
    let metrics = daemon.metrics()?;
    if variant == Variant::Llm {
        results.lost_pairs += metrics.sum(daemon::LOST_BYTES, "");
    } else {
        let ignored = metrics.sum(daemon::DECIDED, "verdict=\"ignore\"");
        // Both ends of one connection of each size.
        let wanted = 2 * arguments.sizes.len();
        ensure!(ignored >= wanted as f64, "the daemon ignored {ignored} connections of {wanted}");
    }
    Ok(())
}

fn measure_nginx(
    variant: Variant,
    index: usize,
    arguments: &Arguments,
    nginx: &Nginx,
    results: &mut Nginxes,
) -> Result<()> {
    let duration = Duration::from_secs(arguments.nginx_seconds);
    for (ask, by_client) in ASKS.into_iter().zip(results) {
        let wanted = match variant {
            // Between two such measurements lies what their ratio is wrong by.
            Variant::None => true,
            Variant::Llm => ask == Ask::Completion,
            Variant::Copying => false,
            _ => ask == Ask::File,
        };
        if wanted {
            by_client[0][index].push(nginx.wrk(ask, arguments.connections, duration)?);
            by_client[1][index].push(nginx.rustls(ask, arguments.connections, duration)?);
        }
    }
    Ok(())
}

fn detach(attached: Attached, variant: Variant, arguments: &Arguments, results: &mut Results) -> Result<()> {
    let Attached::Daemon(daemon) = attached else { return Ok(()) };
    if variant == Variant::Llm {
        let tokens = format!("\"output_tokens\":{},", traffic::OUTPUT_TOKENS);
        let seen = daemon.events_with(&["\"streaming\":true", &tokens])?;
        ensure!(seen > 0, "the daemon saw none of the load's calls: what was measured was not its capture");
        // One call of each size, seen at both its ends.
        let made = arguments.sizes.len() * 2;
        results.calls += made;
        results.missed_calls += made.saturating_sub(seen);
    }
    daemon.stop()
}

fn report(arguments: &Arguments, results: &Results) {
    let sizes: Vec<String> = arguments.sizes.iter().map(|size| format!("{size} B")).collect();
    let header: Vec<&str> =
        std::iter::once("ns a pair: added / added by empty probes on the public functions")
            .chain(sizes.iter().map(String::as_str))
            .collect();
    let mut table = Table::new("One SSL_write and the SSL_read of the same bytes", &header);
    for (index, variant) in Variant::ALL.into_iter().enumerate() {
        let cells = arguments.sizes.iter().zip(&results.pairs).map(|(&size, samples)| {
            pair_cell(samples, index, variant, size).unwrap_or_else(|| "-".to_owned())
        });
        table.row(std::iter::once(variant.title().to_owned()).chain(cells));
    }
    for variant in [Variant::Llm, Variant::Ignored] {
        let cells = results.daemon_cpu.iter().map(|samples| {
            median(&samples[variant as usize]).map_or_else(|| "-".to_owned(), |value| format!("{value:.0}"))
        });
        table.row(std::iter::once(format!("{}: the daemon's CPU", variant.title())).chain(cells));
    }
    println!("{table}");
    if !arguments.no_daemon {
        println!(
            "The daemon reported {} of {} streams with their numbers, and lost {} of their bytes. Of nginx \
             it saw {:.0} MB and lost {:.0} MB, counted, for want of room in its ring.\n",
            results.calls - results.missed_calls,
            results.calls,
            results.lost_pairs,
            results.nginx_bytes / 1e6,
            results.nginx_lost / 1e6,
        );
    }
    if arguments.nginx_seconds > 0 {
        println!("{}", nginx_table(results));
    }
}

/// The time of a pair, and what it adds against what empty probes on the public functions add.
fn pair_cell(samples: &Samples, index: usize, variant: Variant, size: usize) -> Option<String> {
    let time = median(&samples[index])?;
    let (bare, public) = (median(&samples[0])?, median(&samples[1])?);
    let added = (time - bare) / (public - bare);
    Some(match (variant, variant.target().filter(|_| size <= TARGET_SIZE)) {
        (Variant::None | Variant::Public, _) => format!("{time:.0}"),
        (_, Some(limit)) => format!("{time:.0}: {}", against(added, 3, Target::AtMost(limit))),
        (_, None) => format!("{time:.0}: {added:.3}"),
    })
}

fn nginx_table(results: &Results) -> Table {
    let header: Vec<&str> = std::iter::once("requests/s: part of the unprobed").chain(CLIENTS).collect();
    let mut table = Table::new("nginx, one worker, 16 KiB over TLS, kept-alive connections", &header);
    let measured = results.nginx.iter().zip(&results.unprobed);
    for (ask, (probed, unprobed)) in ASKS.into_iter().zip(measured) {
        for (index, variant) in Variant::ALL.into_iter().enumerate() {
            let clients = probed.iter().zip(unprobed);
            let cells: Vec<String> = clients
                .filter_map(|(probed, unprobed)| nginx_cell(&probed[index], &unprobed[index], variant))
                .collect();
            if !cells.is_empty() {
                table.row(std::iter::once(format!("{}: {}", ask.title(), variant.title())).chain(cells));
            }
        }
    }
    table
}

/// The median rate, and the median of what was kept in each round.
fn nginx_cell(probed: &[f64], unprobed: &[f64], variant: Variant) -> Option<String> {
    let rate = median(probed)?;
    let kept: Vec<f64> = probed.iter().zip(unprobed).map(|(probed, unprobed)| probed / unprobed).collect();
    let kept = median(&kept)?;
    Some(match variant {
        Variant::Llm | Variant::Ignored => {
            format!("{rate:.0}: {}", against(kept, 2, Target::AtLeast(NGINX_TARGET)))
        }
        _ => format!("{rate:.0}: {kept:.2}"),
    })
}
