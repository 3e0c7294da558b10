//! Base64 that comes in pieces.

/// Bytes decoded at a time.
const BLOCK: usize = 768;

/// Decodes one text.
#[derive(Default)]
pub(super) struct Decoder {
    /// Bits that do not make a byte yet.
    bits: u32,
    count: u32,
}

impl Decoder {
    /// Decodes the next piece of the text, and hands out the bytes. White space, padding and the
    /// backslashes that JSON allows before slashes mean nothing; so does, here, anything else that is
    /// not of either of RFC 4648's alphabets.
    pub(super) fn push(&mut self, text: &[u8], f: &mut impl FnMut(&[u8])) {
        let mut block = [0; BLOCK];
        for text in text.chunks(BLOCK) {
            let mut len = 0;
            for &symbol in text {
                let value = VALUES[usize::from(symbol)];
                if value == NONE {
                    continue;
                }
                self.bits = self.bits << 6 | u32::from(value);
                self.count += 6;
                if self.count >= 8 {
                    self.count -= 8;
                    block[len] = (self.bits >> self.count) as u8;
                    len += 1;
                }
            }
            if len > 0 {
                f(&block[..len]);
            }
        }
    }
}

const NONE: u8 = 0xff;

const VALUES: [u8; 256] = {
    let mut values = [NONE; 256];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut value = 0;
    while value < 64 {
        values[alphabet[value] as usize] = value as u8;
        value += 1;
    }
    values[b'-' as usize] = 62;
    values[b'_' as usize] = 63;
    values
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_in_any_pieces() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("Zg==", b"f"),
            ("Zm9vYmE=", b"fooba"),
            ("Zm9v\\/w", b"foo\xff"),
            ("-_+/", b"\xfb\xff\xbf"),
        ] {
            for size in [1, 2, 3, 100] {
                let (mut decoder, mut decoded) = (Decoder::default(), Vec::new());
                for piece in text.as_bytes().chunks(size) {
                    decoder.push(piece, &mut |bytes| decoded.extend_from_slice(bytes));
                }
                assert_eq!(decoded, bytes, "{text}");
            }
        }
        let (mut decoder, mut decoded) = (Decoder::default(), 0);
        decoder.push(&[b'A'; 40_000], &mut |bytes| decoded += bytes.len());
        assert_eq!(decoded, 30_000);
    }
}
