//! A connection's stream that does not wait for ever for a client that does not read, or hardly.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::net::http::crowd::Seat;

/// A client that was waited for this long in all, less what it made good by reading, is cut off.
pub const WRITE_STALL: Duration = Duration::from_secs(30);
/// What a client reads makes good of the time that it was waited for: a second for so many bytes. Who reads more slowly than
/// that is cut off in the end, however little at a time.
pub const MIN_WRITE_RATE: u64 = 4096;

/// A stream whose writes fail once its client owes [`WRITE_STALL`].
pub struct Guarded<S> {
    stream: S,
    seat: Arc<Seat>,
    /// Time that was waited, and not made good.
    owed: Duration,
    /// While a write waits: since when, and the end of patience.
    stall: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<S> Guarded<S> {
    /// Around a stream; the seat is told who waits.
    pub fn new(stream: S, seat: Arc<Seat>) -> Guarded<S> {
        Guarded { stream, seat, owed: Duration::ZERO, stall: None }
    }

    /// Passes on what a write came to; one that waits starts the clock, one that does not stops it.
    fn timed<T>(
        &mut self,
        context: &mut Context<'_>,
        poll: Poll<io::Result<T>>,
        taken: impl Fn(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(result) = poll {
            if let Some((since, _)) = self.stall.take() {
                self.owed += since.elapsed();
                self.seat.waits(None);
            }
            if let Ok(written) = &result {
                let bytes = u64::try_from(taken(written)).unwrap_or(u64::MAX);
                let good = Duration::from_micros(bytes.saturating_mul(1_000_000) / MIN_WRITE_RATE);
                self.owed = self.owed.saturating_sub(good);
            }
            return Poll::Ready(result);
        }
        if self.stall.is_none() {
            let now = Instant::now();
            self.seat.waits(Some(now.checked_sub(self.owed).unwrap_or(now)));
            let left = WRITE_STALL.saturating_sub(self.owed);
            self.stall = Some((now, Box::pin(tokio::time::sleep(left))));
        }
        match &mut self.stall {
            Some((_, patience)) => {
                patience.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
            }
            None => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.timed(context, poll, |taken| *taken)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.timed(context, poll, |taken| *taken)
    }

    /// With pieces, bodies are written from where they are, and not copied together first.
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(context);
        self.timed(context, poll, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_shutdown(context);
        self.timed(context, poll, |()| 0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;
    use crate::http::config::Limits;
    use crate::net::http::crowd::Crowd;

    fn guarded(room: usize) -> (Guarded<DuplexStream>, DuplexStream) {
        let crowd = Arc::new(Crowd::new(&Limits::default()));
        let seat = crowd.seat("127.0.0.1:1".parse().unwrap()).unwrap();
        let (near, far) = tokio::io::duplex(room);
        (Guarded::new(near, Arc::new(seat)), far)
    }

    /// How long a client lasts that reads so many bytes in each pause, of an answer without end; `None`: for a day.
    async fn lasts(bytes: usize, pause: Duration) -> Option<Duration> {
        let (mut near, mut far) = guarded(4096);
        let start = Instant::now();
        let reading = async {
            let mut piece = vec![0; bytes];
            loop {
                tokio::time::sleep(pause).await;
                far.read_exact(&mut piece).await.unwrap();
            }
        };
        let writing = async {
            loop {
                if let Err(error) = near.write_all(&[0; 1000]).await {
                    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                    return start.elapsed();
                }
            }
        };
        let day = Duration::from_secs(86_400);
        tokio::select! {
            lasted = writing => Some(lasted),
            () = reading => None,
            () = tokio::time::sleep(day) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_hardly_is_cut_off_and_who_reads_slowly_is_not() {
        let silent = lasts(1, Duration::from_secs(100_000)).await.unwrap();
        assert!((30..=31).contains(&silent.as_secs()), "{silent:?}");
        // A byte now and then buys nothing.
        for pause in [1, 10, 29] {
            let dripping = lasts(1, Duration::from_secs(pause)).await.unwrap();
            assert!(dripping <= Duration::from_secs(31), "{pause}: {dripping:?}");
        }
        // Below the rate it lasts the longer the nearer it is.
        let half = lasts(2048, Duration::from_secs(1)).await.unwrap();
        assert!((40..=80).contains(&half.as_secs()), "{half:?}");
        for (bytes, pause) in [(4200, 1), (42_000, 10), (100_000, 20)] {
            assert_eq!(lasts(bytes, Duration::from_secs(pause)).await, None, "{bytes} bytes in {pause} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_between_answers_is_no_debt() {
        let (mut near, mut far) = guarded(100);
        for _ in 0..10 {
            near.write_all(&[0; 100]).await.unwrap();
            near.flush().await.unwrap();
            tokio::time::sleep(Duration::from_secs(1000)).await;
            far.read_exact(&mut [0; 100]).await.unwrap();
        }
    }
}
