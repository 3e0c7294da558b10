//! Bodies of gRPC: what a dialect's table asks for out of messages, and what the status means.

use super::{
    dialect::Field,
    json::{Hit, PathTable},
    protobuf::Scanner,
};
use crate::stream::grpc::{self, Piece};

/// Where the outcome of a call stands: in trailers, or in the head of a response without a body.
pub(super) const STATUS: &str = "grpc-status";

/// How the sender's messages are compressed.
pub(super) const ENCODING: &str = "grpc-encoding";

/// A message could not be read to its end: what was found in it may lack its rest.
pub(super) struct Broken;

/// Where fields go.
pub(super) type Sink<'s> = dyn FnMut(Result<Hit<'_, Field>, Broken>) + 's;

/// Reads the messages of one direction.
pub(super) struct Messages {
    decoder: grpc::Decoder,
    scanner: Scanner,
    /// Messages that were read, and whether all of them to their ends.
    messages: u32,
    broken: bool,
}

impl Messages {
    /// Of a sender with this `grpc-encoding`.
    pub(super) fn new(encoding: Option<&str>) -> Self {
        let decoder = grpc::Decoder::new(encoding);
        Self { decoder, scanner: Scanner::default(), messages: 0, broken: false }
    }

    /// Reads the next bytes.
    pub(super) fn push(&mut self, table: &PathTable<Field>, data: &[u8], sink: &mut Sink<'_>) {
        let Self { decoder, scanner, messages, broken } = self;
        decoder.push(data, &mut |piece| match piece {
            Piece::Begin => {}
            Piece::Data(data) => scanner.push(table, data, &mut |hit| sink(Ok(hit))),
            Piece::End { whole } => {
                let read = scanner.finish(table, &mut |hit| sink(Ok(hit)));
                *messages = messages.saturating_add(1);
                if !whole || !read {
                    *broken = true;
                    sink(Err(Broken));
                }
            }
        });
    }

    /// How many have been read.
    pub(super) const fn count(&self) -> u32 {
        self.messages
    }

    /// Whether there were some, and nothing of them is missing.
    pub(super) const fn are_whole(&self) -> bool {
        self.messages > 0 && !self.broken && self.is_between_messages()
    }

    /// Whether the body may end here.
    pub(super) const fn is_between_messages(&self) -> bool {
        self.decoder.is_between_messages()
    }
}

/// Whether a body of this type is gRPC's: `application/grpc`, `application/grpc+proto`.
pub(super) fn is_content_type(kind: &str) -> bool {
    kind.get(..16).is_some_and(|start| start.eq_ignore_ascii_case("application/grpc"))
}

/// The name of a status that is not OK, as <https://grpc.io/docs/guides/status-codes/> has it; the number
/// itself where it has none.
pub(super) fn error(status: &str) -> Option<String> {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let code: u32 = status.trim().parse().ok()?;
    let name = usize::try_from(code).ok().and_then(|code| NAMES.get(code));
    (code != 0).then(|| name.map_or_else(|| code.to_string(), |&name| name.to_owned()))
}
