//! Addresses whose datagrams are dropped unread.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::error::{Error, ErrorKind, Result};

/// Most entries of a block list; a longer one is refused as a whole. A million take 40 MB or so.
pub const MAX_BLOCK_LIST_ENTRIES: usize = 1_000_000;

/// Most characters of a bad entry that its error quotes.
const QUOTED_CHARACTERS: usize = 80;

/// A set of addresses and CIDR ranges, IPv4 and IPv6.
///
/// A look-up costs one hash per prefix length in use, of which there are at most 33 and 129, however many
/// entries there are.
#[derive(Clone, Debug, Default)]
pub struct BlockList {
    v4: Vec<Prefixes<Ipv4Addr>>,
    v6: Vec<Prefixes<Ipv6Addr>>,
}

/// All entries of one prefix length.
#[derive(Clone, Debug)]
struct Prefixes<A> {
    length: u8,
    /// The networks' first addresses.
    networks: HashSet<A>,
}

impl BlockList {
    /// Entries as text: `"192.0.2.1"`, `"198.51.100.0/24"`, `"2001:db8::/32"`; blanks around an entry and
    /// set bits behind a prefix are ignored. IPv4-mapped IPv6 entries count as IPv4; a zone (`%eth0`) is not
    /// allowed. Errors: Argument, naming the bad entry, or when there are more than
    /// [`MAX_BLOCK_LIST_ENTRIES`].
    pub fn parse<S: AsRef<str>>(entries: impl IntoIterator<Item = S>) -> Result<BlockList> {
        let mut list = BlockList::default();
        for (index, entry) in entries.into_iter().enumerate() {
            if index == MAX_BLOCK_LIST_ENTRIES {
                let message = format!("the block list has more than {MAX_BLOCK_LIST_ENTRIES} entries");
                return Err(Error::new(ErrorKind::Argument, message));
            }
            let entry = entry.as_ref();
            match parse_entry(entry.trim()) {
                Some(IpNet::V4(net)) => insert(&mut list.v4, net.prefix_len(), net.network()),
                Some(IpNet::V6(net)) => insert(&mut list.v6, net.prefix_len(), net.network()),
                None => {
                    let quoted: String = entry.chars().take(QUOTED_CHARACTERS).collect();
                    let message =
                        format!("block list entry {index}, {quoted:?}, is no IP address and no CIDR range");
                    return Err(Error::new(ErrorKind::Argument, message));
                }
            }
        }
        Ok(list)
    }

    /// Whether the address is on it. IPv4-mapped IPv6 addresses count as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.iter().any(|prefixes| {
                Ipv4Net::new(address, prefixes.length)
                    .is_ok_and(|net| prefixes.networks.contains(&net.network()))
            }),
            IpAddr::V6(address) => self.v6.iter().any(|prefixes| {
                Ipv6Net::new(address, prefixes.length)
                    .is_ok_and(|net| prefixes.networks.contains(&net.network()))
            }),
        }
    }

    /// Puts one address on it, too.
    pub fn insert(&mut self, address: IpAddr) {
        match address.to_canonical() {
            IpAddr::V4(address) => insert(&mut self.v4, 32, address),
            IpAddr::V6(address) => insert(&mut self.v6, 128, address),
        }
    }

    /// Whether nothing is on it.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

fn insert<A: Eq + std::hash::Hash>(by_length: &mut Vec<Prefixes<A>>, length: u8, network: A) {
    match by_length.iter_mut().find(|prefixes| prefixes.length == length) {
        Some(prefixes) => {
            prefixes.networks.insert(network);
        }
        None => by_length.push(Prefixes { length, networks: HashSet::from([network]) }),
    }
}

/// An address or a range, IPv4-mapped ones as IPv4. Neither parser takes a zone.
fn parse_entry(entry: &str) -> Option<IpNet> {
    let net = match entry.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => entry.parse::<IpNet>().ok()?,
    };
    let IpNet::V6(v6) = net else { return Some(net) };
    // `::ffff:0:0/96` is all of IPv4; a shorter prefix covers more than the mapped addresses, but what it
    // covers of them never comes into a look-up: that asks for IPv4.
    match (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(96)) {
        (Some(v4), Some(length)) => Ipv4Net::new(v4, length).ok().map(IpNet::V4),
        _ => Some(net),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> BlockList {
        BlockList::parse(entries).unwrap()
    }

    fn blocks(list: &BlockList, address: &str) -> bool {
        list.contains(address.parse().unwrap())
    }

    #[test]
    fn an_address_can_be_added() {
        let mut some = list(&["198.51.100.0/24"]);
        some.insert("::ffff:192.0.2.1".parse().unwrap());
        some.insert("2001:db8::1".parse().unwrap());
        for (address, expected) in [
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("198.51.100.7", true),
            ("2001:db8::1", true),
            ("2001:db8::2", false),
        ] {
            assert_eq!(blocks(&some, address), expected, "{address}");
        }
    }

    #[test]
    fn an_empty_list_blocks_nothing() {
        let empty = list(&[]);
        assert!(empty.is_empty());
        assert!(!blocks(&empty, "0.0.0.0") && !blocks(&empty, "::"));
    }

    #[test]
    fn addresses_are_exact() {
        let list = list(&["192.0.2.1", " 2001:db8::5\t"]);
        assert!(!list.is_empty());
        assert!(blocks(&list, "192.0.2.1"));
        assert!(!blocks(&list, "192.0.2.0") && !blocks(&list, "192.0.2.2"));
        assert!(blocks(&list, "2001:db8::5"));
        assert!(!blocks(&list, "2001:db8::4"));
    }

    #[test]
    fn ranges_end_where_they_say() {
        let list = list(&["198.51.100.0/24", "203.0.113.77/29", "2001:db8:1::/48"]);
        assert!(blocks(&list, "198.51.100.0") && blocks(&list, "198.51.100.255"));
        assert!(!blocks(&list, "198.51.99.255") && !blocks(&list, "198.51.101.0"));
        // Bits behind the prefix do not matter: .72 to .79.
        assert!(blocks(&list, "203.0.113.72") && blocks(&list, "203.0.113.79"));
        assert!(!blocks(&list, "203.0.113.71") && !blocks(&list, "203.0.113.80"));
        assert!(blocks(&list, "2001:db8:1:ffff::1"));
        assert!(!blocks(&list, "2001:db8:2::"));
    }

    #[test]
    fn a_prefix_of_zero_is_one_whole_family() {
        let v4 = list(&["0.0.0.0/0"]);
        assert!(blocks(&v4, "255.255.255.255") && blocks(&v4, "::ffff:1.2.3.4"));
        assert!(!blocks(&v4, "::1"));
        let v6 = list(&["::/0"]);
        assert!(blocks(&v6, "::1"));
        assert!(!blocks(&v6, "1.2.3.4") && !blocks(&v6, "::ffff:1.2.3.4"));
    }

    #[test]
    fn mapped_addresses_are_ipv4_in_entries_and_look_ups() {
        let mapped = list(&["::ffff:192.0.2.1", "::ffff:198.51.100.0/120"]);
        assert!(blocks(&mapped, "192.0.2.1") && blocks(&mapped, "::ffff:192.0.2.1"));
        assert!(blocks(&mapped, "198.51.100.9") && !blocks(&mapped, "198.51.101.9"));
        let plain = list(&["192.0.2.0/24"]);
        assert!(blocks(&plain, "::ffff:192.0.2.200"));
        let all = list(&["::ffff:0:0/96"]);
        assert!(blocks(&all, "8.8.8.8") && !blocks(&all, "::8"));
    }

    #[test]
    fn a_bad_entry_is_named() {
        for bad in [
            "",
            "x",
            "192.0.2",
            "192.0.2.256",
            "192.0.2.1/33",
            "192.0.2.1/",
            "192.0.2.1/-1",
            "192.0.2.1:80",
            "2001:db8::/129",
            "[2001:db8::1]",
            "fe80::1%eth0",
            "fe80::1%1",
            "fe80::%1/64",
            "fe80::/64%1",
            "192.0.2.1 192.0.2.2",
            "line\nbreak",
        ] {
            let error = BlockList::parse(["10.0.0.1", bad]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Argument, "{bad}");
            assert!(error.to_string().contains(&format!("entry 1, {bad:?}")), "{error}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
        let long = BlockList::parse(["ä".repeat(100_000)]).unwrap_err();
        assert!(long.to_string().len() < 1000);
    }

    #[test]
    fn entries_are_bounded_and_equal_ones_share_a_prefix_length() {
        let entry = |i: u32| Ipv4Addr::from(i).to_string();
        let most = BlockList::parse((0..MAX_BLOCK_LIST_ENTRIES as u32).map(entry)).unwrap();
        // What makes the look-up's cost independent of the number of entries.
        assert_eq!(most.v4.len(), 1);
        assert!(most.contains(Ipv4Addr::from(999_999).into()));
        assert!(!most.contains(Ipv4Addr::from(1_000_000).into()));
        let error = BlockList::parse((0..=MAX_BLOCK_LIST_ENTRIES as u32).map(entry)).unwrap_err();
        assert!(error.to_string().contains("1000000"), "{error}");
        // An endless iterator ends too.
        assert!(BlockList::parse(std::iter::repeat("::1")).is_err());
    }

    #[test]
    fn it_agrees_with_a_linear_search() {
        // Small numbers, so that ranges and addresses meet often.
        let mut state = 1_u32;
        let mut random = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % below
        };
        let nets: Vec<Ipv4Net> = (0..60)
            .map(|_| Ipv4Net::new(Ipv4Addr::from(random(1 << 12)), 24 + random(9) as u8).unwrap())
            .collect();
        let list = BlockList::parse(nets.iter().map(|net| net.to_string())).unwrap();
        let mut hits = 0;
        for address in (0..1 << 12).map(Ipv4Addr::from) {
            let expected = nets.iter().any(|net| net.contains(&address));
            assert_eq!(list.contains(address.into()), expected, "{address}");
            hits += u32::from(expected);
        }
        assert!(hits > 100 && hits < 4000, "both answers are met: {hits}");
    }
}
