//! Libraries that are hooked before anybody uses them, so that the first program to map one is seen from
//! its first call: to hook a library takes longer than a short program lives.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the dynamic linker looks by default (`ld.so(8)`), and where `ldconfig` is told to look as well.
const FOLDERS: [&str; 5] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"];
/// Candidates looked at, at most.
const MAX_CANDIDATES: usize = 64;

/// The folders of this machine: those of the linker, and their multiarch folders (`x86_64-linux-gnu`).
pub(super) fn folders() -> Vec<PathBuf> {
    let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
    let all = FOLDERS.iter().flat_map(|folder| [PathBuf::from(folder), Path::new(folder).join(&triplet)]);
    // `/lib` is `/usr/lib` nearly everywhere.
    let mut folders: Vec<PathBuf> = all.filter_map(|folder| fs::canonicalize(folder).ok()).collect();
    folders.sort();
    folders.dedup();
    folders
}

/// Files in these folders that are called like OpenSSL's library. What they are is judged by content.
pub(super) fn candidates(folders: &[PathBuf]) -> Vec<PathBuf> {
    let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("libssl.so"));
    let mut files: Vec<PathBuf> = named.filter_map(|entry| fs::canonicalize(entry.path()).ok()).collect();
    files.sort();
    files.dedup();
    files.truncate(MAX_CANDIDATES);
    files
}
