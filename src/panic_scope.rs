//! What becomes of a panic: caught at our edge, its text kept, nothing on the host's stderr.
//!
//! A panic inside one of our calls or threads is a broken invariant of ours. Our code runs inside a
//! process that is not ours, so the panic must neither unwind into the host nor print on the host's
//! stderr through the default hook. One process-wide hook is installed, once; it looks at the panicking
//! thread and passes on to the hook that was there before whatever did not happen inside a [`catch`].

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

/// Longest panic text that is kept, in bytes; what is longer is cut at a character.
const MAX_TEXT: usize = 1024;

#[derive(Default)]
struct Scope {
    /// How many `catch` calls this thread is inside of, less what `outside` put aside.
    depth: u32,
    /// The text of a panic that is unwinding towards its `catch`.
    captured: Option<String>,
}

thread_local! {
    static SCOPE: RefCell<Scope> = RefCell::new(Scope::default());
}

/// Runs `body`; a panic inside it ends here and is returned as its text and place.
///
/// Whatever `body` was changing when it panicked may be half changed: the caller must not use that
/// object any more, but answer [`ErrorKind::Panic`](crate::ErrorKind::Panic) for it.
pub(crate) fn catch<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    install_hook();
    let _depth = Depth::inside();
    panic::catch_unwind(AssertUnwindSafe(body)).map_err(|payload| {
        let text = take_captured().unwrap_or_else(|| payload_text(payload.as_ref()).to_owned());
        // The payload is somebody's type, and its drop may panic as well; that must not leave here either.
        if let Err(second) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            take_captured();
            std::mem::forget(second);
        }
        text
    })
}

fn take_captured() -> Option<String> {
    SCOPE.try_with(|scope| scope.borrow_mut().captured.take()).ok().flatten()
}

/// Runs the host's code from within ours: a panic in it is the host's, and goes to the host's hook.
pub(crate) fn outside<T>(body: impl FnOnce() -> T) -> T {
    let _depth = Depth::outside();
    body()
}

/// Puts the depth back on drop, so that it is right after an unwind too.
struct Depth {
    before: u32,
}

impl Depth {
    fn inside() -> Self {
        Self::change(|depth| depth.saturating_add(1))
    }

    fn outside() -> Self {
        Self::change(|_| 0)
    }

    fn change(to: impl FnOnce(u32) -> u32) -> Self {
        // While the thread's locals are torn down there is no scope: then the host's hook gets the panic.
        let before = SCOPE.try_with(|scope| {
            let mut scope = scope.borrow_mut();
            let before = scope.depth;
            scope.depth = to(before);
            before
        });
        Depth { before: before.unwrap_or(0) }
    }
}

impl Drop for Depth {
    fn drop(&mut self) {
        let _ = SCOPE.try_with(|scope| scope.borrow_mut().depth = self.before);
    }
}

fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let host = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !capture(info) {
                host(info);
            }
        }));
    });
}

/// Keeps the text if the thread is inside a [`catch`]. Runs inside the hook, so it must not panic itself.
fn capture(info: &PanicHookInfo<'_>) -> bool {
    SCOPE
        .try_with(|scope| {
            let Ok(mut scope) = scope.try_borrow_mut() else { return false };
            // A second panic while the first one unwinds ends the process: then the host should read why.
            if scope.depth == 0 || scope.captured.is_some() {
                return false;
            }
            scope.captured = Some(text(info));
            true
        })
        .unwrap_or(false)
}

fn text(info: &PanicHookInfo<'_>) -> String {
    let mut text = payload_text(info.payload()).to_owned();
    if let Some(place) = info.location() {
        text.push_str(&format!(" ({}:{})", place.file(), place.line()));
    }
    while text.len() > MAX_TEXT {
        text.pop();
    }
    text
}

fn payload_text(payload: &(dyn std::any::Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "panic without a text"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Panics that reached the hook that was there before ours, with the marker that only the test below uses.
    static HOST_SAW: AtomicUsize = AtomicUsize::new(0);

    #[test]
    fn the_text_and_place_of_a_panic_are_returned() {
        let number = 7;
        let text = catch(|| panic!("number {number}")).unwrap_err();
        assert!(text.starts_with("number 7 ("), "{text}");
        assert!(text.contains("panic_scope.rs:"), "{text}");
        assert_eq!(catch(|| 5), Ok(5));
    }

    #[test]
    fn an_endless_text_is_cut() {
        let text = catch(|| panic!("{}", "ä".repeat(10_000))).unwrap_err();
        assert!(text.len() <= MAX_TEXT && text.len() > MAX_TEXT - 4);
    }

    #[test]
    fn nested_scopes_each_catch_their_own() {
        let outer = catch(|| {
            assert!(catch(|| panic!("inner")).unwrap_err().starts_with("inner"));
            panic!("outer")
        });
        assert!(outer.unwrap_err().starts_with("outer"));
    }

    /// Alone in its process: a hook set here is set for all tests of the process, and ours is installed once.
    #[test]
    fn only_panics_outside_reach_the_hosts_hook() {
        const CHILD: &str = "GAMEKEEPER_TEST_HOOK_CHILD";
        if std::env::var_os(CHILD).is_none() {
            let child = std::process::Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "panic_scope::tests::only_panics_outside_reach_the_hosts_hook",
                    "--nocapture",
                ])
                .env(CHILD, "1")
                .output()
                .unwrap();
            assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
            assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"));
            assert_eq!(String::from_utf8_lossy(&child.stderr), "");
            return;
        }
        panic::set_hook(Box::new(|_| {
            HOST_SAW.fetch_add(1, Ordering::SeqCst);
        }));
        assert!(catch(|| panic!("ours")).is_err());
        assert_eq!(HOST_SAW.load(Ordering::SeqCst), 0);
        let _ = panic::catch_unwind(|| panic!("the host's"));
        assert_eq!(HOST_SAW.load(Ordering::SeqCst), 1);
        let _ = catch(|| outside(|| panic!("the host's, in a callback")));
        assert_eq!(HOST_SAW.load(Ordering::SeqCst), 2);
        // A payload whose drop panics is ours to swallow, both times.
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("in drop");
            }
        }
        assert!(catch(|| panic::panic_any(Bomb)).unwrap_err().starts_with("panic without a text"));
        assert_eq!(HOST_SAW.load(Ordering::SeqCst), 2);
        // Another thread of the host, while this one is inside.
        catch(|| std::thread::spawn(|| panic!("elsewhere")).join().unwrap_err()).unwrap();
        assert_eq!(HOST_SAW.load(Ordering::SeqCst), 3);
        // The scope is whole again after all of that.
        assert!(catch(|| panic!("ours")).is_err());
        assert_eq!(HOST_SAW.load(Ordering::SeqCst), 3);
    }
}
