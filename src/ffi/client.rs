//! A client: one end in a game, for a player's program.

use std::ffi::{c_char, c_void};
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::Duration;

use crate::client::{
    Client, ClientConfig, Event, Handler, Inner, Message, RetryMode, SendOptions, SentCallback,
};
use crate::error::{Error, ErrorKind};
use crate::ffi::arguments::{bytes, text, write_array, write_text};
use crate::ffi::callbacks::{gk_sent_fn, Slot};
use crate::ffi::client_callbacks::code;
use crate::ffi::conditions::{self, gk_conditions, gk_direction};
use crate::ffi::context::gk_context;
use crate::ffi::events::*;
use crate::ffi::panic::{fallible, infallible};
use crate::ffi::peer::{gk_status, latency_us};
use crate::ffi::result::{gk_result, Failure, GK_ERR_STATE};
use crate::ffi::send::{gk_send_options, told_content, wanted, Wanted};
use crate::ffi::server::{microseconds, timeout};
use crate::ffi::stats::{client_stats, gk_peer_stats_t, gk_second, second};
use crate::ffi::versioned;
use crate::panic_scope::{self, outside};

/// One client. It runs beyond the end of a session, until it is stopped, so that it can connect again. Callbacks get
/// the same pointer that starting it gave out. Unless said otherwise its functions can be called from any thread and
/// from inside callbacks.
///
/// - `gk_client_start`: run it on a thread of its own
/// - `gk_client_open`: let the host run it
/// - `gk_client_poll`: run it until something happened
/// - `gk_client_wake`: make a waiting poll return
/// - `gk_client_descriptor`, `gk_client_next_timeout_us`: wait for it in an event loop of the host's own
/// - `gk_client_next_events`: pull events instead of getting callbacks
/// - `gk_client_stop`, `gk_client_wait`, `gk_client_is_stopped`: end it
/// - `gk_client_free`: end it and give it back
/// - `gk_client_send`, `gk_client_send_guaranteed`: messages to the server
/// - `gk_client_disconnect`, `gk_client_disconnect_wait`: end the session
/// - `gk_client_reconnect`: begin another one
/// - `gk_client_send_file`, `gk_client_accept_file`, `gk_client_refuse_file`, `gk_client_cancel_file`: files
/// - `gk_client_status`, `gk_client_latency_us`, `gk_client_queued_bytes`, `gk_client_token`: how the session stands
/// - `gk_client_stats`, `gk_client_series`: its counts, and the client's last 300 seconds
/// - `gk_client_server_clock_us`, `gk_client_server_tick`: the server's time
/// - `gk_client_simulate`: try it on a bad network
/// - `gk_client_server_address`, `gk_client_local_address`: where it leads from and to
/// - `gk_client_server_native_key`, `gk_client_server_root_key_der`: what the server has proved
pub struct gk_client {
    _opaque: [u8; 0],
}

/// The pointer that C knows a client by.
pub(crate) fn pointer_of(client: &Client) -> *const gk_client {
    Arc::as_ptr(&client.0).cast::<gk_client>()
}

/// Takes C's reference back.
///
/// # Safety
/// `pointer` was given out by `start_with`, and is not used again.
unsafe fn from_pointer(pointer: *const gk_client) -> Client {
    // SAFETY: the caller's promise.
    Client(unsafe { Arc::from_raw(pointer.cast::<Inner>()) })
}

/// Runs the body of a function of a client that is not broken. After a panic in it the client answers
/// `GK_ERR_PANIC`.
///
/// # Safety
/// `client` is null, or from `gk_client_start` or `gk_client_open`, or was passed to a callback that runs.
pub(crate) unsafe fn with_client(
    client: *const gk_client,
    body: impl FnOnce(&Client) -> Result<(), Failure>,
) -> gk_result {
    with_any_client(client, |client| {
        client.check()?;
        body(client)
    })
}

/// The same for a client that may be broken: for calls that run the loop, which has to say so in the log.
///
/// # Safety
/// As [`with_client`].
unsafe fn with_any_client(
    client: *const gk_client,
    body: impl FnOnce(&Client) -> Result<(), Failure>,
) -> gk_result {
    fallible(|| {
        not_null!(client);
        // SAFETY: not null, and alive by the caller's promise; C's reference is not taken.
        let borrowed = ManuallyDrop::new(unsafe { from_pointer(client) });
        // A reference of this call: a callback inside it may free the client.
        let client = Client::clone(&borrowed);
        panic_scope::catch(|| body(&client)).unwrap_or_else(|text| {
            let failure = Failure::panic(&text);
            client.poison(text);
            Err(failure)
        })
    })
}

/// Writes one value.
///
/// # Safety
/// As [`with_client`]; `out` is null or can be written.
unsafe fn property<T>(
    client: *const gk_client,
    out: *mut T,
    of: impl FnOnce(&Client) -> crate::Result<T>,
) -> gk_result {
    with_client(client, |client| {
        not_null!(out);
        let value = of(client)?;
        // SAFETY: not null, and the caller's to write.
        unsafe { out.write(value) };
        Ok(())
    })
}

type Starter = fn(ClientConfig, Box<dyn Handler>, &str) -> crate::Result<Client>;

/// # Safety
/// As the documentation of `gk_client_start` says.
unsafe fn start_with(
    starter: Starter,
    context: *const gk_context,
    address: *const c_char,
    out: *mut *mut gk_client,
) -> gk_result {
    fallible(|| {
        not_null!(context, address, out);
        // SAFETY: not null, and the caller's promise.
        let (context, address) = unsafe { (&*context, text("address", address)?) };
        let client = starter(context.client_config()?, Box::new(context.client_callbacks), address)?;
        // SAFETY: not null, and the caller's to write.
        unsafe { out.write(Arc::into_raw(client.0).cast::<gk_client>().cast_mut()) };
        Ok(())
    })
}

/// Starts to connect to a server, and runs the client on a thread of its own, which all callbacks come from. That the
/// server cannot be reached is told by the disconnect event.
///
/// - `context`: copied; it says whom to believe
/// - `address`: `"example.org:2021"`, `"192.0.2.1:2021"`, `"[2001:db8::1]:2021"`. A name is looked up in the background,
///   and its addresses are tried in turn
/// - `out`: the client. Callbacks can come before it is written; they get it as their argument.
///
/// Errors: `GK_ERR_KEY` (nothing says whom to believe, or no key for the wire), `GK_ERR_ADDRESS`, `GK_ERR_ARGUMENT` (the
/// wire cannot carry join data or password), `GK_ERR_IO` (socket, thread), `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, while nobody changes the context.
/// Ownership: the client is the caller's, to be ended with `gk_client_free`; context and address stay the
/// caller's.
#[no_mangle]
pub unsafe extern "C" fn gk_client_start(
    context: *const gk_context,
    address: *const c_char,
    out: *mut *mut gk_client,
) -> gk_result {
    start_with(Client::start, context, address, out)
}

/// Starts to connect, for a client that the host runs with `gk_client_poll`, from its own main loop. All callbacks come
/// from inside that call, and from inside `gk_client_disconnect_wait`, `gk_client_stop` and `gk_client_free` where these
/// have to run the client. Nothing happens between polls: poll at least a few times per second. It costs no thread and a
/// few kilobytes.
///
/// - the parameters are those of `gk_client_start`
///
/// Errors: as `gk_client_start`.
///
/// Thread: any, while nobody changes the context.
/// Ownership: as `gk_client_start`.
#[no_mangle]
pub unsafe extern "C" fn gk_client_open(
    context: *const gk_context,
    address: *const c_char,
    out: *mut *mut gk_client,
) -> gk_result {
    start_with(Client::open, context, address, out)
}

/// Runs the client: reads what came, calls back, ticks, writes. If there is nothing to do it waits for
/// something first.
///
/// - `timeout_us`: waits at most so many microseconds; 0 does not wait, and costs one system call where nothing
///   is due; `GK_FOREVER` waits until something happened
///
/// Errors: `GK_ERR_REENTRANT` (inside a callback), `GK_ERR_BUSY` (another thread is in it), `GK_ERR_STATE`
/// (stopped, being stopped by another thread, or made by `gk_client_start`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
/// That nothing happened is no error.
///
/// Thread: any, one at a time; best always the same. Callbacks come from it.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_client_poll(client: *mut gk_client, timeout_us: u64) -> gk_result {
    with_any_client(client, |client| Ok(client.poll(timeout(timeout_us))?))
}

/// Makes a `gk_client_poll` that waits return; if none waits, the next one returns at once.
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_client_wake(client: *mut gk_client) -> gk_result {
    with_client(client, |client| {
        client.wake();
        Ok(())
    })
}

/// Gives a descriptor that becomes readable when `gk_client_poll` has something to do (unix). Wait for it no longer
/// than `gk_client_next_timeout_us` says, then poll with timeout 0. It is only good for waiting.
///
/// - `out`: the descriptor
///
/// Errors: `GK_ERR_STATE` (a system without descriptors), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the descriptor is the client's; do not close it. It is valid until `gk_client_free`.
#[no_mangle]
pub unsafe extern "C" fn gk_client_descriptor(client: *const gk_client, out: *mut i32) -> gk_result {
    property(client, out, Client::descriptor)
}

/// Gives the time until `gk_client_poll` has something to do even if nothing arrives.
///
/// - `out`: microseconds from now, rounded up; 0: it is due; `GK_FOREVER`: nothing is
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_client_next_timeout_us(client: *const gk_client, out: *mut u64) -> gk_result {
    property(client, out, |client| Ok(microseconds(client.next_timeout())))
}

/// Takes up to `max` events out of the client's queue, oldest first. The queue holds the events for which
/// no callback is set; it exists only if `gk_context_set_max_queued_events` made it. The last event is
/// `GK_EVENT_SHUTDOWN`.
///
/// - `events`: an array of `max` elements, which need no initialisation; may be NULL if `max` is 0
/// - `event_size`: `sizeof(gk_event)`
/// - `max`: how many at most
/// - `out_count`: how many were written; 0 if nothing happened
///
/// Errors: `GK_ERR_STATE` (no event queue), `GK_ERR_REENTRANT` (inside a callback), `GK_ERR_BUSY` (another
/// thread is in it), `GK_ERR_ARGUMENT` (`event_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`. The batch before is
/// kept when the call fails.
///
/// Thread: any, one at a time.
/// Ownership: what the events point to belongs to the client and lives until the next call that succeeds,
/// or `gk_client_free`.
#[no_mangle]
pub unsafe extern "C" fn gk_client_next_events(
    client: *mut gk_client,
    events: *mut gk_event,
    event_size: usize,
    max: usize,
    out_count: *mut usize,
) -> gk_result {
    with_client(client, |client| {
        let array = EventArray { events, event_size, max, out_count };
        // SAFETY: the caller's promise.
        unsafe { array.fill(&client.0.attachment, |max| client.next_events(max), received, event) }
    })
}

/// Stops the client: ends the session at once and reports it, says goodbye, and calls shutdown last. From inside a
/// callback it takes effect when the callback has returned; from outside it returns when all that is done, after 0.2 s at
/// most. A second stop does nothing more.
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any. If nobody polls a client made by `gk_client_open`, the last callbacks come from here.
/// Ownership: the client stays the caller's, and answers questions until `gk_client_free`.
#[no_mangle]
pub unsafe extern "C" fn gk_client_stop(client: *mut gk_client) -> gk_result {
    with_any_client(client, |client| Ok(client.stop()?))
}

/// Waits until the client has stopped. It does not stop it.
///
/// - `timeout_us`: waits at most so many microseconds; 0 only asks; `GK_FOREVER`: without limit
///
/// Errors: `GK_ERR_TIMEOUT`, `GK_ERR_REENTRANT` (inside a callback), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any but the client's own; a client made by `gk_client_open` needs another thread that polls it.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_client_wait(client: *mut gk_client, timeout_us: u64) -> gk_result {
    with_client(client, |client| {
        client.wait(timeout(timeout_us))?;
        // It may have ended by breaking.
        Ok(client.check()?)
    })
}

/// Tells whether the client has stopped.
///
/// - `out`: 1 when its last callback has returned, else 0
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_client_is_stopped(client: *const gk_client, out: *mut u32) -> gk_result {
    property(client, out, |client| Ok(u32::from(client.is_stopped())))
}

/// Stops the client as `gk_client_stop` does, and gives it back. From inside one of the client's own
/// callbacks it returns at once: the stop takes effect when the callback has returned, and the callbacks
/// that stopping makes still come, with the same pointer, which is good inside them only.
///
/// - `client`: may be NULL
///
/// Thread: any. No other thread may call with this pointer from now on; calls of `gk_client_poll`,
/// `gk_client_wait` and `gk_client_disconnect_wait` that wait in other threads return.
/// Ownership: ends the caller's; what `gk_client_next_events` handed out ends with it.
#[no_mangle]
pub unsafe extern "C" fn gk_client_free(client: *mut gk_client) {
    infallible((), || {
        if client.is_null() {
            return;
        }
        // SAFETY: C's own reference, given back once.
        let client = unsafe { from_pointer(client) };
        // All that can fail in a stop is that the client is broken, and then there is nothing to stop.
        let _ = client.stop();
    });
}

/// The completion callback, or none if the function is null.
fn completion(slot: Slot<gk_sent_fn>) -> Option<SentCallback> {
    let slot = Slot { function: slot.function?, user_data: slot.user_data };
    Some(Box::new(move |_, outcome| {
        // The whole slot moves into the closure, because only the slot may change threads.
        let slot = slot;
        let none = std::ptr::null_mut();
        // SAFETY: the host gave the function for calls with these arguments.
        outside(|| unsafe { (slot.function)(slot.user_data, none, GK_PEER_NONE, outcome as i32) });
    }))
}

/// Queues a message for the server.
///
/// - `data`, `len`: the bytes; may be NULL with 0: an empty message is one
/// - `options`: NULL sends it once, without asking what became of it
///
/// Errors, after which nothing is queued and `on_sent` is not called: `GK_ERR_STATE` (not connected, stopped, or
/// `notify` without an event queue), `GK_ERR_WOULD_BLOCK` (the queue is full: `writable` will tell; or with `notify` the
/// event queue is: take events first), `GK_ERR_TOO_LARGE`, `GK_ERR_ARGUMENT` (`options`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the bytes are copied; `options->user_data` stays the host's and must live until `on_sent`.
#[no_mangle]
pub unsafe extern "C" fn gk_client_send(
    client: *mut gk_client,
    data: *const u8,
    len: usize,
    options: *const gk_send_options,
) -> gk_result {
    with_client(client, |client| {
        // SAFETY: the caller's promise.
        let (data, wanted) = unsafe { (bytes("data", data, len)?, wanted(options)?) };
        let on_sent = completion(wanted.on_sent);
        let tag = wanted.tag();
        let Wanted { retry, channel, priority, redundancy, deadline, .. } = wanted;
        // SAFETY: the caller's promise.
        let content = unsafe { told_content(options)? };
        Ok(client.send(
            data,
            SendOptions { retry, channel, priority, redundancy, deadline, on_sent, tag, content },
        )?)
    })
}

/// Queues a message for the server that is sent again until it is acknowledged: it arrives exactly once if the
/// session lives. The same as `gk_client_send` with `GK_RETRY_ON_TIMEOUT`.
///
/// - `data`, `len`: the bytes; may be NULL with 0
/// - `on_sent`: told once what became of it, with NULL for the server and `GK_PEER_NONE`; may be NULL
/// - `user_data`: passed to `on_sent`
///
/// Errors: as `gk_client_send`.
///
/// Thread: any.
/// Ownership: the bytes are copied; `user_data` stays the host's and must live until `on_sent`.
#[no_mangle]
pub unsafe extern "C" fn gk_client_send_guaranteed(
    client: *mut gk_client,
    data: *const u8,
    len: usize,
    on_sent: gk_sent_fn,
    user_data: *mut c_void,
) -> gk_result {
    with_client(client, |client| {
        // SAFETY: the caller's promise.
        let data = unsafe { bytes("data", data, len)? };
        let on_sent = completion(Slot { function: on_sent, user_data });
        Ok(client
            .send(data, SendOptions { retry: RetryMode::OnTimeout, on_sent, ..SendOptions::default() })?)
    })
}

/// Ends the session at once; what is queued is cancelled. The disconnect event follows. Without a session it does
/// nothing.
///
/// Errors: `GK_ERR_STATE` (stopped), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_client_disconnect(client: *mut gk_client) -> gk_result {
    with_client(client, |client| Ok(client.disconnect()?))
}

/// Ends the session when what is queued is acknowledged, and waits until the server has heard the goodbye too, or it was
/// said as often as the wire has it. When the time is over the session ends at once.
///
/// - `timeout_us`: waits at most so many microseconds
///
/// Errors: `GK_ERR_TIMEOUT` (not all was delivered, or the goodbye was not heard), `GK_ERR_REENTRANT` (inside a
/// callback), `GK_ERR_STATE` (stopped), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any but the client's own. If nobody polls a client made by `gk_client_open`, its callbacks come from here.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_client_disconnect_wait(client: *mut gk_client, timeout_us: u64) -> gk_result {
    with_any_client(client, |client| Ok(client.disconnect_wait(Duration::from_micros(timeout_us))?))
}

/// Begins a new session with the same server and configuration; a host name is looked up again. A session that is under
/// way ends at once.
///
/// Errors: `GK_ERR_STATE` (stopped, or being stopped), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_client_reconnect(client: *mut gk_client) -> gk_result {
    with_client(client, |client| Ok(client.reconnect()?))
}

/// Gives where the session stands.
///
/// - `out`: one of `GK_STATUS_…`
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_client_status(client: *const gk_client, out: *mut gk_status) -> gk_result {
    property(client, out, |client| Ok(client.status() as i32))
}

/// Gives the smoothed time that a message takes one way: half of what an acknowledgement takes.
///
/// - `out`: microseconds; 0 if nothing was measured yet
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_client_latency_us(client: *const gk_client, out: *mut u64) -> gk_result {
    property(client, out, |client| Ok(latency_us(client.latency())))
}

/// Gives the server's clock, as this end estimates it from what the server tells.
///
/// - `out`: microseconds since the server started
///
/// Errors: `GK_ERR_STATE` (the server was not heard yet, or is on mpgameserver's wire, which does not tell),
/// `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_client_server_clock_us(client: *const gk_client, out: *mut u64) -> gk_result {
    let unknown = || Error::new(ErrorKind::State, "the server has not told its clock");
    property(client, out, |client| client.server_clock().map(|t| t.as_micros() as u64).ok_or_else(unknown))
}

/// Gives the server's tick, as this end estimates it, with the part of the next one that has passed.
///
/// - `out`: ticks since the server started
///
/// Errors: as `gk_client_server_clock_us`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_client_server_tick(client: *const gk_client, out: *mut f64) -> gk_result {
    let unknown = || Error::new(ErrorKind::State, "the server has not told its tick");
    property(client, out, |client| client.server_tick().ok_or_else(unknown))
}

/// Lets the client's datagrams of one direction pass a bad network from now on. What is under way when
/// conditions change or end arrives as it would have.
///
/// - `direction`: one of `GK_DIRECTION_…`
/// - `conditions`: what it does; NULL ends it
///
/// Errors: `GK_ERR_ARGUMENT` (`direction`, or a value of `conditions`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the struct is copied.
#[no_mangle]
pub unsafe extern "C" fn gk_client_simulate(
    client: *mut gk_client,
    direction: gk_direction,
    conditions: *const gk_conditions,
) -> gk_result {
    with_client(client, |client| {
        // SAFETY: the caller's promise.
        let conditions = unsafe { conditions::conditions(conditions)? };
        Ok(client.simulate(conditions::direction(direction)?, conditions)?)
    })
}

/// Gives how many bytes of message are queued and not yet acknowledged.
///
/// - `out`: bytes
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_client_queued_bytes(client: *const gk_client, out: *mut usize) -> gk_result {
    property(client, out, |client| Ok(client.queued_bytes()))
}

/// Gives the public number of the session, as the server knows it.
///
/// - `out`: the number; 0 before it is known
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_client_token(client: *const gk_client, out: *mut u32) -> gk_result {
    property(client, out, |client| Ok(client.token()))
}

/// Gives the counts of the session, or of the last one.
///
/// - `out`: with `struct_size` set, by `gk_peer_stats_init`; filled as far as that reaches
///
/// Errors: `GK_ERR_ARGUMENT` (`struct_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the struct stays the caller's.
#[no_mangle]
pub unsafe extern "C" fn gk_client_stats(client: *const gk_client, out: *mut gk_peer_stats_t) -> gk_result {
    with_client(client, |client| {
        not_null!(out);
        // SAFETY: not null, and the caller's promise.
        unsafe { versioned::write("out", out, &client_stats(client)) }
    })
}

/// Gives the last 300 seconds of the client, all of its sessions together, oldest first, the running one last; seconds
/// before it started are 0. Of received datagrams those count that were taken.
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
pub unsafe extern "C" fn gk_client_series(
    client: *const gk_client,
    buf: *mut gk_second,
    cap: usize,
    out_count: *mut usize,
) -> gk_result {
    with_client(client, |client| {
        let series: Vec<gk_second> = client.series().iter().map(second).collect();
        // SAFETY: the caller's promise.
        unsafe { write_array(&series, buf, cap, out_count) }
    })
}

/// Gives the address of the server that is being tried, or was reached last.
///
/// - `buf`: gets the text and a NUL; may be NULL if `cap` is 0
/// - `cap`: size of `buf` in bytes; 64 is enough for all
/// - `out_len`: length of the text without the NUL; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
///
/// Errors: `GK_ERR_STATE` (its name is being looked up), `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the text is copied.
#[no_mangle]
pub unsafe extern "C" fn gk_client_server_address(
    client: *const gk_client,
    buf: *mut c_char,
    cap: usize,
    out_len: *mut usize,
) -> gk_result {
    with_client(client, |client| {
        let Some(address) = client.server_address() else {
            return Err(Failure::new(GK_ERR_STATE, "the server's address is not known yet"));
        };
        // SAFETY: the caller's promise.
        unsafe { write_text(&address.to_string(), buf, cap, out_len) }
    })
}

/// Gives the address that the client's socket is bound to: all interfaces, with the port that the system chose.
///
/// - `buf`: gets the text and a NUL; may be NULL if `cap` is 0
/// - `cap`: size of `buf` in bytes; 64 is enough for all
/// - `out_len`: length of the text without the NUL; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
///
/// Errors: `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the text is copied.
#[no_mangle]
pub unsafe extern "C" fn gk_client_local_address(
    client: *const gk_client,
    buf: *mut c_char,
    cap: usize,
    out_len: *mut usize,
) -> gk_result {
    with_client(client, |client| {
        // SAFETY: the caller's promise.
        unsafe { write_text(&client.local_address().to_string(), buf, cap, out_len) }
    })
}

/// Gives the X25519 public key that the server has proved to have in this session, for instance to pin it from now on.
///
/// - `buf`: gets the bytes; may be NULL if `cap` is 0
/// - `cap`: size of `buf` in bytes; 32 is enough
/// - `out_len`: how many bytes; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
///
/// Errors: `GK_ERR_STATE` (not connected yet, or the wire does not tell), `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`,
/// `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: copied.
#[no_mangle]
pub unsafe extern "C" fn gk_client_server_native_key(
    client: *const gk_client,
    buf: *mut u8,
    cap: usize,
    out_len: *mut usize,
) -> gk_result {
    with_client(client, |client| {
        let Some(key) = client.server_key().native else {
            return Err(Failure::new(GK_ERR_STATE, "the server has not proved such a key"));
        };
        // SAFETY: the caller's promise.
        unsafe { write_array(&key, buf, cap, out_len) }
    })
}

/// Gives the root key that the server has proved to have in this session on mpgameserver's wire: the pinned one.
///
/// - `buf`: gets the bytes; may be NULL if `cap` is 0
/// - `cap`: size of `buf` in bytes; 91 is enough
/// - `out_len`: how many bytes; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
///
/// Errors: `GK_ERR_STATE` (not connected yet, or the wire does not tell), `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`,
/// `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: copied.
#[no_mangle]
pub unsafe extern "C" fn gk_client_server_root_key_der(
    client: *const gk_client,
    buf: *mut u8,
    cap: usize,
    out_len: *mut usize,
) -> gk_result {
    with_client(client, |client| {
        let Some(key) = client.server_key().root.map(|key| key.to_der()) else {
            return Err(Failure::new(GK_ERR_STATE, "the server has not proved such a key"));
        };
        // SAFETY: the caller's promise.
        unsafe { write_array(&key, buf, cap, out_len) }
    })
}

/// The message in an event, if it is one.
fn received(event: &Event) -> Option<&Message> {
    match event {
        Event::Message(message) => Some(message),
        _ => None,
    }
}

/// An event as C has it; what it points to is the batch's.
fn event(batch: &mut BatchBuilder, event: Event) -> gk_event {
    match event {
        Event::Connecting(address) => {
            gk_event { text: batch.text(&address.to_string()), ..blank(GK_EVENT_CONNECTING) }
        }
        Event::Connected(info) => gk_event {
            text: batch.text(&info.address.to_string()),
            token: info.token,
            door: info.door as gk_door,
            ..blank(GK_EVENT_CONNECT)
        },
        Event::Disconnected(info) => {
            gk_event { code: code(info.reason), text: batch.text(&info.text), ..blank(GK_EVENT_DISCONNECT) }
        }
        Event::Message(message) => batch.message(message),
        Event::Update { seconds, tick } => gk_event { seconds, tick, ..blank(GK_EVENT_UPDATE) },
        Event::Writable => blank(GK_EVENT_WRITABLE),
        Event::Sent(tag, outcome) => gk_event {
            code: outcome as i32,
            // The tag is the pointer that `gk_send_options` brought: see `Wanted::tag`.
            user_data: tag as usize as *mut c_void,
            ..blank(GK_EVENT_SENT)
        },
        Event::Shutdown => blank(GK_EVENT_SHUTDOWN),
        Event::Log(level, line) => {
            gk_event { code: level as i32, text: batch.text(&line), ..blank(GK_EVENT_LOG) }
        }
        Event::File(event) => batch.file(event),
    }
}
