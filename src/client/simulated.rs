//! A bad network between the client and its socket, for whoever wants to know how a game plays on one.

use std::net::SocketAddr;

use super::core::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::protocol::conditions::{Conditions, Direction, Link, LinkStats};
use crate::protocol::time::Time;

/// The links of a client, as far as there are any; one that was ended stays for what is under way.
#[derive(Default)]
pub(super) struct Simulated {
    receive: Simulation,
    send: Simulation,
}

#[derive(Default)]
struct Simulation {
    link: Option<Link<SocketAddr>>,
    /// Whether new datagrams take it.
    on: bool,
}

impl Simulation {
    fn set(&mut self, conditions: Option<Conditions>) {
        self.on = conditions.is_some();
        match (&mut self.link, conditions) {
            (Some(link), Some(conditions)) => link.set_conditions(conditions),
            (link @ None, Some(conditions)) => *link = Some(Link::new(conditions)),
            (_, None) => {}
        }
    }

    /// Whether the datagram went into the link.
    fn push(&mut self, now: Time, datagram: &[u8], address: SocketAddr) -> bool {
        let link = self.link.as_mut().filter(|_| self.on);
        link.map(|link| link.push(now, datagram, address)).is_some()
    }

    fn poll(&mut self, now: Time) -> Option<(Vec<u8>, SocketAddr)> {
        self.link.as_mut()?.poll(now)
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.link.as_ref()?.poll_timeout()
    }

    fn is_over(&self) -> bool {
        !self.on && self.poll_timeout().is_none()
    }
}

impl Core {
    /// See [`crate::Client::simulate`].
    pub(super) fn simulate(&mut self, direction: Direction, conditions: Option<Conditions>) -> Result<()> {
        let conditions = conditions.map(|c| c.for_direction(direction)).transpose();
        let conditions = conditions.map_err(|text| Error::new(ErrorKind::Argument, text))?;
        let simulated = self.simulated.get_or_insert_with(Box::default);
        match direction {
            Direction::Receive => simulated.receive.set(conditions),
            Direction::Send => simulated.send.set(conditions),
        }
        Ok(())
    }

    /// See [`crate::Client::link_stats`].
    pub(super) fn link_stats(&self, direction: Direction) -> Option<LinkStats> {
        let simulated = self.simulated.as_ref()?;
        let simulation = match direction {
            Direction::Receive => &simulated.receive,
            Direction::Send => &simulated.send,
        };
        simulation.link.as_ref().filter(|_| simulation.on).map(Link::stats)
    }

    /// A datagram came out of the socket.
    pub(super) fn handle_datagram(&mut self, now: Time, from: SocketAddr, datagram: &mut [u8]) {
        let held = self.simulated.as_mut().is_some_and(|s| s.receive.push(now, datagram, from));
        if held {
            self.receive_held(now);
        } else {
            self.receive(now, from, datagram);
        }
    }

    /// Receives what has come to the end of its link.
    pub(super) fn receive_held(&mut self, now: Time) {
        while let Some((mut datagram, from)) = self.simulated.as_mut().and_then(|s| s.receive.poll(now)) {
            self.receive(now, from, &mut datagram);
        }
        if self.simulated.as_ref().is_some_and(|s| s.receive.is_over() && s.send.is_over()) {
            self.simulated = None;
        }
    }

    /// When a link lets go of something.
    pub(super) fn held_until(&self) -> Option<Time> {
        let simulated = self.simulated.as_ref()?;
        [simulated.receive.poll_timeout(), simulated.send.poll_timeout()].into_iter().flatten().min()
    }

    /// Appends the next datagram to `out`, which is cleared first, and says where it goes.
    pub(super) fn poll_transmit(&mut self, now: Time, out: &mut Vec<u8>) -> Option<SocketAddr> {
        loop {
            if let Some((datagram, to)) = self.simulated.as_mut().and_then(|s| s.send.poll(now)) {
                out.clear();
                out.extend_from_slice(&datagram);
                return Some(to);
            }
            let to = self.next_datagram(now, out)?;
            if !self.simulated.as_mut().is_some_and(|s| s.send.push(now, out, to)) {
                return Some(to);
            }
        }
    }
}
