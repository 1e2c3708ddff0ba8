//! The sender's part of a transfer.

use std::path::PathBuf;

use super::message::Message;
use super::{
    Digest, Ended, Event, Exchange, Failure, FileId, NoSuchFile, Reply, Request, MAX_DATA, MAX_SENDING,
    MAX_WAITING, MIN_DATA, READ_AHEAD,
};

/// Where an outgoing file stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The disk looks at it.
    Hashing,
    /// The receiver decides.
    Offered,
    /// Its bytes flow, or all are sent and the receiver checks them.
    Flowing,
}

/// A file on its way out.
#[derive(Debug)]
pub(super) struct Outgoing {
    name: String,
    stage: Stage,
    size: u64,
    digest: Digest,
    /// The next byte to ask the disk for, and the next one that it will give.
    asked: u64,
    read: u64,
    /// Pieces asked for, and those that wait to leave.
    ahead: u32,
    /// Up to where the receiver takes bytes now.
    limit: u64,
    /// What it has written.
    written: u64,
    /// It had begun wrongly, and was told to begin anew.
    restarted: bool,
}

impl Outgoing {
    fn new(name: String) -> Outgoing {
        Outgoing {
            name,
            stage: Stage::Hashing,
            size: 0,
            digest: [0; 32],
            asked: 0,
            read: 0,
            ahead: 0,
            limit: 0,
            written: 0,
            restarted: false,
        }
    }

    /// The next piece to read, if one may be read now.
    fn next_piece(&self) -> Option<(u64, usize)> {
        let end = self.limit.min(self.size);
        let left = end.saturating_sub(self.asked);
        let len = usize::try_from(left).unwrap_or(MAX_DATA).min(MAX_DATA);
        let ends_it = self.asked + len as u64 == self.size;
        let may = self.stage == Stage::Flowing && self.ahead < READ_AHEAD;
        (may && len > 0 && (ends_it || len >= MIN_DATA)).then_some((self.asked, len))
    }
}

impl Exchange {
    /// Sends a file under a name, of which the receiver uses the safe part. It waits behind [`MAX_SENDING`] others.
    /// `None`: too many wait.
    pub fn send(&mut self, name: &str, source: PathBuf) -> Option<FileId> {
        if self.waiting.len() >= MAX_WAITING {
            return None;
        }
        let number = self.next_number;
        // After so many billions of files it begins anew; none of those is under way any more.
        self.next_number = number.checked_add(1).unwrap_or(1);
        self.waiting.push_back((number, super::name::safe(name), source));
        self.begin_waiting();
        Some(FileId::sending(number))
    }

    fn begin_waiting(&mut self) {
        while self.sending.len() < MAX_SENDING {
            let Some((number, name, source)) = self.waiting.pop_front() else { return };
            self.sending.insert(number, Outgoing::new(name));
            self.requests.push_back((FileId::sending(number), Request::Open { source }));
        }
    }

    /// Ends an outgoing file without success; `tell` says whether the receiver does not know.
    pub(super) fn fail_sending(
        &mut self,
        number: u32,
        failure: Failure,
        text: String,
        tell: bool,
    ) -> Result<(), NoSuchFile> {
        let id = FileId::sending(number);
        let waits = self.waiting.iter().position(|(waiting, ..)| *waiting == number);
        if let Some((_, name, _)) = waits.and_then(|at| self.waiting.remove(at)) {
            self.events.push_back(Event::Ended(id, Ended { name, size: 0, result: Err((failure, text)) }));
            return Ok(());
        }
        let file = self.sending.remove(&number).ok_or(NoSuchFile)?;
        self.outbox.retain(|(of, _)| *of != Some(number));
        self.requests.retain(|(of, request)| *of != id || matches!(request, Request::Open { .. }));
        self.requests.push_back((id, Request::Close));
        if tell && file.stage != Stage::Hashing {
            self.say(&Message::End { file: number, by_sender: true, reason: failure as u8, text: b"" });
        }
        let (name, size) = (file.name, file.size);
        self.events.push_back(Event::Ended(id, Ended { name, size, result: Err((failure, text)) }));
        self.begin_waiting();
        Ok(())
    }

    /// A reply of the disk about an outgoing file.
    pub(super) fn handle_source(&mut self, number: u32, reply: Reply) {
        let Some(file) = self.sending.get_mut(&number) else { return };
        match reply {
            Reply::Opened { size, digest } => {
                (file.size, file.digest, file.stage) = (size, digest, Stage::Offered);
                let name = file.name.clone();
                self.say(&Message::Offer { file: number, size, digest, name: name.as_bytes() });
            }
            Reply::Read { data } => {
                let offset = file.read;
                file.read += data.len() as u64;
                let message = Message::Data { file: number, offset, data: &data }.write();
                self.outbox.push_back((Some(number), message));
            }
            Reply::Failed { failure, text } => {
                let _gone = self.fail_sending(number, failure, text, true);
            }
            _ => {}
        }
    }

    /// A piece has left: another may be read.
    pub(super) fn data_left(&mut self, number: u32) {
        if let Some(file) = self.sending.get_mut(&number) {
            file.ahead = file.ahead.saturating_sub(1);
        }
        self.read_on(number);
    }

    fn read_on(&mut self, number: u32) {
        let Some(file) = self.sending.get_mut(&number) else { return };
        while let Some((offset, len)) = file.next_piece() {
            file.asked += len as u64;
            file.ahead += 1;
            self.requests.push_back((FileId::sending(number), Request::Read { offset, len }));
        }
    }

    pub(super) fn handle_accept(&mut self, number: u32, offset: u64, limit: u64) {
        let Some(file) = self.sending.get_mut(&number) else { return };
        // All was sent, and what the receiver had from before turned out to be wrong.
        let again = file.stage == Stage::Flowing && file.read == file.size && file.ahead == 0;
        let may = match file.stage {
            Stage::Offered => offset <= file.size,
            Stage::Flowing => again && offset == 0 && !std::mem::replace(&mut file.restarted, true),
            Stage::Hashing => false,
        };
        if !may {
            return self.broken_by_receiver(number);
        }
        file.stage = Stage::Flowing;
        (file.asked, file.read, file.written) = (offset, offset, offset);
        file.limit = limit;
        self.tell_progress(number);
        self.read_on(number);
    }

    pub(super) fn handle_credit(&mut self, number: u32, written: u64, limit: u64) {
        let Some(file) = self.sending.get_mut(&number) else { return };
        let sane = file.stage == Stage::Flowing && (file.written..=file.read).contains(&written);
        if !sane || limit < file.limit {
            return self.broken_by_receiver(number);
        }
        (file.written, file.limit) = (written, limit);
        self.tell_progress(number);
        self.read_on(number);
    }

    pub(super) fn handle_done(&mut self, number: u32) {
        let Some(file) = self.sending.get(&number) else { return };
        if file.stage != Stage::Flowing || file.read != file.size || file.ahead > 0 {
            return self.broken_by_receiver(number);
        }
        let Some(file) = self.sending.remove(&number) else { return };
        let id = FileId::sending(number);
        self.requests.push_back((id, Request::Close));
        self.events.push_back(Event::Progress { file: id, done: file.size, size: file.size });
        self.events.push_back(Event::Ended(id, Ended { name: file.name, size: file.size, result: Ok(None) }));
        self.begin_waiting();
    }

    fn broken_by_receiver(&mut self, number: u32) {
        self.malformed += 1;
        let _gone = self.fail_sending(number, Failure::Protocol, Failure::Protocol.text().to_owned(), true);
    }

    fn tell_progress(&mut self, number: u32) {
        let Some(file) = self.sending.get(&number) else { return };
        let (done, size) = (file.written, file.size);
        self.events.push_back(Event::Progress { file: FileId::sending(number), done, size });
    }
}
