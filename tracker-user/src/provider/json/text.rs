//! Strings: where they end, their escapes undone, and a bounded copy.

use super::search::skip_string;

/// Longest string that is kept; ids, model and tool names are far below it.
const MAX: usize = 256;

/// Collects one string (or number, or literal) from pieces of any size.
#[derive(Clone)]
pub(in crate::provider) struct Text {
    bytes: [u8; MAX],
    len: usize,
    truncated: bool,
    /// The last byte was a backslash.
    escaped: bool,
    unescape: Unescape,
}

impl Text {
    pub(in crate::provider) const fn new() -> Self {
        Self { bytes: [0; MAX], len: 0, truncated: false, escaped: false, unescape: Unescape::new() }
    }

    pub(in crate::provider) fn clear(&mut self) {
        self.len = 0;
        self.truncated = false;
        self.escaped = false;
        self.unescape = Unescape::new();
    }

    pub(in crate::provider) const fn truncated(&self) -> bool {
        self.truncated
    }

    pub(in crate::provider) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The text; what follows the first invalid or cut-off character is left out.
    pub(in crate::provider) fn as_str(&self) -> &str {
        let bytes = self.bytes();
        str::from_utf8(bytes).unwrap_or_else(|error| {
            // The bytes before `valid_up_to` are valid by its definition.
            str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default()
        })
    }

    pub(in crate::provider) fn push(&mut self, more: &[u8]) {
        let take = more.len().min(MAX - self.len);
        self.bytes[self.len..self.len + take].copy_from_slice(&more[..take]);
        self.len += take;
        self.truncated |= take < more.len();
    }

    /// Consumes string content up to and including the closing quote. Returns how much was
    /// consumed and whether the quote was among it.
    pub(in crate::provider) fn push_string(&mut self, input: &[u8]) -> (usize, bool) {
        let (used, ended) = skip_string(input, &mut self.escaped);
        let mut unescape = self.unescape;
        unescape.push(&input[..used - usize::from(ended)], &mut |text| self.push(text));
        if ended {
            unescape.finish(&mut |text| self.push(text));
        }
        self.unescape = unescape;
        (used, ended)
    }
}

/// Where in an escape sequence the input stands.
#[derive(Clone, Copy, Debug, Default)]
enum Escape {
    #[default]
    None,
    Backslash,
    /// `\u` with so many digits and this value so far.
    Unicode(u8, u16),
}

/// Undoes the escapes of a string's content that comes in pieces of any size.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unescape {
    escape: Escape,
    high_surrogate: Option<u16>,
}

impl Unescape {
    const fn new() -> Self {
        Self { escape: Escape::None, high_surrogate: None }
    }

    /// Reads the next piece of the content; `out` gets the text, in pieces.
    #[inline]
    pub fn push(&mut self, input: &[u8], out: &mut impl FnMut(&[u8])) {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            match self.escape {
                Escape::None => {
                    let run = memchr::memchr(b'\\', &input[at..]).unwrap_or(input.len() - at);
                    if run > 0 {
                        self.finish(out);
                        out(&input[at..at + run]);
                        at += run;
                        continue;
                    }
                    at += 1;
                    self.escape = Escape::Backslash;
                }
                Escape::Backslash => {
                    at += 1;
                    self.escape = Escape::None;
                    let plain = match byte {
                        b'u' => {
                            self.escape = Escape::Unicode(0, 0);
                            continue;
                        }
                        b'n' => b'\n',
                        b't' => b'\t',
                        b'r' => b'\r',
                        b'b' => 0x08,
                        b'f' => 0x0c,
                        other => other,
                    };
                    self.finish(out);
                    out(&[plain]);
                }
                Escape::Unicode(digits, value) => {
                    let Some(digit) = (byte as char).to_digit(16) else {
                        // Not an escape after all; look at the byte again as content.
                        self.escape = Escape::None;
                        continue;
                    };
                    at += 1;
                    let value = value << 4 | digit as u16;
                    if digits < 3 {
                        self.escape = Escape::Unicode(digits + 1, value);
                    } else {
                        self.escape = Escape::None;
                        self.unit(value, out);
                    }
                }
            }
        }
    }

    /// The string is over: a surrogate that waits for its other half waits in vain.
    #[inline]
    pub fn finish(&mut self, out: &mut impl FnMut(&[u8])) {
        if self.high_surrogate.take().is_some() {
            character(char::REPLACEMENT_CHARACTER, out);
        }
    }

    /// One UTF-16 unit of a `\u` escape.
    fn unit(&mut self, unit: u16, out: &mut impl FnMut(&[u8])) {
        match (self.high_surrogate.take(), unit) {
            (Some(high), 0xdc00..=0xdfff) => {
                let code = 0x1_0000 + ((u32::from(high) - 0xd800) << 10) + (u32::from(unit) - 0xdc00);
                character(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), out);
            }
            (before, 0xd800..=0xdbff) => {
                if before.is_some() {
                    character(char::REPLACEMENT_CHARACTER, out);
                }
                self.high_surrogate = Some(unit);
            }
            (before, _) => {
                if before.is_some() {
                    character(char::REPLACEMENT_CHARACTER, out);
                }
                character(char::from_u32(unit.into()).unwrap_or(char::REPLACEMENT_CHARACTER), out);
            }
        }
    }
}

fn character(c: char, out: &mut impl FnMut(&[u8])) {
    let mut utf8 = [0; 4];
    out(c.encode_utf8(&mut utf8).as_bytes());
}
