//! Server-sent events (`text/event-stream`, WHATWG HTML section 9.2), decoded without collecting.
//!
//! A `data` line may be megabytes long, so its value is handed out in the fragments in which it
//! arrives. Everything else on the wire is short by nature and is bounded: [`MAX_LINE`] bytes of a
//! line that is not data are kept while it is split between two pushes, and no more.

use memchr::{memchr, memchr2};

/// Bytes kept of a line other than `data`; what is longer is cut there.
pub const MAX_LINE: usize = 4096;

/// Longest name of an event or a field that is reported.
pub const MAX_NAME: usize = 128;

/// What a decoder frees once a split line is over; a smaller buffer is kept for the next one.
const KEEP_CARRY: usize = 256;

const BOM: &[u8] = b"\xef\xbb\xbf";
const DATA: &[u8] = b"data:";

/// One step of an event stream, borrowed from the bytes that brought it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SsePiece<'a> {
    /// The event's name. Most senders put it before the data, but it may come after; either way it
    /// comes before the [`SsePiece::Dispatch`] it belongs to, and the last one counts.
    Event(&'a str),
    /// A fragment of the event's data, never empty. The lines of multi-line data are joined by a
    /// fragment `"\n"`.
    Data(&'a [u8]),
    /// A field that the standard does not know or that names nothing here (`id`, `retry`,
    /// `error: {...}` of some gateways). The value is whole, or cut at [`MAX_LINE`].
    Field {
        /// Its name, as sent.
        name: &'a str,
        /// Its value, without the optional leading space.
        value: &'a [u8],
    },
    /// A comment line, used as a keep-alive.
    Comment,
    /// The event is complete. It follows every block with at least one field, also one without data,
    /// which browsers would drop.
    Dispatch,
}

/// Payload stays out of logs: only lengths are printed.
impl std::fmt::Debug for SsePiece<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Event(name) => f.debug_tuple("Event").field(&name.len()).finish(),
            Self::Data(data) => f.debug_tuple("Data").field(&data.len()).finish(),
            Self::Field { name, value } => {
                f.debug_struct("Field").field("name", &name.len()).field("value", &value.len()).finish()
            }
            Self::Comment => f.write_str("Comment"),
            Self::Dispatch => f.write_str("Dispatch"),
        }
    }
}

/// Where in a line the decoder stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Line {
    /// At its start, or after the first bytes, which are in `carry`.
    #[default]
    Head,
    /// Inside the value of a `data` line.
    Data,
    /// Inside what nobody wants: a comment.
    Skip,
}

/// Splits an event stream, pushed in pieces of any size, into [`SsePiece`]s.
#[derive(Default)]
pub struct Decoder {
    line: Line,
    /// The last line ended with CR: a LF that follows belongs to it.
    after_cr: bool,
    /// Bytes of a leading byte order mark that were seen; 4 when the question is settled.
    bom: u8,
    /// The current event has a `data` line.
    has_data: bool,
    /// The current event has any field.
    has_field: bool,
    carry: Vec<u8>,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("line", &self.line).field("carried", &self.carry.len()).finish()
    }
}

impl Decoder {
    /// A decoder at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8], f: &mut impl FnMut(SsePiece<'_>)) {
        let mut rest = bytes;
        if self.bom < 4 {
            rest = self.skip_bom(rest);
        }
        while !rest.is_empty() {
            if std::mem::take(&mut self.after_cr) && rest[0] == b'\n' {
                rest = &rest[1..];
                continue;
            }
            rest = match self.line {
                Line::Head if self.carry.is_empty() => self.whole_line(rest, f),
                Line::Head => self.split_line(rest, f),
                Line::Data => self.value(rest, true, f),
                Line::Skip => self.value(rest, false, f),
            };
        }
    }

    /// The stream is over: what is unterminated counts as complete. The decoder is as new.
    pub fn finish(&mut self, f: &mut impl FnMut(SsePiece<'_>)) {
        if self.line == Line::Head && !self.carry.is_empty() {
            self.end_carry(f);
        }
        self.dispatch(f);
        *self = Self::default();
    }

    fn skip_bom<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        while let Some(&first) = bytes.first() {
            let seen = usize::from(self.bom);
            if seen < BOM.len() && first == BOM[seen] {
                self.bom += 1;
                bytes = &bytes[1..];
                continue;
            }
            if seen < BOM.len() {
                self.carry.extend_from_slice(&BOM[..seen]);
            }
            self.bom = 4;
            break;
        }
        bytes
    }

    /// At a line's start with nothing carried: the common case, without a copy.
    fn whole_line<'a>(&mut self, bytes: &'a [u8], f: &mut impl FnMut(SsePiece<'_>)) -> &'a [u8] {
        // The blank line after an event is not worth a vector search.
        let end = if bytes[0] == b'\n' { Some(0) } else { memchr2(b'\n', b'\r', bytes) };
        if let Some(end) = end {
            self.complete_line(&bytes[..end], f);
            self.after_cr = bytes[end] == b'\r';
            return &bytes[end + 1..];
        }
        if bytes[0] == b':' {
            self.line = Line::Skip;
        } else if bytes.len() > DATA.len() && bytes.starts_with(DATA) {
            self.start_data(&bytes[DATA.len()..], f);
            self.line = Line::Data;
        } else {
            self.carry(bytes);
        }
        &[]
    }

    /// At a line whose first bytes came with an earlier push.
    fn split_line<'a>(&mut self, bytes: &'a [u8], f: &mut impl FnMut(SsePiece<'_>)) -> &'a [u8] {
        // One byte past `data:` tells whether a space follows; until then the kind of line is open.
        let undecided = (DATA.len() + 1).saturating_sub(self.carry.len());
        let window = if undecided > 0 { &bytes[..undecided.min(bytes.len())] } else { bytes };
        let end = memchr2(b'\n', b'\r', window);
        self.carry(&window[..end.unwrap_or(window.len())]);
        if let Some(end) = end {
            self.end_carry(f);
            self.after_cr = bytes[end] == b'\r';
            return &bytes[end + 1..];
        }
        if undecided > 0 && self.carry.len() > DATA.len() && self.carry.starts_with(DATA) {
            let carry = std::mem::take(&mut self.carry);
            self.start_data(&carry[DATA.len()..], f);
            self.carry = carry;
            self.drop_carry();
            self.line = Line::Data;
        }
        &bytes[window.len()..]
    }

    /// Inside a value that is handed out, or skipped, up to its line's end.
    fn value<'a>(&mut self, bytes: &'a [u8], report: bool, f: &mut impl FnMut(SsePiece<'_>)) -> &'a [u8] {
        let end = memchr2(b'\n', b'\r', bytes);
        let value = &bytes[..end.unwrap_or(bytes.len())];
        if report && !value.is_empty() {
            f(SsePiece::Data(value));
        }
        let Some(end) = end else { return &[] };
        if !report {
            f(SsePiece::Comment);
        }
        self.line = Line::Head;
        self.after_cr = bytes[end] == b'\r';
        &bytes[end + 1..]
    }

    fn complete_line(&mut self, line: &[u8], f: &mut impl FnMut(SsePiece<'_>)) {
        if let Some(value) = line.strip_prefix(DATA) {
            return self.start_data(value, f);
        }
        let Some(&first) = line.first() else {
            return self.dispatch(f);
        };
        if first == b':' {
            return f(SsePiece::Comment);
        }
        let (name, value) = match memchr(b':', line) {
            Some(colon) => (&line[..colon], without_space(&line[colon + 1..])),
            None => (line, &[][..]),
        };
        if name == b"data" {
            return self.start_data(value, f);
        }
        self.has_field = true;
        if name == b"event" {
            if let Some(value) = name_text(value) {
                f(SsePiece::Event(value));
            }
        } else if let Some(name) = name_text(name) {
            f(SsePiece::Field { name, value });
        }
    }

    /// A `data` line began; `value` is what follows its colon.
    fn start_data(&mut self, value: &[u8], f: &mut impl FnMut(SsePiece<'_>)) {
        if self.has_data {
            f(SsePiece::Data(b"\n"));
        }
        self.has_data = true;
        self.has_field = true;
        let value = without_space(value);
        if !value.is_empty() {
            f(SsePiece::Data(value));
        }
    }

    fn dispatch(&mut self, f: &mut impl FnMut(SsePiece<'_>)) {
        self.has_data = false;
        if std::mem::take(&mut self.has_field) {
            f(SsePiece::Dispatch);
        }
    }

    fn carry(&mut self, bytes: &[u8]) {
        let room = MAX_LINE.saturating_sub(self.carry.len());
        self.carry.extend_from_slice(&bytes[..room.min(bytes.len())]);
    }

    fn end_carry(&mut self, f: &mut impl FnMut(SsePiece<'_>)) {
        let carry = std::mem::take(&mut self.carry);
        self.complete_line(&carry, f);
        self.carry = carry;
        self.drop_carry();
    }

    fn drop_carry(&mut self) {
        self.carry.clear();
        self.carry.shrink_to(KEEP_CARRY);
    }
}

/// A name that is no text, or too long, means nothing to anybody above.
fn name_text(bytes: &[u8]) -> Option<&str> {
    (bytes.len() <= MAX_NAME).then(|| std::str::from_utf8(bytes).ok()).flatten()
}

fn without_space(value: &[u8]) -> &[u8] {
    value.strip_prefix(b" ").unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a consumer would make of a stream: `(event, data)` by dispatch, with fields and comments.
    #[derive(Clone, Debug, Default, PartialEq)]
    struct Seen {
        events: Vec<(String, String)>,
        fields: Vec<(String, String)>,
        comments: usize,
    }

    fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, finish: bool) -> Seen {
        let mut seen = Seen::default();
        let (mut name, mut data) = (String::new(), Vec::new());
        let mut decoder = Decoder::new();
        let mut sink = |piece: SsePiece<'_>| match piece {
            SsePiece::Event(event) => event.clone_into(&mut name),
            SsePiece::Data(bytes) => {
                assert!(!bytes.is_empty());
                data.extend_from_slice(bytes);
            }
            SsePiece::Field { name, value } => {
                seen.fields.push((name.into(), String::from_utf8_lossy(value).into()));
            }
            SsePiece::Comment => seen.comments += 1,
            SsePiece::Dispatch => {
                let text = String::from_utf8_lossy(&std::mem::take(&mut data)).into();
                seen.events.push((std::mem::take(&mut name), text));
            }
        };
        for piece in pieces {
            decoder.push(piece, &mut sink);
        }
        if finish {
            decoder.finish(&mut sink);
        }
        assert!(decoder.carry.capacity() <= MAX_LINE * 2);
        seen
    }

    fn events(stream: &str) -> Vec<(String, String)> {
        let whole = decode([stream.as_bytes()], false);
        let bytewise = decode(stream.as_bytes().chunks(1), false);
        assert_eq!(whole, bytewise, "one byte at a time");
        whole.events
    }

    fn pair(name: &str, data: &str) -> (String, String) {
        (name.into(), data.into())
    }

    #[test]
    fn line_ends() {
        for end in ["\n", "\r\n", "\r"] {
            let stream = ["event: a", "data: 1", "", "data: 2", "", ""].join(end);
            assert_eq!(events(&stream), [pair("a", "1"), pair("", "2")], "{end:?}");
        }
        assert_eq!(events("data: 1\r\ndata: 2\r\rdata: 3\n\r\n"), [pair("", "1\n2"), pair("", "3")]);
    }

    #[test]
    fn multi_line_data_is_joined() {
        assert_eq!(events("data: a\ndata:\ndata: b\n\n"), [pair("", "a\n\nb")]);
        assert_eq!(events("data\ndata\n\n"), [pair("", "\n")]);
    }

    #[test]
    fn one_leading_space_is_dropped_and_no_more() {
        assert_eq!(events("data:x\nevent:y\n\ndata:  z\n\n"), [pair("y", "x"), pair("", " z")]);
    }

    #[test]
    fn comments_and_unknown_fields() {
        let stream = ": keep-alive\n\n:\nid: 7\nretry: 10\ndatax: 1\ndata: 1\nerror: {\"code\": 1}\n\n";
        for pieces in [vec![stream.as_bytes()], stream.as_bytes().chunks(1).collect()] {
            let seen = decode(pieces, false);
            assert_eq!(seen.events, [pair("", "1")]);
            assert_eq!(seen.comments, 2);
            let fields = [("id", "7"), ("retry", "10"), ("datax", "1"), ("error", "{\"code\": 1}")];
            assert_eq!(seen.fields, fields.map(|(name, value)| pair(name, value)));
        }
    }

    #[test]
    fn byte_order_mark_only_at_the_start() {
        assert_eq!(events("\u{feff}data: 1\n\n\u{feff}data: 2\n\n"), [pair("", "1"), pair("", "")]);
        let broken = decode([&b"\xef"[..], b"\xbbdata: 1\n\ndata: 2\n\n"], false);
        assert_eq!(broken.events.last(), Some(&pair("", "2")));
    }

    #[test]
    fn an_unterminated_event_is_flushed_by_finish() {
        for cut in ["event: e\ndata: 1", "event: e\ndata: 1\n", "data: 1\nevent: e"] {
            assert_eq!(decode([cut.as_bytes()], false).events, []);
            assert_eq!(decode([cut.as_bytes()], true).events, [pair("e", "1")]);
            assert_eq!(decode(cut.as_bytes().chunks(1), true).events, [pair("e", "1")]);
        }
        assert_eq!(decode([&b"data: 1\n\n"[..]], true).events, [pair("", "1")]);
    }

    #[test]
    fn long_data_passes_through_in_fragments() {
        let mut fragments = 0;
        let mut decoder = Decoder::new();
        let mut total = 0;
        let mut sink = |piece: SsePiece<'_>| {
            if let SsePiece::Data(data) = piece {
                fragments += 1;
                total += data.len();
            }
        };
        decoder.push(b"data: ", &mut sink);
        for _ in 0..100 {
            decoder.push(&[b'x'; 10_000], &mut sink);
        }
        assert_eq!((fragments, total), (100, 1_000_000));
        assert_eq!(decoder.carry.len(), 0);
    }

    #[test]
    fn long_names_are_bounded() {
        let long = "n".repeat(MAX_LINE * 3);
        let stream = format!("event: {long}\ndata: 1\n{long}: v\n\n");
        for size in [1, 100, stream.len()] {
            let seen = decode(stream.as_bytes().chunks(size), false);
            assert_eq!(seen.events, [pair("", "1")]);
            assert_eq!(seen.fields, []);
        }
    }

    #[test]
    fn debug_prints_no_payload() {
        let text = format!("{:?} {:?}", SsePiece::Data(b"hunter2"), SsePiece::Event("hunter2"));
        assert!(!text.contains("hunter2"), "{text}");
        let mut decoder = Decoder::new();
        decoder.push(b"secret", &mut |_| {});
        assert!(!format!("{decoder:?}").contains("secret"));
    }

    proptest! {
        #[test]
        fn chunking_changes_nothing(
            lines in prop::collection::vec("(data:? ?|event: ?|: ?|id: )?[a-z:\u{feff} ]{0,9}(\n|\r\n|\r)", 0..20),
            cuts in prop::collection::vec(1usize..12, 1..20),
        ) {
            let stream = lines.concat();
            let whole = decode([stream.as_bytes()], true);
            let mut rest = stream.as_bytes();
            let mut pieces = Vec::new();
            for cut in cuts.iter().cycle() {
                let (piece, tail) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = tail;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(decode(pieces, true), whole);
        }

        #[test]
        fn random_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), size in 1usize..50) {
            decode(bytes.chunks(size), true);
        }
    }
}
