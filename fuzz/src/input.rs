//! What a target makes of libFuzzer's bytes.

/// Takes choices from the front of an input. An input that is too short chooses zeros.
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// All of the bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A number below 256.
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// A number below 65536.
    pub fn number(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// One of `choices`.
    pub fn choose<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()]
    }

    /// The next bytes, at most so many.
    pub fn take(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// As many bytes as the next number says.
    pub fn piece(&mut self) -> &'a [u8] {
        let length = self.number();
        self.take(length.into())
    }

    /// Everything that is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// Cuts bytes into pieces; the same seed cuts the same bytes in the same places, and zero nowhere.
pub struct Cuts(u32);

impl Cuts {
    /// Pieces of one size class: the three lowest bits choose it.
    pub fn new(seed: u16) -> Self {
        Self(seed.into())
    }

    /// The pieces, none of them empty.
    pub fn apply<'a>(&mut self, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(self.size().min(bytes.len()));
            pieces.push(piece);
            bytes = rest;
        }
        pieces
    }

    fn size(&mut self) -> usize {
        if self.0 == 0 {
            return usize::MAX;
        }
        let most = 1_u32 << (self.0 & 7);
        // Marsaglia's xorshift; the class stays what it was.
        let mut next = self.0 >> 3 | 1 << 20;
        next ^= next << 13;
        next ^= next >> 17;
        next ^= next << 5;
        self.0 = next << 3 | self.0 & 7;
        (next % most) as usize + 1
    }
}
