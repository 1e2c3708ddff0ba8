//! Looking for servers: one query for whoever listens, and the answers that come within a time.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use crate::crypto::RingProvider;
use crate::error::{Error, ErrorKind, Result};
use crate::net::address::ListenAddress;
use crate::net::clock::Clock;
use crate::net::event_loop::EventLoop;
use crate::net::interfaces;
use crate::net::udp::UdpSocket;
use crate::protocol::crypto::Provider;
use crate::protocol::time::Time;
use crate::protocol::wire::mpgameserver::MAX_DATAGRAM;
use crate::protocol::wire::query::{self, Nonce, NONCE_LEN};

/// Ports that one search asks at most.
pub const MAX_PORTS: usize = 64;
/// Addresses that one search asks at most, beside those of the ports.
pub const MAX_ADDRESSES: usize = 256;
/// Every machine on a link, in IPv6, where there is no broadcast: the group that each of them is in (RFC 4291), so that a
/// server hears it without joining anything.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Servers that one search finds at most; those that answer later are left out.
pub const MAX_FOUND: usize = 256;
/// The longest search.
pub const MAX_SEARCH_TIME: Duration = Duration::from_secs(60);
/// How often everybody is asked, since a query or an answer can be lost: at the beginning, after one fourth
/// of the time, and after half of it.
const ROUNDS: u32 = 3;
/// Datagrams read before the clock is looked at again.
const READS_PER_LOOK: usize = 64;
/// Bytes asked of the kernel for each of the socket's buffers.
const BUFFER_BYTES: usize = 1 << 20;

/// A server that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where its answer came from. One that is reached by two ways is found at two addresses.
    pub address: SocketAddr,
    /// What it tells about itself. Nobody vouches for that.
    pub info: Vec<u8>,
    /// Time from the query to the answer.
    pub round_trip: Duration,
}

/// Asks for servers and waits for `timeout`, on this thread: on each of `ports` at all machines of the local
/// network (IPv4: broadcast; IPv6: the group `ff02::1` on each of the first 32 interfaces that have IPv6) and at this
/// machine, and at each of `addresses`, of either family. Ends early when nobody but `addresses` was asked and as many
/// have answered. A server answers if it has `discovery_info`. The order is that of the answers. One that is reached in
/// several ways is found at several addresses: a link-local one of IPv6 with the number of the interface, and good for
/// this machine only.
///
/// Errors: Argument (more than 64 ports or 256 addresses, none at all, port 0, a time beyond 60 s), Io.
pub fn discover(ports: &[u16], addresses: &[SocketAddr], timeout: Duration) -> Result<Vec<Found>> {
    let interfaces = if ports.is_empty() { Vec::new() } else { interfaces::ipv6_multicast() };
    let targets = targets(ports, &interfaces, addresses, timeout)?;
    let awaited = if ports.is_empty() { addresses.len() } else { MAX_FOUND };
    let io = |e: std::io::Error| Error::new(ErrorKind::Io, format!("the search's socket failed: {e}"));
    // Of both families, or of IPv4 alone where the system has no IPv6.
    let socket = UdpSocket::bind(&ListenAddress::parse(":0")?, BUFFER_BYTES, BUFFER_BYTES)?;
    socket.allow_broadcast().map_err(io)?;
    let mut search = Search {
        event_loop: EventLoop::new(socket).map_err(io)?,
        clock: Clock::new(),
        targets,
        asked: Vec::new(),
        found: Vec::new(),
    };
    let start = search.clock.now();
    let end = start + timeout;
    loop {
        let now = search.clock.now();
        let round = search.asked.len() as u32;
        let next = if round < ROUNDS { start + timeout * round / (ROUNDS + 1) } else { end };
        if round < ROUNDS && now >= next {
            search.ask()?;
            continue;
        }
        if now >= end || search.found.len() >= awaited {
            return Ok(search.found);
        }
        search.event_loop.wait(Some(next.since(now))).map_err(io)?;
        search.read().map_err(io)?;
    }
}

/// Who is asked; `interfaces` are those to ask on by IPv6.
fn targets(
    ports: &[u16],
    interfaces: &[u32],
    addresses: &[SocketAddr],
    timeout: Duration,
) -> Result<Vec<SocketAddr>> {
    let wrong = |text: String| Err(Error::new(ErrorKind::Argument, text));
    if ports.len() > MAX_PORTS || addresses.len() > MAX_ADDRESSES || ports.len() + addresses.len() == 0 {
        return wrong(format!(
            "{} ports and {} addresses: allowed are {MAX_PORTS} and {MAX_ADDRESSES}, and at least one",
            ports.len(),
            addresses.len()
        ));
    }
    if timeout > MAX_SEARCH_TIME {
        return wrong(format!("a search of {timeout:?}, allowed are {MAX_SEARCH_TIME:?}"));
    }
    let nearby = |port: &u16| {
        let port = *port;
        let v4 = [Ipv4Addr::BROADCAST, Ipv4Addr::LOCALHOST].map(|ip| SocketAddr::from((ip, port)));
        let on = |number: &u32| SocketAddr::from(SocketAddrV6::new(ALL_NODES, port, 0, *number));
        let v6 = [SocketAddr::from((Ipv6Addr::LOCALHOST, port))];
        v4.into_iter().chain(v6).chain(interfaces.iter().map(on)).collect::<Vec<_>>()
    };
    let targets: Vec<SocketAddr> = ports.iter().flat_map(nearby).chain(addresses.iter().copied()).collect();
    if targets.iter().any(|t| t.port() == 0) {
        return wrong("port 0 is no port that a server can have".into());
    }
    Ok(targets)
}

/// A search under way.
struct Search {
    event_loop: EventLoop,
    clock: Clock,
    targets: Vec<SocketAddr>,
    /// The rounds so far: each has its nonce, so that an answer tells when it was asked for.
    asked: Vec<(Nonce, Time)>,
    found: Vec<Found>,
}

impl Search {
    fn ask(&mut self) -> Result<()> {
        let mut nonce = [0; NONCE_LEN];
        let no_random = |_| Error::new(ErrorKind::Io, "the system gives no randomness");
        RingProvider::new().random(&mut nonce).map_err(no_random)?;
        let mut datagram = Vec::new();
        query::write_query(&nonce, &mut datagram);
        self.asked.push((nonce, self.clock.now()));
        for target in &self.targets {
            // A machine without a network has no broadcast, one without IPv6 no group, and each still has itself.
            let _unreachable = self.event_loop.send_to(&datagram, *target);
        }
        Ok(())
    }

    fn read(&mut self) -> std::io::Result<()> {
        let mut buffer = [0; MAX_DATAGRAM];
        for _ in 0..READS_PER_LOOK {
            let Some((len, from)) = self.event_loop.recv_from(&mut buffer)? else { return Ok(()) };
            let answer = buffer.get(..len).and_then(query::parse_answer);
            let Some((nonce, info)) = answer else { continue };
            let Some((_, at)) = self.asked.iter().find(|(asked, _)| *asked == nonce) else { continue };
            if self.found.len() < MAX_FOUND && self.found.iter().all(|f| f.address != from) {
                let round_trip = self.clock.now().since(*at);
                self.found.push(Found { address: from, info: info.to_vec(), round_trip });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::interfaces::MAX_INTERFACES;

    fn refused(ports: &[u16], addresses: &[SocketAddr], timeout: Duration) -> bool {
        targets(ports, &[], addresses, timeout).is_err_and(|e| e.kind() == ErrorKind::Argument)
    }

    #[test]
    fn who_can_be_asked_is_bounded() {
        let second = Duration::from_secs(1);
        let v4: SocketAddr = "192.0.2.1:2021".parse().unwrap();
        assert!(refused(&[], &[], second));
        assert!(refused(&[0], &[], second));
        assert!(refused(&[1; MAX_PORTS + 1], &[], second));
        assert!(refused(&[], &[v4; MAX_ADDRESSES + 1], second));
        assert!(refused(&[1], &[], MAX_SEARCH_TIME + second));
        let all = targets(&[1; MAX_PORTS], &[7; MAX_INTERFACES], &[v4; MAX_ADDRESSES], second).unwrap();
        assert_eq!(all.len(), MAX_PORTS * (3 + MAX_INTERFACES) + MAX_ADDRESSES);
        let v6: SocketAddr = "[2001:db8::1]:2021".parse().unwrap();
        let asked = targets(&[2021], &[2, 5], &[v4, v6], second).unwrap();
        let expected = [
            "255.255.255.255:2021",
            "127.0.0.1:2021",
            "[::1]:2021",
            "[ff02::1%2]:2021",
            "[ff02::1%5]:2021",
            "192.0.2.1:2021",
            "[2001:db8::1]:2021",
        ];
        assert_eq!(asked.iter().map(SocketAddr::to_string).collect::<Vec<_>>(), expected);
    }
}
