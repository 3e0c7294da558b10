//! `permessage-deflate` (RFC 7692).

use flate2::{Decompress, FlushDecompress, Status};

use crate::stream::ResponseHead;

/// Decoded bytes that are handed out at a time, at most.
const BUFFER: usize = 8 * 1024;

/// What a sender leaves off the end of every message (RFC 7692, section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// The window of a sender that promised nothing smaller, as a power of two.
const MAX_WINDOW_BITS: u8 = 15;

/// The smallest window that the decompressor takes; a larger one than the sender's does no harm.
const MIN_WINDOW_BITS: u8 = 9;

/// The compressed data is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Undecodable;

/// How one side compresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stream) struct Deflate {
    /// A message may refer to those before it.
    pub(super) takeover: bool,
    /// Logarithm of the window's size in bytes.
    pub(super) window_bits: u8,
}

/// What the server agreed to. Absent parts: that side does not compress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::stream) struct Extensions {
    pub(super) client: Option<Deflate>,
    pub(super) server: Option<Deflate>,
}

impl Extensions {
    /// What the server's answer agrees to; see [`Extensions::read`].
    pub(in crate::stream) fn agreed(head: &ResponseHead) -> Option<Self> {
        let agreed = head.headers.iter().filter(|(name, _)| *name == "sec-websocket-extensions");
        Self::read(agreed.map(|(_, value)| value.as_str()))
    }

    /// Reads the `Sec-WebSocket-Extensions` of a response, in one or several header lines; `None` where
    /// something was agreed on that is not known here, so that frames cannot be read.
    pub(super) fn read<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut agreed = Self::default();
        let elements = values.into_iter().flat_map(|value| value.split(','));
        for element in elements.map(str::trim).filter(|element| !element.is_empty()) {
            let mut parts = element.split(';').map(str::trim);
            if !parts.next()?.eq_ignore_ascii_case("permessage-deflate") || agreed.client.is_some() {
                return None;
            }
            let plain = Deflate { takeover: true, window_bits: MAX_WINDOW_BITS };
            let (mut client, mut server) = (plain, plain);
            for part in parts {
                let (name, value) = part.split_once('=').unwrap_or((part, ""));
                let bits =
                    || value.trim().trim_matches('"').parse().ok().filter(|bits| (8..=15).contains(bits));
                match name.trim().to_ascii_lowercase().as_str() {
                    "client_no_context_takeover" => client.takeover = false,
                    "server_no_context_takeover" => server.takeover = false,
                    "client_max_window_bits" => client.window_bits = bits()?,
                    "server_max_window_bits" => server.window_bits = bits()?,
                    _ => return None,
                }
            }
            agreed = Self { client: Some(client), server: Some(server) };
        }
        Some(agreed)
    }
}

/// Undoes the compression of one direction. The window is allocated with the first compressed
/// message.
pub(super) struct Inflater {
    deflate: Deflate,
    state: Option<Decompress>,
    /// The compressed data of the message said that it is over.
    ended: bool,
    /// Something that later messages may refer to was lost.
    lost: bool,
}

impl Inflater {
    pub(super) const fn new(deflate: Deflate) -> Self {
        Self { deflate, state: None, ended: false, lost: false }
    }

    /// Whether the next compressed message can be read.
    pub(super) const fn is_ready(&self) -> bool {
        !self.lost
    }

    /// Compressed bytes were lost, or may have been.
    pub(super) fn lose(&mut self) {
        self.state = None;
        self.ended = false;
        self.lost = self.deflate.takeover;
    }

    /// Decodes the next bytes of a message; `sink` is never given an empty slice.
    pub(super) fn push(&mut self, input: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), Undecodable> {
        let window_bits = self.deflate.window_bits.max(MIN_WINDOW_BITS);
        let state = self.state.get_or_insert_with(|| Decompress::new_with_window_bits(false, window_bits));
        let mut buffer = [0; BUFFER];
        let mut input = input;
        while !self.ended {
            let (total_in, total_out) = (state.total_in(), state.total_out());
            let status =
                state.decompress(input, &mut buffer, FlushDecompress::None).map_err(|_| Undecodable)?;
            let consumed = (state.total_in() - total_in) as usize;
            let produced = (state.total_out() - total_out) as usize;
            input = &input[consumed.min(input.len())..];
            if produced > 0 {
                sink(&buffer[..produced.min(BUFFER)]);
            }
            self.ended = status == Status::StreamEnd;
            // A buffer that was filled may hide more; one that was not has taken all there is.
            if consumed == 0 && produced == 0 || input.is_empty() && produced < BUFFER {
                break;
            }
        }
        Ok(())
    }

    /// The message is whole.
    pub(super) fn finish(&mut self, sink: &mut dyn FnMut(&[u8])) -> Result<(), Undecodable> {
        self.push(&TAIL, sink)?;
        // After a final block (RFC 7692, section 7.2.3.4) the next message begins a new stream.
        let anew = std::mem::take(&mut self.ended) || !self.deflate.takeover;
        if let Some(state) = self.state.as_mut().filter(|_| anew) {
            state.reset(false);
        }
        Ok(())
    }
}
