//! Content and transfer codings, undone as a stream: gzip, deflate, br and zstd.
//!
//! Whatever can be decoded is handed out at once: a server that flushes after every event has its
//! events seen one by one. Memory is the decompressors' own window and one buffer on the stack,
//! whatever the ratio of a body.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

/// Bytes decoded at a time.
const BUFFER: usize = 16 * 1024;

/// Most codings on top of each other. More is a prank, and each costs stack.
const MAX_STACKED: usize = 3;

/// Largest zstd window that is allocated: 8 MiB, what RFC 9659 allows for the coding on the web.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// A coding of RFC 9110, section 8.4.1, RFC 7932 (br) or RFC 8878 (zstd).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

impl Coding {
    /// The coding with this name, in any case.
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        let is = |known: &[&str]| known.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        match () {
            () if is(&["gzip", "x-gzip"]) => Some(Self::Gzip),
            () if is(&["deflate"]) => Some(Self::Deflate),
            () if is(&["br"]) => Some(Self::Brotli),
            () if is(&["zstd"]) => Some(Self::Zstd),
            () => None,
        }
    }
}

/// The body is not what its coding says, or the coding cannot be undone here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Undecodable;

/// Undoes the codings of one body.
pub(super) struct Decoder {
    /// In the order in which they are undone.
    stages: Vec<Stage>,
}

impl Decoder {
    /// A decoder for `codings`, in the order in which they were applied. Nothing large is allocated
    /// before the first byte.
    pub(super) fn new(codings: &[Coding]) -> Result<Self, Undecodable> {
        if codings.len() > MAX_STACKED {
            return Err(Undecodable);
        }
        Ok(Self { stages: codings.iter().rev().map(|coding| Stage::Idle(*coding)).collect() })
    }

    /// Decodes the next bytes; `sink` is never given an empty slice.
    pub(super) fn push(&mut self, input: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), Undecodable> {
        through(&mut self.stages, input, sink)
    }
}

fn through(stages: &mut [Stage], input: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), Undecodable> {
    let Some((stage, later)) = stages.split_first_mut() else {
        sink(input);
        return Ok(());
    };
    let mut buffer = [0; BUFFER];
    let mut input = input;
    loop {
        let step = stage.step(input, &mut buffer)?;
        input = &input[step.consumed.min(input.len())..];
        if step.produced > 0 {
            through(later, &buffer[..step.produced.min(BUFFER)], sink)?;
        }
        // A buffer that was filled may hide more; one that was not has taken all there is.
        if step.consumed == 0 && step.produced == 0 || input.is_empty() && step.produced < BUFFER {
            return Ok(());
        }
    }
}

/// What one call of a decompressor did.
struct Step {
    consumed: usize,
    produced: usize,
}

/// One coding of a body.
enum Stage {
    /// No byte has come yet.
    Idle(Coding),
    /// The first byte of `deflate`, which does not yet tell which of the two it is.
    DeflateHeld(u8),
    Gzip(Decompress),
    /// Between two gzip members, or behind the last.
    GzipMember,
    Deflate(Decompress),
    Brotli(Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>),
    Zstd(DCtx<'static>),
    /// The coded data is over; what follows is ignored, as common decoders do.
    Over,
}

impl Stage {
    fn step(&mut self, input: &[u8], buffer: &mut [u8]) -> Result<Step, Undecodable> {
        match self {
            Self::Idle(_) if input.is_empty() => Ok(Step { consumed: 0, produced: 0 }),
            Self::Idle(Coding::Deflate) => {
                *self = Self::DeflateHeld(input[0]);
                Ok(Step { consumed: 1, produced: 0 })
            }
            Self::Idle(coding) => {
                *self = Self::open(*coding)?;
                self.step(input, buffer)
            }
            Self::DeflateHeld(_) if input.is_empty() => Ok(Step { consumed: 0, produced: 0 }),
            Self::DeflateHeld(first) => {
                // RFC 9110 means zlib; some servers send raw deflate. RFC 1950, section 2.2: method 8,
                // and both bytes together a multiple of 31.
                let header = u16::from_be_bytes([*first, input[0]]);
                let zlib = header & 0x0f00 == 0x0800 && header.is_multiple_of(31);
                let mut inflate = Decompress::new(zlib);
                let first = [*first];
                let (step, _) = inflate_step(&mut inflate, &first, buffer)?;
                *self = Self::Deflate(inflate);
                if step.consumed != 1 {
                    return Err(Undecodable);
                }
                // The held byte produces nothing: it is less than a block header and a symbol.
                let next = self.step(input, &mut buffer[step.produced..])?;
                Ok(Step { consumed: next.consumed, produced: step.produced + next.produced })
            }
            Self::Deflate(inflate) => {
                let (step, status) = inflate_step(inflate, input, buffer)?;
                if status == Status::StreamEnd {
                    *self = Self::Over;
                }
                Ok(step)
            }
            Self::Gzip(inflate) => {
                let (step, status) = inflate_step(inflate, input, buffer)?;
                if status == Status::StreamEnd {
                    *self = Self::GzipMember;
                }
                Ok(step)
            }
            // RFC 1952, section 2.2: a file is a series of members. Anything else is padding.
            Self::GzipMember if input.is_empty() => Ok(Step { consumed: 0, produced: 0 }),
            Self::GzipMember if input[0] != 0x1f => {
                *self = Self::Over;
                Ok(Step { consumed: input.len(), produced: 0 })
            }
            Self::GzipMember => {
                *self = Self::open(Coding::Gzip)?;
                self.step(input, buffer)
            }
            Self::Brotli(state) => {
                let (mut available_in, mut consumed) = (input.len(), 0);
                let (mut available_out, mut produced) = (buffer.len(), 0);
                let result = BrotliDecompressStream(
                    &mut available_in,
                    &mut consumed,
                    input,
                    &mut available_out,
                    &mut produced,
                    buffer,
                    &mut 0,
                    state,
                );
                match result {
                    BrotliResult::ResultFailure => return Err(Undecodable),
                    BrotliResult::ResultSuccess => *self = Self::Over,
                    BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
                }
                Ok(Step { consumed, produced })
            }
            Self::Zstd(context) => {
                let mut input = InBuffer::around(input);
                let mut output = OutBuffer::around(buffer);
                context.decompress_stream(&mut output, &mut input).map_err(|_| Undecodable)?;
                Ok(Step { consumed: input.pos(), produced: output.pos() })
            }
            Self::Over => Ok(Step { consumed: input.len(), produced: 0 }),
        }
    }

    fn open(coding: Coding) -> Result<Self, Undecodable> {
        Ok(match coding {
            Coding::Gzip => Self::Gzip(Decompress::new_gzip(15)),
            Coding::Deflate => Self::Idle(coding),
            // `new_strict`: without the large windows that are no part of the `br` coding.
            Coding::Brotli => {
                let alloc = StandardAlloc::default;
                Self::Brotli(Box::new(BrotliState::new_strict(alloc(), alloc(), alloc())))
            }
            Coding::Zstd => {
                let mut context = DCtx::try_create().ok_or(Undecodable)?;
                let limit = DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX);
                context.set_parameter(limit).map_err(|_| Undecodable)?;
                Self::Zstd(context)
            }
        })
    }
}

fn inflate_step(
    inflate: &mut Decompress,
    input: &[u8],
    output: &mut [u8],
) -> Result<(Step, Status), Undecodable> {
    let (total_in, total_out) = (inflate.total_in(), inflate.total_out());
    let status = inflate.decompress(input, output, FlushDecompress::None).map_err(|_| Undecodable)?;
    let step = Step {
        consumed: (inflate.total_in() - total_in) as usize,
        produced: (inflate.total_out() - total_out) as usize,
    };
    Ok((step, status))
}
