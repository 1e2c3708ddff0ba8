//! The dashboard: where it is, and who may look.

use std::ffi::c_char;

use crate::ffi::arguments::{text, write_text};
use crate::ffi::context::{gk_context, with_context};
use crate::ffi::result::{gk_result, Failure, GK_ERR_STATE};
use crate::ffi::server::{gk_server, with_server};
use crate::net::address::ListenAddress;
use crate::server::dashboard::answer;

/// Sets where a server shows what it does, by HTTP and in any browser: one page with live figures of the last five minutes
/// (packets, where the time goes, ticks, traffic, latency, loss), all peers, with which it can be parted from there, and the
/// log. Beside the page, `/`, there are `/stats.json`, `/peers.json`, and `/metrics` in Prometheus' text format.
///
/// The server is read once a second, however many look, and a thread of its own answers. A server without a dashboard has
/// no such thread.
///
/// Without a token (`gk_context_set_dashboard_token`) only an address of the loopback is taken, and requests are only
/// answered under a name of the loopback; any other address needs a token. The door speaks no TLS: beyond a network that you
/// trust, put a proxy that does in front of it, and let it hand on the `Host` that it was asked for: without it the page shows
/// figures, and its actions are refused. One source has up to 64 of the 256 connections.
///
/// - `address`: as `gk_server_start` takes it, such as `"127.0.0.1:8080"`; port 0 lets the system choose, see
///   `gk_server_dashboard_address`; NULL (the default): no dashboard. The address is bound when the server starts, which
///   fails if it cannot be.
///
/// Errors: `GK_ERR_ADDRESS`, `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`. Of `gk_server_start` besides:
/// `GK_ERR_ARGUMENT` (an address that is not of the loopback, and no token), `GK_ERR_ADDRESS_IN_USE`, `GK_ERR_IO`.
///
/// Thread: any, one at a time per context.
/// Ownership: the text is copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_dashboard(
    context: *mut gk_context,
    address: *const c_char,
) -> gk_result {
    with_context(context, |context| {
        context.config.dashboard = if address.is_null() {
            None
        } else {
            // SAFETY: not null, and the caller's promise.
            let address = unsafe { text("address", address)? };
            ListenAddress::parse(address)?;
            Some(address.to_owned())
        };
        Ok(())
    })
}

/// Sets what who looks at the dashboard must know. The page asks for it; programs send it as `Authorization: Bearer …`, as
/// Prometheus does with `credentials`; behind the page's address, as `#token=…`, it never leaves the browser. It is compared in
/// the same time whatever is guessed, and kept as a digest.
///
/// - `token`: 16 to 256 characters, printable ASCII without blanks; NULL (the default): none
///
/// Errors: `GK_ERR_ARGUMENT` (its length or its characters), `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: only a digest of the text is kept.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_dashboard_token(
    context: *mut gk_context,
    token: *const c_char,
) -> gk_result {
    with_context(context, |context| {
        context.config.dashboard_token = if token.is_null() {
            None
        } else {
            // SAFETY: not null, and the caller's promise.
            Some(answer::token(unsafe { text("token", token)? })?)
        };
        Ok(())
    })
}

/// Gives the address that the dashboard is bound to, with the real port.
///
/// - `buf`: gets the text and a NUL; may be NULL if `cap` is 0
/// - `cap`: size of `buf` in bytes; 64 is enough for all
/// - `out_len`: length of the text without the NUL; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
///
/// Errors: `GK_ERR_STATE` (the server has none, or has stopped), `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the text is copied.
#[no_mangle]
pub unsafe extern "C" fn gk_server_dashboard_address(
    server: *const gk_server,
    buf: *mut c_char,
    cap: usize,
    out_len: *mut usize,
) -> gk_result {
    with_server(server, |server| {
        let address = server
            .dashboard_address()
            .ok_or_else(|| Failure::new(GK_ERR_STATE, "the server has no dashboard, or has stopped"))?;
        // SAFETY: the caller's promise.
        unsafe { write_text(&address.to_string(), buf, cap, out_len) }
    })
}
