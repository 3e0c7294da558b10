//! `llm-tracker doctor`: does this machine suffice, and what would be seen on it?

pub mod environment;
mod running;
mod runtimes;
mod settings;

use std::{
    fmt::Write as _,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Result;

use crate::{
    capture::{
        Attachment, Kernel, Trust,
        discovery::{Discovery, ObjectReport, ProcessEvent, Snapshot, State},
    },
    config::{Config, Settings},
    daemon, privileges, terminal,
};

/// Looks, says what it saw on standard output, and takes back everything it tried.
///
/// The answer is a failure where the daemon could not run.
///
/// # Errors
/// The configuration cannot be used, or standard output cannot be written.
pub fn run(settings: &Settings) -> Result<ExitCode> {
    let config = &settings.config;
    let mut report = String::new();
    let web = daemon::web_config(config);
    let mut checks = environment::checks();
    checks.extend([settings::in_force(settings), settings::metrics(settings, &web)]);
    checks.extend(runtimes::checks(config.runtimes().as_ref()));
    for check in &checks {
        writeln!(report, "{check}")?;
    }
    let mut good = environment::suffices(&checks);
    if good {
        match try_all(config) {
            Ok((snapshot, processes, attachment)) => {
                writeln!(report, "ok    {:<14} loads, and its programs pass the verifier", "kernel side")?;
                writeln!(report, "ok    {:<14} attached by {attachment}", "probes")?;
                writeln!(report, "{}", settings::privileges(privileges::kept(attachment)))?;
                describe(&snapshot, processes, &mut report)?;
                let open = web.is_ok_and(|web| !web.encrypts() && !web.authenticates());
                if !open {
                    writeln!(
                        report,
                        "\nThe daemon is not asked what it has found: that takes TLS or a password."
                    )?;
                } else if let Some(stacks) = running::stacks(config.metrics.listen) {
                    writeln!(report, "\nThe daemon at {} has found, by traffic:", config.metrics.listen)?;
                    stacks.iter().try_for_each(|stack| writeln!(report, "      {stack}"))?;
                }
            }
            Err(error) => {
                good = false;
                writeln!(report, "FAIL  {:<14} {error:#}", "kernel side")?;
            }
        }
    }
    let verdict = if good { "llm-tracker can run here" } else { "llm-tracker cannot run here" };
    writeln!(report, "\n{verdict}")?;
    terminal::say(&report)?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Does what the daemon does at its start: loads the kernel side and hooks what is in use. Everything
/// is taken back before it returns.
fn try_all(config: &Config) -> Result<(Snapshot, usize, Attachment)> {
    let kernel = Kernel::load(daemon::KERNEL_OBJECT, &daemon::kernel_config(&config.capture))?;
    let attachment = kernel.attachment();
    let processes = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&processes);
    let discovery = Discovery::start(
        daemon::discovery_config(config),
        daemon::KernelAttacher::new(kernel),
        move |event| {
            if matches!(event, ProcessEvent::Seen { .. }) {
                seen.fetch_add(1, Ordering::Relaxed);
            }
        },
    )?;
    let snapshot = discovery.snapshot();
    discovery.stop();
    Ok((snapshot, processes.load(Ordering::Relaxed), attachment))
}

/// Puts into words what was found.
fn describe(snapshot: &Snapshot, processes: usize, report: &mut String) -> Result<(), std::fmt::Error> {
    let Snapshot { objects, counters, polling_because } = snapshot;
    match polling_because {
        None => writeln!(report, "ok    {:<14} the kernel tells of new mappings", "discovery")?,
        Some(because) => writeln!(
            report,
            "warn  {:<14} new libraries are found by looking every two seconds: {because}",
            "discovery"
        )?,
    }
    if counters.unreachable > 0 {
        writeln!(
            report,
            "warn  {:<14} {} mapped files could not be read; their processes may have ended meanwhile",
            "discovery", counters.unreachable
        )?;
    }
    if objects.is_empty() {
        writeln!(
            report,
            "\nNo process uses a TLS library that is known. Programs that start later are seen."
        )?;
        return Ok(());
    }
    writeln!(report, "\nTLS libraries, used by {processes} processes:")?;
    let mut objects: Vec<_> = objects.iter().collect();
    objects.sort_by(|a, b| (is_hooked(b), &a.path).cmp(&(is_hooked(a), &b.path)));
    objects.into_iter().try_for_each(|object| describe_object(object, report))
}

const fn is_hooked(object: &ObjectReport) -> bool {
    matches!(object.state, State::Hooked { .. })
}

fn describe_object(object: &ObjectReport, report: &mut String) -> std::fmt::Result {
    let ObjectReport { path, stack, state, users } = object;
    let users = match users {
        0 => "nobody yet".to_owned(),
        1 => "1 process".to_owned(),
        users => format!("{users} processes"),
    };
    match state {
        State::Hooked { functions, trust, verified, emulated, failed } => {
            let guess = match trust {
                Trust::Inferred if !verified => "; to be verified by its traffic",
                _ => "",
            };
            let cost = if *emulated { "" } else { "; the probes are of the slow kind" };
            writeln!(report, "ok    {path}  {stack}, {users}: {}{cost}{guess}", functions.join(", "))?;
            failed.iter().try_for_each(|error| writeln!(report, "warn  {path}  {error}"))
        }
        State::NotHooked { reason } => {
            writeln!(report, "SEEN  {path}  {stack}, {users}, not hooked: {reason}")
        }
    }
}
