//! One UDP socket that never blocks.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV6};
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, Protocol, Socket, Type};

use crate::error::{Error, ErrorKind, Result};
use crate::net::address::ListenAddress;
use crate::net::fragmentation;

/// How many errors in a row a call passes over that say nothing about its own datagram (an ICMP answer to
/// an earlier one, an interrupting signal); after that it returns the error.
const MAX_SOFT_ERRORS: u32 = 64;

/// The kernel counts its own bookkeeping into the size of a buffer: Linux doubles what is asked.
const BUFFER_FACTOR: usize = if cfg!(target_os = "linux") { 2 } else { 1 };

/// Most bytes that are asked of the kernel, whose option is an `int`; it grants less anyway.
const MAX_BUFFER_BYTES: usize = i32::MAX as usize;

/// A bound UDP socket. IPv4 addresses are given and taken as IPv4 even where the socket is an IPv6 one.
#[derive(Debug)]
pub struct UdpSocket {
    socket: mio::net::UdpSocket,
    address: SocketAddr,
    dual_stack: bool,
    receive_bytes: usize,
    send_bytes: usize,
    /// The system is asked to say when nobody listens where something was sent to, and it said so.
    hears_refusals: AtomicBool,
    refused: AtomicBool,
    /// Whether the system cuts one message into many datagrams.
    sends_trains: AtomicBool,
}

impl UdpSocket {
    /// Binds `address` and asks the kernel for buffers of so many bytes; it may grant less, see
    /// [`receive_bytes`](Self::receive_bytes). Errors: AddressInUse; Address, when no local interface has the
    /// address; Io.
    pub fn bind(address: &ListenAddress, receive_bytes: usize, send_bytes: usize) -> Result<UdpSocket> {
        UdpSocket::bind_by(address, |socket, dual_stack| open(socket, dual_stack, receive_bytes, send_bytes))
    }

    /// `open` makes a bound socket of an address and the wish for a dual stack.
    fn bind_by(
        address: &ListenAddress,
        open: impl Fn(SocketAddr, bool) -> io::Result<Socket>,
    ) -> Result<UdpSocket> {
        let (mut wanted, mut dual_stack) = (address.socket, address.dual_stack);
        let mut result = open(wanted, dual_stack);
        // Systems say in many ways that they have no IPv6, but in one way that a port is taken or forbidden:
        // and that would be as true, or wrongly untrue, for IPv4 alone.
        let final_kinds = [io::ErrorKind::AddrInUse, io::ErrorKind::PermissionDenied];
        if address.ipv4_will_do && result.as_ref().is_err_and(|error| !final_kinds.contains(&error.kind())) {
            wanted = SocketAddr::from((Ipv4Addr::UNSPECIFIED, wanted.port()));
            dual_stack = false;
            result = open(wanted, dual_stack);
        }
        let explain = |error: io::Error| {
            let kind = match error.kind() {
                io::ErrorKind::AddrInUse => ErrorKind::AddressInUse,
                io::ErrorKind::AddrNotAvailable => ErrorKind::Address,
                _ => ErrorKind::Io,
            };
            Error::new(kind, format!("cannot listen on {wanted}: {error}"))
        };
        let socket = result.map_err(explain)?;
        let receive_bytes = socket.recv_buffer_size().map_err(explain)? / BUFFER_FACTOR;
        let send_bytes = socket.send_buffer_size().map_err(explain)? / BUFFER_FACTOR;
        let socket = mio::net::UdpSocket::from_std(socket.into());
        let address = socket.local_addr().map_err(explain)?;
        let (hears_refusals, refused) = (AtomicBool::new(false), AtomicBool::new(false));
        let sends_trains = AtomicBool::new(cuts_trains(&socket));
        Ok(UdpSocket {
            socket,
            address,
            dual_stack,
            receive_bytes,
            send_bytes,
            hears_refusals,
            refused,
            sends_trains,
        })
    }

    /// The bound address, with the port that the system chose where 0 was asked.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it takes IPv4 beside IPv6.
    pub fn is_dual_stack(&self) -> bool {
        self.dual_stack
    }

    /// Bytes that the kernel granted for its receive buffer, in the units in which they were asked. Each
    /// datagram takes several hundred bytes of it beside its own.
    pub fn receive_bytes(&self) -> usize {
        self.receive_bytes
    }

    /// The same for sending.
    pub fn send_bytes(&self) -> usize {
        self.send_bytes
    }

    /// Takes one datagram: its length and its source, IPv4 where it came by IPv4. `None`: there is none now.
    /// What does not fit into `buffer` is lost, so that a length equal to the buffer's may mean a cut one.
    /// Errors: what the operating system says; the socket can be used further.
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
        match self.retrying(|| self.socket.recv_from(buffer)) {
            Ok((length, source)) => Ok(Some((length, canonical(source)))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends one datagram. `false`: the system has no room now, nothing was sent. Errors: what the operating
    /// system says of this datagram (no route, too long, forbidden, wrong family); the socket can be used
    /// further.
    pub fn send_to(&self, data: &[u8], target: SocketAddr) -> io::Result<bool> {
        let target = self.outward(target);
        match self.retrying(|| self.socket.send_to(data, target)) {
            Ok(_) => Ok(true),
            Err(error) if is_no_room(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// As [`send_to`](Self::send_to), for a datagram that asks how much the path carries: no router and no system may
    /// cut it into pieces. Where the system cannot promise that (all but Linux), it is not sent: `false`. One that is
    /// too long for the way out counts as sent, and is lost like one that was too long further on.
    pub fn send_whole(&self, data: &[u8], target: SocketAddr) -> io::Result<bool> {
        let Ok(before) = fragmentation::forbid(&self.socket) else { return Ok(false) };
        let sent = self.send_to(data, target);
        fragmentation::restore(&self.socket, before)?;
        match sent {
            Err(error) if fragmentation::is_too_long(&error) => Ok(true),
            sent => sent,
        }
    }

    /// Asks the system to tell ([`take_refused`](Self::take_refused)) when a port that was sent to is closed,
    /// or to stop telling, which forgets what was not heard yet. The answers are ICMP messages, which anybody can
    /// forge who knows both addresses and ports: good for giving up early, not for ending what works.
    ///
    /// Linux wants to be asked; Windows tells always; other systems tell of connected sockets only.
    pub fn hear_refusals(&self, on: bool) {
        #[cfg(target_os = "linux")]
        for (level, option) in
            [(libc::IPPROTO_IP, libc::IP_RECVERR), (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)]
        {
            // An IPv4 socket has no option of IPv6. Without the option the wait for an answer ends later.
            let _ = set_option(&self.socket, level, option, on.into());
        }
        #[cfg(not(target_os = "linux"))]
        let _ = on;
        // What waits is told by the next call otherwise.
        let _ = self.socket.take_error();
        self.refused.store(false, Ordering::Relaxed);
        self.hears_refusals.store(on, Ordering::Relaxed);
    }

    /// Whether since the last call the system said that a port that was sent to is closed.
    pub fn take_refused(&self) -> bool {
        self.refused.swap(false, Ordering::Relaxed)
    }

    fn noting<T>(&self, result: io::Result<T>) -> io::Result<T> {
        let refusals = [io::ErrorKind::ConnectionRefused, io::ErrorKind::ConnectionReset];
        if result.as_ref().is_err_and(|error| refusals.contains(&error.kind())) {
            self.refused.store(true, Ordering::Relaxed);
        }
        result
    }

    /// Makes a call on this socket, again while it fails for reasons that are not its own, within a bound.
    pub(super) fn retrying<T>(&self, mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        retry(|| self.noting(call()))
    }

    /// An address in the form in which the socket sends to it.
    pub(super) fn outward(&self, target: SocketAddr) -> SocketAddr {
        match target {
            SocketAddr::V4(v4) if self.dual_stack => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
            other => other,
        }
    }

    /// Asks the system to hand over datagrams of one length from one source as one message. Whether it will: from
    /// then on every read needs room for the longest.
    pub(super) fn join_received(&self) -> bool {
        #[cfg(target_os = "linux")]
        return set_option(&self.socket, libc::SOL_UDP, libc::UDP_GRO, 1).is_ok();
        #[cfg(not(target_os = "linux"))]
        false
    }

    /// Lets it send to broadcast addresses. Errors: what the operating system says.
    pub fn allow_broadcast(&self) -> io::Result<()> {
        self.socket.set_broadcast(true)
    }

    /// Whether refusals are heard: an error of an earlier datagram can then stand before what waits to be read.
    pub(super) fn hears_refusals(&self) -> bool {
        self.hears_refusals.load(Ordering::Relaxed)
    }

    /// Whether one message may be many datagrams.
    #[cfg(target_os = "linux")]
    pub(super) fn sends_trains(&self) -> bool {
        self.sends_trains.load(Ordering::Relaxed)
    }

    /// From now on it may not.
    #[cfg(target_os = "linux")]
    pub(super) fn stop_trains(&self) {
        self.sends_trains.store(false, Ordering::Relaxed);
    }

    #[cfg(target_os = "linux")]
    pub(super) fn descriptor(&self) -> std::os::fd::RawFd {
        std::os::fd::AsRawFd::as_raw_fd(&self.socket)
    }

    /// For the event loop, which registers it.
    pub(super) fn source(&mut self) -> &mut mio::net::UdpSocket {
        &mut self.socket
    }
}

/// Makes a bound socket. Without SO_REUSEADDR: two servers on one port would share its datagrams at random.
fn open(
    address: SocketAddr,
    dual_stack: bool,
    receive_bytes: usize,
    send_bytes: usize,
) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!dual_stack)?;
    }
    socket.set_nonblocking(true)?;
    // A size that is not granted is no reason to fail: the getters tell.
    if force_buffer(&socket, Direction::Receive, receive_bytes).is_err() {
        let _ = socket.set_recv_buffer_size(receive_bytes.min(MAX_BUFFER_BYTES));
    }
    if force_buffer(&socket, Direction::Send, send_bytes).is_err() {
        let _ = socket.set_send_buffer_size(send_bytes.min(MAX_BUFFER_BYTES));
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

#[derive(Clone, Copy)]
enum Direction {
    Receive,
    Send,
}

/// Asks for a buffer beyond the system's limit, which Linux allows to processes with CAP_NET_ADMIN.
#[cfg(target_os = "linux")]
fn force_buffer(socket: &Socket, direction: Direction, bytes: usize) -> io::Result<()> {
    let option = match direction {
        Direction::Receive => libc::SO_RCVBUFFORCE,
        Direction::Send => libc::SO_SNDBUFFORCE,
    };
    set_option(socket, libc::SOL_SOCKET, option, bytes.min(MAX_BUFFER_BYTES) as libc::c_int)
}

/// Sets an option of a socket whose value is an `int`.
#[cfg(target_os = "linux")]
fn set_option(
    socket: &impl std::os::fd::AsRawFd,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `socket` is borrowed; the pointer and the length are
    // those of `value`, a live c_int, which the call only reads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Whether the system knows how to cut one message into many datagrams: then it takes the wish to cut none.
#[cfg(target_os = "linux")]
fn cuts_trains(socket: &mio::net::UdpSocket) -> bool {
    set_option(socket, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn cuts_trains(_: &mio::net::UdpSocket) -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
fn force_buffer(_: &Socket, _: Direction, _: usize) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Repeats a call while it fails for reasons that are not its own, within a bound.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut result = call();
    for _ in 0..MAX_SOFT_ERRORS {
        match &result {
            Err(error) if is_soft(error) => result = call(),
            _ => break,
        }
    }
    result
}

/// Whether an error tells of an earlier datagram, or of nothing at all.
fn is_soft(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    // Windows says WSAEMSGSIZE where others cut a datagram that is longer than the buffer.
    let cut = cfg!(windows) && error.raw_os_error() == Some(10040);
    // Windows says WSAENETRESET when an ICMP message tells that a time to live ran out.
    let expired = cfg!(windows) && error.raw_os_error() == Some(10052);
    let earlier =
        [ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted].contains(&error.kind());
    earlier || cut || expired
}

/// Whether a send found no room, of which there may be some later.
pub(super) fn is_no_room(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || is_no_buffers(error)
}

fn is_no_buffers(error: &io::Error) -> bool {
    #[cfg(unix)]
    let number = libc::ENOBUFS;
    // WSAENOBUFS.
    #[cfg(not(unix))]
    let number = 10055;
    error.raw_os_error() == Some(number)
}

/// The one form of a remote address: IPv4-mapped ones as IPv4, and no flow label, which would make two
/// addresses of one peer.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => address,
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => (v4, v6.port()).into(),
            None => SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id()).into(),
        },
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};
    use std::io::Write;
    use std::time::Duration;

    const BYTES: usize = 64 * 1024;

    pub(in crate::net) fn bind(text: &str) -> UdpSocket {
        UdpSocket::bind(&ListenAddress::parse(text).unwrap(), BYTES, BYTES).unwrap()
    }

    /// Whether this machine has IPv6; if not, says so past the test runner's capture.
    pub(in crate::net) fn ipv6_is_available(test: &str) -> bool {
        let available = std::net::UdpSocket::bind("[::1]:0").is_ok();
        if !available {
            let _ = writeln!(io::stderr(), "NOT TESTED, this machine has no IPv6: {test}");
        }
        available
    }

    /// Waits for a datagram, ten seconds at most.
    fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 2048];
        for _ in 0..10_000 {
            if let Some((length, source)) = socket.recv_from(&mut buffer).unwrap() {
                return (buffer[..length].to_vec(), source);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("nothing arrived");
    }

    fn at(address: &str, socket: &UdpSocket) -> SocketAddr {
        SocketAddr::new(address.parse().unwrap(), socket.local_address().port())
    }

    /// A datagram each way between `server`, reached at `address`, and a client.
    #[track_caller]
    fn exchange(server: &UdpSocket, address: &str, client: &UdpSocket) {
        assert!(client.send_to(b"to the server", at(address, server)).unwrap());
        let (data, source) = receive(server);
        assert_eq!((&data[..], source), (&b"to the server"[..], client.local_address()));
        assert!(server.send_to(b"", source).unwrap());
        assert_eq!(receive(client), (vec![], at(address, server)));
    }

    #[test]
    fn ipv4_both_ways_and_nothing_is_none() {
        let (server, client) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
        assert_ne!(server.local_address().port(), 0);
        assert!(server.recv_from(&mut [0; 10]).unwrap().is_none());
        exchange(&server, "127.0.0.1", &client);
        exchange(&bind("0.0.0.0:0"), "127.0.0.1", &client);
    }

    #[test]
    fn a_longer_datagram_is_cut() {
        let (server, client) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
        client.send_to(&[7; 100], server.local_address()).unwrap();
        client.send_to(b"next", server.local_address()).unwrap();
        let mut buffer = [0; 50];
        for _ in 0..10_000 {
            match server.recv_from(&mut buffer).unwrap() {
                // Windows skips a cut datagram.
                Some((50, _)) => assert_eq!(buffer, [7; 50]),
                Some((length, _)) => return assert_eq!(&buffer[..length], b"next"),
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        panic!("nothing arrived");
    }

    #[test]
    fn ipv6_both_ways() {
        if ipv6_is_available("ipv6_both_ways") {
            exchange(&bind("[::1]:0"), "::1", &bind("[::1]:0"));
        }
    }

    #[test]
    fn a_dual_stack_socket_speaks_both_and_shows_ipv4_as_ipv4() {
        if !ipv6_is_available("a_dual_stack_socket_speaks_both_and_shows_ipv4_as_ipv4") {
            return;
        }
        for text in ["[::]:0", ":0"] {
            let server = bind(text);
            assert!(server.is_dual_stack() && server.local_address().is_ipv6());
            exchange(&server, "::1", &bind("[::1]:0"));
            exchange(&server, "127.0.0.1", &bind("127.0.0.1:0"));
        }
        assert!(!bind("[::1]:0").is_dual_stack());
    }

    #[test]
    fn all_interfaces_will_do_with_ipv4_where_ipv6_fails() {
        let address = ListenAddress::parse(":0").unwrap();
        for kind in [io::ErrorKind::Unsupported, io::ErrorKind::AddrNotAvailable, io::ErrorKind::Other] {
            let asked = RefCell::new(Vec::new());
            let server = UdpSocket::bind_by(&address, |socket, dual_stack| {
                asked.borrow_mut().push((socket.to_string(), dual_stack));
                if socket.is_ipv6() {
                    Err(kind.into())
                } else {
                    open(socket, dual_stack, BYTES, BYTES)
                }
            })
            .unwrap();
            assert_eq!(*asked.borrow(), [("[::]:0".to_owned(), true), ("0.0.0.0:0".to_owned(), false)]);
            assert!(!server.is_dual_stack() && server.local_address().is_ipv4());
            exchange(&server, "127.0.0.1", &bind("127.0.0.1:0"));
        }
    }

    #[test]
    fn a_taken_or_forbidden_port_and_an_explicit_ipv6_do_not_fall_back() {
        let tries = Cell::new(0);
        let fails = |text: &str, kind: io::ErrorKind| {
            tries.set(0);
            let address = ListenAddress::parse(text).unwrap();
            let result = UdpSocket::bind_by(&address, |_, _| {
                tries.set(tries.get() + 1);
                Err(kind.into())
            });
            (result.unwrap_err().kind(), tries.get())
        };
        assert_eq!(fails(":1", io::ErrorKind::AddrInUse), (ErrorKind::AddressInUse, 1));
        assert_eq!(fails(":1", io::ErrorKind::PermissionDenied), (ErrorKind::Io, 1));
        assert_eq!(fails("[::]:1", io::ErrorKind::Unsupported), (ErrorKind::Io, 1));
        assert_eq!(fails("[::1]:1", io::ErrorKind::AddrNotAvailable), (ErrorKind::Address, 1));
        assert_eq!(fails(":1", io::ErrorKind::Unsupported), (ErrorKind::Io, 2));
    }

    #[test]
    fn a_busy_port_is_address_in_use() {
        let first = bind("127.0.0.1:0");
        let text = first.local_address().to_string();
        let error = UdpSocket::bind(&ListenAddress::parse(&text).unwrap(), BYTES, BYTES).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddressInUse);
        assert!(error.to_string().contains(&text), "{error}");

        // All interfaces would quietly lack this one, in IPv4 as in a dual stack.
        let first = bind("0.0.0.0:0");
        let text = format!(":{}", first.local_address().port());
        let error = UdpSocket::bind(&ListenAddress::parse(&text).unwrap(), BYTES, BYTES).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddressInUse);
    }

    #[test]
    fn an_address_of_nobody_here_is_an_address_error() {
        // Reserved for documentation.
        let address = ListenAddress::parse("192.0.2.1:0").unwrap();
        assert_eq!(UdpSocket::bind(&address, BYTES, BYTES).unwrap_err().kind(), ErrorKind::Address);
    }

    #[test]
    fn buffers_are_asked_for_and_the_getters_tell_what_was_granted() {
        let socket = bind("127.0.0.1:0");
        assert!(socket.receive_bytes() >= BYTES && socket.send_bytes() >= BYTES, "{socket:?}");
        // More than anybody grants: not an error.
        let address = ListenAddress::parse("127.0.0.1:0").unwrap();
        let large = UdpSocket::bind(&address, usize::MAX, usize::MAX).unwrap();
        assert!(large.receive_bytes() >= socket.receive_bytes());
    }

    #[test]
    fn a_send_that_cannot_be_is_an_error_and_the_socket_lives_on() {
        let (server, client) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
        assert!(client.send_to(&[0; 70_000], server.local_address()).is_err(), "longer than UDP can carry");
        assert!(client.send_to(b"x", "[::1]:9".parse().unwrap()).is_err(), "another family");
        exchange(&server, "127.0.0.1", &client);
    }

    #[test]
    fn a_closed_port_on_the_other_side_disturbs_nothing() {
        let (server, client, gone) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"), bind("127.0.0.1:0"));
        let nobody = gone.local_address();
        drop(gone);
        for _ in 0..10 {
            assert!(server.send_to(b"x", nobody).unwrap());
        }
        exchange(&server, "127.0.0.1", &client);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_closed_port_is_told_to_who_asked_and_to_nobody_else() {
        let (deaf, gone) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
        let nobody = gone.local_address();
        drop(gone);
        for asking in [bind("127.0.0.1:0"), bind("[::]:0")] {
            asking.hear_refusals(true);
            assert!(asking.send_to(b"x", nobody).unwrap() && deaf.send_to(b"x", nobody).unwrap());
            // Over loopback the answer is there when the send has returned.
            assert_eq!(asking.recv_from(&mut [0; 10]).unwrap(), None);
            assert_eq!(deaf.recv_from(&mut [0; 10]).unwrap(), None);
            assert!(asking.take_refused() && !asking.take_refused() && !deaf.take_refused(), "{asking:?}");
            asking.send_to(b"x", nobody).unwrap();
            asking.hear_refusals(false);
            asking.send_to(b"x", nobody).unwrap();
            asking.recv_from(&mut [0; 10]).unwrap();
            assert!(!asking.take_refused(), "{asking:?}");
        }
    }

    #[test]
    fn soft_errors_are_passed_over_within_a_bound() {
        let calls = Cell::new(0);
        let after = |soft: u32, kind: io::ErrorKind| {
            calls.set(0);
            retry(|| {
                calls.set(calls.get() + 1);
                if calls.get() <= soft {
                    Err(kind.into())
                } else {
                    Ok(calls.get())
                }
            })
        };
        assert_eq!(after(3, io::ErrorKind::ConnectionRefused).unwrap(), 4);
        assert_eq!(after(MAX_SOFT_ERRORS, io::ErrorKind::Interrupted).unwrap(), MAX_SOFT_ERRORS + 1);
        let error = after(u32::MAX, io::ErrorKind::ConnectionReset).unwrap_err();
        assert_eq!((error.kind(), calls.get()), (io::ErrorKind::ConnectionReset, MAX_SOFT_ERRORS + 1));
        assert!(after(1, io::ErrorKind::WouldBlock).is_err());
        assert_eq!(calls.get(), 1);
    }

    #[test]
    fn a_datagram_that_must_stay_whole_arrives_whole_or_not_at_all() {
        for address in ["127.0.0.1:0", ":0"] {
            let (server, client) = (bind("127.0.0.1:0"), bind(address));
            let sent = client.send_whole(&[5; 1400], server.local_address()).unwrap();
            assert_eq!(sent, cfg!(target_os = "linux"));
            if !sent {
                return;
            }
            assert_eq!(receive(&server).0.len(), 1400);
            // Nobody hears of one that no way out is wide enough for; afterwards all is as before.
            assert!(client.send_whole(&[5; 65_507], server.local_address()).is_ok());
            assert!(client.send_to(&[6; 3000], server.local_address()).unwrap());
        }
    }

    #[test]
    fn one_peer_has_one_address() {
        let v6 = |text: &str, flow, scope| SocketAddrV6::new(text.parse().unwrap(), 5, flow, scope).into();
        assert_eq!(canonical(v6("::ffff:192.0.2.1", 0, 0)), "192.0.2.1:5".parse().unwrap());
        assert_eq!(canonical(v6("fe80::1", 77, 3)), v6("fe80::1", 0, 3));
        assert_eq!(canonical("192.0.2.1:5".parse().unwrap()), "192.0.2.1:5".parse().unwrap());
    }
}
