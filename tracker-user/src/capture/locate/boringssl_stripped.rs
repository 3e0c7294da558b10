//! BoringSSL without symbols, by the errors that its functions raise.
//!
//! `OPENSSL_PUT_ERROR` (`include/openssl/err.h`) passes a library, a reason, `__FILE__` and `__LINE__` to
//! `ERR_put_error`. In which registers, and where in the file the lines are, differs from one build to
//! the next; which reasons a function raises, and in which order, does not.

use std::collections::BTreeMap;
use std::iter;

use super::elf::Image;
use super::functions;
use super::probe;
use super::references;
use super::search::Search;
use super::strings::{Stands, Text};
use super::values::Value;
use super::walk::Walk;
use super::{Located, Locator, Reason};
use crate::capture::{Direction, HookKind, HookPlan, Transferred, Trust};

const STACK: &str = "boringssl";

/// The source file; `ssl_lib.c` until 2017.
const FILE: Text = Text { bytes: "ssl/ssl_lib.cc", stands: Stands::AtTheEnd };

/// `ERR_LIB_SSL` (`include/openssl/err.h`).
const LIBRARY: u64 = 16;

// Reasons: `ERR_R_*` in `include/openssl/err.h`, `SSL_R_*` in `include/openssl/ssl.h`. Numbers of
// BoringSSL's are never given to another reason.
const SHOULD_NOT_HAVE_BEEN_CALLED: u64 = 66;
const BAD_LENGTH: u64 = 111;
const CONNECTION_TYPE_NOT_SET: u64 = 134;
const HANDSHAKE_FAILURE: u64 = 215;
const UNINITIALIZED: u64 = 226;

/// What `SSL_write(SSL *, const void *, int)` raises, in the order of the lines, since it refuses QUIC
/// connections (2019). All in `ssl/ssl_lib.cc`; read last at the version of 2025.
const WRITE: [u64; 4] = [SHOULD_NOT_HAVE_BEEN_CALLED, UNINITIALIZED, HANDSHAKE_FAILURE, BAD_LENGTH];
/// What `SSL_do_handshake(SSL *)` raises.
const HANDSHAKE: [u64; 1] = [CONNECTION_TYPE_NOT_SET];

/// See the module.
pub(super) struct ByErrorSite;

impl Locator for ByErrorSite {
    fn texts(&self) -> &'static [Text] {
        &[FILE]
    }

    fn locate(&self, search: &Search<'_>) -> Option<Located> {
        let plan = match search.addresses([&FILE]) {
            Ok([[]]) => return None,
            Ok([files]) => plan(search, files),
            Err(reason) => Err(reason),
        };
        Some(Located { stack: STACK, plan })
    }

    fn repeats(&self, stack: &'static str) -> bool {
        // AWS-LC has the same source file.
        matches!(stack, STACK | "aws-lc")
    }
}

/// An error that a function raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Site {
    line: u64,
    reason: u64,
}

fn plan(search: &Search<'_>, files: &[u64]) -> Result<HookPlan, Reason> {
    let image = search.image();
    let functions = search.functions_taking(files)?;
    let raised: BTreeMap<u64, Vec<Site>> =
        functions.iter().map(|(address, walk)| (*address, sites(walk, files))).collect();

    let write = only(raising(&raised, &WRITE))
        .ok_or(Reason::NotLocated("not exactly one function raises the errors of SSL_write"))?;
    // `SSL_peek` stands before `SSL_write`, and refuses QUIC connections too.
    let refuses = |site: &&Site| site.reason == SHOULD_NOT_HAVE_BEEN_CALLED;
    let line_of_write = raised[&write].iter().find(refuses).map_or(0, |site| site.line);
    let line_of_peek = raised
        .values()
        .flatten()
        .filter(refuses)
        .map(|site| site.line)
        .filter(|line| *line < line_of_write)
        .max();
    let peeks: Vec<u64> = raised
        .iter()
        .filter(|(_, sites)| sites.iter().any(|site| refuses(&site) && Some(site.line) == line_of_peek))
        .map(|(address, _)| *address)
        .collect();
    let read = consumer(image, &functions, &peeks)?
        .ok_or(Reason::NotLocated("not exactly one function consumes what SSL_peek shows"))?;

    let mut hooks = Vec::new();
    for (direction, name, address) in
        [(Direction::Read, "SSL_read", read), (Direction::Write, "SSL_write", write)]
    {
        let kind = HookKind::Transfer(direction);
        let hook = probe::hook(image, kind, name, address, Transferred::Returned);
        hooks.push(hook.ok_or(Reason::NoProbePoint)?);
    }
    // `SSL_free` raises nothing. But every connection begins with a handshake, also one that lies at the
    // address of another: that ends the other one. `SSL_connect` and `SSL_accept` may contain what they
    // call. A handshake that is asked for again when it is over would end the connection too early;
    // nobody does.
    let ends: Vec<_> = raising(&raised, &HANDSHAKE)
        .filter_map(|address| {
            probe::hook(image, HookKind::Free, "SSL_do_handshake", address, Transferred::Returned)
        })
        .collect();
    if ends.is_empty() {
        return Err(Reason::NotLocated("no function raises the error of SSL_do_handshake"));
    }
    hooks.extend(ends);
    Ok(HookPlan { stack: STACK, trust: Trust::Inferred, hooks })
}

/// The errors that a function raises, by their lines.
fn sites(walk: &Walk, files: &[u64]) -> Vec<Site> {
    let mut sites: Vec<Site> = walk
        .calls
        .iter()
        .filter(|call| call.arguments[0] == Value::Constant(LIBRARY))
        .filter_map(|call| {
            // The reason stands before the file and the line after it, with or without an unused
            // argument before them.
            let file = call
                .arguments
                .iter()
                .position(|value| matches!(value, Value::Constant(at) if files.contains(at)))?;
            match (call.arguments.get(file.checked_sub(1)?)?, call.arguments.get(file + 1)?) {
                (Value::Constant(reason), Value::Constant(line)) => {
                    Some(Site { line: *line, reason: *reason })
                }
                _ => None,
            }
        })
        .collect();
    sites.sort_unstable();
    sites.dedup();
    sites
}

fn raising<'a>(raised: &'a BTreeMap<u64, Vec<Site>>, reasons: &'a [u64]) -> impl Iterator<Item = u64> + 'a {
    raised
        .iter()
        .filter(move |(_, sites)| sites.iter().map(|site| site.reason).eq(reasons.iter().copied()))
        .map(|(address, _)| *address)
}

fn only(mut all: impl Iterator<Item = u64>) -> Option<u64> {
    all.next().filter(|_| all.next().is_none())
}

/// `SSL_read`, which does what `SSL_peek` does and then moves the connection on past what was read: a
/// function into which the compiler has put the other, or one that calls it.
fn consumer(
    image: &Image<'_>,
    functions: &BTreeMap<u64, Walk>,
    peeks: &[u64],
) -> Result<Option<u64>, Reason> {
    let consumes = |address: &u64| functions.get(address).is_some_and(|walk| walk.stores_after_copy);
    if let Some(read) = only(peeks.iter().copied().filter(consumes)) {
        return Ok(Some(read));
    }
    let &[peek] = peeks else { return Ok(None) };
    let calls = references::calling(image, iter::once(peek..peek.saturating_add(1)))?;
    let callers = functions::around(image, &calls.iter().map(|call| call.at).collect::<Vec<_>>())?;
    Ok(only(
        callers.iter().filter(|(_, walk)| walk.stores_after.contains(&peek)).map(|(address, _)| *address),
    ))
}
