//! Whether a socket's datagrams may be cut into pieces on their way.

#[cfg(target_os = "linux")]
mod system {
    use std::io;
    use std::mem::size_of;
    use std::os::fd::{AsRawFd, RawFd};

    /// The options of both families; on a socket of one family the other's cannot be set, which does not matter.
    const OPTIONS: [(i32, i32); 2] =
        [(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER), (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER)];

    /// What the options were.
    pub type Before = [Option<i32>; 2];

    fn get(socket: RawFd, (level, name): (i32, i32)) -> Option<i32> {
        let (mut value, mut len) = (0_i32, size_of::<i32>() as libc::socklen_t);
        // SAFETY: `value` and `len` are valid for the time of the call, and `len` is the size of `value`.
        let result = unsafe { libc::getsockopt(socket, level, name, (&raw mut value).cast(), &raw mut len) };
        (result == 0).then_some(value)
    }

    fn set(socket: RawFd, (level, name): (i32, i32), value: i32) -> io::Result<()> {
        let len = size_of::<i32>() as libc::socklen_t;
        // SAFETY: `value` is valid for the time of the call, and `len` is its size.
        let result = unsafe { libc::setsockopt(socket, level, name, (&raw const value).cast(), len) };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// From now on no datagram is cut. Errors: neither option can be set.
    pub fn forbid(socket: &impl AsRawFd) -> io::Result<Before> {
        let socket = socket.as_raw_fd();
        let before = OPTIONS.map(|option| get(socket, option));
        // IPV6_PMTUDISC_PROBE is the same number.
        let [v4, v6] = OPTIONS.map(|option| set(socket, option, libc::IP_PMTUDISC_PROBE));
        v4.or(v6).map(|()| before)
    }

    /// As it was.
    pub fn restore(socket: &impl AsRawFd, before: Before) -> io::Result<()> {
        let socket = socket.as_raw_fd();
        for (option, value) in OPTIONS.into_iter().zip(before) {
            if let Some(value) = value {
                set(socket, option, value)?;
            }
        }
        Ok(())
    }

    /// Whether a datagram was not sent because it would have to be cut.
    pub fn is_too_long(error: &io::Error) -> bool {
        error.raw_os_error() == Some(libc::EMSGSIZE)
    }
}

/// Other systems have other options, or none: there nothing is promised.
#[cfg(not(target_os = "linux"))]
mod system {
    use std::io;

    pub type Before = ();

    pub fn forbid<T>(_socket: &T) -> io::Result<Before> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn restore<T>(_socket: &T, _before: Before) -> io::Result<()> {
        Ok(())
    }

    pub fn is_too_long(_error: &io::Error) -> bool {
        false
    }
}

pub use system::{forbid, is_too_long, restore};
