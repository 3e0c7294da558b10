//! WebSocket as its senders write it.

use flate2::{Compress, Compression, FlushCompress};
use llm_tracker::capture::Direction;

/// How a connection is put on the wire.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Framing {
    /// `permessage-deflate`, with this window and with or without context takeover.
    pub(crate) deflate: Option<(u8, bool)>,
    /// Bytes of a frame at most; control frames stand between those of one message.
    pub(crate) fragment: Option<usize>,
}

impl Framing {
    /// The value of the response's `Sec-WebSocket-Extensions`.
    pub(crate) fn extensions(&self) -> Option<String> {
        self.deflate.map(|(bits, takeover)| {
            let takeover =
                if takeover { "" } else { "; client_no_context_takeover; server_no_context_takeover" };
            format!(
                "permessage-deflate; server_max_window_bits={bits}; client_max_window_bits=\"{bits}\"{takeover}"
            )
        })
    }
}

/// One side's sender. Here the client is the process that is watched.
pub(crate) struct Sender {
    framing: Framing,
    masked: bool,
    compress: Option<Compress>,
    sent: u32,
}

impl Sender {
    pub(crate) fn new(framing: Framing, direction: Direction) -> Self {
        let compress =
            framing.deflate.map(|(bits, _)| Compress::new_with_window_bits(Compression::new(6), false, bits));
        Self { framing, masked: direction == Direction::Write, compress, sent: 0 }
    }

    /// The frames of a message.
    pub(crate) fn message(&mut self, opcode: u8, text: &[u8]) -> Vec<u8> {
        let mut rsv = 0;
        let payload = match &mut self.compress {
            // Senders leave small messages as they are.
            Some(compress) if text.len() > 40 => {
                rsv = 0x40;
                let mut coded = Vec::with_capacity(text.len() + 1024);
                compress.compress_vec(text, &mut coded, FlushCompress::Sync).unwrap();
                assert!(coded.ends_with(&[0, 0, 0xff, 0xff]));
                coded.truncate(coded.len() - 4);
                if self.framing.deflate.is_some_and(|(_, takeover)| !takeover) {
                    compress.reset();
                }
                coded
            }
            _ => text.to_vec(),
        };
        let size = self.framing.fragment.unwrap_or(payload.len()).max(1);
        let mut frames = Vec::new();
        let last = payload.chunks(size).count().max(1) - 1;
        let mut fragments = payload.chunks(size);
        for at in 0..=last {
            let fin = if at == last { 0x80 } else { 0 };
            let first = if at == 0 { opcode | rsv } else { 0 };
            self.frame(&mut frames, fin | first, fragments.next().unwrap_or_default());
            if at < last {
                self.frame(&mut frames, 0x80 | if at % 2 == 0 { 9 } else { 10 }, b"{\"type\":");
            }
        }
        frames
    }

    pub(crate) fn close(&mut self) -> Vec<u8> {
        let mut frames = Vec::new();
        self.frame(&mut frames, 0x88, &1000_u16.to_be_bytes());
        frames
    }

    fn frame(&mut self, out: &mut Vec<u8>, first: u8, payload: &[u8]) {
        let mask_bit = if self.masked { 0x80 } else { 0 };
        out.push(first);
        match payload.len() {
            length @ 0..=125 => out.push(mask_bit | length as u8),
            length @ 126..=0xffff => {
                out.push(mask_bit | 126);
                out.extend((length as u16).to_be_bytes());
            }
            length => {
                out.push(mask_bit | 127);
                out.extend((length as u64).to_be_bytes());
            }
        }
        if self.masked {
            self.sent = self.sent.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let key = self.sent.to_le_bytes();
            out.extend(key);
            out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        } else {
            out.extend(payload);
        }
    }
}
