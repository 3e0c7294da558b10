//! NSS, the TLS of Firefox: recognised, so that it is said to be there, and not hooked.
//!
//! Its users call `PR_Write` and `PR_Read`, which serve files and plain sockets as well; the functions
//! behind them that are TLS's own have no names.

use super::search::Search;
use super::symbols;
use super::{Located, Locator, Reason};

/// Functions that only NSS has.
const NAMES: [&str; 2] = ["SSL_ImportFD", "SSL_ResetHandshake"];

/// See the module.
pub(super) struct Nss;

impl Locator for Nss {
    fn locate(&self, search: &Search<'_>) -> Option<Located> {
        let found = symbols::defined(search.image(), "SSL_", &NAMES).ok()?;
        NAMES.iter().all(|name| found.iter().any(|symbol| symbol.name == *name)).then_some(Located {
            stack: "nss",
            plan: Err(Reason::NotLocated("NSS has no names for the functions that move plaintext")),
        })
    }
}
