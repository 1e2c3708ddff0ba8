//! Who speaks HTTP: one thread with all connections of all HTTP doors of one server. The server's own thread sees whole
//! requests, through an [`Exchange`]; nothing that happens here keeps it waiting.

pub mod exchange;

mod body;
mod connection;
mod crowd;
mod files;
mod guard;
mod pieces;
mod service;
mod tls;
mod websocket;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;

use crate::error::{Error, ErrorKind, Result};
use crate::http::config::HttpConfig;
use crate::net::address::ListenAddress;
use crate::panic_scope;
pub use connection::Surroundings;
use connection::{Door, Shared};
use exchange::Exchange;

/// Connections that wait to be accepted, per door.
const BACKLOG: i32 = 1024;
/// What the system is asked to keep at most of what is written to a connection and not yet read, in bytes: without a bound it
/// keeps megabytes for each, and tells late that something was read.
const SEND_BUFFER_BYTES: usize = 128 << 10;

/// The HTTP doors of one server. They close when this is dropped.
pub struct Doors {
    addresses: Vec<(&'static str, SocketAddr)>,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Doors {
    /// Binds the addresses, reads the certificates and starts the thread. Errors: Address, AddressInUse, Io, Key.
    pub fn open(config: &HttpConfig, surroundings: Surroundings) -> Result<Doors> {
        let mut addresses = Vec::new();
        let mut listeners = Vec::new();
        for door in &config.doors {
            let tls = door.tls.clone().map(tls::Certificates::load).transpose()?;
            let listener = listen(&ListenAddress::parse(&door.address)?)?;
            let refused = |error| io_error("cannot listen", &error);
            let scheme = if tls.is_some() { "https" } else { "http" };
            addresses.push((scheme, listener.local_addr().map_err(refused)?));
            listeners.push((listener, tls));
        }
        let shared = Arc::new(Shared::new(config.clone(), surroundings));
        let kept = Arc::clone(&shared);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| io_error("cannot start HTTP", &error))?;
        let (stop, stopped) = watch::channel(false);
        let doors = {
            // A listener registers with the runtime that it is made in.
            let _inside = runtime.enter();
            let numbered = listeners.into_iter().enumerate();
            let made = numbered.map(|(index, (listener, tls))| Door::new(index, listener, tls));
            made.collect::<io::Result<Vec<_>>>().map_err(|error| io_error("cannot listen", &error))?
        };
        let body = move || {
            // A panic in one connection's task ends that connection; inside of this scope it stays off the host's stderr.
            let _panicked = panic_scope::catch(|| runtime.block_on(connection::run(doors, shared, stopped)));
        };
        let thread = crate::net::thread::spawn("gamekeeper-http", body)
            .map_err(|error| io_error("cannot start a thread", &error))?;
        Ok(Doors { addresses, shared: kept, stop, thread: Mutex::new(Some(thread)) })
    }

    /// What they are bound to, with the real ports, and `http` or `https`.
    pub fn addresses(&self) -> &[(&'static str, SocketAddr)] {
        &self.addresses
    }

    /// Where requests and answers pass.
    pub fn exchange(&self) -> &Arc<Exchange> {
        &self.shared.exchange
    }

    /// Ends the connections from addresses that are not admitted any more. WebSockets are not among them: they are peers, and
    /// end with these.
    pub fn end_unwanted(&self) {
        self.shared.end_unwanted();
    }

    /// Answers what waits with 503, ends all connections and the thread. It takes a quarter of a second at most.
    pub fn close(&self) {
        self.shared.exchange.close();
        // The thread may have ended before.
        let _ended = self.stop.send(true);
        if let Some(thread) = self.thread.lock().take() {
            let _panicked = thread.join();
        }
    }
}

impl Drop for Doors {
    fn drop(&mut self) {
        self.close();
    }
}

fn io_error(what: &str, error: &io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::AddrInUse => ErrorKind::AddressInUse,
        io::ErrorKind::AddrNotAvailable => ErrorKind::Address,
        _ => ErrorKind::Io,
    };
    Error::new(kind, format!("{what}: {error}"))
}

fn listen(address: &ListenAddress) -> Result<std::net::TcpListener> {
    let open = |target: SocketAddr, dual_stack: bool| -> io::Result<std::net::TcpListener> {
        let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
        if target.is_ipv6() {
            socket.set_only_v6(!dual_stack)?;
        }
        // Elsewhere it would let two programs have one port.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        // Connections have it of the socket that accepts them; a system that does not want it keeps more.
        let _larger = socket.set_send_buffer_size(SEND_BUFFER_BYTES);
        socket.bind(&target.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    let mut result = open(address.socket, address.dual_stack);
    let taken = |error: &io::Error| {
        matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
    };
    if address.ipv4_will_do && result.as_ref().is_err_and(|error| !taken(error)) {
        result = open(SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, address.socket.port())), false);
    }
    result.map_err(|error| io_error(&format!("cannot listen on {}", address.socket), &error))
}
