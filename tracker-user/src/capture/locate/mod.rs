//! Judges a file: which TLS stacks are in it, and where their functions are to be probed.
//!
//! A `Locator` knows one way to recognise one family of stacks. All are asked, because one file can
//! hold several stacks of which only one carries traffic: everything found is hooked, and traffic
//! decides.

mod boringssl_stripped;
mod clears;
mod debugdata;
mod elf;
mod functions;
mod funnel;
mod gnutls;
mod go;
mod nss;
mod openssl;
mod openssl_stripped;
mod probe;
mod references;
mod rustls;
mod search;
mod strings;
mod symbols;
mod unwind;
mod values;
mod walk;

pub use elf::{Architecture, ElfError, Image, Source};

use search::Search;
use strings::Text;

use super::HookPlan;

/// Why a file that holds a TLS stack is not hooked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The file is for another kind of machine, run by an emulator.
    #[error("built for another kind of machine")]
    ForeignMachine,
    /// The functions are known, but the kernel takes no probe on any instruction that would serve.
    #[error("no instruction of its read and write functions can be probed")]
    NoProbePoint,
    /// The stack is there, but not all of what is needed was found, or more than one thing fits.
    #[error("its functions were not located: {0}")]
    NotLocated(&'static str),
    /// The file could not be read to the end.
    #[error("could not be read: {0}")]
    Unreadable(String),
    /// The functions that were found are others: traffic has shown it.
    #[error("what was taken for its functions does not move plaintext")]
    Refuted,
    /// The kernel refused the probes.
    #[error("could not be probed: {0}")]
    AttachFailed(String),
}

impl Reason {
    /// A few words that never change, for a metric's label.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::ForeignMachine => "foreign_machine",
            Self::NoProbePoint => "no_probe_point",
            Self::NotLocated(_) => "not_located",
            Self::Refuted => "refuted",
            Self::Unreadable(_) => "unreadable",
            Self::AttachFailed(_) => "attach_failed",
        }
    }
}

impl From<ElfError> for Reason {
    fn from(error: ElfError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// One stack in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// What was recognised, as in [`HookPlan::stack`].
    pub stack: &'static str,
    /// What to hook, or why nothing can be.
    pub plan: Result<HookPlan, Reason>,
}

/// One way to find one family of TLS stacks.
trait Locator: Sync {
    /// The texts by which it knows the stack or finds its functions. They are looked for together with
    /// those of all other locators, and so is what refers to them.
    fn texts(&self) -> &'static [Text] {
        &[]
    }

    /// Looks for the stack; `None` where the file does not hold it. A glance has to suffice for nearly
    /// every file: each executable mapping of the host is shown to every locator once.
    fn locate(&self, search: &Search<'_>) -> Option<Located>;

    /// Whether this is merely another way to a stack that an earlier locator has found and can hook: it
    /// is then not asked.
    fn repeats(&self, _stack: &'static str) -> bool {
        false
    }
}

/// All locators, the cheapest first.
const LOCATORS: [&dyn Locator; 7] = [
    &openssl::BySymbol,
    &openssl_stripped::ByErrorReport,
    &boringssl_stripped::ByErrorSite,
    &go::CryptoTls,
    &rustls::ByErrorSite,
    &gnutls::GnuTls,
    &nss::Nss,
];

/// Everything that the locators find in a file; empty for a file without TLS, and for what is no ELF file.
#[must_use]
pub fn locate(source: &dyn Source) -> Vec<Located> {
    let Ok(image) = Image::parse(source) else { return Vec::new() };
    let mut found = find(&image);
    let foreign = Architecture::HOST != Some(image.architecture());
    for located in found.iter_mut().filter(|located| foreign && located.plan.is_ok()) {
        located.plan = Err(Reason::ForeignMachine);
    }
    found
}

/// The same in any file that is understood, whether it runs on this machine or another.
#[must_use]
pub fn find(image: &Image<'_>) -> Vec<Located> {
    let search = Search::new(image, LOCATORS.iter().flat_map(|locator| locator.texts()));
    let mut found: Vec<Located> = Vec::new();
    for locator in LOCATORS {
        if !found.iter().any(|known| known.plan.is_ok() && locator.repeats(known.stack)) {
            found.extend(locator.locate(&search));
        }
    }
    found
}

#[cfg(test)]
mod rustls_tests;
#[cfg(test)]
mod search_tests;
#[cfg(test)]
mod stripped_tests;
#[cfg(test)]
mod tests;
