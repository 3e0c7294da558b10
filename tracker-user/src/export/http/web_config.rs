//! Who may ask, and over TLS how: the file that Prometheus' own exporters take (`exporter-toolkit`,
//! `docs/web-configuration.md`), so that operators write one for all of them.
//!
//! What it has and this server has not is refused by name, not ignored: client certificates that are asked
//! for and not verified, TLS before 1.2, `client_allowed_sans`. HTTP/2 is never spoken, whatever `http2` says.

use std::{
    collections::BTreeMap,
    fs::Metadata,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use rustls::ServerConfig;
use serde::Deserialize;

use super::{auth::Users, tls};

/// How often the files are looked at, at most.
const FRESH: Duration = Duration::from_secs(1);
/// More than such a file ever has, bytes.
const MAX_FILE: u64 = 1 << 20;
/// The headers that can be set: the exporters' list.
const HEADERS: [&str; 5] = [
    "content-security-policy",
    "strict-transport-security",
    "x-content-type-options",
    "x-frame-options",
    "x-xss-protection",
];

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WebConfigError {
    /// It, or a file that it names, cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what it should be; the message has line and column.
    #[error("{path} is not a web configuration: {why}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        why: String,
    },
    /// What it says cannot be done.
    #[error("{path}: {what}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What, and why not.
        what: String,
    },
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    tls_server_config: Option<tls::Settings>,
    http_server_config: HttpServerConfig,
    basic_auth_users: BTreeMap<String, String>,
    auth_excluded_paths: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HttpServerConfig {
    /// Accepted, because it says what may be spoken, and HTTP/1.1 always may.
    #[serde(rename = "http2")]
    _http2: Option<bool>,
    headers: BTreeMap<String, String>,
}

/// A file that was understood.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// Absent for plain text.
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// Absent where nobody needs a password.
    pub(super) users: Option<Users>,
    /// Paths that need none.
    pub(super) excluded: Vec<String>,
    /// Added to every answer.
    pub(super) headers: HeaderMap,
    verifies_clients: bool,
}

impl Loaded {
    fn read(path: &Path) -> Result<(Self, Vec<PathBuf>), WebConfigError> {
        let text = read(path)?;
        let file: File = serde_saphyr::from_slice(&text)
            .map_err(|error| WebConfigError::Parse { path: path.to_owned(), why: error.to_string() })?;
        let File { tls_server_config, http_server_config, basic_auth_users, auth_excluded_paths } = file;
        let unusable = |what| WebConfigError::Unusable { path: path.to_owned(), what };
        let mut files = vec![path.to_owned()];
        let mut loaded = Self { excluded: auth_excluded_paths, ..Self::default() };
        if let Some(settings) = tls_server_config {
            // Paths are relative to the file, as the exporters have it.
            let folder = path.parent().unwrap_or(Path::new(""));
            files.extend(settings.files(folder));
            loaded.verifies_clients = settings.verifies_clients();
            loaded.tls = Some(settings.build(folder, path)?);
        }
        for (name, value) in http_server_config.headers {
            let lower = name.to_ascii_lowercase();
            let known = HEADERS.contains(&lower.as_str());
            let pair = (HeaderName::try_from(lower), HeaderValue::try_from(value));
            let (true, (Ok(name), Ok(value))) = (known, pair) else {
                return Err(unusable(format!("`{name}` cannot be set; there are {}", HEADERS.join(", "))));
            };
            loaded.headers.insert(name, value);
        }
        if !basic_auth_users.is_empty() {
            loaded.users = Some(Users::new(basic_auth_users).map_err(unusable)?);
        }
        Ok((loaded, files))
    }
}

/// Reads a file that a person wrote.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, WebConfigError> {
    let wrong = |source| WebConfigError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(wrong)?.len() > MAX_FILE {
        return Err(wrong(std::io::Error::other("it is far too large")));
    }
    std::fs::read(path).map_err(wrong)
}

/// The file, read anew when it or one that it names has changed. Without a file everybody may ask, in plain
/// text.
#[derive(Debug, Default)]
pub struct WebConfig {
    path: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    loaded: Arc<Loaded>,
    /// All files that were read, and what they were then.
    files: Vec<(PathBuf, Option<Stamp>)>,
    looked: Option<Instant>,
}

/// What changes when a file does, whether it is written or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let stamp = |file: Metadata| Self {
            inode: file.ino(),
            size: file.size(),
            changed: (file.ctime(), file.ctime_nsec()),
        };
        std::fs::metadata(path).ok().map(stamp)
    }
}

impl WebConfig {
    /// Reads it for the first time.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn load(path: Option<&Path>) -> Result<Self, WebConfigError> {
        let mut state = State::default();
        if let Some(path) = path {
            state.load(path)?;
        }
        Ok(Self { path: path.map(Path::to_owned), state: Mutex::new(state) })
    }

    /// Whether it is TLS that is spoken.
    #[must_use]
    pub fn encrypts(&self) -> bool {
        self.current().tls.is_some()
    }

    /// Whether who asks has to show who they are.
    #[must_use]
    pub fn authenticates(&self) -> bool {
        let loaded = self.current();
        loaded.users.is_some() || loaded.verifies_clients
    }

    /// What it says now. A new one that cannot be used is not: the log says why, and the old one stays.
    pub(super) fn current(&self) -> Arc<Loaded> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = &self.path
            && state.looked.is_none_or(|looked| looked.elapsed() >= FRESH)
        {
            state.looked = Some(Instant::now());
            if state.files.iter().any(|(path, stamp)| Stamp::of(path) != *stamp) {
                match state.load(path) {
                    Ok(()) => tracing::info!("the web configuration was read again"),
                    Err(error) => tracing::error!("the web configuration stays as it was: {error}"),
                }
            }
        }
        Arc::clone(&state.loaded)
    }
}

impl State {
    fn load(&mut self, path: &Path) -> Result<(), WebConfigError> {
        // The stamps first: what is written meanwhile is read again.
        for (path, stamp) in &mut self.files {
            *stamp = Stamp::of(path);
        }
        let before = Stamp::of(path);
        let (loaded, files) = Loaded::read(path)?;
        self.loaded = Arc::new(loaded);
        self.files = files
            .into_iter()
            .map(|file| (Stamp::of(&file), file))
            .map(|(stamp, file)| (file, stamp))
            .collect();
        if let Some((_, stamp)) = self.files.first_mut() {
            *stamp = before;
        }
        Ok(())
    }
}
