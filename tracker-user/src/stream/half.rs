//! One direction of a connection.

use super::{
    ExchangeId,
    coding::{Decoder, Undecodable},
    http1::{body::Framing, head::Wrapping, start::Rigour},
};
use crate::capture::Timestamp;

/// Where a direction stands.
#[derive(Default)]
pub(super) enum Phase {
    /// Out of step: waiting for a message to begin at the start of a chunk.
    #[default]
    Seek,
    /// In step: at the start of a message, or in its head.
    Head,
    /// In step: in a message's body.
    Body(Body),
}

/// One direction of a connection.
#[derive(Default)]
pub(super) struct Half {
    pub(super) phase: Phase,
    /// The offset after the last byte that was seen.
    pub(super) seen: u64,
    /// The latest timestamp in it.
    pub(super) latest: Timestamp,
    /// The bytes of a head that is not whole yet; empty between messages.
    pub(super) head: Vec<u8>,
    /// When the first of them came.
    pub(super) head_at: Timestamp,
    /// Request heads in the chunk that is being read.
    pub(super) requests_in_chunk: u32,
}

/// No payload: a partial head may hold credentials.
impl std::fmt::Debug for Half {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let phase = match &self.phase {
            Phase::Seek => "seek",
            Phase::Head => "head",
            Phase::Body(_) => "body",
        };
        f.debug_struct("Half")
            .field("phase", &phase)
            .field("seen", &self.seen)
            .field("head", &self.head.len())
            .finish_non_exhaustive()
    }
}

impl Half {
    /// How sure one has to be that a message begins.
    pub(super) fn rigour(&self) -> Rigour {
        if matches!(self.phase, Phase::Seek) { Rigour::Seeking } else { Rigour::InStep }
    }

    /// The end of the current message, if any, can no longer be told.
    pub(super) fn lose_step(&mut self) {
        self.phase = Phase::Seek;
        self.head = Vec::new();
    }

    /// The body in progress, if any.
    pub(super) fn body_mut(&mut self) -> Option<&mut Body> {
        match &mut self.phase {
            Phase::Body(body) => Some(body),
            Phase::Seek | Phase::Head => None,
        }
    }
}

/// The body of the message in progress.
pub(super) struct Body {
    pub(super) framing: Framing,
    /// Absent where there is no coding, or nobody to decode for.
    decoder: Option<Decoder>,
    /// Whose body it is; absent when that is not known.
    pub(super) exchange: Option<ExchangeId>,
    /// It is followed to its end, but no more of it is handed out.
    muted: bool,
    /// No byte of it has come.
    pub(super) untouched: bool,
}

impl Body {
    /// A body of which nothing has come. It is muted where its coding is not known.
    pub(super) fn new(wrapping: Wrapping, exchange: Option<ExchangeId>) -> (Self, Result<(), Undecodable>) {
        let Wrapping { framing, codings } = wrapping;
        let mut body = Self { framing, decoder: None, exchange, muted: exchange.is_none(), untouched: true };
        let decoder = match codings {
            _ if body.muted => return (body, Ok(())),
            Some(codings) if codings.is_empty() => return (body, Ok(())),
            Some(codings) => Decoder::new(&codings),
            None => Err(Undecodable),
        };
        let opened = decoder.map(|decoder| body.decoder = Some(decoder));
        body.muted = opened.is_err();
        (body, opened)
    }

    /// Hands out nothing more.
    pub(super) fn mute(&mut self) {
        self.muted = true;
        self.decoder = None;
    }

    /// Hands out what `piece` decodes to.
    pub(super) fn decode(&mut self, piece: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), Undecodable> {
        match &mut self.decoder {
            _ if self.muted || piece.is_empty() => Ok(()),
            Some(decoder) => decoder.push(piece, sink),
            None => {
                sink(piece);
                Ok(())
            }
        }
    }
}
