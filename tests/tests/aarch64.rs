//! The locators on files for 64-bit ARM, out of packages that people install.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use llm_tracker::capture::{
    AeadFunction, Direction, Hook, HookKind, Layout, Returns,
    locate::{Image, find},
};
use llm_tracker_tests::{child::Child, client::LIMIT, machine};

/// The only stack in a file, and what of it would be hooked.
fn located(file: &[u8]) -> Result<(&'static str, Vec<Hook>)> {
    let [located] = <[_; 1]>::try_from(find(&Image::parse(&file)?))
        .map_err(|all| anyhow::anyhow!("not one stack, but {all:?}"))?;
    Ok((located.stack, located.plan?.hooks))
}

/// Where a function is, by the symbols that a file has kept. Its code lies in it as it is loaded.
fn symbol(path: &Path, name: &str) -> Result<u64> {
    let mut command = Command::new("/usr/bin/readelf");
    command.arg("-sW").arg(path);
    let text = Child::spawn(command, LIMIT)?.wait()?.success()?.stdout;
    let line = text.lines().find(|line| line.split_whitespace().last() == Some(name));
    let address = line.and_then(|line| line.split_whitespace().nth(1)).context("no such symbol")?;
    Ok(u64::from_str_radix(address, 16)?)
}

fn wheel(path: &str) -> Result<PathBuf> {
    Ok(machine::aarch64_wheels()?.join(path))
}

/// At its first instruction, with the return where that is needed.
fn is_at(hook: &Hook, offset: u64) -> bool {
    let returns = match hook.kind {
        HookKind::Transfer(_) => Returns::Probe(offset),
        _ => Returns::None,
    };
    hook.entry_offset == offset && hook.returns == returns
}

#[test]
fn openssl_without_its_symbols() -> Result<()> {
    let path = wheel("cryptography/hazmat/bindings/_rust.abi3.so")?;
    let mut file = fs::read(&path)?;
    let (stack, with_symbols) = located(&file)?;
    ensure!(stack == "openssl", "{stack}");
    // Where the section headers are, and how many: without them nothing has a name.
    file[0x28..0x30].fill(0);
    file[0x3c..0x40].fill(0);
    let (stack, hooks) = located(&file)?;
    ensure!(stack == "openssl", "{stack}");
    let names = ["ssl_read_internal", "ssl_write_internal", "SSL_free"];
    ensure!(hooks.iter().map(|hook| hook.function).eq(names), "{hooks:?}");
    for hook in &hooks {
        let address = symbol(&path, hook.function)?;
        ensure!(is_at(hook, address), "{hook:x?} is not at {address:x}");
    }
    ensure!(with_symbols.iter().any(|hook| hook == &hooks[2]), "{with_symbols:?}");
    Ok(())
}

/// It has no symbols; the offsets are those at which a disassembler shows the functions.
#[test]
fn boringssl_without_symbols() -> Result<()> {
    let file = fs::read(wheel("grpc/_cython/cygrpc.cpython-313-aarch64-linux-gnu.so")?)?;
    let (stack, hooks) = located(&file)?;
    ensure!(stack == "boringssl", "{stack}");
    let [read, write, ends @ ..] = hooks.as_slice() else { anyhow::bail!("{hooks:?}") };
    ensure!(read.kind == HookKind::Transfer(Direction::Read) && is_at(read, 0xad_d460), "{read:x?}");
    ensure!(write.kind == HookKind::Transfer(Direction::Write) && is_at(write, 0xad_b8d0), "{write:x?}");
    ensure!(!ends.is_empty() && ends.iter().all(|hook| hook.kind == HookKind::Free), "{ends:x?}");
    Ok(())
}

/// The functions stand in the order of their source.
#[test]
fn rustls_on_aws_lc_without_symbols() -> Result<()> {
    let file = fs::read(wheel("pyreqwest/_pyreqwest.cpython-313-aarch64-linux-gnu.so")?)?;
    let (stack, mut hooks) = located(&file)?;
    ensure!(stack == "rustls", "{stack}");
    hooks.sort_by_key(|hook| hook.entry_offset);
    let expected = [
        (HookKind::Begin, Layout::AeadContext),
        (HookKind::Free, Layout::AeadContext),
        (HookKind::Transfer(Direction::Write), Layout::Aead(AeadFunction::Seal)),
        (HookKind::Transfer(Direction::Write), Layout::Aead(AeadFunction::SealScatter)),
        (HookKind::Transfer(Direction::Read), Layout::Aead(AeadFunction::OpenGather)),
        (HookKind::Transfer(Direction::Read), Layout::Aead(AeadFunction::Open)),
    ];
    ensure!(hooks.iter().map(|hook| (hook.kind, hook.layout)).eq(expected), "{hooks:x?}");
    Ok(())
}
