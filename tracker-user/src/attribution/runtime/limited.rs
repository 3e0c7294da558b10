//! Files and sockets of which only so much is read, whoever answers.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
};

/// The most that one answer, or one file, may have. A container's takes some 10 KiB.
pub(super) const MAX_ANSWER: usize = 1 << 20;

/// Connects to a socket that is there and belongs to its owner: one in a user's own folder must be the
/// user's, so that it is nobody else's by a link.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] where there is no such socket; what connect(2) says.
pub(super) async fn connect(path: &Path, owner: Option<u32>) -> io::Result<Limited> {
    let file = path.symlink_metadata()?;
    if owner.is_some_and(|owner| !file.file_type().is_socket() || file.uid() != owner) {
        return Err(io::Error::new(io::ErrorKind::NotFound, "not a socket of this user"));
    }
    Ok(Limited { stream: UnixStream::connect(path).await?, left: MAX_ANSWER })
}

/// Reads a file that is one.
///
/// # Errors
/// It cannot be read, is longer than [`MAX_ANSWER`] or no regular file.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Whoever opens a pipe waits for its other end, unless told not to.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let length = file.metadata().and_then(|file| match file.is_file() {
        true => Ok(file.len()),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    })?;
    if length > MAX_ANSWER as u64 {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    file.take(MAX_ANSWER as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "the answer is too long")
}

/// A connection on which only so many bytes can be read.
#[derive(Debug)]
pub(super) struct Limited {
    stream: UnixStream,
    left: usize,
}

impl AsyncRead for Limited {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(too_long()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        // A buffer's worth may be over the bound; the next read is refused.
        self.left = self.left.saturating_sub(buffer.filled().len().saturating_sub(before));
        polled
    }
}

impl AsyncWrite for Limited {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
