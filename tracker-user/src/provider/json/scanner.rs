//! The state machine that walks JSON bytes beside a [`PathTable`].

use super::{
    path::{NOWHERE, NodeId, PathTable, ROOT, Want},
    search::{plain_prefix, skip_string},
    text::Text,
};

/// Nesting that is followed. No path is longer, and few schemas of tools; deeper levels are only counted.
const MAX_DEPTH: usize = 32;

/// A value found at a wanted path.
#[derive(Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// An object opens.
    BeginObject,
    /// An array opens.
    BeginArray,
    /// The object or array closes.
    End,
    /// A string with something in it, a number or `true`, where only presence was asked for; a string
    /// begins, where its text was.
    Present,
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// `true` or `false`.
    Bool(bool),
    /// `null`, where a scalar was asked for.
    Null,
    /// A string, escapes undone.
    Text {
        /// Its beginning, up to 256 bytes.
        text: &'a str,
        /// There was more.
        truncated: bool,
    },
    /// A piece of a string's content, never empty, escapes left as they are; other formats have none.
    Piece(&'a [u8]),
    /// A key inside a value of which everything is wanted, up to 256 bytes.
    Key(&'a [u8]),
}

/// A wanted path was reached.
#[derive(Clone, Copy, PartialEq)]
pub struct Hit<'a, F> {
    /// The table's name for the path.
    pub field: F,
    /// What stands there.
    pub value: Value<'a>,
    /// Position in the innermost array on the path, zero where there is none.
    pub index: u32,
}

#[derive(Clone, Copy)]
struct Frame {
    /// Where in the table the object or array is.
    node: NodeId,
    array: bool,
    /// Position of the current element, for arrays.
    index: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A value must follow.
    Value,
    /// A value or `]`.
    FirstElement,
    /// A key or `}`.
    FirstKey,
    /// A key.
    Key,
    /// Inside a key that its piece cut.
    KeyText,
    Colon,
    /// A comma or a closing bracket.
    AfterValue,
    /// Inside a string that is copied.
    Text,
    /// Before the first character of a string of which presence is wanted.
    PresenceText,
    /// Inside a string that is handed out piece by piece.
    Pieces,
    /// Inside a string that nobody wants.
    SkipText,
    /// Inside a number or literal.
    Scalar,
    /// Inside an object or array that nobody wants.
    Skip,
    /// Inside a string of such an object.
    SkipNestedText,
    /// Not JSON: nothing more is read until [`Scanner::reset`].
    Malformed,
}

/// Reads JSON documents from pieces of any size; constant memory, no allocation.
pub struct Scanner {
    state: State,
    /// Where in the table the current value is.
    node: NodeId,
    depth: usize,
    frames: [Frame; MAX_DEPTH],
    /// Depth inside a skipped object or array.
    skipped: u32,
    /// The last byte of a skipped string was a backslash.
    escaped: bool,
    text: Text,
    documents: u64,
}

impl Default for Scanner {
    fn default() -> Self {
        Self {
            state: State::Value,
            node: ROOT,
            depth: 0,
            frames: [Frame { node: NOWHERE, array: false, index: 0 }; MAX_DEPTH],
            skipped: 0,
            escaped: false,
            text: Text::new(),
            documents: 0,
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
    /// Begins anew, as if nothing had been read.
    pub fn reset(&mut self) {
        self.state = State::Value;
        self.node = ROOT;
        self.depth = 0;
        self.documents = 0;
    }

    /// How many top-level values have been read to their end.
    #[must_use]
    pub const fn documents(&self) -> u64 {
        self.documents
    }

    /// Whether the input was found not to be JSON. Nothing is read after that.
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        self.state == State::Malformed
    }

    /// Whether at least one document was read and none is open.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.documents > 0 && self.depth == 0 && self.state == State::Value
    }

    /// Reads `input`, the next piece of the text.
    pub fn push<F: Copy>(&mut self, table: &PathTable<F>, input: &[u8], sink: &mut impl FnMut(Hit<'_, F>)) {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            match self.state {
                State::Value | State::FirstElement => {
                    if is_space(byte) {
                        at += 1;
                    } else {
                        at += self.begin_value(table, byte, sink);
                    }
                }
                State::FirstKey | State::Key => {
                    at += 1;
                    match byte {
                        b'"' => at += self.key(table, &input[at..], sink),
                        b'}' if self.state == State::FirstKey => self.close(table, false, sink),
                        _ if is_space(byte) => {}
                        _ => self.state = State::Malformed,
                    }
                }
                State::KeyText => {
                    let (used, ended) = self.text.push_string(&input[at..]);
                    at += used;
                    if ended {
                        self.node = match self.text.truncated() {
                            true => NOWHERE,
                            false => table.child(self.parent(), self.text.bytes()),
                        };
                        self.emit_key(table, self.text.bytes(), sink);
                        self.state = State::Colon;
                    }
                }
                State::Colon => {
                    at += 1;
                    match byte {
                        b':' => self.state = State::Value,
                        _ if is_space(byte) => {}
                        _ => self.state = State::Malformed,
                    }
                }
                State::AfterValue => {
                    at += 1;
                    match byte {
                        b',' => self.next(table),
                        b'}' | b']' => self.close(table, byte == b']', sink),
                        _ if is_space(byte) => {}
                        _ => self.state = State::Malformed,
                    }
                }
                State::Text => {
                    let (used, ended) = self.text.push_string(&input[at..]);
                    at += used;
                    if ended {
                        if let Some((_, field)) = table.leaf(self.node) {
                            let value =
                                Value::Text { text: self.text.as_str(), truncated: self.text.truncated() };
                            sink(Hit { field, value, index: self.index() });
                        }
                        self.end_value();
                    }
                }
                State::PresenceText => {
                    if byte != b'"' {
                        self.emit(table, Value::Present, sink);
                    }
                    self.state = match table.leaf(self.node) {
                        Some((want, _)) if want.is_text() => State::Pieces,
                        _ => State::SkipText,
                    };
                }
                State::Pieces => {
                    let (used, ended) = skip_string(&input[at..], &mut self.escaped);
                    let content = &input[at..at + used - usize::from(ended)];
                    at += used;
                    if let (Some((_, field)), false) = (table.leaf(self.node), content.is_empty()) {
                        sink(Hit { field, value: Value::Piece(content), index: self.index() });
                    }
                    if ended {
                        self.end_value();
                    }
                }
                State::SkipText | State::SkipNestedText => {
                    let (used, ended) = skip_string(&input[at..], &mut self.escaped);
                    at += used;
                    if ended && self.state == State::SkipText {
                        self.end_value();
                    } else if ended {
                        self.state = State::Skip;
                    }
                }
                State::Scalar => {
                    let run = input[at..].iter().position(|&b| !is_scalar(b)).unwrap_or(input.len() - at);
                    if self.node != NOWHERE {
                        self.text.push(&input[at..at + run]);
                    }
                    at += run;
                    if at < input.len() {
                        self.scalar(table, sink);
                    }
                }
                State::Skip => at += self.skip(&input[at..]),
                State::Malformed => return,
            }
        }
    }

    /// Looks at the first byte of a value; returns how many bytes it took.
    fn begin_value<F: Copy>(
        &mut self,
        table: &PathTable<F>,
        byte: u8,
        sink: &mut impl FnMut(Hit<'_, F>),
    ) -> usize {
        match byte {
            b'{' | b'[' => self.open(table, byte == b'[', sink),
            b'"' => {
                self.escaped = false;
                self.state = match table.leaf(self.node) {
                    Some((Want::Scalar, _)) => {
                        self.text.clear();
                        State::Text
                    }
                    Some((Want::Presence | Want::Text | Want::Within | Want::Everything, _)) => {
                        State::PresenceText
                    }
                    None => State::SkipText,
                };
            }
            b']' if self.state == State::FirstElement => self.close(table, true, sink),
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                self.text.clear();
                self.state = State::Scalar;
                return 0;
            }
            // A byte order mark before the first document.
            0xef | 0xbb | 0xbf if self.depth == 0 => {}
            _ => self.state = State::Malformed,
        }
        1
    }

    fn open<F: Copy>(&mut self, table: &PathTable<F>, array: bool, sink: &mut impl FnMut(Hit<'_, F>)) {
        if self.node == NOWHERE || self.depth == MAX_DEPTH {
            self.skipped = 1;
            self.state = State::Skip;
            return;
        }
        self.emit(table, if array { Value::BeginArray } else { Value::BeginObject }, sink);
        self.frames[self.depth] = Frame { node: self.node, array, index: 0 };
        self.depth += 1;
        if array {
            self.node = table.elements(self.node);
            self.state = State::FirstElement;
        } else {
            self.state = State::FirstKey;
        }
    }

    fn close<F: Copy>(&mut self, table: &PathTable<F>, array: bool, sink: &mut impl FnMut(Hit<'_, F>)) {
        match self.depth.checked_sub(1) {
            Some(depth) if self.frames[depth].array == array => {
                self.depth = depth;
                self.node = self.frames[depth].node;
                self.emit(table, Value::End, sink);
                self.end_value();
            }
            _ => self.state = State::Malformed,
        }
    }

    /// After a comma.
    fn next<F: Copy>(&mut self, table: &PathTable<F>) {
        let Some(frame) = self.depth.checked_sub(1).and_then(|top| self.frames.get_mut(top)) else {
            self.state = State::Malformed;
            return;
        };
        if frame.array {
            frame.index = frame.index.saturating_add(1);
            self.node = table.elements(frame.node);
            self.state = State::Value;
        } else {
            self.state = State::Key;
        }
    }

    fn end_value(&mut self) {
        if self.depth == 0 {
            self.documents += 1;
            self.node = ROOT;
            self.state = State::Value;
        } else {
            self.state = State::AfterValue;
        }
    }

    /// Reads a key after its opening quote; returns how many bytes it took.
    #[inline]
    fn key<F: Copy>(
        &mut self,
        table: &PathTable<F>,
        input: &[u8],
        sink: &mut impl FnMut(Hit<'_, F>),
    ) -> usize {
        // Nearly every key is short, whole and without escapes: look it up where it lies.
        let end = input.iter().take(64).position(|&b| b == b'"' || b == b'\\');
        if let Some(end) = end.filter(|&end| input[end] == b'"') {
            self.node = table.child(self.parent(), &input[..end]);
            self.emit_key(table, &input[..end], sink);
            if input.get(end + 1) == Some(&b':') {
                self.state = State::Value;
                return end + 2;
            }
            self.state = State::Colon;
            return end + 1;
        }
        self.text.clear();
        self.state = State::KeyText;
        0
    }

    /// A number or literal has ended.
    fn scalar<F: Copy>(&mut self, table: &PathTable<F>, sink: &mut impl FnMut(Hit<'_, F>)) {
        if let Some((want, field)) = table.leaf(self.node) {
            let value = match self.text.as_str() {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                "null" => Value::Null,
                number => match number.parse::<i64>() {
                    Ok(integer) => Value::Integer(integer),
                    Err(_) => match number.parse::<f64>() {
                        Ok(float) => Value::Float(float),
                        Err(_) => {
                            self.state = State::Malformed;
                            return;
                        }
                    },
                },
            };
            let index = self.index();
            match want {
                Want::Scalar => sink(Hit { field, value, index }),
                _ if matches!(value, Value::Null | Value::Bool(false)) => {}
                Want::Presence | Want::Text => sink(Hit { field, value: Value::Present, index }),
                Want::Within | Want::Everything => sink(Hit { field, value, index }),
            }
        }
        self.end_value();
    }

    /// Skips inside an unwanted object or array; returns how many bytes it took.
    fn skip(&mut self, input: &[u8]) -> usize {
        let mut at = 0;
        loop {
            at += plain_prefix(&input[at..]);
            let Some(&byte) = input.get(at) else { return at };
            at += 1;
            match byte {
                b'"' => {
                    self.escaped = false;
                    let (used, ended) = skip_string(&input[at..], &mut self.escaped);
                    at += used;
                    if !ended {
                        self.state = State::SkipNestedText;
                        return at;
                    }
                }
                b'{' | b'[' => self.skipped = self.skipped.saturating_add(1),
                b'}' | b']' => {
                    self.skipped -= 1;
                    if self.skipped == 0 {
                        self.end_value();
                        return at;
                    }
                }
                _ => {}
            }
        }
    }

    fn emit<F: Copy>(&self, table: &PathTable<F>, value: Value<'_>, sink: &mut impl FnMut(Hit<'_, F>)) {
        if let Some((want, field)) = table.leaf(self.node)
            && want != Want::Scalar
        {
            sink(Hit { field, value, index: self.index() });
        }
    }

    #[inline]
    fn emit_key<F: Copy>(&self, table: &PathTable<F>, key: &[u8], sink: &mut impl FnMut(Hit<'_, F>)) {
        if let Some((Want::Within | Want::Everything, field)) = table.leaf(self.node)
            && let Some((Want::Within | Want::Everything, _)) = table.leaf(self.parent())
        {
            sink(Hit { field, value: Value::Key(key), index: self.index() });
        }
    }

    fn parent(&self) -> NodeId {
        self.depth.checked_sub(1).map_or(NOWHERE, |top| self.frames[top].node)
    }

    fn index(&self) -> u32 {
        self.frames[..self.depth].iter().rev().find(|frame| frame.array).map_or(0, |frame| frame.index)
    }
}

#[inline]
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

#[inline]
const fn is_scalar(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.')
}

#[cfg(test)]
#[path = "scanner_tests.rs"]
mod tests;
