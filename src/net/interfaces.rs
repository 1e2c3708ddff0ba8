//! The machine's network interfaces.

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

#[cfg(unix)]
mod system {
    use std::net::Ipv6Addr;

    /// Addresses that are looked at, at most: a list of the kernel's has an end, and nobody waits for a longer one.
    const MAX_ADDRESSES: usize = 65_536;

    pub fn ipv6_multicast() -> Vec<u32> {
        let mut list = std::ptr::null_mut();
        // SAFETY: `list` is valid for the time of the call, which writes the head of a list, or fails.
        if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
            return Vec::new();
        }
        let mut numbers = Vec::new();
        let mut next = list;
        for _ in 0..MAX_ADDRESSES {
            // SAFETY: null, or an entry of the list, which is not freed yet.
            let Some(entry) = (unsafe { next.as_ref() }) else { break };
            next = entry.ifa_next;
            numbers.extend(number(entry));
        }
        // SAFETY: the list is the call's, and nothing of it is used after this.
        unsafe { libc::freeifaddrs(list) };
        numbers
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
    pub fn ipv6_multicast() -> Vec<u32> {
        vec![0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_have_numbers_each_once() {
        let numbers = ipv6_multicast();
        assert!(numbers.len() <= MAX_INTERFACES && numbers.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(cfg!(not(unix)) || !numbers.contains(&0), "{numbers:?}");
    }
}
