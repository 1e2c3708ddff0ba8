//! A running server: its life, and what can be asked about it as a whole.

use std::ffi::c_char;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::Duration;

use crate::ffi::arguments::{bytes, text, texts, write_array, write_text};
use crate::ffi::context::gk_context;
use crate::ffi::events::gk_peer;
use crate::ffi::handler::FfiHandler;
use crate::ffi::panic::{fallible, infallible};
use crate::ffi::result::{gk_result, Failure};
use crate::panic_scope;
use crate::server::block_list::BlockList;
use crate::server::config::Config;
use crate::server::events::Handler;
use crate::server::{Inner, Server};

/// One running server. Callbacks get the same pointer that starting it gave out. Unless said otherwise its
/// functions can be called from any thread and from inside callbacks.
///
/// - `gk_server_start`: run it on a thread of its own
/// - `gk_server_open`: let the host run it
/// - `gk_server_poll`: run it until something happened
/// - `gk_server_wake`: make a waiting poll return
/// - `gk_server_descriptor`, `gk_server_next_timeout_us`: wait for it in an event loop of the host's own
/// - `gk_server_next_events`: pull events instead of getting callbacks
/// - `gk_server_stop`, `gk_server_wait`, `gk_server_is_stopped`: end it
/// - `gk_server_free`: end it and give it back
/// - `gk_server_address`, `gk_server_port`: where it listens
/// - `gk_server_addresses`: where others can reach it, at all of its doors
/// - `gk_server_stream_address`: where a door for streams is
/// - `gk_server_public_key_der`, `gk_server_native_key`: what its clients pin
/// - `gk_server_send`, `gk_server_send_guaranteed`, `gk_server_broadcast`, `gk_server_group_send`: messages to peers
/// - `gk_server_send_many`: many of them in one call
/// - `gk_server_group_add`, `gk_server_group_remove`: who is in which group
/// - `gk_server_send_raw`: answer a datagram that is of no wire
/// - `gk_server_disconnect`: end a peer
/// - `gk_server_set_block_list`: replace the block list
/// - `gk_server_simulate`, `gk_server_simulate_peer`: try it on a bad network
/// - `gk_server_dashboard_address`: where the dashboard is in fact
/// - `gk_server_set_discovery_info`: replace what those who look for servers are told
/// - `gk_server_peers`: who is connected
/// - `gk_server_stats`, `gk_server_series`, `gk_server_profile_series`: counts and times
pub struct gk_server {
    _opaque: [u8; 0],
}

/// For ever, where a time in microseconds is asked for or given.
pub const GK_FOREVER: u64 = 0xFFFF_FFFF_FFFF_FFFF;

/// The pointer that C knows a server by.
pub(crate) fn pointer_of(server: &Server) -> *const gk_server {
    Arc::as_ptr(&server.0).cast::<gk_server>()
}

/// Gives C a reference of its own.
pub(crate) fn into_pointer(server: Server) -> *mut gk_server {
    Arc::into_raw(server.0).cast::<gk_server>().cast_mut()
}

/// Takes C's reference back.
///
/// # Safety
/// `pointer` is from [`into_pointer`] and not used again.
unsafe fn from_pointer(pointer: *const gk_server) -> Server {
    // SAFETY: the caller's promise.
    Server(unsafe { Arc::from_raw(pointer.cast::<Inner>()) })
}

/// Runs the body of a function of a server that is not broken. After a panic in it the server answers
/// `GK_ERR_PANIC`.
///
/// # Safety
/// `server` is null, or from `gk_server_start` or `gk_server_open`, or was passed to a callback that runs.
pub(crate) unsafe fn with_server(
    server: *const gk_server,
    body: impl FnOnce(&Server) -> Result<(), Failure>,
) -> gk_result {
    with_any_server(server, |server| {
        server.check()?;
        body(server)
    })
}

/// The same for a server that may be broken: for calls that run the loop, which has to say so in the log.
///
/// # Safety
/// As [`with_server`].
unsafe fn with_any_server(
    server: *const gk_server,
    body: impl FnOnce(&Server) -> Result<(), Failure>,
) -> gk_result {
    fallible(|| {
        not_null!(server);
        // SAFETY: not null, and alive by the caller's promise; C's reference is not taken.
        let borrowed = ManuallyDrop::new(unsafe { from_pointer(server) });
        // A reference of this call: a callback inside it may free the server.
        let server = Server::clone(&borrowed);
        panic_scope::catch(|| body(&server)).unwrap_or_else(|text| {
            let failure = Failure::panic(&text);
            server.poison(text);
            Err(failure)
        })
    })
}

type Starter = fn(Config, Box<dyn Handler>, &str) -> crate::Result<Server>;

/// # Safety
/// As the documentation of `gk_server_start` says.
unsafe fn start_with(
    starter: Starter,
    context: *const gk_context,
    address: *const c_char,
    out: *mut *mut gk_server,
) -> gk_result {
    fallible(|| {
        not_null!(context, address, out);
        // SAFETY: not null, and the caller's promise.
        let (context, address) = unsafe { (&*context, text("address", address)?) };
        let handler = Box::new(FfiHandler::new(context.callbacks));
        let server = starter(context.config.clone(), handler, address)?;
        // SAFETY: not null, and the caller's to write.
        unsafe { out.write(into_pointer(server)) };
        Ok(())
    })
}

/// Binds an address and runs a server on a thread of its own, which all callbacks come from.
///
/// - `context`: copied
/// - `address`: `"127.0.0.1:2021"`, `"[::1]:2021"`, `"[::]:2021"` (IPv6, and IPv4 where the system does
///   both); an empty host, `":2021"`, is all interfaces; port 0 lets the system choose, see `gk_server_port`
/// - `out`: the server. Callbacks can come before it is written; they get it as their argument.
///
/// Errors: `GK_ERR_ADDRESS`, `GK_ERR_ADDRESS_IN_USE`, `GK_ERR_IO` (socket, thread, access log),
/// `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, while nobody changes the context.
/// Ownership: the server is the caller's, to be ended with `gk_server_free`; context and address stay the
/// caller's.
#[no_mangle]
pub unsafe extern "C" fn gk_server_start(
    context: *const gk_context,
    address: *const c_char,
    out: *mut *mut gk_server,
) -> gk_result {
    start_with(Server::start, context, address, out)
}

/// Binds an address for a server that the host runs with `gk_server_poll`, from its own main loop. All
/// callbacks come from inside that call, and from inside `gk_server_stop` and `gk_server_free` where these
/// have to finish the server. Nothing happens between polls, and clients time
/// out after a few seconds without one: poll at least as often as ticks are due.
///
/// - the parameters are those of `gk_server_start`
///
/// Errors: as `gk_server_start`.
///
/// Thread: any, while nobody changes the context.
/// Ownership: as `gk_server_start`.
#[no_mangle]
pub unsafe extern "C" fn gk_server_open(
    context: *const gk_context,
    address: *const c_char,
    out: *mut *mut gk_server,
) -> gk_result {
    start_with(Server::open, context, address, out)
}

/// A time from C; `GK_FOREVER` is none.
pub(crate) fn timeout(microseconds: u64) -> Option<Duration> {
    (microseconds != GK_FOREVER).then(|| Duration::from_micros(microseconds))
}

/// A time for C. Rounded down, a host would come a moment early, find nothing, and come again.
pub(crate) fn microseconds(wait: Option<Duration>) -> u64 {
    wait.map_or(GK_FOREVER, |wait| u64::try_from(wait.as_nanos().div_ceil(1000)).unwrap_or(GK_FOREVER))
}

/// Runs the server: reads what came, calls back, ticks, writes. If there is nothing to do it waits for
/// something first.
///
/// - `timeout_us`: waits at most so many microseconds; 0 does not wait; `GK_FOREVER` waits until something
///   happened
///
/// Errors: `GK_ERR_REENTRANT` (inside a callback), `GK_ERR_BUSY` (another thread is in it), `GK_ERR_STATE`
/// (stopped, being stopped by another thread, or made by `gk_server_start`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
/// That nothing happened is no error.
///
/// Thread: any, one at a time; best always the same. Callbacks come from it.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_server_poll(server: *mut gk_server, timeout_us: u64) -> gk_result {
    with_any_server(server, |server| Ok(server.poll(timeout(timeout_us))?))
}

/// Makes a `gk_server_poll` that waits return; if none waits, the next one returns at once.
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_server_wake(server: *mut gk_server) -> gk_result {
    with_server(server, |server| {
        server.wake();
        Ok(())
    })
}

/// Gives a descriptor that becomes readable when `gk_server_poll` has something to do (unix): for
/// `select`, `poll`, `epoll` or an event library. Wait for it no longer than `gk_server_next_timeout_us`
/// says, then poll with timeout 0. It is level-triggered, and only good for waiting.
///
/// - `out`: the descriptor
///
/// Errors: `GK_ERR_STATE` (a system without descriptors), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the descriptor is the server's; do not close it. It is valid until `gk_server_free`.
#[no_mangle]
pub unsafe extern "C" fn gk_server_descriptor(server: *const gk_server, out: *mut i32) -> gk_result {
    with_server(server, |server| {
        not_null!(out);
        let descriptor = server.descriptor()?;
        // SAFETY: not null, and the caller's to write.
        unsafe { out.write(descriptor) };
        Ok(())
    })
}

/// Gives the time until `gk_server_poll` has something to do even if nothing arrives.
///
/// - `out`: microseconds from now, rounded up; 0: it is due; `GK_FOREVER`: nothing is
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_server_next_timeout_us(server: *const gk_server, out: *mut u64) -> gk_result {
    with_server(server, |server| {
        not_null!(out);
        let microseconds = microseconds(server.next_timeout());
        // SAFETY: not null, and the caller's to write.
        unsafe { out.write(microseconds) };
        Ok(())
    })
}

/// Stops the server: disconnects all peers and reports each, completes what was sent, sends what closing
/// needs, and calls shutdown last. From inside a callback it takes effect when the callback has returned;
/// from outside it returns when all that is done. A second stop does nothing more.
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any. If nobody polls a server made by `gk_server_open`, the last callbacks come from here.
/// Ownership: the server stays the caller's, and answers questions until `gk_server_free`.
#[no_mangle]
pub unsafe extern "C" fn gk_server_stop(server: *mut gk_server) -> gk_result {
    with_any_server(server, |server| Ok(server.stop()?))
}

/// Waits until the server has stopped. It does not stop it.
///
/// - `timeout_us`: waits at most so many microseconds; 0 only asks; `GK_FOREVER`: without limit
///
/// Errors: `GK_ERR_TIMEOUT`, `GK_ERR_REENTRANT` (inside a callback), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any but the server's own; a server made by `gk_server_open` needs another thread that polls it.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_server_wait(server: *mut gk_server, timeout_us: u64) -> gk_result {
    with_server(server, |server| {
        server.wait(timeout(timeout_us))?;
        // It may have ended by breaking.
        Ok(server.check()?)
    })
}

/// Tells whether the server has stopped.
///
/// - `out`: 1 when its last callback has returned, else 0
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_server_is_stopped(server: *const gk_server, out: *mut u32) -> gk_result {
    with_server(server, |server| {
        not_null!(out);
        // SAFETY: not null, and the caller's to write.
        unsafe { out.write(u32::from(server.is_stopped())) };
        Ok(())
    })
}

/// Stops the server as `gk_server_stop` does, and gives it back. From inside one of the server's own
/// callbacks it returns at once: the stop takes effect when the callback has returned, and the callbacks
/// that stopping makes still come, with the same pointer, which is good inside them only.
///
/// - `server`: may be NULL
///
/// Thread: any. No other thread may call with this pointer from now on; calls of `gk_server_poll` and
/// `gk_server_wait` that wait in other threads return.
/// Ownership: ends the caller's; what `gk_server_next_events` handed out ends with it.
#[no_mangle]
pub unsafe extern "C" fn gk_server_free(server: *mut gk_server) {
    infallible((), || {
        if server.is_null() {
            return;
        }
        // SAFETY: C's own reference, given back once.
        let server = unsafe { from_pointer(server) };
        // All that can fail in a stop is that the server is broken, and then there is nothing to stop.
        let _ = server.stop();
    });
}

/// Gives the address that the server is bound to, with the real port: `"0.0.0.0:2021"` or `"[::]:2021"`.
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
pub unsafe extern "C" fn gk_server_address(
    server: *const gk_server,
    buf: *mut c_char,
    cap: usize,
    out_len: *mut usize,
) -> gk_result {
    with_server(server, |server| {
        // SAFETY: the caller's promise.
        unsafe { write_text(&server.local_address().to_string(), buf, cap, out_len) }
    })
}

/// Gives the port that the server is bound to.
///
/// - `out`: the port, never 0
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_server_port(server: *const gk_server, out: *mut u16) -> gk_result {
    with_server(server, |server| {
        not_null!(out);
        // SAFETY: not null, and the caller's to write.
        unsafe { out.write(server.local_address().port()) };
        Ok(())
    })
}

/// Gives the public part of the server's root key, for clients to pin: SubjectPublicKeyInfo as DER.
///
/// - `buf`: gets the bytes; may be NULL if `cap` is 0
/// - `cap`: size of `buf` in bytes; 91 is enough
/// - `out_len`: how many bytes; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
///
/// Errors: `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the bytes are copied.
#[no_mangle]
pub unsafe extern "C" fn gk_server_public_key_der(
    server: *const gk_server,
    buf: *mut u8,
    cap: usize,
    out_len: *mut usize,
) -> gk_result {
    with_server(server, |server| {
        // SAFETY: the caller's promise.
        unsafe { write_array(&server.public_key_der(), buf, cap, out_len) }
    })
}

/// Gives the X25519 public key that clients of the native wire pin. It follows from the root key.
///
/// - `buf`: gets the bytes; may be NULL if `cap` is 0
/// - `cap`: size of `buf` in bytes; 32 is enough
/// - `out_len`: how many bytes; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
///
/// Errors: `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the bytes are copied.
#[no_mangle]
pub unsafe extern "C" fn gk_server_native_key(
    server: *const gk_server,
    buf: *mut u8,
    cap: usize,
    out_len: *mut usize,
) -> gk_result {
    with_server(server, |server| {
        // SAFETY: the caller's promise.
        unsafe { write_array(&server.native_public_key(), buf, cap, out_len) }
    })
}

/// Replaces the block list. Peers that are on the new one are disconnected with `GK_DISCONNECT_BLOCKED`.
///
/// - `entries`, `count`: as for `gk_context_set_block_list`
///
/// Errors: `GK_ERR_ARGUMENT` (not an address or range; the list before stays), `GK_ERR_STATE` (stopped),
/// `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the texts are copied.
#[no_mangle]
pub unsafe extern "C" fn gk_server_set_block_list(
    server: *mut gk_server,
    entries: *const *const c_char,
    count: usize,
) -> gk_result {
    with_server(server, |server| {
        // SAFETY: the caller's promise.
        let entries = unsafe { texts("entries", entries, count)? };
        Ok(server.set_block_list(BlockList::parse(entries)?)?)
    })
}

/// Replaces what those who look for servers are told.
///
/// - `info`, `len`: as for `gk_context_set_discovery_info`
///
/// Errors: `GK_ERR_ARGUMENT` (length), `GK_ERR_STATE` (stopped), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the bytes are copied.
#[no_mangle]
pub unsafe extern "C" fn gk_server_set_discovery_info(
    server: *mut gk_server,
    info: *const u8,
    len: usize,
) -> gk_result {
    with_server(server, |server| {
        // SAFETY: the caller's promise.
        let given = unsafe { bytes("info", info, len)? };
        Ok(server.set_discovery_info((!info.is_null()).then(|| given.to_vec()))?)
    })
}

/// Gives all connected peers.
///
/// - `buf`: an array; may be NULL if `cap` is 0
/// - `cap`: how many it holds
/// - `out_count`: how many there are; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed now
///
/// Errors: `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the numbers are copied; a peer can leave while you look at them.
#[no_mangle]
pub unsafe extern "C" fn gk_server_peers(
    server: *const gk_server,
    buf: *mut gk_peer,
    cap: usize,
    out_count: *mut usize,
) -> gk_result {
    with_server(server, |server| {
        let peers: Vec<gk_peer> = server.peers().into_iter().map(|peer| peer.to_bits()).collect();
        // SAFETY: the caller's promise.
        unsafe { write_array(&peers, buf, cap, out_count) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::result::{last_error, GK_ERR_PANIC, GK_OK};
    use crate::server::events::LogLevel;
    use std::sync::mpsc;

    #[test]
    fn times() {
        assert_eq!(timeout(GK_FOREVER), None);
        assert_eq!(timeout(GK_FOREVER - 1), Some(Duration::from_micros(u64::MAX - 1)));
        assert_eq!(timeout(0), Some(Duration::ZERO));
    }

    /// Panics in its first tick, and keeps the errors of the log.
    struct Fragile {
        errors: mpsc::Sender<String>,
        breaks: bool,
    }

    impl Handler for Fragile {
        fn update(&mut self, _: &Server, _: f64, tick: u64) {
            assert!(!self.breaks, "broken in tick {tick}");
        }
        fn log(&mut self, _: &Server, level: LogLevel, text: &str) {
            if level == LogLevel::Error {
                // The test has gone once it has seen enough.
                let _gone = self.errors.send(text.to_owned());
            }
        }
    }

    fn fragile(starter: Starter, breaks: bool) -> (*mut gk_server, mpsc::Receiver<String>) {
        let (errors, receiver) = mpsc::channel();
        let server = starter(Config::default(), Box::new(Fragile { errors, breaks }), "127.0.0.1:0").unwrap();
        (into_pointer(server), receiver)
    }

    /// The server answers `GK_ERR_PANIC` to everything, its log said why, and it can be freed.
    fn check_broken(server: *mut gk_server, errors: &mpsc::Receiver<String>, word: &str) {
        let (mut port, mut stopped, mut size) = (0, 0, 0);
        // SAFETY: the server is not freed before the end.
        unsafe {
            assert_eq!(gk_server_port(server, &mut port), GK_ERR_PANIC);
            assert!(last_error().contains(word), "{}", last_error());
            assert_eq!(gk_server_is_stopped(server, &mut stopped), GK_ERR_PANIC);
            assert_eq!(gk_server_poll(server, 0), GK_ERR_PANIC);
            assert_eq!(gk_server_peers(server, std::ptr::null_mut(), 0, &mut size), GK_ERR_PANIC);
            assert_eq!(gk_server_wait(server, GK_FOREVER), GK_ERR_PANIC);
            assert_eq!(gk_server_stop(server), GK_ERR_PANIC);
            assert_eq!((port, stopped, size), (0, 0, 0));
            gk_server_free(server);
        }
        let text = errors.recv().expect("the log heard of it");
        assert!(text.contains(word), "{text}");
        assert!(errors.recv().is_err(), "it heard of it once, and the handler is gone");
    }

    #[test]
    fn a_panic_on_the_servers_thread_breaks_it_and_nothing_else() {
        let (server, errors) = fragile(Server::start, true);
        // SAFETY: the server lives.
        assert_eq!(unsafe { gk_server_wait(server, GK_FOREVER) }, GK_ERR_PANIC);
        check_broken(server, &errors, "broken in tick");
    }

    #[test]
    fn a_panic_in_a_poll_breaks_the_server() {
        let (server, errors) = fragile(Server::open, true);
        let mut result = GK_OK;
        for _ in 0..10_000 {
            // SAFETY: the server lives.
            result = unsafe { gk_server_poll(server, 1000) };
            if result != GK_OK {
                break;
            }
        }
        assert_eq!(result, GK_ERR_PANIC);
        check_broken(server, &errors, "broken in tick");
    }

    #[test]
    fn a_panic_in_a_call_breaks_the_server_of_the_call() {
        for starter in [Server::start as Starter, Server::open] {
            let (server, errors) = fragile(starter, false);
            let (healthy, _errors) = fragile(starter, false);
            // SAFETY: both servers live until they are freed.
            unsafe {
                assert_eq!(with_server(server, |_| panic!("broken in a call")), GK_ERR_PANIC);
                assert!(last_error().contains("broken in a call"));
                let unreached = with_server(server, |_| unreachable!("it answers before a body runs"));
                assert_eq!(unreached, GK_ERR_PANIC);
                check_broken(server, &errors, "broken in a call");
                assert_eq!(gk_server_wake(healthy), GK_OK);
                gk_server_free(healthy);
            }
        }
    }
}
