//! Who runs the loop of a server or of a client, who is inside its callbacks, and how it ends: the same for both.
//!
//! An object of ours is a handle over a [`Life`] and a [`Turns`], its loop, behind a lock. Its own thread, or
//! whoever polls it, holds that lock for whole turns, callbacks included.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::error::{Error, ErrorKind, Result};
use crate::net::clock::Clock;
use crate::net::event_loop::Waker;
use crate::panic_scope;

/// Who runs the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hosting {
    OwnThread,
    Polled,
}

/// A loop, one turn at a time. `H` is the handle that its callbacks get.
pub(crate) trait Turns<H> {
    /// One turn, waiting at most for `timeout`. Whether something was handed to the host, or somebody asked
    /// for its attention.
    fn turn(&mut self, handle: &H, timeout: Option<Duration>) -> Result<bool>;
    /// Tells the host's log, once, what broke the loop.
    fn broke(&mut self, handle: &H, text: &str);
}

thread_local! {
    /// The lives whose callbacks this thread is in, as addresses, the innermost last: a callback of one
    /// can poll another.
    static INSIDE: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// The life of a server or client. It must not move: its address is its name.
pub(crate) struct Life {
    /// What it is, in the texts of errors.
    what: &'static str,
    pub(crate) clock: Clock,
    pub(crate) waker: Waker,
    pub(crate) hosting: Hosting,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    stop_wanted: AtomicBool,
    /// As `stopped`, for those who ask with every message.
    ended: AtomicBool,
    stopped: Mutex<bool>,
    stopped_changed: Condvar,
    poison: Mutex<Option<String>>,
}

impl Life {
    pub(crate) fn new(what: &'static str, clock: Clock, waker: Waker, hosting: Hosting) -> Life {
        Life {
            what,
            clock,
            waker,
            hosting,
            thread: Mutex::new(None),
            stop_wanted: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            stopped: Mutex::new(false),
            stopped_changed: Condvar::new(),
            poison: Mutex::new(None),
        }
    }

    // --- the loop -------------------------------------------------------------------------------------

    /// Runs `body`, which is to call [`run`](Self::run), on a thread of its own.
    pub(crate) fn spawn(&self, body: impl FnOnce() + Send + 'static) -> Result<()> {
        let spawned = crate::net::thread::spawn("gamekeeper", body);
        let spawned = spawned.map_err(|e| Error::new(ErrorKind::Io, format!("cannot start a thread: {e}")));
        *self.thread.lock() = Some(spawned?);
        Ok(())
    }

    /// The own thread.
    pub(crate) fn run<H, L: Turns<H>>(&self, turns: &Mutex<L>, handle: &H) {
        self.finish_turning(&mut *turns.lock(), handle, None);
    }

    /// Turns until the end.
    fn finish_turning<H, L: Turns<H>>(&self, turns: &mut L, handle: &H, timeout: Option<Duration>) {
        while !self.is_stopped() {
            self.guarded(|| turns.turn(handle, timeout).map(|_| ()));
        }
        self.report_poison(turns, handle);
    }

    /// Tells the host's log once what broke the loop.
    fn report_poison<H>(&self, turns: &mut impl Turns<H>, handle: &H) {
        let text = self.poison.lock().clone();
        if let Some(text) = text {
            // The handler may be what broke; a panic in its log is one too many, and there is nobody to tell.
            let _panicked = panic_scope::catch(|| turns.broke(handle, &text));
        }
    }

    /// Runs a part of the loop; a panic or a broken socket ends the object, not the process.
    fn guarded(&self, part: impl FnOnce() -> Result<()>) {
        match panic_scope::catch(part) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.poison(error.to_string()),
            Err(text) => self.poison(text),
        }
    }

    /// See [`crate::Server::poll`].
    pub(crate) fn poll<H, L: Turns<H>>(
        &self,
        turns: &Mutex<L>,
        handle: &H,
        timeout: Option<Duration>,
    ) -> Result<()> {
        let what = self.what;
        self.check_outside("poll")?;
        if self.hosting == Hosting::OwnThread {
            self.check()?;
            return Err(Error::new(ErrorKind::State, format!("the {what} runs on a thread of its own")));
        }
        let Some(mut turns) = turns.try_lock() else {
            // Who stops an object that nobody polls runs its last turns.
            if self.stop_wanted() {
                return Err(Error::new(ErrorKind::State, format!("another thread is stopping this {what}")));
            }
            return Err(Error::new(ErrorKind::Busy, format!("another thread is polling this {what}")));
        };
        self.report_poison(&mut *turns, handle);
        self.check_running()?;
        let deadline = timeout.map(|t| self.clock.now() + t);
        let mut left = timeout;
        loop {
            let happened = self.turn_once(&mut *turns, handle, left)?;
            // A stop asked for inside a callback takes effect before this returns: the callback may have
            // given the object back, and then nobody polls again.
            let ending = self.stop_wanted() && !self.is_stopped();
            if !ending && (happened || self.is_stopped() || left.is_some_and(|l| l.is_zero())) {
                return Ok(());
            }
            left = deadline.map(|d| d.since(self.clock.now()));
        }
    }

    /// A turn by somebody who holds the loop.
    pub(crate) fn turn_once<H>(
        &self,
        turns: &mut impl Turns<H>,
        handle: &H,
        timeout: Option<Duration>,
    ) -> Result<bool> {
        let mut happened = false;
        self.guarded(|| {
            happened = turns.turn(handle, timeout)?;
            Ok(())
        });
        self.report_poison(turns, handle);
        self.check()?;
        Ok(happened)
    }

    // --- callbacks ------------------------------------------------------------------------------------

    fn address(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    /// Whether this thread is in a callback.
    pub(crate) fn inside(&self) -> bool {
        // A thread whose locals are gone (a host's exit handler, say) is in no callback any more.
        INSIDE.try_with(|inside| inside.borrow().contains(&self.address())).unwrap_or(false)
    }

    pub(crate) fn check_outside(&self, call: &str) -> Result<()> {
        if self.inside() {
            let text = format!("{call} cannot be called from inside a callback of the same {}", self.what);
            return Err(Error::new(ErrorKind::Reentrant, text));
        }
        Ok(())
    }

    /// Marks this thread as being inside a callback for as long as `body` runs.
    pub(crate) fn calling<T>(&self, body: impl FnOnce() -> T) -> T {
        struct Leave;
        impl Drop for Leave {
            fn drop(&mut self) {
                let _ = INSIDE.try_with(|inside| inside.borrow_mut().pop());
            }
        }
        let _ = INSIDE.try_with(|inside| inside.borrow_mut().push(self.address()));
        let _leave = Leave;
        body()
    }

    /// Something was queued: the loop must flush, unless it is the one that called.
    pub(crate) fn nudge(&self) {
        if !self.inside() {
            self.waker.wake();
        }
    }

    // --- the end --------------------------------------------------------------------------------------

    /// The object answers nothing but this from now on.
    pub(crate) fn poison(&self, text: String) {
        self.poison.lock().get_or_insert(text);
        self.finish();
        self.waker.wake();
    }

    /// The loop has had its last turn.
    pub(crate) fn finish(&self) {
        let mut stopped = self.stopped.lock();
        *stopped = true;
        self.ended.store(true, Ordering::Release);
        drop(stopped);
        self.stopped_changed.notify_all();
    }

    pub(crate) fn check(&self) -> Result<()> {
        if let Some(text) = &*self.poison.lock() {
            return Err(Error::new(ErrorKind::Panic, format!("the {} broke: {text}", self.what)));
        }
        Ok(())
    }

    pub(crate) fn check_running(&self) -> Result<()> {
        // Whoever is poisoned has ended.
        if !self.ended.load(Ordering::Acquire) {
            return Ok(());
        }
        self.check()?;
        if self.is_stopped() {
            return Err(Error::new(ErrorKind::State, format!("the {} has stopped", self.what)));
        }
        Ok(())
    }

    pub(crate) fn stop_wanted(&self) -> bool {
        self.stop_wanted.load(Ordering::Acquire)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        *self.stopped.lock()
    }

    /// See [`crate::Server::stop`].
    pub(crate) fn stop<H, L: Turns<H>>(&self, turns: &Mutex<L>, handle: &H) -> Result<()> {
        self.stop_wanted.store(true, Ordering::Release);
        self.waker.wake();
        if self.inside() {
            return self.check();
        }
        if self.hosting == Hosting::Polled {
            // Whoever polls finishes its turn, which ends the object; with nobody there, we do it.
            self.finish_turning(&mut *turns.lock(), handle, Some(Duration::ZERO));
        }
        self.wait(None)?;
        // The thread ends with the last callback behind it; after this none of its code is running.
        if let Some(thread) = self.thread.lock().take() {
            // What it may have panicked with stands in `poison`.
            let _ended = thread.join();
        }
        self.check()
    }

    /// See [`crate::Server::wait`].
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> Result<()> {
        self.check_outside("wait")?;
        let deadline = timeout.map(|t| self.clock.now() + t);
        let mut stopped = self.stopped.lock();
        while !*stopped {
            match deadline {
                None => self.stopped_changed.wait(&mut stopped),
                Some(at) => {
                    let left = at.since(self.clock.now());
                    if self.stopped_changed.wait_for(&mut stopped, left).timed_out() && !*stopped {
                        let text = format!("the {} has not stopped yet", self.what);
                        return Err(Error::new(ErrorKind::Timeout, text));
                    }
                }
            }
        }
        Ok(())
    }
}
