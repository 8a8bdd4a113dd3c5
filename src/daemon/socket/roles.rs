//! What a client may do, by who it is as the kernel tells it. Whoever the socket's file lets in may look; people, rules, the
//! door and what is kept of faces are for root, for the daemon's own user, and for the group `accessd-admin`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The group of those who change things.
pub(crate) const ADMINS: &str = "accessd-admin";

/// Who a client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) uid: u32,
    /// Its groups, the first one and the supplementary ones, as they were when it connected.
    pub(crate) groups: Vec<u32>,
}

impl Peer {
    /// Whether it may change things. `own` is the daemon's user, `groups` the machine's in the format of group(5).
    pub(crate) fn may_change(&self, own: u32, groups: &str) -> bool {
        let admin = || gid_of(groups, ADMINS).is_some_and(|admins| self.groups.contains(&admins));
        self.uid == 0 || self.uid == own || admin()
    }
}

/// The number of a group, in the format of group(5).
fn gid_of(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

/// The supplementary groups of whoever is at the other end of a Unix socket (unix(7), SO_PEERGROUPS; Linux 4.13).
///
/// # Errors
/// When the kernel does not tell.
pub(crate) fn groups_of(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    // More than a process can be in (NGROUPS_MAX).
    const MOST: usize = 65_536;
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let mut bytes = size_of_val(groups.as_slice()) as libc::socklen_t;
        // SAFETY: `groups` has room for `bytes` bytes, which the kernel fills with whole `gid_t`s and never exceeds; `bytes`
        // lives beyond the call.
        let answer = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let wanted = bytes as usize / size_of::<libc::gid_t>();
        match answer {
            0 => {
                groups.truncate(wanted);
                return Ok(groups);
            }
            // Too little room: the kernel has said how much it takes.
            _ if io::Error::last_os_error().raw_os_error() == Some(libc::ERANGE)
                && (groups.len() + 1..=MOST).contains(&wanted) =>
            {
                groups.resize(wanted, 0);
            }
            _ => return Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    const GROUPS: &str =
        "root:x:0:\n# comment\naccessd:x:990:ada\naccessd-admin:x:991:grace\naccessd-admins:x:7:\n";

    #[test]
    fn only_root_the_own_user_and_the_admins_change_things() {
        let peer = |uid, groups: &[u32]| Peer { uid, groups: groups.to_vec() };
        for (peer, may) in [
            (peer(0, &[0]), true),
            (peer(990, &[990]), true),
            (peer(1000, &[1000, 990]), false),
            (peer(1001, &[1001, 990, 991]), true),
            (peer(1002, &[991]), true),
            (peer(1003, &[7]), false),
            (peer(1004, &[]), false),
        ] {
            assert_eq!(peer.may_change(990, GROUPS), may, "{peer:?}");
        }
        assert!(!peer(1002, &[991]).may_change(990, ""), "without the group nobody is in it");
        assert_eq!(gid_of(GROUPS, "accessd-admin"), Some(991));
        assert_eq!(gid_of("accessd-admin:x:many:\n", "accessd-admin"), None);
    }

    /// Would catch a wrong length or option: the kernel's answer is that of getgroups(2).
    #[test]
    fn the_kernel_tells_the_groups_of_the_other_end() {
        let (one, _other) = UnixStream::pair().unwrap();
        let mut told = groups_of(one.as_fd()).unwrap();
        let mut own: Vec<u32> =
            rustix::process::getgroups().unwrap().iter().map(|gid| gid.as_raw()).collect();
        told.sort_unstable();
        own.sort_unstable();
        assert_eq!(told, own);
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(groups_of(file.as_fd()).is_err(), "no socket");
    }
}
