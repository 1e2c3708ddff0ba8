//! Host names to addresses, off the loop: the system's resolver can take seconds, and cannot be interrupted.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, TryRecvError};

use crate::error::{Error, ErrorKind, Result};
use crate::net::address;
use crate::net::event_loop::Waker;
use crate::net::thread;

/// Lookups under way in the process at most; above it a new one fails at once. Each is a thread until the
/// system answers, also when nobody waits for it any more.
pub const MAX_LOOKUPS: usize = 64;
/// Addresses taken of one name, at most.
pub const MAX_ADDRESSES: usize = 8;

static LOOKUPS: AtomicUsize = AtomicUsize::new(0);

/// Counts a lookup for as long as it runs.
struct Counted;

impl Counted {
    fn new() -> Option<Counted> {
        let counted = Counted;
        // The guard is made first, so that the count is right however this ends.
        (LOOKUPS.fetch_add(1, Ordering::Relaxed) < MAX_LOOKUPS).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        LOOKUPS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A lookup under way.
#[derive(Debug)]
pub struct Lookup(Receiver<Result<Vec<SocketAddr>>>);

impl Lookup {
    /// Asks for the addresses of a host on a thread of its own, and wakes the loop when they are there. Errors:
    /// Io (too many lookups, no thread).
    pub fn start(name: String, port: u16, waker: Waker) -> Result<Lookup> {
        let counted = Counted::new().ok_or_else(|| {
            Error::new(ErrorKind::Io, format!("{MAX_LOOKUPS} host names are being resolved already"))
        })?;
        let (answer, receiver) = mpsc::sync_channel(1);
        let ask = move || {
            let addresses = address::resolve(&name, port).map(ordered);
            // Whoever asked may have given up.
            let _nobody = answer.send(addresses);
            drop(counted);
            waker.wake();
        };
        let thread = thread::spawn("gamekeeper name", ask);
        thread.map_err(|e| Error::new(ErrorKind::Io, format!("cannot start a thread: {e}")))?;
        Ok(Lookup(receiver))
    }

    /// The addresses in the order in which to try them, once they are there. Errors: Address.
    pub fn poll(&self) -> Option<Result<Vec<SocketAddr>>> {
        match self.0.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                Some(Err(Error::new(ErrorKind::Address, "the lookup of the host name broke")))
            }
        }
    }
}

/// The system's order within a family, the families in turn (RFC 8305): where one of them leads nowhere, the
/// second try is of the other one.
fn ordered(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut all: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    let first_is_ipv4 = all.first().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) = all.into_iter().partition(|a| a.is_ipv4() == first_is_ipv4);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut ordered = Vec::new();
    while ordered.len() < MAX_ADDRESSES {
        let before = ordered.len();
        ordered.extend(first.next());
        ordered.extend(second.next());
        if ordered.len() == before {
            break;
        }
    }
    ordered.truncate(MAX_ADDRESSES);
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::event_loop::EventLoop;
    use crate::net::udp::tests::bind;
    use std::time::Duration;

    #[test]
    fn families_take_turns_in_the_systems_order() {
        let ask = |texts: &[&str]| -> Vec<String> {
            let addresses = texts.iter().map(|text| text.parse().unwrap());
            ordered(addresses).iter().map(SocketAddr::to_string).collect()
        };
        assert_eq!(
            ask(&["[::1]:1", "[::2]:1", "[::3]:1", "127.0.0.1:1", "127.0.0.2:1"]),
            ["[::1]:1", "127.0.0.1:1", "[::2]:1", "127.0.0.2:1", "[::3]:1"]
        );
        assert_eq!(ask(&["127.0.0.1:1", "[::1]:1", "127.0.0.1:1"]), ["127.0.0.1:1", "[::1]:1"]);
        assert!(ask(&[]).is_empty());
        let many: Vec<String> = (1..100).map(|n| format!("127.0.0.{n}:1")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(ask(&many).len(), MAX_ADDRESSES);
    }

    #[test]
    fn an_answer_wakes_the_loop() {
        let mut event_loop = EventLoop::new(bind("127.0.0.1:0")).unwrap();
        assert!(event_loop.recv_from(&mut [0; 10]).unwrap().is_none());
        // A label longer than DNS has: the resolver need not ask anybody.
        for (name, known) in [("localhost".to_owned(), true), ("a".repeat(64), false)] {
            let lookup = Lookup::start(name, 7, event_loop.waker()).unwrap();
            let mut answer = None;
            for _ in 0..1000 {
                answer = lookup.poll();
                if answer.is_some() {
                    break;
                }
                event_loop.wait(Some(Duration::from_secs(60))).unwrap();
            }
            match answer.expect("an answer or an error") {
                Ok(addresses) => assert!(known && addresses.iter().all(|a| a.ip().is_loopback())),
                Err(error) => assert!(!known && error.kind() == ErrorKind::Address, "{error}"),
            }
        }
    }
}
