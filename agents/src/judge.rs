//! Whether the TLS stacks of a release are located.

use std::{
    fs::{self, File},
    path::Path,
};

use anyhow::{Context as _, Result};
use llm_tracker::capture::locate::locate;

/// The smallest file in an agent's home that is looked at: no TLS stack is smaller.
const SMALLEST: u64 = 256 << 10;

/// How many files of an agent's home are looked at: a bound, well above what the largest unpacks.
const MOST: usize = 10_000;

/// What the locators say of a release.
#[derive(Debug, Default)]
pub(crate) struct Judgement {
    /// Whether the stack that carries its calls is located.
    pub(crate) located: bool,
    /// Every other stack, and every one that is not located, with the reason.
    pub(crate) remarks: Vec<String>,
}

/// Looks for `stack` in the program, and in what the agent has unpacked into its home.
///
/// # Errors
///
/// Where the program cannot be read.
pub(crate) fn judge(stack: &str, program: &Path, home: &Path) -> Result<Judgement> {
    let mut judgement = Judgement::default();
    judgement.add(stack, program).with_context(|| format!("cannot read {}", program.display()))?;
    let (mut folders, mut left) = (vec![home.to_owned()], MOST);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.is_file() && metadata.len() >= SMALLEST && left > 0 {
                left -= 1;
                judgement.add(stack, &entry.path())?;
            }
        }
    }
    judgement.remarks.sort();
    judgement.remarks.dedup();
    Ok(judgement)
}

impl Judgement {
    fn add(&mut self, stack: &str, path: &Path) -> std::io::Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        for located in locate(&File::open(path)?) {
            match located.plan {
                Ok(_) if located.stack == stack => self.located = true,
                Ok(_) => self.remarks.push(format!("{} in {name}, too", located.stack)),
                Err(reason) => self.remarks.push(format!("{} in {name}: {reason}", located.stack)),
            }
        }
        Ok(())
    }
}
