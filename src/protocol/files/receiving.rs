//! The receiver's part of a transfer.

use super::message::Message;
use super::{
    Ended, Event, Exchange, Failure, FileId, NoSuchFile, Offer, Reply, Request, Target, Totals, MIN_DATA,
    STALL_TIME, WINDOW,
};
use crate::protocol::time::Time;

/// The receiver says that it has room when it has this much more to give.
const CREDIT_STEP: u64 = WINDOW / 4;

/// Where an incoming file stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The host decides.
    Offered,
    /// The disk makes ready.
    Preparing,
    /// Its bytes flow.
    Flowing,
    /// The disk checks it.
    Finishing,
}

/// A file on its way in.
#[derive(Debug)]
pub(super) struct Incoming {
    offer: Offer,
    stage: Stage,
    /// Bytes that came, and those that are on the disk.
    received: u64,
    written: u64,
    /// Up to where the sender may send, and what it was last told of what is written.
    limit: u64,
    told: u64,
    /// What it counts for in the quotas.
    counted: u64,
    /// When something came last, or could have.
    last: Time,
}

impl Exchange {
    /// The host takes a file that was offered.
    pub fn accept(&mut self, number: u32, target: Target, totals: &mut Totals) -> Result<(), NoSuchFile> {
        let quota = self.quota;
        let file = self.receiving.get_mut(&number).filter(|f| f.stage == Stage::Offered).ok_or(NoSuchFile)?;
        let size = file.offer.size;
        let fits = |used: u64, most: u64| most == 0 || used.checked_add(size).is_some_and(|all| all <= most);
        if !fits(self.received_bytes, quota.bytes_per_peer) || !fits(totals.bytes, quota.bytes_total) {
            let text = Failure::Quota.text().to_owned();
            return self.fail_receiving(number, Failure::Quota, text, true, totals);
        }
        self.received_bytes = self.received_bytes.saturating_add(size);
        totals.bytes = totals.bytes.saturating_add(size);
        (file.counted, file.stage) = (size, Stage::Preparing);
        let name = target.name.as_deref().map_or_else(|| file.offer.name.clone(), super::name::safe);
        let (size, digest) = (Some(size), Some(file.offer.digest));
        self.requests.push_back((FileId::receiving(number), Request::Prepare { target, name, size, digest }));
        Ok(())
    }

    /// The host does not take a file that was offered; no event follows. `text` is for the sender's host.
    pub fn refuse(&mut self, number: u32, text: &str, totals: &mut Totals) -> Result<(), NoSuchFile> {
        self.receiving.get(&number).filter(|f| f.stage == Stage::Offered).ok_or(NoSuchFile)?;
        self.receiving.remove(&number);
        totals.files = totals.files.saturating_sub(1);
        self.end_said(number, Failure::Refused, text);
        Ok(())
    }

    /// Time passed: transfers that stand still give their places up. What came of them stays for a next try.
    pub fn handle_timeout(&mut self, now: Time, totals: &mut Totals) {
        let stalled = |f: &Incoming| {
            f.stage == Stage::Flowing && f.received == f.written && now.since(f.last) >= STALL_TIME
        };
        let numbers: Vec<u32> = self.receiving.iter().filter(|(_, f)| stalled(f)).map(|(n, _)| *n).collect();
        for number in numbers {
            let text = Failure::Stalled.text().to_owned();
            let _gone = self.fail_receiving(number, Failure::Stalled, text, true, totals);
        }
    }

    pub(super) fn handle_offer(&mut self, now: Time, number: u32, offer: Offer, totals: &mut Totals) {
        if self.receiving.contains_key(&number) {
            // It would be two files under one number: neither is the one that was offered.
            let text = Failure::Protocol.text().to_owned();
            self.malformed += 1;
            let _gone = self.fail_receiving(number, Failure::Protocol, text, true, totals);
            return;
        }
        let quota = &self.quota;
        let busy = self.receiving.len() >= quota.files_per_peer as usize || totals.files >= quota.files_total;
        if quota.max_file_bytes > 0 && offer.size > quota.max_file_bytes {
            return self.end_said(number, Failure::TooLarge, "");
        }
        if busy {
            return self.end_said(number, Failure::Busy, "");
        }
        totals.files += 1;
        self.events.push_back(Event::Offered(FileId::receiving(number), offer.clone()));
        let file = Incoming {
            offer,
            stage: Stage::Offered,
            received: 0,
            written: 0,
            limit: 0,
            told: 0,
            counted: 0,
            last: now,
        };
        self.receiving.insert(number, file);
    }

    pub(super) fn handle_data(
        &mut self,
        now: Time,
        number: u32,
        offset: u64,
        data: &[u8],
        totals: &mut Totals,
    ) {
        // It may be under way still when its file has ended here.
        let Some(file) = self.receiving.get_mut(&number) else { return };
        let end = offset.saturating_add(data.len() as u64);
        let fits = end <= file.limit && end <= file.offer.size;
        let long_enough = data.len() >= MIN_DATA || end == file.offer.size;
        if file.stage != Stage::Flowing || offset != file.received || !fits || !long_enough {
            let text = Failure::Protocol.text().to_owned();
            self.malformed += 1;
            let _gone = self.fail_receiving(number, Failure::Protocol, text, true, totals);
            return;
        }
        (file.received, file.last) = (end, now);
        self.requests.push_back((FileId::receiving(number), Request::Write { data: data.to_vec() }));
    }

    /// A reply of the disk about an incoming file.
    pub(super) fn handle_target(&mut self, now: Time, number: u32, reply: Reply, totals: &mut Totals) {
        let Some(file) = self.receiving.get_mut(&number) else { return };
        file.last = now;
        match reply {
            Reply::Prepared { offset } => self.begin_at(number, offset),
            Reply::Restarted => self.begin_at(number, 0),
            Reply::Written { len } => {
                file.written += len as u64;
                self.go_on(number);
            }
            Reply::Finished { path } => {
                let Some(file) = self.receiving.remove(&number) else { return };
                totals.files = totals.files.saturating_sub(1);
                self.say(&Message::Done { file: number });
                let ended = Ended { name: file.offer.name, size: file.offer.size, result: Ok(Some(path)) };
                self.events.push_back(Event::Ended(FileId::receiving(number), ended));
            }
            Reply::Failed { failure, text } => {
                // The disk has cleaned up.
                let _gone = self.remove_receiving(number, failure, text, true, totals);
            }
            Reply::Opened { .. } | Reply::Read { .. } => {}
        }
    }

    /// The disk has so much of a file: the sender sends the rest.
    fn begin_at(&mut self, number: u32, offset: u64) {
        let Some(file) = self.receiving.get_mut(&number) else { return };
        let size = file.offer.size;
        (file.received, file.written, file.told) = (offset, offset, offset);
        file.limit = offset.saturating_add(WINDOW).min(size);
        file.stage = Stage::Flowing;
        let limit = file.limit;
        self.say(&Message::Accept { file: number, offset, limit });
        self.events.push_back(Event::Progress { file: FileId::receiving(number), done: offset, size });
        self.finish_if_whole(number);
    }

    /// More is on the disk.
    fn go_on(&mut self, number: u32) {
        let Some(file) = self.receiving.get_mut(&number) else { return };
        let (written, size) = (file.written, file.offer.size);
        if written < size && written - file.told >= CREDIT_STEP {
            file.told = written;
            file.limit = written.saturating_add(WINDOW).min(size);
            let limit = file.limit;
            self.say(&Message::Credit { file: number, written, limit });
            let file = FileId::receiving(number);
            self.events.push_back(Event::Progress { file, done: written, size });
        }
        self.finish_if_whole(number);
    }

    fn finish_if_whole(&mut self, number: u32) {
        let Some(file) = self.receiving.get_mut(&number) else { return };
        let size = file.offer.size;
        if file.written == size && file.stage == Stage::Flowing {
            file.stage = Stage::Finishing;
            let id = FileId::receiving(number);
            self.requests.push_back((id, Request::Finish));
            self.events.push_back(Event::Progress { file: id, done: size, size });
        }
    }

    /// Ends an incoming file without success; `tell` says whether the sender does not know.
    pub(super) fn fail_receiving(
        &mut self,
        number: u32,
        failure: Failure,
        text: String,
        tell: bool,
        totals: &mut Totals,
    ) -> Result<(), NoSuchFile> {
        let id = FileId::receiving(number);
        let stage = self.receiving.get(&number).ok_or(NoSuchFile)?.stage;
        if stage != Stage::Offered {
            let keep = matches!(failure, Failure::Disconnected | Failure::Stalled);
            // What waits to be written is worth writing if it stays.
            self.requests
                .retain(|(of, request)| *of != id || keep || matches!(request, Request::Prepare { .. }));
            self.requests.push_back((id, Request::Drop { keep }));
        }
        self.remove_receiving(number, failure, text, tell, totals)
    }

    fn remove_receiving(
        &mut self,
        number: u32,
        failure: Failure,
        text: String,
        tell: bool,
        totals: &mut Totals,
    ) -> Result<(), NoSuchFile> {
        let file = self.receiving.remove(&number).ok_or(NoSuchFile)?;
        totals.files = totals.files.saturating_sub(1);
        // What never came does not count.
        let missing = file.counted.saturating_sub(file.received);
        totals.bytes = totals.bytes.saturating_sub(missing);
        self.received_bytes = self.received_bytes.saturating_sub(missing);
        if tell {
            self.end_said(number, failure, "");
        }
        let (name, size) = (file.offer.name, file.offer.size);
        let ended = Ended { name, size, result: Err((failure, text)) };
        self.events.push_back(Event::Ended(FileId::receiving(number), ended));
        Ok(())
    }

    fn end_said(&mut self, number: u32, failure: Failure, text: &str) {
        let text = text.as_bytes();
        self.say(&Message::End { file: number, by_sender: false, reason: failure as u8, text });
    }
}
