//! A WebSocket on a stream of HTTP/2 (RFC 8441).

use llm_tracker::capture::Direction;

const SETTINGS: u8 = 4;
const HEADERS: u8 = 1;
const DATA: u8 = 0;
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;

/// Longest payload where no setting says otherwise.
const MAX_FRAME: usize = 16 * 1024;

/// The stream that is a WebSocket; another request is under way beside it.
const STREAM: u32 = 3;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn headers(encoder: &mut loona_hpack::Encoder<'_>, stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    frame(HEADERS, END_HEADERS, stream, &encoder.encode(fields))
}

/// What both sides say before the first frame of the WebSocket.
pub(crate) fn opening(host: &str, path: &str, extensions: Option<&str>) -> Vec<(Direction, Vec<u8>)> {
    let (mut client, mut server) = (loona_hpack::Encoder::new(), loona_hpack::Encoder::new());
    let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &[])].concat();
    // SETTINGS_ENABLE_CONNECT_PROTOCOL
    let settings = frame(SETTINGS, 0, 0, &[0, 8, 0, 0, 0, 1]);
    let other = [(":method", "POST"), (":scheme", "https"), (":authority", host), (":path", "/other")];
    let connect = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":authority", host),
        (":path", path),
        ("sec-websocket-version", "13"),
        ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"),
    ];
    let agreed = extensions.map(|extensions| ("sec-websocket-extensions", extensions));
    let accepted: Vec<_> = [(":status", "200")].into_iter().chain(agreed).collect();
    vec![
        (Direction::Write, preface),
        (Direction::Read, settings),
        (Direction::Write, headers(&mut client, 1, &other)),
        (Direction::Write, headers(&mut client, STREAM, &connect)),
        (Direction::Read, headers(&mut server, STREAM, &accepted)),
    ]
}

/// A piece of the WebSocket; behind one of the client's a piece of the other request.
pub(crate) fn data(direction: Direction, piece: &[u8]) -> Vec<u8> {
    let mut frames: Vec<u8> =
        piece.chunks(MAX_FRAME).flat_map(|piece| frame(DATA, 0, STREAM, piece)).collect();
    if direction == Direction::Write {
        frames.extend(frame(DATA, 0, 1, b"something else"));
    }
    frames
}

/// The sender has nothing more to say.
pub(crate) fn end() -> Vec<u8> {
    frame(DATA, END_STREAM, STREAM, &[])
}
