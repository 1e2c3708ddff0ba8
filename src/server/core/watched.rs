//! What is read of the core once a second where somebody watches it.

use std::collections::VecDeque;

use super::Core;
use crate::metrics::peer::PeerStats;
use crate::protocol::time::Time;
use crate::server::dashboard::log_tail::LogLine;
use crate::server::dashboard::{add, PeerRow};
use crate::server::events::Status;

/// Slots that are read at once: then whoever waits for the core has it.
pub const SLOTS_PER_READING: usize = 128;

impl Core {
    /// Reads the peers of [`SLOTS_PER_READING`] slots from `slot` on: a row for each that the host sees, and the counts of
    /// all. The slot to go on from; `None` at the end.
    pub fn read_peers(
        &mut self,
        now: Time,
        slot: usize,
        rows: &mut Vec<PeerRow>,
        sum: &mut PeerStats,
    ) -> Option<usize> {
        let end = slot.saturating_add(SLOTS_PER_READING);
        for slot in slot..end.min(self.peers.slot_count()) {
            let Some(peer) = self.peers.at(slot) else { continue };
            let stats = peer.connection.stats();
            add(sum, &stats);
            if !peer.visible || !peer.status.is_seated() && peer.status != Status::Disconnecting {
                continue;
            }
            rows.push(PeerRow {
                id: peer.id.to_bits(),
                address: peer.address,
                door: peer.connection.door(),
                wire: peer.connection.wire(),
                status: peer.status,
                token: peer.connection.token(),
                latency: peer.connection.latency(),
                queued_messages: peer.connection.queued_messages() as u32,
                queued_bytes: peer.connection.queued_bytes(),
                age: now.since(peer.since),
                stats,
            });
        }
        (end < self.peers.slot_count()).then_some(end)
    }

    /// What connections that are gone had counted.
    pub fn departed(&self) -> PeerStats {
        self.departed
    }

    /// A slot is about to be freed.
    pub(super) fn count_departed(&mut self, slot: usize) {
        if let Some(peer) = self.peers.at(slot) {
            let stats = PeerStats { pending: 0, ..peer.connection.stats() };
            add(&mut self.departed, &stats);
        }
    }

    /// Takes the lines of the log since the last time.
    pub fn collect_log(&mut self, at_s: u64, into: &mut VecDeque<LogLine>) {
        if let Some(tail) = &mut self.tail {
            tail.collect(at_s, into);
        }
    }
}
