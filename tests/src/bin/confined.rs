//! `confined UNIT PROGRAM ARGUMENT...`: a program under the system-call filter of a systemd unit, where there
//! is no systemd to start it.

use std::{collections::BTreeSet, fs, io, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result, bail, ensure};

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (unit, program) = (arguments.next(), arguments.next());
    let (Some(unit), Some(program)) = (unit, program) else { bail!("confined UNIT PROGRAM ARGUMENT...") };
    let unit = fs::read_to_string(unit)?;
    let mut allowed = BTreeSet::new();
    for line in unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        match line.strip_prefix('~') {
            Some(denied) => {
                let denied = expand(denied)?;
                allowed.retain(|name| !denied.contains(name));
            }
            None => allowed.extend(expand(line)?),
        }
    }
    ensure!(!allowed.is_empty(), "the unit has no filter");
    // What starts the program, and has to be allowed nowhere else.
    allowed.insert("execve".to_owned());
    confine(&numbers(&allowed)?)?;
    Err(Command::new(program).args(arguments).exec()).context("cannot start the program")
}

/// The system calls of a list of names and of groups, as systemd has them.
fn expand(list: &str) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for word in list.split_whitespace() {
        if !word.starts_with('@') {
            names.insert(word.to_owned());
            continue;
        }
        let listing = Command::new("/usr/bin/systemd-analyze").args(["syscall-filter", word]).output()?;
        ensure!(listing.status.success(), "systemd knows no {word}");
        let listing = String::from_utf8(listing.stdout)?;
        for name in
            listing.lines().skip(1).map(str::trim).filter(|name| !name.is_empty() && !name.starts_with('#'))
        {
            match name.starts_with('@') {
                true => names.extend(expand(name)?),
                false => _ = names.insert(name.to_owned()),
            }
        }
    }
    Ok(names)
}

/// Their numbers on this architecture, by the C library's header; those that it has not are left out.
fn numbers(names: &BTreeSet<String>) -> Result<Vec<u32>> {
    let headers = ["/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm-generic/unistd.h"];
    let header = headers.iter().find_map(|path| fs::read_to_string(path).ok()).context("no unistd.h")?;
    let number = |line: &str| {
        let (name, number) = line.strip_prefix("#define __NR_")?.split_once(' ')?;
        if names.contains(name) { number.trim().parse().ok() } else { None }
    };
    let numbers: Vec<_> = header.lines().filter_map(number).collect();
    ensure!(numbers.len() > 100, "{} system calls cannot be all", numbers.len());
    Ok(numbers)
}

/// For good: all others fail with EPERM.
fn confine(allowed: &[u32]) -> Result<()> {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let answer = |action| statement(libc::BPF_RET | libc::BPF_K, action);
    // `struct seccomp_data` begins with the number.
    let mut program = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0)];
    for &number in allowed {
        let code = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
        program.push(libc::sock_filter { code, jt: 0, jf: 1, k: number });
        program.push(answer(libc::SECCOMP_RET_ALLOW));
    }
    program.push(answer(libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned()));
    let filter = libc::sock_fprog { len: u16::try_from(program.len())?, filter: program.as_mut_ptr() };
    // SAFETY: two system calls; the filter and what it points to outlive them.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter) == 0
    };
    ensure!(done, "the kernel takes no filter: {}", io::Error::last_os_error());
    Ok(())
}
