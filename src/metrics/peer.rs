//! Lifetime counts of one peer.

/// Lifetime counts of one connection, in datagrams. The first six have mpgameserver's names and meanings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerStats {
    /// Datagrams built.
    pub assembled: u64,
    /// Messages given to the connection for sending (each fragment counts as one).
    pub sent: u64,
    /// Datagrams received and thrown away: duplicates, forgeries, malformed ones.
    pub dropped: u64,
    /// Datagrams received and taken.
    pub received: u64,
    /// Datagrams sent that the remote side acknowledged.
    pub acked: u64,
    /// Datagrams sent that were not acknowledged within the message timeout.
    pub timeouts: u64,
    /// Datagrams sent that are neither acknowledged nor timed out yet.
    pub pending: u64,
    /// Bytes of all datagrams sent.
    pub bytes_sent: u64,
    /// Bytes of all datagrams received and taken.
    pub bytes_received: u64,
    /// Messages sent again.
    pub messages_resent: u64,
    /// Messages handed to the host.
    pub messages_received: u64,
    /// Messages received again and thrown away.
    pub messages_duplicate: u64,
    /// Messages thrown away because they were malformed.
    pub messages_malformed: u64,
    /// Messages refused, unacknowledged, because a bound was reached.
    pub messages_refused: u64,
}
