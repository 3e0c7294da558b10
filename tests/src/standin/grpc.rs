//! Gemini's gRPC methods, over HTTP/2 with trailers.

use std::{convert::Infallible, io};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, channel::Channel};
use hyper::{HeaderMap, Response, header::HeaderValue};

use super::{Asked, Body, Endpoint, SERVED_MODEL, TOOL, Vendor, content};
use crate::scenario::Scenario;

/// The beginning of the paths that are answered.
const SERVICE: &str = "/google.ai.generativelanguage.v1beta.GenerativeService/";

impl Asked {
    /// What a call asks for: its only message has the model in its first field.
    pub(super) fn by_rpc(path: &str, body: &[u8]) -> Option<Self> {
        let method = path.strip_prefix(SERVICE)?;
        let [0, _, _, _, _, 0x0a, length, rest @ ..] = body else { return None };
        let model = std::str::from_utf8(rest.get(..usize::from(*length))?).ok()?;
        Some(Self {
            endpoint: Endpoint::Generate,
            vendor: Vendor::OpenAi,
            model: model.strip_prefix("models/")?.to_owned(),
            streaming: method == "StreamGenerateContent",
            include_usage: true,
            event_stream: false,
            shell: None,
        })
    }
}

/// The answer: messages and the status behind them, or in their place where the scenario has an error.
pub(super) fn respond(asked: &Asked, scenario: &Scenario, id: &str) -> Response<Body> {
    let status = match scenario.status {
        Some(429) => "8",
        Some(400..) => "13",
        _ => "0",
    };
    if status != "0" {
        let mut response = Response::new(Empty::new().map_err(never).boxed());
        let headers = response.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from_static(status));
        return response;
    }
    let messages = messages(asked, scenario, id);
    let (delay, cut) = (scenario.delay_time(), scenario.cut);
    let (mut sender, body) = Channel::<Bytes, io::Error>::new(1);
    tokio::spawn(async move {
        for (number, message) in messages.into_iter().enumerate() {
            if cut.is_some_and(|cut| number >= cut as usize) {
                return sender.abort(io::Error::other("cut, as asked"));
            }
            tokio::time::sleep(delay).await;
            if sender.send_data(message).await.is_err() {
                return; // The client has gone.
            }
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static(status));
        let _ = sender.send_trailers(trailers).await;
    });
    let mut response = Response::new(body.boxed());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

fn never(never: Infallible) -> io::Error {
    match never {}
}

/// `GenerateContentResponse`s, framed.
fn messages(asked: &Asked, scenario: &Scenario, id: &str) -> Vec<Bytes> {
    let parts: Vec<_> = if scenario.tool {
        vec![field(4, &field(1, TOOL.as_bytes()))]
    } else {
        let texts = content(scenario, if asked.streaming { 3 } else { 1 });
        texts.iter().map(|text| field(2, text.as_bytes())).collect()
    };
    let last = parts.len().saturating_sub(1);
    let message = |(number, part): (usize, Vec<u8>)| {
        let mut candidate = field(1, &field(1, &part));
        let mut usage = Vec::new();
        if number == last {
            // STOP
            candidate.extend(count(2, 1));
            let thoughts = scenario.reasoning.unwrap_or(0).min(scenario.output);
            usage.extend(count(1, scenario.input));
            usage.extend(count(2, scenario.output - thoughts));
            usage.extend(count(3, scenario.input + scenario.output));
            usage.extend(scenario.cached.map(|cached| count(4, cached)).unwrap_or_default());
            usage.extend(scenario.reasoning.map(|_| count(10, thoughts)).unwrap_or_default());
        }
        let model = field(4, SERVED_MODEL.as_bytes());
        let message = [field(1, &candidate), field(3, &usage), model, field(5, id.as_bytes())].concat();
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
        Bytes::from([&[0], &length[..], &message].concat())
    };
    parts.into_iter().enumerate().map(message).collect()
}

/// A field of Protocol Buffers that is a string or a message.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    varint(&mut out, value.len() as u64);
    out.extend_from_slice(value);
    out
}

/// One that is a number.
fn count(number: u8, value: u64) -> Vec<u8> {
    let mut out = vec![number << 3];
    varint(&mut out, value);
    out
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
