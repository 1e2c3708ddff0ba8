//! The machine's network interfaces.

use std::net::{IpAddr, Ipv4Addr};

/// Interfaces that are told of at most: those with the lowest numbers.
pub const MAX_INTERFACES: usize = 32;

/// The numbers (scope ids) of the interfaces that are up and over which IPv6 multicast can be sent to the machines next door,
/// ascending: those with a link-local address. Where the system cannot be asked (all but unix), it is 0: the one that the
/// system chooses.
pub fn ipv6_multicast() -> Vec<u32> {
    let mut numbers = system::ipv6_multicast();
    numbers.sort_unstable();
    numbers.dedup();
    numbers.truncate(MAX_INTERFACES);
    numbers
}

/// Addresses of this machine's that are told of at most.
pub const MAX_OWN_ADDRESSES: usize = 64;

/// The addresses at which others can reach this machine: those of the interfaces that are up, IPv4 first, without
/// loopback and without link-local ones of IPv6, which need to be told with a zone; loopback's where there is no other,
/// or where the system cannot be asked (all but unix).
pub fn addresses() -> Vec<IpAddr> {
    let mut all = system::addresses();
    let is_link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    all.retain(|ip| !is_link_local(ip) && !ip.is_unspecified());
    if all.iter().any(|ip| !ip.is_loopback()) {
        all.retain(|ip| !ip.is_loopback());
    }
    all.sort();
    all.dedup();
    all.truncate(MAX_OWN_ADDRESSES);
    if all.is_empty() {
        all.push(Ipv4Addr::LOCALHOST.into());
    }
    all
}

#[cfg(unix)]
mod system {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    /// Addresses that are looked at, at most: a list of the kernel's has an end, and nobody waits for a longer one.
    const MAX_ADDRESSES: usize = 65_536;

    pub fn ipv6_multicast() -> Vec<u32> {
        each(number)
    }

    pub fn addresses() -> Vec<IpAddr> {
        each(own_address)
    }

    /// What there is of each address of each interface.
    fn each<T>(of: impl Fn(&libc::ifaddrs) -> Option<T>) -> Vec<T> {
        let mut list = std::ptr::null_mut();
        // SAFETY: `list` is valid for the time of the call, which writes the head of a list, or fails.
        if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
            return Vec::new();
        }
        let mut found = Vec::new();
        let mut next = list;
        for _ in 0..MAX_ADDRESSES {
            // SAFETY: null, or an entry of the list, which is not freed yet.
            let Some(entry) = (unsafe { next.as_ref() }) else { break };
            next = entry.ifa_next;
            found.extend(of(entry));
        }
        // SAFETY: the list is the call's, and nothing of it is used after this.
        unsafe { libc::freeifaddrs(list) };
        found
    }

    /// An address of an interface that is up.
    fn own_address(entry: &libc::ifaddrs) -> Option<IpAddr> {
        if entry.ifa_flags & libc::IFF_UP as libc::c_uint == 0 || entry.ifa_addr.is_null() {
            return None;
        }
        // SAFETY: not null, and every address begins with its family.
        match i32::from(unsafe { (*entry.ifa_addr).sa_family }) {
            libc::AF_INET => {
                // SAFETY: of this family, so it has this layout; where its bytes lie is nothing to rely on.
                let address = unsafe { entry.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned() };
                Some(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: the same.
                let address = unsafe { entry.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
                Some(Ipv6Addr::from(address.sin6_addr.s6_addr).into())
            }
            _ => None,
        }
    }

    /// The number of an address's interface, if the address is link-local and its interface can send to groups.
    fn number(entry: &libc::ifaddrs) -> Option<u32> {
        let wanted = (libc::IFF_UP | libc::IFF_MULTICAST) as libc::c_uint;
        if entry.ifa_flags & wanted != wanted || entry.ifa_addr.is_null() {
            return None;
        }
        // SAFETY: not null, and every address begins with its family.
        if i32::from(unsafe { (*entry.ifa_addr).sa_family }) != libc::AF_INET6 {
            return None;
        }
        // SAFETY: of this family, so it has this layout; where its bytes lie is nothing to rely on.
        let address = unsafe { entry.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
        if !Ipv6Addr::from(address.sin6_addr.s6_addr).is_unicast_link_local() {
            return None;
        }
        // By its name: not all systems tell the number with the address.
        // SAFETY: the name ends with a NUL and lives as long as the list.
        let number = unsafe { libc::if_nametoindex(entry.ifa_name) };
        (number != 0).then_some(number)
    }
}

#[cfg(not(unix))]
mod system {
    pub fn addresses() -> Vec<std::net::IpAddr> {
        Vec::new()
    }

    pub fn ipv6_multicast() -> Vec<u32> {
        vec![0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_an_address_each_once() {
        let all = addresses();
        assert!((1..=MAX_OWN_ADDRESSES).contains(&all.len()) && all.windows(2).all(|pair| pair[0] < pair[1]));
        let loopback = all.iter().filter(|ip| ip.is_loopback()).count();
        assert!(loopback == 0 || loopback == all.len(), "{all:?}");
    }

    #[test]
    fn interfaces_have_numbers_each_once() {
        let numbers = ipv6_multicast();
        assert!(numbers.len() <= MAX_INTERFACES && numbers.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(cfg!(not(unix)) || !numbers.contains(&0), "{numbers:?}");
    }
}
