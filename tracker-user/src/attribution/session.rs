//! What a process is run for: the session and the labels that the environment gives it which it was started
//! with. Of that environment nothing else is kept.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{self, BufRead},
};

use serde::Serialize;

use crate::baggage;

/// The variable with the session's name, those that it is part of before it: `nightly/suite-3`.
const NAME: &str = "LLM_TRACKER_SESSION";
/// The variable with the labels, in the form of `OTEL_RESOURCE_ATTRIBUTES`: `data_id=7,agent_id=planner`.
const LABELS: &str = "LLM_TRACKER_LABELS";
/// Longest name of a session, with all that it is part of, bytes.
const MAX_NAME: usize = 256;
/// Labels of a process, at most.
const MAX_LABELS: usize = 32;
/// Longest name of a label, bytes.
const MAX_KEY: usize = 64;
/// Longest value of a label, bytes.
const MAX_VALUE: usize = 256;
/// What of an environment is read, bytes: all that the kernel passes on unless somebody raised its limit.
const MAX_ENVIRONMENT: u64 = 2 * 1024 * 1024;

/// The session that a process runs in, and its labels; never neither.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Session {
    /// Its name; of a session within another, the other's before it: `nightly/suite-3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its labels, and those of the sessions that it is part of.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// Why a session cannot be called that, or have that label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The name.
    #[error(
        "a session's name has 1 to {MAX_NAME} bytes, with the names of those that it is part of, and no control characters"
    )]
    Name,
    /// The label's name.
    #[error("a label's name has 1 to {MAX_KEY} letters, digits, `_`, `-` and `.`, which `{0}` has not")]
    Key(String),
    /// Its value.
    #[error("the value of the label `{0}` has more than {MAX_VALUE} bytes, or control characters")]
    Value(String),
    /// Too many of them.
    #[error("there are more than {MAX_LABELS} labels, with those of the sessions that it is part of")]
    Labels,
}

/// What an environment says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) session: Option<Session>,
    /// Some of it cannot be, and was left out.
    pub(super) refused: bool,
}

/// Reads an environment as `/proc/PID/environ` has it: `NAME=value`, each with a NUL behind it.
pub(super) fn read(environ: impl BufRead) -> io::Result<Said> {
    let mut environ = environ.take(MAX_ENVIRONMENT);
    let (mut said, mut variable) = (Said::default(), Vec::new());
    let mut session = Session::default();
    loop {
        variable.clear();
        if environ.read_until(0, &mut variable)? == 0 {
            break;
        }
        let of = |name: &str| variable.strip_suffix(b"\0")?.strip_prefix(name.as_bytes())?.strip_prefix(b"=");
        if let Some(value) = of(NAME).filter(|value| !value.is_empty()) {
            let named = str::from_utf8(value).map_err(|_| SessionError::Name);
            said.refused |= named.and_then(|name| session.enter(name)).is_err();
        } else if let Some(value) = of(LABELS) {
            said.refused |= str::from_utf8(value).map_or(true, |labels| session.add_labels(labels));
        }
    }
    said.session = session.known();
    Ok(said)
}

impl Session {
    /// What this process runs in, by its own environment.
    #[must_use]
    pub fn current() -> Self {
        let mut environ = Vec::new();
        for name in [NAME, LABELS] {
            let value = std::env::var_os(name).map(OsString::into_encoded_bytes).unwrap_or_default();
            environ.extend([name.as_bytes(), b"=", &value, b"\0"].concat());
        }
        // Reading memory does not fail.
        read(environ.as_slice()).ok().and_then(|said| said.session).unwrap_or_default()
    }

    /// Goes on in a session within this one.
    ///
    /// # Errors
    /// It cannot be called that.
    pub fn enter(&mut self, name: &str) -> Result<(), SessionError> {
        let name = self.name.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join("/");
        let fits = name.split('/').all(|part| !part.is_empty()) && name.len() <= MAX_NAME;
        if !fits || name.contains(char::is_control) {
            return Err(SessionError::Name);
        }
        self.name = Some(name);
        Ok(())
    }

    /// The same, where there is one.
    pub(super) fn known(self) -> Option<Self> {
        Some(self).filter(|session| *session != Self::default())
    }

    /// Adds labels as the variable has them; whether some of them cannot be, and were left out.
    pub(super) fn add_labels(&mut self, labels: &str) -> bool {
        baggage::pairs(labels).fold(false, |refused, pair| {
            refused | pair.is_none_or(|(key, value)| self.label(key, value).is_err())
        })
    }

    /// Adds a label, in the place of one of the same name.
    ///
    /// # Errors
    /// It cannot be.
    pub fn label(&mut self, key: String, value: String) -> Result<(), SessionError> {
        if !is_label(&key) {
            return Err(SessionError::Key(key));
        }
        if value.len() > MAX_VALUE || value.contains(char::is_control) {
            return Err(SessionError::Value(key));
        }
        if self.labels.len() >= MAX_LABELS && !self.labels.contains_key(&key) {
            return Err(SessionError::Labels);
        }
        self.labels.insert(key, value);
        Ok(())
    }

    /// The variables that tell a process of it.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, String)> {
        let labels = self.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let labels = Some(baggage::text(labels)).filter(|text| !text.is_empty());
        [(NAME, self.name.clone()), (LABELS, labels)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
    }
}

/// Whether a label can be called that.
pub(crate) fn is_label(key: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(name: Option<&str>, labels: &[(&str, &str)]) -> Session {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Session { name: name.map(str::to_owned), labels }
    }

    fn said(environ: &str) -> Said {
        read(environ.replace(' ', "\0").as_bytes()).unwrap()
    }

    #[test]
    fn nothing_else_of_an_environment_is_kept() {
        let found = said(
            "A=1 API_KEY=secret LLM_TRACKER_SESSION=a/b LLM_TRACKER_SESSIONS=x LLM_TRACKER_LABELS=k=v,k2=%20 ",
        );
        let expected = Some(session(Some("a/b"), &[("k", "v"), ("k2", " ")]));
        assert_eq!(found, Said { session: expected, refused: false });
        assert_eq!(said("A=1 LLM_TRACKER_SESSION= LLM_TRACKER_LABELS=, "), Said::default());
        assert_eq!(said(""), Said::default());
    }

    #[test]
    fn the_last_of_two_labels_counts() {
        // What `"$LLM_TRACKER_LABELS,data_id=8"` makes in a shell, with and without one before.
        let found = said("LLM_TRACKER_LABELS=data_id=7,agent_id=a,data_id=8 ").session;
        assert_eq!(found, Some(session(None, &[("agent_id", "a"), ("data_id", "8")])));
        assert_eq!(said("LLM_TRACKER_LABELS=,data_id=8 ").session, Some(session(None, &[("data_id", "8")])));
    }

    #[test]
    fn what_cannot_be_is_left_out_and_counted() {
        for environ in [
            "LLM_TRACKER_SESSION=a/ ".to_owned(),
            format!("LLM_TRACKER_SESSION={} ", "x".repeat(MAX_NAME + 1)),
            "LLM_TRACKER_SESSION=a\u{1b}[2J ".to_owned(),
            "LLM_TRACKER_LABELS=a ".to_owned(),
            "LLM_TRACKER_LABELS=a'b=1 ".to_owned(),
            format!("LLM_TRACKER_LABELS=a={} ", "x".repeat(MAX_VALUE + 1)),
            "LLM_TRACKER_LABELS=a=%0a ".to_owned(),
        ] {
            assert_eq!(said(&environ), Said { session: None, refused: true }, "{environ:?}");
        }
        let many: Vec<String> = (0..=MAX_LABELS).map(|number| format!("a{number}=1")).collect();
        let found = said(&format!("LLM_TRACKER_LABELS={} ", many.join(",")));
        assert!(found.refused && found.session.unwrap().labels.len() == MAX_LABELS);
        // One that the limit cut off is none.
        let cut = format!("A={} LLM_TRACKER_SESSION=a ", "x".repeat(MAX_ENVIRONMENT as usize - 23));
        assert_eq!(said(&cut), Said::default());
        assert!(said("LLM_TRACKER_SESSION=a ").session.is_some());
    }

    #[test]
    fn a_session_within_another_has_the_labels_of_both() {
        let mut inner = session(Some("nightly"), &[("agent_id", "a"), ("run", "1")]);
        inner.enter("suite-3").unwrap();
        inner.label("run".to_owned(), "2, or 3".to_owned()).unwrap();
        let environ: String = inner.variables().map(|(name, value)| format!("{name}={value}\0")).collect();
        let read = read(environ.as_bytes()).unwrap();
        assert_eq!(read.session.as_ref(), Some(&inner));
        assert_eq!(inner, session(Some("nightly/suite-3"), &[("agent_id", "a"), ("run", "2, or 3")]));
        assert_eq!(inner.enter(""), Err(SessionError::Name));
        assert_eq!(Session::default().variables().count(), 0);
    }
}
