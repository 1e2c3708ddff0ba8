//! The open connections of all doors: how many there are, from where, what their answers hold in memory, and which of them
//! have to go.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::http::config::Limits;

/// Where answers have no room any more, connections that were waited for this long in all are cut, the longest first. A
/// client that is faster is not to blame.
pub const SLOW_AFTER: Duration = Duration::from_secs(2);

/// See the module.
pub struct Crowd {
    max_connections: u32,
    max_per_source: u32,
    max_answer_bytes: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    places: HashMap<u64, Place>,
    sources: HashMap<IpAddr, u32>,
    /// Bytes of the answers of all that are not cut.
    answers: usize,
}

/// What is known of a connection.
struct Place {
    address: IpAddr,
    /// It is to end.
    cut: Arc<Notify>,
    is_cut: bool,
    /// Bytes of its answer that are in memory.
    answers: usize,
    /// While its client is waited for: since when, brought forward by what it owes of earlier.
    waits: Option<Instant>,
}

/// A connection's place; it is free when this is dropped.
pub struct Seat {
    crowd: Arc<Crowd>,
    id: u64,
    source: IpAddr,
    cut: Arc<Notify>,
}

/// A share of the bytes of all answers.
pub struct Share {
    crowd: Arc<Crowd>,
    seat: u64,
    bytes: usize,
}

/// Bytes that give their share back when the last of them was written.
struct Counted {
    bytes: Bytes,
    _share: Arc<Share>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// An IPv4 address is one source, an IPv6 /64 another.
fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

impl Crowd {
    /// Nobody yet.
    pub fn new(limits: &Limits) -> Crowd {
        Crowd {
            max_connections: limits.max_connections,
            max_per_source: limits.max_connections_per_source,
            max_answer_bytes: limits.max_body_bytes,
            state: Mutex::default(),
        }
    }

    /// A place for a connection, if there is one.
    pub fn seat(self: &Arc<Self>, address: SocketAddr) -> Option<Seat> {
        let source = source_of(address.ip());
        let mut state = self.state.lock();
        let here = state.sources.get(&source).copied().unwrap_or(0);
        if state.places.len() >= self.max_connections as usize || here >= self.max_per_source {
            return None;
        }
        state.sources.insert(source, here + 1);
        state.next += 1;
        let (id, cut) = (state.next, Arc::new(Notify::new()));
        let place =
            Place { address: address.ip(), cut: Arc::clone(&cut), is_cut: false, answers: 0, waits: None };
        state.places.insert(id, place);
        Some(Seat { crowd: Arc::clone(self), id, source, cut })
    }

    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        self.state.lock().places.is_empty()
    }

    /// Ends the connections from such addresses.
    pub fn cut_from(&self, from: impl Fn(IpAddr) -> bool) {
        let mut state = self.state.lock();
        let State { places, answers, .. } = &mut *state;
        for place in places.values_mut().filter(|place| from(place.address)) {
            place.end(answers);
        }
    }
}

impl Place {
    /// Has its connection end. What it holds counts no longer: it goes as soon as its task has its turn.
    fn end(&mut self, answers: &mut usize) {
        self.is_cut = true;
        *answers -= std::mem::take(&mut self.answers);
        self.cut.notify_one();
    }
}

impl State {
    /// Makes room for `bytes` by cutting who was waited for longest, and nobody if that would not make enough. How many were
    /// cut; `None`: there is no room.
    fn make_room(&mut self, bytes: usize, max: usize, before: Option<Instant>) -> Option<usize> {
        let fits = |answers: usize| answers == 0 || answers.saturating_add(bytes) <= max;
        if fits(self.answers) {
            return Some(0);
        }
        let State { places, answers, .. } = self;
        let is_slow = |place: &Place| {
            !place.is_cut && place.answers > 0 && place.waits.zip(before).is_some_and(|(since, b)| since <= b)
        };
        let mut slow: Vec<_> = places.values_mut().filter(|place| is_slow(place)).collect();
        if !fits(*answers - slow.iter().map(|place| place.answers).sum::<usize>()) {
            return None;
        }
        slow.sort_by_key(|place| place.waits);
        let mut cut = 0;
        for place in slow {
            if fits(*answers) {
                break;
            }
            place.end(answers);
            cut += 1;
        }
        Some(cut)
    }
}

impl Seat {
    /// Waits until the connection is to end.
    pub async fn cut(&self) {
        self.cut.notified().await;
    }

    /// The client is waited for since then; `None`: it is not.
    pub fn waits(&self, since: Option<Instant>) {
        if let Some(place) = self.crowd.state.lock().places.get_mut(&self.id) {
            place.waits = since;
        }
    }

    /// A share of the bytes of all answers. Where there is no room others are cut who were waited for longest; `None`: all of
    /// those together are not enough, and none is cut. An answer that is the only one always has room. Beside the share: how
    /// many were cut.
    pub fn hold(&self, bytes: usize) -> Option<(Share, usize)> {
        let mut state = self.crowd.state.lock();
        let before = Instant::now().checked_sub(SLOW_AFTER);
        let cut = state.make_room(bytes, self.crowd.max_answer_bytes, before)?;
        state.answers += bytes;
        if let Some(place) = state.places.get_mut(&self.id) {
            place.answers += bytes;
        }
        Some((Share { crowd: Arc::clone(&self.crowd), seat: self.id, bytes }, cut))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.crowd.state.lock();
        if let Some(place) = state.places.remove(&self.id) {
            state.answers -= place.answers;
        }
        if let Some(here) = state.sources.get_mut(&self.source) {
            *here -= 1;
            if *here == 0 {
                state.sources.remove(&self.source);
            }
        }
    }
}

impl Share {
    /// The same bytes; the share is given back when they were written, too.
    pub fn of(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Counted { bytes, _share: Arc::clone(self) })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.crowd.state.lock();
        // Whose connection was cut, or has ended, counts no more.
        let Some(place) = state.places.get_mut(&self.seat).filter(|place| !place.is_cut) else { return };
        place.answers -= self.bytes;
        state.answers -= self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(change: impl FnOnce(&mut Limits)) -> Arc<Crowd> {
        let mut limits = Limits::default();
        change(&mut limits);
        Arc::new(Crowd::new(&limits))
    }

    fn at(text: &str) -> SocketAddr {
        SocketAddr::new(text.parse().unwrap(), 1)
    }

    #[test]
    fn sources_share_what_they_may_have() {
        let crowd = crowd(|limits| (limits.max_connections, limits.max_connections_per_source) = (3, 2));
        let first = crowd.seat(at("2001:db8::1"));
        let second = crowd.seat(at("2001:db8::2:3"));
        assert!(first.is_some() && second.is_some());
        assert!(crowd.seat(at("2001:db8::4")).is_none(), "the /64 has all it may have");
        let third = crowd.seat(at("127.0.0.1"));
        assert!(third.is_some() && crowd.seat(at("127.0.0.2")).is_none(), "there are no more");
        drop((first, second, third));
        assert!(crowd.is_empty() && crowd.state.lock().sources.is_empty());
    }

    /// Whether a connection is to end.
    async fn is_cut(seat: &Seat) -> bool {
        tokio::time::timeout(Duration::from_millis(1), seat.cut()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn answers_have_room_by_cutting_who_was_waited_for_longest() {
        let crowd = crowd(|limits| limits.max_body_bytes = 100);
        let seats: Vec<Seat> = (0..4).map(|_| crowd.seat(at("127.0.0.1")).unwrap()).collect();
        let [quick, slow, slower, next] = &seats[..] else { panic!("four") };
        let shares: Vec<Share> = [quick, slow, slower].map(|seat| seat.hold(30).unwrap().0).into();
        assert_eq!(crowd.state.lock().answers, 90);
        slower.waits(Some(Instant::now()));
        tokio::time::advance(Duration::from_millis(1)).await;
        slow.waits(Some(Instant::now()));
        tokio::time::advance(SLOW_AFTER - Duration::from_millis(2)).await;
        assert!(next.hold(20).is_none(), "nobody was slow for long enough");
        tokio::time::advance(Duration::from_millis(1)).await;
        // One going is enough.
        let (share, cut) = next.hold(30).unwrap();
        assert_eq!((cut, crowd.state.lock().answers), (1, 90));
        assert!(is_cut(slower).await && !is_cut(slow).await && !is_cut(quick).await);
        // Neither who is quick goes, nor the same one twice.
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(next.hold(60).is_none());
        assert!(!is_cut(slow).await, "its going would not be enough");
        let (more, cut) = next.hold(40).unwrap();
        assert_eq!(cut, 1);
        assert!(is_cut(slow).await && !is_cut(quick).await);
        drop((share, more, shares, seats));
        assert_eq!(crowd.state.lock().answers, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_longer_than_all_may_be_has_room_alone() {
        let crowd = crowd(|limits| limits.max_body_bytes = 100);
        let (one, other) = (crowd.seat(at("127.0.0.1")).unwrap(), crowd.seat(at("127.0.0.1")).unwrap());
        let share = Arc::new(one.hold(1000).unwrap().0);
        let mut rest = share.of(vec![0; 1000].into());
        assert!(other.hold(1).is_none());
        drop(share);
        assert!(other.hold(1).is_none(), "it is not yet written");
        bytes::Buf::advance(&mut rest, 999);
        drop(rest);
        assert!(other.hold(1).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn connections_from_an_address_end_and_no_others() {
        let crowd = crowd(|_| {});
        let (one, other) = (crowd.seat(at("127.0.0.1")).unwrap(), crowd.seat(at("127.0.0.2")).unwrap());
        let share = one.hold(10);
        crowd.cut_from(|address| address == at("127.0.0.1").ip());
        assert!(is_cut(&one).await && !is_cut(&other).await);
        assert_eq!(crowd.state.lock().answers, 0);
        drop((one, share));
        assert_eq!(crowd.state.lock().places.len(), 1);
    }
}
