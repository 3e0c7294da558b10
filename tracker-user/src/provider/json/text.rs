//! A bounded copy of a string, escapes undone.

/// Longest string that is kept; ids, model and tool names are far below it.
const MAX: usize = 256;

/// Where in an escape sequence the input stands.
#[derive(Clone, Copy, Debug, Default)]
enum Escape {
    #[default]
    None,
    Backslash,
    /// `\u` with so many digits and this value so far.
    Unicode(u8, u16),
}

/// Collects one string (or number, or literal) from pieces of any size.
#[derive(Clone)]
pub(in crate::provider) struct Text {
    bytes: [u8; MAX],
    len: usize,
    truncated: bool,
    escape: Escape,
    high_surrogate: Option<u16>,
}

impl Text {
    pub(in crate::provider) const fn new() -> Self {
        Self { bytes: [0; MAX], len: 0, truncated: false, escape: Escape::None, high_surrogate: None }
    }

    pub(in crate::provider) fn clear(&mut self) {
        self.len = 0;
        self.truncated = false;
        self.escape = Escape::None;
        self.high_surrogate = None;
    }

    pub(in crate::provider) const fn truncated(&self) -> bool {
        self.truncated
    }

    pub(super) fn bytes(&self) -> &[u8] {
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

    fn push_char(&mut self, c: char) {
        let mut utf8 = [0; 4];
        self.push(c.encode_utf8(&mut utf8).as_bytes());
    }

    /// Consumes string content up to and including the closing quote. Returns how much was
    /// consumed and whether the quote was among it.
    pub(super) fn push_string(&mut self, input: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            match self.escape {
                Escape::None => {
                    let run = memchr::memchr2(b'"', b'\\', &input[at..]).unwrap_or(input.len() - at);
                    if run > 0 {
                        self.end_surrogate();
                        self.push(&input[at..at + run]);
                        at += run;
                        continue;
                    }
                    at += 1;
                    if byte == b'"' {
                        self.end_surrogate();
                        return (at, true);
                    }
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
                    self.end_surrogate();
                    self.push(&[plain]);
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
                        self.push_unit(value);
                    }
                }
            }
        }
        (at, false)
    }

    /// One UTF-16 unit of a `\u` escape.
    fn push_unit(&mut self, unit: u16) {
        match (self.high_surrogate.take(), unit) {
            (Some(high), 0xdc00..=0xdfff) => {
                let code = 0x1_0000 + ((u32::from(high) - 0xd800) << 10) + (u32::from(unit) - 0xdc00);
                self.push_char(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            (before, 0xd800..=0xdbff) => {
                if before.is_some() {
                    self.push_char(char::REPLACEMENT_CHARACTER);
                }
                self.high_surrogate = Some(unit);
            }
            (before, _) => {
                if before.is_some() {
                    self.push_char(char::REPLACEMENT_CHARACTER);
                }
                self.push_char(char::from_u32(unit.into()).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        }
    }

    fn end_surrogate(&mut self) {
        if self.high_surrogate.take().is_some() {
            self.push_char(char::REPLACEMENT_CHARACTER);
        }
    }
}
