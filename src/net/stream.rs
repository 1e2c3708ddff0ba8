//! TCP: sockets that listen, and the pipe of a connection.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::error::{Error, ErrorKind, Result};
use crate::net::address::ListenAddress;
use crate::net::pipe::{Closing, Incoming, Outgoing, Pipe, Trouble};
use crate::net::udp::canonical;
use crate::protocol::connection::Farewell;

/// Connections that the system keeps for the loop to accept.
const BACKLOG: i32 = 1024;
/// After so much silence the system asks whether the other end is still there, every so often, and gives it up after
/// so many questions without an answer: half-open connections end after some two minutes.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);
#[cfg(unix)]
const KEEPALIVE_QUESTIONS: u32 = 4;
/// Bytes read and thrown away at once of what still comes when a connection was closed: what is left unread makes the system
/// reset it, and the other end may then lose what was sent to it last.
const DISCARDED_AT_ONCE: usize = 64 << 10;

/// A socket that listens.
#[derive(Debug)]
pub struct StreamListener {
    socket: mio::net::TcpListener,
    address: SocketAddr,
}

/// What came of an attempt to accept.
#[derive(Debug)]
pub enum Accepted {
    /// A connection, and where it comes from.
    Stream(TcpPipe, SocketAddr),
    /// Nobody waits.
    Nobody,
    /// The process or the system has no descriptor left, or no memory, or the socket itself is at fault: who waits goes on
    /// waiting.
    Failed(io::Error),
    /// One that waited has gone; there may be more.
    Gone,
}

impl StreamListener {
    /// Listens on `address`, also where connections of a server before this one have not died down (SO_REUSEADDR).
    /// Errors: AddressInUse; Address, when no local interface has the address; Io.
    pub fn bind(address: &ListenAddress) -> Result<StreamListener> {
        let mut wanted = address.socket;
        let mut result = open(wanted, address.dual_stack);
        let final_kinds = [io::ErrorKind::AddrInUse, io::ErrorKind::PermissionDenied];
        if address.ipv4_will_do && result.as_ref().is_err_and(|e| !final_kinds.contains(&e.kind())) {
            wanted = SocketAddr::from((Ipv4Addr::UNSPECIFIED, wanted.port()));
            result = open(wanted, false);
        }
        let explain = |error: io::Error| {
            let kind = match error.kind() {
                io::ErrorKind::AddrInUse => ErrorKind::AddressInUse,
                io::ErrorKind::AddrNotAvailable => ErrorKind::Address,
                _ => ErrorKind::Io,
            };
            Error::new(kind, format!("cannot listen on {wanted} for streams: {error}"))
        };
        let socket = mio::net::TcpListener::from_std(result.map_err(explain)?.into());
        let address = socket.local_addr().map_err(explain)?;
        Ok(StreamListener { socket, address })
    }

    /// The bound address, with the port that the system chose where 0 was asked.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// What the event loop waits for.
    pub fn source(&mut self) -> &mut dyn mio::event::Source {
        &mut self.socket
    }

    /// Takes the next one who waits. Never waits itself.
    pub fn accept(&self) -> Accepted {
        match self.socket.accept() {
            Ok((stream, from)) => Accepted::Stream(TcpPipe::new(stream), canonical(from)),
            Err(error) => not_accepted(error),
        }
    }
}

/// What an error says of the next attempt.
fn not_accepted(error: io::Error) -> Accepted {
    match error.kind() {
        io::ErrorKind::WouldBlock => Accepted::Nobody,
        // Linux hands errors of the connection on to whoever accepts it; the next one may be sound.
        _ if is_of_connection(&error) => Accepted::Gone,
        _ => Accepted::Failed(error),
    }
}

fn open(address: SocketAddr, dual_stack: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!dual_stack)?;
    }
    // On Windows it would let another process take the port.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Whether one connection, and not the system or the socket that listens, is what failed. What is not known to be is taken for
/// the system: it may stay.
fn is_of_connection(error: &io::Error) -> bool {
    #[cfg(unix)]
    let numbers = [
        libc::ECONNABORTED,
        libc::ECONNRESET,
        libc::EHOSTDOWN,
        libc::EHOSTUNREACH,
        libc::EINTR,
        libc::ENETDOWN,
        libc::ENETUNREACH,
        libc::ENOPROTOOPT,
        libc::EPERM,
        libc::EPROTO,
        libc::ETIMEDOUT,
    ];
    // WSAEINTR, WSAENETDOWN, WSAENETUNREACH, WSAECONNABORTED, WSAECONNRESET, WSAETIMEDOUT, WSAEHOSTDOWN, WSAEHOSTUNREACH.
    #[cfg(not(unix))]
    let numbers = [10004, 10050, 10051, 10053, 10054, 10060, 10064, 10065];
    error.raw_os_error().is_some_and(|number| numbers.contains(&number))
}

/// A TCP connection.
#[derive(Debug)]
pub struct TcpPipe {
    socket: mio::net::TcpStream,
    /// A client's: the system has not said yet that it is connected.
    connecting: bool,
    /// And that nobody listens there.
    refused: bool,
}

impl TcpPipe {
    fn new(socket: mio::net::TcpStream) -> TcpPipe {
        // What cannot be set makes it slower to answer, or to notice that nobody is there.
        let _ = socket.set_nodelay(true);
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
        #[cfg(unix)]
        let keepalive = keepalive.with_retries(KEEPALIVE_QUESTIONS);
        let _ = SockRef::from(&socket).set_tcp_keepalive(&keepalive);
        TcpPipe { socket, connecting: false, refused: false }
    }

    /// Begins to connect; the first [`read`](Pipe::read) that finds it done says [`Incoming::Opened`]. Errors: what the
    /// system says at once (no descriptor, no route).
    pub fn connect(address: SocketAddr) -> io::Result<TcpPipe> {
        let pipe = TcpPipe::new(mio::net::TcpStream::connect(address)?);
        Ok(TcpPipe { connecting: true, ..pipe })
    }

    /// For what is spoken over it.
    pub(super) fn socket_mut(&mut self) -> &mut mio::net::TcpStream {
        &mut self.socket
    }

    /// Whether the system has not said yet that it is connected.
    pub(super) fn is_connecting(&self) -> bool {
        self.connecting
    }

    /// Asks the system once more: [`Incoming::Opened`] when it is.
    pub(super) fn try_connect(&mut self) -> Incoming<'static> {
        match self.is_connected() {
            Ok(true) => {
                self.connecting = false;
                Incoming::Opened
            }
            Ok(false) => Incoming::Nothing,
            Err(error) => {
                self.refused = error.kind() == io::ErrorKind::ConnectionRefused;
                Incoming::Gone(Some(Farewell { text: error.to_string(), ..Farewell::default() }))
            }
        }
    }

    /// Whether the system says that the connection stands. Errors: why it does not and will not.
    fn is_connected(&self) -> io::Result<bool> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        match self.socket.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Calls until no signal interrupts; `None`: it would have to wait.
pub(super) fn unless_blocked<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<Option<T>> {
    for _ in 0..MAX_INTERRUPTS {
        match call() {
            Ok(value) => return Ok(Some(value)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Signals in a row that one call passes over.
const MAX_INTERRUPTS: u32 = 64;

impl Pipe for TcpPipe {
    fn read<'a>(&mut self, buffer: &'a mut [u8]) -> Incoming<'a> {
        if self.connecting {
            return self.try_connect();
        }
        match unless_blocked(|| self.socket.read(buffer)) {
            Ok(None) => Incoming::Nothing,
            Ok(Some(0)) => Incoming::End,
            Ok(Some(bytes)) => Incoming::Bytes(buffer.get(..bytes).unwrap_or_default()),
            Err(error) => Incoming::Gone(Some(failure(&error))),
        }
    }

    fn write(&mut self, out: Outgoing<'_>) -> io::Result<usize> {
        match out {
            Outgoing::Bytes(bytes) => Ok(unless_blocked(|| self.socket.write(bytes))?.unwrap_or(0)),
            Outgoing::Message(..) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn close(&mut self, _farewell: &Farewell) -> Closing {
        // Whoever has gone already is told nothing.
        let _ = self.socket.shutdown(Shutdown::Write);
        self.go_on_closing()
    }

    fn go_on_closing(&mut self) -> Closing {
        let mut buffer = [0; 4096];
        for _ in 0..DISCARDED_AT_ONCE / buffer.len() {
            match unless_blocked(|| self.socket.read(&mut buffer)) {
                Ok(Some(1..)) => {}
                Ok(None) => return Closing::Waits,
                Ok(Some(0)) | Err(_) => return Closing::Over,
            }
        }
        Closing::Busy
    }

    fn trouble(&self) -> Trouble {
        if self.refused {
            return Trouble::NobodyListens;
        }
        Trouble::Unknown
    }

    fn source(&mut self) -> Option<&mut dyn mio::event::Source> {
        Some(&mut self.socket)
    }
}

/// How a broken connection is told to the host.
pub(super) fn failure(error: &io::Error) -> Farewell {
    Farewell { text: format!("the connection broke: {error}"), ..Farewell::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn what_is_not_known_to_be_of_one_connection_makes_the_door_rest() {
        let after = |number| not_accepted(io::Error::from_raw_os_error(number));
        assert!(matches!(after(libc::EAGAIN), Accepted::Nobody));
        for number in [libc::ECONNABORTED, libc::ECONNRESET, libc::EPROTO, libc::EPERM] {
            assert!(matches!(after(number), Accepted::Gone), "{number}");
        }
        for number in
            [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EINVAL, libc::EBADF, libc::ENOTSOCK, 9999]
        {
            assert!(matches!(after(number), Accepted::Failed(_)), "{number}");
        }
    }
}
