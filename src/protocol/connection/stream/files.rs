//! Files in a stream: how the two ends agree on them, and what is told apart from the host's messages.
//!
//! In a stream with lengths, the highest bit of a length marks what is about files. A client asks with such a message of no
//! bytes, which the server answers with one. Who does not ask is never sent a marked length, and none of its own can be one: no
//! message is that long. So a plain program notices nothing.
//!
//! A raw stream can be nothing but a plain file: each read is handed up as a message of files, one at a time, and its end as one of
//! no bytes.

use super::{framing, Connection, Outgoing};
use crate::protocol::connection::{Event, Farewell, Room, State};
use crate::protocol::delivery::{Mode, Priority};
use crate::protocol::framing::Framing;
use crate::protocol::payload::Payload;
use crate::protocol::time::Time;

/// Where an end stands with files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Files {
    /// There are none.
    None,
    /// A server: whoever asks may have them.
    Allowed,
    /// A client has asked.
    Asked,
    /// Both take part.
    Agreed,
    /// All that comes is one plain file.
    Plain,
    /// The same, and a piece of it, or its end, was handed up.
    PlainPaused,
}

impl Files {
    /// Whether a client that is open is connected.
    pub(super) fn are_settled(self) -> bool {
        self != Files::Asked
    }

    /// Whether what came waits until the file has room for it.
    pub(super) fn are_paused(self) -> bool {
        self == Files::PlainPaused
    }
}

impl Connection {
    /// A server's end: whoever asks may send and receive files. Only in a stream with lengths.
    pub fn allow_files(&mut self) {
        if self.terms.framing == Framing::Length && !self.is_client {
            self.files = Files::Allowed;
            self.heed_files();
        }
    }

    /// A client's end asks for files, behind its password: it is connected when the server has agreed, and ended by a server
    /// that does not know of files. Only in a stream with lengths, and before anything was said in it but the password.
    pub fn ask_for_files(&mut self, now: Time) {
        if self.terms.framing == Framing::Length && self.is_client {
            self.files = Files::Asked;
            self.heed_files();
            self.queue_mark(now);
        }
    }

    /// A server's end: all that comes is one plain file. Only in a raw stream.
    pub fn expect_plain_file(&mut self) {
        if self.terms.framing == Framing::Raw && !self.is_client {
            self.files = Files::Plain;
        }
    }

    /// Whether that is so.
    pub fn is_plain_file(&self) -> bool {
        matches!(self.files, Files::Plain | Files::PlainPaused)
    }

    /// The file has room for more of what comes.
    pub fn resume_plain_file(&mut self, now: Time, room: &mut Room) {
        if self.files.are_paused() {
            self.files = Files::Plain;
            self.pump(now, 0, room);
        }
    }

    /// The file is where it belongs: nothing else is to be said, and the connection ends as its sender wished.
    pub fn finish_plain_file(&mut self, now: Time) {
        self.end_after_remote(now);
    }

    /// Both ends take part.
    pub fn takes_files(&self) -> bool {
        self.files == Files::Agreed
    }

    /// A password comes before everything else.
    pub(super) fn heed_files(&mut self) {
        let awaits_password = self.terms.password && !self.password_given;
        if self.files != Files::None && !awaits_password {
            self.decoder.allow_files();
        }
    }

    /// The marked message of no bytes.
    fn queue_mark(&mut self, now: Time) {
        let payload = Payload::from(&b""[..]);
        let head = framing::encode_of_files(&payload);
        self.queued.0 += 1;
        // Behind the password, and before all that is said after it.
        if let Some(queue) = self.queues.get_mut(Priority::default() as usize) {
            queue.push_back(Outgoing { head, payload, tail: b"", content: None, tag: 0 });
        }
        self.await_writing(now);
    }

    pub(super) fn take_file_frame(&mut self, now: Time, data: Vec<u8>) {
        match (self.files, data.is_empty()) {
            (Files::Allowed, true) => {
                self.files = Files::Agreed;
                self.queue_mark(now);
                // From now on files can be sent.
                self.events.push_back(Event::Writable);
            }
            (Files::Asked, true) => {
                self.files = Files::Agreed;
                self.events.push_back(Event::Connected);
            }
            (Files::Plain, _) => {
                self.files = Files::PlainPaused;
                self.hand_up(data);
            }
            (Files::Agreed, false) => self.hand_up(data),
            // Nothing was agreed, or it was already.
            _ => self.stats.messages_malformed += 1,
        }
    }

    /// The last read of a plain file was handed up.
    pub(super) fn plain_ended(&mut self) {
        self.files = Files::PlainPaused;
        self.hand_up(Vec::new());
    }

    fn hand_up(&mut self, data: Vec<u8>) {
        let mode = Some(Mode::Files);
        self.events.push_back(Event::Message { sequence: 0, channel: 0, mode, data, content: None });
    }

    /// The server has ended the stream: was it for being asked?
    pub(super) fn note_end(&mut self) {
        if self.files == Files::Asked && self.state == State::Connected {
            let text = "the server ended the connection before it agreed to files".to_owned();
            self.farewell = Farewell { text, ..Farewell::default() };
        }
    }
}
