//! Running commands: what is said before, and what is said when one fails.

use std::error::Error;
use std::fmt;
use std::io::{self, IsTerminal as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};
use std::{env, iter};

use anyhow::Context as _;

/// A command that ran and did not succeed.
#[derive(Debug)]
pub(crate) struct Failed {
    what: String,
    command: String,
    status: ExitStatus,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed ({}): {}", self.what, self.status, self.command)
    }
}

impl Error for Failed {}

/// Prints one line of progress on stderr, in cargo's own form.
pub(crate) fn progress(verb: &str, object: fmt::Arguments<'_>) {
    let colour = io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if colour {
        eprintln!("\x1b[1;32m{verb:>12}\x1b[0m {object}");
    } else {
        eprintln!("{verb:>12} {object}");
    }
}

/// Runs `command` to its end. `what` names the job in the error, as the subject of "failed".
///
/// # Errors
/// [`Failed`] when it ran and did not succeed; an I/O error when it could not be started.
pub(crate) fn run(what: &str, command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{what}: cannot start {}", line(command)))?;
    if status.success() {
        return Ok(());
    }
    Err(Failed { what: what.into(), command: line(command), status }.into())
}

/// What `command` prints on stdout, without the last newline; `None` when it cannot be run or fails.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim_end().to_owned())
}

/// Becomes `command`: signals, terminal and exit code are the new program's own.
///
/// # Errors
/// Always, when it returns: the program could not be started.
pub(crate) fn replace(command: &mut Command) -> anyhow::Error {
    let error = command.exec();
    anyhow::Error::new(error).context(format!("cannot start {}", line(command)))
}

/// The first executable called `name` on the `PATH`.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Whether this process runs as root. The owner of `/proc/self` is its effective user.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// The exit code that `error` deserves: that of the command that failed (128 and the signal's
/// number for one that was killed, as a shell has it), else 1.
pub(crate) fn exit_code(error: &anyhow::Error) -> ExitCode {
    let failed = error.chain().find_map(|cause| cause.downcast_ref::<Failed>());
    let code = failed.and_then(|failed| {
        failed.status.code().or_else(|| failed.status.signal().map(|signal| 128 + signal))
    });
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// The command as it could be typed, without its environment.
fn line(command: &Command) -> String {
    let words: Vec<_> = iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_code_is_the_commands() {
        let error = run("the shell", Command::new("sh").args(["-c", "exit 7"])).unwrap_err();
        assert_eq!(exit_code(&error), ExitCode::from(7));
        assert_eq!(exit_code(&error.context("more about it")), ExitCode::from(7));

        let killed = run("the shell", Command::new("sh").args(["-c", "kill -TERM $$"])).unwrap_err();
        assert_eq!(exit_code(&killed), ExitCode::from(128 + 15));

        let absent = run("nothing", &mut Command::new("/nonexistent/program")).unwrap_err();
        assert_eq!(exit_code(&absent), ExitCode::from(1));
        assert!(format!("{absent:#}").starts_with("nothing: cannot start /nonexistent/program"));
    }

    #[test]
    fn output_is_none_on_failure() {
        assert_eq!(output(Command::new("sh").args(["-c", "echo a b"])).as_deref(), Some("a b"));
        assert_eq!(output(Command::new("sh").args(["-c", "echo a; exit 1"])), None);
    }
}
