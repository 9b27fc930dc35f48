//! Unix sockets: the file is there only while somebody listens, and never open to more than it should be.

#![expect(clippy::disallowed_methods, reason = "a socket's file is made and removed here")]

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::Path;
use std::path::PathBuf;
use std::process;

use socket2::Domain;
use socket2::SockAddr;
use socket2::Socket;
use socket2::Type;
use tokio::net::UnixListener;
use tokio::net::UnixStream;

use super::tcp::BACKLOG;

/// Who may connect: the owner and the group of the process.
const MODE: u32 = 0o660;

/// A listening Unix socket. Its file goes with it, unless somebody else has put another in its place.
#[derive(Debug)]
pub(crate) struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl UnixSocket {
    /// Listens at a path. A socket's file that nobody listens on any more is replaced. Has to be called in a
    /// tokio runtime.
    ///
    /// # Errors
    /// `AddrInUse` if somebody listens there, `AlreadyExists` if the file is no socket, and those of the system.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        refuse_what_is_not_stale(path)?;
        let mut fresh = path.as_os_str().to_owned();
        fresh.push(format!(".{}", process::id()));
        let fresh = PathBuf::from(fresh);
        remove_if_there(&fresh)?;
        let bound = Self::bind_fresh(&fresh, path);
        if bound.is_err() {
            remove_if_there(&fresh)?;
        }
        bound
    }

    /// Binds beside the path and moves the file there once its mode is right, so nobody can connect before.
    fn bind_fresh(fresh: &Path, path: &Path) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(fresh)?)?;
        fs::set_permissions(fresh, fs::Permissions::from_mode(MODE))?;
        socket.listen(BACKLOG)?;
        let inode = fs::symlink_metadata(fresh)?.ino();
        fs::rename(fresh, path)?;
        let listener = UnixListener::from_std(socket.into())?;
        Ok(Self { listener, path: path.to_owned(), inode })
    }

    /// The next connection.
    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }

    /// Where it listens.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "socket file not removed");
        }
    }
}

/// An error, unless there is no file, or one of a socket that nobody listens on.
pub(crate) fn refuse_what_is_not_stale(path: &Path) -> io::Result<()> {
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !file.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file that is no socket",
        ));
    }
    match BlockingStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "somebody listens on this socket")),
        Err(error) => Err(error),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
