//! Where frames begin and end, byte by byte.

use super::{
    Http2, Io,
    frame::{Begins, FrameHeader, HEADER, flag, kind},
    half::{BETWEEN_FRAMES, Block, Payload, Phase},
};
use crate::{
    capture::{Direction, Timestamp},
    stream::http1::start::{PREFACE, Rigour, Start},
};

impl Http2 {
    /// The preface, or a server's SETTINGS.
    pub(super) fn start<'a>(
        &mut self,
        direction: Direction,
        bytes: &'a [u8],
        io: &mut Io<'_, '_>,
    ) -> &'a [u8] {
        let half = self.half_mut(direction);
        let Phase::Start(matched) = &mut half.phase else { return bytes };
        let wanted = PREFACE.get(*matched..).unwrap_or_default();
        let common = wanted.iter().zip(bytes).take_while(|(wanted, byte)| wanted == byte).count();
        *matched += common;
        let (matched, rest) = (*matched, &bytes[common..]);
        if matched == PREFACE.len() {
            half.phase = BETWEEN_FRAMES;
            self.client = Some(direction);
        } else if matched == 0 && Start::of(bytes, Rigour::Seeking) != Start::No {
            half.phase = BETWEEN_FRAMES;
        } else if matched == 0 {
            self.join(direction, io.counters);
        } else if !rest.is_empty() {
            self.malformed(direction, io);
        }
        rest
    }

    pub(super) fn seek<'a>(
        &mut self,
        direction: Direction,
        bytes: &'a [u8],
        aligned: bool,
        io: &mut Io<'_, '_>,
    ) -> &'a [u8] {
        let half = self.half_mut(direction);
        let Phase::Seek(held) = &mut half.phase else { return bytes };
        let mut held = std::mem::take(held);
        let mut earlier = held.len();
        held.extend_from_slice(&bytes[..bytes.len().min(Begins::NEEDED.saturating_sub(earlier))]);
        let mut verdict = Begins::with(&held);
        if verdict == Begins::No && earlier > 0 {
            self.pass_over(earlier, io);
            earlier = 0;
            held.clear();
            held.extend_from_slice(&bytes[..bytes.len().min(Begins::NEEDED)]);
            verdict = Begins::with(&held);
        }
        match verdict {
            Begins::Frame if aligned || earlier > 0 => {
                self.half_mut(direction).phase = BETWEEN_FRAMES;
                let held = held.get(..earlier).unwrap_or_default();
                // Nothing of this can be given back, so nothing of it waits.
                let settled = std::mem::replace(&mut io.settled, Timestamp(u64::MAX));
                self.push(direction, held, false, io);
                io.settled = settled;
                return self.push(direction, bytes, false, io);
            }
            Begins::Undecided if (aligned || earlier > 0) && held.len() < Begins::NEEDED => {
                self.half_mut(direction).phase = Phase::Seek(held);
            }
            _ => self.pass_over(earlier + bytes.len(), io),
        }
        &[]
    }

    pub(super) fn header<'a>(
        &mut self,
        direction: Direction,
        bytes: &'a [u8],
        io: &mut Io<'_, '_>,
    ) -> &'a [u8] {
        let allowed = self.half_mut(direction.opposite()).allows;
        let half = self.half_mut(direction);
        let Phase::Header { have, length, at } = &mut half.phase else { return bytes };
        if *length == 0 {
            *at = io.at;
        }
        let (new, rest) = bytes.split_at(bytes.len().min(HEADER - *length));
        have[*length..*length + new.len()].copy_from_slice(new);
        *length += new.len();
        if *length < HEADER {
            return rest;
        }
        let (header, started) = (FrameHeader::parse(*have), *at);
        // A limit that was not seen is no limit.
        let allowed = allowed.unwrap_or(u32::MAX);
        let expected = match &half.block {
            Some(block) => header.kind == kind::CONTINUATION && header.stream == block.stream,
            None => header.kind != kind::CONTINUATION,
        };
        if !expected || !header.is_legal(allowed) {
            self.malformed(direction, io);
            return rest;
        }
        if matches!(header.kind, kind::HEADERS | kind::PUSH_PROMISE) {
            half.block = Some(Block {
                stream: header.stream,
                pushed: header.kind == kind::PUSH_PROMISE,
                end_stream: header.kind == kind::HEADERS && header.has(flag::END_STREAM),
                bytes: Vec::new(),
                too_long: false,
                started,
            });
        }
        let prefix_wanted = match header.kind {
            kind::RST_STREAM => 4,
            kind::GOAWAY => 8,
            kind::SETTINGS if header.length > 0 => 6,
            _ => header.prefix(),
        };
        let payload =
            Payload { header, left: header.length, pad: 0, prefix: [0; 8], prefix_length: 0, prefix_wanted };
        half.phase = Phase::Payload(payload);
        if payload.left == 0 {
            self.frame_done(direction, payload, io);
        }
        rest
    }

    pub(super) fn payload<'a>(
        &mut self,
        direction: Direction,
        mut payload: Payload,
        bytes: &'a [u8],
        io: &mut Io<'_, '_>,
    ) -> &'a [u8] {
        let header = payload.header;
        let in_prefix = payload.prefix_length < payload.prefix_wanted;
        let available = if in_prefix {
            payload.prefix_wanted - payload.prefix_length
        } else if payload.left > payload.pad {
            (payload.left - payload.pad) as usize
        } else {
            payload.left as usize
        };
        let (piece, rest) = bytes.split_at(bytes.len().min(available));
        let in_padding = !in_prefix && payload.left <= payload.pad;
        payload.left -= piece.len() as u32;
        if in_prefix {
            let end = payload.prefix_length + piece.len();
            payload.prefix[payload.prefix_length..end].copy_from_slice(piece);
            payload.prefix_length = end;
            if end == payload.prefix_wanted && self.prefix(direction, &mut payload, io).is_err() {
                self.malformed(direction, io);
                return rest;
            }
        } else if !in_padding {
            let before = payload.left + piece.len() as u32 + payload.prefix_length as u32;
            self.carried(direction, header, piece, before == header.length, io);
        }
        self.half_mut(direction).phase = Phase::Payload(payload);
        if payload.left == 0 {
            self.frame_done(direction, payload, io);
        }
        rest
    }
}
