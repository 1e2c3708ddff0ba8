//! Result codes and their texts.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ffi::{c_char, CStr};

use crate::error::{Error, ErrorKind};
use crate::ffi::panic::infallible;

/// What a call came to: `GK_OK`, or one of the negative `GK_ERR_…`. Numbers are never reused, and new
/// ones are appended: treat one that you do not know as a failure.
///
/// - `gk_result_str`: what a code means, in a few words
/// - `gk_last_error`: what exactly went wrong in this thread's last failed call
pub type gk_result = i32;

/// It worked.
pub const GK_OK: gk_result = 0;
/// A pointer that must not be NULL is NULL.
pub const GK_ERR_NULL: gk_result = -1;
/// A value is out of its range, or malformed.
pub const GK_ERR_ARGUMENT: gk_result = -2;
/// A text is not UTF-8.
pub const GK_ERR_UTF8: gk_result = -3;
/// The object is not in the state that the call needs: stopped, or run in another way.
pub const GK_ERR_STATE: gk_result = -4;
/// The call is not allowed from inside a callback.
pub const GK_ERR_REENTRANT: gk_result = -5;
/// Another thread is inside the same call.
pub const GK_ERR_BUSY: gk_result = -6;
/// The peer is gone, or was never one of this server's.
pub const GK_ERR_STALE: gk_result = -7;
/// A bounded queue is full; nothing was queued. Try again after the `writable` event.
pub const GK_ERR_WOULD_BLOCK: gk_result = -8;
/// The message is longer than the configured maximum.
pub const GK_ERR_TOO_LARGE: gk_result = -9;
/// The text is not an address, or names no local interface.
pub const GK_ERR_ADDRESS: gk_result = -10;
/// Another socket is bound to the address already.
pub const GK_ERR_ADDRESS_IN_USE: gk_result = -11;
/// The operating system refused; `gk_last_error` has its words.
pub const GK_ERR_IO: gk_result = -12;
/// A key cannot be read, or is of an unsupported kind.
pub const GK_ERR_KEY: gk_result = -13;
/// A signature does not fit the key and the data.
pub const GK_ERR_SIGNATURE: gk_result = -14;
/// The buffer is too small; the length parameter tells the capacity that is needed. It is the only out
/// parameter that is written on a failure.
pub const GK_ERR_BUFFER_TOO_SMALL: gk_result = -15;
/// The wait ended before what was waited for happened.
pub const GK_ERR_TIMEOUT: gk_result = -16;
/// A panic, which is a bug of the library, was caught. The object answers nothing but this from then on;
/// it can still be freed.
pub const GK_ERR_PANIC: gk_result = -17;

/// A failed call: the code, and a sentence for a person.
#[derive(Debug)]
pub(crate) struct Failure {
    code: gk_result,
    text: Cow<'static, str>,
}

impl Failure {
    pub(crate) fn new(code: gk_result, text: impl Into<Cow<'static, str>>) -> Self {
        Failure { code, text: text.into() }
    }

    pub(crate) fn null(name: &'static str) -> Self {
        Failure::new(GK_ERR_NULL, format!("{name} is NULL"))
    }

    pub(crate) fn panic(text: &str) -> Self {
        Failure::new(GK_ERR_PANIC, format!("panic: {text}"))
    }

    pub(crate) fn code(&self) -> gk_result {
        self.code
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::new(code_of(error.kind()), error.message().to_owned())
    }
}

fn code_of(kind: ErrorKind) -> gk_result {
    match kind {
        ErrorKind::Address => GK_ERR_ADDRESS,
        ErrorKind::AddressInUse => GK_ERR_ADDRESS_IN_USE,
        ErrorKind::Argument => GK_ERR_ARGUMENT,
        ErrorKind::Busy => GK_ERR_BUSY,
        ErrorKind::Io => GK_ERR_IO,
        ErrorKind::Key => GK_ERR_KEY,
        ErrorKind::Panic => GK_ERR_PANIC,
        ErrorKind::Reentrant => GK_ERR_REENTRANT,
        ErrorKind::Signature => GK_ERR_SIGNATURE,
        ErrorKind::Stale => GK_ERR_STALE,
        ErrorKind::State => GK_ERR_STATE,
        ErrorKind::Timeout => GK_ERR_TIMEOUT,
        ErrorKind::TooLarge => GK_ERR_TOO_LARGE,
        ErrorKind::WouldBlock => GK_ERR_WOULD_BLOCK,
    }
}

thread_local! {
    static LAST: RefCell<Cow<'static, str>> = const { RefCell::new(Cow::Borrowed("")) };
}

/// Keeps the text of a failed call for `gk_last_error`.
pub(crate) fn remember(failure: Failure) {
    // A thread that is being torn down has nobody left to ask.
    let _ = LAST.try_with(|last| *last.borrow_mut() = failure.text);
}

/// The text of this thread's last failed call.
pub(crate) fn last_error() -> String {
    LAST.try_with(|last| last.borrow().to_string()).unwrap_or_default()
}

fn result_text(result: gk_result) -> &'static CStr {
    match result {
        GK_OK => c"ok",
        GK_ERR_NULL => c"a pointer is NULL",
        GK_ERR_ARGUMENT => c"a value is out of range or malformed",
        GK_ERR_UTF8 => c"a text is not UTF-8",
        GK_ERR_STATE => c"not possible in this state",
        GK_ERR_REENTRANT => c"not allowed from inside a callback",
        GK_ERR_BUSY => c"another thread is inside the same call",
        GK_ERR_STALE => c"the peer is gone",
        GK_ERR_WOULD_BLOCK => c"the queue is full",
        GK_ERR_TOO_LARGE => c"the message is too large",
        GK_ERR_ADDRESS => c"not a usable address",
        GK_ERR_ADDRESS_IN_USE => c"the address is in use",
        GK_ERR_IO => c"the operating system refused",
        GK_ERR_KEY => c"not a usable key",
        GK_ERR_SIGNATURE => c"the signature does not fit",
        GK_ERR_BUFFER_TOO_SMALL => c"the buffer is too small",
        GK_ERR_TIMEOUT => c"timed out",
        GK_ERR_PANIC => c"the library failed inside: a bug of it",
        _ => c"unknown result",
    }
}

/// What a code means, in a few words, for any number.
///
/// Returns a text that is never NULL.
///
/// Thread: any.
/// Ownership: the text is static.
#[no_mangle]
pub extern "C" fn gk_result_str(result: gk_result) -> *const c_char {
    infallible(c"".as_ptr(), || result_text(result).as_ptr())
}

/// What exactly went wrong in the last call that failed on this thread, as one sentence; "" if none did.
/// Calls that succeed leave it as it is: ask only after a failure. It names values and their ranges and
/// carries the operating system's words.
///
/// - `buf`: gets the text and a NUL, cut at a character if it is too small; may be NULL if `cap` is 0
/// - `cap`: size of `buf` in bytes
///
/// Returns the length of the whole text without the NUL.
///
/// Thread: any; each thread has its own.
/// Ownership: the text is copied.
#[no_mangle]
pub unsafe extern "C" fn gk_last_error(buf: *mut c_char, cap: usize) -> usize {
    infallible(0, || {
        let text = last_error();
        if !buf.is_null() && cap > 0 {
            let mut end = text.len().min(cap - 1);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            // SAFETY: the caller's buffer has `cap` bytes, and `end < cap`.
            unsafe {
                std::ptr::copy_nonoverlapping(text.as_ptr(), buf.cast::<u8>(), end);
                buf.add(end).write(0);
            }
        }
        text.len()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_text_of_its_own() {
        let mut seen = std::collections::HashSet::new();
        for code in GK_ERR_PANIC..=GK_OK {
            assert!(seen.insert(result_text(code)), "{code}");
        }
        assert_eq!(result_text(GK_ERR_PANIC - 1), c"unknown result");
        assert_eq!(result_text(1), c"unknown result");
    }

    #[test]
    fn the_last_error_is_cut_at_a_character() {
        remember(Failure::new(GK_ERR_IO, "aäb"));
        for (cap, expected) in [(1, ""), (2, "a"), (3, "a"), (4, "aä"), (5, "aäb"), (9, "aäb")] {
            let mut buf = [0x7F as c_char; 10];
            // SAFETY: `buf` has more than `cap` bytes.
            let (len, text) = unsafe { (gk_last_error(buf.as_mut_ptr(), cap), CStr::from_ptr(buf.as_ptr())) };
            assert_eq!((len, text.to_str()), (4, Ok(expected)), "cap {cap}");
        }
        // SAFETY: no buffer.
        assert_eq!(unsafe { gk_last_error(std::ptr::null_mut(), 0) }, 4);
        std::thread::spawn(|| assert_eq!(last_error(), "")).join().unwrap();
    }
}
