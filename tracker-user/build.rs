//! Embeds the kernel object, and what is told about the build.
//!
//! The object comes from `LLM_TRACKER_BPF_OBJECT` or, without it, from where `cargo xtask build`
//! leaves it. It is copied to `OUT_DIR/llm-tracker.bpf.o`. The crate sees `LLM_TRACKER_COMMIT` and
//! `LLM_TRACKER_RUSTC` at compile time; either is `unknown` where it cannot be told.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Relative to this package.
const BUILT_OBJECT: &str = "../target/bpf/llm-tracker.bpf.o";

/// Where the object is named instead.
const OBJECT_VARIABLE: &str = "LLM_TRACKER_BPF_OBJECT";

/// A packager's word for the commit, where there is no repository to ask.
const COMMIT_VARIABLE: &str = "LLM_TRACKER_COMMIT";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if let Err(message) = embed_object() {
        // Fails the build; a failing exit code would only add all that this script printed.
        println!("cargo::error={message}");
    }
    println!("cargo::rustc-env={COMMIT_VARIABLE}={}", commit().as_deref().unwrap_or("unknown"));
    println!("cargo::rustc-env=LLM_TRACKER_RUSTC={}", rustc().as_deref().unwrap_or("unknown"));
}

fn embed_object() -> Result<(), String> {
    println!("cargo::rerun-if-env-changed={OBJECT_VARIABLE}");
    let named = env::var_os(OBJECT_VARIABLE).map(PathBuf::from);
    let object = match &named {
        Some(object) => object.clone(),
        None => folder("CARGO_MANIFEST_DIR")?.join(BUILT_OBJECT),
    };
    println!("cargo::rerun-if-changed={}", object.display());
    let target = folder("OUT_DIR")?.join("llm-tracker.bpf.o");
    match fs::copy(&object, &target) {
        Ok(_) => Ok(()),
        Err(error) if named.is_some() => {
            Err(format!("{OBJECT_VARIABLE} names {}, which cannot be read: {error}", object.display()))
        }
        Err(_) => Err("the kernel side is not built yet; type `cargo xtask build`, which builds it and \
                       this crate (after that, plain cargo commands work too)"
            .into()),
    }
}

fn folder(variable: &str) -> Result<PathBuf, String> {
    env::var_os(variable).map(PathBuf::from).ok_or_else(|| format!("cargo did not set {variable}"))
}

/// The commit, with `-dirty` if tracked files differ from it. Only release builds ask: there it
/// costs a rebuild after every commit, which an ordinary edit-and-test round should not.
fn commit() -> Option<String> {
    println!("cargo::rerun-if-env-changed={COMMIT_VARIABLE}");
    if let Ok(commit) = env::var(COMMIT_VARIABLE) {
        return Some(commit);
    }
    if env::var("PROFILE").is_ok_and(|profile| profile != "release") {
        return None;
    }
    // HEAD names the branch, the log changes whenever HEAD comes to mean another commit.
    for file in ["HEAD", "logs/HEAD"] {
        let path = output(Command::new("git").args(["rev-parse", "--git-path", file]))?;
        // A file that is not there would mean a rebuild every time.
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    output(Command::new("git").args(["describe", "--always", "--exclude=*", "--abbrev=12", "--dirty"]))
}

fn rustc() -> Option<String> {
    output(Command::new(env::var_os("RUSTC")?).arg("--version"))
}

/// What `command` prints, if it succeeds and prints one line.
fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.trim_end();
    (!line.is_empty() && !line.contains('\n')).then(|| line.to_owned())
}
