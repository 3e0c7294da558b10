//! OpenSSL and its relatives, by their symbols.
//!
//! Any file that defines `SSL_read` or `SSL_write`: a libssl of OpenSSL, LibreSSL, BoringSSL or AWS-LC
//! under any name, or a program that was linked with one and kept the names.

use super::elf::{Architecture, Image};
use super::funnel::{self, Funnel};
use super::probe;
use super::search::Search;
use super::symbols::{self, Symbol};
use super::{Located, Locator, Reason};
use crate::capture::{Direction, Hook, HookKind, HookPlan, Transferred, Trust};

/// Functions looked for: the family's, and those that tell its members apart.
const NAMES: [&str; 9] = [
    "SSL_read",
    "SSL_read_ex",
    "SSL_write",
    "SSL_write_ex",
    "SSL_write_ex2",
    "SSL_free",
    // In AWS-LC, which has BoringSSL's as well.
    "SSL_to_bytes",
    // In BoringSSL.
    "SSL_CTX_set_grease_enabled",
    // In LibreSSL.
    "SSL_CTX_use_certificate_chain_mem",
];

/// One direction's functions.
struct Operation {
    direction: Direction,
    plain: &'static str,
    extended: &'static str,
    /// Another variant and the argument that points at its count.
    further: Option<(&'static str, u8)>,
    internal: &'static str,
}

/// `int SSL_x(SSL *, buf, int)`, `int SSL_x_ex(SSL *, buf, size_t, size_t *)` (OpenSSL 1.1.1) and
/// `int SSL_write_ex2(SSL *, buf, size_t, uint64_t flags, size_t *)` (OpenSSL 3.3).
const OPERATIONS: [Operation; 2] = [
    Operation {
        direction: Direction::Read,
        plain: "SSL_read",
        extended: "SSL_read_ex",
        further: None,
        internal: "ssl_read_internal",
    },
    Operation {
        direction: Direction::Write,
        plain: "SSL_write",
        extended: "SSL_write_ex",
        further: Some(("SSL_write_ex2", 5)),
        internal: "ssl_write_internal",
    },
];

/// See the module.
pub(super) struct BySymbol;

impl Locator for BySymbol {
    fn locate(&self, search: &Search<'_>) -> Option<Located> {
        let image = search.image();
        let found = match symbols::defined(image, "SSL_", &NAMES) {
            Ok(found) => found,
            Err(error) => {
                return Some(Located { stack: "openssl", plan: Err(Reason::Unreadable(error.to_string())) });
            }
        };
        if !found.iter().any(|symbol| matches!(symbol.name, "SSL_read" | "SSL_write")) {
            return None;
        }
        let stack = stack(&found);
        let hooks = hooks(image, &found);
        let transfers = hooks.iter().any(|hook| matches!(hook.kind, HookKind::Transfer(_)));
        let plan = if transfers {
            Ok(HookPlan { stack, trust: Trust::Symbols, hooks })
        } else {
            Err(Reason::NoProbePoint)
        };
        Some(Located { stack, plan })
    }
}

fn stack(found: &[Symbol]) -> &'static str {
    let has = |name| found.iter().any(|symbol| symbol.name == name);
    if has("SSL_to_bytes") {
        "aws-lc"
    } else if has("SSL_CTX_set_grease_enabled") {
        "boringssl"
    } else if has("SSL_CTX_use_certificate_chain_mem") {
        "libressl"
    } else {
        "openssl"
    }
}

fn hooks(image: &Image<'_>, found: &[Symbol]) -> Vec<Hook> {
    let named = |name: &'static str| found.iter().filter(move |symbol| symbol.name == name);
    let only = |name| {
        let mut all = named(name);
        all.next().filter(|_| all.next().is_none())
    };
    let funnels = OPERATIONS.map(|operation| {
        (image.architecture() == Architecture::X86_64)
            .then(|| funnel::shared(image, only(operation.plain)?, only(operation.extended)?))
            .flatten()
    });
    // One function cannot both read and write: if it seems so, neither is understood.
    let funnels = match funnels {
        [Some(read), Some(write)] if read.address == write.address => [None, None],
        funnels => funnels,
    };

    let mut hooks = Vec::new();
    for (operation, funnel) in OPERATIONS.iter().zip(funnels) {
        let kind = HookKind::Transfer(operation.direction);
        let public = |name, transferred| {
            named(name).filter_map(move |symbol| probe::hook(image, kind, name, symbol.address, transferred))
        };
        let internal = funnel.and_then(|Funnel { address, count_argument }| {
            probe::hook(image, kind, operation.internal, address, Transferred::StoredThrough(count_argument))
        });
        let covered = |symbol: &Symbol, argument| {
            internal.is_some()
                && funnel.is_some_and(|funnel| funnel::leads_to(image, symbol, argument, funnel))
        };
        if let Some((name, argument)) = operation.further
            && !named(name).all(|symbol| covered(symbol, argument))
        {
            hooks.extend(public(name, Transferred::StoredThrough(argument)));
        }
        if let Some(internal) = internal {
            hooks.push(internal);
        } else {
            hooks.extend(public(operation.plain, Transferred::Returned));
            hooks.extend(public(operation.extended, Transferred::StoredThrough(4)));
        }
    }
    hooks.extend(named("SSL_free").filter_map(|symbol| {
        probe::hook(image, HookKind::Free, "SSL_free", symbol.address, Transferred::Returned)
    }));
    hooks
}
