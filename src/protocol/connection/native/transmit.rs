//! Datagrams out: when one leaves, what it carries, and where it goes.

use std::net::SocketAddr;
use std::time::Duration;

use super::{
    Connection, Joining, Role, FAREWELL_NUMBERS, GOODBYE_PAUSE, MAX_GOODBYES, MAX_JOIN_PAUSE,
    MAX_PING_INTERVAL, PINGS_PER_TIMEOUT, UNASKED_PACKETS,
};
use crate::protocol::connection::{State, MAX_FAREWELL_TEXT};
use crate::protocol::crypto::TAG_LEN;
use crate::protocol::delivery::{Offer, Planned};
use crate::protocol::mutant;
use crate::protocol::time::Time;
use crate::protocol::wire::native::{self as wire, frame, MessageFrame};

/// Bytes of a packet with a challenge in it, at most.
const CHALLENGE_PACKET: usize = 1 + 4 + 9 + TAG_LEN;
/// The server tells its clock this often, with packets that leave in any case.
const TIME_INTERVAL: Duration = Duration::from_secs(1);
/// What an acknowledgement takes at most of a packet that could carry data.
const ACK_ROOM: usize = 24;

/// Why a packet leaves now.
#[derive(Clone, Copy, Debug)]
struct Reasons {
    data: bool,
    ack: bool,
    ping: bool,
    join: bool,
    control: bool,
}

impl Connection {
    /// Whether the next packet could carry the server's tick and clock: [`set_tick`](Self::set_tick) before it leaves.
    pub fn wants_tick(&self, now: Time) -> bool {
        self.role == Role::Server && self.control.time.is_some_and(|at| at <= now)
    }

    /// The newest tick, when it was, and when the server's clock began.
    pub fn set_tick(&mut self, tick: u64, at: Time, epoch: Time) {
        self.tick = Some((tick, at, epoch));
    }

    /// Whether the datagram that was given last probes the path: it must not be fragmented.
    pub fn is_probe(&self) -> bool {
        self.is_probe
    }

    /// Appends the next datagram to `out` and says where it goes; `None` if there is none now.
    pub fn poll_transmit(&mut self, now: Time, out: &mut Vec<u8>) -> Option<SocketAddr> {
        let start = out.len();
        self.is_probe = false;
        let to = match self.state {
            State::Closed => None,
            State::Draining => self.transmit_goodbye(now, out),
            State::Connecting if self.handshake.is_some() => {
                let said = self.handshake.as_mut().is_some_and(|h| h.poll_transmit(now, out));
                said.then(|| self.path.remote())
            }
            _ => self
                .transmit_challenge(now, out)
                .or_else(|| self.transmit_probe(now, out))
                .or_else(|| self.transmit_regular(now, out)),
        };
        if to.is_some() {
            self.stats.assembled += 1;
            self.stats.bytes_sent += (out.len() - start) as u64;
        }
        to
    }

    /// Whether nothing more leaves now, whatever waits. `false` says nothing.
    pub fn is_done_for_now(&self, now: Time) -> bool {
        let control = self.control.accept || self.control.response.is_some() || self.join_due.is_some();
        // What left just now was its sign of life.
        self.state == State::Connected
            && self.last_asked == now
            && !self.sender.wants_to_send()
            && self.acks.due().is_none_or(|at| at > now)
            && !control
            && self.path.due().is_none()
            && self.mtu.poll(now).is_none()
    }

    /// Begins a packet and returns the length of its header.
    fn begin(&mut self, out: &mut Vec<u8>) -> Option<usize> {
        let number = self.packets_sent + 1;
        let kept = if self.state == State::Draining { 0 } else { FAREWELL_NUMBERS };
        if number > wire::MAX_PACKET_NUMBER - kept {
            return None;
        }
        let acked = self.sender.largest_acked();
        let (_, phase) = self.send_phase.as_mut()?.key_for(number, acked).ok()?;
        let id = (self.role == Role::Client).then_some(self.welcome.connection_id);
        Some(wire::put_header(out, id, phase, number, acked))
    }

    /// Seals the packet that begins at `start`; its number is used up.
    fn seal(&mut self, out: &mut Vec<u8>, start: usize, header: usize) -> bool {
        let number = self.packets_sent + 1;
        let Some(phase) = &self.send_phase else { return false };
        // Sealing fails only for lengths that no datagram has.
        if wire::seal(out, start, header, phase.current().0, number).is_err() {
            out.truncate(start);
            return false;
        }
        if !(mutant!(PacketNumberRepeats) && number % 64 == 63) {
            self.packets_sent = number;
        }
        true
    }

    /// A packet of `write`'s frames that the delivery engine knows nothing of.
    fn transmit_apart(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>, usize)) -> bool {
        let start = out.len();
        let Some(header) = self.begin(out) else { return false };
        write(out, start);
        self.seal(out, start, header)
    }

    fn transmit_challenge(&mut self, now: Time, out: &mut Vec<u8>) -> Option<SocketAddr> {
        let (to, data) = self.path.poll(now, CHALLENGE_PACKET)?;
        let sent = self.transmit_apart(out, |out, _| {
            out.push(frame::PATH_CHALLENGE);
            out.extend_from_slice(&data);
        });
        sent.then_some(to)
    }

    fn transmit_probe(&mut self, now: Time, out: &mut Vec<u8>) -> Option<SocketAddr> {
        let connected = matches!(self.state, State::Connected | State::Lingering);
        let size = self.mtu.poll(now).filter(|_| connected)?;
        let sent = self.transmit_apart(out, |out, start| {
            out.push(frame::PING);
            out.resize(start + size - TAG_LEN, frame::PADDING);
        });
        self.mtu.sent(now, self.packets_sent, size);
        self.is_probe = sent;
        sent.then(|| self.path.remote())
    }

    fn reasons(&self, now: Time) -> Reasons {
        let connected = matches!(self.state, State::Connected | State::Lingering);
        let is_due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        Reasons {
            data: connected && is_due(self.data_due(now)),
            ack: is_due(self.acks.due()),
            ping: connected && is_due(self.ping_due()),
            join: is_due(self.join_due.map(|(at, _)| at)),
            control: self.control.accept || self.control.response.is_some(),
        }
    }

    /// When messages leave.
    fn data_due(&self, now: Time) -> Option<Time> {
        if !self.sender.wants_to_send() {
            return None;
        }
        let fresh = self.sender.may_send(now).then_some(now);
        let due = [fresh, self.sender.echo_due()].into_iter().flatten().min()?;
        Some(due.max(self.sender.paced_until(now)).max(self.held_until))
    }

    /// The longest pause of a client between two things that are acknowledged.
    fn ping_interval(&self) -> Duration {
        // Most timeouts are so long that nothing need be divided.
        if self.timeout >= MAX_PING_INTERVAL * PINGS_PER_TIMEOUT {
            return MAX_PING_INTERVAL;
        }
        self.timeout / PINGS_PER_TIMEOUT
    }

    /// When a sign of life leaves if nothing else does that is acknowledged.
    fn ping_due(&self) -> Option<Time> {
        let interval = self.ping_interval();
        let due = match self.role {
            Role::Client => self.last_asked + interval,
            // Nothing that was sent for long is acknowledged: acknowledgements alone are not.
            Role::Server if self.packets_sent - self.sender.largest_acked() > UNASKED_PACKETS => {
                self.last_asked + interval
            }
            // Its clients ask; the server does when they do not.
            Role::Server => self.last_asked.max(self.last_received) + interval * 2,
        };
        (!mutant!(KeepAliveNever)).then_some(due)
    }

    fn transmit_regular(&mut self, now: Time, out: &mut Vec<u8>) -> Option<SocketAddr> {
        let reasons = self.reasons(now);
        if !(reasons.data || reasons.ack || reasons.ping || reasons.join || reasons.control) {
            return None;
        }
        let start = out.len();
        let header = self.begin(out)?;
        let most = start + self.mtu.current() - TAG_LEN;
        self.put_acks(now, reasons.data, most, out);
        let asks = self.put_control(now, &reasons, out);
        let messages = self.put_messages(now, reasons.data, most, out);
        if out.len() == start + header {
            // What was due has expired.
            out.truncate(start);
            return None;
        }
        let number = self.packets_sent + 1;
        if !self.seal(out, start, header) {
            return None;
        }
        if asks || messages {
            self.last_asked = now;
            self.sender.on_sent(now, number, out.len() - start);
        }
        // What is sent once has left the queue: there can be room again.
        self.drain_outcomes();
        Some(self.path.remote())
    }

    fn put_acks(&mut self, now: Time, data: bool, most: usize, out: &mut Vec<u8>) {
        if self.acks.due().is_none() {
            return;
        }
        let room = if data { ACK_ROOM } else { most.saturating_sub(out.len()) };
        let delay = self.acks.delay(now).as_micros() as u64;
        let count = wire::put_ack(out, delay, self.acks.report(), room);
        self.acks.reported(count);
    }

    /// Small frames; whether one of them is acknowledged.
    fn put_control(&mut self, now: Time, reasons: &Reasons, out: &mut Vec<u8>) -> bool {
        let accept = std::mem::take(&mut self.control.accept);
        if accept {
            out.push(frame::ACCEPT);
        }
        if let Some(data) = self.control.response.take() {
            out.push(frame::PATH_RESPONSE);
            out.extend_from_slice(&data);
        }
        if let (true, Some((tick, at, epoch))) = (self.wants_tick(now), self.tick) {
            let (since, clock) = (now.since(at).as_micros() as u64, now.since(epoch).as_micros() as u64);
            wire::put_time(out, tick, since, clock);
            self.control.time = Some(now + TIME_INTERVAL);
        }
        // The server must not take a client that waits for a decision for silent.
        let most = MAX_JOIN_PAUSE.min(self.ping_interval());
        if let (true, Joining::Wish(join), Some((_, pause))) = (reasons.join, &self.joining, self.join_due) {
            wire::put_join(out, join.password.as_deref(), &join.data, self.takes_files);
            self.join_due = Some((now + pause, (pause * 2).min(most))).filter(|_| !mutant!(JoinOnce));
        }
        #[cfg(test)]
        if reasons.join && matches!(self.joining, super::Joining::Unasked) {
            out.push(frame::PING);
            self.join_due = None;
        }
        if reasons.ping {
            out.push(frame::PING);
        }
        accept || reasons.join || reasons.ping
    }

    /// Messages, as many as fit; whether there were any.
    fn put_messages(&mut self, now: Time, data: bool, most: usize, out: &mut Vec<u8>) -> bool {
        let mut plan = std::mem::take(&mut self.plan);
        let (mut left, mut full) = (most.saturating_sub(out.len()), false);
        let fits = |offer: &Offer| {
            let len = wire::message_len(offer.mode, offer.channel, offer.part, offer.len);
            // The last of a packet needs no length.
            let last = len - wire::varint_len(offer.len as u64) <= left;
            if full || !(len <= left || last) {
                return false;
            }
            full = len > left;
            left = left.saturating_sub(len);
            true
        };
        self.sender.assemble(now, self.packets_sent + 1, data, fits, &mut plan);
        let last = plan.len().saturating_sub(1);
        if self.asks_early(&plan, most.saturating_sub(out.len())) {
            out.push(frame::PING);
        }
        for (i, p) in plan.iter().enumerate() {
            let message = MessageFrame {
                mode: p.mode,
                number: p.number as u16,
                channel: p.channel,
                sequence: p.sequence as u16,
                part: p.fragment,
                data: p.data(),
            };
            wire::put_message(out, &message, i == last);
        }
        let any = !plan.is_empty();
        if any {
            self.note_message(now);
        }
        plan.clear();
        self.plan = plan;
        any
    }

    /// Messages that are sent once are acknowledged at leisure: too late for a sender whose window they fill. Whether a PING goes with
    /// those of this packet, for which there are so many bytes.
    fn asks_early(&self, plan: &[Planned], room: usize) -> bool {
        let Some(last) = plan.last().filter(|_| self.sender.is_window_half_full() && !mutant!(WindowPatient))
        else {
            return false;
        };
        let len = |p: &Planned| wire::message_len(p.mode, p.channel, p.fragment, p.data().len());
        let bytes = plan.iter().map(len).sum::<usize>() - wire::varint_len(last.data().len() as u64);
        bytes < room && !plan.iter().any(|p| p.mode.is_resent())
    }

    fn transmit_goodbye(&mut self, now: Time, out: &mut Vec<u8>) -> Option<SocketAddr> {
        if mutant!(GoodbyeSilent) {
            return None;
        }
        if std::mem::take(&mut self.control.closed) {
            let sent = self.transmit_apart(out, |out, _| out.push(frame::CLOSED));
            return sent.then(|| self.path.remote());
        }
        self.goodbye.next.filter(|at| *at <= now)?;
        self.goodbye.next = (self.goodbye.said + 1 < MAX_GOODBYES)
            .then(|| now + GOODBYE_PAUSE * (1 << self.goodbye.said.min(16)));
        self.goodbye.said += 1;
        let farewell = self.goodbye.farewell.clone();
        let text = farewell.text.as_bytes();
        let text = text.get(..text.len().min(MAX_FAREWELL_TEXT)).unwrap_or_default();
        let sent =
            self.transmit_apart(out, |out, _| wire::put_close(out, farewell.kind as u8, farewell.code, text));
        sent.then(|| self.path.remote())
    }

    /// When [`handle_timeout`](Self::handle_timeout) or [`poll_transmit`](Self::poll_transmit) has something to do, if
    /// nothing else happens first. `None`: never.
    pub fn poll_timeout(&self, now: Time) -> Option<Time> {
        let asked = self.control.accept || self.control.response.is_some();
        let common =
            [asked.then_some(now), self.acks.due(), self.path.due(), self.join_due.map(|(at, _)| at)];
        let common = common.into_iter().flatten().min();
        match self.state {
            State::Connecting => {
                let end = self.connect_deadline();
                let hello = self.handshake.as_ref().and_then(|h| h.poll_timeout());
                [Some(end), hello, common].into_iter().flatten().min()
            }
            State::Joining => [Some(self.join_deadline()), common].into_iter().flatten().min(),
            State::Connected | State::Lingering => {
                let times = [
                    common,
                    self.data_due(now),
                    self.ping_due(),
                    self.mtu.due(),
                    self.sender.poll_timeout(),
                    self.inbox.next_expiry(),
                    (!mutant!(TimeoutNever)).then(|| self.last_received + self.timeout),
                    (self.state == State::Lingering).then_some(self.deadline),
                ];
                times.into_iter().flatten().min()
            }
            State::Draining => {
                let goodbye = if self.control.closed { Some(now) } else { self.goodbye.next };
                let goodbye = goodbye.filter(|_| !mutant!(GoodbyeSilent));
                Some(goodbye.map_or(self.deadline, |at| at.min(self.deadline)))
            }
            State::Closed => None,
        }
    }
}
