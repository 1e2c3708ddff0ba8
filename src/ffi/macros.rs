//! Null checks and the tables of versioned structs.

/// Leaves the function's body with `GK_ERR_NULL` and the parameter's name if a pointer is null.
macro_rules! not_null {
    ($($pointer:ident),+ $(,)?) => {
        $(
            if $pointer.is_null() {
                return Err($crate::ffi::result::Failure::null(stringify!($pointer)));
            }
        )+
    };
}

/// Where a field ends, in bytes from the start of its struct.
macro_rules! field_end {
    ($struct:ty, $field:ident) => {{
        const fn pointee_size<F>(_: *const F) -> usize {
            std::mem::size_of::<F>()
        }
        let value = std::mem::MaybeUninit::<$struct>::uninit();
        // SAFETY: the place is only named, not read, and lies inside `value`.
        let field = unsafe { std::ptr::addr_of!((*value.as_ptr()).$field) };
        std::mem::offset_of!($struct, $field) + pointee_size(field)
    }};
}

/// Makes a struct [`Versioned`](crate::ffi::versioned::Versioned): `first` is the last field of the
/// shortest struct that is taken; `fields` are all fields in order.
macro_rules! versioned {
    ($struct:ty, first: $first:ident, fields: [$($field:ident),+ $(,)?]) => {
        // SAFETY: the struct is `repr(C)` and made of integers, floats, raw pointers and nullable function
        // pointers, whose every bit pattern is a value.
        unsafe impl $crate::ffi::versioned::Versioned for $struct {
            const FIRST: usize = field_end!($struct, $first);
            const ENDS: &'static [usize] = &[$(field_end!($struct, $field)),+];
        }
        // Bytes behind the last field would become the next field's, and old callers leave them undefined.
        #[cfg(target_pointer_width = "64")]
        const _: () = {
            let ends = <$struct as $crate::ffi::versioned::Versioned>::ENDS;
            assert!(ends[ends.len() - 1] == std::mem::size_of::<$struct>());
        };
    };
}
