//! The Responses API over WebSocket: an upgrade, own frames, and `permessage-deflate` where the
//! client offers it, with the window kept from message to message.

use std::io;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use hyper::{HeaderMap, Request, body::Incoming, header, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Asked, SERVED_MODEL, transcript::Transcript};
use crate::scenario::Scenario;

/// Largest frame that is read.
const MAX_FRAME: usize = 16 << 20;

/// What a compressed message leaves off its end (RFC 7692, section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Longest fragment of a message; every third is followed by a ping.
const FRAGMENT: usize = 700;

/// What the response to an upgrade says, or `None` where none was asked for.
pub(super) fn accept(headers: &HeaderMap) -> Option<Vec<(&'static str, String)>> {
    let value = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let wanted = value("upgrade").is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket"));
    let key = value("sec-websocket-key").filter(|_| wanted)?;
    // RFC 6455, section 4.2.2.
    let hash =
        digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes());
    let mut answer = vec![
        ("upgrade", "websocket".to_owned()),
        ("connection", "Upgrade".to_owned()),
        ("sec-websocket-accept", base64(hash.as_ref())),
    ];
    if offers_deflate(headers) {
        answer.push(("sec-websocket-extensions", "permessage-deflate".to_owned()));
    }
    Some(answer)
}

fn offers_deflate(headers: &HeaderMap) -> bool {
    let offers = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS).iter();
    offers.filter_map(|offer| offer.to_str().ok()).any(|offer| offer.contains("permessage-deflate"))
}

/// Serves the WebSocket that a request becomes.
pub(super) async fn serve(request: Request<Incoming>, transcript: &Transcript) -> Result<()> {
    let path = request.uri().path().to_owned();
    let deflate = offers_deflate(request.headers());
    let stream = TokioIo::new(hyper::upgrade::on(request).await?);
    let mut socket = Socket {
        stream,
        inflate: deflate.then(|| Decompress::new(false)),
        deflate: deflate.then(|| Compress::new(Compression::fast(), false)),
    };
    while let Some(message) = socket.receive().await? {
        let event: Value = serde_json::from_slice(&message)?;
        if event["type"] != "response.create" {
            continue;
        }
        if event["generate"] == false {
            for kind in ["response.created", "response.completed"] {
                let response = json!({
                    "id": "resp_warmup", "model": SERVED_MODEL, "output": [], "status": &kind[9..],
                    "usage": {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0},
                });
                socket.send(json!({"type": kind, "response": response}).to_string().as_bytes()).await?;
            }
            continue;
        }
        let mut asked = Asked::new("", &path, "", &event).context("no such endpoint, or no model")?;
        asked.streaming = true;
        let scenario: Scenario = asked.model.parse()?;
        let id = transcript.note(&asked, &scenario, &path, message.len());
        tokio::time::sleep(scenario.wait_time()).await;
        // The same events as of the stream, without its framing.
        let pieces = asked.answer(&scenario, &id).pieces;
        let cut = scenario.cut.map_or(pieces.len(), |cut| cut as usize);
        for piece in pieces.iter().take(cut) {
            let text = std::str::from_utf8(piece)?;
            let (_, data) = text.split_once("data: ").context("an event without data")?;
            socket.send(data.trim_end().as_bytes()).await?;
            tokio::time::sleep(scenario.delay_time()).await;
        }
        if cut < pieces.len() {
            return Ok(());
        }
    }
    Ok(())
}

struct Socket {
    stream: TokioIo<Upgraded>,
    inflate: Option<Decompress>,
    deflate: Option<Compress>,
}

impl Socket {
    /// The client's next message; `None` after its goodbye, which is answered.
    async fn receive(&mut self) -> Result<Option<Bytes>> {
        let (mut message, mut compressed) = (Vec::new(), false);
        loop {
            let first = match self.stream.read_u8().await {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                first => first?,
            };
            let second = self.stream.read_u8().await?;
            ensure!(second & 0x80 != 0, "a client masks its frames");
            let length = match second & 0x7f {
                126 => usize::from(self.stream.read_u16().await?),
                127 => usize::try_from(self.stream.read_u64().await?)?,
                length => usize::from(length),
            };
            ensure!(length <= MAX_FRAME, "a frame of {length} bytes");
            let mut key = [0; 4];
            self.stream.read_exact(&mut key).await?;
            let mut payload = vec![0; length];
            self.stream.read_exact(&mut payload).await?;
            payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
            match first & 0x0f {
                8 => {
                    self.frame(0x88, &payload).await?;
                    return Ok(None);
                }
                9 | 10 => continue,
                1 | 2 => compressed = first & 0x40 != 0,
                0 => {}
                other => bail!("opcode {other}"),
            }
            message.extend(payload);
            if first & 0x80 != 0 {
                break;
            }
        }
        if !compressed {
            return Ok(Some(message.into()));
        }
        message.extend(TAIL);
        let inflate = self.inflate.as_mut().context("compressed, which was not agreed on")?;
        let mut clear = Vec::with_capacity(message.len() * 4);
        let start = inflate.total_in();
        while inflate.total_in() - start < message.len() as u64 {
            clear.reserve(4096);
            let at = (inflate.total_in() - start) as usize;
            inflate.decompress_vec(&message[at..], &mut clear, FlushDecompress::Sync)?;
        }
        Ok(Some(clear.into()))
    }

    /// Sends a text message in fragments.
    async fn send(&mut self, text: &[u8]) -> Result<()> {
        let (payload, rsv) = match &mut self.deflate {
            None => (text.to_vec(), 0),
            Some(deflate) => {
                let mut coded = Vec::with_capacity(text.len() + 1024);
                deflate.compress_vec(text, &mut coded, FlushCompress::Sync)?;
                ensure!(coded.ends_with(&TAIL), "not flushed");
                coded.truncate(coded.len() - TAIL.len());
                (coded, 0x40)
            }
        };
        let last = payload.chunks(FRAGMENT).count().saturating_sub(1);
        for (at, fragment) in payload.chunks(FRAGMENT).enumerate() {
            let first = if at == 0 { 1 | rsv } else { 0 };
            self.frame(if at == last { 0x80 | first } else { first }, fragment).await?;
            if at % 3 == 1 {
                self.frame(0x89, b"still there?").await?;
            }
        }
        Ok(())
    }

    async fn frame(&mut self, first: u8, payload: &[u8]) -> Result<()> {
        let mut frame = vec![first];
        match u16::try_from(payload.len())? {
            length @ 0..=125 => frame.push(length as u8),
            length => {
                frame.push(126);
                frame.extend(length.to_be_bytes());
            }
        }
        frame.extend(payload);
        self.stream.write_all(&frame).await?;
        Ok(self.stream.flush().await?)
    }
}

pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let padded = [0, group[0], group.get(1).copied().unwrap_or(0), group.get(2).copied().unwrap_or(0)];
        let bits = u32::from_be_bytes(padded);
        for at in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * at)) as usize & 63];
            text.push(if at <= group.len() { digit as char } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_as_in_the_rfc() {
        // RFC 4648, section 10.
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(super::base64(plain.as_bytes()), coded);
        }
    }
}
