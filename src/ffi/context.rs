//! The configuration object.

use std::ffi::c_char;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::ffi::arguments::{bytes, flag, text, texts};
use crate::ffi::callbacks::Callbacks;
use crate::ffi::client_callbacks::ClientCallbacks;
use crate::ffi::client_context::ClientPart;
use crate::ffi::key::gk_key;
use crate::ffi::panic::{fallible, infallible};
use crate::ffi::result::{gk_result, Failure, GK_ERR_ARGUMENT};
use crate::server::block_list::BlockList;
use crate::server::config::{Config, Io, Wires};
use crate::server::password::Password;

/// What a server or a client is made from: values and callbacks. It does nothing itself; a server copies what it needs
/// when it starts, so one context can start any number of servers, and may be changed or freed afterwards.
/// Every value has a default, and is checked when it is set: one out of its range is refused with
/// `GK_ERR_ARGUMENT` and changes nothing.
///
/// - `gk_context_new`, `gk_context_free`: make it, end it
/// - `gk_context_set_root_key`: the key that proves the server's identity
/// - `gk_context_set_tick_rate_hz`: update events per second
/// - `gk_context_set_keep_alive_interval_us`: when a quiet peer is sent an empty datagram
/// - `gk_context_set_connection_timeout_us`: when a silent peer is dropped
/// - `gk_context_set_handshake_timeout_us`: when an unproven handshake is forgotten
/// - `gk_context_set_message_timeout_us`: when an unacknowledged message is expired
/// - `gk_context_set_reconcile_interval_us`: time between two reconcile events
/// - `gk_context_set_send_interval_us`: least time between two datagrams to one peer that are not full
/// - `gk_context_set_reassembly_timeout_us`: when an unfinished message is given up
/// - `gk_context_set_mtu`: largest IP packet
/// - `gk_context_set_max_peers`, `gk_context_set_max_handshakes`: how many of each
/// - `gk_context_set_hellos_per_source_hz`, `gk_context_set_hellos_total_hz`: budgets of new handshakes
/// - `gk_context_listen_stream`, `gk_context_listen_stream_with`: doors for streams (TCP)
/// - `gk_context_set_wires`, `gk_context_set_redundancy`: the datagram formats; copies ahead of a loss
/// - `gk_context_set_max_message_size`: longest message
/// - `gk_context_set_max_queued_messages`, `gk_context_set_max_queued_bytes`: bounds of a peer's queue
/// - `gk_context_set_max_reassembly_bytes`: bound of a peer's unfinished messages
/// - `gk_context_set_max_queued_events`, `gk_context_set_max_queued_event_bytes`: the event queue
/// - `gk_context_set_socket_receive_bytes`, `gk_context_set_socket_send_bytes`: the kernel's buffers
/// - `gk_context_set_io`, `gk_context_set_busy_poll_us`: system calls per datagram; not sleeping between datagrams
/// - `gk_context_set_block_list`: addresses whose datagrams are dropped unread
/// - `gk_context_set_access_log`: file with one line per connect, refusal and disconnect
/// - `gk_context_set_authorise`, `gk_context_set_max_joining`, `gk_context_set_authorise_timeout_us`: deciding
///   about each client
/// - `gk_context_set_password`: what a client must know to come in
/// - `gk_context_set_peer_send_rate`, `gk_context_set_server_send_rate`: bytes per second
/// - `gk_context_set_raw_datagrams`: datagrams that are of no wire
/// - `gk_context_set_discovery_info`: what those who look for servers are told
/// - `gk_context_on_starting`, `_connect`, `_disconnect`, `_message`, `_update`, `_writable`, `_reconcile`,
///   `_shutdown`, `_log`, `_authorise`, `_raw`: the callbacks
/// - `gk_context_listen_http` and the routes: see `gk_request`
/// - `gk_context_set_files`, `gk_context_on_file`, `gk_context_on_client_file`: files, of servers and of clients
/// - `gk_context_listen_stream_files`, `gk_context_connect_stream_files`: the same in streams
/// - `gk_context_set_dashboard`, `gk_context_set_dashboard_token`: what the server does, shown in a browser
///
/// The same context makes clients, which copy it likewise. They take the intervals, timeouts, bounds, the event queue
/// and the send rate of a peer, which is their server, from above, and have of their own:
///
/// - `gk_context_set_wire`, `gk_context_connect_stream`, `gk_context_set_stream_tls`: how the client talks
/// - `gk_context_pin_native_key`, `gk_context_pin_root_key`, `gk_context_trust_any_server`: whom it believes; one of
///   them is needed, but in a stream with TLS
/// - `gk_context_set_join_data`, `gk_context_set_password`: what it tells the server before it is let in
/// - `gk_context_on_client_connecting`, `gk_context_on_client_connect`, `gk_context_on_client_disconnect`: callbacks
/// - `gk_context_on_client_message`, `gk_context_on_client_writable`, `gk_context_on_client_update`: callbacks
/// - `gk_context_on_client_shutdown`, `gk_context_on_client_log`: callbacks
pub struct gk_context {
    pub(crate) config: Config,
    pub(crate) callbacks: Callbacks,
    pub(crate) client: ClientPart,
    pub(crate) client_callbacks: ClientCallbacks,
}

impl gk_context {
    /// Sets one value, and sets it back if the configuration is not valid with it.
    pub(crate) fn set<T>(&mut self, field: impl Fn(&mut Config) -> &mut T, value: T) -> Result<(), Failure> {
        let before = std::mem::replace(field(&mut self.config), value);
        self.config.validate().map_err(|error| {
            *field(&mut self.config) = before;
            error.into()
        })
    }
}

/// Runs the body of a function that changes a context.
///
/// # Safety
/// `context` is null, or from `gk_context_new`, not freed, and in no other thread's use.
pub(crate) unsafe fn with_context(
    context: *mut gk_context,
    body: impl FnOnce(&mut gk_context) -> Result<(), Failure>,
) -> gk_result {
    fallible(|| {
        not_null!(context);
        // SAFETY: not null, and the caller's promise.
        body(unsafe { &mut *context })
    })
}

/// Makes a context with all defaults.
///
/// - `out`: the context
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the caller's, to be ended with `gk_context_free`.
#[no_mangle]
pub unsafe extern "C" fn gk_context_new(out: *mut *mut gk_context) -> gk_result {
    fallible(|| {
        not_null!(out);
        let context = gk_context {
            config: Config::default(),
            callbacks: Callbacks::default(),
            client: ClientPart::default(),
            client_callbacks: ClientCallbacks::default(),
        };
        // SAFETY: not null, and the caller's to write.
        unsafe { out.write(Box::into_raw(Box::new(context))) };
        Ok(())
    })
}

/// Ends a context. Servers that were started with it run on.
///
/// - `context`: may be NULL
///
/// Thread: any; nobody may use the context any more.
/// Ownership: ends the caller's.
#[no_mangle]
pub unsafe extern "C" fn gk_context_free(context: *mut gk_context) {
    infallible((), || {
        if !context.is_null() {
            // SAFETY: from `gk_context_new`, and given back once.
            drop(unsafe { Box::from_raw(context) });
        }
    });
}

/// Sets the key that proves the server's identity to clients that have its public part.
///
/// - `key`: copied; NULL (the default): one is generated at each start, with a log line that says so, and
///   clients cannot know it beforehand
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: `key` stays the caller's and may be freed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_root_key(context: *mut gk_context, key: *const gk_key) -> gk_result {
    with_context(context, |context| {
        // SAFETY: null, or a live key by the caller's promise.
        context.config.root_key = unsafe { key.as_ref() }.map(|key| Arc::clone(&key.root));
        Ok(())
    })
}

/// Sets how many update events there are per second.
///
/// - `hz`: default 60, range 1 to 10,000
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_tick_rate_hz(context: *mut gk_context, hz: f64) -> gk_result {
    with_context(context, |context| context.set(|config| &mut config.tick_rate_hz, hz))
}

/// Sets after how long a peer that was sent nothing gets an empty datagram, which carries acknowledgements.
///
/// - `microseconds`: default 100,000 (0.1 s), range 10,000 (10 ms) to 60,000,000 (60 s)
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_keep_alive_interval_us(
    context: *mut gk_context,
    microseconds: u64,
) -> gk_result {
    with_context(context, |context| {
        context.set(|config| &mut config.keep_alive_interval, Duration::from_micros(microseconds))
    })
}

/// Sets after how long a peer from which no valid datagram came is dropped.
///
/// - `microseconds`: default 5,000,000 (5 s), range 100,000 (0.1 s) to 3,600,000,000 (1 h)
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_connection_timeout_us(
    context: *mut gk_context,
    microseconds: u64,
) -> gk_result {
    with_context(context, |context| {
        context.set(|config| &mut config.connection_timeout, Duration::from_micros(microseconds))
    })
}

/// Sets after how long a handshake that is not proven is forgotten; of clients, after how long an address that has not
/// answered is given up. On the native wire a server that has answered may take longer to let a client in: the client
/// waits while it hears the server, an hour more at most.
///
/// - `microseconds`: default 2,000,000 (2 s), range 100,000 (0.1 s) to 60,000,000 (60 s)
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_handshake_timeout_us(
    context: *mut gk_context,
    microseconds: u64,
) -> gk_result {
    with_context(context, |context| {
        context.set(|config| &mut config.handshake_timeout, Duration::from_micros(microseconds))
    })
}

/// Sets after how long a message without retry, or with best effort, whose datagrams were not acknowledged,
/// is reported as expired.
///
/// - `microseconds`: default 1,000,000 (1 s), range 50,000 (50 ms) to 60,000,000 (60 s)
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_message_timeout_us(
    context: *mut gk_context,
    microseconds: u64,
) -> gk_result {
    with_context(context, |context| {
        context.set(|config| &mut config.message_timeout, Duration::from_micros(microseconds))
    })
}

/// Sets the time between two reconcile events.
///
/// - `microseconds`: default 5,000,000 (5 s), range 10,000 (10 ms) to 3,600,000,000 (1 h)
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_reconcile_interval_us(
    context: *mut gk_context,
    microseconds: u64,
) -> gk_result {
    with_context(context, |context| {
        context.set(|config| &mut config.reconcile_interval, Duration::from_micros(microseconds))
    })
}

/// Sets the least time between two datagrams to one peer that are not full. A client of mpgameserver reads
/// one datagram per frame: more than that queue up at it.
///
/// - `microseconds`: default 1/60 s (about 16,667), range 0 (send at once) to 1,000,000 (1 s)
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_send_interval_us(
    context: *mut gk_context,
    microseconds: u64,
) -> gk_result {
    with_context(context, |context| {
        context.set(|config| &mut config.send_interval, Duration::from_micros(microseconds))
    })
}

/// Sets after how long a message in fragments is given up of which none came while its sender went on to
/// newer messages; after six times this it is given up in any case.
///
/// - `microseconds`: default 5,000,000 (5 s), range 100,000 (0.1 s) to 600,000,000 (10 min)
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_reassembly_timeout_us(
    context: *mut gk_context,
    microseconds: u64,
) -> gk_result {
    with_context(context, |context| {
        context.set(|config| &mut config.reassembly_timeout, Duration::from_micros(microseconds))
    })
}

/// Sets the largest IP packet; a datagram carries 28 bytes less. Clients must use the same value: with another
/// one their hello can be too short to be answered.
///
/// - `bytes`: default 1500, range 576 to 1500
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_mtu(context: *mut gk_context, bytes: u32) -> gk_result {
    with_context(context, |context| {
        let mtu = u16::try_from(bytes)
            .map_err(|_| Failure::new(GK_ERR_ARGUMENT, format!("mtu is {bytes}, allowed is 576 to 1500")))?;
        context.set(|config| &mut config.mtu, mtu)
    })
}

/// Sets how many peers can be connected; above it new handshakes are refused and counted.
///
/// - `count`: default 4096, range 1 to 1,000,000
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_max_peers(context: *mut gk_context, count: u32) -> gk_result {
    with_context(context, |context| context.set(|config| &mut config.max_peers, count))
}

/// Sets how many unproven handshakes are kept; above it hellos are dropped and counted.
///
/// - `count`: default 4096, range 1 to 65,536
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_max_handshakes(context: *mut gk_context, count: u32) -> gk_result {
    with_context(context, |context| context.set(|config| &mut config.max_handshakes, count))
}

/// Sets how many hellos one source (an IPv4 address or an IPv6 /64) may have answered per second on average, with
/// bursts of 4096. Above it hellos are dropped and counted.
///
/// - `hz`: default 256, range 1 to 1,000,000
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_hellos_per_source_hz(context: *mut gk_context, hz: f64) -> gk_result {
    with_context(context, |context| context.set(|config| &mut config.hellos_per_source_hz, hz))
}

/// Sets how many hellos are answered per second in total on average, with bursts of 4096. Each costs a key
/// exchange and a signature, about 0.2 ms. Above it hellos are dropped and counted.
///
/// - `hz`: default 1000, range 1 to 1,000,000
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_hellos_total_hz(context: *mut gk_context, hz: f64) -> gk_result {
    with_context(context, |context| context.set(|config| &mut config.hellos_total_hz, hz))
}

/// Says which datagram formats a server speaks on its port; they are told apart by the first byte.
///
/// - `mpgameserver`, `native`: 1 or 0; default both 1, and at least one must be
///
/// Errors: `GK_ERR_ARGUMENT` (neither, or another number), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_wires(
    context: *mut gk_context,
    mpgameserver: u32,
    native: u32,
) -> gk_result {
    with_context(context, |context| {
        let wires =
            Wires { mpgameserver: flag("mpgameserver", mpgameserver)?, native: flag("native", native)? };
        context.set(|config| &mut config.wires, wires)
    })
}

/// Has every short message (up to 512 bytes) that is resent ride again in so many further packets before anybody knows of a
/// loss, so that a single loss costs no round trip. Native wire, of servers and clients. A message's own redundancy
/// counts where it is more.
///
/// - `copies`: default 0, range 0 to 4
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_redundancy(context: *mut gk_context, copies: u32) -> gk_result {
    with_context(context, |context| {
        // What is too much for a byte is out of range all the same.
        context.set(|config| &mut config.redundancy, u8::try_from(copies).unwrap_or(u8::MAX))
    })
}

/// Sets the longest message, each way. A longer one is refused with `GK_ERR_TOO_LARGE` on sending, and thrown
/// away and counted on receiving.
///
/// - `bytes`: default 8,388,608 (8 MiB), range 1 to 8,388,608
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_max_message_size(
    context: *mut gk_context,
    bytes: usize,
) -> gk_result {
    with_context(context, |context| context.set(|config| &mut config.max_message_size, bytes))
}

/// Sets how many messages of one peer can be queued and not yet acknowledged; a full queue answers
/// `GK_ERR_WOULD_BLOCK`.
///
/// - `count`: default 4096, range 1 to 1,000,000
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_max_queued_messages(
    context: *mut gk_context,
    count: u32,
) -> gk_result {
    with_context(context, |context| context.set(|config| &mut config.max_queued_messages, count))
}

/// Sets how many bytes of message of one peer can be queued and not yet acknowledged; a full queue answers
/// `GK_ERR_WOULD_BLOCK`. An empty queue takes one message even if that is larger.
///
/// - `bytes`: default 16,777,216 (16 MiB), range 1024 to 1,073,741,824 (1 GiB)
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_max_queued_bytes(
    context: *mut gk_context,
    bytes: usize,
) -> gk_result {
    with_context(context, |context| context.set(|config| &mut config.max_queued_bytes, bytes))
}

/// Sets how many bytes of unfinished messages of one peer are kept; a fragment above it is refused
/// unacknowledged, so that its sender repeats it. The oldest unfinished message is always let in: a peer can
/// take this and one longest message.
///
/// - `bytes`: default 16,777,216 (16 MiB), range 2048 to 1,073,741,824 (1 GiB)
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_max_reassembly_bytes(
    context: *mut gk_context,
    bytes: usize,
) -> gk_result {
    with_context(context, |context| context.set(|config| &mut config.max_reassembly_bytes, bytes))
}

/// Sets how many events are kept for a host that pulls them with `gk_server_next_events`. Events without a
/// callback go there. When it is full, messages are refused unacknowledged and counted, so that their
/// senders repeat them; nobody can connect; and a send with `notify` answers `GK_ERR_WOULD_BLOCK`.
///
/// - `count`: default 0 (no queue: events without a callback go nowhere), range 0 to 10,000,000
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_max_queued_events(context: *mut gk_context, count: u32) -> gk_result {
    with_context(context, |context| context.set(|config| &mut config.max_queued_events, count))
}

/// Sets how many bytes of message are kept in the event queue; the consequence is the same.
///
/// - `bytes`: default 67,108,864 (64 MiB), range 65,536 (64 KiB) to 4,294,967,296 (4 GiB)
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_max_queued_event_bytes(
    context: *mut gk_context,
    bytes: usize,
) -> gk_result {
    with_context(context, |context| context.set(|config| &mut config.max_queued_event_bytes, bytes))
}

/// Sets what is asked of the kernel for the receive buffer of the socket. The kernel may grant less; a burst beyond
/// what it grants is lost.
///
/// - `bytes`: default 4,194,304 (4 MiB), range 4096 to 1,073,741,824 (1 GiB)
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_socket_receive_bytes(
    context: *mut gk_context,
    bytes: usize,
) -> gk_result {
    with_context(context, |context| context.set(|config| &mut config.socket_receive_bytes, bytes))
}

/// Sets what is asked of the kernel for the send buffer of the socket. The kernel may grant less; datagrams
/// of a burst beyond what it grants are lost and counted.
///
/// - `bytes`: default 4,194,304 (4 MiB), range 4096 to 1,073,741,824 (1 GiB)
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_socket_send_bytes(
    context: *mut gk_context,
    bytes: usize,
) -> gk_result {
    with_context(context, |context| context.set(|config| &mut config.socket_send_bytes, bytes))
}

/// How datagrams pass between a server and the system: one of `GK_IO_…`. More will be appended.
pub type gk_io = i32;

/// Many per system call, on Linux; elsewhere as `GK_IO_PORTABLE`.
pub const GK_IO_BATCHED: gk_io = 1;
/// One per system call.
pub const GK_IO_PORTABLE: gk_io = 2;

/// Sets how datagrams pass between a server and the system. What is delivered is the same; it is there for
/// systems whose batches are broken, and for comparing.
///
/// - `io`: default `GK_IO_BATCHED` on Linux, `GK_IO_PORTABLE` elsewhere
///
/// Errors: `GK_ERR_ARGUMENT` (not one of `GK_IO_…`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_io(context: *mut gk_context, io: gk_io) -> gk_result {
    with_context(context, |context| {
        let io = match io {
            GK_IO_BATCHED => Io::Batched,
            GK_IO_PORTABLE => Io::Portable,
            other => {
                let text = format!("io is {other}, allowed is one of GK_IO_...");
                return Err(Failure::new(GK_ERR_ARGUMENT, text));
            }
        };
        context.set(|config| &mut config.io, io)
    })
}

/// Sets how long the loop of a server, or of a client, asks for more again and again, without sleeping, after the
/// last datagram. It answers sooner then, by the time that waking takes. It costs a whole core while it lasts: for
/// ever, where somebody sends more often than this. A host that polls with a timeout of 0 never waits anyway.
///
/// - `microseconds`: default 0 (it sleeps at once), range 0 to 1,000,000 (1 s)
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_busy_poll_us(
    context: *mut gk_context,
    microseconds: u64,
) -> gk_result {
    with_context(context, |context| {
        context.set(|config| &mut config.busy_poll, Duration::from_micros(microseconds))
    })
}

/// Sets the addresses whose datagrams are dropped before they are read. It replaces the list before;
/// `gk_server_set_block_list` replaces that of a running server.
///
/// - `entries`: addresses and ranges: "192.0.2.1", "198.51.100.0/24", "2001:db8::/32"; may be NULL if
///   `count` is 0
/// - `count`: how many; 0 (the default) blocks nobody
///
/// Errors: `GK_ERR_ARGUMENT` (not an address or range; `gk_last_error` names it), `GK_ERR_UTF8`,
/// `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: the texts are copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_block_list(
    context: *mut gk_context,
    entries: *const *const c_char,
    count: usize,
) -> gk_result {
    with_context(context, |context| {
        // SAFETY: the caller's promise.
        let entries = unsafe { texts("entries", entries, count)? };
        context.config.block_list = BlockList::parse(entries)?;
        Ok(())
    })
}

/// Sets the file that gets one line per connect, refusal and disconnect: time, address, token, reason.
/// It is opened for appending when a server starts; a start fails if that is not possible.
///
/// - `path`: UTF-8; NULL (the default): no such log
///
/// Errors: `GK_ERR_ARGUMENT` (empty), `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: the text is copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_access_log(
    context: *mut gk_context,
    path: *const c_char,
) -> gk_result {
    with_context(context, |context| {
        let path = if path.is_null() {
            None
        } else {
            // SAFETY: the caller's promise.
            let path = unsafe { text("path", path)? };
            if path.is_empty() {
                return Err(Failure::new(GK_ERR_ARGUMENT, "path is empty; NULL sets no access log"));
            }
            Some(PathBuf::from(path))
        };
        context.config.access_log = path;
        Ok(())
    })
}

/// Sets whether every client waits for a decision even without an authorise callback: the question is then a
/// `GK_EVENT_AUTHORISE` in the event queue, which must be there when a server starts.
///
/// - `enabled`: 0 (the default) or 1
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_authorise(context: *mut gk_context, enabled: u32) -> gk_result {
    with_context(context, |context| {
        context.config.authorise = flag("enabled", enabled)?;
        Ok(())
    })
}

/// Sets how many clients can wait for a decision; above it they are refused with `GK_REFUSED_BUSY`.
///
/// - `count`: default 1024, range 1 to 1,000,000
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_max_joining(context: *mut gk_context, count: u32) -> gk_result {
    with_context(context, |context| context.set(|config| &mut config.max_joining, count))
}

/// Sets after how long a client about which nothing was decided is refused with `GK_REFUSED_UNDECIDED`.
///
/// - `microseconds`: default 10,000,000 (10 s), range 100,000 (0.1 s) to 3,600,000,000 (1 h)
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_authorise_timeout_us(
    context: *mut gk_context,
    microseconds: u64,
) -> gk_result {
    with_context(context, |context| {
        context.set(|config| &mut config.authorise_timeout, Duration::from_micros(microseconds))
    })
}

/// Sets what a client must know to come in. It is compared in constant time, before the authorise callback,
/// and wrong ones are limited: ten at once from one source (an IPv4 address or an IPv6 /64), then one in five
/// seconds. A client of mpgameserver's wire has no way to give one: it is refused, unless there is an authorise
/// callback, which then decides.
///
/// - `password`, `len`: 1 to 256 bytes; NULL with 0 (the default): none
///
/// Errors: `GK_ERR_ARGUMENT` (length; beside a door for plain files, which takes none), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: the bytes are copied; a server keeps a digest. Clients made with the context give it.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_password(
    context: *mut gk_context,
    password: *const u8,
    len: usize,
) -> gk_result {
    with_context(context, |context| {
        // SAFETY: the caller's promise.
        let given = unsafe { bytes("password", password, len)? };
        let secret = if password.is_null() { None } else { Some(Password::new(given)?) };
        context.set(|config| &mut config.password, secret)?;
        context.client.password = context.config.password.as_ref().map(|_| given.to_vec());
        Ok(())
    })
}

/// Sets how many bytes one peer can be sent per second on average, in bursts of a tenth of a second; of clients, how many
/// the server can be sent. Messages beyond it wait in the peer's queue; datagrams that carry none (acknowledgements, goodbyes) leave all
/// the same, and count.
///
/// - `bytes_per_second`: payload of UDP; default 0 (no limit), range 0, or 1000 to 1,000,000,000
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_peer_send_rate(
    context: *mut gk_context,
    bytes_per_second: u64,
) -> gk_result {
    with_context(context, |context| context.set(|config| &mut config.peer_send_rate, bytes_per_second))
}

/// Sets how many bytes all peers together can be sent per second on average, in bursts of a tenth of a second.
/// They take turns, a datagram each. What strangers are answered counts too, and always leaves.
///
/// - `bytes_per_second`: payload of UDP; default 0 (no limit), range 0, or 1000 to 1,000,000,000
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_server_send_rate(
    context: *mut gk_context,
    bytes_per_second: u64,
) -> gk_result {
    with_context(context, |context| context.set(|config| &mut config.server_send_rate, bytes_per_second))
}

/// Sets whether datagrams that are of no wire become `GK_EVENT_RAW` in the event queue even without a callback.
///
/// - `enabled`: 0 (the default: without a callback they are dropped) or 1
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_raw_datagrams(context: *mut gk_context, enabled: u32) -> gk_result {
    with_context(context, |context| {
        context.config.raw_datagrams = flag("enabled", enabled)?;
        Ok(())
    })
}

/// Sets what those who look for servers are told (`gk_client_discover`): a name, a number of players, in a form of
/// the host's own. Anybody who can send the server a datagram can read it. `gk_server_set_discovery_info`
/// replaces that of a running server.
///
/// - `info`, `len`: at most 1187 bytes; NULL with 0 (the default): no answer
///
/// Errors: `GK_ERR_ARGUMENT` (length), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: the bytes are copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_discovery_info(
    context: *mut gk_context,
    info: *const u8,
    len: usize,
) -> gk_result {
    with_context(context, |context| {
        // SAFETY: the caller's promise.
        let given = unsafe { bytes("info", info, len)? };
        context.set(|config| &mut config.discovery_info, (!info.is_null()).then(|| given.to_vec()))
    })
}
