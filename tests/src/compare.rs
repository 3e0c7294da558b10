//! The daemon's word laid beside the stand-in's, and beside what the kernel says of a process.

use std::{collections::HashSet, fs};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    call::CallLine,
    standin::{Served, StandIn},
};

/// What the stand-in answered to this call: found by the answer's id, or by model and path where the
/// answer had none.
fn find<'a>(call: &CallLine, served: &'a [Served]) -> Option<&'a Served> {
    served.iter().find(|served| match &call.response_id {
        Some(id) => served.id == *id,
        None => call.model.as_ref() == Some(&served.model) && call.path == served.path,
    })
}

/// Requires that every one of these calls is exactly what the stand-in answered, each another answer.
///
/// # Errors
///
/// Says what differs.
pub fn all_exact(calls: &[CallLine], standin: &StandIn) -> Result<()> {
    let served = standin.served();
    let mut seen = HashSet::new();
    for call in calls {
        let answer = find(call, &served).with_context(|| format!("nothing was answered to {call:#?}"))?;
        ensure!(seen.insert(&answer.id), "{} was reported twice", answer.id);
        if let Err(wrong) = call.compare(answer) {
            bail!(wrong);
        }
    }
    Ok(())
}

/// Of calls of which some were damaged: requires that each is either exact or without any number but an
/// estimate of what was cut.
/// Returns how many are exact.
///
/// # Errors
///
/// Says which number is wrong.
pub fn exact_or_missing(calls: &[CallLine], standin: &StandIn) -> Result<usize> {
    let served = standin.served();
    let mut exact = 0;
    for call in calls {
        // What is left of a damaged call need not say which one it was.
        let difference = find(call, &served).map_or_else(|| Err("unknown".to_owned()), |it| call.compare(it));
        match difference {
            Ok(()) => exact += 1,
            Err(_) if call.has_no_numbers() && call.usage_source == "missing" => {}
            Err(_) if call.usage_source == "estimated" && call.error.as_deref() == Some("interrupted") => {}
            Err(wrong) => bail!("{wrong}: {call:#?}"),
        }
    }
    Ok(exact)
}

/// Requires that a call carries the identity of a process of this test: its name, its program, its
/// user, and the cgroup that it shares with the test.
///
/// # Errors
///
/// Says what differs.
pub fn made_by(call: &CallLine, name: &str, exe: &str) -> Result<()> {
    let process = &call.process;
    ensure!(process.name.as_deref() == Some(name), "the name is {:?}, not {name}", process.name);
    let exe = fs::canonicalize(exe)?;
    ensure!(process.exe.as_deref() == exe.to_str(), "the program is {:?}, not {exe:?}", process.exe);
    ensure!(process.uid == Some(0), "the user id is {:?}", process.uid);
    ensure!(process.user.as_deref() == Some("root"), "the user is {:?}", process.user);
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let paths: Vec<_> = own.lines().filter_map(|line| line.splitn(3, ':').nth(2)).collect();
    ensure!(
        call.cgroup.as_deref().is_some_and(|cgroup| paths.contains(&cgroup)),
        "the cgroup is {:?}, not one of {paths:?}",
        call.cgroup
    );
    ensure!(call.container.is_none(), "it is in no container: {:?}", call.container);
    ensure!(call.role == "client", "the role is {}", call.role);
    Ok(())
}
