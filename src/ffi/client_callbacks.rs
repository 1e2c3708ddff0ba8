//! The callbacks of clients: their types, setting them on a context, and calling them.

use std::ffi::{c_char, c_void};
use std::net::SocketAddr;

use crate::client::{
    Client, ConnectInfo, DisconnectInfo, DisconnectReason, FileEvent, Handler, LogLevel, Message, Takes,
};
use crate::ffi::arguments::c_text;
use crate::ffi::callbacks::Slot;
use crate::ffi::client::{gk_client, pointer_of};
use crate::ffi::content::OwnedContent;
use crate::ffi::context::{gk_context, with_context};
use crate::ffi::events::{
    gk_connect_info, gk_disconnect_code, gk_disconnect_info, gk_door, gk_log_level, gk_message, gk_update,
    message, GK_DISCONNECT_BLOCKED, GK_DISCONNECT_KEY, GK_DISCONNECT_KICKED, GK_DISCONNECT_LOCAL,
    GK_DISCONNECT_NAME, GK_DISCONNECT_NOBODY_LISTENS, GK_DISCONNECT_PROTOCOL, GK_DISCONNECT_REFUSED,
    GK_DISCONNECT_REMOTE, GK_DISCONNECT_REPLACED, GK_DISCONNECT_RESTARTED, GK_DISCONNECT_SHUTDOWN,
    GK_DISCONNECT_TIMEOUT, GK_DISCONNECT_UNREACHABLE,
};
use crate::ffi::files::{gk_client_file_offer_fn, FileSlots};
use crate::ffi::result::gk_result;
use crate::panic_scope::outside;

/// An address of the server is being tried.
///
/// When: first of all callbacks of a session; again for each further address of a host name.
/// Thread: the client's.
/// Borrowed: `address`, until the callback returns.
/// May call: everything but `gk_client_poll`, `gk_client_next_events`, `gk_client_wait`,
/// `gk_client_disconnect_wait`.
pub type gk_client_connecting_fn =
    Option<unsafe extern "C" fn(user_data: *mut c_void, client: *mut gk_client, address: *const c_char)>;

/// The server let the client in: messages flow.
///
/// When: once per session, before its messages.
/// Thread: the client's.
/// Borrowed: `info` (the server's address, the session's public number) and its text, until the callback returns.
/// May call: everything but `gk_client_poll`, `gk_client_next_events`, `gk_client_wait`,
/// `gk_client_disconnect_wait`.
pub type gk_client_connect_fn = Option<
    unsafe extern "C" fn(user_data: *mut c_void, client: *mut gk_client, info: *const gk_connect_info),
>;

/// The session ended, or never came to be.
///
/// When: once for each session, after all others about it.
/// Thread: the client's.
/// Borrowed: `info` and its text, until the callback returns.
/// May call: everything but `gk_client_poll`, `gk_client_next_events`, `gk_client_wait`,
/// `gk_client_disconnect_wait`; `gk_client_reconnect` begins anew.
pub type gk_client_disconnect_fn = Option<
    unsafe extern "C" fn(user_data: *mut c_void, client: *mut gk_client, info: *const gk_disconnect_info),
>;

/// A message arrived.
///
/// When: once for each message, in the order in which they arrive.
/// Thread: the client's.
/// Borrowed: `message` and its bytes, until the callback returns. Copy what you keep.
/// May call: everything but `gk_client_poll`, `gk_client_next_events`, `gk_client_wait`,
/// `gk_client_disconnect_wait`.
pub type gk_client_message_fn =
    Option<unsafe extern "C" fn(user_data: *mut c_void, client: *mut gk_client, message: *const gk_message)>;

/// One tick.
///
/// When: at the tick rate, also while there is no session; missed ones are left out.
/// Thread: the client's.
/// Borrowed: `update`, until the callback returns.
/// May call: everything but `gk_client_poll`, `gk_client_next_events`, `gk_client_wait`,
/// `gk_client_disconnect_wait`.
pub type gk_client_update_fn =
    Option<unsafe extern "C" fn(user_data: *mut c_void, client: *mut gk_client, update: *const gk_update)>;

/// The queue that had refused a message has room again.
///
/// When: after a send answered `GK_ERR_WOULD_BLOCK`, once.
/// Thread: the client's.
/// Borrowed: nothing.
/// May call: everything but `gk_client_poll`, `gk_client_next_events`, `gk_client_wait`,
/// `gk_client_disconnect_wait`.
pub type gk_client_writable_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, client: *mut gk_client)>;

/// The client has stopped.
///
/// When: last of all callbacks, once.
/// Thread: the client's.
/// Borrowed: the client, until the callback returns.
/// May call: everything but `gk_client_poll`, `gk_client_next_events`, `gk_client_wait`,
/// `gk_client_disconnect_wait`.
pub type gk_client_shutdown_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, client: *mut gk_client)>;

/// A line for the log.
///
/// When: at any time.
/// Thread: the client's.
/// Borrowed: `text`, UTF-8, until the callback returns.
/// May call: everything but `gk_client_poll`, `gk_client_next_events`, `gk_client_wait`,
/// `gk_client_disconnect_wait`.
pub type gk_client_log_fn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        client: *mut gk_client,
        level: gk_log_level,
        text: *const c_char,
    ),
>;

/// What a context holds and a client copies.
#[derive(Clone, Copy, Default)]
pub(crate) struct ClientCallbacks {
    connecting: Slot<gk_client_connecting_fn>,
    connect: Slot<gk_client_connect_fn>,
    disconnect: Slot<gk_client_disconnect_fn>,
    message: Slot<gk_client_message_fn>,
    update: Slot<gk_client_update_fn>,
    writable: Slot<gk_client_writable_fn>,
    shutdown: Slot<gk_client_shutdown_fn>,
    log: Slot<gk_client_log_fn>,
    pub(crate) files: FileSlots<gk_client_file_offer_fn>,
}

/// Sets what is called when an address is tried; see `gk_client_connecting_fn`.
///
/// - `function`: NULL removes it; then the event goes to the event queue if there is one
/// - `user_data`: passed to each call as it is
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: `user_data` stays the host's; it must live until the shutdown of every client that is started
/// with this context. Clients that run already keep what they copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_on_client_connecting(
    context: *mut gk_context,
    function: gk_client_connecting_fn,
    user_data: *mut c_void,
) -> gk_result {
    with_context(context, |context| {
        context.client_callbacks.connecting = Slot { function, user_data };
        Ok(())
    })
}

/// Sets what is called when messages flow; see `gk_client_connect_fn`.
///
/// - `function`: NULL removes it; then the event goes to the event queue if there is one
/// - `user_data`: passed to each call as it is
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: `user_data` stays the host's; it must live until the shutdown of every client that is started
/// with this context. Clients that run already keep what they copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_on_client_connect(
    context: *mut gk_context,
    function: gk_client_connect_fn,
    user_data: *mut c_void,
) -> gk_result {
    with_context(context, |context| {
        context.client_callbacks.connect = Slot { function, user_data };
        Ok(())
    })
}

/// Sets what is called when a session ended; see `gk_client_disconnect_fn`.
///
/// - `function`: NULL removes it; then the event goes to the event queue if there is one
/// - `user_data`: passed to each call as it is
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: `user_data` stays the host's; it must live until the shutdown of every client that is started
/// with this context. Clients that run already keep what they copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_on_client_disconnect(
    context: *mut gk_context,
    function: gk_client_disconnect_fn,
    user_data: *mut c_void,
) -> gk_result {
    with_context(context, |context| {
        context.client_callbacks.disconnect = Slot { function, user_data };
        Ok(())
    })
}

/// Sets what is called when a message arrived; see `gk_client_message_fn`.
///
/// - `function`: NULL removes it; then the event goes to the event queue if there is one
/// - `user_data`: passed to each call as it is
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: `user_data` stays the host's; it must live until the shutdown of every client that is started
/// with this context. Clients that run already keep what they copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_on_client_message(
    context: *mut gk_context,
    function: gk_client_message_fn,
    user_data: *mut c_void,
) -> gk_result {
    with_context(context, |context| {
        context.client_callbacks.message = Slot { function, user_data };
        Ok(())
    })
}

/// Sets what is called once per tick; see `gk_client_update_fn`.
///
/// - `function`: NULL removes it; then the event goes to the event queue if there is one
/// - `user_data`: passed to each call as it is
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: `user_data` stays the host's; it must live until the shutdown of every client that is started
/// with this context. Clients that run already keep what they copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_on_client_update(
    context: *mut gk_context,
    function: gk_client_update_fn,
    user_data: *mut c_void,
) -> gk_result {
    with_context(context, |context| {
        context.client_callbacks.update = Slot { function, user_data };
        Ok(())
    })
}

/// Sets what is called when a full queue has room again; see `gk_client_writable_fn`.
///
/// - `function`: NULL removes it; then the event goes to the event queue if there is one
/// - `user_data`: passed to each call as it is
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: `user_data` stays the host's; it must live until the shutdown of every client that is started
/// with this context. Clients that run already keep what they copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_on_client_writable(
    context: *mut gk_context,
    function: gk_client_writable_fn,
    user_data: *mut c_void,
) -> gk_result {
    with_context(context, |context| {
        context.client_callbacks.writable = Slot { function, user_data };
        Ok(())
    })
}

/// Sets what is called when the client has stopped; see `gk_client_shutdown_fn`.
///
/// - `function`: NULL removes it; then the event goes to the event queue if there is one
/// - `user_data`: passed to each call as it is
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: `user_data` stays the host's; it must live until the shutdown of every client that is started
/// with this context. Clients that run already keep what they copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_on_client_shutdown(
    context: *mut gk_context,
    function: gk_client_shutdown_fn,
    user_data: *mut c_void,
) -> gk_result {
    with_context(context, |context| {
        context.client_callbacks.shutdown = Slot { function, user_data };
        Ok(())
    })
}

/// Sets what is called with lines for the log; see `gk_client_log_fn`.
///
/// - `function`: NULL removes it; then the event goes to the event queue if there is one
/// - `user_data`: passed to each call as it is
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: `user_data` stays the host's; it must live until the shutdown of every client that is started
/// with this context. Clients that run already keep what they copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_on_client_log(
    context: *mut gk_context,
    function: gk_client_log_fn,
    user_data: *mut c_void,
) -> gk_result {
    with_context(context, |context| {
        context.client_callbacks.log = Slot { function, user_data };
        Ok(())
    })
}

/// The code of a reason, as C has it.
pub(crate) fn code(reason: DisconnectReason) -> gk_disconnect_code {
    match reason {
        DisconnectReason::Local => GK_DISCONNECT_LOCAL,
        DisconnectReason::Remote => GK_DISCONNECT_REMOTE,
        DisconnectReason::Timeout => GK_DISCONNECT_TIMEOUT,
        DisconnectReason::NobodyListens => GK_DISCONNECT_NOBODY_LISTENS,
        DisconnectReason::Refused => GK_DISCONNECT_REFUSED,
        DisconnectReason::Kicked => GK_DISCONNECT_KICKED,
        DisconnectReason::Shutdown => GK_DISCONNECT_SHUTDOWN,
        DisconnectReason::Protocol => GK_DISCONNECT_PROTOCOL,
        DisconnectReason::Replaced => GK_DISCONNECT_REPLACED,
        DisconnectReason::Blocked => GK_DISCONNECT_BLOCKED,
        DisconnectReason::Restarted => GK_DISCONNECT_RESTARTED,
        DisconnectReason::Unreachable => GK_DISCONNECT_UNREACHABLE,
        DisconnectReason::Name => GK_DISCONNECT_NAME,
        DisconnectReason::Key => GK_DISCONNECT_KEY,
    }
}

/// Calls a slot if it is set. While the host's code runs, a panic in it is the host's own.
macro_rules! call {
    ($slot:expr, $client:expr $(, $argument:expr)*) => {{
        let slot = $slot;
        if let Some(function) = slot.function {
            let client = pointer_of($client).cast_mut();
            // SAFETY: the host gave the function for calls with these arguments; the client lives through
            // the call because the loop that makes it holds a reference, and the rest is borrowed above.
            outside(|| unsafe { function(slot.user_data, client $(, $argument)*) });
        }
    }};
}

impl Handler for ClientCallbacks {
    fn takes(&self) -> Takes {
        Takes {
            connecting: self.connecting.function.is_some(),
            connected: self.connect.function.is_some(),
            disconnected: self.disconnect.function.is_some(),
            message: self.message.function.is_some(),
            update: self.update.function.is_some(),
            writable: self.writable.function.is_some(),
            shutdown: self.shutdown.function.is_some(),
            log: self.log.function.is_some(),
            file: self.files.are_set(),
        }
    }

    fn connecting(&mut self, client: &Client, address: SocketAddr) {
        let address = c_text(&address.to_string());
        call!(self.connecting, client, address.as_ptr());
    }

    fn connected(&mut self, client: &Client, info: &ConnectInfo) {
        let address = c_text(&info.address.to_string());
        let info = gk_connect_info {
            struct_size: std::mem::size_of::<gk_connect_info>() as u32,
            token: info.token,
            address: address.as_ptr(),
            door: info.door as gk_door,
            reserved: 0,
        };
        call!(self.connect, client, &info);
    }

    fn disconnected(&mut self, client: &Client, info: &DisconnectInfo) {
        let text = c_text(&info.text);
        let info = gk_disconnect_info {
            struct_size: std::mem::size_of::<gk_disconnect_info>() as u32,
            code: code(info.reason),
            text: text.as_ptr(),
            after_delivery: 0,
            app_code: info.code,
        };
        call!(self.disconnect, client, &info);
    }

    fn message(&mut self, client: &Client, received: &Message) {
        let content = received.content.as_deref().map(OwnedContent::new);
        let message = message(received, content.as_deref());
        call!(self.message, client, &message);
    }

    fn update(&mut self, client: &Client, seconds: f64, tick: u64) {
        let struct_size = std::mem::size_of::<gk_update>() as u32;
        let update = gk_update { struct_size, reserved: 0, seconds, tick };
        call!(self.update, client, &update);
    }

    fn writable(&mut self, client: &Client) {
        call!(self.writable, client);
    }

    fn shutdown(&mut self, client: &Client) {
        call!(self.shutdown, client);
    }

    fn log(&mut self, client: &Client, level: LogLevel, text: &str) {
        let text = c_text(text);
        call!(self.log, client, level as i32, text.as_ptr());
    }

    fn file(&mut self, client: &Client, event: &FileEvent) {
        self.files.call(client, event);
    }
}
