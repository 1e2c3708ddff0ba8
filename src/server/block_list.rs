//! Addresses whose datagrams are dropped unread.

use crate::error::Result;
use std::net::IpAddr;

/// A set of addresses and CIDR ranges, IPv4 and IPv6.
#[derive(Clone, Debug, Default)]
pub struct BlockList(());

#[allow(unused_variables)]
impl BlockList {
    /// Entries as text: `"192.0.2.1"`, `"198.51.100.0/24"`, `"2001:db8::/32"`. The error names the bad entry.
    pub fn parse<S: AsRef<str>>(entries: impl IntoIterator<Item = S>) -> Result<BlockList> {
        todo!()
    }
    /// Whether the (canonical) address is on it. IPv4-mapped IPv6 addresses count as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        todo!()
    }
    pub fn is_empty(&self) -> bool {
        todo!()
    }
}
