//! What a connection tells the stage above it.

use crate::capture::Timestamp;

/// Numbers the exchanges of one connection, in the order of their requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExchangeId(pub u64);

/// Whether the watched process sent the request or served it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The process wrote the request and read the response.
    Client,
    /// The process read the request and wrote the response.
    Server,
}

impl Role {
    /// The value of the `role` field and label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// One end of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// Who asks.
    Client,
    /// Who answers.
    Server,
}

/// What is kept of a request's head. Credentials, cookies and the query are dropped where the
/// head is parsed and exist nowhere above.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestHead {
    /// Method, upper case as sent.
    pub method: String,
    /// The target's path without its query, percent-encoding kept.
    pub path: String,
    /// `Host` or `:authority` without the port, lower case.
    pub host: Option<String>,
    /// Port from `Host` or `:authority`, where one was given.
    pub port: Option<u16>,
    /// `Content-Type`, parameters included.
    pub content_type: Option<String>,
    /// Its credential is one that belongs to a subscription: all that is kept of credentials.
    pub subscription: bool,
    /// Other headers that a dialect asked for, lower-case names.
    pub headers: Vec<(&'static str, String)>,
}

impl RequestHead {
    /// Whether it asks to go on as WebSocket: by `Upgrade` (RFC 6455, section 4.1), or over HTTP/2 by
    /// an extended CONNECT (RFC 8441), whose `:protocol` is kept among the headers.
    #[must_use]
    pub fn asks_for_websocket(&self) -> bool {
        let says =
            |wanted: &str| self.headers.iter().any(|(name, value)| *name == wanted && names_websocket(value));
        match self.method.as_str() {
            "GET" => says("upgrade"),
            "CONNECT" => says(":protocol"),
            _ => false,
        }
    }
}

/// Whether a list of protocols has WebSocket in it.
pub(super) fn names_websocket(value: &str) -> bool {
    value.split(',').any(|protocol| protocol.trim().eq_ignore_ascii_case("websocket"))
}

/// What is kept of a response's head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseHead {
    /// HTTP status of the final response; 1xx are not reported, but 101 is.
    pub status: u16,
    /// `Content-Type`, parameters included. It lies at times: the first bytes decide.
    pub content_type: Option<String>,
    /// Other headers that a dialect asked for, lower-case names.
    pub headers: Vec<(&'static str, String)>,
}

/// How an exchange came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// Request and response were seen whole, by the rules of HTTP's own framing.
    Complete,
    /// The connection closed before the message was whole.
    Closed,
    /// The response was seen whole, but not all of the request's body: bytes of it were lost between
    /// kernel and daemon (a very large write is not copied to its end), or the server answered
    /// without waiting for it.
    RequestCut,
    /// Bytes were lost between kernel and daemon: inside the response, or where it can no longer be
    /// told which response belongs to the request.
    Gap,
    /// What was read is not what the protocol allows, or a body could not be decoded.
    Malformed,
}

/// One step of one exchange, borrowed from the bytes that brought it.
pub enum Event<'a> {
    /// A request began; always the first event of its exchange.
    Request {
        /// The exchange.
        exchange: ExchangeId,
        /// Who watches it from where.
        role: Role,
        /// The kept part of the head.
        head: &'a RequestHead,
        /// When the request's first byte was sent.
        at: Timestamp,
    },
    /// A piece of the request's decoded body.
    RequestBody {
        /// The exchange.
        exchange: ExchangeId,
        /// Decoded bytes, never empty.
        data: &'a [u8],
        /// When they were sent.
        at: Timestamp,
    },
    /// The final response's head.
    Response {
        /// The exchange.
        exchange: ExchangeId,
        /// The kept part of the head.
        head: &'a ResponseHead,
        /// When the head was complete.
        at: Timestamp,
    },
    /// A piece of the response's decoded body.
    ResponseBody {
        /// The exchange.
        exchange: ExchangeId,
        /// Decoded bytes, never empty.
        data: &'a [u8],
        /// When they arrived.
        at: Timestamp,
    },
    /// Fields that came behind the response's body.
    Trailers {
        /// The exchange.
        exchange: ExchangeId,
        /// Those that a dialect asked for, lower-case names; never empty.
        headers: &'a [(&'static str, String)],
        /// When they arrived.
        at: Timestamp,
    },
    /// A piece of a WebSocket message: the exchange has switched protocols.
    Message {
        /// The exchange.
        exchange: ExchangeId,
        /// Who sent it.
        from: Peer,
        /// Unmasked, decompressed bytes; empty at most where `fin`.
        data: &'a [u8],
        /// The message ends here; the next piece of the same sender begins another.
        fin: bool,
        /// When they were sent.
        at: Timestamp,
    },
    /// Bytes of a sender were lost: the message in progress, if any, will not be continued, and
    /// whole messages may be missing.
    MessagesLost {
        /// The exchange.
        exchange: ExchangeId,
        /// Whose.
        from: Peer,
        /// When it was noticed.
        at: Timestamp,
    },
    /// The exchange is over; always its last event.
    End {
        /// The exchange.
        exchange: ExchangeId,
        /// How.
        end: End,
        /// When its last byte was seen, or its end noticed.
        at: Timestamp,
    },
}

/// Payload stays out of logs: of a piece of a body or message only the length is printed.
impl std::fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Request { exchange, role, head, at } => {
                f.debug_tuple("Request").field(&exchange.0).field(&role).field(head).field(&at).finish()
            }
            Self::RequestBody { exchange, data, at } => {
                f.debug_tuple("RequestBody").field(&exchange.0).field(&data.len()).field(&at).finish()
            }
            Self::Response { exchange, head, at } => {
                f.debug_tuple("Response").field(&exchange.0).field(head).field(&at).finish()
            }
            Self::ResponseBody { exchange, data, at } => {
                f.debug_tuple("ResponseBody").field(&exchange.0).field(&data.len()).field(&at).finish()
            }
            Self::Trailers { exchange, headers, at } => {
                f.debug_tuple("Trailers").field(&exchange.0).field(&headers).field(&at).finish()
            }
            Self::Message { exchange, from, data, fin, at } => f
                .debug_tuple("Message")
                .field(&exchange.0)
                .field(&from)
                .field(&data.len())
                .field(&fin)
                .field(&at)
                .finish(),
            Self::MessagesLost { exchange, from, at } => {
                f.debug_tuple("MessagesLost").field(&exchange.0).field(&from).field(&at).finish()
            }
            Self::End { exchange, end, at } => {
                f.debug_tuple("End").field(&exchange.0).field(&end).field(&at).finish()
            }
        }
    }
}
