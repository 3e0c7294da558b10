//! rustls, by the functions of aws-lc that encrypt and decrypt its records.
//!
//! rustls itself is Rust: its functions have neither a stable name nor a stable calling convention, and
//! most are inlined. But all plaintext goes through the AEAD functions of the cryptographic library
//! underneath, and in aws-lc, the default since rustls 0.23, those are C functions that no Rust compiler
//! changes. They raise errors, and each error names this source file, the library and a reason
//! (`OPENSSL_PUT_ERROR`): the set of reasons tells which function it is.
//!
//! A record's key is a context of one direction, so the functions that set up and clear contexts are
//! hooked as well: the kernel side learns from their order which two belong to one connection.
//!
//! # ring
//!
//! With ring, the other library, rustls is recognised and not hooked. What a debugger showed of ring 0.17.14 on a
//! processor with AES for vectors:
//!
//! - What has a C convention is assembly. Each record is one call of `aes_gcm_enc_update_vaes_avx2(in, out, length,
//!   ...)` or `aes_gcm_dec_update_vaes_avx2`, with its whole blocks of 16 bytes: requests of 96, 393 and 20,095
//!   bytes show as 96, 384, and 16,384 with 3,712. Up to 15 bytes at the end, with the record's type, are encrypted
//!   in Rust, by a block on the stack that is no text; so is all of a record that is shorter.
//! - Neither the record's header nor its number or length is there. Only that a length is a multiple of 16 could be
//!   verified, which also holds for the handshake, for QUIC and for every other use of the same function.
//!
//! Its source has more ways for other processors: `aesni_gcm_encrypt` for multiples of 96 bytes from 288 on, then
//! `aes_hw_ctr32_encrypt_blocks` or that alone, and others for ChaCha20-Poly1305. The Rust functions around them,
//! `aes_gcm::seal` and `open`, know all that is needed, by a calling convention that is each compiler's own. To
//! deliver what is seen would be to join bodies with gaps whose length nobody knows: so nothing is delivered.

use std::collections::BTreeSet;

use super::elf::Image;
use super::probe::{self, Need};
use super::search::Search;
use super::strings::{Stands, Text};
use super::walk::Walk;
use super::{Located, Locator, Reason, clears};
use crate::capture::{
    AeadFunction, Direction, Hook, HookKind, HookPlan, Layout, Returns, Transferred, Trust,
};

const STACK: &str = "rustls";

/// `__FILE__` of the AEAD functions in aws-lc; BoringSSL's goes on, `.cc.inc`.
const SOURCE_FILE: Text = Text { bytes: "/aws-lc/crypto/fipsmodule/cipher/aead.c", stands: Stands::AtTheEnd };
/// What rustls says of a record that cannot be decrypted (`Error::DecryptError` in `rustls/src/error.rs`,
/// since 0.20). Other TLS libraries on aws-lc call the same functions, under functions of theirs that
/// are hooked.
const RUSTLS: Text = Text { bytes: "cannot decrypt peer's message", stands: Stands::Anywhere };
/// The end of what the assembly in ring says of itself, which OpenSSL's does as well.
const ASSEMBLY: Text = Text { bytes: "CRYPTOGAMS by <appro@openssl.org>", stands: Stands::AtTheEnd };

/// `ERR_LIB_CIPHER` (`include/openssl/err.h`).
const LIBRARY: u64 = 30;

/// Reasons (`include/openssl/cipher.h`).
mod reason {
    pub(super) const BAD_DECRYPT: u64 = 101;
    pub(super) const BUFFER_TOO_SMALL: u64 = 103;
    pub(super) const CTRL_NOT_IMPLEMENTED: u64 = 104;
    pub(super) const INVALID_OPERATION: u64 = 112;
    pub(super) const OUTPUT_ALIASES_INPUT: u64 = 115;
    pub(super) const TOO_LARGE: u64 = 117;
    pub(super) const UNSUPPORTED_KEY_SIZE: u64 = 120;
    pub(super) const NO_DIRECTION_SET: u64 = 124;
}

/// What a function is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Record(AeadFunction),
    /// Sets a context up.
    Init,
}

/// A function of `crypto/fipsmodule/cipher/aead.c`, as of aws-lc 1.30 (aws-lc-sys 0.17, 2024) to 1.70
/// (aws-lc-sys 0.47, 2026).
struct Anchor {
    role: Role,
    name: &'static str,
    /// Reasons that it raises.
    always: &'static [u64],
    /// Reasons that it raises as well where what it calls was inlined.
    inlined: &'static [u64],
    /// Whether more than one may fit: each is one.
    many: bool,
}

const ANCHORS: [Anchor; 5] = [
    Anchor {
        role: Role::Record(AeadFunction::Seal),
        name: "EVP_AEAD_CTX_seal",
        always: &[reason::TOO_LARGE, reason::BUFFER_TOO_SMALL, reason::OUTPUT_ALIASES_INPUT],
        inlined: &[],
        many: false,
    },
    Anchor {
        role: Role::Record(AeadFunction::SealScatter),
        name: "EVP_AEAD_CTX_seal_scatter",
        always: &[reason::INVALID_OPERATION, reason::OUTPUT_ALIASES_INPUT],
        inlined: &[],
        many: false,
    },
    Anchor {
        role: Role::Record(AeadFunction::Open),
        name: "EVP_AEAD_CTX_open",
        always: &[reason::OUTPUT_ALIASES_INPUT, reason::BAD_DECRYPT, reason::BUFFER_TOO_SMALL],
        inlined: &[reason::CTRL_NOT_IMPLEMENTED],
        many: false,
    },
    Anchor {
        role: Role::Record(AeadFunction::OpenGather),
        name: "EVP_AEAD_CTX_open_gather",
        always: &[reason::OUTPUT_ALIASES_INPUT, reason::CTRL_NOT_IMPLEMENTED],
        inlined: &[],
        many: false,
    },
    // `EVP_AEAD_CTX_init` calls it, or has it inlined.
    Anchor {
        role: Role::Init,
        name: "EVP_AEAD_CTX_init_with_direction",
        always: &[reason::UNSUPPORTED_KEY_SIZE],
        inlined: &[reason::NO_DIRECTION_SET],
        many: true,
    },
];

/// Each of these is needed: to lack one direction, or what tells the connections apart, is to lack all.
/// Records of TLS 1.3 are sealed by the one, and opened by either of the others.
const NEEDED: [&[Role]; 3] = [
    &[Role::Record(AeadFunction::Seal)],
    &[Role::Record(AeadFunction::Open), Role::Record(AeadFunction::OpenGather)],
    &[Role::Init],
];

/// See the module.
pub(super) struct ByErrorSite;

impl Locator for ByErrorSite {
    fn texts(&self) -> &'static [Text] {
        &[SOURCE_FILE, RUSTLS, ASSEMBLY]
    }

    fn locate(&self, search: &Search<'_>) -> Option<Located> {
        let plan = match search.addresses([&SOURCE_FILE, &RUSTLS, &ASSEMBLY]) {
            Ok([_, [], _] | [[], _, []]) => return None,
            Ok([[], ..]) => Err(Reason::NotLocated("it is built on ring, which is given records in pieces")),
            Ok([files, ..]) => plan(search, files),
            Err(reason) => Err(reason),
        };
        Some(Located { stack: STACK, plan })
    }
}

fn plan(search: &Search<'_>, files: &[u64]) -> Result<HookPlan, Reason> {
    let image = search.image();
    let mut found: Vec<(&Anchor, u64)> = Vec::new();
    for (start, walk) in search.functions_taking(files)? {
        let reasons = reasons(&walk, files);
        found.extend(ANCHORS.iter().find(|anchor| anchor.fits(&reasons)).map(|anchor| (anchor, start)));
    }
    if ANCHORS.iter().any(|a| !a.many && found.iter().filter(|(b, _)| a.role == b.role).count() > 1) {
        return Err(Reason::NotLocated("more than one function raises the errors of one of aead.c"));
    }
    if NEEDED.iter().any(|roles| !found.iter().any(|(anchor, _)| roles.contains(&anchor.role))) {
        return Err(Reason::NotLocated("no function raises the errors of one of aead.c that is needed"));
    }
    let clears = clears::find(image)?;
    if clears.is_empty() {
        return Err(Reason::NotLocated("what clears the context of a key was not found"));
    }
    let transfers = found.iter().map(|(anchor, start)| anchor.hook(image, *start));
    let frees = clears
        .iter()
        .map(|start| hook(image, HookKind::Free, "EVP_AEAD_CTX_cleanup", Layout::AeadContext, *start));
    // All of them or none.
    let hooks: Option<Vec<Hook>> = transfers.chain(frees).collect();
    hooks.map(|hooks| HookPlan { stack: STACK, trust: Trust::Inferred, hooks }).ok_or(Reason::NoProbePoint)
}

/// The reasons that a function raises for these source files: `ERR_put_error(library, 0, reason, file,
/// line)`.
fn reasons(walk: &Walk, files: &[u64]) -> BTreeSet<u64> {
    use super::values::Value::Constant;
    let raised = walk.calls.iter().filter_map(|call| match call.arguments {
        [Constant(LIBRARY), _, Constant(reason), Constant(file), Constant(_), _] if files.contains(&file) => {
            Some(reason)
        }
        _ => None,
    });
    raised.collect()
}

impl Anchor {
    fn fits(&self, reasons: &BTreeSet<u64>) -> bool {
        self.always.iter().all(|reason| reasons.contains(reason))
            && reasons.iter().all(|reason| self.always.contains(reason) || self.inlined.contains(reason))
    }

    fn hook(&self, image: &Image<'_>, address: u64) -> Option<Hook> {
        let (kind, layout) = match self.role {
            Role::Init => (HookKind::Begin, Layout::AeadContext),
            Role::Record(function) => (HookKind::Transfer(function.direction()), Layout::Aead(function)),
        };
        hook(image, kind, self.name, layout, address)
    }
}

fn hook(
    image: &Image<'_>,
    kind: HookKind,
    function: &'static str,
    layout: Layout,
    address: u64,
) -> Option<Hook> {
    let need = if kind == HookKind::Free { Need::FirstArgument } else { Need::Arguments };
    let point = probe::point(image, address, need)?;
    let (entry_offset, _) = image.code_offset(address.checked_add(point.offset)?)?;
    let returns = match kind {
        // What is decrypted is there in the end; what is encrypted, in its place, is not.
        HookKind::Transfer(Direction::Read) => Returns::Probe(entry_offset),
        _ => Returns::None,
    };
    Some(Hook {
        kind,
        function,
        layout,
        entry_offset,
        returns,
        transferred: Transferred::Returned,
        emulated: point.emulated,
    })
}
