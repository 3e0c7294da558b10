//! The Unix socket of the local API.

use std::{
    fmt,
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use tokio::net::UnixStream;

/// Listens from the moment it is bound; gone with this.
#[derive(Debug)]
pub struct ApiSocket {
    listener: std::os::unix::net::UnixListener,
    file: File,
}

#[derive(Debug)]
struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        // Gone already, most likely with its folder.
        let _ = fs::remove_file(&self.0);
    }
}

/// Why there is no socket. Its message says what to do.
#[derive(Debug)]
pub struct SocketError {
    path: PathBuf,
    source: io::Error,
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, source } = self;
        write!(f, "there is no local API at {}: ", path.display())?;
        match source.kind() {
            io::ErrorKind::AddrInUse => write!(f, "another llm-tracker has it, or the file is no socket"),
            _ => write!(f, "{source}"),
        }?;
        write!(f, "; `api.socket` in the configuration names another place, or none with \"\"")
    }
}

impl std::error::Error for SocketError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl ApiSocket {
    /// Makes the socket, and the folder that it is in. Everybody may connect: who they are is asked then.
    ///
    /// # Errors
    /// It cannot be made, or somebody listens there.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let bind = || -> io::Result<Self> {
            if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
                DirBuilder::new().mode(0o755).create(folder)?;
                // Whatever the mask of this process is.
                fs::set_permissions(folder, Permissions::from_mode(0o755))?;
            }
            remove_stale(path)?;
            let listener = std::os::unix::net::UnixListener::bind(path)?;
            let file = File(path.to_owned());
            fs::set_permissions(path, Permissions::from_mode(0o666))?;
            listener.set_nonblocking(true)?;
            Ok(Self { listener, file })
        };
        bind().map_err(|source| SocketError { path: path.to_owned(), source })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.0
    }

    pub(super) fn listen(self) -> io::Result<Listener> {
        let Self { listener, file } = self;
        Ok(Listener { listener: tokio::net::UnixListener::from_std(listener)?, _file: file })
    }
}

/// Takes a socket away that a daemon which was killed has left. Nobody else's file.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket());
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if is_socket && error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

/// The socket, within a runtime.
pub(super) struct Listener {
    listener: tokio::net::UnixListener,
    _file: File,
}

impl Listener {
    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.listener.accept().await?.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_was_left_is_replaced_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/api.sock");
        let socket = ApiSocket::bind(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o666, 0o755));
        let error = ApiSocket::bind(&path).unwrap_err().to_string();
        assert!(error.contains("another") && error.contains("api.socket"), "{error}");
        let ApiSocket { listener, file } = socket;
        drop(listener);
        // As after a kill.
        assert!(path.exists());
        let socket = ApiSocket::bind(&path).unwrap();
        drop((socket, file));
        assert!(!path.exists());
        fs::write(&path, "somebody's").unwrap();
        assert!(ApiSocket::bind(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"somebody's");
    }
}
