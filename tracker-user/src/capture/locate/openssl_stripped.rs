//! OpenSSL without symbols, by the errors that its functions report.
//!
//! `ssl_read_internal` and `ssl_write_internal` (`ssl/ssl_lib.c`) both raise errors, and say who they are.
//! Since 3.0 by name: `ERR_raise` (`include/openssl/err.h`) passes `__FILE__`, `__LINE__` and `__func__` to
//! `ERR_set_debug`. In 1.1.1 by number: `SSLerr` passes `ERR_LIB_SSL`, a function code, a reason,
//! `__FILE__` and `__LINE__` to `ERR_put_error`.

use std::collections::BTreeMap;

use super::probe;
use super::search::Search;
use super::strings::{Stands, Text};
use super::values::Value;
use super::walk::Walk;
use super::{Located, Locator, Reason};
use crate::capture::{Direction, HookKind, HookPlan, Transferred, Trust};

const STACK: &str = "openssl";

/// A function to be found.
struct Function {
    direction: Direction,
    name: &'static str,
    /// The name as `__func__`, since 3.0.
    text: Text,
    /// `SSL_F_SSL_READ_INTERNAL` and `SSL_F_SSL_WRITE_INTERNAL` (`include/openssl/sslerr.h` of 1.1.1).
    code: u64,
}

/// Since 1.1.1 `(SSL *, buffer, size_t, size_t *done)`; `ssl_write_internal` since 3.3
/// `(SSL *, buffer, size_t, uint64_t flags, size_t *done)`.
const READ: Function = Function {
    direction: Direction::Read,
    name: "ssl_read_internal",
    text: Text { bytes: "ssl_read_internal", stands: Stands::Alone },
    code: 523,
};
const WRITE: Function = Function {
    direction: Direction::Write,
    name: "ssl_write_internal",
    text: Text { bytes: "ssl_write_internal", stands: Stands::Alone },
    code: 524,
};

/// The source file.
const FILE: Text = Text { bytes: "ssl/ssl_lib.c", stands: Stands::AtTheEnd };
/// `ERR_LIB_SSL` (`include/openssl/err.h`).
const LIBRARY: u64 = 20;
/// `CRYPTO_EX_INDEX_SSL` (`include/openssl/crypto.h`).
const EX_INDEX_SSL: u64 = 0;

/// See the module.
pub(super) struct ByErrorReport;

impl Locator for ByErrorReport {
    fn texts(&self) -> &'static [Text] {
        &[READ.text, WRITE.text, FILE]
    }

    fn locate(&self, search: &Search<'_>) -> Option<Located> {
        let plan = match search.addresses([&READ.text, &WRITE.text, &FILE]) {
            Ok([[], _, []] | [_, [], []]) => return None,
            Ok(found) => plan(search, found),
            Err(reason) => Err(reason),
        };
        Some(Located { stack: STACK, plan })
    }

    fn repeats(&self, stack: &'static str) -> bool {
        // LibreSSL has kept the source file.
        matches!(stack, STACK | "libressl")
    }
}

fn plan(search: &Search<'_>, [reads, writes, files]: [&[u64]; 3]) -> Result<HookPlan, Reason> {
    let image = search.image();
    let functions = search.functions_taking(&[reads, writes, files].concat())?;
    let mut hooks = Vec::new();
    for (function, names) in [(READ, reads), (WRITE, writes)] {
        let (address, walk) = reporting(&functions, &function, names, files)
            .ok_or(Reason::NotLocated("not exactly one function reports errors as theirs"))?;
        let count = count_argument(walk)
            .ok_or(Reason::NotLocated("their arguments are not passed on as expected"))?;
        let kind = HookKind::Transfer(function.direction);
        let hook = probe::hook(image, kind, function.name, address, Transferred::StoredThrough(count));
        hooks.push(hook.ok_or(Reason::NoProbePoint)?);
    }
    // Without it, what comes at the address of one connection later would be taken for its continuation.
    let mut frees = functions.iter().filter(|(_, walk)| frees_connection(walk, files));
    let (Some((&address, _)), None) = (frees.next(), frees.next()) else {
        return Err(Reason::NotLocated("not exactly one function frees a connection as SSL_free does"));
    };
    let hook = probe::hook(image, HookKind::Free, "SSL_free", address, Transferred::Returned);
    hooks.push(hook.ok_or(Reason::NoProbePoint)?);
    Ok(HookPlan { stack: STACK, trust: Trust::Inferred, hooks })
}

/// The one function that reports errors as `function` does.
fn reporting<'a>(
    functions: &'a BTreeMap<u64, Walk>,
    function: &Function,
    names: &[u64],
    files: &[u64],
) -> Option<(u64, &'a Walk)> {
    let is = |value: Value, wanted: &[u64]| matches!(value, Value::Constant(it) if wanted.contains(&it));
    let mut found = functions.iter().filter(|(_, walk)| {
        walk.calls.iter().map(|call| call.arguments).any(|arguments| {
            // ERR_set_debug(file, line, func), ERR_put_error(library, function, reason, file, line)
            is(arguments[2], names)
                || is(arguments[0], &[LIBRARY])
                    && is(arguments[1], &[function.code])
                    && is(arguments[3], files)
        })
    });
    found.next().filter(|_| found.next().is_none()).map(|(address, walk)| (*address, walk))
}

/// The argument that points at the count: the one that is passed to the connection's method, whose
/// signature is `(SSL *, buffer, size_t, size_t *done)` in all versions since 1.1.1 (`ssl_read` and `ssl_write` of
/// `struct ssl_method_st`, `ssl/ssl_local.h`).
fn count_argument(walk: &Walk) -> Option<u8> {
    let mut found =
        walk.calls.iter().filter(|call| call.target.is_none()).filter_map(|call| match call.arguments {
            [
                Value::Argument(1),
                Value::Argument(2),
                Value::Argument(3),
                Value::Argument(count @ (4 | 5)),
                ..,
            ] => Some(count),
            _ => None,
        });
    let count = found.next()?;
    found.all(|other| other == count).then_some(count)
}

/// Whether a function is `SSL_free(SSL *)`: it frees the connection's extra data and the connection,
/// `CRYPTO_free_ex_data(CRYPTO_EX_INDEX_SSL, ssl, ...)` and `CRYPTO_free(ssl, file, line)`.
fn frees_connection(walk: &Walk, files: &[u64]) -> bool {
    let mut calls = walk.calls.iter().map(|call| call.arguments);
    let extra = |arguments: [Value; 6]| {
        arguments[0] == Value::Constant(EX_INDEX_SSL) && arguments[1] == Value::Argument(1)
    };
    let whole = |arguments: [Value; 6]| {
        arguments[0] == Value::Argument(1)
            && matches!(arguments[1], Value::Constant(file) if files.contains(&file))
            && matches!(arguments[2], Value::Constant(_))
    };
    calls.clone().any(extra) && calls.any(whole)
}
