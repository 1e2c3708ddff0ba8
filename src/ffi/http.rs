//! Doors for HTTP and WebSocket: what a context says of them, requests, and their answers.

use std::ffi::{c_char, c_void};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::ffi::arguments::{bytes, flag, text, write_array, write_text};
use crate::ffi::callbacks::Slot;
use crate::ffi::context::{gk_context, with_context};
use crate::ffi::events::gk_peer;
use crate::ffi::result::{gk_result, Failure, GK_ERR_ARGUMENT};
use crate::ffi::server::{gk_server, pointer_of, with_server};
use crate::http::config::{Limits, TlsFiles};
use crate::http::message::Request;
use crate::http::route::Method;
use crate::server::events::PeerId;
use crate::server::http::{RequestId, RouteAction};
use crate::server::Server;

/// A request that came in by HTTP and waits for its answer: a number that is never reused while the process lives, in any
/// of its servers. Once it is answered, has timed out, or its client has left, it is stale, and every function says
/// `GK_ERR_STALE`: a number cannot be kept too long. That of a WebSocket's opening answers questions as long as the WebSocket
/// is open.
///
/// Whoever speaks HTTP does so on a thread of its own; the host sees only whole requests, on the server's thread.
///
/// - `gk_context_listen_http`: where HTTP is spoken
/// - `gk_context_route`, `gk_context_route_websocket`, `gk_context_route_files`: what is answered
/// - `gk_context_clear_http`: takes doors and routes out again
/// - `gk_context_set_http_max_body`: the longest body, of the routes that follow
/// - `gk_context_set_http_route_door`: the door of the routes that follow
/// - `gk_context_set_http_max_connections`, `gk_context_set_http_max_requests`: bounds
/// - `gk_context_set_http_max_body_bytes`: the bound of all bodies together
/// - `gk_context_set_http_request_timeout_us`, `gk_context_set_http_head_timeout_us`: times
/// - `gk_context_set_http_password_in_clear`: of the doors that follow
/// - `gk_server_http_address`: where it is spoken in fact
/// - `gk_request_method`, `gk_request_path`, `gk_request_query_string`: the request's first line
/// - `gk_request_param`, `gk_request_query`, `gk_request_header`: one value by its name
/// - `gk_request_headers`: all headers
/// - `gk_request_body`: the body
/// - `gk_request_address`, `gk_request_is_secure`: where it came from, and how
/// - `gk_response_header`, `gk_response_send`: the answer, at once or later, from any thread
/// - `gk_response_clear`: takes the answer's headers back
/// - `gk_response_upgrade`: opens the WebSocket
/// - `gk_peer_request`: the request that opened the WebSocket of a peer
pub type gk_request = u64;

/// No request.
pub const GK_REQUEST_NONE: gk_request = 0;

/// All HTTP doors, for `gk_context_set_http_route_door`.
pub const GK_HTTP_ALL_DOORS: u32 = 0xFFFF_FFFF;

/// A request came to a route. `gk_response_send` answers it: from inside this callback, or later from any thread. One that is
/// not answered within `gk_context_set_http_request_timeout_us` is answered with 504.
///
/// When: once for each request that the route's pattern and method fit, that has come whole and is within all limits. At a
/// route of WebSockets: before each opens; `gk_response_upgrade` lets it.
/// Thread: the server's.
/// Borrowed: nothing; the functions of `gk_request` copy.
/// May call: everything but `gk_server_poll`, `gk_server_next_events`, `gk_server_wait`.
pub type gk_route_fn =
    Option<unsafe extern "C" fn(user_data: *mut c_void, server: *mut gk_server, request: gk_request)>;

/// A route's function as the server's thread calls it.
struct RouteSlot(Slot<gk_route_fn>);

// SAFETY: the library never follows `user_data`, and the function is called on the server's thread only, as its
// documentation says.
unsafe impl Send for RouteSlot {}
// SAFETY: as above.
unsafe impl Sync for RouteSlot {}

impl RouteSlot {
    fn call(&self, server: &Server, request: RequestId) {
        if let Some(function) = self.0.function {
            let pointer = pointer_of(server).cast_mut();
            // SAFETY: the host gave the function for calls with these arguments; the loop that calls holds the server.
            unsafe { function(self.0.user_data, pointer, request.to_bits()) };
        }
    }
}

fn action(function: gk_route_fn, user_data: *mut c_void) -> RouteAction {
    if function.is_none() {
        return RouteAction::Event(user_data as usize as u64);
    }
    let slot = RouteSlot(Slot { function, user_data });
    RouteAction::Call(Arc::new(move |server: &Server, request| slot.call(server, request)))
}

/// Opens a door for HTTP/1.1 and WebSockets, with TLS if a certificate and a key are given. A server can have 16. The
/// address is bound when the server starts, which fails if it cannot be, or if the files cannot be read. The files are
/// looked at again every two seconds: when they have changed, new connections get what stands in them, and those that are
/// open stay.
///
/// - `address`: as `gk_server_start` takes it; port 0 lets the system choose, see `gk_server_http_address`
/// - `cert`: PEM file with the certificate and those that it is signed with; NULL: no TLS
/// - `key`: PEM file with its private key; NULL with `cert`
///
/// Errors: `GK_ERR_ADDRESS`, `GK_ERR_ARGUMENT` (one of two files; a 17th door), `GK_ERR_UTF8`, `GK_ERR_NULL`,
/// `GK_ERR_PANIC`. Of `gk_server_start` besides: `GK_ERR_KEY` (the files), `GK_ERR_ADDRESS_IN_USE`, `GK_ERR_IO`, and
/// `GK_ERR_ARGUMENT` where WebSockets would bring a password in clear.
///
/// Thread: any, one at a time per context.
/// Ownership: the texts are copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_listen_http(
    context: *mut gk_context,
    address: *const c_char,
    cert: *const c_char,
    key: *const c_char,
) -> gk_result {
    with_context(context, |context| {
        // SAFETY: null, or the caller's promise.
        let address = unsafe { text("address", address)? };
        let tls = match (cert.is_null(), key.is_null()) {
            (true, true) => None,
            (false, false) => Some(TlsFiles {
                // SAFETY: not null, and the caller's promise.
                certificate: PathBuf::from(unsafe { text("cert", cert)? }),
                // SAFETY: not null, and the caller's promise.
                key: PathBuf::from(unsafe { text("key", key)? }),
            }),
            _ => return Err(Failure::new(GK_ERR_ARGUMENT, "cert and key: both or none")),
        };
        Ok(context.config.http.listen(address, tls)?)
    })
}

/// Adds a route. The first route that fits a request's method and path answers it; if routes fit the path only, the answer is
/// 405, if none does, 404.
///
/// - `method`: `"GET"` (which answers HEAD too), `"PUT"`, `"POST"` or `"DELETE"`
/// - `pattern`: components with a slash before each: literal ones, and names. `:name` stands for exactly one component,
///   `:name?` for none or one, `:name+` for one or more, `:name*` for any number; at most one of the last three kinds. A
///   slash at the end does not count.
/// - `function`: called for each request; NULL: each is a `GK_EVENT_REQUEST` with this `user_data` in the event queue,
///   which the server must have then; a request for which that has no room is answered with 503
/// - `user_data`: passed to it
///
/// Errors: `GK_ERR_ARGUMENT` (method, pattern, a 4097th route), `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: the texts are copied; what `user_data` points to stays the host's, and is used until shutdown.
#[no_mangle]
pub unsafe extern "C" fn gk_context_route(
    context: *mut gk_context,
    method: *const c_char,
    pattern: *const c_char,
    function: gk_route_fn,
    user_data: *mut c_void,
) -> gk_result {
    with_context(context, |context| {
        // SAFETY: null, or the caller's promise.
        let (method, pattern) = unsafe { (text("method", method)?, text("pattern", pattern)?) };
        let method = Method::ALL.into_iter().find(|known| known.name() == method).ok_or_else(|| {
            Failure::new(GK_ERR_ARGUMENT, "the method is not one of DELETE, GET, POST, PUT".to_owned())
        })?;
        Ok(context.config.http.route(method, pattern, action(function, user_data))?)
    })
}

/// Adds a route at which WebSockets open. One that is open is a peer like any other, by the door `GK_DOOR_WEBSOCKET`: connect,
/// message and disconnect come as for others, and `gk_server_send` sends. What it sends as text comes on the channel
/// `GK_WEBSOCKET_TEXT`, the rest on `GK_WEBSOCKET_BINARY`; what is sent to it on these channels leaves so.
///
/// - `pattern`: as in `gk_context_route`
/// - `function`: called with the request that would open it: `gk_response_upgrade` opens it, `gk_response_send` refuses it;
///   NULL: each is a `GK_EVENT_REQUEST` if there is an event queue, else all are opened
/// - `user_data`: passed to it
///
/// Errors: as `gk_context_route`.
///
/// Thread: any, one at a time per context.
/// Ownership: as `gk_context_route`.
#[no_mangle]
pub unsafe extern "C" fn gk_context_route_websocket(
    context: *mut gk_context,
    pattern: *const c_char,
    function: gk_route_fn,
    user_data: *mut c_void,
) -> gk_result {
    with_context(context, |context| {
        // SAFETY: null, or the caller's promise.
        let pattern = unsafe { text("pattern", pattern)? };
        Ok(context.config.http.route_websocket(pattern, action(function, user_data))?)
    })
}

/// Adds a route that gives the files below a directory to GET. The file is what the pattern's last name stands for:
/// `"/static/:path*"`; where that is a directory, its `index.html`. Nothing outside of the directory is given, neither by
/// `..` nor by symbolic links, and no names that begin with a dot.
///
/// - `pattern`: as in `gk_context_route`
/// - `directory`: looked at with each request
///
/// Errors: as `gk_context_route`.
///
/// Thread: any, one at a time per context.
/// Ownership: the texts are copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_route_files(
    context: *mut gk_context,
    pattern: *const c_char,
    directory: *const c_char,
) -> gk_result {
    with_context(context, |context| {
        // SAFETY: null, or the caller's promise.
        let (pattern, directory) = unsafe { (text("pattern", pattern)?, text("directory", directory)?) };
        Ok(context.config.http.route_files(pattern, directory)?)
    })
}

/// Takes all HTTP doors and routes out of a context again, for one that several servers with doors of their own are made
/// from. Bounds and times stay, but the longest body and the door of the routes that follow, which are the defaults again, and
/// no password in clear.
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_clear_http(context: *mut gk_context) -> gk_result {
    with_context(context, |context| {
        context.config.http.clear();
        Ok(())
    })
}

/// Sets the longest body of a request, of the routes that are added from now on. A longer one is answered with 413; of a
/// compressed one, what comes out counts, and what comes in may be an eighth and 64 KiB more.
///
/// - `bytes`: default 5,242,880 (5 MiB), range 0 to 1,073,741,824 (1 GiB)
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_http_max_body(context: *mut gk_context, bytes: usize) -> gk_result {
    with_context(context, |context| Ok(context.config.http.set_max_body(bytes)?))
}

/// Sets the HTTP door that routes are for which are added from now on. At any other door there is no such route.
///
/// - `door`: which door, from 0, in the order of `gk_context_listen_http`; `GK_HTTP_ALL_DOORS`, the default: every one
///
/// Errors: `GK_ERR_ARGUMENT` (no such door yet), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_http_route_door(context: *mut gk_context, door: u32) -> gk_result {
    with_context(context, |context| {
        let door = (door != GK_HTTP_ALL_DOORS).then_some(door as usize);
        Ok(context.config.http.set_route_door(door)?)
    })
}

/// Sets one bound, and sets it back if it is not valid.
fn set_limit<T>(
    context: &mut gk_context,
    field: impl Fn(&mut Limits) -> &mut T,
    value: T,
) -> Result<(), Failure> {
    let limits = context.config.http.limits_mut();
    let before = std::mem::replace(field(limits), value);
    limits.validate().map_err(|error| {
        *field(limits) = before;
        error.into()
    })
}

/// Sets how many HTTP connections can be open; further ones are closed at once.
///
/// - `count`: default 4096, range 1 to 1,000,000
/// - `per_source`: of one IPv4 address or IPv6 /64; default 1024, range 1 to 1,000,000. Behind a proxy all come from one.
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_http_max_connections(
    context: *mut gk_context,
    count: u32,
    per_source: u32,
) -> gk_result {
    with_context(context, |context| {
        let before = context.config.http.limits_mut().max_connections;
        set_limit(context, |limits| &mut limits.max_connections, count)?;
        set_limit(context, |limits| &mut limits.max_connections_per_source, per_source)
            .inspect_err(|_| context.config.http.limits_mut().max_connections = before)
    })
}

/// Sets how many requests can wait for the host's answer; further ones are answered with 503.
///
/// - `count`: default 1024, range 1 to 65,536
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_http_max_requests(context: *mut gk_context, count: u32) -> gk_result {
    with_context(context, |context| set_limit(context, |limits| &mut limits.max_requests, count))
}

/// Sets how many bytes the bodies of all requests can have that are being read or wait for an answer; a request that would go
/// beyond it is answered with 503. All answers that wait for their clients to read them can have as many again; beyond it those
/// clients are cut off that were waited for longest, for two seconds at least, and where there are none the answer is a
/// 503. An answer that is longer than all may be has room alone.
///
/// - `bytes`: default 268,435,456 (256 MiB), range 65,536 (64 KiB) to 64 GiB
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_http_max_body_bytes(
    context: *mut gk_context,
    bytes: usize,
) -> gk_result {
    with_context(context, |context| set_limit(context, |limits| &mut limits.max_body_bytes, bytes))
}

/// Sets after how long a request that the host has not answered is answered with 504.
///
/// - `microseconds`: default 30,000,000 (30 s), range 100,000 (0.1 s) to 3,600,000,000 (1 h)
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_http_request_timeout_us(
    context: *mut gk_context,
    microseconds: u64,
) -> gk_result {
    let time = Duration::from_micros(microseconds);
    with_context(context, |context| set_limit(context, |limits| &mut limits.request_timeout, time))
}

/// Sets how long a client may take for the head of a request, counted from the opening of the connection or the answer
/// before; so also how long a connection may rest between two requests.
///
/// - `microseconds`: default 15,000,000 (15 s), range 100,000 (0.1 s) to 3,600,000,000 (1 h)
///
/// Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_http_head_timeout_us(
    context: *mut gk_context,
    microseconds: u64,
) -> gk_result {
    let time = Duration::from_micros(microseconds);
    with_context(context, |context| set_limit(context, |limits| &mut limits.head_timeout, time))
}

/// Sets whether WebSockets may bring the server's password also where others can read it on the way: without TLS and not on
/// loopback. It counts for doors that are added from now on. Without it a server that has a password, a route of WebSockets and
/// such a door does not start.
///
/// - `on`: 1: they may; 0, the default: they may not
///
/// Errors: `GK_ERR_ARGUMENT` (neither 0 nor 1), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_http_password_in_clear(
    context: *mut gk_context,
    on: u32,
) -> gk_result {
    with_context(context, |context| {
        context.config.http.set_password_in_clear(flag("on", on)?);
        Ok(())
    })
}

/// Gives the address that an HTTP door is bound to, with the real port.
///
/// - `index`: which door, from 0, in the order of `gk_context_listen_http`
/// - `buf`: gets the text and a NUL; may be NULL if `cap` is 0
/// - `cap`: size of `buf` in bytes; 64 is enough for all
/// - `out_len`: length of the text without the NUL; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
///
/// Errors: `GK_ERR_ARGUMENT` (no such door), `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the text is copied.
#[no_mangle]
pub unsafe extern "C" fn gk_server_http_address(
    server: *const gk_server,
    index: usize,
    buf: *mut c_char,
    cap: usize,
    out_len: *mut usize,
) -> gk_result {
    with_server(server, |server| {
        let addresses = server.http_addresses();
        let address = addresses.get(index).ok_or_else(|| {
            Failure::new(GK_ERR_ARGUMENT, format!("there is no HTTP door {index}, but {}", addresses.len()))
        })?;
        // SAFETY: the caller's promise.
        unsafe { write_text(&address.to_string(), buf, cap, out_len) }
    })
}

/// Does something with a request.
///
/// # Safety
/// `server` is as [`with_server`] has it.
unsafe fn with_request(
    server: *const gk_server,
    request: gk_request,
    body: impl FnOnce(&Request) -> Result<(), Failure>,
) -> gk_result {
    // SAFETY: the caller's promise.
    unsafe { with_server(server, |server| body(&*server.request(RequestId::from_bits(request))?)) }
}

/// Writes one text of a request.
///
/// # Safety
/// As [`write_text`], and `server` as [`with_server`] has it.
unsafe fn property(
    server: *const gk_server,
    request: gk_request,
    buf: *mut c_char,
    cap: usize,
    out_len: *mut usize,
    of: impl FnOnce(&Request) -> &str,
) -> gk_result {
    // SAFETY: the caller's promise.
    unsafe { with_request(server, request, |request| write_text(of(request), buf, cap, out_len)) }
}

/// Writes what a request has under a name, among `what`, of which it is an error to have none.
///
/// # Safety
/// As [`write_text`], `name` as [`text`] has it, and `server` as [`with_server`].
unsafe fn named(
    server: *const gk_server,
    request: gk_request,
    name: *const c_char,
    (buf, cap, out_len): (*mut c_char, usize, *mut usize),
    what: &str,
    of: impl FnOnce(&Request, &str) -> Option<String>,
) -> gk_result {
    // SAFETY: the caller's promise.
    unsafe {
        with_request(server, request, |request| {
            let name = text("name", name)?;
            let value = of(request, name).ok_or_else(|| {
                let shown: String = name.chars().take(80).collect();
                Failure::new(GK_ERR_ARGUMENT, format!("the request has no {what} called {shown:?}"))
            })?;
            write_text(&value, buf, cap, out_len)
        })
    }
}

/// Gives a request's method: `"GET"`, `"HEAD"`, `"PUT"`, `"POST"` or `"DELETE"`.
///
/// - `buf`: gets the text and a NUL; may be NULL if `cap` is 0
/// - `cap`: size of `buf` in bytes
/// - `out_len`: length of the text without the NUL; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
///
/// Errors: `GK_ERR_STALE`, `GK_ERR_STATE` (no HTTP door), `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the text is copied.
#[no_mangle]
pub unsafe extern "C" fn gk_request_method(
    server: *const gk_server,
    request: gk_request,
    buf: *mut c_char,
    cap: usize,
    out_len: *mut usize,
) -> gk_result {
    property(server, request, buf, cap, out_len, |request| &request.method)
}

/// Gives a request's path as it was sent, percent-encoded, without its query.
///
/// - `buf`, `cap`, `out_len`: as in `gk_request_method`
///
/// Errors: as `gk_request_method`.
///
/// Thread: any.
/// Ownership: the text is copied.
#[no_mangle]
pub unsafe extern "C" fn gk_request_path(
    server: *const gk_server,
    request: gk_request,
    buf: *mut c_char,
    cap: usize,
    out_len: *mut usize,
) -> gk_result {
    property(server, request, buf, cap, out_len, |request| &request.path)
}

/// Gives what stands behind the `?` of a request's path, as it was sent; "" if nothing does.
///
/// - `buf`, `cap`, `out_len`: as in `gk_request_method`
///
/// Errors: as `gk_request_method`.
///
/// Thread: any.
/// Ownership: the text is copied.
#[no_mangle]
pub unsafe extern "C" fn gk_request_query_string(
    server: *const gk_server,
    request: gk_request,
    buf: *mut c_char,
    cap: usize,
    out_len: *mut usize,
) -> gk_result {
    property(server, request, buf, cap, out_len, |request| &request.query)
}

/// Gives what a name of the route's pattern stands for in a request's path: decoded, several components with slashes
/// between.
///
/// - `name`: without its colon
/// - `buf`, `cap`, `out_len`: as in `gk_request_method`
///
/// Errors: as `gk_request_method`, and `GK_ERR_ARGUMENT` (the pattern has no such name, or it stands for nothing here),
/// `GK_ERR_UTF8`.
///
/// Thread: any.
/// Ownership: the text is copied.
#[no_mangle]
pub unsafe extern "C" fn gk_request_param(
    server: *const gk_server,
    request: gk_request,
    name: *const c_char,
    buf: *mut c_char,
    cap: usize,
    out_len: *mut usize,
) -> gk_result {
    named(server, request, name, (buf, cap, out_len), "parameter of the path", |request, name| {
        request.param(name).map(str::to_owned)
    })
}

/// Gives the first value of a parameter of a request's query, decoded; "" for one without a value.
///
/// - `name`: which
/// - `buf`, `cap`, `out_len`: as in `gk_request_method`
///
/// Errors: as `gk_request_method`, and `GK_ERR_ARGUMENT` (there is none), `GK_ERR_UTF8`.
///
/// Thread: any.
/// Ownership: the text is copied.
#[no_mangle]
pub unsafe extern "C" fn gk_request_query(
    server: *const gk_server,
    request: gk_request,
    name: *const c_char,
    buf: *mut c_char,
    cap: usize,
    out_len: *mut usize,
) -> gk_result {
    named(server, request, name, (buf, cap, out_len), "parameter of the query", Request::query_parameter)
}

/// Gives the value of a request's header; several of one name are joined by `", "`. Bytes that are not UTF-8 become U+FFFD.
///
/// - `name`: in any case
/// - `buf`, `cap`, `out_len`: as in `gk_request_method`
///
/// Errors: as `gk_request_method`, and `GK_ERR_ARGUMENT` (there is none), `GK_ERR_UTF8`.
///
/// Thread: any.
/// Ownership: the text is copied.
#[no_mangle]
pub unsafe extern "C" fn gk_request_header(
    server: *const gk_server,
    request: gk_request,
    name: *const c_char,
    buf: *mut c_char,
    cap: usize,
    out_len: *mut usize,
) -> gk_result {
    named(server, request, name, (buf, cap, out_len), "header", |request, name| {
        request.header(name).map(|value| String::from_utf8_lossy(&value).into_owned())
    })
}

/// Gives all headers of a request, in order: `name: value`, each with a line end `"\n"`, names in lower case. The bytes are as
/// they came, which need not be UTF-8; there is no NUL behind them.
///
/// - `buf`: gets the bytes; may be NULL if `cap` is 0
/// - `cap`: size of `buf` in bytes
/// - `out_len`: how many; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
///
/// Errors: as `gk_request_method`.
///
/// Thread: any.
/// Ownership: the bytes are copied.
#[no_mangle]
pub unsafe extern "C" fn gk_request_headers(
    server: *const gk_server,
    request: gk_request,
    buf: *mut u8,
    cap: usize,
    out_len: *mut usize,
) -> gk_result {
    with_request(server, request, |request| {
        let mut lines = Vec::new();
        for (name, value) in &request.headers {
            lines.extend_from_slice(name.as_bytes());
            lines.extend_from_slice(b": ");
            lines.extend_from_slice(value);
            lines.push(b'\n');
        }
        // SAFETY: the caller's promise.
        unsafe { write_array(&lines, buf, cap, out_len) }
    })
}

/// Gives a request's body, decompressed.
///
/// - `buf`, `cap`, `out_len`: as in `gk_request_headers`
///
/// Errors: as `gk_request_method`.
///
/// Thread: any.
/// Ownership: the bytes are copied.
#[no_mangle]
pub unsafe extern "C" fn gk_request_body(
    server: *const gk_server,
    request: gk_request,
    buf: *mut u8,
    cap: usize,
    out_len: *mut usize,
) -> gk_result {
    with_request(server, request, |request| {
        // SAFETY: the caller's promise.
        unsafe { write_array(&request.body, buf, cap, out_len) }
    })
}

/// Gives where a request came from: `"192.0.2.1:50000"` or `"[2001:db8::1]:50000"`.
///
/// - `buf`, `cap`, `out_len`: as in `gk_request_method`
///
/// Errors: as `gk_request_method`.
///
/// Thread: any.
/// Ownership: the text is copied.
#[no_mangle]
pub unsafe extern "C" fn gk_request_address(
    server: *const gk_server,
    request: gk_request,
    buf: *mut c_char,
    cap: usize,
    out_len: *mut usize,
) -> gk_result {
    with_request(server, request, |request| {
        // SAFETY: the caller's promise.
        unsafe { write_text(&request.address.to_string(), buf, cap, out_len) }
    })
}

/// Tells whether a request came over TLS.
///
/// - `out`: 1 if so, else 0
///
/// Errors: `GK_ERR_STALE`, `GK_ERR_STATE` (no HTTP door), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_request_is_secure(
    server: *const gk_server,
    request: gk_request,
    out: *mut u32,
) -> gk_result {
    with_server(server, |server| {
        not_null!(out);
        let secure = server.request(RequestId::from_bits(request))?.secure;
        // SAFETY: not null, and the caller's to write.
        unsafe { out.write(u32::from(secure)) };
        Ok(())
    })
}

/// Adds a header to the answer of a request. `Connection`, `Content-Length`, `Date`, `Transfer-Encoding` and the like are
/// the library's to set.
///
/// - `name`, `value`: UTF-8 without control characters
///
/// Errors: `GK_ERR_STALE`, `GK_ERR_ARGUMENT` (a name or value that is none, or the library's), `GK_ERR_WOULD_BLOCK` (the answer
/// has 64), `GK_ERR_STATE` (no HTTP door), `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the texts are copied.
#[no_mangle]
pub unsafe extern "C" fn gk_response_header(
    server: *mut gk_server,
    request: gk_request,
    name: *const c_char,
    value: *const c_char,
) -> gk_result {
    with_server(server, |server| {
        // SAFETY: null, or the caller's promise.
        let (name, value) = unsafe { (text("name", name)?, text("value", value)?) };
        Ok::<(), Failure>(server.answer_header(RequestId::from_bits(request), name, value)?)
    })
}

/// Takes all headers of a request's answer back, for a host that has to answer something else than it thought.
///
/// Errors: `GK_ERR_STALE`, `GK_ERR_STATE` (no HTTP door), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_response_clear(server: *mut gk_server, request: gk_request) -> gk_result {
    with_server(server, |server| Ok::<(), Failure>(server.answer_clear(RequestId::from_bits(request))?))
}

/// Answers a request, which is stale from then on. What is text, JSON or the like by its `Content-Type` header is compressed
/// where the client accepts that and it is worth it.
///
/// - `status`: 200 to 599
/// - `body`: may be NULL if `len` is 0
/// - `len`: how many bytes
///
/// Errors: `GK_ERR_STALE`, `GK_ERR_ARGUMENT` (the status; the request waits on), `GK_ERR_STATE` (no HTTP door), `GK_ERR_NULL`,
/// `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the bytes are copied.
#[no_mangle]
pub unsafe extern "C" fn gk_response_send(
    server: *mut gk_server,
    request: gk_request,
    status: u32,
    body: *const u8,
    len: usize,
) -> gk_result {
    with_server(server, |server| {
        // SAFETY: the caller's promise.
        let body = unsafe { bytes("body", body, len)? };
        Ok::<(), Failure>(server.answer(RequestId::from_bits(request), status, body)?)
    })
}

/// Opens the WebSocket that a request at a route of WebSockets asks for: its connect event follows, from the server's thread.
/// The request answers questions as long as the WebSocket is open. To refuse it, answer with `gk_response_send`.
///
/// Errors: `GK_ERR_STALE`, `GK_ERR_STATE` (a route that opens none; no HTTP door), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_response_upgrade(server: *mut gk_server, request: gk_request) -> gk_result {
    with_server(server, |server| Ok::<(), Failure>(server.upgrade(RequestId::from_bits(request))?))
}

/// Gives the request that opened the WebSocket of a peer.
///
/// - `out`: the request, which is stale when the WebSocket has closed; `GK_REQUEST_NONE` if the peer is no WebSocket, or
///   4096 others have closed since it did
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_peer_request(
    server: *const gk_server,
    peer: gk_peer,
    out: *mut gk_request,
) -> gk_result {
    with_server(server, |server| {
        not_null!(out);
        let request = server.request_of(PeerId::from_bits(peer))?;
        // SAFETY: not null, and the caller's to write.
        unsafe { out.write(request.map_or(GK_REQUEST_NONE, RequestId::to_bits)) };
        Ok(())
    })
}
