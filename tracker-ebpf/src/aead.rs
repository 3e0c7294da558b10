//! Records that aws-lc encrypts and decrypts for rustls.
//!
//! What is hooked knows keys and records, not connections. A record is told from whatever else is
//! encrypted by its additional data, which is the header of a TLS record: RFC 8446 section 5.2, RFC 5246
//! section 6.2.3.3. A key's context serves one direction of one connection, and rustls sets them up and
//! clears them in an order that tells which belong together, always on one thread and with no record in
//! between:
//!
//! - Two set up one after the other are the two directions of a new connection.
//! - One set up and then another cleared: the one takes the other's place.
//!
//! Whatever comes in another order belongs to no connection that is known, and its records are counted
//! and not delivered.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    bindings::BPF_ANY,
    helpers::generated::{bpf_get_attach_cookie, bpf_get_func_ip, bpf_ktime_get_ns, bpf_probe_read_user},
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use tracker_common::{
    Counter, TransferCookie, cookie,
    state::{ConnectionKey, verdict},
};

use crate::{
    call::{Call, READ_SLOT, current_thread, first_call, slot},
    connection, deliver,
    maps::{CALLS, CONNECTIONS, FRESH_CONTEXTS, KEY_CONTEXTS, count, next_number},
    registers::{self, any_argument},
};

/// `application_data` of the TLS `ContentType` (RFC 8446 section 5.1).
const APPLICATION_DATA: u64 = 0x17;
/// Content type and version as they stand in the header of such a record, in its first three bytes.
const APPLICATION_DATA_HEADER: u64 = 0x03_03_17;
/// Additional data of TLS 1.3: the header.
const HEADER: u64 = 5;
/// Additional data of TLS 1.2: a sequence number and the header.
const NUMBERED_HEADER: u64 = 13;
/// Bytes that all AEADs of TLS add, but for two that add 8 (AES-CCM-8).
const TAG: u64 = 16;
/// Words of padding that are looked through: as many as fit into a record (2^14 + 256 bytes).
const MAX_WORDS: u32 = 2081;
/// Two contexts of a new connection are set up within this time, unless the thread was held up.
const FRESH_NS: u64 = 1_000_000_000;

/// The context that a thread has set up, before it did anything else with one.
#[repr(C)]
pub(crate) struct FreshContext {
    context: u64,
    /// Bytes of its key, which both directions have in common.
    key_length: u64,
    at: u64,
}

/// Entry of `EVP_AEAD_CTX_init_with_direction(ctx, aead, key, key_len, ...)`, and of
/// `EVP_AEAD_CTX_init(ctx, aead, key, key_len, ...)`, which may be the same by another name.
#[uprobe]
fn aead_begin(context: ProbeContext) -> u32 {
    begin(registers::argument::<1>(&context), registers::argument::<4>(&context));
    0
}

#[inline(never)]
fn begin(context: u64, key_length: u64) {
    let thread = current_thread();
    // SAFETY: takes no argument.
    let now = unsafe { bpf_ktime_get_ns() };
    if let Some(fresh) = FRESH_CONTEXTS.get_ptr(&thread) {
        // SAFETY: a map value of this thread; one that is reused at this moment is another's fresh context
        // at worst, whose key is never used on this connection.
        let (other, length, at) = unsafe { ((*fresh).context, (*fresh).key_length, (*fresh).at) };
        let _ = FRESH_CONTEXTS.remove(&thread);
        if other != context && length == key_length && now.wrapping_sub(at) < FRESH_NS {
            let connection = next_number();
            assign(thread, other, connection);
            assign(thread, context, connection);
            return;
        }
    }
    assign(thread, context, 0);
    remember(thread, context, key_length, now);
}

#[inline(never)]
fn remember(thread: u64, context: u64, key_length: u64, at: u64) {
    let fresh = FreshContext { context, key_length, at };
    let _ = FRESH_CONTEXTS.insert(&thread, &fresh, u64::from(BPF_ANY));
}

/// Says which connection a context belongs to.
#[inline(never)]
fn assign(thread: u64, context: u64, connection: u64) {
    let key = key(thread, context);
    let _ = KEY_CONTEXTS.insert(&key, &connection, u64::from(BPF_ANY));
}

/// Entry of `EVP_AEAD_CTX_cleanup(ctx)`, or of what has it inlined.
#[uprobe]
fn aead_free(context: ProbeContext) -> u32 {
    clear(current_thread(), registers::argument::<1>(&context));
    0
}

#[inline(never)]
fn clear(thread: u64, context: u64) {
    let Some(connection) = take(thread, context) else {
        return;
    };
    if let Some(fresh) = FRESH_CONTEXTS.get_ptr(&thread) {
        // SAFETY: as above.
        let successor = unsafe { (*fresh).context };
        let _ = FRESH_CONTEXTS.remove(&thread);
        if successor != context {
            assign(thread, successor, connection);
            return;
        }
    }
    if connection != 0 {
        connection::end(thread, connection);
    }
}

/// Forgets a context, and says which connection it belonged to.
#[inline(never)]
fn take(thread: u64, context: u64) -> Option<u64> {
    let key = key(thread, context);
    // SAFETY: a map value, one aligned word.
    let connection = unsafe { KEY_CONTEXTS.get_ptr(&key)?.read() };
    let _ = KEY_CONTEXTS.remove(&key);
    Some(connection)
}

/// Entry of `EVP_AEAD_CTX_seal` and `EVP_AEAD_CTX_seal_scatter`: what is encrypted, mostly in its place,
/// is there only now. Where that fails, the connection ends.
#[uprobe]
fn aead_seal(context: ProbeContext) -> u32 {
    // SAFETY: null, or the map value of this thread, which nobody else touches.
    if let Some(call) = unsafe { enter(&context).as_mut() }
        && strip(call)
    {
        moved(call);
    }
    0
}

/// Entry of `EVP_AEAD_CTX_open` and `EVP_AEAD_CTX_open_gather`.
#[uprobe]
fn aead_open_entry(context: ProbeContext) -> u32 {
    let _ = on_open(&context);
    0
}

/// Return of the same.
#[uretprobe]
fn aead_open_return(context: RetProbeContext) -> u32 {
    on_opened(&context);
    0
}

/// Entry and return of the same; see [`crate::transfer`].
#[unsafe(no_mangle)]
#[unsafe(link_section = "uprobe")]
extern "C" fn aead_open_session(context: *mut c_void) -> u32 {
    // SAFETY: the context is the one that the program was given.
    let probed = unsafe { bpf_get_func_ip(context) };
    let entry = ProbeContext::new(context);
    if registers::instruction(&entry) == probed {
        u32::from(!on_open(&entry))
    } else {
        on_opened(&RetProbeContext::new(context));
        0
    }
}

/// Follows a record that is about to be decrypted; whether its return is of interest.
#[inline(always)]
fn on_open(context: &ProbeContext) -> bool {
    // SAFETY: null, or the map value of this thread, which nobody else touches.
    match unsafe { enter(context).as_mut() } {
        Some(call) => {
            call.active = 1;
            true
        }
        None => false,
    }
}

#[inline(always)]
fn on_opened(context: &RetProbeContext) {
    let Some(call) = CALLS.get_ptr_mut(&(current_thread() | READ_SLOT)) else {
        return;
    };
    // SAFETY: the map value of this thread, which nobody else touches.
    let call = unsafe { &mut *call };
    if call.active == 0
        || !matches!(call.cookie.layout(), cookie::LAYOUT_AEAD_OPEN | cookie::LAYOUT_AEAD_OPEN_GATHER)
        || !registers::returns_from(call.stack, registers::stack(context))
    {
        return;
    }
    call.active = 0;
    // A record that was tampered with, or one that cannot be decrypted yet, moves nothing.
    if registers::result(context) as u32 == 1 && strip(call) {
        moved(call);
    }
}

/// The connection that a record of application data belongs to goes into the thread's call, with where
/// its plaintext is or will be; null where there is nothing to follow.
#[inline(always)]
fn enter(context: &ProbeContext) -> *mut Call {
    let thread = current_thread();
    let aead = registers::argument::<1>(context);
    let stack = registers::stack(context);
    // SAFETY: the context is the one that the program was given.
    let cookie = TransferCookie(unsafe { bpf_get_attach_cookie(context.as_ptr()) });
    used(thread);
    let call = call_in(slot(thread, cookie));
    // SAFETY: null, or the map value of this thread, which nobody else touches.
    let Some(known) = (unsafe { call.as_mut() }) else {
        count(Counter::CallsFull, 1);
        connection::end(thread, connection_of(thread, aead));
        return core::ptr::null_mut();
    };
    if known.active != 0 && !replaces(known, stack) {
        return core::ptr::null_mut();
    }
    known.cookie = cookie;
    known.stack = stack;
    known.connection.tgid = (thread >> 32) as u32;
    known.connection.ssl = connection_of(thread, aead);
    if is_ignored(known) || !arguments(context, known) || !is_application_data(known) {
        return core::ptr::null_mut();
    }
    if known.connection.ssl == 0 {
        count(Counter::Unpaired, 1);
        count(Counter::UnpairedBytes, known.requested);
        return core::ptr::null_mut();
    }
    call
}

/// The entry of `slot` in `CALLS`, made where there is none; null where there is no room.
#[inline(never)]
fn call_in(slot: u64) -> *mut Call {
    CALLS.get_ptr_mut(&slot).unwrap_or_else(|| first_call(slot))
}

/// Whether a call that begins takes the place of the one that its thread is in.
#[inline(never)]
fn replaces(call: &mut Call, stack: u64) -> bool {
    if stack < call.stack {
        // Within a call that has the bytes: of a TLS library, or of another of these functions.
        count(Counter::Nested, 1);
        return false;
    }
    call.active = 0;
    count(Counter::Abandoned, 1);
    connection::end(current_thread(), call.connection.ssl);
    true
}

/// A thread that uses a context has set up what it had to.
#[inline(never)]
fn used(thread: u64) {
    if FRESH_CONTEXTS.get_ptr(&thread).is_some() {
        let _ = FRESH_CONTEXTS.remove(&thread);
    }
}

/// The connection that a context belongs to; 0 where that is not known.
#[inline(never)]
fn connection_of(thread: u64, context: u64) -> u64 {
    let key = key(thread, context);
    // SAFETY: a map value, one aligned word.
    KEY_CONTEXTS.get_ptr(&key).map_or(0, |connection| unsafe { connection.read() })
}

#[inline(always)]
fn is_ignored(call: &Call) -> bool {
    CONNECTIONS.get_ptr(&call.connection).is_some_and(|known| {
        // SAFETY: a map value; one that is reused at this moment gives a verdict that is as good.
        unsafe { (*known).verdict == verdict::IGNORE }
    })
}

/// Notes what the function was given; `false` where that cannot be told.
///
/// Until the record has moved, some members of the call mean something else: `offset` and `left` are the
/// additional data and its length, `done` and `transferred` what is encrypted behind the plaintext.
#[inline(never)]
fn arguments(context: &ProbeContext, call: &mut Call) -> bool {
    let at = registers::further_arguments(context);
    // SAFETY: `further` has so many bytes; any address may be tried as source.
    let error = unsafe {
        bpf_probe_read_user((&raw mut call.further).cast(), size_of_val(&call.further) as u32, at as *const _)
    };
    if error != 0 {
        misread(call);
        return false;
    }
    let further = &call.further;
    call.done = 0;
    call.transferred = 0;
    match call.cookie.layout() {
        cookie::LAYOUT_AEAD_SEAL => {
            call.buffer = any_argument::<7>(context, further);
            call.requested = any_argument::<8>(context, further);
            call.offset = any_argument::<9>(context, further);
            call.left = any_argument::<10>(context, further);
        }
        cookie::LAYOUT_AEAD_SEAL_SCATTER => {
            call.buffer = any_argument::<8>(context, further);
            call.requested = any_argument::<9>(context, further);
            call.done = any_argument::<10>(context, further);
            call.transferred = any_argument::<11>(context, further);
            call.offset = any_argument::<12>(context, further);
            call.left = any_argument::<13>(context, further);
        }
        cookie::LAYOUT_AEAD_OPEN => {
            call.buffer = any_argument::<2>(context, further);
            // That of what is encrypted, with the tag.
            call.requested = any_argument::<8>(context, further).wrapping_sub(TAG);
            call.offset = any_argument::<9>(context, further);
            call.left = any_argument::<10>(context, further);
        }
        _ => {
            call.buffer = any_argument::<2>(context, further);
            call.requested = any_argument::<6>(context, further);
            call.offset = any_argument::<9>(context, further);
            call.left = any_argument::<10>(context, further);
        }
    }
    true
}

/// Whether the additional data is the header of a record of TLS, of the length that the record has. What
/// kind of record it is says TLS 1.2 there, and TLS 1.3 in the last byte of the plaintext that is no
/// padding: `offset` is then 1, else 0.
#[inline(never)]
fn is_application_data(call: &mut Call) -> bool {
    let (mut header, expected) = match call.left {
        HEADER => (call.offset, call.requested.wrapping_add(call.transferred).wrapping_add(TAG)),
        NUMBERED_HEADER => (call.offset.wrapping_add(NUMBERED_HEADER - HEADER), call.requested),
        _ => return false,
    };
    if read_word(&mut header, HEADER as u32) != 0 {
        misread(call);
        return false;
    }
    call.offset = u64::from(call.left == HEADER);
    // In network order, behind the three.
    let length = ((header >> 24) & 0xff) << 8 | (header >> 32) & 0xff;
    header & 0xff_ffff == APPLICATION_DATA_HEADER && length == expected
}

/// Replaces an address in user memory by the first bytes, eight at most, that it leads to; zero where
/// that succeeds.
#[inline(always)]
fn read_word(address: &mut u64, length: u32) -> i64 {
    let from = *address;
    *address = 0;
    // SAFETY: eight bytes as destination; any address may be tried as source.
    unsafe { bpf_probe_read_user((&raw mut *address).cast(), length, from as *const _) }
}

/// Finds out how much of the plaintext is content, for `transferred`; `false` where that is nothing, or
/// no application data.
#[inline(never)]
fn strip(call: &mut Call) -> bool {
    let kind = if call.offset == 0 {
        call.transferred = call.requested;
        APPLICATION_DATA
    } else if call.transferred != 0 {
        call.transferred = call.requested;
        let mut kind = call.done;
        if read_word(&mut kind, 1) != 0 {
            misread(call);
            return false;
        }
        kind
    } else {
        last(call)
    };
    kind == APPLICATION_DATA && call.transferred != 0
}

/// The last byte of the plaintext that is not zero, and in `transferred` how many are before it.
#[inline(never)]
fn last(call: &mut Call) -> u64 {
    call.left = call.requested;
    for _ in 0..MAX_WORDS {
        let word = word_before_left(call);
        if word == 0 && call.left != 0 {
            continue;
        }
        if word == 0 {
            break;
        }
        call.transferred = call.left;
        return highest(call, word);
    }
    misread(call);
    0
}

/// Takes eight bytes, or as many as there are, off the end of what is left of the plaintext; zero, and
/// nothing left, where they cannot be read.
#[inline(never)]
fn word_before_left(call: &mut Call) -> u64 {
    let take = if call.left < 8 { call.left } else { 8 };
    call.left -= take;
    let mut word = call.buffer.wrapping_add(call.left);
    if read_word(&mut word, take as u32) != 0 {
        call.left = 0;
        return 0;
    }
    word
}

/// The highest byte of a word that is not zero, of which the others come before it in memory.
#[inline(never)]
fn highest(call: &mut Call, word: u64) -> u64 {
    let mut word = word;
    for _ in 0..7 {
        if word <= 0xff {
            break;
        }
        word >>= 8;
        call.transferred += 1;
    }
    word
}

/// A record moved, and it is not known how much of what: see [`connection::end`].
#[inline(never)]
fn misread(call: &Call) {
    count(Counter::CountUnreadable, 1);
    if call.connection.ssl != 0 {
        connection::end(current_thread(), call.connection.ssl);
    }
}

/// Delivers the content of a record.
#[inline(never)]
fn moved(call: &mut Call) {
    // SAFETY: takes no argument.
    call.timestamp = unsafe { bpf_ktime_get_ns() };
    if connection::advance(call) {
        deliver::deliver(call);
    }
}

#[inline(always)]
fn key(thread: u64, object: u64) -> ConnectionKey {
    ConnectionKey { tgid: (thread >> 32) as u32, reserved: 0, ssl: object }
}
