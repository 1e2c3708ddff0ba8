//! The host's callbacks: their types, and setting them on a context.

use std::ffi::{c_char, c_void};

use crate::ffi::context::{gk_context, with_context};
use crate::ffi::events::{
    gk_connect_info, gk_disconnect_info, gk_join_request, gk_log_level, gk_message, gk_outcome, gk_peer,
    gk_update,
};
use crate::ffi::files::{gk_file_offer_fn, FileSlots};
use crate::ffi::result::gk_result;
use crate::ffi::server::gk_server;

/// The server runs.
///
/// When: first of all callbacks, once. With `gk_server_start` it can come before that call has returned;
/// the server is the one that it will give out.
/// Thread: the server's.
/// Borrowed: the server, until it is freed.
/// May call: everything but `gk_server_poll`, `gk_server_next_events`, `gk_server_wait`.
pub type gk_starting_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, server: *mut gk_server)>;

/// A client proved itself and is a peer from now on.
///
/// When: before every other callback about this peer.
/// Thread: the server's.
/// Borrowed: `info` and its text, until the callback returns.
/// May call: everything but `gk_server_poll`, `gk_server_next_events`, `gk_server_wait`; it may send to
/// the peer or disconnect it.
pub type gk_connect_fn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        server: *mut gk_server,
        peer: gk_peer,
        info: *const gk_connect_info,
    ),
>;

/// A peer left.
///
/// When: once for every peer that connected, after all others about it.
/// Thread: the server's.
/// Borrowed: `info` and its text, until the callback returns. The peer answers questions until then (its
/// user data, for instance), and is stale afterwards.
/// May call: everything but `gk_server_poll`, `gk_server_next_events`, `gk_server_wait`.
pub type gk_disconnect_fn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        server: *mut gk_server,
        peer: gk_peer,
        info: *const gk_disconnect_info,
    ),
>;

/// A message arrived.
///
/// When: once for each message of a connected peer, in the order in which they arrive, which is not always
/// the order in which they were sent.
/// Thread: the server's.
/// Borrowed: `message` and its bytes, until the callback returns. Copy what you keep.
/// May call: everything but `gk_server_poll`, `gk_server_next_events`, `gk_server_wait`.
pub type gk_message_fn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        server: *mut gk_server,
        peer: gk_peer,
        message: *const gk_message,
    ),
>;

/// One tick of the game.
///
/// When: `gk_context_set_tick_rate_hz` times a second on average. After a callback that took longer than a
/// tick, those that were missed are left out and counted; `seconds` tells the time that really passed.
/// Thread: the server's.
/// Borrowed: `update`, until the callback returns.
/// May call: everything but `gk_server_poll`, `gk_server_next_events`, `gk_server_wait`.
pub type gk_update_fn =
    Option<unsafe extern "C" fn(user_data: *mut c_void, server: *mut gk_server, update: *const gk_update)>;

/// A peer's queue that had refused a message with `GK_ERR_WOULD_BLOCK` has room again.
///
/// When: once after each time it had refused one or more.
/// Thread: the server's.
/// Borrowed: nothing.
/// May call: everything but `gk_server_poll`, `gk_server_next_events`, `gk_server_wait`.
pub type gk_writable_fn =
    Option<unsafe extern "C" fn(user_data: *mut c_void, server: *mut gk_server, peer: gk_peer)>;

/// A slow timer for housekeeping.
///
/// When: every `gk_context_set_reconcile_interval_us`.
/// Thread: the server's.
/// Borrowed: nothing.
/// May call: everything but `gk_server_poll`, `gk_server_next_events`, `gk_server_wait`.
pub type gk_reconcile_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, server: *mut gk_server)>;

/// The server has stopped.
///
/// When: last of all callbacks, once, after the disconnects of all peers. What the callbacks' user data
/// points to is not used any more when it returns.
/// Thread: the server's.
/// Borrowed: nothing.
/// May call: everything but `gk_server_poll`, `gk_server_next_events`, `gk_server_wait`; sending gives
/// `GK_ERR_STATE` or `GK_ERR_STALE`.
pub type gk_shutdown_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, server: *mut gk_server)>;

/// A line for the log, without a line end.
///
/// When: any time between starting and shutdown. Lines that strangers cause are limited, and those left
/// out are counted.
/// Thread: the server's.
/// Borrowed: `text`, UTF-8, until the callback returns.
/// May call: everything but `gk_server_poll`, `gk_server_next_events`, `gk_server_wait`.
pub type gk_log_fn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        server: *mut gk_server,
        level: gk_log_level,
        text: *const c_char,
    ),
>;

/// A client proved itself and wants to come in. `gk_peer_accept` lets it in, `gk_peer_refuse` sends it away:
/// from inside this callback, or later from any thread. Without this callback everybody is let in.
///
/// When: before the connect of each peer. Messages that a client sends before it is let in are left
/// unacknowledged, so that it repeats them; it is refused when `gk_context_set_authorise_timeout_us` has
/// passed. Who is refused, or leaves first, gets no connect and no disconnect: `gk_peer_accept` then answers
/// `GK_ERR_STALE`.
/// Thread: the server's.
/// Borrowed: `request`, its text and its bytes, until the callback returns. The peer answers questions
/// (its user data, for instance) until it is refused or leaves.
/// May call: everything but `gk_server_poll`, `gk_server_next_events`, `gk_server_wait`; sending to the peer
/// gives `GK_ERR_STATE` until it is let in.
pub type gk_authorise_fn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        server: *mut gk_server,
        peer: gk_peer,
        request: *const gk_join_request,
    ),
>;

/// A datagram that is of no wire, or a query of somebody who looks for servers where no discovery info is
/// set. `gk_server_send_raw` answers it.
///
/// When: for each such datagram within the budget (20 per second and source, 1000 in all); those above it
/// are counted in `drops_raw_budget`.
/// Thread: the server's.
/// Borrowed: `from` and the bytes, until the callback returns. Whoever sent it proved nothing, not even its
/// address.
/// May call: everything but `gk_server_poll`, `gk_server_next_events`, `gk_server_wait`.
pub type gk_raw_fn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        server: *mut gk_server,
        from: *const c_char,
        data: *const u8,
        len: usize,
    ),
>;

/// What became of a message.
///
/// When: exactly once for each message that was accepted with it, at the latest when the peer has left, or the
/// client's session ended. Never from inside the send itself. For a message of a client `server` is NULL and
/// `peer` is `GK_PEER_NONE`.
/// Thread: the server's, or the client's.
/// Borrowed: nothing. The peer can be stale already if the outcome is `GK_SENT_CANCELLED`.
/// May call: everything but `gk_server_poll`, `gk_server_next_events`, `gk_server_wait`; of a client everything
/// but `gk_client_poll`, `gk_client_next_events`, `gk_client_wait`, `gk_client_disconnect_wait`.
pub type gk_sent_fn = Option<
    unsafe extern "C" fn(user_data: *mut c_void, server: *mut gk_server, peer: gk_peer, outcome: gk_outcome),
>;

/// A nullable function pointer and the host's pointer that goes with it.
#[derive(Clone, Copy)]
pub(crate) struct Slot<F> {
    pub(crate) function: F,
    pub(crate) user_data: *mut c_void,
}

impl<F: Default> Default for Slot<F> {
    fn default() -> Self {
        Slot { function: F::default(), user_data: std::ptr::null_mut() }
    }
}

// SAFETY: the library never follows `user_data`; the host that sets it knows that the callbacks run on the
// server's thread, as their documentation says.
unsafe impl<F: Send> Send for Slot<F> {}

/// What a context holds and a server copies.
#[derive(Clone, Copy, Default)]
pub(crate) struct Callbacks {
    pub(crate) starting: Slot<gk_starting_fn>,
    pub(crate) connect: Slot<gk_connect_fn>,
    pub(crate) disconnect: Slot<gk_disconnect_fn>,
    pub(crate) message: Slot<gk_message_fn>,
    pub(crate) update: Slot<gk_update_fn>,
    pub(crate) writable: Slot<gk_writable_fn>,
    pub(crate) reconcile: Slot<gk_reconcile_fn>,
    pub(crate) shutdown: Slot<gk_shutdown_fn>,
    pub(crate) log: Slot<gk_log_fn>,
    pub(crate) authorise: Slot<gk_authorise_fn>,
    pub(crate) raw: Slot<gk_raw_fn>,
    pub(crate) files: FileSlots<gk_file_offer_fn>,
}

/// Sets what is called when the server runs; see `gk_starting_fn`.
///
/// - `function`: NULL removes it; then the event goes to the event queue if there is one
/// - `user_data`: passed to each call as it is
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: `user_data` stays the host's; it must live until the shutdown of every server that is started
/// with this context. Servers that run already keep what they copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_on_starting(
    context: *mut gk_context,
    function: gk_starting_fn,
    user_data: *mut c_void,
) -> gk_result {
    with_context(context, |context| {
        context.callbacks.starting = Slot { function, user_data };
        Ok(())
    })
}

/// Sets what is called when a client has proved itself; see `gk_connect_fn`.
///
/// - `function`: NULL removes it; then the event goes to the event queue if there is one
/// - `user_data`: passed to each call as it is
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: `user_data` stays the host's; it must live until the shutdown of every server that is started
/// with this context. Servers that run already keep what they copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_on_connect(
    context: *mut gk_context,
    function: gk_connect_fn,
    user_data: *mut c_void,
) -> gk_result {
    with_context(context, |context| {
        context.callbacks.connect = Slot { function, user_data };
        Ok(())
    })
}

/// Sets what is called when a peer left; see `gk_disconnect_fn`.
///
/// - `function`: NULL removes it; then the event goes to the event queue if there is one
/// - `user_data`: passed to each call as it is
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: `user_data` stays the host's; it must live until the shutdown of every server that is started
/// with this context. Servers that run already keep what they copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_on_disconnect(
    context: *mut gk_context,
    function: gk_disconnect_fn,
    user_data: *mut c_void,
) -> gk_result {
    with_context(context, |context| {
        context.callbacks.disconnect = Slot { function, user_data };
        Ok(())
    })
}

/// Sets what is called when a message arrived; see `gk_message_fn`.
///
/// - `function`: NULL removes it; then the event goes to the event queue if there is one
/// - `user_data`: passed to each call as it is
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: `user_data` stays the host's; it must live until the shutdown of every server that is started
/// with this context. Servers that run already keep what they copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_on_message(
    context: *mut gk_context,
    function: gk_message_fn,
    user_data: *mut c_void,
) -> gk_result {
    with_context(context, |context| {
        context.callbacks.message = Slot { function, user_data };
        Ok(())
    })
}

/// Sets what is called once per tick; see `gk_update_fn`.
///
/// - `function`: NULL removes it; then the event goes to the event queue if there is one
/// - `user_data`: passed to each call as it is
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: `user_data` stays the host's; it must live until the shutdown of every server that is started
/// with this context. Servers that run already keep what they copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_on_update(
    context: *mut gk_context,
    function: gk_update_fn,
    user_data: *mut c_void,
) -> gk_result {
    with_context(context, |context| {
        context.callbacks.update = Slot { function, user_data };
        Ok(())
    })
}

/// Sets what is called when a full queue has room again; see `gk_writable_fn`.
///
/// - `function`: NULL removes it; then the event goes to the event queue if there is one
/// - `user_data`: passed to each call as it is
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: `user_data` stays the host's; it must live until the shutdown of every server that is started
/// with this context. Servers that run already keep what they copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_on_writable(
    context: *mut gk_context,
    function: gk_writable_fn,
    user_data: *mut c_void,
) -> gk_result {
    with_context(context, |context| {
        context.callbacks.writable = Slot { function, user_data };
        Ok(())
    })
}

/// Sets what is called by the slow timer; see `gk_reconcile_fn`.
///
/// - `function`: NULL removes it; then the event goes to the event queue if there is one
/// - `user_data`: passed to each call as it is
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: `user_data` stays the host's; it must live until the shutdown of every server that is started
/// with this context. Servers that run already keep what they copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_on_reconcile(
    context: *mut gk_context,
    function: gk_reconcile_fn,
    user_data: *mut c_void,
) -> gk_result {
    with_context(context, |context| {
        context.callbacks.reconcile = Slot { function, user_data };
        Ok(())
    })
}

/// Sets what is called when the server has stopped; see `gk_shutdown_fn`.
///
/// - `function`: NULL removes it; then the event goes to the event queue if there is one
/// - `user_data`: passed to each call as it is
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: `user_data` stays the host's; it must live until the shutdown of every server that is started
/// with this context. Servers that run already keep what they copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_on_shutdown(
    context: *mut gk_context,
    function: gk_shutdown_fn,
    user_data: *mut c_void,
) -> gk_result {
    with_context(context, |context| {
        context.callbacks.shutdown = Slot { function, user_data };
        Ok(())
    })
}

/// Sets what is called with lines for the log; see `gk_log_fn`.
///
/// - `function`: NULL removes it; then the event goes to the event queue if there is one
/// - `user_data`: passed to each call as it is
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: `user_data` stays the host's; it must live until the shutdown of every server that is started
/// with this context. Servers that run already keep what they copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_on_log(
    context: *mut gk_context,
    function: gk_log_fn,
    user_data: *mut c_void,
) -> gk_result {
    with_context(context, |context| {
        context.callbacks.log = Slot { function, user_data };
        Ok(())
    })
}

/// Sets what decides about clients that proved themselves; see `gk_authorise_fn`.
///
/// - `function`: NULL removes it; then everybody is let in, unless `gk_context_set_authorise` asks for events
/// - `user_data`: passed to each call as it is
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: `user_data` stays the host's; it must live until the shutdown of every server that is started
/// with this context. Servers that run already keep what they copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_on_authorise(
    context: *mut gk_context,
    function: gk_authorise_fn,
    user_data: *mut c_void,
) -> gk_result {
    with_context(context, |context| {
        context.callbacks.authorise = Slot { function, user_data };
        Ok(())
    })
}

/// Sets what is called with datagrams that are of no wire; see `gk_raw_fn`.
///
/// - `function`: NULL removes it; then they are dropped, unless `gk_context_set_raw_datagrams` asks for events
/// - `user_data`: passed to each call as it is
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: `user_data` stays the host's; it must live until the shutdown of every server that is started
/// with this context. Servers that run already keep what they copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_on_raw(
    context: *mut gk_context,
    function: gk_raw_fn,
    user_data: *mut c_void,
) -> gk_result {
    with_context(context, |context| {
        context.callbacks.raw = Slot { function, user_data };
        Ok(())
    })
}
