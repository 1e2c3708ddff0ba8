//! What to listen on, as text.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use crate::error::{Error, ErrorKind, Result};

/// Longest host name, in bytes, as DNS has it; a longer one is refused unasked.
const MAX_HOST_BYTES: usize = 253;

/// Most characters of a bad address that its error quotes.
const QUOTED_CHARACTERS: usize = 80;

/// What a socket is to be bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    /// The interface and the port; port 0 lets the system choose one.
    pub socket: SocketAddr,
    /// The socket is to take IPv4 beside IPv6. Only where `socket` is `[::]`.
    pub dual_stack: bool,
    /// Where IPv6 is unavailable, all IPv4 interfaces will do.
    pub ipv4_will_do: bool,
}

impl ListenAddress {
    /// Parses one of these; port 0 is allowed everywhere:
    ///
    /// | text | listens on |
    /// | --- | --- |
    /// | `:2021` | all interfaces, IPv6 and IPv4, or IPv4 alone where IPv6 is unavailable |
    /// | `[::]:2021` | all interfaces, IPv6 and IPv4 |
    /// | `0.0.0.0:2021` | all interfaces, IPv4 |
    /// | `127.0.0.1:2021` | one interface, IPv4 |
    /// | `[::1]:2021`, `[fe80::1%2]:2021` | one interface, IPv6; a zone is a number |
    /// | `localhost:2021` | the first IPv4 address that the name has now, or else its first address |
    ///
    /// Asks the system's resolver for names, which can take seconds. Errors: Address.
    pub fn parse(text: &str) -> Result<ListenAddress> {
        match split(text)? {
            Host::Any(port) => {
                let socket = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
                Ok(ListenAddress { socket, dual_stack: true, ipv4_will_do: true })
            }
            Host::Address(socket) => Ok(ListenAddress::of(socket)),
            Host::Name(name, port) => choose(resolve(name, port)?)
                .map(ListenAddress::of)
                .ok_or_else(|| bad(text, "its host name has no address")),
        }
    }

    fn of(socket: SocketAddr) -> ListenAddress {
        // An IPv4-mapped address is meant for IPv4: an IPv6 socket bound to one takes nothing else.
        let socket = canonical(socket);
        let dual_stack = socket.ip() == Ipv6Addr::UNSPECIFIED;
        ListenAddress { socket, dual_stack, ipv4_will_do: false }
    }
}

/// Where a server is, as a client's host writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteAddress {
    /// An address, to be used at once.
    Address(SocketAddr),
    /// A host name and a port, for [`crate::net::resolve`].
    Name(String, u16),
}

impl RemoteAddress {
    /// The name, or the address without its port.
    pub fn host(&self) -> String {
        match self {
            RemoteAddress::Address(address) => address.ip().to_string(),
            RemoteAddress::Name(name, _) => name.clone(),
        }
    }

    /// Parses `127.0.0.1:2021`, `[::1]:2021` or `example.org:2021`. Asks nobody. Errors: Address; a host and a
    /// port other than 0 are needed.
    pub fn parse(text: &str) -> Result<RemoteAddress> {
        let (address, port) = match split(text)? {
            Host::Any(_) => return Err(bad(text, "there is no host before its port")),
            Host::Address(socket) if socket.ip().is_unspecified() => {
                return Err(bad(text, "it stands for all interfaces, and a client needs one host"));
            }
            Host::Address(socket) => (RemoteAddress::Address(canonical(socket)), socket.port()),
            Host::Name(name, port) => (RemoteAddress::Name(name.to_owned(), port), port),
        };
        if port == 0 {
            return Err(bad(text, "nobody listens on port 0"));
        }
        Ok(address)
    }
}

/// What stands before the port.
enum Host<'a> {
    Any(u16),
    Address(SocketAddr),
    Name(&'a str, u16),
}

fn bad(text: &str, why: &str) -> Error {
    let quoted: String = text.chars().take(QUOTED_CHARACTERS).collect();
    Error::new(ErrorKind::Address, format!("address {quoted:?}: {why}"))
}

/// Takes an address apart, without asking anybody.
fn split(text: &str) -> Result<Host<'_>> {
    let bad = |why: &str| bad(text, why);
    let (host, port) = text.rsplit_once(':').ok_or_else(|| bad("there is no \":port\" at its end"))?;
    let is_ipv6 = |text: &str| text.parse::<Ipv6Addr>().is_ok();
    if is_ipv6(host) || is_ipv6(text) {
        return Err(bad("an IPv6 address stands in brackets, as in \"[::1]:2021\""));
    }
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = is_number
        .then(|| port.parse::<u16>().ok())
        .flatten()
        .ok_or_else(|| bad("its port is not a number from 0 to 65535"))?;
    if host.is_empty() {
        return Ok(Host::Any(port));
    }
    if host.starts_with('[') {
        // The standard library's parser knows zones; it gets the host with the port that was checked.
        let socket = format!("{host}:{port}")
            .parse::<SocketAddr>()
            .map_err(|_| bad("what stands in brackets is not an IPv6 address"))?;
        return Ok(Host::Address(socket));
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Ok(Host::Address(SocketAddr::from((address, port))));
    }
    if !is_host_name(host) {
        return Err(bad("its host is neither an IP address nor a host name"));
    }
    Ok(Host::Name(host, port))
}

/// Asks the system's resolver, which can take seconds. Errors: Address.
pub(super) fn resolve(name: &str, port: u16) -> Result<impl Iterator<Item = SocketAddr>> {
    (name, port).to_socket_addrs().map_err(|error| {
        bad(&format!("{name}:{port}"), &format!("its host name could not be resolved: {error}"))
    })
}

/// An IPv4-mapped address is meant for IPv4.
fn canonical(socket: SocketAddr) -> SocketAddr {
    match socket.ip().to_canonical() {
        address if address == socket.ip() => socket,
        address => SocketAddr::new(address, socket.port()),
    }
}

/// The first IPv4 address, or else the first: many clients know IPv4 only, and of `localhost` systems give
/// now the one and now the other first.
fn choose(addresses: impl Iterator<Item = SocketAddr>) -> Option<SocketAddr> {
    let addresses: Vec<_> = addresses.collect();
    addresses.iter().find(|address| address.is_ipv4()).or(addresses.first()).copied()
}

/// Whether the resolver may be asked. It would take `127.1`, `010.0.0.1` (octal) and `0x7f000001` for
/// addresses, which nobody who writes them here expects: hence no name that ends in a number.
fn is_host_name(host: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or("");
    let hexadecimal = last.strip_prefix("0x").or(last.strip_prefix("0X")).unwrap_or("x");
    let number = last.bytes().all(|byte| byte.is_ascii_digit())
        || hexadecimal.bytes().all(|byte| byte.is_ascii_hexdigit());
    host.len() <= MAX_HOST_BYTES && host.bytes().all(plain) && !number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ListenAddress {
        ListenAddress::parse(text).unwrap()
    }

    #[track_caller]
    fn expect(text: &str, socket: &str, dual_stack: bool, ipv4_will_do: bool) {
        let socket = socket.parse().unwrap();
        assert_eq!(parse(text), ListenAddress { socket, dual_stack, ipv4_will_do }, "{text}");
    }

    #[test]
    fn each_form_means_what_its_table_says() {
        expect("127.0.0.1:2021", "127.0.0.1:2021", false, false);
        expect("0.0.0.0:2021", "0.0.0.0:2021", false, false);
        expect("[::1]:2021", "[::1]:2021", false, false);
        expect("[fe80::1%2]:2021", "[fe80::1%2]:2021", false, false);
        expect("[::]:2021", "[::]:2021", true, false);
        expect(":2021", "[::]:2021", true, true);
        expect(":0", "[::]:0", true, true);
        expect("127.0.0.1:65535", "127.0.0.1:65535", false, false);
        expect("127.0.0.1:00080", "127.0.0.1:80", false, false);
    }

    #[test]
    fn a_mapped_address_is_ipv4() {
        expect("[::ffff:127.0.0.1]:5", "127.0.0.1:5", false, false);
        expect("[::ffff:0.0.0.0]:5", "0.0.0.0:5", false, false);
    }

    #[test]
    fn localhost_is_resolved() {
        let address = parse("localhost:2021");
        assert!(address.socket.ip().is_loopback() && address.socket.port() == 2021, "{address:?}");
        assert!(!address.dual_stack && !address.ipv4_will_do);
    }

    #[test]
    fn of_several_addresses_the_first_ipv4_one_is_taken() {
        let all = |texts: &[&str]| choose(texts.iter().map(|text| text.parse().unwrap()));
        let one = |text: &str| Some(text.parse().unwrap());
        assert_eq!(all(&["[::1]:1", "127.0.0.1:1", "127.0.0.2:1"]), one("127.0.0.1:1"));
        assert_eq!(all(&["[::1]:1", "[::2]:1"]), one("[::1]:1"));
        assert_eq!(all(&[]), None);
    }

    #[test]
    fn a_client_needs_a_host_and_a_port() {
        let address = |text: &str| RemoteAddress::Address(text.parse().unwrap());
        let parse = |text: &str| RemoteAddress::parse(text).unwrap();
        assert_eq!(parse("127.0.0.1:2021"), address("127.0.0.1:2021"));
        assert_eq!(parse("[::1]:2021"), address("[::1]:2021"));
        assert_eq!(parse("[::ffff:127.0.0.1]:5"), address("127.0.0.1:5"));
        assert_eq!(parse("example.org:2021"), RemoteAddress::Name("example.org".into(), 2021));
        for (text, part) in [
            (":2021", "no host"),
            ("0.0.0.0:2021", "all interfaces"),
            ("[::]:2021", "all interfaces"),
            ("127.0.0.1:0", "port 0"),
            ("example.org:0", "port 0"),
            ("example.org", "no \":port\""),
            ("a b:1", "neither"),
        ] {
            let error = RemoteAddress::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Address, "{text}");
            assert!(error.message().contains(part), "{error} lacks {part}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_a_reason() {
        for (text, part) in [
            ("", "no \":port\""),
            ("2021", "no \":port\""),
            ("127.0.0.1", "no \":port\""),
            ("localhost", "no \":port\""),
            (":", "port is not"),
            ("localhost:", "port is not"),
            ("127.0.0.1:65536", "port is not"),
            ("127.0.0.1:+5", "port is not"),
            ("127.0.0.1:-1", "port is not"),
            ("127.0.0.1: 5", "port is not"),
            ("127.0.0.1:http", "port is not"),
            ("[::1]", "port is not"),
            ("::1:2021", "brackets"),
            ("::", "brackets"),
            ("::1", "brackets"),
            ("2001:db8::1", "brackets"),
            ("[]:1", "brackets"),
            ("[127.0.0.1]:1", "brackets"),
            ("[::1:1", "brackets"),
            ("[::1]x:1", "brackets"),
            ("[fe80::1%eth0]:1", "brackets"),
            ("256.0.0.1:1", "neither"),
            ("127.1:1", "neither"),
            ("010.0.0.1:1", "neither"),
            ("0x7f000001:1", "neither"),
            ("1.2.3.4.:1", "neither"),
            (".:1", "neither"),
            ("*:1", "neither"),
            ("a b:1", "neither"),
            (" 127.0.0.1:1", "neither"),
            ("ho\0st:1", "neither"),
            ("bücher.example:1", "neither"),
            ("udp://localhost:1", "neither"),
            ("http/localhost:1", "neither"),
        ] {
            let error = ListenAddress::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Address, "{text}");
            assert!(error.message().contains(part), "{error} lacks {part}");
        }
        let long = ListenAddress::parse(&format!("{}:1", "a".repeat(100_000))).unwrap_err();
        assert!(long.message().len() < 300 && long.message().contains("neither"));
        // A label longer than DNS has: the resolver need not ask anybody.
        let unknown = ListenAddress::parse(&format!("{}:1", "a".repeat(64))).unwrap_err();
        assert!(unknown.message().contains("resolved"), "{unknown}");
        assert_eq!(unknown.kind(), ErrorKind::Address);
    }
}
