//! Accepting connections within bounds, and what each goes through.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::http::config::HttpConfig;
use crate::net::http::crowd::Crowd;
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

/// Of what there may be very much.
#[derive(Clone, Copy)]
pub enum Trouble {
    /// More connections than there may be.
    Crowd,
    /// Answers without room.
    NoRoom,
    /// Clients that were cut off for it.
    Slow,
    /// A door that rests for want of descriptors.
    Rest,
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
    /// The open connections.
    crowd: Arc<Crowd>,
    /// Until when nothing more is said of each trouble.
    quiet_until: Mutex<[Option<Instant>; 4]>,
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

impl Shared {
    pub fn new(config: HttpConfig, surroundings: Surroundings) -> Shared {
        let Surroundings { wake, admit, entrance, max_message } = surroundings;
        let limits = &config.limits;
        let exchange = Arc::new(Exchange::new(limits.max_requests as usize, limits.max_body_bytes, wake));
        let crowd = Arc::new(Crowd::new(limits));
        Shared { config, exchange, entrance, max_message, admit, crowd, quiet_until: Mutex::default() }
    }

    /// Ends the connections from addresses that are not admitted any more.
    pub fn end_unwanted(&self) {
        self.crowd.cut_from(|address| !(self.admit)(address));
    }

    /// A line for the log about something that there may be very much of: one in a while is enough. Whether it
    /// was this one.
    pub fn complain(&self, trouble: Trouble, line: String) -> bool {
        let now = Instant::now();
        let mut quiet = self.quiet_until.lock();
        let Some(until) = quiet.get_mut(trouble as usize) else { return false };
        let says = until.is_none_or(|until| until <= now);
        if says {
            *until = Some(now + LOG_PAUSE);
            drop(quiet);
            self.exchange.log(true, line);
        }
        says
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
        while !shared.crowd.is_empty() {
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
    // Whether it rests, and whether that was said.
    let (mut rests, mut said) = (false, false);
    loop {
        let (stream, address) = match door.listener.accept().await {
            Ok(accepted) => accepted,
            // Who left before being accepted is nobody's trouble.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                // Without a descriptor nothing can be accepted until somebody gives one back.
                if !std::mem::replace(&mut rests, true) {
                    let line = format!("accepting HTTP connections pauses: {error}");
                    said |= shared.complain(Trouble::Rest, line);
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        rests = false;
        if std::mem::take(&mut said) {
            shared.exchange.log(false, "HTTP connections are accepted again".into());
        }
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        if !(shared.admit)(address.ip()) {
            continue;
        }
        let Some(seat) = shared.crowd.seat(address) else {
            shared
                .complain(Trouble::Crowd, format!("too many HTTP connections: one from {address} is closed"));
            continue;
        };
        // It is a matter of speed alone.
        let _slower = stream.set_nodelay(true);
        let client = Client { address, door: door.index, secure: door.tls.is_some(), seat: Arc::new(seat) };
        let client = Arc::new(client);
        tokio::spawn(connection(stream, client, door.tls.clone(), Arc::clone(&shared), stop.clone()));
    }
}

async fn connection(
    stream: TcpStream,
    client: Arc<Client>,
    tls: Option<Arc<Certificates>>,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
) {
    // Between the question and the seat the host may have blocked it.
    if !(shared.admit)(client.address.ip()) {
        return;
    }
    let seat = Arc::clone(&client.seat);
    let served = async {
        let Some(tls) = tls else { return speak(stream, client, shared, stop).await };
        let handshake = tls.acceptor().accept(stream);
        // What is no TLS, or comes too slowly, is closed.
        if let Ok(Ok(stream)) = tokio::time::timeout(TLS_HANDSHAKE_TIME, handshake).await {
            speak(stream, client, shared, stop).await;
        }
    };
    tokio::select! {
        () = served => {}
        () = seat.cut() => {}
    }
}

async fn speak<S>(stream: S, client: Arc<Client>, shared: Arc<Shared>, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let head_timeout = shared.config.limits.head_timeout;
    let ends = stop.clone();
    let stream = Guarded::new(stream, Arc::clone(&client.seat));
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
        .serve_connection(TokioIo::new(stream), service)
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
