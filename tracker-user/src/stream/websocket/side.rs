//! One direction of a WebSocket.

use super::{
    Target,
    deflate::{Deflate, Inflater, Undecodable},
    header::{Header, Malformed, Opcode, is_chain},
};

/// Bytes that are unmasked at a time.
const UNMASKED: usize = 4 * 1024;

/// Bytes of a direction that are passed over in search of a frame before it is given up.
const MAX_SOUGHT: u64 = 1 << 20;

/// Why a direction cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Malformed,
    Undecodable,
    /// Bytes were lost, and with them the place or what later messages refer to.
    Lost,
}

impl From<Malformed> for Fault {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

impl From<Undecodable> for Fault {
    fn from(Undecodable: Undecodable) -> Self {
        Self::Undecodable
    }
}

/// Where a direction stands.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// At the start of a frame, or in its header.
    Header,
    Payload(Payload),
    /// Out of step, having passed over so many bytes.
    Seek(u64),
    /// Its close frame was seen.
    Closed,
    /// Nothing more of it can be read.
    Dead,
}

/// The payload in progress.
#[derive(Clone, Copy, Debug)]
struct Payload {
    left: u64,
    mask: Option<[u8; 4]>,
    /// Which byte of the mask is next.
    turn: u8,
    /// It belongs to a message, which ends with it if `fin`.
    data: bool,
    fin: bool,
    close: bool,
}

/// The message in progress, which control frames may interrupt.
#[derive(Clone, Copy, Debug)]
struct Message {
    compressed: bool,
    /// Something of it was lost: it is followed to its end, but not handed out.
    damaged: bool,
}

/// One direction of a WebSocket.
pub(super) struct Side {
    masked: bool,
    phase: Phase,
    header: [u8; Header::MAX],
    header_len: usize,
    message: Option<Message>,
    inflater: Option<Inflater>,
    /// A message may have begun that was not seen to begin.
    resumed: bool,
    /// Bytes passed over so far.
    pub(super) skipped: u64,
}

/// No payload, no masking key.
impl std::fmt::Debug for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Side")
            .field("phase", &std::mem::discriminant(&self.phase))
            .field("in_message", &self.message.is_some())
            .finish_non_exhaustive()
    }
}

impl Side {
    pub(super) fn new(masked: bool, deflate: Option<Deflate>) -> Self {
        Self {
            masked,
            phase: Phase::Header,
            header: [0; Header::MAX],
            header_len: 0,
            message: None,
            inflater: deflate.map(Inflater::new),
            resumed: false,
            skipped: 0,
        }
    }

    /// Whether it has said its last word.
    pub(super) const fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Whether more may come of it.
    pub(super) const fn is_open(&self) -> bool {
        !matches!(self.phase, Phase::Closed | Phase::Dead)
    }

    /// Nothing more of it can be read.
    pub(super) fn give_up(&mut self) {
        *self = Self { phase: Phase::Dead, skipped: self.skipped, ..Self::new(self.masked, None) };
    }

    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        aligned: bool,
        target: &mut Target<'_, '_>,
    ) -> Result<(), Fault> {
        let mut bytes = bytes;
        if let Phase::Seek(passed) = self.phase {
            if !aligned || !is_chain(bytes, self.masked, self.inflater.is_some()) {
                self.skipped += bytes.len() as u64;
                let passed = passed.saturating_add(bytes.len() as u64);
                self.phase = Phase::Seek(passed);
                return if passed > MAX_SOUGHT { Err(Fault::Lost) } else { Ok(()) };
            }
            self.phase = Phase::Header;
            self.resumed = true;
        }
        while !bytes.is_empty() {
            match self.phase {
                Phase::Header => {
                    let carried = self.header_len;
                    let taken = bytes.len().min(Header::MAX - carried);
                    self.header[carried..carried + taken].copy_from_slice(&bytes[..taken]);
                    let Some((header, used)) = Header::read(&self.header[..carried + taken])? else {
                        self.header_len = carried + taken;
                        return Ok(());
                    };
                    self.header_len = 0;
                    bytes = &bytes[used.saturating_sub(carried).min(taken)..];
                    self.begin(header, target)?;
                }
                Phase::Payload(mut payload) => {
                    let taken = usize::try_from(payload.left).unwrap_or(usize::MAX).min(bytes.len());
                    let (piece, rest) = bytes.split_at(taken);
                    bytes = rest;
                    if payload.data {
                        self.data(piece, &payload, target)?;
                    }
                    payload.pass(taken as u64);
                    self.go_on(payload, target)?;
                }
                Phase::Seek(_) | Phase::Closed | Phase::Dead => return Ok(()),
            }
        }
        Ok(())
    }

    /// `lost` bytes were never delivered.
    pub(super) fn gap(&mut self, lost: u64, target: &mut Target<'_, '_>) -> Result<(), Fault> {
        match self.phase {
            Phase::Closed | Phase::Dead => Ok(()),
            Phase::Payload(mut payload) if lost <= payload.left => {
                payload.pass(lost);
                let damaged = if payload.data { self.message.as_mut() } else { None };
                if let Some(message) = damaged {
                    if !std::mem::replace(&mut message.damaged, true) {
                        target.lost();
                    }
                    if message.compressed {
                        self.lose_context()?;
                    }
                }
                self.go_on(payload, target)
            }
            _ => {
                self.phase = Phase::Seek(0);
                self.header_len = 0;
                self.message = None;
                target.lost();
                self.lose_context()
            }
        }
    }

    /// Compressed data was lost, or may have been.
    fn lose_context(&mut self) -> Result<(), Fault> {
        let Some(inflater) = &mut self.inflater else { return Ok(()) };
        inflater.lose();
        if inflater.is_ready() { Ok(()) } else { Err(Fault::Lost) }
    }

    /// A frame's header is whole.
    fn begin(&mut self, header: Header, target: &mut Target<'_, '_>) -> Result<(), Fault> {
        let Header { fin, compressed, opcode, mask, length, .. } = header;
        let data = matches!(opcode, Opcode::Message | Opcode::Continuation);
        match (opcode, self.message) {
            (Opcode::Message, Some(_)) => return Err(Fault::Malformed),
            (Opcode::Message, None) => {
                if compressed && self.inflater.is_none() {
                    return Err(Fault::Malformed);
                }
                self.resumed = false;
                self.message = Some(Message { compressed, damaged: false });
            }
            (Opcode::Continuation, None) if self.resumed => {
                self.message = Some(Message { compressed: false, damaged: true });
            }
            (Opcode::Continuation, None) => return Err(Fault::Malformed),
            (Opcode::Continuation, Some(_)) | (Opcode::Close | Opcode::Control, _) => {}
        }
        let payload = Payload { left: length, mask, turn: 0, data, fin, close: opcode == Opcode::Close };
        self.go_on(payload, target)
    }

    /// Stays in the payload, or ends its frame.
    fn go_on(&mut self, payload: Payload, target: &mut Target<'_, '_>) -> Result<(), Fault> {
        if payload.left > 0 {
            self.phase = Phase::Payload(payload);
            return Ok(());
        }
        self.phase = if payload.close { Phase::Closed } else { Phase::Header };
        if !payload.data || !payload.fin {
            return Ok(());
        }
        if let Some(message) = self.message.take().filter(|message| !message.damaged) {
            if let Some(inflater) = self.inflater.as_mut().filter(|_| message.compressed) {
                inflater.finish(&mut |data| target.piece(data, false))?;
            }
            target.piece(&[], true);
        }
        Ok(())
    }

    /// A piece of a message's payload.
    fn data(&mut self, piece: &[u8], payload: &Payload, target: &mut Target<'_, '_>) -> Result<(), Fault> {
        let Some(message) = self.message.filter(|message| !message.damaged) else { return Ok(()) };
        let mut inflater = self.inflater.as_mut().filter(|_| message.compressed);
        let mut pass = |data: &[u8]| match &mut inflater {
            Some(inflater) => inflater.push(data, &mut |data| target.piece(data, false)),
            None => {
                target.piece(data, false);
                Ok(())
            }
        };
        let Some(mask) = payload.mask else { return Ok(pass(piece)?) };
        let mut turn = usize::from(payload.turn);
        let mut clear = [0; UNMASKED];
        for part in piece.chunks(UNMASKED) {
            let key = std::array::from_fn::<u8, 4, _>(|at| mask[(turn + at) % 4]);
            let clear = &mut clear[..part.len()];
            clear.copy_from_slice(part);
            let mut words = clear.chunks_exact_mut(4);
            for word in &mut words {
                for (byte, key) in word.iter_mut().zip(key) {
                    *byte ^= key;
                }
            }
            for (byte, key) in words.into_remainder().iter_mut().zip(key) {
                *byte ^= key;
            }
            pass(clear)?;
            turn = (turn + part.len()) % 4;
        }
        Ok(())
    }
}

impl Payload {
    /// Passes over `count` of its bytes.
    fn pass(&mut self, count: u64) {
        self.left = self.left.saturating_sub(count);
        self.turn = ((u64::from(self.turn) + count % 4) % 4) as u8;
    }
}
