//! The functions that clear a context of aws-lc, by what they do.
//!
//! `EVP_AEAD_CTX_cleanup` raises no error, but there is little else to do for
//!
//! ```c
//! if (ctx->aead != NULL) {
//!   if (ctx->aead->cleanup != NULL) ctx->aead->cleanup(ctx);
//!   ctx->aead = NULL;
//! }
//! ```
//!
//! All code is searched for that, since there is no telling where it is: `EVP_AEAD_CTX_free` calls it or
//! has it inlined, a linker may put both anywhere, and their callers find them through tables. Should
//! something else do the same, nothing is lost but the time for a probe that finds no context.

mod aarch64;
mod x86_64;

use std::collections::BTreeSet;
use std::ops::Range;

use super::elf::{Architecture, ElfError, Image};
use super::unwind;

/// Where `struct evp_aead_st` has `cleanup` (`crypto/fipsmodule/cipher/internal.h`): behind six bytes, an
/// `int`, `init` and `init_with_direction`.
const CLEANUP: u64 = 0x20;
/// Bytes of a function that clears; the largest has seventy.
const MAX_CODE: usize = 192;
/// The function, copies of it that were inlined, and what does the same. With more, something is not as
/// it should be.
const MAX_FOUND: usize = 6;
/// Places looked at more closely.
const MAX_PLACES: usize = 16 * 1024;

/// The functions that clear contexts; none where too many fit.
///
/// # Errors
/// [`ElfError::Io`] where the file cannot be read.
pub(super) fn find(image: &Image<'_>) -> Result<BTreeSet<u64>, ElfError> {
    let clears = match image.architecture() {
        Architecture::X86_64 => x86_64::clears,
        Architecture::Aarch64 => aarch64::clears,
    };
    let mut found = BTreeSet::new();
    for place in places(image)? {
        let Some(Range { start, end }) = unwind::function(image, place) else { continue };
        let length = usize::try_from(end - start).unwrap_or(usize::MAX);
        if length <= MAX_CODE && !found.contains(&start) && clears(&image.code(start, length), start) {
            found.insert(start);
        }
    }
    Ok(if found.len() > MAX_FOUND { BTreeSet::new() } else { found })
}

/// Where something is set to zero behind a use of `cleanup`, or what looks like it.
fn places(image: &Image<'_>) -> Result<Vec<u64>, ElfError> {
    let look = match image.architecture() {
        Architecture::X86_64 => x86_64::places,
        Architecture::Aarch64 => aarch64::places,
    };
    let mut places = Vec::new();
    image.pieces(
        |segment| segment.executable,
        MAX_CODE,
        |code, address| {
            look(code, address, &mut |place| {
                if places.len() < MAX_PLACES {
                    places.push(place);
                }
            });
        },
    )?;
    Ok(places)
}
