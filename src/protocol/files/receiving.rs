//! The receiver's part of a transfer.

use super::message::Message;
use super::{
    Ended, Event, Exchange, Failure, FileId, NoSuchFile, Offer, Quota, Reply, Request, Target, Totals,
    DECISION_TIME, MAX_ANSWERS, MIN_DATA, STALL_BYTES, STALL_TIME, WINDOW,
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
    /// What it counts for in the quotas, and what of it was there from an earlier try, which counted then.
    counted: u64,
    resumed: u64,
    pace: Pace,
}

/// Whether enough comes of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Since when so much has come.
    since: Time,
    came: u64,
    /// Since when the disk has something to write: meanwhile nobody waits for the sender.
    disk_since: Option<Time>,
}

impl Pace {
    pub(super) fn new(now: Time) -> Pace {
        Pace { since: now, came: 0, disk_since: None }
    }

    /// Bytes came, which go to the disk.
    pub(super) fn came(&mut self, now: Time, bytes: u64) {
        self.came += bytes;
        if self.came >= STALL_BYTES {
            (self.since, self.came) = (now, 0);
        }
        self.disk_since.get_or_insert(now);
    }

    /// All that came is on the disk.
    pub(super) fn written(&mut self, now: Time) {
        if let Some(began) = self.disk_since.take() {
            self.since = self.since + now.since(began.max(self.since));
        }
    }

    /// How long ago it began, or was last fast enough.
    pub(super) fn age(&self, now: Time) -> std::time::Duration {
        now.since(self.since)
    }

    /// Whether the sender has let us wait for too long.
    pub(super) fn is_stalled(&self, now: Time) -> bool {
        self.disk_since.is_none() && now.since(self.since) >= STALL_TIME
    }
}

impl Exchange {
    /// The host takes a file that was offered.
    pub fn accept(&mut self, number: u32, target: Target, totals: &mut Totals) -> Result<(), NoSuchFile> {
        let quota = self.quota;
        let file = self.receiving.get_mut(&number).filter(|f| f.stage == Stage::Offered).ok_or(NoSuchFile)?;
        let size = file.offer.size;
        let bytes_fit = Quota::fits(self.received_bytes, size, quota.bytes_per_peer)
            && Quota::fits(totals.bytes, size, quota.bytes_total);
        let files_fit = Quota::fits(self.count, 1, quota.count_per_peer)
            && Quota::fits(totals.count, 1, quota.count_total);
        if !bytes_fit || !files_fit {
            let text = Failure::Quota.text().to_owned();
            return self.fail_receiving(number, Failure::Quota, text, true, totals);
        }
        self.received_bytes = self.received_bytes.saturating_add(size);
        totals.bytes = totals.bytes.saturating_add(size);
        (self.count, totals.count) = (self.count + 1, totals.count + 1);
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
        let stalled = |f: &Incoming| match f.stage {
            Stage::Offered => f.pace.age(now) >= DECISION_TIME,
            Stage::Flowing => f.pace.is_stalled(now),
            Stage::Preparing | Stage::Finishing => false,
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
        if self.outbox.len() >= MAX_ANSWERS {
            // It hears nothing; one more answer would be one more to keep.
            self.malformed += 1;
            return;
        }
        let quota = &self.quota;
        let places = self.receiving.len() + self.dropping.len();
        let busy = places >= quota.files_per_peer as usize
            || totals.files >= quota.files_total
            || self.dropping.contains(&number);
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
            resumed: 0,
            pace: Pace::new(now),
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
        file.received = end;
        file.pace.came(now, data.len() as u64);
        self.requests.push_back((FileId::receiving(number), Request::Write { data: data.to_vec() }));
    }

    /// A reply of the disk about an incoming file.
    pub(super) fn handle_target(&mut self, now: Time, number: u32, reply: Reply, totals: &mut Totals) {
        if reply == Reply::Dropped {
            if self.dropping.remove(&number) {
                totals.files = totals.files.saturating_sub(1);
            }
            return;
        }
        let Some(file) = self.receiving.get_mut(&number) else { return };
        match reply {
            Reply::Prepared { offset } => self.begin_at(now, number, offset, totals),
            Reply::Restarted => self.begin_at(now, number, 0, totals),
            Reply::Written { len } => {
                file.written += len as u64;
                if file.written == file.received {
                    file.pace.written(now);
                }
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
            Reply::Opened { .. } | Reply::Read { .. } | Reply::Dropped => {}
        }
    }

    /// The disk has so much of a file: the sender sends the rest.
    fn begin_at(&mut self, now: Time, number: u32, offset: u64, totals: &mut Totals) {
        let Some(file) = self.receiving.get_mut(&number) else { return };
        let size = file.offer.size;
        // What is there has counted when it came; what is there and wrong comes once more.
        let again = std::mem::replace(&mut file.resumed, offset).saturating_sub(offset);
        let spared = offset.min(file.counted);
        file.counted = (file.counted + again).saturating_sub(spared);
        for used in [&mut self.received_bytes, &mut totals.bytes] {
            *used = used.saturating_add(again).saturating_sub(spared);
        }
        file.pace = Pace::new(now);
        let quota = self.quota;
        if !Quota::fits(self.received_bytes, 0, quota.bytes_per_peer)
            || !Quota::fits(totals.bytes, 0, quota.bytes_total)
        {
            let text = Failure::Quota.text().to_owned();
            let _gone = self.fail_receiving(number, Failure::Quota, text, true, totals);
            return;
        }
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
            // One that has not left yet says less.
            self.outbox.retain(|(_, message)| !super::message::is_credit(message, number));
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
            if self.dropping.insert(number) {
                // Its place is free when the disk is done with it.
                totals.files += 1;
            }
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
        let missing = file.counted.saturating_sub(file.received.saturating_sub(file.resumed));
        if file.stage != Stage::Offered {
            (self.count, totals.count) = (self.count.saturating_sub(1), totals.count.saturating_sub(1));
        }
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
