//! quinn: QUIC over rustls with ring, a certificate of its own that clients pin. Unreliable messages are datagrams;
//! guaranteed ones have a stream each, or, where order is kept, one stream for all. Tokio's runtime of one thread, quinn's
//! default transport, at both ends; a receive buffer as large as gamekeeper's on the server.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, RecvStream, ServerConfig, TokioRuntime};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, Notify};

use super::{Crowd, Peer, Received, Result};
use crate::control;
use crate::game::{Book, Game, Outlet};
use crate::options::{Delivery, Options};
use crate::system;

/// The name in the certificate.
const NAME: &str = "localhost";
/// Longest message.
const LONGEST: usize = 1 << 20;
/// Bytes read from an ordered stream at once.
const CHUNK: usize = 64 << 10;
const SERVER_BUFFER: i32 = 4 << 20;

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One end of a connection, for sending.
#[derive(Clone)]
struct Link {
    connection: Connection,
    /// Where order is kept: to the task that writes the one stream.
    ordered: Option<mpsc::UnboundedSender<Vec<u8>>>,
}

impl Link {
    fn new(connection: Connection, is_ordered: bool) -> Link {
        let ordered = is_ordered.then(|| {
            let (to, from) = mpsc::unbounded_channel();
            tokio::spawn(write_stream(connection.clone(), from));
            to
        });
        Link { connection, ordered }
    }

    /// To be called inside the runtime.
    fn send(&self, data: &[u8], delivery: Delivery) -> bool {
        if delivery == Delivery::Unreliable {
            return self.connection.send_datagram(data.to_vec().into()).is_ok();
        }
        let data = data.to_vec();
        if let Some(ordered) = &self.ordered {
            return ordered.send(data).is_ok();
        }
        let connection = self.connection.clone();
        tokio::spawn(async move {
            // Whether the connection still lives is seen elsewhere.
            if let Ok(mut stream) = connection.open_uni().await {
                if stream.write_all(&data).await.is_ok() {
                    let _ = stream.finish();
                }
            }
        });
        true
    }
}

/// Writes messages after each other, each after its length; what waits together is written together.
async fn write_stream(connection: Connection, mut from: mpsc::UnboundedReceiver<Vec<u8>>) {
    let Ok(mut stream) = connection.open_uni().await else { return };
    let mut bytes = Vec::new();
    while let Some(mut message) = from.recv().await {
        bytes.clear();
        loop {
            bytes.extend_from_slice(&(message.len() as u32).to_be_bytes());
            bytes.append(&mut message);
            match from.try_recv() {
                Ok(next) => message = next,
                Err(_) => break,
            }
        }
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// Hands out the messages of a connection until it ends.
async fn read(connection: Connection, is_ordered: bool, on: impl Fn(&[u8]) + Clone + Send + 'static) {
    let streams = {
        let (connection, on) = (connection.clone(), on.clone());
        async move {
            while let Ok(stream) = connection.accept_uni().await {
                let on = on.clone();
                tokio::spawn(async move {
                    if is_ordered {
                        read_ordered(stream, on).await;
                    } else {
                        read_whole(stream, on).await;
                    }
                });
            }
        }
    };
    tokio::spawn(streams);
    while let Ok(datagram) = connection.read_datagram().await {
        on(&datagram);
    }
}

async fn read_whole(mut stream: RecvStream, on: impl Fn(&[u8])) {
    if let Ok(message) = stream.read_to_end(LONGEST).await {
        on(&message);
    }
}

async fn read_ordered(mut stream: RecvStream, on: impl Fn(&[u8])) {
    let mut bytes: Vec<u8> = Vec::new();
    while let Ok(Some(chunk)) = stream.read_chunk(CHUNK, true).await {
        bytes.extend_from_slice(&chunk.bytes);
        let mut used = 0;
        while let Some((length, rest)) = bytes[used..].split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            let Some(message) = rest.get(..length) else { break };
            on(message);
            used += 4 + length;
        }
        bytes.drain(..used);
    }
}

// --- the server ---------------------------------------------------------------------------------------------

struct Out(Vec<Option<Link>>);

impl Outlet for Out {
    type Peer = usize;

    fn send(&mut self, peer: usize, data: &[u8], delivery: Delivery) -> bool {
        let link = self.0.get(peer).and_then(|link| link.as_ref());
        link.is_some_and(|link| link.send(data, delivery))
    }
}

struct Shared {
    out: Out,
    game: Game<usize>,
}

pub fn serve(options: &Options, book: Arc<Book>) -> Result<()> {
    let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()])?;
    let key = PrivateKeyDer::try_from(made.key_pair.serialize_der())?;
    let config = ServerConfig::with_single_cert(vec![made.cert.der().clone()], key)?;
    let game = Game::new(options, Arc::clone(&book));
    let interval = game.tick_interval();
    let is_ordered = options.peer == Peer::QuinnOrdered;
    let shared = Arc::new(Mutex::new(Shared { out: Out(Vec::new()), game }));
    runtime()?.block_on(async move {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        system::set_buffers(&socket, SERVER_BUFFER);
        let runtime = Arc::new(TokioRuntime);
        let endpoint = Endpoint::new(EndpointConfig::default(), Some(config), socket, runtime)?;
        control::serve(endpoint.local_addr()?, &control::hex(made.cert.der()), book);
        if let Some(interval) = interval {
            tokio::spawn(tick(Arc::clone(&shared), interval));
        }
        while let Some(incoming) = endpoint.accept().await {
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                if let Ok(connection) = incoming.await {
                    play(shared, connection, is_ordered).await;
                }
            });
        }
        Err("the endpoint has ended".into())
    })
}

async fn tick(shared: Arc<Mutex<Shared>>, interval: Duration) {
    let mut next = tokio::time::Instant::now();
    loop {
        tokio::time::sleep_until(next).await;
        // As everywhere: what is late by more than a tick is not made up for.
        next = (next + interval).max(tokio::time::Instant::now());
        let shared = &mut *lock(&shared);
        shared.game.tick(&mut shared.out);
    }
}

async fn play(shared: Arc<Mutex<Shared>>, connection: Connection, is_ordered: bool) {
    let number = {
        let shared = &mut *lock(&shared);
        shared.out.0.push(Some(Link::new(connection.clone(), is_ordered)));
        let number = shared.out.0.len() - 1;
        shared.game.joined(number);
        number
    };
    let heard = Arc::clone(&shared);
    let on = move |data: &[u8]| {
        let heard = &mut *lock(&heard);
        heard.game.message(&mut heard.out, number, data);
    };
    read(connection, is_ordered, on).await;
    let shared = &mut *lock(&shared);
    shared.out.0[number] = None;
    shared.game.left(number);
}

// --- the clients --------------------------------------------------------------------------------------------

/// What the tasks of all clients write down.
#[derive(Default)]
struct Heard {
    inbox: Vec<Received>,
    links: Vec<Option<Link>>,
    connected: usize,
    lost: usize,
}

/// See [`Crowd`].
pub struct Clients {
    runtime: Runtime,
    server: SocketAddr,
    config: ClientConfig,
    is_ordered: bool,
    heard: Arc<Mutex<Heard>>,
    news: Arc<Notify>,
}

impl Clients {
    pub fn new(options: &Options) -> Result<Clients> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from(
            control::unhex(&options.key).ok_or("the certificate cannot be read")?,
        ))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?;
        let tls = versions.with_root_certificates(roots).with_no_client_auth();
        let quic = quinn::crypto::rustls::QuicClientConfig::try_from(tls)?;
        Ok(Clients {
            runtime: runtime()?,
            server: options.server.ok_or("no server is named")?,
            config: ClientConfig::new(Arc::new(quic)),
            is_ordered: options.peer == Peer::QuinnOrdered,
            heard: Arc::default(),
            news: Arc::default(),
        })
    }
}

impl Crowd for Clients {
    fn connect(&mut self) -> Result<()> {
        let _inside = self.runtime.enter();
        let mut endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        endpoint.set_default_client_config(self.config.clone());
        let connecting = endpoint.connect(self.server, NAME)?;
        let (heard, news, is_ordered) = (Arc::clone(&self.heard), Arc::clone(&self.news), self.is_ordered);
        let number = {
            let mut heard = lock(&heard);
            heard.links.push(None);
            heard.links.len() - 1
        };
        tokio::spawn(async move {
            // It lives as long as its one connection.
            let _endpoint = endpoint;
            if let Ok(connection) = connecting.await {
                {
                    let mut heard = lock(&heard);
                    heard.connected += 1;
                    heard.links[number] = Some(Link::new(connection.clone(), is_ordered));
                }
                news.notify_one();
                let (inbox, signal) = (Arc::clone(&heard), Arc::clone(&news));
                let on = move |data: &[u8]| {
                    lock(&inbox).inbox.push(Received::new(number, data));
                    signal.notify_one();
                };
                read(connection, is_ordered, on).await;
            }
            lock(&heard).lost += 1;
            news.notify_one();
        });
        Ok(())
    }

    fn connected(&self) -> usize {
        lock(&self.heard).connected
    }

    fn lost(&self) -> usize {
        lock(&self.heard).lost
    }

    fn send(&mut self, client: usize, data: &[u8], delivery: Delivery) -> bool {
        let _inside = self.runtime.enter();
        let link = lock(&self.heard).links[client].clone();
        link.is_some_and(|link| link.send(data, delivery))
    }

    fn turn(&mut self, wait: Duration, inbox: &mut Vec<Received>) -> io::Result<()> {
        let news = Arc::clone(&self.news);
        self.runtime.block_on(async {
            // Nothing new until then is an answer too.
            let _ = tokio::time::timeout(wait, news.notified()).await;
            tokio::task::yield_now().await;
        });
        inbox.append(&mut lock(&self.heard).inbox);
        Ok(())
    }
}
