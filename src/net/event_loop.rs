//! placeholder until merge
use super::udp::UdpSocket;
use crate::error::{Error, ErrorKind, Result};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;
pub struct EventLoop {
    poll: mio::Poll,
    events: mio::Events,
    socket: UdpSocket,
    waker: Waker,
}
#[derive(Clone)]
pub struct Waker(Arc<(mio::Waker, AtomicBool)>);
impl Waker {
    pub fn wake(&self) {
        if !self.0 .1.swap(true, Ordering::AcqRel) {
            let _ = self.0 .0.wake();
        }
    }
}
impl EventLoop {
    pub fn new(mut socket: UdpSocket) -> Result<EventLoop> {
        let io = |e: io::Error| Error::new(ErrorKind::Io, e.to_string());
        let poll = mio::Poll::new().map_err(io)?;
        poll.registry().register(socket.source(), mio::Token(0), mio::Interest::READABLE).map_err(io)?;
        let waker = Waker(Arc::new((
            mio::Waker::new(poll.registry(), mio::Token(1)).map_err(io)?,
            AtomicBool::new(false),
        )));
        Ok(EventLoop { poll, events: mio::Events::with_capacity(8), socket, waker })
    }
    pub fn socket(&self) -> &UdpSocket {
        &self.socket
    }
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }
    pub fn descriptor(&self) -> i32 {
        use std::os::fd::AsRawFd;
        self.poll.as_raw_fd()
    }
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let r = self.poll.poll(&mut self.events, timeout);
        self.waker.0 .1.store(false, Ordering::Release);
        match r {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            r => r,
        }
    }
}
