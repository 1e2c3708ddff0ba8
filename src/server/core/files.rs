//! Files to and from peers: between their connections, the disk's thread and the host.

use std::collections::HashMap;
use std::path::Path;

use super::{Core, Dispatch};
use crate::error::{Error, ErrorKind, Result};
use crate::protocol::connection::Room;
use crate::protocol::files::hub::Hub;
use crate::protocol::files::{Direction, Event as FileEvent, FileId, Reply, Request, Target, Totals};
use crate::protocol::time::Time;
use crate::server::events::*;
use crate::server::files::{has_room, Watcher, FILE_DELIVERY, NOT_ENABLED, NOT_TAKEN};
use crate::server::peers::Peers;

/// The host's callbacks for one file.
pub(crate) type FileWatcher = Watcher<FileProgressFn, FileDoneCallback>;

/// Connections looked at for room before the loop sleeps: where there are more that speak, one of them wakes it.
const SPEAKERS_LOOKED_AT: usize = 64;

/// What the core holds of files.
pub(super) struct Files {
    pub(super) hub: Hub<u64>,
    watchers: HashMap<(PeerId, FileId), FileWatcher>,
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

    /// See [`crate::Server::send_file`]. The watcher stays with the caller when this fails, to be dropped without the lock: its
    /// drop may be code of the host's that calls in here.
    pub(crate) fn send_file(
        &mut self,
        id: PeerId,
        path: &Path,
        name: &str,
        watcher: &mut Option<FileWatcher>,
    ) -> Result<FileId> {
        self.hub()?;
        let peer = self.live(id)?;
        if peer.status != Status::Connected {
            return Err(Error::new(ErrorKind::Stale, format!("{id:?} is not connected")));
        }
        if !peer.connection.takes_files() {
            return Err(Error::new(ErrorKind::State, NOT_TAKEN));
        }
        let file = self.hub()?.send(id.0, name, path.to_owned());
        let file =
            file.ok_or_else(|| Error::new(ErrorKind::WouldBlock, "too many files wait for this peer"))?;
        if let (Some(files), Some(watcher)) = (&mut self.files, watcher.take()) {
            files.watchers.insert((id, file), watcher);
        }
        Ok(file)
    }

    /// See [`crate::Server::accept_file`].
    pub(crate) fn accept_file(&mut self, now: Time, id: PeerId, file: FileId, target: Target) -> Result<()> {
        self.live(id)?;
        let accepted = match file.direction {
            Direction::Receiving => self.hub()?.accept(id.0, file.number, target),
            Direction::Sending => Err(crate::protocol::files::NoSuchFile),
        };
        self.heed_files(now);
        accepted.map_err(|_| no_such_file(id, file))
    }

    /// See [`crate::Server::refuse_file`].
    pub(crate) fn refuse_file(&mut self, now: Time, id: PeerId, file: FileId, text: &str) -> Result<()> {
        self.live(id)?;
        let refused = match file.direction {
            Direction::Receiving => self.hub()?.refuse(id.0, file.number, text),
            Direction::Sending => Err(crate::protocol::files::NoSuchFile),
        };
        self.heed_files(now);
        refused.map_err(|_| no_such_file(id, file))
    }

    /// See [`crate::Server::cancel_file`].
    pub(crate) fn cancel_file(&mut self, now: Time, id: PeerId, file: FileId) -> Result<()> {
        self.live(id)?;
        let cancelled = self.hub()?.cancel(id.0, file);
        self.heed_files(now);
        cancelled.map_err(|_| no_such_file(id, file))
    }

    /// What all peers' files take together; none where they are not enabled.
    pub(crate) fn file_totals(&self) -> Totals {
        self.files.as_ref().map(|f| f.hub.totals()).unwrap_or_default()
    }

    /// A peer came in by a door with files.
    pub(crate) fn open_files(&mut self, now: Time, id: PeerId) {
        let Some(files) = &mut self.files else { return };
        if let Some(stream) = self.peers.at(Peers::place_of(id)).and_then(|p| p.connection.as_stream_mut()) {
            stream.allow_files();
            // At a raw door what a peer says is a file.
            stream.expect_plain_file();
            if stream.is_plain_file() {
                files.hub.open_plain(now, id.0);
            }
        }
    }

    /// A plain file may have room for more of what came.
    fn resume_plain(&mut self, now: Time, id: PeerId) {
        if !self.files.as_ref().is_some_and(|f| f.hub.wants_plain(id.0)) {
            return;
        }
        let slot = Peers::place_of(id);
        let Some(peer) = self.peers.at(slot).filter(|p| p.id == id) else { return };
        if let Some(stream) = peer.connection.as_stream_mut() {
            let mut room = Room::ENDLESS;
            stream.resume_plain_file(now, &mut room);
            self.touched(now, slot);
        }
    }

    /// Connections whose plain file is over end, too.
    fn end_plain_files(&mut self, now: Time) {
        while let Some((of, why)) = self.files.as_mut().and_then(|f| f.hub.poll_over()) {
            let id = PeerId(of);
            let slot = Peers::place_of(id);
            let Some(peer) = self.peers.at(slot).filter(|p| p.id == id && p.status.is_seated()) else {
                continue;
            };
            match (why, peer.connection.as_stream_mut()) {
                (Some(why), _) => self.end(now, slot, DisconnectReason::Kicked, why.text()),
                (None, Some(stream)) => {
                    stream.finish_plain_file(now);
                    self.touched(now, slot);
                }
                (None, None) => {}
            }
        }
    }

    /// A message about files came from a peer.
    pub(super) fn handle_file_message(&mut self, now: Time, id: PeerId, message: &[u8]) {
        let Some(files) = &mut self.files else { return };
        if !files.hub.is_plain(id.0) {
            files.hub.handle_message(now, id.0, message);
            return self.heed_files(now);
        }
        match message.is_empty() {
            true => files.hub.handle_plain_end(id.0),
            false => files.hub.handle_plain(id.0, now, message),
        }
        if files.hub.wants_plain(id.0) {
            // Whoever has polled this message polls the next.
            if let Some(stream) =
                self.peers.at(Peers::place_of(id)).and_then(|p| p.connection.as_stream_mut())
            {
                let mut room = Room::ENDLESS;
                stream.resume_plain_file(now, &mut room);
            }
        }
        self.heed_files(now);
    }

    /// The disk's answer.
    pub(crate) fn handle_file_reply(&mut self, now: Time, peer: u64, file: FileId, reply: Reply) {
        if let Some(files) = &mut self.files {
            files.hub.handle_reply(now, peer, file, reply);
        }
        self.heed_files(now);
        self.resume_plain(now, PeerId(peer));
    }

    /// Time passed.
    pub(super) fn expire_files(&mut self, now: Time) {
        if let Some(files) = &mut self.files {
            files.hub.handle_timeout(now);
        }
        self.heed_files(now);
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

    /// A peer is to leave in peace: what its files have to say goes into its queue, before that is closed. Pieces of files do not.
    pub(super) fn say_last_of_files(&mut self, now: Time, id: PeerId) {
        let Some(files) = &mut self.files else { return };
        let words = files.hub.take_last_words(id.0);
        let Some(peer) = self.peers.get_mut(id) else { return };
        for message in words {
            // A queue without room has no room for this either.
            let _full = peer.connection.send(now, message.into(), FILE_DELIVERY, 0);
        }
    }

    /// Whether something about files can go on without anything from outside.
    pub(super) fn files_can_go_on(&self) -> bool {
        let Some(files) = &self.files else { return false };
        if files.hub.has_requests() || files.hub.has_events(self.has_file_room()) {
            return true;
        }
        let limits = &self.settings.limits;
        let (max_bytes, max_messages) = (limits.max_bytes, limits.max_messages);
        files.hub.speakers().take(SPEAKERS_LOOKED_AT).any(|of| {
            self.peers.get(PeerId(of)).is_some_and(|peer| {
                let (bytes, messages) = (peer.connection.queued_bytes(), peer.connection.queued_messages());
                has_room(bytes, messages, max_bytes, max_messages)
            })
        })
    }

    /// Whether the host's event queue takes another event about files. Until it does they wait in the hub, where there is a bounded
    /// number of them.
    fn has_file_room(&self) -> bool {
        self.wants.takes.file || self.wants.queue == 0 || self.pulled.len() < self.wants.queue
    }

    /// Moves what is to be said about files into the peers' queues, as far as these have room. The rest waits in the hub, which
    /// reads no further ahead.
    pub(crate) fn pump_files(&mut self, now: Time) {
        self.heed_files(now);
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

    /// Tells the host what happened to files, and ends connections that were one.
    fn heed_files(&mut self, now: Time) {
        self.hear_files();
        self.end_plain_files(now);
    }

    /// Tells the host what happened to files.
    fn hear_files(&mut self) {
        loop {
            let room = self.has_file_room();
            let Some((of, event)) = self.files.as_mut().and_then(|f| f.hub.poll_event(room)) else { break };
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
                    // It is dropped where it is called, without the lock: its drop may be code of the host's.
                    if let Some(watcher) = files.watchers.remove(&(id, *file)) {
                        let told = watcher.on_done.is_some();
                        self.dispatches.push_back(Dispatch::FileDone(id, watcher, *file, ended.clone()));
                        if told {
                            continue;
                        }
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
