//! `llm-tracker generate`: what a package installs beside the binary, out of the command line itself.

use std::fs;

use anyhow::{Context as _, Result};
use clap::{CommandFactory as _, ValueEnum as _};
use clap_complete::Shell;

use crate::cli::{Cli, GenerateArgs};

/// Writes one manual page a command (`llm-tracker.1`, `llm-tracker-run.1`, ...), and the completions of
/// every shell that clap knows, by the name under which that shell looks for them.
///
/// # Errors
/// The folder cannot be made or written to.
pub fn run(args: &GenerateArgs) -> Result<()> {
    let GenerateArgs { folder } = args;
    let cannot = || format!("cannot write into {}", folder.display());
    fs::create_dir_all(folder).with_context(cannot)?;
    clap_mangen::generate_to(Cli::command(), folder).with_context(cannot)?;
    for shell in Shell::value_variants() {
        clap_complete::generate_to(*shell, &mut Cli::command(), "llm-tracker", folder)
            .with_context(cannot)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_every_flag_is_completed() {
        let folder = tempfile::tempdir().unwrap();
        let nested = folder.path().join("new");
        run(&GenerateArgs { folder: nested.clone() }).unwrap();
        let read = |file: &str| fs::read_to_string(nested.join(file)).unwrap();
        let command = Cli::command();
        for subcommand in command.get_subcommands() {
            let page = read(&format!("llm-tracker-{}.1", subcommand.get_name()));
            assert!(page.contains("Examples:"), "there are no examples in {page}");
            for flag in subcommand.get_opts().filter_map(clap::Arg::get_long) {
                assert!(page.contains(&flag.replace('-', "\\-")), "{flag} is not in {page}");
                for completions in ["llm-tracker.bash", "_llm-tracker", "llm-tracker.fish"] {
                    assert!(read(completions).contains(flag), "{flag} is not in {completions}");
                }
            }
        }
        assert!(read("llm-tracker.1").contains("llm\\-tracker\\-doctor"));
    }
}
