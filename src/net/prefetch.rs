//! Asking the processor for memory before it is needed.

/// Bytes that the processor fetches at once.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;

/// Asks for the memory of a value, all of it at the same time: what follows then waits once and not at each of its parts. It
/// changes nothing but how long that takes, and does nothing where the processor is another.
#[inline]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..size_of::<T>().div_ceil(LINE) {
        let place = std::ptr::from_ref(value).cast::<i8>().wrapping_add(line * LINE);
        // SAFETY: a prefetch neither reads nor writes for the program, and every address is allowed; every x86-64 has SSE.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(place) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
