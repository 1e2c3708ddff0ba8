//! The disk, for transfers of files: one thread that reads, writes and hashes, so that no loop ever waits for a disk.
//!
//! Who asks bounds the queue: a transfer has no more under way than its window ([`crate::protocol::files`]). Long work, which is
//! hashing, is done in steps, with the other requests between them.

mod source;
mod target;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use crate::error::{Error, ErrorKind, Result};
use crate::net::event_loop::Waker;
use crate::net::thread;
use crate::protocol::files::{Direction, Failure, FileId, Reply, Request};
use source::Source;
use target::{Cleaner, Finished, Incoming};
pub use target::{MAX_PARTIALS, PARTIAL_LIFETIME};

/// Bytes hashed between two requests.
const HASH_STEP: usize = 256 * 1024;

/// Whose transfer, and which: whoever asks names it.
pub type Key = (u64, FileId);

/// A transfer that did not work, with the system's words.
pub(crate) type Failed = (Failure, String);

/// The queue to the thread and back.
#[derive(Debug)]
pub struct Disk {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    queues: Mutex<Queues>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queues {
    requests: VecDeque<(Key, Request)>,
    replies: VecDeque<(Key, Reply)>,
    closed: bool,
}

impl Disk {
    /// Starts the thread; `waker` is used for each reply. Errors: Io (no thread).
    pub fn start(waker: Waker) -> Result<Disk> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = thread::spawn("gamekeeper disk", move || Worker::new(theirs, waker).run());
        let thread = thread.map_err(|e| Error::new(ErrorKind::Io, format!("cannot start a thread: {e}")))?;
        Ok(Disk { shared, thread: Some(thread) })
    }

    /// Asks for something.
    pub fn submit(&self, key: Key, request: Request) {
        self.shared.queues.lock().requests.push_back((key, request));
        self.shared.changed.notify_one();
    }

    /// The next answer.
    pub fn poll(&self) -> Option<(Key, Reply)> {
        self.shared.queues.lock().replies.pop_front()
    }
}

impl Drop for Disk {
    /// What was asked for is done first, but for hashing.
    fn drop(&mut self) {
        self.shared.queues.lock().closed = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // It has caught nothing that could panic; if it did, there is nobody to tell any more.
            let _panicked = thread.join();
        }
    }
}

/// The thread's own.
struct Worker {
    shared: Arc<Shared>,
    waker: Waker,
    sources: HashMap<Key, Source>,
    targets: HashMap<Key, Incoming>,
    /// Files that are being hashed, in turn.
    hashing: VecDeque<Key>,
    cleaner: Cleaner,
    buffer: Vec<u8>,
}

impl Worker {
    fn new(shared: Arc<Shared>, waker: Waker) -> Worker {
        Worker {
            shared,
            waker,
            sources: HashMap::new(),
            targets: HashMap::new(),
            hashing: VecDeque::new(),
            cleaner: Cleaner::default(),
            buffer: Vec::new(),
        }
    }

    fn run(mut self) {
        loop {
            let mut queues = self.shared.queues.lock();
            while queues.requests.is_empty() && self.hashing.is_empty() && !queues.closed {
                self.shared.changed.wait(&mut queues);
            }
            let next = queues.requests.pop_front();
            if next.is_none() && queues.closed {
                return;
            }
            drop(queues);
            if let Some((key, request)) = next {
                self.handle(key, request);
            }
            self.hash_on();
        }
    }

    fn reply(&self, key: Key, reply: Reply) {
        self.shared.queues.lock().replies.push_back((key, reply));
        self.waker.wake();
    }

    fn fail(&mut self, key: Key, (failure, text): Failed) {
        self.sources.remove(&key);
        if let Some(target) = self.targets.remove(&key) {
            target.remove();
        }
        self.hashing.retain(|hashing| *hashing != key);
        self.reply(key, Reply::Failed { failure, text });
    }

    fn handle(&mut self, key: Key, request: Request) {
        let done = match request {
            Request::Open { source } => Source::open(&source).map(|source| {
                self.sources.insert(key, source);
                self.hashing.push_back(key);
                None
            }),
            Request::Read { offset, len } => match self.sources.get_mut(&key) {
                Some(source) => source.read(offset, len).map(|data| Some(Reply::Read { data })),
                None => return,
            },
            Request::Close => {
                self.sources.remove(&key);
                return self.hashing.retain(|hashing| *hashing != key);
            }
            Request::Prepare { target, name, size, digest } => {
                self.cleaner.clean(&target.directory);
                Incoming::open(target, name, size, digest).map(|incoming| {
                    self.targets.insert(key, incoming);
                    self.hashing.push_back(key);
                    None
                })
            }
            Request::Write { data } => match self.targets.get_mut(&key) {
                Some(target) => target.write(&data).map(|()| Some(Reply::Written { len: data.len() })),
                None => return,
            },
            Request::Finish => match self.targets.get_mut(&key) {
                Some(target) => target.finish().map(|finished| {
                    Some(match finished {
                        Finished::At(path) => {
                            self.targets.remove(&key);
                            Reply::Finished { path }
                        }
                        Finished::Restarted => Reply::Restarted,
                    })
                }),
                None => return,
            },
            Request::Drop { keep } => {
                if let Some(target) = self.targets.remove(&key) {
                    target.give_up(keep);
                }
                self.hashing.retain(|hashing| *hashing != key);
                Ok(Some(Reply::Dropped))
            }
        };
        match done {
            Ok(Some(reply)) => self.reply(key, reply),
            Ok(None) => {}
            Err(failed) => self.fail(key, failed),
        }
    }

    /// One step of the file whose turn it is.
    fn hash_on(&mut self) {
        let Some(key) = self.hashing.pop_front() else { return };
        self.buffer.resize(HASH_STEP, 0);
        let step = match key.1.direction {
            Direction::Sending => match self.sources.get_mut(&key) {
                Some(source) => source.hash_on(&mut self.buffer),
                None => return,
            },
            Direction::Receiving => match self.targets.get_mut(&key) {
                Some(target) => target.hash_on(&mut self.buffer),
                None => return,
            },
        };
        match step {
            Ok(Some(reply)) => self.reply(key, reply),
            Ok(None) => self.hashing.push_back(key),
            Err(failed) => self.fail(key, failed),
        }
        if self.hashing.is_empty() {
            self.buffer = Vec::new();
        }
    }
}

/// What the system says of a disk that it cannot write to.
fn write_failed(error: &io::Error) -> Failed {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    let full = matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge);
    (if full { Failure::NoSpace } else { Failure::Disk }, error.to_string())
}

#[cfg(test)]
mod tests;
