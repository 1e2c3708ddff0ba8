//! The library's version.

use std::ffi::{c_char, CStr};

use crate::ffi::panic::infallible;

/// Major version of this header: it changes when callers must change.
pub const GK_VERSION_MAJOR: u32 = 0;
/// Minor version of this header: it changes when something was added.
pub const GK_VERSION_MINOR: u32 = 1;
/// Patch version of this header: it changes when something was repaired.
pub const GK_VERSION_PATCH: u32 = 0;
/// Version of this header as one number that grows: major, minor and patch with 16, 8 and 8 bits.
pub const GK_VERSION: u32 = (GK_VERSION_MAJOR << 16) | (GK_VERSION_MINOR << 8) | GK_VERSION_PATCH;

// The header has plain numbers; this fails to compile when they are not the package's.
const _: () = {
    assert!(number(env!("CARGO_PKG_VERSION_MAJOR")) == GK_VERSION_MAJOR);
    assert!(number(env!("CARGO_PKG_VERSION_MINOR")) == GK_VERSION_MINOR);
    assert!(number(env!("CARGO_PKG_VERSION_PATCH")) == GK_VERSION_PATCH);
    assert!(GK_VERSION_MINOR < 256 && GK_VERSION_PATCH < 256);
};

const fn number(text: &str) -> u32 {
    let mut value = 0;
    let mut at = 0;
    while at < text.len() {
        value = value * 10 + (text.as_bytes()[at] - b'0') as u32;
        at += 1;
    }
    value
}

const VERSION_TEXT: &CStr = {
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("the version has a NUL inside"),
    }
};

/// Version of the library that runs, laid out like `GK_VERSION`; compare it with `GK_VERSION`, which is
/// that of the header you compiled with.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub extern "C" fn gk_version() -> u32 {
    infallible(0, || GK_VERSION)
}

/// Version of the library that runs, as text: "0.1.0".
///
/// Thread: any.
/// Ownership: the text is static.
#[no_mangle]
pub extern "C" fn gk_version_str() -> *const c_char {
    infallible(c"".as_ptr(), || VERSION_TEXT.as_ptr())
}
