//! `cargo xtask`: everything a person types while developing llm-tracker.
//!
//! | module | job |
//! |---|---|
//! | [`kernel`] | find a compiler and a linker for the kernel side, build its object, check its stack frames |
//! | [`build`] | the whole build, and starting what was built |
//! | [`deb`], [`image`] | the Debian package and the container image of what was built |
//! | [`mod@test`], [`mod@fuzz`], [`mod@bench`], [`lint`] | the test suite, hostile input, the benchmarks, clippy and the dependency policy |
//! | [`packages`], [`tool`] | what is missing: distribution packages, and tools built with cargo |
//! | [`context`], [`process`] | where things are, and how commands are run and reported |
//!
//! Progress and errors go to stderr; stdout belongs to the program that was asked for. The exit
//! code is that of the command that failed, or 1.

mod bench;
mod build;
mod context;
mod deb;
mod fuzz;
mod image;
mod kernel;
mod lint;
mod packages;
mod process;
mod test;
mod tool;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::build::Profile;
use crate::context::Context;

#[derive(Parser)]
#[command(name = "xtask", bin_name = "cargo xtask", about = "Build, run, test and measure llm-tracker")]
struct Cli {
    /// Say what is missing instead of installing it
    #[arg(long, global = true)]
    no_install: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build everything; leaves target/release/llm-tracker
    Build {
        /// Build the daemon unoptimised instead; leaves target/debug/llm-tracker
        #[arg(long)]
        debug: bool,
    },
    /// Make the Debian package of the daemon; leaves it in target/debian
    Deb(Daemon),
    /// Make the container image of the daemon; leaves it in target/image
    Image(Daemon),
    /// Build, then start `llm-tracker run ARGS`
    Run {
        /// Arguments of `llm-tracker run`
        #[arg(last = true)]
        args: Vec<OsString>,
    },
    /// Build what the tests need and run all of them, or those that ARGS select
    Test {
        /// Arguments of the test runner (cargo-nextest where it is installed, else `cargo test`)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Build the fuzz targets, and try what breaks one of them, or each in turn
    Fuzz {
        /// Which target
        target: Option<String>,
        /// For how long, all together
        #[arg(long, default_value_t = 60, value_name = "N")]
        seconds: u32,
        /// Arguments of libFuzzer, instead of a corpus and a time: a file that was found
        #[arg(last = true)]
        args: Vec<OsString>,
    },
    /// Build, then watch real clients make LLM calls against a stand-in provider
    Demo {
        /// Arguments of the demo
        #[arg(last = true)]
        args: Vec<OsString>,
    },
    /// Build, then watch the programs that people run, as fetched from npm, complete a prompt offline
    Agents {
        /// Names of agents, --pinned or --newest
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Measure; without a name, every benchmark in turn
    Bench {
        /// Which benchmark
        #[arg(value_parser = bench::names())]
        name: Option<String>,
        /// Arguments of the benchmark
        #[arg(last = true)]
        args: Vec<OsString>,
    },
    /// Lint the workspace and, where its compiler has clippy, the kernel side; warnings are errors
    Clippy,
    /// Check licences, banned and duplicate crates, and sources of the dependencies (deny.toml)
    Deny,
}

/// What is packed.
#[derive(Args)]
struct Daemon {
    /// Take this binary instead of building one
    #[arg(long, env = "LLM_TRACKER_BIN", value_name = "FILE")]
    binary: Option<PathBuf>,
}

impl Daemon {
    fn get(self, context: &Context) -> anyhow::Result<PathBuf> {
        self.binary.map_or_else(|| build::build(context, Profile::Release), Ok)
    }
}

fn main() -> ExitCode {
    // A usage error ends here, with clap's own message and exit code 2.
    let cli = Cli::parse();
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: error: {error:#}");
            process::exit_code(&error)
        }
    }
}

fn dispatch(Cli { no_install, command }: Cli) -> anyhow::Result<()> {
    let context = Context::new(!no_install)?;
    match command {
        Command::Build { debug } => {
            let profile = if debug { Profile::Debug } else { Profile::Release };
            built(&context, &build::build(&context, profile)?)
        }
        Command::Deb(daemon) => built(&context, &deb::package(&context, &daemon.get(&context)?)?),
        Command::Image(daemon) => built(&context, &image::layout(&context, &daemon.get(&context)?)?),
        Command::Run { args } => build::run(&context, &args),
        Command::Test { args } => test::run(&context, &args),
        Command::Fuzz { target, seconds, args } => fuzz::run(&context, target.as_deref(), seconds, &args),
        Command::Demo { args } => build::demo(&context, &args),
        Command::Agents { args } => build::agents(&context, &args),
        Command::Bench { name, args } => bench::run(&context, name.as_deref(), &args),
        Command::Clippy => lint::clippy(&context),
        Command::Deny => lint::deny(&context),
    }
}

fn built(context: &Context, file: &Path) -> anyhow::Result<()> {
    process::progress("Built", format_args!("{}", context.relative(file).display()));
    Ok(())
}
