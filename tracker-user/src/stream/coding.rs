//! Content and transfer codings, undone as a stream: gzip, deflate, br and zstd.
//!
//! Whatever can be decoded is handed out at once: a server that flushes after every event has its
//! events seen one by one. Memory is the decompressors' own window and one buffer on the stack,
//! whatever the ratio of a body; and what all windows take together is bounded (`window`).

mod window;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use window::Window;

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
    Brotli(
        Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>,
        #[expect(dead_code, reason = "held")] Window,
    ),
    Zstd(DCtx<'static>, #[expect(dead_code, reason = "held")] Window),
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
                *self = Self::open(*coding, input[0])?;
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
                *self = Self::open(Coding::Gzip, input[0])?;
                self.step(input, buffer)
            }
            Self::Brotli(state, _) => {
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
            Self::Zstd(context, _) => {
                let mut input = InBuffer::around(input);
                let mut output = OutBuffer::around(buffer);
                context.decompress_stream(&mut output, &mut input).map_err(|_| Undecodable)?;
                Ok(Step { consumed: input.pos(), produced: output.pos() })
            }
            Self::Over => Ok(Step { consumed: input.len(), produced: 0 }),
        }
    }

    /// `first` is the first byte of what was coded.
    fn open(coding: Coding, first: u8) -> Result<Self, Undecodable> {
        Ok(match coding {
            Coding::Gzip => Self::Gzip(Decompress::new_gzip(15)),
            Coding::Deflate => Self::Idle(coding),
            // `new_strict`: without the large windows that are no part of the `br` coding.
            Coding::Brotli => {
                let window = Window::take(window::of_brotli(first)).ok_or(Undecodable)?;
                let alloc = StandardAlloc::default;
                Self::Brotli(Box::new(BrotliState::new_strict(alloc(), alloc(), alloc())), window)
            }
            Coding::Zstd => {
                let window = Window::take(1 << ZSTD_WINDOW_LOG_MAX).ok_or(Undecodable)?;
                let mut context = DCtx::try_create().ok_or(Undecodable)?;
                let limit = DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX);
                context.set_parameter(limit).map_err(|_| Undecodable)?;
                Self::Zstd(context, window)
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

#[cfg(test)]
pub(super) mod tests {
    use flate2::{Compress, Compression, FlushCompress};
    use proptest::prelude::*;

    use super::*;

    const FIRST: &[u8] = b"data: {\"first\": 1}\n\n";
    const SECOND: &[u8] = b"data: {\"second\": 2}\n\n";

    /// `FIRST`, a flush, `SECOND`, a flush, the end; by the reference encoder.
    const BROTLI: [&str; 3] = [
        "830980646174613a207b226669727374223a20317d0a0a",
        "a000805f5a4186ac4f07424823a2c80246d0a4f2b08301",
        "03",
    ];

    /// 16 MiB of zeros, by the reference encoder.
    const BROTLI_BOMB: &str = "cbffff3ff82700e2b14020f7fe2ffffffff04f00c4611180eefd1f";

    fn hex(digits: &str) -> Vec<u8> {
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
    }

    fn deflate(compress: &mut Compress, input: &[u8], flush: FlushCompress) -> Vec<u8> {
        let mut output = Vec::with_capacity(input.len() + 1024);
        compress.compress_vec(input, &mut output, flush).unwrap();
        output
    }

    fn flushed(mut compress: Compress) -> [Vec<u8>; 3] {
        [
            deflate(&mut compress, FIRST, FlushCompress::Sync),
            deflate(&mut compress, SECOND, FlushCompress::Sync),
            deflate(&mut compress, b"", FlushCompress::Finish),
        ]
    }

    fn zstd_flushed() -> [Vec<u8>; 3] {
        let mut context = zstd_safe::CCtx::create();
        let mut piece = |input: &[u8], end: bool| {
            let mut output = vec![0; 1024];
            let mut buffer = OutBuffer::around(&mut output[..]);
            if !input.is_empty() {
                context.compress_stream(&mut buffer, &mut InBuffer::around(input)).unwrap();
            }
            let left = if end { context.end_stream(&mut buffer) } else { context.flush_stream(&mut buffer) };
            assert_eq!(left, Ok(0));
            buffer.as_slice().to_vec()
        };
        [piece(FIRST, false), piece(SECOND, false), piece(b"", true)]
    }

    /// Two events, flushed one by one, in every coding.
    fn all() -> [(Coding, [Vec<u8>; 3]); 5] {
        let level = Compression::new(6);
        [
            (Coding::Gzip, flushed(Compress::new_gzip(level, 15))),
            (Coding::Deflate, flushed(Compress::new(level, true))),
            (Coding::Deflate, flushed(Compress::new(level, false))),
            (Coding::Brotli, BROTLI.map(hex)),
            (Coding::Zstd, zstd_flushed()),
        ]
    }

    pub(in crate::stream) fn gzip(bytes: &[u8]) -> Vec<u8> {
        deflate(&mut Compress::new_gzip(Compression::new(6), 15), bytes, FlushCompress::Finish)
    }

    fn decode(codings: &[Coding], bytes: &[u8], size: usize) -> Result<Vec<u8>, Undecodable> {
        let mut decoder = Decoder::new(codings)?;
        let mut decoded = Vec::new();
        for piece in bytes.chunks(size) {
            decoder.push(piece, &mut |data| {
                assert!(!data.is_empty() && data.len() <= BUFFER);
                decoded.extend_from_slice(data);
            })?;
        }
        Ok(decoded)
    }

    #[test]
    fn what_was_flushed_is_not_held_back() {
        for (coding, pieces) in all() {
            let mut decoder = Decoder::new(&[coding]).unwrap();
            let mut push = |bytes: &[u8]| {
                let mut decoded = Vec::new();
                decoder.push(bytes, &mut |data| decoded.extend_from_slice(data)).unwrap();
                decoded
            };
            assert_eq!(push(&pieces[0]), FIRST, "{coding:?}");
            assert_eq!(push(&pieces[1]), SECOND, "{coding:?}");
            assert_eq!(push(&pieces[2]), b"", "{coding:?}");
        }
    }

    #[test]
    fn any_split_decodes_to_the_same() {
        for (coding, pieces) in all() {
            let (bytes, expected) = (pieces.concat(), [FIRST, SECOND].concat());
            for size in 1..bytes.len() {
                assert_eq!(decode(&[coding], &bytes, size).unwrap(), expected, "{coding:?} by {size}");
            }
        }
    }

    #[test]
    fn stacked_codings_are_undone_in_reverse() {
        let twice = gzip(&BROTLI.map(hex).concat());
        let expected = [FIRST, SECOND].concat();
        assert_eq!(decode(&[Coding::Brotli, Coding::Gzip], &twice, 7).unwrap(), expected);
        assert_eq!(decode(&[], &expected, 7).unwrap(), expected);
        assert!(Decoder::new(&[Coding::Gzip; MAX_STACKED + 1]).is_err());
    }

    #[test]
    fn gzip_members_and_padding() {
        let members = [gzip(b"one"), gzip(b""), gzip(b"two"), vec![0; 5]].concat();
        for size in [1, 2, 20, 100] {
            assert_eq!(decode(&[Coding::Gzip], &members, size).unwrap(), b"onetwo");
        }
    }

    #[test]
    fn bombs_are_handed_out_in_bounded_pieces() {
        let zeros = vec![0; 16 << 20];
        for (coding, bomb) in [(Coding::Gzip, gzip(&zeros)), (Coding::Brotli, hex(BROTLI_BOMB))] {
            assert_eq!(decode(&[coding], &bomb, usize::MAX).unwrap().len(), zeros.len());
        }
    }

    #[test]
    fn a_zstd_window_past_the_limit_is_refused() {
        // Frame header with a window of 2^24 bytes, and one of 2^23 (RFC 8878, section 3.1.1.1.2).
        for (descriptor, fits) in [(14 << 3, false), (13 << 3, true)] {
            let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, descriptor, 0x01, 0x00, 0x00];
            assert_eq!(decode(&[Coding::Zstd], &frame, 9).is_ok(), fits);
        }
    }

    #[test]
    fn what_is_not_coded_as_it_says() {
        for coding in [Coding::Gzip, Coding::Deflate, Coding::Zstd, Coding::Brotli] {
            let garbage = [0xff; 64];
            assert_eq!(decode(&[coding], &garbage, 5), Err(Undecodable), "{coding:?}");
        }
    }

    #[test]
    fn names() {
        assert_eq!(Coding::named(b"X-GZIP"), Some(Coding::Gzip));
        assert_eq!(Coding::named(b"br"), Some(Coding::Brotli));
        assert_eq!(Coding::named(b"compress"), None);
    }

    proptest! {
        #[test]
        fn damage_never_panics(
            which in 0usize..5,
            cut in 0usize..100,
            flips in prop::collection::vec((0usize..100, any::<u8>()), 0..4),
            size in 1usize..40,
        ) {
            let (coding, pieces) = all()[which].clone();
            let mut bytes = pieces.concat();
            bytes.truncate(cut);
            for (at, flip) in flips {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= flip;
                }
            }
            let _ = decode(&[coding], &bytes, size);
        }
    }
}
