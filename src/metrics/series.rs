//! Per-second series of the last five minutes.

use crate::protocol::time::Time;

/// Seconds kept.
pub const SERIES_SECONDS: usize = 300;

/// One second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Second {
    pub packets_sent: u32,
    pub packets_received: u32,
    pub bytes_sent: u32,
    pub bytes_received: u32,
    /// Mean latency in microseconds, 0 where nothing was measured.
    pub latency_us: u32,
}

/// A ring of seconds of `T`; what was not written is `T::default()`.
pub struct Ring<T>(std::marker::PhantomData<T>);

#[allow(unused_variables)]
impl<T: Copy + Default> Ring<T> {
    pub fn new(now: Time) -> Self {
        todo!()
    }
    /// The entry of the second that `now` lies in, after clearing the seconds since the last call.
    pub fn at(&mut self, now: Time) -> &mut T {
        todo!()
    }
    /// The last `SERIES_SECONDS` seconds, oldest first, the running one last.
    pub fn snapshot(&self, now: Time) -> Vec<T> {
        todo!()
    }
    /// The last whole second before the one `now` lies in.
    pub fn last_whole(&self, now: Time) -> T {
        todo!()
    }
}
