//! `llm-tracker exec`: a command, and what the LLM calls come to that it and all that it starts make.
//!
//! The command gets a session in its environment, and what it starts gets it from there; the daemon reads it.
//! So nothing here needs a privilege, and a program that sets the variables itself has the same.

mod child;

use std::{
    ffi::OsString,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    str::FromStr,
};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{
    attribution::{Session, SessionError},
    config::Config,
    random,
    report::Used,
    terminal::Progress,
};

/// Arguments of `exec`.
#[derive(Clone, Debug, Args)]
pub struct ExecArgs {
    /// What the session is called; one of the same name goes on. Within another session it has that one's name
    /// before its own [default: the command's name and a number of its own].
    #[arg(long, value_name = "NAME")]
    pub session: Option<String>,
    /// A label of every call, to tell them apart by (`report --by label.KEY`); may be given again.
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<Label>,
    /// Say what was used in JSON.
    #[arg(long)]
    pub json: bool,
    /// Say it in this file instead of on standard error.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// A label of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    key: String,
    value: String,
}

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let (key, value) = text.split_once('=').ok_or_else(|| LabelError::Shape(text.to_owned()))?;
        // As it would be told when all are together.
        Session::default().label(key.to_owned(), value.to_owned())?;
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }
}

/// What is no label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// It has no `=`.
    #[error("`{0}` is no label: write KEY=VALUE")]
    Shape(String),
    /// It cannot be one.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// Runs the command and says what it has used; its exit status is this program's, whatever there is to be said.
///
/// # Errors
/// The session cannot be called that, or the machine has no random numbers.
pub fn run(args: &ExecArgs, config: &Config) -> Result<ExitCode> {
    let ExecArgs { session: name, labels, json: _, output: _, command } = args;
    let mut session = Session::current();
    let Some((program, arguments)) = command.split_first() else { return Ok(ExitCode::SUCCESS) };
    let name = name.clone().map_or_else(|| name_for(program), Ok)?;
    session.enter(&name)?;
    for Label { key, value } in labels {
        session.label(key.clone(), value.clone())?;
    }
    let mut command = Command::new(program);
    command.args(arguments).envs(session.variables());
    let begun = jiff::Timestamp::now();
    let status = child::run(&mut command).unwrap_or_else(|error| {
        eprintln!("llm-tracker: cannot run {}: {error}", program.display());
        child::status_of(&error)
    });
    let said = say(args, config, session.name.as_deref().unwrap_or_default(), begun);
    if let Err(error) = said {
        eprintln!("llm-tracker: {error:#}; what the command has used is not known");
    }
    Ok(ExitCode::from(status))
}

fn say(args: &ExecArgs, config: &Config, session: &str, begun: jiff::Timestamp) -> Result<()> {
    let progress = Progress::start("Waiting for what the command has used");
    let (used, settled) = Used::since(begun, session, config)?;
    drop(progress);
    let text = if args.json {
        let mut json = used.to_json(false);
        json["settled"] = settled.into();
        format!("{json}\n")
    } else if settled {
        used.to_text()
    } else {
        format!("{}The daemon is behind: there may be more.\n", used.to_text())
    };
    match &args.output {
        Some(file) => fs::write(file, text).with_context(|| format!("cannot write {}", file.display())),
        None => {
            // Whoever reads standard error may be gone; there is nobody left to tell.
            let _ = io::stderr().write_all(text.as_bytes());
            Ok(())
        }
    }
}

/// A name that no other run has.
fn name_for(program: &OsString) -> Result<String> {
    let number = random::bytes().context("the machine has no random numbers")?;
    let file = Path::new(program).file_name().unwrap_or_default().to_string_lossy();
    let clean = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let file: String = file.chars().take(64).map(clean).collect();
    Ok(format!("{file}-{:08x}", u32::from_be_bytes(number)))
}
