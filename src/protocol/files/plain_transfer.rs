//! A connection that is one plain file, from its first byte to its last: the receiver's part. Like an
//! [`Exchange`](super::Exchange) it touches neither disk nor clock; the [hub](super::hub) holds one for each such connection.

use std::collections::VecDeque;

use super::plain::{PlainReader, Step};
use super::receiving::Pace;
use super::{
    Ended, Event, Failure, FileId, NoSuchFile, Offer, Quota, Reply, Request, Target, Totals, DECISION_TIME,
    WINDOW,
};
use crate::protocol::time::Time;

/// The one file of such a connection.
pub const FILE: FileId = FileId { direction: super::Direction::Receiving, number: 1 };
/// The host hears of so many more bytes.
const PROGRESS_STEP: u64 = WINDOW / 4;

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its name has not come yet.
    Unnamed,
    /// The host decides.
    Offered,
    /// The disk makes ready.
    Preparing,
    /// Its bytes flow.
    Flowing,
    /// The disk renames it.
    Finishing,
    /// The disk lets go of it.
    Dropping,
    /// Nothing is left to do.
    Over,
}

/// See the module.
#[derive(Debug)]
pub struct PlainTransfer {
    quota: Quota,
    reader: PlainReader,
    stage: Stage,
    name: String,
    /// What came before the disk was ready: no more than one read.
    first: Vec<u8>,
    written: u64,
    told: u64,
    /// Its sender has ended its half.
    ended: bool,
    pace: Pace,
    requests: VecDeque<Request>,
    events: VecDeque<Event>,
    over: Option<Option<Failure>>,
}

impl PlainTransfer {
    /// A connection that has said nothing yet.
    pub fn new(now: Time, quota: Quota) -> PlainTransfer {
        PlainTransfer {
            quota,
            reader: PlainReader::new(quota.max_file_bytes),
            stage: Stage::Unnamed,
            name: String::new(),
            first: Vec::new(),
            written: 0,
            told: 0,
            ended: false,
            pace: Pace::new(now),
            requests: VecDeque::new(),
            events: VecDeque::new(),
            over: None,
        }
    }

    // --- getters --------------------------------------------------------------------------------------

    /// Whether another read may come now: else it waits with the system, and then with the sender.
    pub fn wants_bytes(&self) -> bool {
        match self.stage {
            Stage::Unnamed => true,
            Stage::Flowing => !self.ended && self.reader.bytes() - self.written < WINDOW,
            _ => false,
        }
    }

    // --- commands -------------------------------------------------------------------------------------

    fn offered(&self, number: u32) -> Result<(), NoSuchFile> {
        let waits = self.stage == Stage::Offered && number == FILE.number;
        waits.then_some(()).ok_or(NoSuchFile)
    }

    /// See [`Exchange::accept`](super::Exchange::accept).
    pub fn accept(&mut self, number: u32, target: Target, totals: &mut Totals) -> Result<(), NoSuchFile> {
        self.offered(number)?;
        let first = self.first.len() as u64;
        if !Quota::fits(totals.count, 1, self.quota.count_total)
            || !Quota::fits(totals.bytes, first, self.quota.bytes_total)
        {
            self.fail(Failure::Quota, Failure::Quota.text().to_owned(), totals);
            return Ok(());
        }
        totals.count += 1;
        totals.bytes = totals.bytes.saturating_add(first);
        self.stage = Stage::Preparing;
        let name = target.name.as_deref().map_or_else(|| self.name.clone(), super::name::safe);
        self.requests.push_back(Request::Prepare { target, name, size: None, digest: None });
        Ok(())
    }

    /// See [`Exchange::refuse`](super::Exchange::refuse); its sender finds the connection ended.
    pub fn refuse(&mut self, number: u32, totals: &mut Totals) -> Result<(), NoSuchFile> {
        self.offered(number)?;
        totals.files = totals.files.saturating_sub(1);
        (self.stage, self.first) = (Stage::Over, Vec::new());
        self.over = Some(Some(Failure::Refused));
        Ok(())
    }

    /// See [`Exchange::cancel`](super::Exchange::cancel).
    pub fn cancel(&mut self, file: FileId, totals: &mut Totals) -> Result<(), NoSuchFile> {
        if file != FILE || matches!(self.stage, Stage::Unnamed | Stage::Dropping | Stage::Over) {
            return Err(NoSuchFile);
        }
        self.fail(Failure::Cancelled, Failure::Cancelled.text().to_owned(), totals);
        Ok(())
    }

    /// The connection has ended. Without the end of the sender's half nobody knows whether that was all: nothing stays.
    pub fn close(&mut self, totals: &mut Totals) {
        self.fail(Failure::Disconnected, Failure::Disconnected.text().to_owned(), totals);
    }

    // --- input ----------------------------------------------------------------------------------------

    /// What one read brought.
    pub fn handle_read(&mut self, now: Time, bytes: &[u8], totals: &mut Totals) {
        if !matches!(self.stage, Stage::Unnamed | Stage::Flowing) {
            return;
        }
        let before = self.reader.bytes();
        let (name, data) = match self.reader.handle_read(bytes) {
            Step::Begin { name, data } => (Some(name), data),
            Step::Data(data) => (None, data),
            Step::Fail(failure) => return self.fail(failure, failure.text().to_owned(), totals),
        };
        if name.is_some() && totals.files >= self.quota.files_total {
            return self.fail(Failure::Busy, Failure::Busy.text().to_owned(), totals);
        }
        let len = data.len() as u64;
        if let Some(name) = name {
            totals.files += 1;
            (self.name, self.stage, self.first) = (name, Stage::Offered, data.to_vec());
            let offer = Offer { name: self.name.clone(), size: 0, digest: [0; 32] };
            self.events.push_back(Event::Offered(FILE, offer));
            self.pace = Pace::new(now);
        } else {
            self.pace.came(now, len);
            self.requests.push_back(Request::Write { data: data.to_vec() });
            // What came with the name counts when the host takes it.
            totals.bytes = totals.bytes.saturating_add(len);
        }
        let fits = Quota::fits(before, len, self.quota.bytes_per_peer)
            && Quota::fits(totals.bytes, 0, self.quota.bytes_total);
        if !fits {
            self.fail(Failure::Quota, Failure::Quota.text().to_owned(), totals);
        }
    }

    /// The sender has ended its half.
    pub fn handle_end(&mut self, totals: &mut Totals) {
        self.ended = true;
        match self.stage {
            Stage::Unnamed => self.fail(Failure::Protocol, Failure::Protocol.text().to_owned(), totals),
            _ => self.finish_if_whole(),
        }
    }

    /// A reply of the disk.
    pub fn handle_reply(&mut self, now: Time, reply: Reply, totals: &mut Totals) {
        match (self.stage, reply) {
            (Stage::Dropping, Reply::Dropped) => {
                self.stage = Stage::Over;
                totals.files = totals.files.saturating_sub(1);
            }
            (Stage::Preparing, Reply::Prepared { .. }) => {
                (self.stage, self.pace) = (Stage::Flowing, Pace::new(now));
                let data = std::mem::take(&mut self.first);
                if !data.is_empty() {
                    self.pace.came(now, data.len() as u64);
                    self.requests.push_back(Request::Write { data });
                }
                self.finish_if_whole();
            }
            (Stage::Flowing, Reply::Written { len }) => {
                self.written += len as u64;
                if self.written == self.reader.bytes() {
                    self.pace.written(now);
                }
                if self.written - self.told >= PROGRESS_STEP {
                    self.tell_progress();
                }
                self.finish_if_whole();
            }
            (Stage::Finishing, Reply::Finished { path }) => {
                self.stage = Stage::Over;
                totals.files = totals.files.saturating_sub(1);
                let (name, size) = (std::mem::take(&mut self.name), self.written);
                self.events.push_back(Event::Ended(FILE, Ended { name, size, result: Ok(Some(path)) }));
                self.over = Some(None);
            }
            (Stage::Preparing | Stage::Flowing | Stage::Finishing, Reply::Failed { failure, text }) => {
                // The disk has cleaned up.
                self.stage = Stage::Offered;
                totals.count = totals.count.saturating_sub(1);
                self.fail(failure, text, totals);
            }
            _ => {}
        }
    }

    /// Time passed: who lets us wait for too long gives its place up.
    pub fn handle_timeout(&mut self, now: Time, totals: &mut Totals) {
        let stalled = match self.stage {
            Stage::Offered => self.pace.age(now) >= DECISION_TIME,
            Stage::Unnamed | Stage::Flowing => !self.ended && self.pace.is_stalled(now),
            _ => false,
        };
        if stalled {
            self.fail(Failure::Stalled, Failure::Stalled.text().to_owned(), totals);
        }
    }

    fn tell_progress(&mut self) {
        self.told = self.written;
        // How long it will be nobody knows: it is as long as it is now.
        let (done, size) = (self.written, self.reader.bytes());
        self.events.push_back(Event::Progress { file: FILE, done, size });
    }

    fn finish_if_whole(&mut self) {
        if self.stage == Stage::Flowing && self.ended && self.written == self.reader.bytes() {
            self.stage = Stage::Finishing;
            self.tell_progress();
            self.requests.push_back(Request::Finish);
        }
    }

    fn fail(&mut self, failure: Failure, text: String, totals: &mut Totals) {
        let stage = self.stage;
        match stage {
            Stage::Dropping | Stage::Over => return,
            Stage::Unnamed => self.stage = Stage::Over,
            Stage::Offered => {
                self.stage = Stage::Over;
                totals.files = totals.files.saturating_sub(1);
            }
            Stage::Preparing | Stage::Flowing | Stage::Finishing => {
                totals.count = totals.count.saturating_sub(1);
                // Its place is free when the disk is done with it.
                self.stage = Stage::Dropping;
                self.requests.retain(|request| matches!(request, Request::Prepare { .. }));
                self.requests.push_back(Request::Drop { keep: false });
            }
        }
        self.first = Vec::new();
        if stage != Stage::Unnamed {
            let (name, size) = (std::mem::take(&mut self.name), self.reader.bytes());
            self.events.push_back(Event::Ended(FILE, Ended { name, size, result: Err((failure, text)) }));
        }
        self.over = Some(Some(failure));
    }

    // --- outputs --------------------------------------------------------------------------------------

    /// The next request to the disk.
    pub fn poll_request(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Once: it is over, and why if it did not arrive.
    pub fn take_over(&mut self) -> Option<Option<Failure>> {
        self.over.take()
    }
}
