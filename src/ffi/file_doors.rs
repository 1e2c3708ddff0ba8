//! Doors for streams, and streams of clients, that carry files.

use std::ffi::c_char;

use crate::ffi::context::{gk_context, with_context};
use crate::ffi::result::{gk_result, GK_OK};
use crate::ffi::streams::{
    gk_context_connect_stream, gk_framing, gk_stream_options, listen, GK_FRAMING_LENGTH,
};

/// Adds a door for streams as `gk_context_listen_stream_with` does, through which files come, too. With `GK_FRAMING_LENGTH` clients
/// that ask for it (`gk_context_connect_stream_files`) send and receive them beside messages, and programs that do not ask
/// notice nothing; a peer takes files from its writable event on. With `GK_FRAMING_RAW` the door is for nothing else: what a program
/// writes is one file in the plainest form, its name, a space and its bytes, up to the end of its half. Such a file is offered
/// with a size of 0 and a hash of zeros, since nobody knows them; nothing of it stays unless its sender ends its half.
///
/// - `address`, `options`: as of `gk_context_listen_stream_with`
/// - `framing`: `GK_FRAMING_LENGTH` or `GK_FRAMING_RAW`
///
/// Errors: as of `gk_context_listen_stream_with`, and `GK_ERR_ARGUMENT` (another framing; files are not allowed, see
/// `gk_context_set_files`; `GK_FRAMING_RAW` beside a password).
///
/// Thread: any, one at a time per context.
/// Ownership: all is copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_listen_stream_files(
    context: *mut gk_context,
    address: *const c_char,
    framing: gk_framing,
    options: *const gk_stream_options,
) -> gk_result {
    // SAFETY: the caller's promise.
    unsafe { listen(context, address, framing, options, true) }
}

/// Has clients talk in a stream as `gk_context_connect_stream` with `GK_FRAMING_LENGTH` does, and send and receive files there within
/// the quota of `gk_context_set_files`, which must be set before. The server's door must be one of
/// `gk_context_listen_stream_files`: another ends the connection. The client is connected when the server has agreed.
///
/// - `options`: as of `gk_context_connect_stream`
///
/// Errors: as of `gk_context_connect_stream`. Of the start: `GK_ERR_ARGUMENT` (files are not allowed).
///
/// Thread: any, one at a time per context.
/// Ownership: all is copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_connect_stream_files(
    context: *mut gk_context,
    options: *const gk_stream_options,
) -> gk_result {
    // SAFETY: the caller's promise, of both.
    unsafe {
        let result = gk_context_connect_stream(context, GK_FRAMING_LENGTH, options);
        if result != GK_OK {
            return result;
        }
        with_context(context, |context| {
            context.client.stream.files = true;
            Ok(())
        })
    }
}
