//! The state machine that walks the wire format beside a [`PathTable`].
//! <https://protobuf.dev/programming-guides/encoding/>

use crate::provider::json::{Hit, NOWHERE, NodeId, PathTable, ROOT, Text, Value, Want};

/// Nesting that is followed. No path is longer, and what no path leads to is passed over whole.
const MAX_DEPTH: usize = 16;

/// Bits of a varint that can be set; ten bytes of seven.
const VARINT_BITS: u32 = 64;

#[derive(Clone, Copy)]
struct Frame {
    /// Where in the table the message is.
    node: NodeId,
    /// The position after it.
    end: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// At the start of a field, or in its tag.
    Tag,
    /// In a number.
    Number(NodeId),
    /// In the length of what follows.
    Length(NodeId),
    /// In bytes that nobody wants.
    Skip(u64),
    /// In a string that is copied.
    Text(NodeId, u64),
    /// In a string that is handed out piece by piece.
    Pieces(NodeId, u64),
    /// No message: nothing more is read until [`Scanner::finish`].
    Malformed,
}

/// Reads messages from pieces of any size; constant memory, no allocation.
pub struct Scanner {
    state: State,
    /// The varint in progress, and how many bits of it are there.
    varint: u64,
    bits: u32,
    /// Bytes of the message that were read.
    position: u64,
    frames: [Frame; MAX_DEPTH],
    depth: usize,
    text: Text,
}

impl Default for Scanner {
    fn default() -> Self {
        Self {
            state: State::Tag,
            varint: 0,
            bits: 0,
            position: 0,
            frames: [Frame { node: ROOT, end: u64::MAX }; MAX_DEPTH],
            depth: 0,
            text: Text::new(),
        }
    }
}

impl std::fmt::Debug for Scanner {
    /// State only: the text belongs to the body.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scanner")
            .field("state", &self.state)
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}

impl Scanner {
    /// Reads the next piece of a message; `sink` gets what it completes.
    pub fn push<F: Copy>(&mut self, table: &PathTable<F>, input: &[u8], sink: &mut impl FnMut(Hit<'_, F>)) {
        let mut input = input;
        while !input.is_empty() {
            match self.state {
                State::Tag => {
                    if let Some(tag) = self.varint(&mut input) {
                        self.field(table, tag);
                    }
                }
                State::Number(node) => {
                    if let Some(number) = self.varint(&mut input) {
                        self.state = State::Tag;
                        number_found(table, node, number, sink);
                    }
                }
                State::Length(node) => {
                    if let Some(length) = self.varint(&mut input) {
                        self.begin(table, node, length, sink);
                    }
                }
                State::Skip(left) => {
                    let left = left - self.take(&mut input, left).len() as u64;
                    self.state = if left == 0 { State::Tag } else { State::Skip(left) };
                }
                State::Text(node, left) => {
                    let piece = self.take(&mut input, left);
                    self.text.push(piece);
                    self.state = State::Text(node, left - piece.len() as u64);
                    self.end_text(table, sink);
                }
                State::Pieces(node, left) => {
                    let piece = self.take(&mut input, left);
                    let left = left - piece.len() as u64;
                    if let Some((_, field)) = table.leaf(node) {
                        sink(Hit { field, value: Value::Piece(piece), index: 0 });
                    }
                    self.state = if left == 0 { State::Tag } else { State::Pieces(node, left) };
                }
                State::Malformed => return,
            }
            self.end_messages(table, sink);
        }
    }

    /// The message is over. False if it was none, or not whole. What comes next is another one.
    pub fn finish<F: Copy>(&mut self, table: &PathTable<F>, sink: &mut impl FnMut(Hit<'_, F>)) -> bool {
        let whole = matches!(self.state, State::Tag) && self.bits == 0 && self.depth == 0;
        if whole && let Some((_, field)) = table.leaf(ROOT) {
            sink(Hit { field, value: Value::End, index: 0 });
        }
        self.state = State::Tag;
        (self.varint, self.bits, self.position, self.depth) = (0, 0, 0, 0);
        whole
    }

    fn frame(&self) -> Frame {
        self.frames.get(self.depth).copied().unwrap_or(Frame { node: NOWHERE, end: 0 })
    }

    /// Takes bytes off a varint; the number when it is whole.
    fn varint(&mut self, input: &mut &[u8]) -> Option<u64> {
        while let Some((&byte, rest)) = input.split_first() {
            *input = rest;
            self.position += 1;
            if self.bits >= VARINT_BITS || self.position > self.frame().end {
                self.state = State::Malformed;
                return None;
            }
            self.varint |= u64::from(byte & 0x7f) << self.bits;
            self.bits += 7;
            if byte & 0x80 == 0 {
                self.bits = 0;
                return Some(std::mem::take(&mut self.varint));
            }
        }
        None
    }

    fn take<'a>(&mut self, input: &mut &'a [u8], left: u64) -> &'a [u8] {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let (piece, rest) = input.split_at(count);
        *input = rest;
        self.position += count as u64;
        piece
    }

    /// Whether so many bytes may follow in the message in progress.
    fn has_room(&self, length: u64) -> bool {
        self.position.checked_add(length).is_some_and(|end| end <= self.frame().end)
    }

    fn skip(&mut self, length: u64) {
        self.state = match length {
            _ if !self.has_room(length) => State::Malformed,
            0 => State::Tag,
            _ => State::Skip(length),
        };
    }

    /// A field's number and wire type.
    fn field<F: Copy>(&mut self, table: &PathTable<F>, tag: u64) {
        let number = tag >> 3;
        if number == 0 || number >= 1 << 29 {
            self.state = State::Malformed;
            return;
        }
        let node = child(table, self.frame().node, number);
        match tag & 7 {
            0 => self.state = State::Number(node),
            1 => self.skip(8),
            2 => self.state = State::Length(node),
            5 => self.skip(4),
            // Groups, which no table's definitions have, and what is not defined.
            _ => self.state = State::Malformed,
        }
    }

    /// The length of a string, of bytes or of a message.
    fn begin<F: Copy>(
        &mut self,
        table: &PathTable<F>,
        node: NodeId,
        length: u64,
        sink: &mut impl FnMut(Hit<'_, F>),
    ) {
        self.skip(length);
        if matches!(self.state, State::Malformed) {
            return;
        }
        let leaf = table.leaf(node);
        if table.is_inner(node) {
            let Some(frame) = self.frames.get_mut(self.depth + 1) else { return };
            *frame = Frame { node, end: self.position + length };
            self.depth += 1;
            self.state = State::Tag;
            if let Some((_, field)) = leaf {
                sink(Hit { field, value: Value::BeginObject, index: 0 });
            }
            return;
        }
        match leaf {
            Some((Want::Scalar, _)) => {
                self.text.clear();
                self.state = State::Text(node, length);
                self.end_text(table, sink);
            }
            // A message, or a string: what is in it does not matter.
            Some((Want::Presence, field)) if length > 0 => {
                sink(Hit { field, value: Value::BeginObject, index: 0 });
                sink(Hit { field, value: Value::End, index: 0 });
            }
            Some((Want::Text | Want::Within | Want::Everything, field)) if length > 0 => {
                sink(Hit { field, value: Value::Present, index: 0 });
                self.state = State::Pieces(node, length);
            }
            _ => {}
        }
    }

    fn end_text<F: Copy>(&mut self, table: &PathTable<F>, sink: &mut impl FnMut(Hit<'_, F>)) {
        let State::Text(node, 0) = self.state else { return };
        self.state = State::Tag;
        if let Some((_, field)) = table.leaf(node) {
            let value = Value::Text { text: self.text.as_str(), truncated: self.text.truncated() };
            sink(Hit { field, value, index: 0 });
        }
    }

    /// Ends the messages that end here.
    fn end_messages<F: Copy>(&mut self, table: &PathTable<F>, sink: &mut impl FnMut(Hit<'_, F>)) {
        while matches!(self.state, State::Tag)
            && self.bits == 0
            && self.depth > 0
            && self.position == self.frame().end
        {
            if let Some((_, field)) = table.leaf(self.frame().node) {
                sink(Hit { field, value: Value::End, index: 0 });
            }
            self.depth -= 1;
        }
    }
}

fn number_found<F: Copy>(table: &PathTable<F>, node: NodeId, number: u64, sink: &mut impl FnMut(Hit<'_, F>)) {
    let Some((want, field)) = table.leaf(node) else { return };
    let value = match want {
        // Negative numbers of all types are those of 64 bits.
        Want::Scalar => Value::Integer(number.cast_signed()),
        Want::Presence if number != 0 => Value::Present,
        Want::Presence | Want::Text | Want::Within | Want::Everything => return,
    };
    sink(Hit { field, value, index: 0 });
}

/// The node that a field number leads to.
fn child<F: Copy>(table: &PathTable<F>, at: NodeId, number: u64) -> NodeId {
    let mut digits = [0; 20];
    let mut first = digits.len();
    let mut rest = number;
    while let Some(digit) = first.checked_sub(1).and_then(|before| {
        first = before;
        digits.get_mut(before)
    }) {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    table.child(at, digits.get(first..).unwrap_or_default())
}

#[cfg(test)]
#[path = "scanner_tests.rs"]
mod tests;
