//! GnuTLS, by its symbols: wget, git's and apt's transports, everything on glib-networking.
//!
//! `ssize_t gnutls_record_send(gnutls_session_t, const void *, size_t)` and `gnutls_record_recv` have
//! the shape of OpenSSL's functions, and so does the beginning of their longer forms. The count is what
//! they return; a record holds 16 KiB at most, so it fits an `int`.

use super::elf::Image;
use super::probe::{self, MAX_CODE};
use super::search::Search;
use super::symbols::{self, Symbol};
use super::{Located, Locator, Reason};
use crate::capture::{Direction, Hook, HookKind, HookPlan, Transferred, Trust};

const STACK: &str = "gnutls";

/// What is hooked. A call of one inside another counts once.
const FUNCTIONS: [(&str, HookKind); 5] = [
    ("gnutls_record_send", HookKind::Transfer(Direction::Write)),
    // Since 3.6.3, with padding and flags behind.
    ("gnutls_record_send2", HookKind::Transfer(Direction::Write)),
    ("gnutls_record_recv", HookKind::Transfer(Direction::Read)),
    // With the record's number behind.
    ("gnutls_record_recv_seq", HookKind::Transfer(Direction::Read)),
    ("gnutls_deinit", HookKind::Free),
];
const NAMES: [&str; FUNCTIONS.len()] = {
    let mut names = [""; FUNCTIONS.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = FUNCTIONS[i].0;
        i += 1;
    }
    names
};

/// See the module.
pub(super) struct GnuTls;

impl Locator for GnuTls {
    fn locate(&self, search: &Search<'_>) -> Option<Located> {
        let image = search.image();
        let found = match symbols::defined(image, "gnutls_", &NAMES) {
            Ok(found) => found,
            Err(error) => {
                return Some(Located { stack: STACK, plan: Err(Reason::Unreadable(error.to_string())) });
            }
        };
        let has = |name| found.iter().any(|symbol| symbol.name == name);
        if !has("gnutls_record_send") && !has("gnutls_record_recv") {
            return None;
        }
        let hooks = hooks(image, &found);
        let transfers = hooks.iter().any(|hook| matches!(hook.kind, HookKind::Transfer(_)));
        let plan = if transfers {
            Ok(HookPlan { stack: STACK, trust: Trust::Symbols, hooks })
        } else {
            Err(Reason::NoProbePoint)
        };
        Some(Located { stack: STACK, plan })
    }
}

fn hooks(image: &Image<'_>, found: &[Symbol]) -> Vec<Hook> {
    let has_longer_form = found.iter().any(|symbol| symbol.name == "gnutls_record_send2");
    FUNCTIONS
        .iter()
        .flat_map(|&(name, kind)| {
            found.iter().filter(move |symbol| symbol.name == name).filter_map(move |symbol| {
                // What only goes on to its longer form is seen there, where a probe costs less.
                let covered = name == "gnutls_record_send"
                    && has_longer_form
                    && probe::goes_on_elsewhere(&image.code(symbol.address, MAX_CODE), symbol.address);
                if covered {
                    return None;
                }
                probe::hook(image, kind, name, symbol.address, Transferred::Returned)
            })
        })
        .collect()
}
