//! What the first bytes of a message say, before its head is complete.

/// What bytes at a possible message start can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stream) enum Start {
    /// A request line, whole.
    Request,
    /// A status line, whole.
    Response,
    /// The HTTP/2 client preface or a server's first SETTINGS frame.
    Http2,
    /// So far it could be one of the above.
    Undecided,
    /// None of them.
    No,
}

/// How sure one has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stream) enum Rigour {
    /// The previous message ended here: any token may be a method.
    InStep,
    /// Nothing is known of what came before: only registered methods, so that the end of some body
    /// glued to a request line does not pass for a new method.
    Seeking,
}

/// RFC 9112, section 3: `method SP request-target SP HTTP-version`.
const VERSION: &[u8] = b"HTTP/1.";
/// RFC 9113, section 3.4.
pub(in crate::stream) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const METHODS: [&[u8]; 9] =
    [b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"HEAD", b"OPTIONS", b"CONNECT", b"TRACE"];
const MAX_METHOD: usize = 24;

impl Start {
    /// Judges the first bytes of a message.
    pub(in crate::stream) fn of(bytes: &[u8], rigour: Rigour) -> Self {
        if bytes.is_empty() {
            return Self::Undecided;
        }
        let verdicts = [response(bytes), preface(bytes), settings(bytes), request(bytes, rigour)];
        let decided = verdicts.into_iter().find(|verdict| !matches!(verdict, Self::No | Self::Undecided));
        decided.unwrap_or(if verdicts.contains(&Self::Undecided) { Self::Undecided } else { Self::No })
    }
}

fn response(bytes: &[u8]) -> Start {
    const SHAPE: &[u8] = b"HTTP/1.d ddd";
    let fits = |(&byte, &want): (&u8, &u8)| if want == b'd' { byte.is_ascii_digit() } else { byte == want };
    if !bytes.iter().zip(SHAPE).all(fits) {
        return Start::No;
    }
    match bytes.get(SHAPE.len()) {
        None => Start::Undecided,
        Some(b' ' | b'\r' | b'\n') => Start::Response,
        Some(_) => Start::No,
    }
}

fn preface(bytes: &[u8]) -> Start {
    if bytes.starts_with(PREFACE) {
        Start::Http2
    } else if PREFACE.starts_with(bytes) {
        Start::Undecided
    } else {
        Start::No
    }
}

/// RFC 9113, sections 4.1 and 3.4: a SETTINGS frame, on stream 0, without ACK, six bytes a setting.
fn settings(bytes: &[u8]) -> Start {
    let header = &bytes[..bytes.len().min(9)];
    let fits = header.iter().enumerate().all(|(at, &byte)| match at {
        2 => byte.is_multiple_of(6),
        3 => byte == 4,
        _ => byte == 0,
    });
    match (fits, header.len()) {
        (false, _) => Start::No,
        (true, 9) => Start::Http2,
        (true, _) => Start::Undecided,
    }
}

fn request(bytes: &[u8], rigour: Rigour) -> Start {
    let method_end = bytes.iter().take(MAX_METHOD + 1).position(|byte| !is_token(*byte));
    let method = &bytes[..method_end.unwrap_or(bytes.len()).min(MAX_METHOD)];
    let known = match (rigour, method_end) {
        (Rigour::InStep, _) => !method.is_empty(),
        (Rigour::Seeking, Some(_)) => METHODS.contains(&method),
        (Rigour::Seeking, None) => METHODS.iter().any(|known| known.starts_with(method)),
    };
    match method_end {
        _ if !known => Start::No,
        None if bytes.len() > MAX_METHOD => Start::No,
        None => Start::Undecided,
        Some(end) if bytes[end] == b' ' => target(&bytes[end + 1..]),
        Some(_) => Start::No,
    }
}

/// What follows the method and its space.
fn target(bytes: &[u8]) -> Start {
    let Some(end) = bytes.iter().position(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control())
    else {
        return Start::Undecided;
    };
    if end == 0 || bytes[end] != b' ' {
        return Start::No;
    }
    let version = &bytes[end + 1..];
    if version.len() <= VERSION.len() {
        return if VERSION.starts_with(version) { Start::Undecided } else { Start::No };
    }
    match version[VERSION.len()..] {
        _ if !version.starts_with(VERSION) => Start::No,
        [digit, b'\n', ..] | [digit, b'\r', b'\n', ..] if digit.is_ascii_digit() => Start::Request,
        [digit] | [digit, b'\r'] if digit.is_ascii_digit() => Start::Undecided,
        _ => Start::No,
    }
}

/// `tchar` of RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: &[u8] = b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64";

    fn seeking(bytes: &[u8]) -> Start {
        Start::of(bytes, Rigour::Seeking)
    }

    #[test]
    fn every_prefix_is_undecided_until_it_is_decided() {
        let messages: [(&[u8], Start); 6] = [
            (b"POST /v1/messages?key=1 HTTP/1.1\r\n", Start::Request),
            (b"GET http://host/ HTTP/1.0\n", Start::Request),
            (b"CONNECT host:443 HTTP/1.1\r\n", Start::Request),
            (b"HTTP/1.1 200 ", Start::Response),
            (PREFACE, Start::Http2),
            (&SETTINGS[..9], Start::Http2),
        ];
        for (message, verdict) in messages {
            for end in 0..message.len() {
                assert_eq!(seeking(&message[..end]), Start::Undecided, "{end}");
            }
            assert_eq!(seeking(message), verdict);
        }
    }

    #[test]
    fn what_only_resembles_a_start() {
        let others: [&[u8]; 10] = [
            b"PPOST / HTTP/1.1\r\n",
            b"POST  / HTTP/1.1\r\n",
            b"POST / HTTP/2.0\r\n",
            b"POST / HTTP/1.1 \r\n",
            b"POST /\r\n",
            b"POST / is how one posts",
            b"{\"model\":",
            b"HTTP/1.1 20x",
            b"HTTP/1.1 2000",
            b"\0\0\x12\x04\x01",
        ];
        for other in others {
            assert_eq!(seeking(other), Start::No, "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn in_step_any_token_is_a_method() {
        assert_eq!(Start::of(b"PROPFIND / HTTP/1.1\r\n", Rigour::InStep), Start::Request);
        assert_eq!(seeking(b"PROPFIND / HTTP/1.1\r\n"), Start::No);
        assert_eq!(Start::of(&[b'A'; MAX_METHOD + 1], Rigour::InStep), Start::No);
    }
}
