//! The boundary that every exported function runs in.

use crate::ffi::result::{gk_result, remember, Failure, GK_ERR_PANIC, GK_OK};
use crate::panic_scope;

/// Runs the body of a function that returns a `gk_result`. The text of a failure becomes the thread's
/// last error.
pub(crate) fn fallible(body: impl FnOnce() -> Result<(), Failure>) -> gk_result {
    match panic_scope::catch(body) {
        Ok(Ok(())) => GK_OK,
        Ok(Err(failure)) => {
            let code = failure.code();
            remember(failure);
            code
        }
        Err(text) => {
            remember(Failure::panic(&text));
            GK_ERR_PANIC
        }
    }
}

/// Runs the body of a function that cannot fail; `fallback` is what it returns after a panic.
pub(crate) fn infallible<T>(fallback: T, body: impl FnOnce() -> T) -> T {
    panic_scope::catch(body).unwrap_or_else(|text| {
        remember(Failure::panic(&text));
        fallback
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::result::{last_error, GK_ERR_STATE};

    #[test]
    fn a_panic_becomes_a_code_and_a_text() {
        assert_eq!(fallible(|| panic!("broken invariant")), GK_ERR_PANIC);
        assert!(last_error().starts_with("panic: broken invariant ("), "{}", last_error());
    }

    #[test]
    fn a_panic_without_a_code_gives_the_fallback() {
        assert_eq!(infallible(3, || panic!("no code")), 3);
        assert!(last_error().starts_with("panic: no code ("));
        assert_eq!(infallible(3, || 4), 4);
    }

    #[test]
    fn success_leaves_the_last_error_alone() {
        assert_eq!(fallible(|| Err(Failure::new(GK_ERR_STATE, "first"))), GK_ERR_STATE);
        assert_eq!(fallible(|| Ok(())), GK_OK);
        assert_eq!(last_error(), "first");
    }
}
