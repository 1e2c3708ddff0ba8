//! TLS of clients that talk in streams.

use std::ffi::c_char;

use crate::client::{StreamTls, TlsTrust};
use crate::ffi::arguments::{flag, text};
use crate::ffi::context::{gk_context, with_context};
use crate::ffi::panic::fallible;
use crate::ffi::result::{gk_result, Failure, GK_ERR_ARGUMENT};
use crate::ffi::versioned;

/// How clients in streams speak TLS: exactly one of `authorities`, `certificate` and `trust_anybody` says whom they believe.
/// Of the system's own list of authorities nothing is used. `gk_stream_tls_init` fills in the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gk_stream_tls {
    /// sizeof this struct.
    pub struct_size: u32,
    /// 1: whoever answers is believed. Only who reads along on the way and does nothing else is kept out: for
    /// development. Default 0.
    pub trust_anybody: u32,
    /// A PEM file: a server is believed whose certificate leads to one in it, is for the server's name and valid now.
    /// Default NULL.
    pub authorities: *const c_char,
    /// A PEM file: a server is believed whose own certificate is one in it, byte for byte, whatever name and dates stand in
    /// it. Default NULL.
    pub certificate: *const c_char,
    /// The name, or the address without a port, that the certificate must be for, and that the server is told. Default NULL:
    /// the host of the address that the client connects to.
    pub server_name: *const c_char,
}

versioned!(gk_stream_tls, first: certificate, fields: [
    struct_size, trust_anybody, authorities, certificate, server_name,
]);

const DEFAULTS: gk_stream_tls = gk_stream_tls {
    struct_size: std::mem::size_of::<gk_stream_tls>() as u32,
    trust_anybody: 0,
    authorities: std::ptr::null(),
    certificate: std::ptr::null(),
    server_name: std::ptr::null(),
};

/// Fills in size and defaults.
///
/// - `tls`: the struct
/// - `struct_size`: `sizeof(gk_stream_tls)`, so that a library with a longer struct does not write behind yours
///
/// Errors: `GK_ERR_ARGUMENT` (`struct_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the struct stays the caller's.
#[no_mangle]
pub unsafe extern "C" fn gk_stream_tls_init(tls: *mut gk_stream_tls, struct_size: usize) -> gk_result {
    // SAFETY: the caller's promise.
    fallible(|| unsafe { versioned::init(tls, struct_size, &DEFAULTS) })
}

/// # Safety
/// `pointer` points to a struct of the size that it says, with texts that end.
unsafe fn stream_tls(pointer: *const gk_stream_tls) -> Result<StreamTls, Failure> {
    // SAFETY: the caller's promise.
    let given = unsafe { versioned::read("tls", pointer, DEFAULTS)? };
    let read = |name: &'static str, value: *const c_char| {
        // SAFETY: not null, and the caller's promise.
        (!value.is_null()).then(|| unsafe { text(name, value).map(str::to_owned) }).transpose()
    };
    let anybody = flag("tls->trust_anybody", given.trust_anybody)?;
    let authorities = read("tls->authorities", given.authorities)?;
    let certificate = read("tls->certificate", given.certificate)?;
    let trust = match (authorities, certificate, anybody) {
        (Some(path), None, false) => TlsTrust::Authorities(path.into()),
        (None, Some(path), false) => TlsTrust::Certificate(path.into()),
        (None, None, true) => TlsTrust::Anybody,
        _ => {
            let text =
                "tls: exactly one of authorities, certificate and trust_anybody must say whom to believe";
            return Err(Failure::new(GK_ERR_ARGUMENT, text));
        }
    };
    Ok(StreamTls { trust, server_name: read("tls->server_name", given.server_name)? })
}

/// Has clients that talk in a stream (`gk_context_connect_stream`, before or after this) speak TLS, and nothing else. A server
/// that is not to be believed ends the session with `GK_DISCONNECT_KEY`. `gk_context_trust_any_server` is not needed then. A password
/// is told to a server that has proved itself, wherever it is.
///
/// - `tls`: whom to believe; NULL (the default): no TLS
///
/// Errors: `GK_ERR_ARGUMENT` (a value of `tls`, or whom to believe is said not at all or twice), `GK_ERR_NULL`, `GK_ERR_PANIC`. Of a
/// client's start: `GK_ERR_KEY` (a file), `GK_ERR_ARGUMENT` (a name that no certificate can be for).
///
/// Thread: any, one at a time per context.
/// Ownership: all is copied; the files are read when a client starts.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_stream_tls(
    context: *mut gk_context,
    tls: *const gk_stream_tls,
) -> gk_result {
    with_context(context, |context| {
        // SAFETY: not null, and the caller's promise.
        let tls = (!tls.is_null()).then(|| unsafe { stream_tls(tls) }).transpose()?;
        context.client.stream.tls = tls;
        Ok(())
    })
}
