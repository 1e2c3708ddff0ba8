//! What the benchmark asks of Linux: cores, clocks, memory, waiting.

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// The core that the server has for itself.
pub const SERVER_CORE: usize = 0;
/// The core of everything else: load, relay and the program that measures.
pub const LOAD_CORE: usize = 1;
/// Descriptors reported by one wait.
const EVENTS: usize = 1024;

/// Keeps the calling thread, and those that it starts, on one core. Where the machine has fewer it does nothing.
pub fn pin(core: usize) {
    // SAFETY: an all-zero set is a valid empty one, and the pointer is that of a live one.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
        // Timers are to be late by microseconds, not by the 50 that are usual.
        libc::prctl(libc::PR_SET_TIMERSLACK, 1000);
    }
}

/// Ends this process after so many seconds, whatever it does then.
pub fn limit_life(seconds: u32) {
    // SAFETY: no pointers.
    unsafe { libc::alarm(seconds) };
}

fn clock(id: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is that of a live timespec, which the call fills.
    let result = unsafe { libc::clock_gettime(id, &raw mut time) };
    assert_eq!(result, 0, "Linux has this clock");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Nanoseconds of a clock that all processes of the machine share.
pub fn now() -> u64 {
    clock(libc::CLOCK_MONOTONIC)
}

/// Nanoseconds that this process has run, all its threads and the system's part of it.
pub fn processor_time() -> u64 {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// Bytes of this process that are in memory.
pub fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    pages * 4096
}

/// Waits for many descriptors at once, to the microsecond.
pub struct Waiter {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Waiter {
    pub fn new() -> io::Result<Waiter> {
        // SAFETY: no pointers; the descriptor is ours alone once it is checked.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if epoll < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: as above.
        let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
        Ok(Waiter { epoll, events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS] })
    }

    /// From now on `wait` reports `token` while there is something to read.
    pub fn add(&self, descriptor: RawFd, token: usize) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token as u64 };
        // SAFETY: the pointer is that of a live event.
        let result = unsafe {
            libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, descriptor, &raw mut event)
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Appends the tokens of what is readable, waiting for the first at most for `timeout`.
    pub fn wait(&mut self, timeout: Duration, tokens: &mut Vec<usize>) {
        if !timeout.is_zero() {
            wait_readable(self.epoll.as_raw_fd(), timeout);
        }
        // SAFETY: the pointer is that of a live buffer of the length that is said.
        let number =
            unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), self.events.as_mut_ptr(), EVENTS as i32, 0) };
        let found = self.events.iter().take(usize::try_from(number).unwrap_or(0));
        tokens.extend(found.map(|event| event.u64 as usize));
    }
}

/// Waits until a descriptor is readable, at most for `timeout`.
pub fn wait_readable(descriptor: RawFd, timeout: Duration) -> bool {
    let mut poll = libc::pollfd { fd: descriptor, events: libc::POLLIN, revents: 0 };
    let time =
        libc::timespec { tv_sec: timeout.as_secs() as libc::time_t, tv_nsec: timeout.subsec_nanos().into() };
    // SAFETY: both pointers are those of live values; no signal mask is given.
    unsafe { libc::ppoll(&raw mut poll, 1, &raw const time, std::ptr::null()) > 0 }
}

/// Asks for so many bytes of the socket's two buffers.
pub fn set_buffers(socket: &UdpSocket, bytes: i32) {
    for option in [libc::SO_RCVBUF, libc::SO_SNDBUF] {
        // SAFETY: the pointer is that of a live integer of the length that is said.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const bytes).cast(),
                size_of::<i32>() as u32,
            );
        }
    }
}
