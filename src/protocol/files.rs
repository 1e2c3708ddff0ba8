//! Files over a connection: what is said, and what the disk is asked for.
//!
//! An [`Exchange`] is one end's part in all transfers of one connection. It touches no disk, no clock and no socket: messages
//! of the other side, replies of the disk and commands of the host go in; messages, requests to the disk and events come out.
//!
//! > The driver hands it every file message that arrives, in order, by [`handle_message`](Exchange::handle_message), and every
//! > reply of the disk by [`handle_reply`](Exchange::handle_reply). After each input it drains [`poll_event`](Exchange::poll_event)
//! > and [`poll_request`](Exchange::poll_request); whenever the connection has room it takes
//! > [`poll_message`](Exchange::poll_message) and sends that guaranteed, in order, at bulk priority. A message that it took is
//! > as good as sent: who cannot send it must end the exchange.
//!
//! What carries the messages must deliver each of at most [`MAX_MESSAGE`] bytes whole, once and in order: the native wire's mode
//! 5 does, and so does any stream with frames. Memory is bounded by windows: the receiver says up to which byte it may be sent
//! (what it has written, and [`WINDOW`] more), the sender reads no more than [`READ_AHEAD`] pieces beyond what left.

pub mod hub;
pub mod message;
pub mod name;
pub mod plain;
pub mod plain_transfer;
mod receiving;
mod sending;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::time::Time;
use message::Message;
use receiving::Incoming;
use sending::Outgoing;

/// Longest message of a transfer, in bytes: what carries them must take as much.
pub const MAX_MESSAGE: usize = MAX_DATA + message::DATA_HEADER;
/// Most bytes of a file in one message; ours sends as many.
pub const MAX_DATA: usize = 32 * 1024;
/// Least bytes of a file in one message that does not end it: many small ones would cost more memory than they say.
pub const MIN_DATA: usize = 512;
/// Bytes that a sender may send beyond what its receiver has written: most that a receiver holds of one file.
pub const WINDOW: u64 = 1024 * 1024;
/// Pieces of a file that a sender reads ahead of what its connection has taken.
pub const READ_AHEAD: u32 = 4;
/// Files that are hashed, offered or sent to one peer at once; others wait.
pub const MAX_SENDING: usize = 4;
/// Files to one peer that may wait behind those; more are refused at once.
pub const MAX_WAITING: usize = 1024;
/// A file of which less than [`STALL_BYTES`] come in so long, though its receiver waits, is given up: it holds a place that others
/// want.
pub const STALL_TIME: Duration = Duration::from_secs(60);
/// What must come of a file in every [`STALL_TIME`], or its end, in bytes.
pub const STALL_BYTES: u64 = 16 * 1024;
/// An offer about which the host decides nothing for so long is given up, too.
pub const DECISION_TIME: Duration = Duration::from_secs(600);
/// Messages that may wait to leave before offers are passed over: whoever offers and hears no answers makes no more of them.
pub const MAX_ANSWERS: usize = 64;

/// SHA-256 of a whole file.
pub type Digest = [u8; 32];

/// Which way a file goes, seen from this end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// From the other side to here.
    Receiving,
    /// From here to the other side.
    Sending,
}

/// A transfer of one connection: no other of its direction ever has its number while the connection lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// Which way it goes.
    pub direction: Direction,
    /// The sender's number of it.
    pub number: u32,
}

impl FileId {
    /// One that is sent.
    pub fn sending(number: u32) -> FileId {
        FileId { direction: Direction::Sending, number }
    }

    /// One that is received.
    pub fn receiving(number: u32) -> FileId {
        FileId { direction: Direction::Receiving, number }
    }

    /// As an integer for the C ABI; never 0.
    pub fn to_bits(self) -> u64 {
        let direction = match self.direction {
            Direction::Sending => 1,
            Direction::Receiving => 2,
        };
        direction << 32 | u64::from(self.number)
    }

    /// From such an integer. `None`: it is none.
    pub fn from_bits(bits: u64) -> Option<FileId> {
        let direction = match bits >> 32 {
            1 => Direction::Sending,
            2 => Direction::Receiving,
            _ => return None,
        };
        Some(FileId { direction, number: bits as u32 })
    }
}

impl Quota {
    /// Whether something more fits under a bound, of which 0 is none.
    fn fits(used: u64, more: u64, most: u64) -> bool {
        most == 0 || used.checked_add(more).is_some_and(|all| all <= most)
    }
}

/// How much a receiver takes. Of the bytes 0 means: without bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Longest file, in bytes. Default 0. A longer one is refused unasked.
    pub max_file_bytes: u64,
    /// Files of one peer at once, those included that wait for the host's decision. Default 4; more are refused as *busy*.
    pub files_per_peer: u32,
    /// Bytes of one peer while it is connected: received, and still to come of accepted files. Default 0.
    pub bytes_per_peer: u64,
    /// Files at once from all peers. Default 64.
    pub files_total: u32,
    /// Bytes from all peers since the start. Default 0.
    pub bytes_total: u64,
    /// Files taken of one peer while it is connected, however short. 0: any number. Default [`COUNT_PER_PEER`].
    pub count_per_peer: u64,
    /// Files taken from all peers since the start, however short. Default 0: any number.
    pub count_total: u64,
}

/// Default of [`Quota::count_per_peer`]: many for a person, few for a disk.
pub const COUNT_PER_PEER: u64 = 65_536;

impl Default for Quota {
    fn default() -> Quota {
        Quota {
            max_file_bytes: 0,
            files_per_peer: 4,
            bytes_per_peer: 0,
            files_total: 64,
            bytes_total: 0,
            count_per_peer: COUNT_PER_PEER,
            count_total: 0,
        }
    }
}

/// What all connections of one server or client take together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Files that are being received, and those that were given up and that the disk has not let go of yet.
    pub files: u32,
    /// Bytes received, and still to come.
    pub bytes: u64,
    /// Files taken since the start, but for those that failed.
    pub count: u64,
}

/// Why a transfer failed. The numbers are those of END.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Failure {
    /// One of the two hosts gave it up.
    Cancelled = 1,
    /// The receiver's host does not want it.
    Refused = 2,
    /// The receiver takes as many files as it may.
    Busy = 3,
    /// It would exceed a quota of the receiver.
    Quota = 4,
    /// The file is longer than the receiver takes.
    TooLarge = 5,
    /// The sender cannot read it any more, or it changed meanwhile.
    Vanished = 6,
    /// The receiver's disk is full.
    NoSpace = 7,
    /// The receiver's disk failed otherwise.
    Disk = 8,
    /// What arrived is not what was offered.
    Mismatch = 9,
    /// The other side broke the rules of transfers.
    Protocol = 10,
    /// Less than [`STALL_BYTES`] came in [`STALL_TIME`], or nobody decided in [`DECISION_TIME`].
    Stalled = 11,
    /// The connection ended. It is not said.
    Disconnected = 12,
}

impl Failure {
    /// As END has it. An unknown number reads as [`Cancelled`](Failure::Cancelled).
    pub fn from_wire(number: u8) -> Failure {
        use Failure::*;
        let said =
            [Cancelled, Refused, Busy, Quota, TooLarge, Vanished, NoSpace, Disk, Mismatch, Protocol, Stalled];
        said.into_iter().find(|f| *f as u8 == number).unwrap_or(Cancelled)
    }

    /// One sentence for a person.
    pub fn text(self) -> &'static str {
        match self {
            Failure::Cancelled => "the transfer was cancelled",
            Failure::Refused => "the receiver does not want the file",
            Failure::Busy => "the receiver takes as many files as it may",
            Failure::Quota => "the file would exceed a quota of the receiver",
            Failure::TooLarge => "the file is longer than the receiver takes",
            Failure::Vanished => "the file cannot be read any more, or it changed while it was sent",
            Failure::NoSpace => "the receiver's disk is full",
            Failure::Disk => "the receiver cannot write the file",
            Failure::Mismatch => "what arrived is not what was offered",
            Failure::Protocol => "the other side broke the rules of file transfers",
            Failure::Stalled => "nothing came for too long",
            Failure::Disconnected => "the connection ended",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// A file as its sender offers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its name, reduced to a safe base name ([`name::safe`]).
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of all of it.
    pub digest: Digest,
}

/// Where an accepted file goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The directory; it must exist. Nothing is written elsewhere.
    pub directory: PathBuf,
    /// Another name than the offered one, reduced the same way.
    pub name: Option<String>,
    /// Whether a file of this name is replaced, once the new one is whole. Else the new one gets a number: `name-1.txt`.
    pub replace: bool,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The other side offers a file: [`Exchange::accept`] or [`Exchange::refuse`] answers.
    Offered(FileId, Offer),
    /// So much has been written to the receiver's disk.
    Progress {
        /// Of which file.
        file: FileId,
        /// Bytes there, those included that a resumed transfer found.
        done: u64,
        /// Bytes in all.
        size: u64,
    },
    /// The last event of a transfer.
    Ended(FileId, Ended),
}

/// How a transfer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The file's name: of a received one the offered, made safe.
    pub name: String,
    /// Bytes in all; 0 where the sender had not looked yet.
    pub size: u64,
    /// Whole, checked and in its place: of a received file where that is. Else why not, and one sentence about it.
    pub result: Result<Option<PathBuf>, (Failure, String)>,
}

/// What the disk is asked for. Requests of one file are done in their order; each but `Close` has one reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Open a file to send it, and hash it: [`Reply::Opened`].
    Open {
        /// Where it is.
        source: PathBuf,
    },
    /// Read a piece: [`Reply::Read`].
    Read {
        /// From which byte on.
        offset: u64,
        /// How many; fewer mean that the file changed.
        len: usize,
    },
    /// The sent file is not needed any more.
    Close,
    /// Open the temporary file of what is to be received, and hash what it has: [`Reply::Prepared`].
    Prepare {
        /// Where the file goes.
        target: Target,
        /// Its safe name.
        name: String,
        /// How long it will be. `None`: nobody knows.
        size: Option<u64>,
        /// By what it is known again, and checked. `None`: neither.
        digest: Option<Digest>,
    },
    /// Append to it: [`Reply::Written`].
    Write {
        /// The bytes.
        data: Vec<u8>,
    },
    /// All is written: check, put it onto the disk, rename: [`Reply::Finished`] or [`Reply::Restarted`].
    Finish,
    /// The received file is given up: [`Reply::Dropped`], in any case. After a failed reply this is not needed.
    Drop {
        /// Whether what there is stays for later.
        keep: bool,
    },
}

impl Request {
    /// The answer where nothing can be done: there is nothing to be dropped then.
    pub fn failed(&self, failure: Failure, text: String) -> Reply {
        match self {
            Request::Drop { .. } => Reply::Dropped,
            _ => Reply::Failed { failure, text },
        }
    }
}

/// What the disk says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The file to send is open.
    Opened {
        /// Its length.
        size: u64,
        /// Its hash.
        digest: Digest,
    },
    /// A piece of it, as long as it was asked for.
    Read {
        /// The bytes.
        data: Vec<u8>,
    },
    /// The temporary file is open, and has so many bytes of an earlier try.
    Prepared {
        /// How many.
        offset: u64,
    },
    /// So many bytes were written.
    Written {
        /// How many.
        len: usize,
    },
    /// The file is in its place.
    Finished {
        /// Where.
        path: PathBuf,
    },
    /// What an earlier try had left was wrong: the temporary file is empty now.
    Restarted,
    /// Nothing is done for the file any more.
    Dropped,
    /// It did not work, and nothing of the file is left behind.
    Failed {
        /// Why.
        failure: Failure,
        /// The system's words, for this end's host alone.
        text: String,
    },
}

/// No such transfer waits for this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchFile;

/// One end's part in all transfers of one connection. See the module's contract.
#[derive(Debug)]
pub struct Exchange {
    quota: Quota,
    sending: BTreeMap<u32, Outgoing>,
    /// Files that wait for their turn, and where they are.
    waiting: VecDeque<(u32, String, PathBuf)>,
    next_number: u32,
    receiving: BTreeMap<u32, Incoming>,
    /// Those given up that the disk has not let go of yet: they keep their places, so that nobody makes it more work than there are
    /// places.
    dropping: BTreeSet<u32>,
    /// Bytes received from this peer, and still to come of accepted files.
    received_bytes: u64,
    /// Files taken of it, but for those that failed.
    count: u64,
    /// Messages that wait, each with the file whose data it has, if it has any.
    outbox: VecDeque<(Option<u32>, Vec<u8>)>,
    requests: VecDeque<(FileId, Request)>,
    events: VecDeque<Event>,
    /// Messages that could not be read, or were of no use.
    malformed: u64,
}

impl Exchange {
    /// Without transfers.
    pub fn new(quota: Quota) -> Exchange {
        Exchange {
            quota,
            sending: BTreeMap::new(),
            waiting: VecDeque::new(),
            next_number: 1,
            receiving: BTreeMap::new(),
            dropping: BTreeSet::new(),
            received_bytes: 0,
            count: 0,
            outbox: VecDeque::new(),
            requests: VecDeque::new(),
            events: VecDeque::new(),
            malformed: 0,
        }
    }

    // --- getters --------------------------------------------------------------------------------------

    /// Whether no transfer is under way, and nothing waits to be polled.
    pub fn is_idle(&self) -> bool {
        self.sending.is_empty()
            && self.waiting.is_empty()
            && self.receiving.is_empty()
            && self.dropping.is_empty()
            && self.outbox.is_empty()
            && self.requests.is_empty()
            && self.events.is_empty()
    }

    /// Whether [`poll_message`](Self::poll_message) has one.
    pub fn has_message(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Messages that could not be read, or broke the rules.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Bytes of messages that wait: for tests of the bound.
    pub fn waiting_bytes(&self) -> usize {
        self.outbox.iter().map(|(_, message)| message.len()).sum()
    }

    // --- commands -------------------------------------------------------------------------------------

    /// Gives a transfer up: what was received of it is removed. The other side is told, and [`Event::Ended`] follows.
    pub fn cancel(&mut self, file: FileId, totals: &mut Totals) -> Result<(), NoSuchFile> {
        let text = Failure::Cancelled.text().to_owned();
        match file.direction {
            Direction::Sending => self.fail_sending(file.number, Failure::Cancelled, text, true),
            Direction::Receiving => self.fail_receiving(file.number, Failure::Cancelled, text, true, totals),
        }
    }

    /// What waits to leave but pieces of files: what the other side should hear before a connection ends in peace.
    pub fn take_last_words(&mut self) -> Vec<Vec<u8>> {
        let waiting = std::mem::take(&mut self.outbox);
        waiting.into_iter().filter_map(|(of, message)| of.is_none().then_some(message)).collect()
    }

    /// The connection has ended: so do all transfers. What was received stays where it is, for a next try.
    pub fn close(&mut self, totals: &mut Totals) {
        let text = || Failure::Disconnected.text().to_owned();
        let sending: Vec<u32> =
            self.sending.keys().copied().chain(self.waiting.iter().map(|(number, ..)| *number)).collect();
        for number in sending {
            let _gone = self.fail_sending(number, Failure::Disconnected, text(), false);
        }
        let receiving: Vec<u32> = self.receiving.keys().copied().collect();
        for number in receiving {
            let _gone = self.fail_receiving(number, Failure::Disconnected, text(), false, totals);
        }
        self.outbox.clear();
    }

    // --- input ----------------------------------------------------------------------------------------

    /// A message of the other side. Nothing in it ends more than a transfer.
    pub fn handle_message(&mut self, now: Time, bytes: &[u8], totals: &mut Totals) {
        let Some(message) = Message::read(bytes) else {
            self.malformed += 1;
            return;
        };
        match message {
            Message::Offer { file, size, digest, name } => {
                let offer = Offer { name: name::safe(&String::from_utf8_lossy(name)), size, digest };
                self.handle_offer(now, file, offer, totals);
            }
            Message::Data { file, offset, data } => self.handle_data(now, file, offset, data, totals),
            Message::Accept { file, offset, limit } => self.handle_accept(file, offset, limit),
            Message::Credit { file, written, limit } => self.handle_credit(file, written, limit),
            Message::Done { file } => self.handle_done(file),
            Message::End { file, by_sender, reason, text } => {
                let failure = Failure::from_wire(reason);
                let text = match String::from_utf8_lossy(text) {
                    said if said.is_empty() => failure.text().to_owned(),
                    said => name::printable(&said),
                };
                // One that has ended here already is no error: both can give up at once.
                let _gone = if by_sender {
                    self.fail_receiving(file, failure, text, false, totals)
                } else {
                    self.fail_sending(file, failure, text, false)
                };
            }
        }
    }

    /// A reply of the disk. One for a transfer that has ended meanwhile is passed over.
    pub fn handle_reply(&mut self, now: Time, file: FileId, reply: Reply, totals: &mut Totals) {
        match file.direction {
            Direction::Sending => self.handle_source(file.number, reply),
            Direction::Receiving => self.handle_target(now, file.number, reply, totals),
        }
    }

    // --- outputs --------------------------------------------------------------------------------------

    /// The next message, at most [`MAX_MESSAGE`] bytes.
    pub fn poll_message(&mut self) -> Option<Vec<u8>> {
        let (of, message) = self.outbox.pop_front()?;
        if let Some(number) = of {
            self.data_left(number);
        }
        Some(message)
    }

    /// The next request to the disk, and for which file.
    pub fn poll_request(&mut self) -> Option<(FileId, Request)> {
        self.requests.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn say(&mut self, message: &Message<'_>) {
        self.outbox.push_back((None, message.write()));
    }
}
