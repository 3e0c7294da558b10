//! Who asks, and whose calls they may see.
//!
//! A user sees the calls of their own processes, and those of the logins that are theirs: what they did through
//! `sudo`, and containers without root, whose processes have a subordinate uid. Root and one group see all.
//!
//! On the Unix socket the kernel says who connected, groups included. On loopback it says whose the other end of
//! a connection is, in the table of connections, as identd reads it; the user database knows their groups. Over
//! any other way there is nobody to be told apart, and no answer.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader},
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd as _,
};

use hyper::StatusCode;
use tokio::{net::UnixStream, sync::OnceCell};

use super::Problem;
use crate::{budget::Budget, live::Owner};

/// Whose calls somebody may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Viewer {
    /// Everybody's.
    All,
    /// Those of the user with this id.
    User(u32),
}

impl Viewer {
    /// Whether a call is one of those.
    #[must_use]
    pub fn sees(self, owner: &Owner) -> bool {
        match self {
            Self::All => true,
            Self::User(uid) => [owner.uid, owner.login_uid].contains(&Some(uid)),
        }
    }

    /// The budgets of which they see all calls: what they are shown of others would be a part of them.
    pub(super) fn budgets(self, mut budgets: Vec<Budget>) -> Vec<Budget> {
        if let Self::User(uid) = self {
            let user = uzers::get_user_by_uid(uid);
            let name = user.as_ref().and_then(|user| user.name().to_str());
            budgets.retain(|budget| budget.is_of(uid, name));
        }
        budgets
    }
}

/// Who may see all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The name and the id of a group; root may in any case.
    group: Option<(String, u32)>,
}

impl Access {
    /// Root, and the members of a group.
    ///
    /// # Errors
    /// There is no such group.
    pub fn of_group(name: &str) -> Result<Self, UnknownGroup> {
        let group = uzers::get_group_by_name(name).ok_or_else(|| UnknownGroup { name: name.to_owned() })?;
        Ok(Self { group: Some((name.to_owned(), group.gid())) })
    }

    fn viewer(&self, uid: u32, is_member: impl FnOnce(u32) -> bool) -> Viewer {
        let all = uid == 0 || self.group.as_ref().is_some_and(|(_, gid)| is_member(*gid));
        if all { Viewer::All } else { Viewer::User(uid) }
    }
}

/// A name that is no group's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no group `{name}`: only root sees everybody's calls (`api.group`)")]
pub struct UnknownGroup {
    name: String,
}

/// The other end of a connection.
#[derive(Debug)]
pub struct Peer {
    end: End,
    /// Found out once, while the connection is open: later its other end could be somebody else's.
    viewer: OnceCell<Result<Viewer, Problem>>,
}

#[derive(Clone, Debug)]
enum End {
    Socket { uid: u32, groups: Vec<u32> },
    Tcp { from: SocketAddr, to: SocketAddr },
}

impl Peer {
    /// Who connected to a Unix socket, and their uid.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn of_socket(stream: &UnixStream) -> io::Result<(Self, u32)> {
        let credentials = stream.peer_cred()?;
        let mut groups = peer_groups(stream)?;
        groups.push(credentials.gid());
        let uid = credentials.uid();
        Ok((Self::new(End::Socket { uid, groups }), uid))
    }

    /// Who connected over TCP.
    #[must_use]
    pub fn of_tcp(from: SocketAddr, to: SocketAddr) -> Self {
        Self::new(End::Tcp { from, to })
    }

    fn new(end: End) -> Self {
        Self { end, viewer: OnceCell::new() }
    }

    /// Whether they have come by the Unix socket.
    #[must_use]
    pub const fn is_on_socket(&self) -> bool {
        matches!(self.end, End::Socket { .. })
    }

    /// Whose calls they may see.
    ///
    /// # Errors
    /// They cannot be told apart from others.
    pub(super) async fn viewer(&self, access: &Access) -> Result<Viewer, Problem> {
        let find = || async {
            match self.end.clone() {
                End::Socket { uid, groups } => Ok(access.viewer(uid, |gid| groups.contains(&gid))),
                End::Tcp { from, to } => {
                    let access = access.clone();
                    // The table may be long, and the user database behind a network.
                    let found = tokio::task::spawn_blocking(move || over_tcp(&access, from, to)).await;
                    found.unwrap_or_else(|_| Err(unknown("its owner could not be looked up")))
                }
            }
        };
        self.viewer.get_or_init(find).await.clone()
    }

    /// Says who it is, for tests.
    #[cfg(test)]
    pub(super) fn set_viewer(&self, viewer: Viewer) {
        self.viewer.set(Ok(viewer)).unwrap();
    }

    /// Refuses what a web page would ask for that has a name of its own made to point at this host: whoever
    /// means us names loopback.
    pub(super) fn check_host(&self, host: Option<&str>) -> Result<(), Problem> {
        let meant = match self.end {
            End::Socket { .. } => true,
            End::Tcp { .. } => host.is_some_and(is_loopback_name),
        };
        meant.then_some(()).ok_or_else(|| {
            Problem::new(
                StatusCode::MISDIRECTED_REQUEST,
                "wrong-host",
                "ask for localhost or a loopback address, not for another name",
            )
        })
    }
}

fn is_loopback_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

fn unknown(why: &'static str) -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "unknown-user",
        format!("calls are shown to their users, and of this connection {why}: ask on the Unix socket"),
    )
}

fn over_tcp(access: &Access, from: SocketAddr, to: SocketAddr) -> Result<Viewer, Problem> {
    if !from.ip().to_canonical().is_loopback() {
        return Err(unknown("none is known, as it is not from this host"));
    }
    // A table that changes while it is read may miss one; hardly twice.
    let found = (0..2).find_map(|_| owner(from, to).transpose()).transpose();
    let uid = found.ok().flatten().ok_or_else(|| unknown("none is known"))?;
    let is_member = |gid| {
        let groups = uzers::get_user_by_uid(uid).and_then(|user| user.groups());
        groups.is_some_and(|groups| groups.iter().any(|group| group.gid() == gid))
    };
    Ok(access.viewer(uid, is_member))
}

/// Who has the other end of a connection on this host that is open in both directions.
///
/// Only then: of one that its owner has closed the table says that it is root's.
fn owner(from: SocketAddr, to: SocketAddr) -> io::Result<Option<u32>> {
    let (from, to) = (canonical(from), canonical(to));
    let tables: &[_] = if from.is_ipv4() {
        // A socket of the newer family may speak the older one.
        &[("/proc/net/tcp", false), ("/proc/net/tcp6", true)]
    } else {
        &[("/proc/net/tcp6", true)]
    };
    for (table, wide) in tables {
        let file = match File::open(table) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        let (from, to) = (in_table(from, *wide), in_table(to, *wide));
        for line in BufReader::new(file).lines() {
            if let Some(uid) = owner_in(&line?, &from, &to) {
                return Ok(Some(uid));
            }
        }
    }
    Ok(None)
}

/// `proc_pid_net(5)`: `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode`.
fn owner_in(line: &str, local: &str, remote: &str) -> Option<u32> {
    const ESTABLISHED: &str = "01";
    let mut fields = line.split_ascii_whitespace().skip(1);
    let is_it = fields.next()? == local && fields.next()? == remote && fields.next()? == ESTABLISHED;
    is_it.then(|| fields.nth(3)?.parse().ok()).flatten()
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// An address as the table writes it: words of 32 bits in the order of this machine.
fn in_table(address: SocketAddr, wide: bool) -> String {
    let words = |octets: &[u8]| -> String {
        let word = |four: &[u8]| four.try_into().map(u32::from_ne_bytes).unwrap_or_default();
        octets.chunks_exact(4).map(|four| format!("{:08X}", word(four))).collect()
    };
    let octets = match address.ip() {
        IpAddr::V4(v4) if wide => words(&v4.to_ipv6_mapped().octets()),
        IpAddr::V4(v4) => words(&v4.octets()),
        IpAddr::V6(v6) => words(&v6.octets()),
    };
    format!("{octets}:{:04X}", address.port())
}

/// The supplementary groups of whoever connected (`SO_PEERGROUPS`).
fn peer_groups(stream: &UnixStream) -> io::Result<Vec<u32>> {
    /// `NGROUPS_MAX` of Linux.
    const MOST: usize = 65_536;
    let mut groups: Vec<libc::gid_t> = vec![0; 32];
    loop {
        let mut length = libc::socklen_t::try_from(size_of_val(groups.as_slice())).unwrap_or(0);
        // SAFETY: the buffer has as many bytes as `length` says, and both outlive the call.
        let outcome = unsafe {
            libc::getsockopt(
                stream.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let needed = length as usize / size_of::<libc::gid_t>();
        if outcome == 0 {
            groups.truncate(needed);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || needed > MOST || needed <= groups.len() {
            return Err(error);
        }
        groups.resize(needed, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::{bare, full};

    #[test]
    fn a_call_is_its_user_s_and_that_of_the_login() {
        // Made by 1000 in a login of 1001.
        let [known, unknown] = [full(), bare()].map(|record| Owner::of(&record.origin));
        for (viewer, sees) in [
            (Viewer::All, true),
            (Viewer::User(1000), true),
            (Viewer::User(1001), true),
            (Viewer::User(0), false),
        ] {
            assert_eq!(viewer.sees(&known), sees, "{viewer:?}");
        }
        assert!(Viewer::All.sees(&unknown) && !Viewer::User(1000).sees(&unknown));
    }

    #[test]
    fn root_and_one_group_see_all() {
        let access = Access::of_group("root").unwrap();
        assert_eq!(access.viewer(5, |gid| gid == 0), Viewer::All);
        assert_eq!(access.viewer(5, |_| false), Viewer::User(5));
        assert_eq!(Access::default().viewer(5, |_| true), Viewer::User(5));
        assert_eq!(Access::default().viewer(0, |_| false), Viewer::All);
        assert!(Access::of_group("no such group").unwrap_err().to_string().contains("no such group"));
    }

    #[tokio::test]
    async fn whoever_connects_to_a_socket_is_known() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let (peer, uid) = Peer::of_socket(&ours).unwrap();
        assert_eq!(uid, rustix::process::getuid().as_raw());
        assert!(peer.is_on_socket());
        let expected = Access::default().viewer(uid, |_| false);
        assert_eq!(peer.viewer(&Access::default()).await, Ok(expected));
        assert_eq!(peer.check_host(None), Ok(()));
    }

    #[tokio::test]
    async fn whoever_connects_on_loopback_is_found() {
        let uid = rustix::process::getuid().as_raw();
        for listen in ["127.0.0.1:0", "[::]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(listen) else { continue };
            let to = SocketAddr::from(([127, 0, 0, 1], listener.local_addr().unwrap().port()));
            let client = std::net::TcpStream::connect(to).unwrap();
            let (accepted, from) = listener.accept().unwrap();
            let peer = || Peer::of_tcp(from, accepted.local_addr().unwrap());
            let expected = Access::default().viewer(uid, |_| false);
            assert_eq!(peer().viewer(&Access::default()).await, Ok(expected), "{listen}");
            // The table has it still, as root's.
            drop(client);
            let refused = peer().viewer(&Access::default()).await.unwrap_err();
            assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        }
        let stranger = Peer::of_tcp("192.0.2.1:5".parse().unwrap(), "192.0.2.2:9435".parse().unwrap());
        assert!(stranger.viewer(&Access::default()).await.is_err());
    }

    #[test]
    fn a_line_of_the_table_tells_the_owner() {
        let line = |state| {
            format!(
                "   3: 0100007F:D2F0 0100007F:24DB {state} 00000000:00000000 00:00000000 00000000  1000        0 77 1 0 20 4 30 10 -1"
            )
        };
        let (from, to) = ("127.0.0.1:54000".parse().unwrap(), "127.0.0.1:9435".parse().unwrap());
        if cfg!(target_endian = "little") {
            let (from, to) = (in_table(from, false), in_table(to, false));
            assert_eq!(owner_in(&line("01"), &from, &to), Some(1000));
            assert_eq!(owner_in(&line("06"), &from, &to), None, "nobody's any more");
            assert_eq!(owner_in(&line("01"), &to, &from), None, "our own end");
        }
        assert_eq!(owner_in("  sl  local_address rem_address   st", "sl", "sl"), None);
        let mapped = in_table(to, true);
        assert!(mapped.starts_with("0000000000000000") && mapped.ends_with(":24DB"), "{mapped}");
    }

    #[test]
    fn pages_under_other_names_are_refused() {
        let peer = Peer::of_tcp("127.0.0.1:5".parse().unwrap(), "127.0.0.1:9435".parse().unwrap());
        for host in
            ["localhost", "LOCALHOST:9435", "127.0.0.1:9435", "127.5.5.5", "[::1]:9435", "[::ffff:127.0.0.1]"]
        {
            assert_eq!(peer.check_host(Some(host)), Ok(()), "{host}");
        }
        for host in [
            None,
            Some("evil.example"),
            Some("evil.example:9435"),
            Some("localhost.evil.example"),
            Some("192.0.2.1"),
            Some(""),
        ] {
            let problem = peer.check_host(host).unwrap_err();
            assert_eq!(problem.status(), StatusCode::MISDIRECTED_REQUEST, "{host:?}");
        }
    }
}
