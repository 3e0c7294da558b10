//! HPACK (RFC 7541) as a bystander has to read it: possibly from the middle, and never guessing.
//!
//! No crate for it can be used as it is. An entry that was inserted before the daemon came, or in a
//! gap, is a thing that none of them can represent, and what they do with the bytes of strangers was
//! not good enough: `hpack` and `fluke-hpack` panic on one byte, `httlib-hpack` on a truncated block,
//! `loona-hpack` builds its Huffman tables anew for every string. So the string coding is a crate's
//! (`httlib-huffman`) and the table is here; the tests compare it with `loona-hpack`.
//!
//! Indices count from the newest entry, so what was inserted since the place was lost is known
//! whatever came before it; everything older is [`Text::Unknown`]. Values of fields that nobody asked
//! for (credentials, cookies) are measured and dropped: the table never holds them. Of an `authorization` it
//! holds whose it is, where its first letters tell.

use std::collections::VecDeque;

use httlib_huffman::DecoderSpeed;

use crate::stream::http1::head::{KEPT_HEADERS, beginning_of_credential};

/// Largest dynamic table that is followed, bytes as RFC 7541, section 4.1 counts them. A peer that
/// uses more (none of the common ones allows it) loses the oldest entries here.
const MAX_TABLE: usize = 64 * 1024;

/// The size that every table begins with (RFC 9113, section 6.5.2).
const INITIAL_TABLE: usize = 4096;

/// What each entry counts beside its name and value (RFC 7541, section 4.1).
const OVERHEAD: usize = 32;

/// Longest value that is kept.
const MAX_VALUE: usize = 8 * 1024;

/// Names of the fields that matter, beside [`KEPT_HEADERS`].
const NAMES: [&str; 10] = [
    ":authority",
    ":method",
    ":path",
    ":protocol",
    ":scheme",
    ":status",
    "authorization",
    "content-encoding",
    "content-type",
    "host",
];

/// The block is not what the coding allows, or refers to what was never inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// A field's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// One that matters.
    Known(&'static str),
    /// One that does not.
    Other,
    /// It stands in a part of the table that was not seen.
    Unknown,
}

/// An entry of the dynamic table, or a field.
#[derive(Clone)]
struct Entry {
    name: Name,
    name_length: usize,
    /// Absent where the name does not matter, or the value is not known.
    value: Option<Box<[u8]>>,
    value_length: usize,
}

impl Entry {
    const fn size(&self) -> usize {
        self.name_length + self.value_length + OVERHEAD
    }
}

/// Where fields go: the name, and the value where it is known.
pub(super) type Fields<'f> = dyn FnMut(Name, Option<&[u8]>) + 'f;

/// The decoder of one direction.
pub(super) struct Decoder {
    /// The newest first.
    entries: VecDeque<Entry>,
    size: usize,
    max_size: usize,
    /// All entries of the table are in `entries`.
    complete: bool,
    scratch: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            max_size: INITIAL_TABLE,
            complete: true,
            scratch: Vec::new(),
        }
    }
}

impl Decoder {
    /// Forgets the table: what it holds can no longer be told.
    pub(super) fn lose_step(&mut self) {
        self.entries = VecDeque::new();
        self.size = 0;
        self.complete = false;
    }

    /// Reads a whole header block. At an error the table is out of step, and what was given to `out`
    /// before it is right all the same.
    pub(super) fn decode(&mut self, block: &[u8], out: &mut Fields<'_>) -> Result<(), Broken> {
        let mut input = block;
        while let Some(&first) = input.first() {
            let step = match first {
                0x80.. => self.indexed(&mut input, out),
                0x40.. => self.literal(&mut input, 6, true, out),
                0x20.. => self.resize(&mut input),
                _ => self.literal(&mut input, 4, false, out),
            };
            if step.is_err() {
                self.lose_step();
                return step;
            }
        }
        if self.scratch.capacity() > MAX_VALUE {
            self.scratch = Vec::new();
        }
        Ok(())
    }

    fn indexed(&self, input: &mut &[u8], out: &mut Fields<'_>) -> Result<(), Broken> {
        let index = integer(input, 7)?;
        match static_entry(index) {
            Some((name, value)) => out(known(name.as_bytes()), Some(value.as_bytes())),
            None => match self.dynamic(index)? {
                Some(entry) => out(entry.name, entry.value.as_deref()),
                None => out(Name::Unknown, None),
            },
        }
        Ok(())
    }

    /// A literal field whose name's index has `prefix` bits.
    fn literal(
        &mut self,
        input: &mut &[u8],
        prefix: u8,
        insert: bool,
        out: &mut Fields<'_>,
    ) -> Result<(), Broken> {
        let index = integer(input, prefix)?;
        let (name, name_length) = if index == 0 {
            let name = string(input, &mut self.scratch)?;
            (known(name), name.len())
        } else if let Some((name, _)) = static_entry(index) {
            (known(name.as_bytes()), name.len())
        } else {
            self.dynamic(index)?.map_or((Name::Unknown, 0), |entry| (entry.name, entry.name_length))
        };
        let value = string(input, &mut self.scratch)?;
        let value_length = value.len();
        let value = if name == Name::Known("authorization") { beginning_of_credential(value) } else { value };
        let value = Some(value).filter(|value| matches!(name, Name::Known(_)) && value.len() <= MAX_VALUE);
        out(name, value);
        if insert {
            let value = value.map(Box::from);
            self.insert(Entry { name, name_length, value, value_length });
        }
        Ok(())
    }

    /// RFC 7541, section 6.3. The limit that the other side set is the encoder's business: it has to
    /// announce here what it makes of it, and both tables change at this place.
    fn resize(&mut self, input: &mut &[u8]) -> Result<(), Broken> {
        let size = integer(input, 5)?;
        self.max_size = size.min(MAX_TABLE);
        // An empty table is a known one.
        self.complete = size <= MAX_TABLE && (self.complete || size == 0);
        self.evict();
        Ok(())
    }

    fn insert(&mut self, entry: Entry) {
        self.size += entry.size();
        self.entries.push_front(entry);
        self.evict();
    }

    fn evict(&mut self) {
        while self.size > self.max_size
            && let Some(oldest) = self.entries.pop_back()
        {
            self.size -= oldest.size();
        }
    }

    /// The entry, where it is known.
    fn dynamic(&self, index: usize) -> Result<Option<&Entry>, Broken> {
        let position = index.checked_sub(STATIC.len() + 1).ok_or(Broken)?;
        match self.entries.get(position) {
            None if self.complete => Err(Broken),
            entry => Ok(entry),
        }
    }
}

fn known(name: &[u8]) -> Name {
    let is = |known: &&&str| known.as_bytes() == name;
    NAMES.iter().chain(&KEPT_HEADERS).find(is).map_or(Name::Other, |name| Name::Known(name))
}

/// RFC 7541, section 5.1, with a prefix of so many bits.
fn integer(input: &mut &[u8], prefix: u8) -> Result<usize, Broken> {
    let (&first, mut rest) = input.split_first().ok_or(Broken)?;
    let mask = (1_u32 << prefix) - 1;
    let mut value = u32::from(first) & mask;
    if value == mask {
        // Four more bytes hold 28 bits: more than any length or index that is accepted.
        for shift in [0, 7, 14, 21] {
            let (&byte, after) = rest.split_first().ok_or(Broken)?;
            rest = after;
            value += u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                *input = rest;
                return Ok(value as usize);
            }
        }
        return Err(Broken);
    }
    *input = rest;
    Ok(value as usize)
}

/// RFC 7541, section 5.2.
fn string<'a, 'i: 'a>(input: &mut &'i [u8], scratch: &'a mut Vec<u8>) -> Result<&'a [u8], Broken> {
    let huffman = input.first().is_some_and(|&first| first >= 0x80);
    let length = integer(input, 7)?;
    let (coded, rest) = input.split_at_checked(length).ok_or(Broken)?;
    *input = rest;
    if !huffman {
        return Ok(coded);
    }
    scratch.clear();
    httlib_huffman::decode(coded, scratch, DecoderSpeed::FiveBits).map_err(|_| Broken)?;
    Ok(scratch)
}

fn static_entry(index: usize) -> Option<(&'static str, &'static str)> {
    STATIC.get(index.checked_sub(1)?).copied()
}

/// RFC 7541, appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
#[path = "hpack_tests.rs"]
mod tests;
