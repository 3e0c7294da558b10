//! What a response body is, by its first bytes. Content types lie: events come under
//! `application/json`, and under none.

/// The longest beginning that has to be seen: `event:`, `retry:`.
const NEEDED: usize = 6;

/// Ways to read a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// JSON documents, or one array of them.
    Json {
        /// It is an array, and its first element an object.
        array: bool,
    },
    /// Server-sent events.
    Events,
    /// Amazon's event stream: no message is so long that its length's first byte is not zero.
    Messages,
    /// Neither.
    Other,
}

/// Holds back the first few bytes until they tell.
#[derive(Default)]
pub(super) struct Sniffer {
    start: [u8; NEEDED],
    len: usize,
    /// Bytes of `start` that came with earlier pieces.
    earlier: usize,
    /// Bytes at the beginning of the newest piece that mean nothing.
    skipped: usize,
}

impl Sniffer {
    /// Looks at the next piece.
    pub(super) fn push(&mut self, data: &[u8]) {
        self.earlier = self.len;
        self.skipped = 0;
        if self.len == 0 {
            // White space and a byte order mark may come first, and mean nothing to any format.
            let skip = |b: &u8| b.is_ascii_whitespace() || matches!(b, 0xef | 0xbb | 0xbf);
            self.skipped = data.iter().take_while(|b| skip(b)).count();
        }
        let data = &data[self.skipped..];
        let take = data.len().min(NEEDED - self.len);
        self.start[self.len..self.len + take].copy_from_slice(&data[..take]);
        self.len += take;
    }

    /// What the body is, as soon as that is certain.
    pub(super) fn verdict(&self) -> Option<Kind> {
        let start = &self.start[..self.len];
        match start.first()? {
            b'{' => return Some(Kind::Json { array: false }),
            b'[' => {
                let first = start[1..].iter().find(|b| !b.is_ascii_whitespace());
                return match first {
                    Some(first) => Some(Kind::Json { array: *first == b'{' }),
                    None => (start.len() == NEEDED).then_some(Kind::Json { array: true }),
                };
            }
            0 => return Some(Kind::Messages),
            b':' => return Some(Kind::Events),
            _ => {}
        }
        let fields: [&[u8]; 4] = [b"data:", b"event:", b"id:", b"retry:"];
        if fields.iter().any(|field| start.starts_with(field)) {
            return Some(Kind::Events);
        }
        let open = fields.iter().any(|field| field.starts_with(start));
        (!open).then_some(Kind::Other)
    }

    /// What earlier pieces had and nobody has read yet.
    pub(super) fn held(&self) -> &[u8] {
        &self.start[..self.earlier]
    }

    /// What is to be read of the newest piece.
    pub(super) fn rest<'a>(&self, newest: &'a [u8]) -> &'a [u8] {
        &newest[self.skipped.min(newest.len())..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of a body that comes in such pieces, and as what.
    fn read(pieces: &[&[u8]]) -> (Option<Kind>, Vec<u8>) {
        let mut sniffer = Sniffer::default();
        for piece in pieces {
            sniffer.push(piece);
            if let Some(kind) = sniffer.verdict() {
                return (Some(kind), [sniffer.held(), sniffer.rest(piece)].concat());
            }
        }
        (None, Vec::new())
    }

    #[test]
    fn what_means_nothing_is_read_in_no_piece() {
        for (start, kind) in
            [("\0\0", Kind::Messages), ("data: 1", Kind::Events), ("{}", Kind::Json { array: false })]
        {
            let expected = (Some(kind), start.as_bytes().to_vec());
            let whole = format!("\r\n \u{feff}{start}");
            assert_eq!(read(&[whole.as_bytes()]), expected);
            assert_eq!(read(&[b"\r\n", b" ", "\u{feff}".as_bytes(), start.as_bytes()]), expected);
        }
        assert_eq!(read(&[b" da", b"ta: 1"]), (Some(Kind::Events), b"data: 1".to_vec()));
    }
}
