//! Probes as a traced process sees them: changed instructions in its memory.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
};

use anyhow::{Context as _, Result};

/// How many bytes of the code of a library differ, in the memory of a process, from the file.
/// The name is matched against the end of the path, a version after it allowed.
///
/// # Errors
///
/// Where the process does not map such a library, or memory or file cannot be read.
pub fn changed_bytes(pid: u32, library: &str) -> Result<usize> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let line = maps
        .lines()
        .find(|line| line.contains(" r-xp ") && line.contains(library))
        .with_context(|| format!("{pid} does not map {library}"))?;
    let fields: Vec<_> = line.split_ascii_whitespace().collect();
    let [range, _, offset, _, _, path] = fields[..] else { anyhow::bail!("not a mapping: {line}") };
    let (start, end) = range.split_once('-').context("not a range")?;
    let (start, end) = (u64::from_str_radix(start, 16)?, u64::from_str_radix(end, 16)?);
    let offset = u64::from_str_radix(offset, 16)?;

    let mut memory = vec![0; usize::try_from(end - start)?];
    File::open(format!("/proc/{pid}/mem"))?.read_exact_at(&mut memory, start)?;
    let file = fs::read(path)?;
    let code = file.get(usize::try_from(offset)?..).context("the mapping is past the end of the file")?;
    // The mapping's last page may reach past the end of the file.
    Ok(memory.iter().zip(code).filter(|(in_memory, in_file)| in_memory != in_file).count())
}
