//! Whether the first and only call of a program with a library that was never seen before is seen.
//!
//! Each client is one `curl` in a mount namespace and a root of its own, in which every file is a copy that was
//! made for it: new inodes, as in a container whose image was just unpacked. The time is taken by the client
//! just before `execve`, and by the daemon when its probes are in place. Clients come one after the other, or
//! each alone, after a pause in which the kernel has come to rest: beside them stands the floor, the time that
//! the kernel takes to put an empty program into such a library, after a rest and without.

use std::{
    fs, io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use llm_tracker_bench::{
    daemon::{self, DAY, Daemon},
    probe::{self, EmptySession, Return, Site},
    sample::{median, quantile},
    table::{Table, Target, against},
};
use llm_tracker_tests::{child::Child, client, container, scenario::Scenario, standin::StandIn};

/// Measures how many one-shot clients of new libraries are seen. Needs root.
#[derive(Parser)]
#[command(name = "bench-attach")]
struct Arguments {
    /// Clients of each delay
    #[arg(long, default_value_t = 200)]
    clients: usize,
    /// Clients of each delay that come alone
    #[arg(long, default_value_t = 40)]
    alone: usize,
    /// Libraries to take the floor with
    #[arg(long, default_value_t = 100)]
    floor: usize,
    /// Milliseconds that the server waits before it answers the handshake
    #[arg(long, value_delimiter = ',', default_value = "0,5,20")]
    delays: Vec<u64>,
    /// The daemon [default: target/release/llm-tracker of this workspace]
    #[arg(long, env = "LLM_TRACKER_BIN")]
    binary: Option<PathBuf>,
}

const CHAT: &str = "/v1/chat/completions";
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/libssl.so.3";
/// The most that a client may take.
const LIMIT: Duration = Duration::from_secs(30);
/// For the first look at every process.
const SETTLE: Duration = Duration::from_secs(2);
/// For calls to reach the event log.
const REPORT: Duration = Duration::from_secs(3);
/// Before each client that comes alone: longer than the daemon keeps the kernel ready.
const REST: Duration = Duration::from_millis(1500);
/// Before each library of the floor: longer than a few grace periods.
const SHORT_REST: Duration = Duration::from_millis(200);
/// The share of calls to be seen where a handshake takes 5 ms or more, percent.
const SHARE_TARGET: f64 = 99.0;

/// One client that has ended.
struct OneShot {
    model: String,
    /// The end of its library's path, by which the daemon's log names it.
    library: String,
    /// When it was executed, seconds of the day.
    executed: f64,
    /// From the connection to the end of the handshake, ms.
    handshake: f64,
}

/// Makes a root for one client; where its libssl lies is its own, to be told from others in the log.
fn root(standin: &StandIn, name: &str) -> Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix("llm-tracker-attach-").tempdir()?;
    let root = folder.path();
    for directory in ["bin", "lib", "lib64"] {
        fs::create_dir_all(root.join("usr").join(directory))?;
        std::os::unix::fs::symlink(format!("usr/{directory}"), root.join(directory))?;
    }
    container::copy_program(root, Path::new("/usr/bin/curl"))?;
    let own = root.join(name);
    fs::create_dir(&own)?;
    fs::copy(LIBRARY, own.join("libssl.so.3")).with_context(|| format!("copy {LIBRARY}"))?;
    fs::copy(standin.identity().authority(), root.join("ca.pem"))?;
    Ok(folder)
}

/// Runs a client in such a root, from its start to its end.
fn run(standin: &StandIn, name: &str) -> Result<OneShot> {
    let folder = root(standin, name)?;
    let model = Scenario::new(3, 4).tag(name).model();
    let mut command = Command::new("/usr/bin/curl");
    let url = format!("https://{}{CHAT}", standin.address());
    command.env_clear().env("LD_LIBRARY_PATH", format!("/{name}")).env("CURL_CA_BUNDLE", "/ca.pem");
    command.args(client::curl_arguments(&url, &client::chat(&model)));
    command.args(["--output", "/answer", "--write-out", "%{time_connect} %{time_appconnect}"]);
    let root = std::ffi::CString::new(folder.path().as_os_str().as_encoded_bytes())?;
    let (clock, stamp) = io::pipe()?;
    // SAFETY: only system calls, on memory that was made before the fork.
    unsafe {
        command.pre_exec(move || {
            if libc::unshare(libc::CLONE_NEWNS) != 0
                || libc::chroot(root.as_ptr()) != 0
                || libc::chdir(c"/".as_ptr()) != 0
            {
                return Err(io::Error::last_os_error());
            }
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            io::Write::write_all(&mut &stamp, &now.as_nanos().to_ne_bytes())
        });
    }
    let finished = Child::spawn(command, LIMIT)?.wait()?.success()?;
    let mut nanoseconds = [0; size_of::<u128>()];
    io::Read::read_exact(&mut &clock, &mut nanoseconds)?;
    let executed = u128::from_ne_bytes(nanoseconds) as f64 / 1e9 % DAY;
    let times = finished.stdout.split_once(' ').and_then(|(connect, done)| {
        Some((connect.trim().parse::<f64>().ok()?, done.trim().parse::<f64>().ok()?))
    });
    let (connected, done) = times.with_context(|| format!("curl said {:?}", finished.stdout))?;
    Ok(OneShot {
        model,
        library: format!("/{name}/libssl.so.3"),
        executed,
        handshake: (done - connected) * 1e3,
    })
}

/// One row: so many clients, after so long a rest each.
fn row(binary: &Path, delay: u64, clients: usize, rest: Duration) -> Result<[String; 6]> {
    let standin = StandIn::start_at(Duration::from_millis(delay))?;
    let daemon = Daemon::start(binary)?;
    sleep(SETTLE);
    let mut shots = Vec::with_capacity(clients);
    for number in 0..clients {
        sleep(rest);
        shots.push(run(&standin, &format!("n{delay}x{number}"))?);
    }
    sleep(REPORT);
    let log = daemon.whole_log();
    let mut seen = 0_u32;
    let (mut latencies, mut handshakes) = (Vec::new(), Vec::new());
    for OneShot { model, library, executed, handshake } in &shots {
        seen += u32::from(daemon.events_with(&[&format!("\"{model}\"")])? > 0);
        handshakes.push(*handshake);
        // The log is bounded: of the first hundred in ten seconds.
        let hooked = daemon::hooked_at(&log, library);
        latencies.extend(hooked.map(|hooked| (hooked - executed).rem_euclid(DAY) * 1e3));
    }
    daemon.stop()?;
    let seen = f64::from(seen) * 100.0 / clients as f64;
    let name = if rest.is_zero() { "one after the other" } else { "each alone" };
    eprintln!("{delay} ms, {name}: {seen:.1} % of {clients} calls seen");
    Ok([
        format!("{delay} ms, {clients} {name}"),
        show(median(&handshakes)),
        if delay >= 5 { against(seen, 1, Target::AtLeast(SHARE_TARGET)) } else { format!("{seen:.1}") },
        show(median(&latencies)),
        show(quantile(&latencies, 0.9)),
        show(quantile(&latencies, 0.99)),
    ])
}

fn show(figure: Option<f64>) -> String {
    figure.map_or("-".to_owned(), |ms| format!("{ms:.2}"))
}

/// The time that the kernel takes to put an empty program where the daemon has its own, into libraries that
/// nobody has mapped: after a rest, and directly afterwards.
fn floor(libraries: usize) -> Result<Table> {
    let sites = probe::our_sites(Path::new(LIBRARY))?;
    let folder = tempfile::tempdir()?;
    let attach = |name: &str, sites: &[Site]| -> Result<(f64, EmptySession)> {
        let copy = folder.path().join(name);
        fs::copy(LIBRARY, &copy)?;
        let begun = Instant::now();
        let session = EmptySession::attach(&copy, sites, Return::Taken)?;
        let taken = begun.elapsed().as_secs_f64() * 1e3;
        Ok((taken, session.context("the floor is taken with session links (Linux 6.13)")?))
    };
    let (mut rested, mut awake) = (Vec::new(), Vec::new());
    for number in 0..libraries {
        sleep(SHORT_REST);
        let first = attach(&format!("rested{number}"), &sites)?;
        let second = attach(&format!("awake{number}"), &sites)?;
        rested.push(first.0);
        awake.push(second.0);
    }
    let mut table = Table::new(
        format!("The floor: an empty program in {libraries} libraries, no daemon"),
        &["", "median, ms", "90 %", "99 %"],
    );
    for (name, times) in [("after a rest", rested), ("directly afterwards", awake)] {
        let quantiles = [0.9, 0.99].map(|part| show(quantile(&times, part)));
        table.row([[name.to_owned(), show(median(&times))].as_slice(), &quantiles].concat());
    }
    Ok(table)
}

fn main() -> Result<()> {
    let Arguments { clients, alone, floor: libraries, delays, binary } = Arguments::parse();
    ensure!(clients > 0, "nothing to measure");
    let binary = daemon::binary(binary);
    if libraries > 0 {
        println!("{}", floor(libraries)?);
    }
    let mut table = Table::new(
        "One-shot clients with a libssl of their own",
        &["delay of the handshake", "handshake, ms", "calls seen, %", "exec to attached, ms", "90 %", "99 %"],
    );
    for delay in delays {
        table.row(row(&binary, delay, clients, Duration::ZERO)?);
        if alone > 0 {
            table.row(row(&binary, delay, alone, REST)?);
        }
    }
    println!("{table}");
    Ok(())
}
