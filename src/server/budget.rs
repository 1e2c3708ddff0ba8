//! Budgets of what strangers may cause: token buckets per source and for all together.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::protocol::time::Time;

/// Sources whose budgets are remembered; above it those that have refilled are forgotten, and where that is
/// not enough all: the total still holds.
pub const MAX_SOURCES: usize = 65_536;

/// How fast a budget refills, and how much it holds.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Takings per second on average.
    pub hz: f64,
    /// Takings at once.
    pub burst: f64,
}

/// A token bucket.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Time,
}

impl Bucket {
    fn full(now: Time, rate: Rate) -> Self {
        Bucket { tokens: rate.burst, at: now }
    }

    fn refill(&mut self, now: Time, rate: Rate) {
        self.tokens = (self.tokens + now.since(self.at).as_secs_f64() * rate.hz).min(rate.burst);
        self.at = now;
    }
}

/// An IPv4 address, or the /64 of an IPv6 one.
pub fn source_of(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) => u64::from(u32::from(v4)),
        // The upper half of an IPv6 address never collides with an IPv4 one: those prefixes are not routed.
        IpAddr::V6(v6) => (u128::from(v6) >> 64) as u64,
    }
}

/// Budgets per source and in total.
#[derive(Debug)]
pub struct Budgets {
    total: Bucket,
    sources: HashMap<u64, Bucket>,
    per_source: Rate,
    in_total: Rate,
}

impl Budgets {
    /// Full ones.
    pub fn new(now: Time, per_source: Rate, in_total: Rate) -> Self {
        Budgets { total: Bucket::full(now, in_total), sources: HashMap::new(), per_source, in_total }
    }

    /// Takes one, if the source and the total have it.
    pub fn take(&mut self, now: Time, address: IpAddr) -> bool {
        self.total.refill(now, self.in_total);
        if self.total.tokens < 1.0 {
            return false;
        }
        if self.sources.len() >= MAX_SOURCES {
            self.forget(now);
        }
        let rate = self.per_source;
        let source = self.sources.entry(source_of(address)).or_insert_with(|| Bucket::full(now, rate));
        source.refill(now, rate);
        if source.tokens < 1.0 {
            return false;
        }
        source.tokens -= 1.0;
        self.total.tokens -= 1.0;
        true
    }

    /// Gives one back that was taken for something that costs nothing.
    pub fn give_back(&mut self, address: IpAddr) {
        self.total.tokens = (self.total.tokens + 1.0).min(self.in_total.burst);
        if let Some(source) = self.sources.get_mut(&source_of(address)) {
            source.tokens = (source.tokens + 1.0).min(self.per_source.burst);
        }
    }

    /// Drops budgets that have refilled; where that is not enough, all of them: the total still holds.
    fn forget(&mut self, now: Time) {
        let rate = self.per_source;
        self.sources.retain(|_, b| b.tokens + now.since(b.at).as_secs_f64() * rate.hz < rate.burst);
        if self.sources.len() >= MAX_SOURCES {
            self.sources.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    use super::*;

    const SOURCE: Rate = Rate { hz: 2.0, burst: 3.0 };
    const TOTAL: Rate = Rate { hz: 100.0, burst: 5.0 };

    fn v4(n: u32) -> IpAddr {
        Ipv4Addr::from(n).into()
    }

    #[test]
    fn a_source_has_its_burst_and_then_its_rate() {
        let now = Time::from_micros(1_000_000);
        let mut budgets = Budgets::new(now, SOURCE, TOTAL);
        assert_eq!((0..10).filter(|_| budgets.take(now, v4(1))).count(), 3);
        let later = now + Duration::from_millis(1000);
        assert_eq!((0..10).filter(|_| budgets.take(later, v4(1))).count(), 2);
        assert!(budgets.take(later, v4(2)), "another source has its own");
    }

    #[test]
    fn the_total_holds_for_all_together() {
        let now = Time::from_micros(1_000_000);
        let mut budgets = Budgets::new(now, SOURCE, TOTAL);
        assert_eq!((0..10).filter(|n| budgets.take(now, v4(*n))).count(), 5);
        budgets.give_back(v4(0));
        assert_eq!((10..20).filter(|n| budgets.take(now, v4(*n))).count(), 1);
    }

    #[test]
    fn a_64_of_ipv6_is_one_source() {
        let now = Time::from_micros(1_000_000);
        let mut budgets = Budgets::new(now, SOURCE, Rate { hz: 1.0, burst: 100.0 });
        let at =
            |upper: u16, lower: u16| IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, upper, 0, 0, 0, lower));
        assert_eq!((0..10).filter(|n| budgets.take(now, at(1, *n))).count(), 3);
        assert!(budgets.take(now, at(2, 1)));
    }

    #[test]
    fn what_is_remembered_of_sources_is_bounded() {
        let now = Time::from_micros(1_000_000);
        let endless = Rate { hz: 1.0, burst: 1e9 };
        let mut budgets = Budgets::new(now, SOURCE, endless);
        for n in 0..2 * MAX_SOURCES as u32 {
            assert!(budgets.take(now, v4(n)));
            assert!(budgets.sources.len() <= MAX_SOURCES);
        }
    }
}
