//! The server: what a host holds.

pub mod access_log;
pub mod block_list;
pub mod config;
pub mod events;

use std::net::SocketAddr;
use std::time::Duration;

use crate::error::Result;
use crate::metrics::series::Second;
use crate::metrics::server::{ServerStats, TimeProfile};
use block_list::BlockList;
use config::Config;
use events::*;

/// A running server. Cheap to clone; every clone is the same server. All methods can be called from any thread.
#[derive(Clone)]
pub struct Server(std::sync::Arc<Inner>);

/// What the clones share.
pub(crate) struct Inner {}

#[allow(unused_variables)]
impl Server {
    /// Binds `address` and runs the server on a thread of its own.
    pub fn start(config: Config, handler: Box<dyn Handler>, address: &str) -> Result<Server> {
        todo!()
    }
    /// Binds `address`; the host runs the server by calling [`poll`](Self::poll).
    pub fn open(config: Config, handler: Box<dyn Handler>, address: &str) -> Result<Server> {
        todo!()
    }
    /// Runs the server until something happened, at most for `timeout` (`None`: until something happens):
    /// reads what came, calls back, ticks, writes. Errors: Reentrant (inside a callback), Busy (another
    /// thread polls), State (stopped, or the server has its own thread), Panic.
    pub fn poll(&self, timeout: Option<Duration>) -> Result<()> {
        todo!()
    }
    /// Makes a `poll` that waits, on another thread, return.
    pub fn wake(&self) {
        todo!()
    }
    /// The descriptor that becomes readable when `poll` has something to read (unix).
    pub fn descriptor(&self) -> Result<i32> {
        todo!()
    }
    /// How long until `poll` has something to do even if nothing arrives; `None`: nothing is due.
    pub fn next_timeout(&self) -> Option<Duration> {
        todo!()
    }
    /// Takes up to `max` events out of the queue. Peers whose disconnect was in the batch before become
    /// stale. Errors: State (no event queue configured), Reentrant, Busy, Panic.
    pub fn next_events(&self, max: usize) -> Result<Vec<Event>> {
        todo!()
    }
    /// Disconnects all peers, reports each, sends what closing needs, calls `shutdown` last, and ends the
    /// thread. From inside a callback it takes effect when the callback returns, from outside it waits.
    /// A second stop is harmless.
    pub fn stop(&self) -> Result<()> {
        todo!()
    }
    /// Waits until the server has stopped. Errors: Timeout, Reentrant (on the server's own thread).
    pub fn wait(&self, timeout: Option<Duration>) -> Result<()> {
        todo!()
    }
    /// Whether it has stopped.
    pub fn is_stopped(&self) -> bool {
        todo!()
    }
    /// The address that the socket is bound to, with the real port.
    pub fn local_address(&self) -> SocketAddr {
        todo!()
    }
    /// The server's public key as SubjectPublicKeyInfo, DER, 91 bytes.
    pub fn public_key_der(&self) -> [u8; 91] {
        todo!()
    }

    /// Queues a copy of `data` for `peer`. Errors: Stale, WouldBlock, TooLarge, State (stopped), Panic.
    pub fn send(&self, peer: PeerId, data: &[u8], options: SendOptions) -> Result<()> {
        todo!()
    }
    /// Queues `data` for all connected peers but `except`; returns for how many. Peers whose queue is full
    /// are left out (and get `writable` later). No completion: `options` must have neither callback nor tag.
    pub fn broadcast(&self, except: Option<PeerId>, data: &[u8], options: SendOptions) -> Result<usize> {
        todo!()
    }
    /// Ends a peer's connection. `after_delivery`: once what is queued is acknowledged (at most the
    /// connection timeout); else at once, and what is queued is cancelled.
    pub fn disconnect(&self, peer: PeerId, info: DisconnectInfo, after_delivery: bool) -> Result<()> {
        todo!()
    }
    /// All connected peers.
    pub fn peers(&self) -> Vec<PeerId> {
        todo!()
    }
    /// What is known of one peer now.
    pub fn peer_info(&self, peer: PeerId) -> Result<PeerInfo> {
        todo!()
    }
    /// The host's own pointer-sized value for a peer; 0 until set.
    pub fn user_data(&self, peer: PeerId) -> Result<usize> {
        todo!()
    }
    /// Sets it.
    pub fn set_user_data(&self, peer: PeerId, value: usize) -> Result<()> {
        todo!()
    }
    /// Starts (or ends) keeping per-second series for a peer.
    pub fn set_peer_series(&self, peer: PeerId, on: bool) -> Result<()> {
        todo!()
    }
    /// The last 300 seconds of a peer, oldest first; State where the host did not ask for them.
    pub fn peer_series(&self, peer: PeerId) -> Result<Vec<Second>> {
        todo!()
    }
    /// Counts and times of the server.
    pub fn stats(&self) -> ServerStats {
        todo!()
    }
    /// The last 300 seconds of the server, oldest first.
    pub fn series(&self) -> Vec<Second> {
        todo!()
    }
    /// Where each of the last 300 seconds went, and the ticks in it, oldest first.
    pub fn profile_series(&self) -> Vec<(TimeProfile, u32)> {
        todo!()
    }
    /// Replaces the block list; peers that are on the new one are disconnected.
    pub fn set_block_list(&self, list: BlockList) -> Result<()> {
        todo!()
    }
}
