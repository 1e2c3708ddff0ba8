//! Files to and from peers: between their connections, the disk's thread and the host.

use std::collections::HashMap;
use std::path::Path;

use super::{Core, Dispatch};
use crate::error::{Error, ErrorKind, Result};
use crate::protocol::delivery::{Delivery, Mode, Priority};
use crate::protocol::files::hub::Hub;
use crate::protocol::files::{Direction, Event as FileEvent, FileId, Reply, Request, Target, Totals};
use crate::protocol::time::Time;
use crate::server::events::*;
use crate::server::files::{has_room, Watcher, NOT_ENABLED, NOT_TAKEN};

/// How a file's messages are sent.
pub(crate) const FILE_DELIVERY: Delivery =
    Delivery { mode: Mode::Files, channel: 0, priority: Priority::Bulk, deadline: None, redundancy: 0 };

/// What the core holds of files.
pub(super) struct Files {
    pub(super) hub: Hub<u64>,
    watchers: HashMap<(PeerId, FileId), Watcher<FileProgressFn, FileDoneCallback>>,
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

    /// See [`crate::Server::send_file`].
    pub(crate) fn send_file(&mut self, id: PeerId, path: &Path, options: FileOptions) -> Result<FileId> {
        self.hub()?;
        let peer = self.live(id)?;
        if peer.status != Status::Connected {
            return Err(Error::new(ErrorKind::Stale, format!("{id:?} is not connected")));
        }
        if !peer.connection.takes_files() {
            return Err(Error::new(ErrorKind::State, NOT_TAKEN));
        }
        let (name, watcher) = options.split(path);
        let file = self.hub()?.send(id.0, &name, path.to_owned());
        let file =
            file.ok_or_else(|| Error::new(ErrorKind::WouldBlock, "too many files wait for this peer"))?;
        if let (Some(files), Some(watcher)) = (&mut self.files, watcher) {
            files.watchers.insert((id, file), watcher);
        }
        Ok(file)
    }

    /// See [`crate::Server::accept_file`].
    pub(crate) fn accept_file(&mut self, id: PeerId, file: FileId, target: Target) -> Result<()> {
        self.live(id)?;
        let accepted = match file.direction {
            Direction::Receiving => self.hub()?.accept(id.0, file.number, target),
            Direction::Sending => Err(crate::protocol::files::NoSuchFile),
        };
        self.hear_files();
        accepted.map_err(|_| no_such_file(id, file))
    }

    /// See [`crate::Server::refuse_file`].
    pub(crate) fn refuse_file(&mut self, id: PeerId, file: FileId, text: &str) -> Result<()> {
        self.live(id)?;
        let refused = match file.direction {
            Direction::Receiving => self.hub()?.refuse(id.0, file.number, text),
            Direction::Sending => Err(crate::protocol::files::NoSuchFile),
        };
        refused.map_err(|_| no_such_file(id, file))
    }

    /// See [`crate::Server::cancel_file`].
    pub(crate) fn cancel_file(&mut self, id: PeerId, file: FileId) -> Result<()> {
        self.live(id)?;
        let cancelled = self.hub()?.cancel(id.0, file);
        self.hear_files();
        cancelled.map_err(|_| no_such_file(id, file))
    }

    /// What all peers' files take together; none where they are not enabled.
    pub(crate) fn file_totals(&self) -> Totals {
        self.files.as_ref().map(|f| f.hub.totals()).unwrap_or_default()
    }

    /// A message about files came from a peer.
    pub(super) fn handle_file_message(&mut self, now: Time, id: PeerId, message: &[u8]) {
        if let Some(files) = &mut self.files {
            files.hub.handle_message(now, id.0, message);
        }
        self.hear_files();
    }

    /// The disk's answer.
    pub(crate) fn handle_file_reply(&mut self, now: Time, peer: u64, file: FileId, reply: Reply) {
        if let Some(files) = &mut self.files {
            files.hub.handle_reply(now, peer, file, reply);
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

    /// A peer's connection has ended.
    pub(super) fn close_files(&mut self, id: PeerId) {
        if let Some(files) = &mut self.files {
            files.hub.close(id.0);
        }
        self.hear_files();
    }

    /// The next request to the disk.
    pub(crate) fn poll_file_request(&mut self) -> Option<(u64, FileId, Request)> {
        self.files.as_mut()?.hub.poll_request()
    }

    /// Moves what is to be said about files into the peers' queues, as far as these have room. The rest waits in the hub, which
    /// reads no further ahead.
    pub(crate) fn pump_files(&mut self, now: Time) {
        let limits = &self.settings.limits;
        let (max_bytes, max_messages) = (limits.max_bytes, limits.max_messages);
        let mut after = None;
        while let Some(of) = self.files.as_ref().and_then(|f| f.hub.next_speaker(after)) {
            after = Some(of);
            let Some(slot) = self.peers.slot_of(PeerId(of)) else { continue };
            let mut sent = false;
            while let (Some(peer), Some(files)) = (self.peers.at(slot), &mut self.files) {
                let (bytes, messages) = (peer.connection.queued_bytes(), peer.connection.queued_messages());
                if !has_room(bytes, messages, max_bytes, max_messages) {
                    break;
                }
                let Some(message) = files.hub.poll_message(of) else { break };
                // There was room; a connection that is ending cancels what it has, and says so to the hub.
                let _ending = peer.connection.send(now, message.into(), FILE_DELIVERY, 0);
                sent = true;
            }
            if sent {
                self.touched(now, slot);
            }
        }
    }

    /// Tells the host what happened to files.
    fn hear_files(&mut self) {
        while let Some((of, event)) = self.files.as_mut().and_then(|f| f.hub.poll_event()) {
            let id = PeerId(of);
            let Some(files) = &mut self.files else { return };
            match &event {
                FileEvent::Offered(file, _) if !self.wants.takes.file && self.wants.queue == 0 => {
                    // Nobody would ever decide.
                    let _gone = files.hub.refuse(of, file.number, "nobody takes files here");
                    continue;
                }
                FileEvent::Offered(..) => {}
                FileEvent::Progress { file, done, size } => {
                    let watcher = files.watchers.get(&(id, *file));
                    if let Some(callback) = watcher.and_then(|w| w.on_progress.clone()) {
                        self.dispatches.push_back(Dispatch::FileProgress(id, callback, *file, *done, *size));
                        continue;
                    }
                }
                FileEvent::Ended(file, ended) => {
                    let watcher = files.watchers.remove(&(id, *file));
                    if let Some(callback) = watcher.and_then(|w| w.on_done) {
                        self.dispatches.push_back(Dispatch::FileDone(id, callback, *file, ended.clone()));
                        continue;
                    }
                }
            }
            self.emit(Event::File(id, event));
        }
    }
}

fn no_such_file(id: PeerId, file: FileId) -> Error {
    Error::new(ErrorKind::Stale, format!("{id:?} has no such file under way, or it was decided: {file:?}"))
}
