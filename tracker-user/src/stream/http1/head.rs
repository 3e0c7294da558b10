//! Request and response heads: what is kept of them, and what they say about the body.

use std::mem::MaybeUninit;

use httparse::{EMPTY_HEADER, Header, ParserConfig};
use memchr::memchr;

use super::{
    MAX_HEAD, Malformed,
    body::{Chunked, Framing},
    start::Rigour,
};
use crate::stream::{RequestHead, ResponseHead, coding::Coding};

/// Headers, beside those that have a field of their own, that are handed upstairs, and nothing else
/// is: where a provider reports the model, the usage or the id outside the body, and a client which attempt it is.
pub(in crate::stream) const KEPT_HEADERS: [&str; 17] = [
    "amz-sdk-request",                              // which attempt it is: Amazon's SDKs
    "grpc-encoding",                                // how messages are compressed
    "grpc-status",                                  // in trailers, or in the head where nothing follows
    "request-id",                                   // Anthropic
    "sec-websocket-extensions",                     // how messages are compressed
    "upgrade",                                      // to WebSocket, or not
    "x-amzn-bedrock-cache-read-input-token-count",  // Bedrock InvokeModel
    "x-amzn-bedrock-cache-write-input-token-count", // Bedrock InvokeModel
    "x-amzn-bedrock-input-token-count",             // Bedrock InvokeModel
    "x-amzn-bedrock-output-token-count",            // Bedrock InvokeModel
    "x-amzn-errortype",                             // Bedrock
    "x-amzn-requestid",                             // Bedrock
    "x-generated-tokens",                           // TGI
    "x-llm-tracker-labels",                         // what the client says that the call is for
    "x-ms-served-model",                            // Azure
    "x-prompt-tokens",                              // TGI
    "x-stainless-retry-count",                      // which attempt it is: OpenAI's and Anthropic's SDKs
];

/// What the tokens begin with that subscriptions are given, where those for calls that are paid one by one
/// begin otherwise: Anthropic's of Claude Code, which are made by a login (`claude setup-token`).
const SUBSCRIPTION_TOKENS: [&[u8]; 1] = [b"sk-ant-oat"];

/// All that is kept of an `Authorization`: whose a token is, as far as its first letters tell; else nothing.
pub(in crate::stream) fn beginning_of_credential(value: &[u8]) -> &'static [u8] {
    const BEARER: usize = b"Bearer ".len();
    let Some((scheme, token)) = value.split_at_checked(BEARER) else { return b"" };
    let bearer = scheme.eq_ignore_ascii_case(b"bearer ");
    let known =
        SUBSCRIPTION_TOKENS.iter().find(|start| bearer && token.trim_ascii_start().starts_with(start));
    known.copied().unwrap_or_default()
}

/// Longest header value that is kept; those that matter have a few dozen bytes.
const MAX_VALUE: usize = 1024;

/// Most header lines in a head.
const MAX_HEADERS: usize = 256;

/// Most lines in a trailer section.
const MAX_TRAILERS: usize = 64;

/// What the method means for the framing of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stream) enum Method {
    Head,
    Connect,
    Other,
}

/// How a body is wrapped.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::stream) struct Wrapping {
    /// Where it ends; `Length(0)` where there is none.
    pub(in crate::stream) framing: Framing,
    /// Its codings in the order in which they were applied; `None` if one is not known here.
    pub(in crate::stream) codings: Option<Vec<Coding>>,
}

/// A request's head, read.
#[derive(Debug)]
pub(in crate::stream) struct Request {
    pub(in crate::stream) head: RequestHead,
    pub(in crate::stream) method: Method,
    pub(in crate::stream) body: Wrapping,
    /// `Expect: 100-continue`: the body may never come.
    pub(in crate::stream) expects_continue: bool,
}

/// A response's head, read.
#[derive(Debug)]
pub(in crate::stream) struct Response {
    pub(in crate::stream) head: ResponseHead,
    pub(in crate::stream) body: Wrapping,
}

/// The end of the head that `bytes` begin with: after its empty line. Only line ends at or after
/// `from` are looked at.
pub(in crate::stream) fn end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(found) = memchr(b'\n', bytes.get(at..)?) {
        at += found + 1;
        match bytes[at..] {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
    None
}

/// Reads a complete request head.
pub(in crate::stream) fn request(bytes: &[u8], rigour: Rigour) -> Result<Request, Malformed> {
    let mut headers = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut []);
    let mut config = ParserConfig::default();
    config.ignore_invalid_headers_in_requests(rigour == Rigour::InStep);
    match config.parse_request_with_uninit_headers(&mut parsed, bytes, &mut headers) {
        Ok(status) if status.is_complete() => {}
        _ => return Err(Malformed),
    }
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else { return Err(Malformed) };
    let fields = Fields::collect(parsed.headers)?;
    let kind = match method {
        "HEAD" => Method::Head,
        "CONNECT" => Method::Connect,
        _ => Method::Other,
    };
    let (authority, path) = split_target(target, kind);
    let (host, port) = authority.or(fields.host).map_or((None, None), split_authority);
    let framing = match (fields.transfer, fields.length) {
        (Transfer::Chunked, _) => Framing::Chunked(Chunked::START),
        (Transfer::Other, _) => return Err(Malformed),
        (Transfer::None, length) => Framing::Length(length.unwrap_or(0)),
    };
    let head = RequestHead {
        method: method.to_owned(),
        path,
        host,
        port,
        content_type: fields.content_type,
        subscription: fields.subscription,
        headers: fields.kept,
    };
    let body = Wrapping { framing, codings: fields.codings };
    Ok(Request { head, method: kind, body, expects_continue: fields.expects_continue })
}

/// Reads a complete response head; `method` is that of the request it answers.
pub(in crate::stream) fn response(
    bytes: &[u8],
    rigour: Rigour,
    method: Method,
) -> Result<Response, Malformed> {
    let mut headers = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    let mut config = ParserConfig::default();
    config
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true)
        .ignore_invalid_headers_in_responses(rigour == Rigour::InStep);
    match config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut headers) {
        Ok(status) if status.is_complete() => {}
        _ => return Err(Malformed),
    }
    let Some(status) = parsed.code else { return Err(Malformed) };
    let fields = Fields::collect(parsed.headers)?;
    let bodiless = matches!(status, 100..=199 | 204 | 304)
        || method == Method::Head
        || method == Method::Connect && (200..300).contains(&status);
    let framing = match (fields.transfer, fields.length) {
        _ if bodiless => Framing::Length(0),
        (Transfer::Chunked, _) => Framing::Chunked(Chunked::START),
        (Transfer::None, Some(length)) => Framing::Length(length),
        (Transfer::Other, _) | (Transfer::None, None) => Framing::UntilClose,
    };
    let head = ResponseHead { status, content_type: fields.content_type, headers: fields.kept };
    Ok(Response { head, body: Wrapping { framing, codings: fields.codings } })
}

/// What is kept of a trailer section (RFC 9112, section 7.1.2): where its lines are no fields, nothing.
pub(in crate::stream) fn trailers(section: &[u8]) -> Vec<(&'static str, String)> {
    if section.is_empty() {
        return Vec::new();
    }
    let mut headers = [EMPTY_HEADER; MAX_TRAILERS];
    let lines = [section, b"\r\n"].concat();
    match httparse::parse_headers(&lines, &mut headers) {
        Ok(httparse::Status::Complete((_, headers))) => {
            Fields::collect(headers).map_or_else(|_| Vec::new(), |fields| fields.kept)
        }
        _ => Vec::new(),
    }
}

/// What `Transfer-Encoding` says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Transfer {
    None,
    /// `chunked` came last.
    Chunked,
    Other,
}

/// The header fields that matter here.
struct Fields<'a> {
    host: Option<&'a [u8]>,
    content_type: Option<String>,
    length: Option<u64>,
    transfer: Transfer,
    codings: Option<Vec<Coding>>,
    expects_continue: bool,
    subscription: bool,
    kept: Vec<(&'static str, String)>,
}

impl<'a> Fields<'a> {
    fn collect(headers: &[Header<'a>]) -> Result<Self, Malformed> {
        let mut fields = Self {
            host: None,
            content_type: None,
            length: None,
            transfer: Transfer::None,
            codings: Some(Vec::new()),
            expects_continue: false,
            subscription: false,
            kept: Vec::new(),
        };
        // Transfer codings were applied after content codings, wherever their header stands.
        let mut transfer_codings = Some(Vec::new());
        for header in headers.iter().take_while(|header| **header != EMPTY_HEADER) {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            if is("host") {
                fields.host = fields.host.or(Some(header.value));
            } else if is("content-type") {
                fields.content_type = text(header.value);
            } else if is("content-length") {
                for value in list(header.value) {
                    let length = decimal(value).ok_or(Malformed)?;
                    if fields.length.replace(length).is_some_and(|earlier| earlier != length) {
                        return Err(Malformed);
                    }
                }
            } else if is("transfer-encoding") {
                for value in list(header.value) {
                    fields.transfer = Transfer::Other;
                    if value.eq_ignore_ascii_case(b"chunked") {
                        fields.transfer = Transfer::Chunked;
                    } else {
                        add_coding(&mut transfer_codings, value);
                    }
                }
            } else if is("content-encoding") {
                list(header.value).for_each(|value| add_coding(&mut fields.codings, value));
            } else if is("expect") {
                fields.expects_continue = header.value.eq_ignore_ascii_case(b"100-continue");
            } else if is("authorization") {
                fields.subscription = !beginning_of_credential(header.value).is_empty();
            } else if let Some(name) = KEPT_HEADERS.iter().find(|name| is(name))
                && let Some(value) = text(header.value)
                && fields.kept.len() < KEPT_HEADERS.len()
            {
                fields.kept.push((name, value));
            }
        }
        fields.codings = fields.codings.zip(transfer_codings).map(|(mut content, transfer)| {
            content.extend(transfer);
            content
        });
        Ok(fields)
    }
}

pub(in crate::stream) fn add_coding(codings: &mut Option<Vec<Coding>>, name: &[u8]) {
    if name.eq_ignore_ascii_case(b"identity") {
        return;
    }
    *codings = codings.take().zip(Coding::named(name)).map(|(mut codings, coding)| {
        codings.push(coding);
        codings
    });
}

/// The elements of a comma-separated field value (RFC 9110, section 5.6.1).
pub(in crate::stream) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

pub(in crate::stream) fn text(value: &[u8]) -> Option<String> {
    (value.len() <= MAX_VALUE).then(|| String::from_utf8_lossy(value).into_owned())
}

/// Authority, where the target has one, and path without query (RFC 9112, section 3.2).
pub(in crate::stream) fn split_target(target: &str, method: Method) -> (Option<&[u8]>, String) {
    if method == Method::Connect {
        return (Some(target.as_bytes()), String::new());
    }
    let (authority, rest) = match target.split_once("://") {
        // A path may contain `://` too, in its query for one.
        Some((scheme, after)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            let end = after.find(['/', '?', '#']).unwrap_or(after.len());
            (Some(&after.as_bytes()[..end]), &after[end..])
        }
        _ => (None, target),
    };
    let path = &rest[..rest.find(['?', '#']).unwrap_or(rest.len())];
    (authority, if path.is_empty() { "/".to_owned() } else { path.to_owned() })
}

/// Host and port; user information, which can hold a password, is dropped.
pub(in crate::stream) fn split_authority(authority: &[u8]) -> (Option<String>, Option<u16>) {
    let authority = authority.rsplit(|byte| *byte == b'@').next().unwrap_or_default();
    let Some(authority) = text(authority.trim_ascii()) else { return (None, None) };
    let (host, port) = match authority.rsplit_once(':') {
        // A colon inside brackets belongs to an IPv6 address.
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (authority.as_str(), None),
    };
    let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
    ((!host.is_empty()).then_some(host), port)
}

const _: () = assert!(MAX_VALUE < MAX_HEAD);

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &str) -> Request {
        assert_eq!(end(head.as_bytes(), 0), Some(head.len()));
        request(head.as_bytes(), Rigour::InStep).unwrap()
    }

    fn answer(head: &str, method: Method) -> Response {
        response(head.as_bytes(), Rigour::InStep, method).unwrap()
    }

    #[test]
    fn secrets_stay_behind() {
        let read = read(
            "POST /v1/models/m:generate?key=hunter2#x HTTP/1.1\r\nHost: API.Example.com:8443\r\n\
             Authorization: Bearer hunter2\r\nCookie: hunter2\r\nX-Api-Key: hunter2\r\n\
             Content-Type: application/json; charset=utf-8\r\nX-AMZN-RequestId: r1\r\n\r\n",
        );
        assert_eq!(
            read.head,
            RequestHead {
                method: "POST".into(),
                path: "/v1/models/m:generate".into(),
                host: Some("api.example.com".into()),
                port: Some(8443),
                content_type: Some("application/json; charset=utf-8".into()),
                subscription: false,
                headers: vec![("x-amzn-requestid", "r1".into())],
            }
        );
        assert!(!format!("{read:?}").contains("hunter2"));
    }

    #[test]
    fn of_a_credential_only_its_kind_is_kept() {
        for (value, subscription) in [
            ("Bearer sk-ant-oat01-hunter2", true),
            ("bearer  sk-ant-oat01-hunter2", true),
            ("Bearer sk-ant-api03-hunter2", false),
            ("Bearer sk-proj-sk-ant-oat01", false),
            ("Basic sk-ant-oat01", false),
            ("sk-ant-oat01", false),
            ("", false),
        ] {
            let read = read(&format!("POST / HTTP/1.1\r\nHost: h\r\nAuthorization: {value}\r\n\r\n"));
            assert_eq!(read.head.subscription, subscription, "{value}");
            assert!(!format!("{read:?}").contains("hunter2"));
        }
    }

    #[test]
    fn forms_of_the_target() {
        let parts = |target: &str, method: &str| {
            let head = read(&format!("{method} {target} HTTP/1.1\r\nHost: h:1\r\n\r\n")).head;
            (head.host.unwrap(), head.port, head.path)
        };
        assert_eq!(parts("/a?u=http://b/", "GET"), ("h".into(), Some(1), "/a".into()));
        assert_eq!(parts("https://u:p@X.com/a?k", "GET"), ("x.com".into(), None, "/a".into()));
        assert_eq!(parts("https://x.com?k", "GET"), ("x.com".into(), None, "/".into()));
        assert_eq!(parts("http://[::1]:8/", "GET"), ("::1".into(), Some(8), "/".into()));
        assert_eq!(parts("x.com:443", "CONNECT"), ("x.com".into(), Some(443), String::new()));
        assert_eq!(parts("*", "OPTIONS"), ("h".into(), Some(1), "*".into()));
    }

    #[test]
    fn framing_of_requests() {
        let framing = |fields: &str| {
            request(format!("POST / HTTP/1.1\r\n{fields}\r\n").as_bytes(), Rigour::InStep)
                .map(|r| r.body.framing)
        };
        assert_eq!(framing(""), Ok(Framing::Length(0)));
        assert_eq!(framing("content-length: 5\r\nContent-Length: 5, 5\r\n"), Ok(Framing::Length(5)));
        assert_eq!(
            framing("Content-Length: 5\nTransfer-Encoding: Chunked\n"),
            Ok(Framing::Chunked(Chunked::START))
        );
        for bad in ["+5", "5, 6", "99999999999999999999", "x"] {
            assert_eq!(framing(&format!("Content-Length: {bad}\r\n")), Err(Malformed));
        }
        assert_eq!(framing("Transfer-Encoding: chunked, gzip\r\n"), Err(Malformed));
    }

    #[test]
    fn framing_of_responses() {
        let framing = |status: &str, fields: &str, method| {
            answer(&format!("HTTP/1.1 {status}\r\n{fields}\r\n"), method).body.framing
        };
        let length = "Content-Length: 5\r\n";
        assert_eq!(framing("200 OK", length, Method::Other), Framing::Length(5));
        assert_eq!(framing("200", "", Method::Other), Framing::UntilClose);
        assert_eq!(framing("200 OK", "Transfer-Encoding: gzip\r\n", Method::Other), Framing::UntilClose);
        for (status, method) in [("204 x", Method::Other), ("304 x", Method::Other), ("200 x", Method::Head)]
        {
            assert_eq!(framing(status, length, method), Framing::Length(0));
        }
        assert_eq!(framing("200 OK", "", Method::Connect), Framing::Length(0));
        assert_eq!(framing("407 x", length, Method::Connect), Framing::Length(5));
    }

    #[test]
    fn codings_in_order() {
        let codings =
            |fields: &str| answer(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), Method::Other).body.codings;
        assert_eq!(codings(""), Some(vec![]));
        assert_eq!(codings("Content-Encoding: identity\r\n"), Some(vec![]));
        assert_eq!(
            codings(
                "Transfer-Encoding: x-gzip, chunked\r\nContent-Encoding: BR,\r\nContent-Encoding: zstd\r\n"
            ),
            Some(vec![Coding::Brotli, Coding::Zstd, Coding::Gzip])
        );
        assert_eq!(codings("Content-Encoding: gzip, aes128gcm\r\n"), None);
    }

    #[test]
    fn folded_and_broken_lines() {
        let folded = "HTTP/1.1 200 OK\r\nX-Note: a\r\n b\r\nContent-Length : 5\r\nno colon\r\n\r\n";
        assert_eq!(answer(folded, Method::Other).body.framing, Framing::Length(5));
        assert!(response(folded.as_bytes(), Rigour::Seeking, Method::Other).is_err());
    }

    #[test]
    fn the_end_of_a_head() {
        assert_eq!(end(b"GET / HTTP/1.1\n\nrest", 0), Some(16));
        assert_eq!(end(b"a\r\n\r\nrest", 0), Some(5));
        assert_eq!(end(b"a\r\n\r", 0), None);
        assert_eq!(end(b"a\r\n\r\n", 2), Some(5));
        assert_eq!(end(b"a", 7), None);
    }
}
