//! What C passes in, checked; what C gets out, bounded.

use std::ffi::{c_char, CStr, CString};

use crate::ffi::result::{Failure, GK_ERR_ARGUMENT, GK_ERR_BUFFER_TOO_SMALL, GK_ERR_UTF8};

/// A text from C. Null is an error.
///
/// # Safety
/// `pointer` is null or points to a NUL-terminated text that lives and does not change for `'a`.
pub(crate) unsafe fn text<'a>(name: &'static str, pointer: *const c_char) -> Result<&'a str, Failure> {
    if pointer.is_null() {
        return Err(Failure::null(name));
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map_err(|error| {
        Failure::new(GK_ERR_UTF8, format!("{name} is not UTF-8 from byte {}", error.valid_up_to()))
    })
}

/// Bytes from C. Null is valid with length 0.
///
/// # Safety
/// `pointer` is null or points to `len` bytes that live and do not change for `'a`.
pub(crate) unsafe fn bytes<'a>(
    name: &'static str,
    pointer: *const u8,
    len: usize,
) -> Result<&'a [u8], Failure> {
    // SAFETY: the caller's promise.
    unsafe { slice(name, pointer, len) }
}

/// An array from C. Null is valid with length 0.
///
/// # Safety
/// `pointer` is null or aligned and points to `len` elements that live and do not change for `'a`.
pub(crate) unsafe fn slice<'a, T>(
    name: &'static str,
    pointer: *const T,
    len: usize,
) -> Result<&'a [T], Failure> {
    if len == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(Failure::null(name));
    }
    // No object of C is larger, and no Rust slice may be.
    if len > isize::MAX as usize / std::mem::size_of::<T>() {
        return Err(Failure::new(GK_ERR_ARGUMENT, format!("{name} cannot have {len} elements")));
    }
    // SAFETY: not null, and the caller's promise for the rest.
    Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
}

/// An array of texts from C.
///
/// # Safety
/// `pointer` is null or points to `count` pointers, each as [`text`] needs it.
pub(crate) unsafe fn texts<'a>(
    name: &'static str,
    pointer: *const *const c_char,
    count: usize,
) -> Result<Vec<&'a str>, Failure> {
    // SAFETY: the caller's promise.
    let pointers = unsafe { slice(name, pointer, count)? };
    // SAFETY: the caller's promise.
    pointers.iter().map(|&entry| unsafe { text(name, entry) }).collect()
}

/// 0 or 1 from C.
pub(crate) fn flag(name: &str, value: u32) -> Result<bool, Failure> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Failure::new(GK_ERR_ARGUMENT, format!("{name} is {value}, allowed is 0 or 1"))),
    }
}

/// A text for C. NUL, which would end it early, becomes U+FFFD.
pub(crate) fn c_text(text: &str) -> CString {
    // The only error is a NUL inside, and there is none after the replacement.
    CString::new(text).or_else(|_| CString::new(text.replace('\0', "\u{FFFD}"))).unwrap_or_default()
}

/// Copies an array into the caller's buffer, or tells how long that must be.
///
/// # Safety
/// `buf` is null or points to `cap` elements that can be written; `out_len` can be written.
pub(crate) unsafe fn write_array<T: Copy>(
    items: &[T],
    buf: *mut T,
    cap: usize,
    out_len: *mut usize,
) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    unsafe { write_with_extra(items, &[], buf, cap, out_len) }
}

/// Copies a text and a NUL into the caller's buffer, or tells how long that must be. The length written
/// on success is without the NUL, the one written on failure is the capacity that is needed, with it.
///
/// # Safety
/// `buf` is null or points to `cap` bytes that can be written; `out_len` can be written.
pub(crate) unsafe fn write_text(
    text: &str,
    buf: *mut c_char,
    cap: usize,
    out_len: *mut usize,
) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    unsafe { write_with_extra(text.as_bytes(), &[0], buf.cast::<u8>(), cap, out_len) }
}

/// # Safety
/// As [`write_array`].
unsafe fn write_with_extra<T: Copy>(
    items: &[T],
    extra: &[T],
    buf: *mut T,
    cap: usize,
    out_len: *mut usize,
) -> Result<(), Failure> {
    not_null!(out_len);
    let needed = items.len() + extra.len();
    if buf.is_null() && cap > 0 {
        return Err(Failure::null("buf"));
    }
    if cap < needed {
        // SAFETY: not null, and the caller's promise.
        unsafe { out_len.write(needed) };
        return Err(Failure::new(
            GK_ERR_BUFFER_TOO_SMALL,
            format!("the buffer holds {cap}, needed is {needed}"),
        ));
    }
    if needed > 0 {
        // SAFETY: `cap >= needed > 0`, so `buf` is not null and holds both parts.
        unsafe {
            std::ptr::copy_nonoverlapping(items.as_ptr(), buf, items.len());
            std::ptr::copy_nonoverlapping(extra.as_ptr(), buf.add(items.len()), extra.len());
        }
    }
    // SAFETY: not null, and the caller's promise.
    unsafe { out_len.write(items.len()) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::result::GK_ERR_NULL;

    #[test]
    fn a_text_fits_with_its_nul_or_tells_what_it_needs() {
        let mut buf = [0x55 as c_char; 8];
        let mut len = 99;
        // SAFETY: `buf` has at least the capacities given.
        unsafe {
            for cap in 0..4 {
                let error = write_text("four", buf.as_mut_ptr(), cap, &mut len).unwrap_err();
                assert_eq!((error.code(), len), (GK_ERR_BUFFER_TOO_SMALL, 5));
                assert_eq!(buf, [0x55; 8]);
            }
            assert!(write_text("four", buf.as_mut_ptr(), 4, &mut len).is_err());
            write_text("four", buf.as_mut_ptr(), 5, &mut len).unwrap();
            assert_eq!((len, CStr::from_ptr(buf.as_ptr()).to_str(), buf[5]), (4, Ok("four"), 0x55));
            let null = std::ptr::null_mut();
            assert_eq!(write_text("four", null, 5, &mut len).unwrap_err().code(), GK_ERR_NULL);
            assert_eq!(write_text("four", null, 0, null.cast()).unwrap_err().code(), GK_ERR_NULL);
        }
    }

    #[test]
    fn nothing_fits_into_nothing() {
        let mut len = 99;
        // SAFETY: nothing is written to a buffer of no capacity.
        unsafe { write_array::<u64>(&[], std::ptr::null_mut(), 0, &mut len) }.unwrap();
        assert_eq!(len, 0);
    }

    #[test]
    fn lengths_that_cannot_be_are_refused_before_a_slice_is_made() {
        // SAFETY: nothing is read.
        unsafe {
            assert_eq!(bytes("data", std::ptr::null(), 0).unwrap(), &[] as &[u8]);
            assert_eq!(bytes("data", std::ptr::null(), 1).unwrap_err().code(), GK_ERR_NULL);
            assert_eq!(bytes("data", [1].as_ptr(), usize::MAX).unwrap_err().code(), GK_ERR_ARGUMENT);
            let entries = [std::ptr::null()];
            assert_eq!(
                texts("entries", entries.as_ptr(), usize::MAX / 4).unwrap_err().code(),
                GK_ERR_ARGUMENT
            );
            assert_eq!(texts("entries", entries.as_ptr(), 1).unwrap_err().code(), GK_ERR_NULL);
        }
    }

    #[test]
    fn a_nul_inside_does_not_end_a_text() {
        assert_eq!(c_text("a\0b").to_str(), Ok("a\u{FFFD}b"));
    }
}
