//! The model in a `multipart/form-data` body: uploads of audio and images name it in a field.

use memchr::memmem;

/// How a field says its name.
const NAME: &[u8] = b"name=\"model\"";
/// Longest model name that is kept.
const MAX_VALUE: usize = 256;
/// So much of a field's other headers may stand between its name and its value.
const MAX_HEADERS: usize = 512;

/// Looks for the field in pieces of any size.
#[derive(Default)]
pub(super) struct Form {
    state: State,
    /// What was kept because a name may begin in it, or the value so far.
    kept: Vec<u8>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Looking,
    /// In the headers after the name.
    Headers,
    Value,
    Done,
}

impl Form {
    /// Whether a body that begins so is a form: JSON never begins with the dashes of a boundary.
    pub(super) fn begins(body: &[u8]) -> bool {
        body.first() == Some(&b'-')
    }

    /// Reads the next piece; returns the model once it is there.
    pub(super) fn push(&mut self, mut data: &[u8]) -> Option<String> {
        if self.state == State::Looking {
            // A name that its piece cuts is found in what was kept of the piece before.
            let mut seam = std::mem::take(&mut self.kept);
            seam.extend_from_slice(&data[..data.len().min(NAME.len() - 1)]);
            let before = seam.len() - data.len().min(NAME.len() - 1);
            if let Some(at) = memmem::find(&seam, NAME) {
                data = &data[at + NAME.len() - before..];
                self.state = State::Headers;
            } else if let Some(at) = memmem::find(data, NAME) {
                data = &data[at + NAME.len()..];
                self.state = State::Headers;
            } else {
                let tail = if data.len() < NAME.len() { &seam[..] } else { data };
                self.kept = tail[tail.len().saturating_sub(NAME.len() - 1)..].to_vec();
                return None;
            }
        }
        for (at, &byte) in data.iter().enumerate() {
            match self.state {
                State::Looking | State::Done => break,
                State::Headers => {
                    self.kept.push(byte);
                    if self.kept.ends_with(b"\r\n\r\n") || self.kept.ends_with(b"\n\n") {
                        self.kept.clear();
                        self.state = State::Value;
                    } else if self.kept.len() > MAX_HEADERS {
                        self.kept = Vec::new();
                        self.state = State::Looking;
                        return self.push(&data[at + 1..]);
                    }
                }
                State::Value if byte == b'\r' || byte == b'\n' => {
                    self.state = State::Done;
                    let value = std::mem::take(&mut self.kept);
                    return String::from_utf8(value).ok().filter(|value| !value.is_empty());
                }
                State::Value if self.kept.len() < MAX_VALUE => self.kept.push(byte),
                State::Value => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_found_wherever_it_stands() {
        let file = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"name=\"\r\n\r\nname=\"mod\0\r\n";
        let model = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\nContent-Type: text/plain\r\n\r\nwhisper-1\r\n";
        for body in [format!("{file}{model}--b--"), format!("{model}{file}--b--")] {
            assert!(Form::begins(body.as_bytes()));
            for size in 1..body.len() {
                let mut form = Form::default();
                let found: Vec<_> =
                    body.as_bytes().chunks(size).filter_map(|piece| form.push(piece)).collect();
                assert_eq!(found, ["whisper-1"], "{size} at a time");
            }
        }
        let mut form = Form::default();
        assert_eq!(form.push(file.as_bytes()), None);
        assert_eq!(form.push("name=\"model\"".repeat(2000).as_bytes()), None);
        assert!(form.kept.len() <= MAX_HEADERS + 1);
    }
}
