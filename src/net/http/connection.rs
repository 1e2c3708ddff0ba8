//! Accepting connections within bounds, and what each goes through.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::http::config::HttpConfig;
use crate::net::http::exchange::Exchange;
use crate::net::http::guard::Guarded;
use crate::net::http::service::{serve, Client};
use crate::net::http::tls::Certificates;
use crate::net::pipe::Entrance;

/// Longest head of a request, in bytes; a longer one is answered with 431.
pub const MAX_HEAD_BYTES: usize = 16 << 10;
/// Most headers of a request; one with more is answered with 431.
pub const MAX_HEADERS: usize = 100;
/// Longest time for the handshake of TLS.
const TLS_HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How often files of certificates are looked at.
const CERTIFICATE_CHECK: Duration = Duration::from_secs(2);
/// How long accepting pauses when the system has no descriptor left, or fails otherwise.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// At most one line in so long says that the system gives no connections, or that there are too many.
const LOG_PAUSE: Duration = Duration::from_secs(5);
/// How long connections have for their last answers when the doors close.
const CLOSING_TIME: Duration = Duration::from_millis(250);
/// How often it is asked meanwhile whether all have ended.
const CLOSING_CHECK: Duration = Duration::from_millis(5);

/// Whether connections from an address are taken.
pub type Admit = Box<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// One listening socket.
pub struct Door {
    /// Its place among the doors.
    index: usize,
    listener: TcpListener,
    tls: Option<Arc<Certificates>>,
}

impl Door {
    /// Inside of a runtime.
    pub fn new(index: usize, listener: std::net::TcpListener, tls: Option<Certificates>) -> io::Result<Door> {
        Ok(Door { index, listener: TcpListener::from_std(listener)?, tls: tls.map(Arc::new) })
    }
}

/// What all connections share.
pub struct Shared {
    pub config: HttpConfig,
    pub exchange: Arc<Exchange>,
    /// Where WebSockets become peers.
    pub entrance: Entrance,
    /// Longest message of a WebSocket, in bytes.
    pub max_message: usize,
    admit: Admit,
    open: Mutex<Counts>,
}

/// What the doors are opened into.
pub struct Surroundings {
    /// Makes the server look at the exchange.
    pub wake: Box<dyn Fn() + Send + Sync>,
    /// Whether connections from an address are taken.
    pub admit: Admit,
    /// Where WebSockets become peers.
    pub entrance: Entrance,
    /// Longest message of a WebSocket, in bytes.
    pub max_message: usize,
}

#[derive(Default)]
struct Counts {
    all: u32,
    sources: HashMap<IpAddr, u32>,
}

impl Shared {
    pub fn new(config: HttpConfig, surroundings: Surroundings) -> Shared {
        let Surroundings { wake, admit, entrance, max_message } = surroundings;
        let limits = &config.limits;
        let exchange = Arc::new(Exchange::new(limits.max_requests as usize, limits.max_body_bytes, wake));
        Shared { config, exchange, entrance, max_message, admit, open: Mutex::default() }
    }

    /// A place for a connection, if there is one.
    fn seat(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let source = source_of(address);
        let limits = &self.config.limits;
        let mut open = self.open.lock();
        let here = open.sources.get(&source).copied().unwrap_or(0);
        if open.all >= limits.max_connections || here >= limits.max_connections_per_source {
            return None;
        }
        open.all += 1;
        open.sources.insert(source, here + 1);
        Some(Seat { shared: Arc::clone(self), source })
    }
}

/// An IPv4 address is one source, an IPv6 /64 another.
fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

/// A connection's place; it is free when this is dropped.
pub struct Seat {
    shared: Arc<Shared>,
    source: IpAddr,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.shared.open.lock();
        open.all -= 1;
        if let Some(here) = open.sources.get_mut(&self.source) {
            *here -= 1;
            if *here == 0 {
                open.sources.remove(&self.source);
            }
        }
    }
}

/// Serves all doors until `stop` says so.
pub async fn run(doors: Vec<Door>, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let certificates: Vec<_> = doors.iter().filter_map(|door| door.tls.clone()).collect();
    let mut tasks: Vec<_> =
        doors.into_iter().map(|door| tokio::spawn(accept(door, Arc::clone(&shared), stop.clone()))).collect();
    if !certificates.is_empty() {
        tasks.push(tokio::spawn(watch_certificates(certificates, Arc::clone(&shared))));
    }
    stopped(&mut stop).await;
    for task in tasks {
        task.abort();
    }
    let ended = async {
        while shared.open.lock().all > 0 {
            tokio::time::sleep(CLOSING_CHECK).await;
        }
    };
    // What has not ended by then is cut off.
    let _all = tokio::time::timeout(CLOSING_TIME, ended).await;
}

/// Waits until the doors close.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    // It is sent, or its sender is gone: the same.
    let _known = stop.wait_for(|stop| *stop).await.is_ok();
}

async fn watch_certificates(certificates: Vec<Arc<Certificates>>, shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(CERTIFICATE_CHECK).await;
        for one in &certificates {
            match one.refresh() {
                Ok(false) => {}
                Ok(true) => shared.exchange.log(false, "new connections get the new certificate".into()),
                Err(error) => shared.exchange.log(true, format!("the certificate before is kept: {error}")),
            }
        }
    }
}

async fn accept(door: Door, shared: Arc<Shared>, stop: watch::Receiver<bool>) {
    let mut quiet_until = tokio::time::Instant::now();
    let mut complain = |line: String| {
        let now = tokio::time::Instant::now();
        if now >= quiet_until {
            quiet_until = now + LOG_PAUSE;
            shared.exchange.log(true, line);
        }
    };
    loop {
        let (stream, address) = match door.listener.accept().await {
            Ok(accepted) => accepted,
            // Who left before being accepted is nobody's trouble.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                // Without a descriptor nothing can be accepted until somebody gives one back.
                complain(format!("accepting HTTP connections pauses: {error}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        if !(shared.admit)(address.ip()) {
            continue;
        }
        let Some(seat) = shared.seat(address.ip()) else {
            complain(format!("too many HTTP connections: one from {address} is closed"));
            continue;
        };
        // It is a matter of speed alone.
        let _slower = stream.set_nodelay(true);
        let client = Client { address, door: door.index, secure: door.tls.is_some(), _seat: seat };
        tokio::spawn(connection(stream, client, door.tls.clone(), Arc::clone(&shared), stop.clone()));
    }
}

async fn connection(
    stream: TcpStream,
    client: Client,
    tls: Option<Arc<Certificates>>,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
) {
    let client = Arc::new(client);
    let Some(tls) = tls else { return speak(stream, client, shared, stop).await };
    let handshake = tls.acceptor().accept(stream);
    // What is no TLS, or comes too slowly, is closed.
    if let Ok(Ok(stream)) = tokio::time::timeout(TLS_HANDSHAKE_TIME, handshake).await {
        speak(stream, client, shared, stop).await;
    }
}

async fn speak<S>(stream: S, client: Arc<Client>, shared: Arc<Shared>, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let head_timeout = shared.config.limits.head_timeout;
    let ends = stop.clone();
    let service = service_fn(move |request| {
        let (client, shared, stop) = (Arc::clone(&client), Arc::clone(&shared), ends.clone());
        async move { Ok::<_, std::convert::Infallible>(serve(request, client, shared, stop).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        .half_close(false)
        .serve_connection(TokioIo::new(Guarded::new(stream)), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // What went wrong in it was answered there, or its client is gone.
        _ended = connection.as_mut() => {}
        _stopped = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            let _ended = connection.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::address::ListenAddress;
    use crate::net::event_loop::EventLoop;
    use crate::net::udp::UdpSocket;

    #[test]
    fn sources_share_what_they_may_have() {
        let address = ListenAddress::parse("127.0.0.1:0").unwrap();
        let socket = UdpSocket::bind(&address, 4096, 4096).unwrap();
        let event_loop = EventLoop::new(socket).unwrap();
        let surroundings = Surroundings {
            wake: Box::new(|| {}),
            admit: Box::new(|_| true),
            entrance: Entrance::new(event_loop.waker()),
            max_message: 1,
        };
        let mut config = HttpConfig::default();
        config.limits.max_connections = 3;
        config.limits.max_connections_per_source = 2;
        let shared = Arc::new(Shared::new(config, surroundings));
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = shared.seat(at("2001:db8::1"));
        let second = shared.seat(at("2001:db8::2:3"));
        assert!(first.is_some() && second.is_some());
        assert!(shared.seat(at("2001:db8::4")).is_none(), "the /64 has all it may have");
        let third = shared.seat(at("127.0.0.1"));
        assert!(third.is_some() && shared.seat(at("127.0.0.2")).is_none(), "there are no more");
        drop((first, second, third));
        let open = shared.open.lock();
        assert_eq!((open.all, open.sources.len()), (0, 0));
    }
}
