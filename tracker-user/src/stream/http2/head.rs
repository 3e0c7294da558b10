//! What a header block says of a message (RFC 9113, section 8.3).

use super::hpack::{Broken, Decoder, Name};
use crate::stream::{
    RequestHead, ResponseHead,
    coding::Coding,
    http1::head::{KEPT_HEADERS, Method, add_coding, list, split_authority, split_target, text},
};

/// Most bytes of names and values in a header list; what comes after them is not taken in. Servers
/// stop at 8 to 64 KiB.
const MAX_LIST: usize = 256 * 1024;

/// The fields of one block that matter.
#[derive(Debug, Default)]
pub(super) struct Fields {
    method: Option<String>,
    path: Option<String>,
    authority: Option<Vec<u8>>,
    host: Option<Vec<u8>>,
    scheme: bool,
    pub(super) status: Option<u16>,
    content_type: Option<String>,
    subscription: bool,
    codings: Vec<Coding>,
    unknown_coding: bool,
    kept: Vec<(&'static str, String)>,
    /// Some fields, or parts of them, could not be told: what is absent may still have been sent.
    pub(super) unknown: bool,
}

impl Fields {
    /// Of a block that could not be read.
    pub(super) fn unknown() -> Self {
        Self { unknown: true, ..Self::default() }
    }

    /// Reads a block. An error leaves what came before it.
    pub(super) fn read(decoder: &mut Decoder, block: &[u8]) -> (Self, Result<(), Broken>) {
        let mut fields = Self::default();
        let mut room = MAX_LIST;
        let read = decoder.decode(block, &mut |name, value| {
            room = room.saturating_sub(value.map_or(0, <[u8]>::len) + 1);
            match (name, value) {
                (Name::Other, _) => {}
                (Name::Known(name), Some(value)) if room > 0 => fields.add(name, value),
                _ => fields.unknown = true,
            }
        });
        fields.unknown |= read.is_err();
        (fields, read)
    }

    fn add(&mut self, name: &'static str, value: &[u8]) {
        let lossy = || String::from_utf8_lossy(value).into_owned();
        match name {
            ":method" => self.method = Some(lossy()),
            ":path" => self.path = Some(split_target(&lossy(), Method::Other).1),
            ":authority" => self.authority = Some(value.to_vec()),
            ":scheme" => self.scheme = true,
            ":status" => self.status = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok()),
            "host" => self.host = Some(value.to_vec()),
            "authorization" => self.subscription = !value.is_empty(),
            "content-type" => self.content_type = text(value),
            "content-encoding" => {
                let mut codings = Some(std::mem::take(&mut self.codings));
                list(value).for_each(|value| add_coding(&mut codings, value));
                self.unknown_coding |= codings.is_none();
                self.codings = codings.unwrap_or_default();
            }
            _ if (name == ":protocol" || KEPT_HEADERS.contains(&name))
                && self.kept.len() < KEPT_HEADERS.len() =>
            {
                self.kept.extend(text(value).map(|value| (name, value)));
            }
            _ => {}
        }
    }

    /// Only a request has one of these.
    pub(super) const fn are_of_request(&self) -> bool {
        self.method.is_some() || self.path.is_some() || self.scheme || self.authority.is_some()
    }

    /// The content codings; `None` if one is not known here.
    pub(super) fn codings(&mut self) -> Option<Vec<Coding>> {
        (!self.unknown_coding).then(|| std::mem::take(&mut self.codings))
    }

    /// Whether the body may have a coding that was not read.
    pub(super) fn codings_are_doubtful(&self) -> bool {
        self.unknown && self.codings.is_empty() && !self.unknown_coding
    }

    /// What is kept of trailers.
    pub(super) fn trailers(&self) -> &[(&'static str, String)] {
        &self.kept
    }

    /// The head of a request. What could not be told is empty or absent.
    pub(super) fn into_request(self) -> RequestHead {
        let authority = self.authority.or(self.host);
        let (host, port) = authority.as_deref().map_or((None, None), split_authority);
        RequestHead {
            method: self.method.unwrap_or_default(),
            path: self.path.unwrap_or_default(),
            host,
            port,
            content_type: self.content_type,
            subscription: self.subscription,
            headers: self.kept,
        }
    }

    /// The head of a response with this status.
    pub(super) fn into_response(self, status: u16) -> ResponseHead {
        ResponseHead { status, content_type: self.content_type, headers: self.kept }
    }
}
