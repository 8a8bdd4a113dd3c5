//! The operator's end of the control socket, blocking: the command line talks to the daemon through it.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::protocol::{Reply, Request};

/// A daemon that takes longer for anything but enrolment and following is stuck.
const PATIENCE: Duration = Duration::from_secs(30);

/// The group of operators, where the socket's folder hides which one it is.
const USUAL_GROUP: &str = "accessd";

/// Why the daemon could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file's mode does not let this user in.
    #[error(
        "no permission to use {}: its users are in the group {group}; `sudo usermod -aG {group} $USER`, then log in again",
        socket.display()
    )]
    NotAllowed {
        /// The socket.
        socket: PathBuf,
        /// Whose members are let in.
        group: String,
    },
    /// It cannot be connected to for another reason.
    #[error("control socket {}: {what}", socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What to look at.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The daemon went away, or does not answer.
    #[error("the daemon at {} {what}; see `systemctl status accessd`", socket.display())]
    Broken {
        /// The socket.
        socket: PathBuf,
        /// What happened.
        what: &'static str,
        /// What the system said.
        #[source]
        source: Option<io::Error>,
    },
    /// The daemon speaks another version of the protocol.
    #[error("the daemon at {} answers what this accessd does not understand; are both of one version?", socket.display())]
    Protocol {
        /// The socket.
        socket: PathBuf,
        /// What could not be read.
        #[source]
        source: serde_json::Error,
    },
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects; `None` when no daemon runs.
    ///
    /// # Errors
    /// When one may run but this user may not ask it, or the path cannot be a socket.
    pub fn connect(socket: &Path) -> Result<Option<Self>, ClientError> {
        match UnixStream::connect(socket) {
            Ok(stream) => Ok(Some(Self { socket: socket.to_owned(), stream: BufReader::new(stream) })),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
                io::ErrorKind::PermissionDenied => {
                    Err(ClientError::NotAllowed { socket: socket.to_owned(), group: group_of(socket) })
                }
                io::ErrorKind::InvalidInput => Err(ClientError::Unreachable {
                    socket: socket.to_owned(),
                    what: "its path is too long for a socket (107 bytes); choose a shorter paths.socket",
                    source: error,
                }),
                _ => Err(ClientError::Unreachable {
                    socket: socket.to_owned(),
                    what: "it cannot be connected to; check paths.socket",
                    source: error,
                }),
            },
        }
    }

    /// Asks and waits for the answer. For [`Request::EnrolLive`] and [`Request::Follow`] see [`Client::stream`].
    ///
    /// # Errors
    /// When the daemon goes away or does not answer. That it refused is a [`Reply::Error`].
    pub fn request(&mut self, request: &Request) -> Result<Reply, ClientError> {
        self.be_patient(Some(PATIENCE))?;
        self.send(request)?;
        self.receive()
    }

    /// Asks and hands out the replies as they come, the last one included. Dropping the client hangs up, which ends
    /// an enrolment with nothing stored.
    ///
    /// # Errors
    /// When the request cannot be sent.
    pub fn stream(&mut self, request: &Request) -> Result<Replies<'_>, ClientError> {
        self.be_patient(None)?;
        self.send(request)?;
        Ok(Replies { client: self, over: false })
    }

    fn be_patient(&self, patience: Option<Duration>) -> Result<(), ClientError> {
        self.stream
            .get_ref()
            .set_read_timeout(patience)
            .map_err(|error| self.broken("cannot be waited for", error))
    }

    fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        let mut line = serde_json::to_vec(request).expect("a request is plain data");
        line.push(b'\n');
        self.stream.get_mut().write_all(&line).map_err(|error| self.broken("hung up", error))
    }

    fn receive(&mut self) -> Result<Reply, ClientError> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(_) if line.ends_with('\n') => serde_json::from_str(&line)
                .map_err(|source| ClientError::Protocol { socket: self.socket.clone(), source }),
            Ok(_) => Err(ClientError::Broken { socket: self.socket.clone(), what: "hung up", source: None }),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Err(self.broken("does not answer", error))
            }
            Err(error) => Err(self.broken("hung up", error)),
        }
    }

    fn broken(&self, what: &'static str, error: io::Error) -> ClientError {
        ClientError::Broken { socket: self.socket.clone(), what, source: Some(error) }
    }
}

/// The replies to one request, as they come.
#[derive(Debug)]
pub struct Replies<'a> {
    client: &'a mut Client,
    over: bool,
}

impl Iterator for Replies<'_> {
    type Item = Result<Reply, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let reply = self.client.receive();
        self.over = !matches!(
            reply,
            Ok(Reply::Progress(_) | Reply::Cue { .. } | Reply::Record { .. } | Reply::Piece { .. })
        );
        Some(reply)
    }
}

/// The name of the group that owns the socket.
fn group_of(socket: &Path) -> String {
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let gid = std::fs::metadata(socket).map(|data| data.gid());
    gid.ok().and_then(|gid| group_name(&groups, gid)).unwrap_or(USUAL_GROUP).to_owned()
}

/// A group's name in the format of group(5).
fn group_name(groups: &str, gid: u32) -> Option<&str> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(gid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_no_daemon_runs_there_is_no_client() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control.sock");
        assert!(Client::connect(&socket).unwrap().is_none());
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        assert!(Client::connect(&socket).unwrap().is_none(), "a dead socket is no daemon");
    }

    #[test]
    fn a_path_that_cannot_be_a_socket_is_named() {
        let error = Client::connect(Path::new(&format!("/tmp/{}", "x".repeat(120)))).unwrap_err();
        assert!(error.to_string().contains("too long"), "{error}");
    }

    #[test]
    fn missing_permission_names_the_group_to_join() {
        let error =
            ClientError::NotAllowed { socket: "/run/accessd/control.sock".into(), group: "accessd".into() };
        assert!(error.to_string().contains("usermod -aG accessd"), "{error}");
        assert_eq!(group_name("root:x:0:\naccessd:x:990:ada,bob\n", 990), Some("accessd"));
    }

    #[test]
    fn a_daemon_that_hangs_up_or_babbles_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control.sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let babbler = std::thread::spawn(move || {
            for answer in ["", "half a li", "{\"is\":\"poem\"}\n"] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = String::new();
                BufReader::new(stream.try_clone().unwrap()).read_line(&mut request).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let ask = || Client::connect(&socket).unwrap().unwrap().request(&Request::Status).unwrap_err();
        for _ in 0..2 {
            assert!(ask().to_string().contains("hung up"));
        }
        assert!(matches!(ask(), ClientError::Protocol { .. }));
        babbler.join().unwrap();
    }
}
