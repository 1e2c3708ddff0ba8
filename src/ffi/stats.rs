//! Counts, times and series.

use std::time::Duration;

use crate::client::Client;
use crate::ffi::arguments::{flag, write_array};
use crate::ffi::events::gk_peer;
use crate::ffi::panic::fallible;
use crate::ffi::peer::latency_us;
use crate::ffi::result::{gk_result, Failure};
use crate::ffi::send::peer_id;
use crate::ffi::server::{gk_server, with_server};
use crate::ffi::versioned;
use crate::metrics::peer::PeerStats;
use crate::metrics::series::Second;
use crate::metrics::server::DropReason;
use crate::protocol::conditions::{Direction, LinkStats};
use crate::server::events::PeerId;
use crate::server::Server;

/// What a simulated network did to the datagrams of one direction since it was set; zeroes while there is none. Its layout is
/// fixed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gk_link_stats {
    /// Datagrams that came to it.
    pub pushed: u64,
    /// Datagrams lost, singly and in bursts.
    pub dropped: u64,
    /// Datagrams and copies that found no room: in the queue before the bottleneck, or in the network at all.
    pub overflowed: u64,
    /// Datagrams that were doubled.
    pub duplicated: u64,
    /// Datagrams and copies held back by `reorder_delay_us`.
    pub reordered: u64,
    /// Datagrams and copies with a bit turned over.
    pub corrupted: u64,
}

/// Lifetime counts of one peer, or of a client's session, and what is queued for it now. `gk_peer_stats_init` sets the size.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gk_peer_stats_t {
    /// sizeof this struct.
    pub struct_size: u32,
    /// Messages queued and not yet acknowledged.
    pub queued_messages: u32,
    /// Bytes of the same.
    pub queued_bytes: u64,
    /// Smoothed one-way time in microseconds; 0 if nothing was measured yet.
    pub latency_us: u64,
    /// Datagrams built.
    pub assembled: u64,
    /// Messages given to the connection for sending; each fragment counts as one.
    pub sent: u64,
    /// Datagrams received and thrown away: duplicates, forgeries, malformed ones.
    pub dropped: u64,
    /// Datagrams received and taken.
    pub received: u64,
    /// Datagrams sent that the remote side acknowledged.
    pub acked: u64,
    /// Datagrams sent that were not acknowledged within the message timeout.
    pub timeouts: u64,
    /// Datagrams sent that are neither acknowledged nor timed out yet.
    pub pending: u64,
    /// Bytes of all datagrams sent.
    pub bytes_sent: u64,
    /// Bytes of all datagrams received and taken.
    pub bytes_received: u64,
    /// Messages sent again.
    pub messages_resent: u64,
    /// Messages handed to the host.
    pub messages_received: u64,
    /// Messages received again and thrown away.
    pub messages_duplicate: u64,
    /// Messages thrown away because they were malformed.
    pub messages_malformed: u64,
    /// Messages refused, unacknowledged, because a bound was reached.
    pub messages_refused: u64,
    /// Times that a peer of the native wire went on from another address; 0 of a client's session, which is not told.
    pub migrations: u64,
    /// What the conditions did that `gk_server_simulate_peer` set for what is received from it; of a client, those of
    /// `gk_client_simulate`.
    pub simulated_receive: gk_link_stats,
    /// The same for what is sent to it; of a client, for what it sends.
    pub simulated_send: gk_link_stats,
}

versioned!(gk_peer_stats_t, first: queued_messages, fields: [
    struct_size, queued_messages, queued_bytes, latency_us, assembled, sent, dropped, received, acked,
    timeouts, pending, bytes_sent, bytes_received, messages_resent, messages_received, messages_duplicate,
    messages_malformed, messages_refused, migrations, simulated_receive, simulated_send,
]);

/// Counts and times of a server since it started. `gk_server_stats_init` sets the size.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gk_server_stats_t {
    /// sizeof this struct.
    pub struct_size: u32,
    /// Peers connected now.
    pub peers: u32,
    /// Handshakes under way now.
    pub handshakes: u32,
    /// Clients that wait for a decision now; they are not among `peers`.
    pub joining: u32,
    /// Peers that ever connected.
    pub connects: u64,
    /// Peers that left.
    pub disconnects: u64,
    /// Handshakes that were not proven in time.
    pub handshake_timeouts: u64,
    /// Datagrams sent.
    pub packets_sent: u64,
    /// Datagrams received, those thrown away included.
    pub packets_received: u64,
    /// Bytes of datagrams sent.
    pub bytes_sent: u64,
    /// Bytes of datagrams received, those thrown away included.
    pub bytes_received: u64,
    /// Datagrams thrown away: the source is on the block list.
    pub drops_blocked: u64,
    /// Datagrams thrown away: not of the wire (too short, wrong magic, wrong length, unknown type).
    pub drops_malformed: u64,
    /// Datagrams thrown away: from an address without a connection, and not a hello.
    pub drops_unknown: u64,
    /// Datagrams thrown away: tag or checksum does not fit.
    pub drops_forged: u64,
    /// Datagrams thrown away: seen before.
    pub drops_duplicate: u64,
    /// Datagrams thrown away: older than the replay window.
    pub drops_old: u64,
    /// Hellos thrown away: too short, another version, an unusable key.
    pub drops_hello: u64,
    /// Hellos thrown away: above the budget of the source or of the server, or above a table's bound.
    pub drops_hello_budget: u64,
    /// Hellos thrown away: the server had its maximum of peers.
    pub drops_full: u64,
    /// Datagrams thrown away: clear where only sealed ones are taken.
    pub drops_clear: u64,
    /// Datagrams that the operating system refused to send.
    pub drops_send_failed: u64,
    /// Ticks since start.
    pub ticks: u64,
    /// Ticks left out because the one before took longer than an interval.
    pub ticks_missed: u64,
    /// Log lines and access-log lines left out because a stranger caused too many.
    pub log_lines_suppressed: u64,
    /// Ticks per second over the last whole second.
    pub tick_rate_hz: f64,
    /// Seconds of the last whole second spent on received datagrams and the callbacks that they led to.
    pub messages_s: f64,
    /// Seconds of it spent in the update callback.
    pub update_s: f64,
    /// Seconds of it spent reading from and writing to the network.
    pub network_s: f64,
    /// Seconds of it spent waiting; of a polled server also what its host does between two polls.
    pub idle_s: f64,
    /// Clients that proved themselves and were not let in.
    pub refusals: u64,
    /// Datagrams thrown away: of no wire, or a query, above the budget of the source or of all; or a query that
    /// is shorter than its answer.
    pub drops_raw_budget: u64,
    /// Times that a peer of the native wire went on from another address.
    pub migrations: u64,
    /// What the conditions did that `gk_server_simulate` set for what is received, peers with conditions of their own left
    /// out.
    pub simulated_receive: gk_link_stats,
    /// The same for what is sent.
    pub simulated_send: gk_link_stats,
}

versioned!(gk_server_stats_t, first: peers, fields: [
    struct_size, peers, handshakes, joining, connects, disconnects, handshake_timeouts, packets_sent,
    packets_received, bytes_sent, bytes_received, drops_blocked, drops_malformed, drops_unknown,
    drops_forged, drops_duplicate, drops_old, drops_hello, drops_hello_budget, drops_full, drops_clear,
    drops_send_failed, ticks, ticks_missed, log_lines_suppressed, tick_rate_hz, messages_s, update_s,
    network_s, idle_s, refusals, drops_raw_budget, migrations, simulated_receive, simulated_send,
]);

/// One second of a series. Its layout is fixed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gk_second {
    /// Datagrams sent.
    pub packets_sent: u32,
    /// Datagrams received.
    pub packets_received: u32,
    /// Bytes of datagrams sent.
    pub bytes_sent: u32,
    /// Bytes of datagrams received.
    pub bytes_received: u32,
    /// Mean one-way time in microseconds; 0 where nothing was measured.
    pub latency_us: u32,
}

/// Where one second of the server's thread went, in seconds. Its layout is fixed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gk_profile_second {
    /// Received datagrams, and the callbacks that they led to.
    pub messages_s: f64,
    /// The update callback.
    pub update_s: f64,
    /// Reading from and writing to the network.
    pub network_s: f64,
    /// Waiting; of a polled server also what its host does between two polls.
    pub idle_s: f64,
    /// Ticks in it.
    pub ticks: u32,
    /// 0.
    pub reserved: u32,
}

fn second(second: &Second) -> gk_second {
    gk_second {
        packets_sent: second.packets_sent,
        packets_received: second.packets_received,
        bytes_sent: second.bytes_sent,
        bytes_received: second.bytes_received,
        latency_us: second.latency_us,
    }
}

/// What a link of each direction did, by a function that tells it of one.
fn links(of: impl Fn(Direction) -> Option<LinkStats>) -> [gk_link_stats; 2] {
    [Direction::Receive, Direction::Send].map(|direction| {
        let stats = of(direction).unwrap_or_default();
        gk_link_stats {
            pushed: stats.pushed,
            dropped: stats.dropped,
            overflowed: stats.overflowed,
            duplicated: stats.duplicated,
            reordered: stats.reordered,
            corrupted: stats.corrupted,
        }
    })
}

fn peer_stats(server: &Server, peer: PeerId) -> Result<gk_peer_stats_t, Failure> {
    let info = server.peer_info(peer)?;
    let queued = (info.queued_messages, info.queued_bytes as u64);
    let links = links(|direction| server.link_stats(Some(peer), direction));
    Ok(stats_of(&info.stats, queued, info.latency, info.migrations, links))
}

/// The counts of a client's session.
pub(crate) fn client_stats(client: &Client) -> gk_peer_stats_t {
    let queued = (client.queued_messages() as u32, client.queued_bytes() as u64);
    let links = links(|direction| client.link_stats(direction));
    stats_of(&client.stats(), queued, client.latency(), 0, links)
}

/// The counts of one connection, with the messages and bytes queued for it.
fn stats_of(
    stats: &PeerStats,
    queued: (u32, u64),
    latency: Duration,
    migrations: u64,
    [simulated_receive, simulated_send]: [gk_link_stats; 2],
) -> gk_peer_stats_t {
    gk_peer_stats_t {
        struct_size: std::mem::size_of::<gk_peer_stats_t>() as u32,
        queued_messages: queued.0,
        queued_bytes: queued.1,
        latency_us: latency_us(latency),
        assembled: stats.assembled,
        sent: stats.sent,
        dropped: stats.dropped,
        received: stats.received,
        acked: stats.acked,
        timeouts: stats.timeouts,
        pending: stats.pending,
        bytes_sent: stats.bytes_sent,
        bytes_received: stats.bytes_received,
        messages_resent: stats.messages_resent,
        messages_received: stats.messages_received,
        messages_duplicate: stats.messages_duplicate,
        messages_malformed: stats.messages_malformed,
        messages_refused: stats.messages_refused,
        migrations,
        simulated_receive,
        simulated_send,
    }
}

fn server_stats(server: &Server) -> gk_server_stats_t {
    let stats = server.stats();
    let [simulated_receive, simulated_send] = links(|direction| server.link_stats(None, direction));
    let drops = |reason: DropReason| stats.drops[reason as usize];
    gk_server_stats_t {
        struct_size: std::mem::size_of::<gk_server_stats_t>() as u32,
        peers: stats.peers,
        handshakes: stats.handshakes,
        joining: stats.joining,
        connects: stats.connects,
        disconnects: stats.disconnects,
        handshake_timeouts: stats.handshake_timeouts,
        packets_sent: stats.packets_sent,
        packets_received: stats.packets_received,
        bytes_sent: stats.bytes_sent,
        bytes_received: stats.bytes_received,
        drops_blocked: drops(DropReason::Blocked),
        drops_malformed: drops(DropReason::Malformed),
        drops_unknown: drops(DropReason::Unknown),
        drops_forged: drops(DropReason::Forged),
        drops_duplicate: drops(DropReason::Duplicate),
        drops_old: drops(DropReason::Old),
        drops_hello: drops(DropReason::Hello),
        drops_hello_budget: drops(DropReason::HelloBudget),
        drops_full: drops(DropReason::Full),
        drops_clear: drops(DropReason::Clear),
        drops_send_failed: drops(DropReason::SendFailed),
        ticks: stats.ticks,
        ticks_missed: stats.ticks_missed,
        log_lines_suppressed: stats.log_lines_suppressed,
        tick_rate_hz: stats.tick_rate_hz,
        messages_s: stats.profile.messages,
        update_s: stats.profile.update,
        network_s: stats.profile.network,
        idle_s: stats.profile.idle,
        refusals: stats.refusals,
        drops_raw_budget: drops(DropReason::RawBudget),
        migrations: stats.migrations,
        simulated_receive,
        simulated_send,
    }
}

/// Sets the size and zeroes the rest.
///
/// - `stats`: the struct
/// - `struct_size`: `sizeof(gk_peer_stats_t)`, so that a library with a longer struct does not write behind
///   yours
///
/// Errors: `GK_ERR_ARGUMENT` (`struct_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the struct stays the caller's.
#[no_mangle]
pub unsafe extern "C" fn gk_peer_stats_init(stats: *mut gk_peer_stats_t, struct_size: usize) -> gk_result {
    // SAFETY: zeroes are a value of every field; the rest is the caller's promise.
    fallible(|| unsafe { versioned::init(stats, struct_size, &std::mem::zeroed()) })
}

/// Sets the size and zeroes the rest.
///
/// - `stats`: the struct
/// - `struct_size`: `sizeof(gk_server_stats_t)`, so that a library with a longer struct does not write
///   behind yours
///
/// Errors: `GK_ERR_ARGUMENT` (`struct_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the struct stays the caller's.
#[no_mangle]
pub unsafe extern "C" fn gk_server_stats_init(
    stats: *mut gk_server_stats_t,
    struct_size: usize,
) -> gk_result {
    // SAFETY: zeroes are a value of every field; the rest is the caller's promise.
    fallible(|| unsafe { versioned::init(stats, struct_size, &std::mem::zeroed()) })
}

/// Gives the counts of a peer.
///
/// - `out`: with `struct_size` set, by `gk_peer_stats_init`; filled as far as that reaches
///
/// Errors: `GK_ERR_STALE`, `GK_ERR_ARGUMENT` (`struct_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the struct stays the caller's.
#[no_mangle]
pub unsafe extern "C" fn gk_peer_stats(
    server: *const gk_server,
    peer: gk_peer,
    out: *mut gk_peer_stats_t,
) -> gk_result {
    with_server(server, |server| {
        not_null!(out);
        let stats = peer_stats(server, peer_id(peer)?)?;
        // SAFETY: not null, and the caller's promise.
        unsafe { versioned::write("out", out, &stats) }
    })
}

/// Starts or ends keeping a per-second series for a peer, about 6 KB each.
///
/// - `on`: 1 starts it (from empty, unless it is kept already), 0 (as at connect) ends and forgets it
///
/// Errors: `GK_ERR_STALE`, `GK_ERR_ARGUMENT` (`on`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_peer_set_series(server: *mut gk_server, peer: gk_peer, on: u32) -> gk_result {
    with_server(server, |server| Ok(server.set_peer_series(peer_id(peer)?, flag("on", on)?)?))
}

/// Gives the last 300 seconds of a peer, oldest first, the running one last; seconds before the series
/// started are 0.
///
/// - `buf`: an array; may be NULL if `cap` is 0
/// - `cap`: how many it holds; 300 is enough
/// - `out_count`: how many there are; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
///
/// Errors: `GK_ERR_STATE` (no series kept: see `gk_peer_set_series`), `GK_ERR_STALE`,
/// `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the array stays the caller's.
#[no_mangle]
pub unsafe extern "C" fn gk_peer_series(
    server: *const gk_server,
    peer: gk_peer,
    buf: *mut gk_second,
    cap: usize,
    out_count: *mut usize,
) -> gk_result {
    with_server(server, |server| {
        let series: Vec<gk_second> = server.peer_series(peer_id(peer)?)?.iter().map(second).collect();
        // SAFETY: the caller's promise.
        unsafe { write_array(&series, buf, cap, out_count) }
    })
}

/// Gives the counts and times of the server.
///
/// - `out`: with `struct_size` set, by `gk_server_stats_init`; filled as far as that reaches
///
/// Errors: `GK_ERR_ARGUMENT` (`struct_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the struct stays the caller's.
#[no_mangle]
pub unsafe extern "C" fn gk_server_stats(server: *const gk_server, out: *mut gk_server_stats_t) -> gk_result {
    with_server(server, |server| {
        not_null!(out);
        // SAFETY: not null, and the caller's promise.
        unsafe { versioned::write("out", out, &server_stats(server)) }
    })
}

/// Gives the last 300 seconds of the server as a whole, oldest first, the running one last; seconds before
/// it started are 0.
///
/// - `buf`: an array; may be NULL if `cap` is 0
/// - `cap`: how many it holds; 300 is enough
/// - `out_count`: how many there are; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
///
/// Errors: `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the array stays the caller's.
#[no_mangle]
pub unsafe extern "C" fn gk_server_series(
    server: *const gk_server,
    buf: *mut gk_second,
    cap: usize,
    out_count: *mut usize,
) -> gk_result {
    with_server(server, |server| {
        let series: Vec<gk_second> = server.series().iter().map(second).collect();
        // SAFETY: the caller's promise.
        unsafe { write_array(&series, buf, cap, out_count) }
    })
}

/// Gives where each of the last 300 seconds of the server's thread went, oldest first, the running one
/// last.
///
/// - `buf`: an array; may be NULL if `cap` is 0
/// - `cap`: how many it holds; 300 is enough
/// - `out_count`: how many there are; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
///
/// Errors: `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the array stays the caller's.
#[no_mangle]
pub unsafe extern "C" fn gk_server_profile_series(
    server: *const gk_server,
    buf: *mut gk_profile_second,
    cap: usize,
    out_count: *mut usize,
) -> gk_result {
    with_server(server, |server| {
        let series: Vec<gk_profile_second> = server
            .profile_series()
            .into_iter()
            .map(|(profile, ticks)| gk_profile_second {
                messages_s: profile.messages,
                update_s: profile.update,
                network_s: profile.network,
                idle_s: profile.idle,
                ticks,
                reserved: 0,
            })
            .collect();
        // SAFETY: the caller's promise.
        unsafe { write_array(&series, buf, cap, out_count) }
    })
}
