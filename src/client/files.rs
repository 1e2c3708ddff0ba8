//! Files to and from the server: between the session, the disk's thread and the host.

use std::collections::HashMap;
use std::path::Path;

use super::core::{Core, Dispatch};
use super::events::*;
use crate::error::{Error, ErrorKind, Result};
use crate::protocol::files::hub::Hub;
use crate::protocol::files::{Direction, Event as FileEvent, FileId, NoSuchFile, Reply, Request, Target};
use crate::protocol::time::Time;
use crate::server::files::{has_room, Watcher, FILE_DELIVERY, NOT_ENABLED, NOT_TAKEN};

/// The host's callbacks for one file.
pub(super) type FileWatcher = Watcher<FileProgressFn, FileDoneCallback>;

/// What the core holds of files. Sessions are told apart by their number: the disk may answer about one that is over.
pub(super) struct Files {
    hub: Hub<u64>,
    watchers: HashMap<FileId, FileWatcher>,
}

impl Files {
    pub(super) fn new(hub: Hub<u64>) -> Files {
        Files { hub, watchers: HashMap::new() }
    }
}

impl Core {
    fn hub(&mut self) -> Result<&mut Hub<u64>> {
        let files = self.files.as_mut();
        files.map(|f| &mut f.hub).ok_or_else(|| Error::new(ErrorKind::State, NOT_ENABLED))
    }

    /// See [`crate::Client::send_file`]. The watcher stays with the caller when this fails, to be dropped without the lock.
    pub(super) fn send_file(
        &mut self,
        path: &Path,
        name: &str,
        watcher: &mut Option<FileWatcher>,
    ) -> Result<FileId> {
        self.hub()?;
        let session = self.session.as_ref().filter(|s| s.is_connected());
        let session = session.ok_or_else(|| Error::new(ErrorKind::State, "the client is not connected"))?;
        if !session.takes_files() {
            return Err(Error::new(ErrorKind::State, NOT_TAKEN));
        }
        let of = self.sessions();
        let file = self.hub()?.send(of, name, path.to_owned());
        let file = file.ok_or_else(|| Error::new(ErrorKind::WouldBlock, "too many files wait already"))?;
        if let (Some(files), Some(watcher)) = (&mut self.files, watcher.take()) {
            files.watchers.insert(file, watcher);
        }
        Ok(file)
    }

    /// See [`crate::Client::accept_file`].
    pub(super) fn accept_file(&mut self, file: FileId, target: Target) -> Result<()> {
        let of = self.sessions();
        let accepted = match file.direction {
            Direction::Receiving => self.hub()?.accept(of, file.number, target),
            Direction::Sending => Err(NoSuchFile),
        };
        self.hear_files();
        accepted.map_err(|_| no_such_file(file))
    }

    /// See [`crate::Client::refuse_file`].
    pub(super) fn refuse_file(&mut self, file: FileId, text: &str) -> Result<()> {
        let of = self.sessions();
        let refused = match file.direction {
            Direction::Receiving => self.hub()?.refuse(of, file.number, text),
            Direction::Sending => Err(NoSuchFile),
        };
        self.hear_files();
        refused.map_err(|_| no_such_file(file))
    }

    /// See [`crate::Client::cancel_file`].
    pub(super) fn cancel_file(&mut self, file: FileId) -> Result<()> {
        let of = self.sessions();
        let cancelled = self.hub()?.cancel(of, file);
        self.hear_files();
        cancelled.map_err(|_| no_such_file(file))
    }

    /// A message about files came.
    pub(super) fn handle_file_message(&mut self, now: Time, message: &[u8]) {
        let of = self.sessions();
        if let Some(files) = &mut self.files {
            files.hub.handle_message(now, of, message);
        }
        self.hear_files();
    }

    /// The disk's answer.
    pub(super) fn handle_file_reply(&mut self, now: Time, of: u64, file: FileId, reply: Reply) {
        if let Some(files) = &mut self.files {
            files.hub.handle_reply(now, of, file, reply);
        }
        self.hear_files();
    }

    /// Time passed.
    pub(super) fn expire_files(&mut self, now: Time) {
        if let Some(files) = &mut self.files {
            files.hub.handle_timeout(now);
        }
        self.hear_files();
    }

    /// The session has ended.
    pub(super) fn close_files(&mut self) {
        let of = self.sessions();
        if let Some(files) = &mut self.files {
            files.hub.close(of);
        }
        self.hear_files();
    }

    /// The next request to the disk.
    pub(super) fn poll_file_request(&mut self) -> Option<(u64, FileId, Request)> {
        self.files.as_mut()?.hub.poll_request()
    }

    /// The session is to end in peace: what its files have to say goes into its queue, before that is closed.
    pub(super) fn say_last_of_files(&mut self, now: Time) {
        let of = self.sessions();
        let words = self.files.as_mut().map(|files| files.hub.take_last_words(of)).unwrap_or_default();
        let Some(session) = &mut self.session else { return };
        for message in words {
            // A queue without room has no room for this either.
            let _full = session.send(now, message.into(), None, FILE_DELIVERY, 0);
        }
    }

    /// Whether something about files can go on without anything from outside.
    pub(super) fn files_can_go_on(&self) -> bool {
        let Some(files) = &self.files else { return false };
        if files.hub.has_requests() || files.hub.has_events(self.has_file_room()) {
            return true;
        }
        let limits = &self.settings.limits;
        let queued = self.session.as_ref().filter(|s| s.is_connected()).map(|s| s.queued());
        let room = queued.is_some_and(|(messages, bytes)| {
            has_room(bytes, messages, limits.max_bytes, limits.max_messages)
        });
        room && files.hub.next_speaker(None) == Some(self.sessions())
    }

    /// Whether the host's event queue takes another event about files. Until it does they wait in the hub, where there is a bounded
    /// number of them.
    fn has_file_room(&self) -> bool {
        self.takes.file || self.queue() == 0 || self.queued_events() < self.queue()
    }

    /// Moves what is to be said about files into the session's queue, as far as that has room.
    pub(super) fn pump_files(&mut self, now: Time) {
        self.hear_files();
        let (of, limits) = (self.sessions(), &self.settings.limits);
        let (max_bytes, max_messages) = (limits.max_bytes, limits.max_messages);
        let mut sent = false;
        while let (Some(session), Some(files)) = (&mut self.session, &mut self.files) {
            let (messages, bytes) = session.queued();
            if !files.hub.has_speakers() || !has_room(bytes, messages, max_bytes, max_messages) {
                break;
            }
            let Some(message) = files.hub.poll_message(of) else { break };
            // There was room; a session that is ending says so to the hub.
            let _ending = session.send(now, message.into(), None, FILE_DELIVERY, 0);
            sent = true;
        }
        if sent {
            self.collect(now);
        }
    }

    /// Tells the host what happened to files.
    fn hear_files(&mut self) {
        loop {
            let room = self.has_file_room();
            let Some((of, event)) = self.files.as_mut().and_then(|f| f.hub.poll_event(room)) else { break };
            let nobody = !self.takes.file && self.queue() == 0;
            let Some(files) = &mut self.files else { return };
            match &event {
                FileEvent::Offered(file, _) if nobody => {
                    // Nobody would ever decide.
                    let _gone = files.hub.refuse(of, file.number, "nobody takes files here");
                    continue;
                }
                FileEvent::Offered(..) => {}
                FileEvent::Progress { file, done, size } => {
                    let watcher = files.watchers.get(file);
                    if let Some(callback) = watcher.and_then(|w| w.on_progress.clone()) {
                        self.dispatches.push_back(Dispatch::FileProgress(callback, *file, *done, *size));
                        continue;
                    }
                }
                FileEvent::Ended(file, ended) => {
                    // It is dropped where it is called, without the lock: its drop may be code of the host's.
                    if let Some(watcher) = files.watchers.remove(file) {
                        let told = watcher.on_done.is_some();
                        self.dispatches.push_back(Dispatch::FileDone(watcher, *file, ended.clone()));
                        if told {
                            continue;
                        }
                    }
                }
            }
            self.emit(Event::File(event));
        }
    }
}

fn no_such_file(file: FileId) -> Error {
    Error::new(ErrorKind::Stale, format!("no such file is under way, or it was decided: {file:?}"))
}
