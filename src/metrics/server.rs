//! Counts and times of a whole server.

/// Why a datagram was thrown away. The order is that of the drops in [`ServerStats::drops`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum DropReason {
    /// Its source is on the block list.
    Blocked,
    /// Not of the wire: too short, wrong magic, wrong length, unknown type.
    Malformed,
    /// From an address without a connection, and not a hello.
    Unknown,
    /// Its tag or checksum does not fit.
    Forged,
    /// Seen before.
    Duplicate,
    /// Older than the replay window.
    Old,
    /// A hello that cannot be answered: too short, another version, an unusable key.
    Hello,
    /// A hello above the budget of its source or of the server, or above a table's bound.
    HelloBudget,
    /// A hello while the server had its maximum of peers.
    Full,
    /// A clear datagram where only a sealed one is taken.
    Clear,
    /// The operating system refused to send it.
    SendFailed,
    /// Of no wire, or a query, above the budget of its source or of all; or a query that is too short for its
    /// answer.
    RawBudget,
}

/// How many reasons there are.
pub const DROP_REASONS: usize = 12;

/// Where one second went. All in seconds of time on the server's thread.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TimeProfile {
    /// Handling received datagrams and the callbacks that they led to.
    pub messages: f64,
    /// The update callback.
    pub update: f64,
    /// Reading from and writing to the network.
    pub network: f64,
    /// Waiting; of a polled server also what its host does between two polls.
    pub idle: f64,
}

/// Counts and times of a server since it started.
#[derive(Clone, Debug, Default)]
pub struct ServerStats {
    /// Peers connected now.
    pub peers: u32,
    /// Handshakes under way now.
    pub handshakes: u32,
    /// Peers that ever connected.
    pub connects: u64,
    /// Peers that left.
    pub disconnects: u64,
    /// Handshakes that were not proven in time.
    pub handshake_timeouts: u64,
    /// Datagrams sent.
    pub packets_sent: u64,
    /// Datagrams received, those thrown away included.
    pub packets_received: u64,
    /// Bytes of the same.
    pub bytes_sent: u64,
    /// Bytes of the same.
    pub bytes_received: u64,
    /// Datagrams thrown away, by [`DropReason`].
    pub drops: [u64; DROP_REASONS],
    /// Ticks since start.
    pub ticks: u64,
    /// Ticks left out because the one before took longer than an interval.
    pub ticks_missed: u64,
    /// Ticks per second over the last whole second.
    pub tick_rate_hz: f64,
    /// Where the last whole second went.
    pub profile: TimeProfile,
    /// Times that a client of the native wire went on from another address.
    pub migrations: u64,
    /// Log lines and access-log lines left out because a stranger caused too many.
    pub log_lines_suppressed: u64,
    /// Clients that wait for a decision now; they are not among `peers`.
    pub joining: u32,
    /// Clients that proved themselves and were not let in.
    pub refusals: u64,
}
