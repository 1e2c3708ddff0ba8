//! Structs that grow: reading what an older or a newer caller passed, and writing no more than it knows.

use crate::ffi::result::{Failure, GK_ERR_ARGUMENT};

/// No struct of ours comes near this size: a larger `struct_size` was never set.
const MAX_STRUCT_SIZE: usize = 4096;

/// A struct whose first field is `uint32_t struct_size`.
///
/// # Safety
/// `repr(C)`, first field `struct_size: u32`, and every bit pattern of every field is a value of its type.
pub(crate) unsafe trait Versioned: Copy {
    /// Size of the shortest struct that is taken.
    const FIRST: usize;
    /// Where each field ends, ascending.
    const ENDS: &'static [usize];
}

fn check<T: Versioned>(name: &str, size: usize) -> Result<(), Failure> {
    let ours = std::mem::size_of::<T>();
    // A size inside a field would cut a pointer in half. Ours can end behind the last field, in padding, where
    // pointers have 32 bits. Sizes beyond ours are a newer caller's.
    let fits = if size < ours { T::ENDS.contains(&size) } else { size <= MAX_STRUCT_SIZE };
    if size >= T::FIRST && fits {
        return Ok(());
    }
    Err(Failure::new(
        GK_ERR_ARGUMENT,
        format!("{name}->struct_size is {size}, this library's is {ours}: call the struct's _init first"),
    ))
}

/// The struct as the caller passed it, with the fields that it does not know taken from `defaults`.
///
/// # Safety
/// `pointer` is not null, aligned, and points to as many bytes as its first field says.
pub(crate) unsafe fn read<T: Versioned>(name: &str, pointer: *const T, defaults: T) -> Result<T, Failure> {
    // SAFETY: the caller's promise; the first field is there in every version.
    let size = unsafe { pointer.cast::<u32>().read() } as usize;
    check::<T>(name, size)?;
    let ours = std::mem::size_of::<T>();
    let mut value = defaults;
    // SAFETY: both ranges have at least `min(size, ours)` bytes, and all bit patterns are values of `T`.
    unsafe {
        let target = std::ptr::addr_of_mut!(value).cast::<u8>();
        std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), target, size.min(ours));
    }
    // SAFETY: the caller says that its struct has `size` bytes, which `check` bounded.
    let tail = unsafe { tail(pointer.cast::<u8>(), size, ours) };
    if tail.iter().any(|&byte| byte != 0) {
        return Err(Failure::new(
            GK_ERR_ARGUMENT,
            format!("{name} sets a field that this version of the library does not have"),
        ));
    }
    Ok(value)
}

/// The bytes of a caller's struct behind those that we know.
///
/// # Safety
/// `size` bytes can be read at `pointer` for as long as the result lives.
unsafe fn tail<'a>(pointer: *const u8, size: usize, ours: usize) -> &'a [u8] {
    if size <= ours {
        return &[];
    }
    // SAFETY: `ours..size` lies inside the caller's struct.
    unsafe { std::slice::from_raw_parts(pointer.add(ours), size - ours) }
}

/// Fills the caller's struct as far as it reaches; its `struct_size` and what lies behind ours stays.
///
/// # Safety
/// `pointer` is not null, aligned, and points to as many writable bytes as its first field says.
pub(crate) unsafe fn write<T: Versioned>(name: &str, pointer: *mut T, value: &T) -> Result<(), Failure> {
    const SIZE_FIELD: usize = std::mem::size_of::<u32>();
    // SAFETY: the caller's promise.
    let size = unsafe { pointer.cast::<u32>().read() } as usize;
    check::<T>(name, size)?;
    let count = size.min(std::mem::size_of::<T>()) - SIZE_FIELD;
    // SAFETY: both ranges have `SIZE_FIELD + count` bytes, and `value` is not the caller's.
    unsafe {
        let source = std::ptr::from_ref(value).cast::<u8>().add(SIZE_FIELD);
        std::ptr::copy_nonoverlapping(source, pointer.cast::<u8>().add(SIZE_FIELD), count);
    }
    Ok(())
}

/// Writes a struct into a slot of `size` bytes, zeroes behind it, and `struct_size` as far as it is filled.
///
/// # Safety
/// `slot` points to `size` writable bytes; `size` passed [`check_stride`].
pub(crate) unsafe fn write_slot<T: Versioned>(slot: *mut u8, size: usize, value: &T) {
    let count = size.min(std::mem::size_of::<T>());
    // SAFETY: both ranges have `count` bytes, the slot has `size`.
    unsafe {
        std::ptr::copy_nonoverlapping(std::ptr::from_ref(value).cast::<u8>(), slot, count);
        std::ptr::write_bytes(slot.add(count), 0, size - count);
        // `check_stride` bounded it far below 4 GiB.
        slot.cast::<u32>().write_unaligned(count as u32);
    }
}

/// Whether `size` can be the caller's `sizeof(T)` as the step of an array.
pub(crate) fn check_stride<T: Versioned>(name: &str, size: usize) -> Result<(), Failure> {
    if size % std::mem::align_of::<T>() == 0 && check::<T>(name, size).is_ok() {
        return Ok(());
    }
    let ours = std::mem::size_of::<T>();
    Err(Failure::new(GK_ERR_ARGUMENT, format!("{name} is {size}, this library's is {ours}")))
}

/// Fills a struct of the caller's `size` with `defaults`, zeroes behind ours, and `size` in front.
///
/// # Safety
/// `pointer` is null, or points to `size` writable bytes.
pub(crate) unsafe fn init<T: Versioned>(pointer: *mut T, size: usize, defaults: &T) -> Result<(), Failure> {
    not_null!(pointer);
    check::<T>("struct", size)?;
    // SAFETY: the caller's promise; `check` is what `write_slot` asks for.
    unsafe {
        write_slot(pointer.cast::<u8>(), size, defaults);
        pointer.cast::<u32>().write(size as u32);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Version 1 had `a`, version 2 appended `b`, version 3 `c`.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Grown {
        struct_size: u32,
        a: u32,
        b: u64,
        c: u32,
        d: u32,
    }
    versioned!(Grown, first: a, fields: [struct_size, a, b, c, d]);

    const DEFAULTS: Grown = Grown { struct_size: 24, a: 10, b: 20, c: 30, d: 40 };

    /// A caller's struct, longer than ours, so that every size can be tried.
    #[repr(C)]
    struct Caller {
        known: Grown,
        tail: [u32; 2],
    }

    fn caller(size: u32) -> Caller {
        Caller { known: Grown { struct_size: size, a: 1, b: 2, c: 3, d: 4 }, tail: [0; 2] }
    }

    fn read_sized(caller: &Caller) -> Result<Grown, Failure> {
        // SAFETY: no size used below is larger than `Caller`, or it is refused before anything is read.
        unsafe { read("caller", std::ptr::from_ref(caller).cast::<Grown>(), DEFAULTS) }
    }

    #[test]
    fn fields_that_the_caller_does_not_know_take_defaults() {
        assert_eq!(read_sized(&caller(8)).unwrap(), Grown { struct_size: 8, a: 1, ..DEFAULTS });
        assert_eq!(read_sized(&caller(16)).unwrap(), Grown { struct_size: 16, a: 1, b: 2, ..DEFAULTS });
        assert_eq!(read_sized(&caller(24)).unwrap(), caller(24).known);
    }

    #[test]
    fn sizes_that_no_version_had_are_refused() {
        for size in [0, 1, 4, 7, 9, 12, 15, 17, 21, 23, 4097, u32::MAX] {
            assert_eq!(read_sized(&caller(size)).unwrap_err().code(), GK_ERR_ARGUMENT, "{size}");
        }
    }

    #[test]
    fn a_newer_caller_may_not_use_what_we_lack() {
        let mut newer = caller(32);
        assert_eq!(read_sized(&newer).unwrap(), Grown { struct_size: 32, ..caller(0).known });
        newer.tail[1] = 1 << 31;
        assert_eq!(read_sized(&newer).unwrap_err().code(), GK_ERR_ARGUMENT);
        newer.known.struct_size = 28;
        assert!(read_sized(&newer).is_ok(), "the byte that is set lies behind");
    }

    #[test]
    fn writing_stops_at_the_callers_end() {
        for (size, expected) in
            [(8, (10, 2, 3, 4)), (16, (10, 20, 3, 4)), (24, (10, 20, 30, 40)), (32, (10, 20, 30, 40))]
        {
            let mut caller = caller(size);
            caller.tail = [7; 2];
            // SAFETY: `Caller` is larger than every size above.
            unsafe { write("caller", std::ptr::from_mut(&mut caller).cast::<Grown>(), &DEFAULTS) }.unwrap();
            assert_eq!((caller.known.a, caller.known.b, caller.known.c, caller.known.d), expected);
            assert_eq!((caller.known.struct_size, caller.tail), (size, [7; 2]));
        }
    }

    #[test]
    fn init_fills_exactly_the_callers_size() {
        for (size, after) in [(16, [7, 7]), (24, [7, 7]), (28, [0, 7]), (32, [0, 0])] {
            let mut caller = caller(99);
            caller.tail = [7; 2];
            // SAFETY: as above.
            unsafe { init(std::ptr::from_mut(&mut caller).cast::<Grown>(), size, &DEFAULTS) }.unwrap();
            assert_eq!((caller.known.struct_size as usize, caller.known.b, caller.tail), (size, 20, after));
            assert_eq!(caller.known.c, if size < 24 { 3 } else { 30 });
        }
    }

    /// As `gk_event` is where pointers have 32 bits and 64-bit numbers are aligned.
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Padded {
        struct_size: u32,
        a: u32,
        b: u64,
        c: u32,
    }
    // SAFETY: `repr(C)`, and made of integers.
    unsafe impl Versioned for Padded {
        const FIRST: usize = 8;
        const ENDS: &'static [usize] = &[4, 8, 16, 20];
    }

    #[test]
    fn the_size_of_a_struct_with_padding_at_its_end_is_taken() {
        let size = std::mem::size_of::<Padded>();
        assert!(check_stride::<Padded>("size", size).is_ok(), "{size}");
        let mut padded = Padded { struct_size: size as u32, a: 1, b: 2, c: 3 };
        let filled = Padded { c: 9, ..padded };
        // SAFETY: the pointer is to a whole struct.
        unsafe { write("padded", &mut padded, &filled) }.unwrap();
        assert_eq!((padded.struct_size, padded.a, padded.b, padded.c), (size as u32, 1, 2, 9));
    }

    #[test]
    fn an_arrays_step_keeps_its_elements_aligned() {
        assert!(check_stride::<Grown>("size", 24).is_ok());
        assert!(check_stride::<Grown>("size", 16).is_ok());
        assert!(check_stride::<Grown>("size", 32).is_ok());
        for size in [0, 4, 20, 28, 30, 5000] {
            assert!(check_stride::<Grown>("size", size).is_err(), "{size}");
        }
    }
}
