//! Files: what a host says and hears of them, at both ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::protocol::delivery::{Delivery, Mode, Priority};

pub use crate::protocol::files::{
    Direction, Ended as FileEnd, Event as FileEvent, Failure as FileFailure, FileId, Offer as FileOffer,
    Quota, Target as FileTarget, Totals as FileTotals,
};

/// How a file is to be sent. `P` and `D` are the callbacks of one kind of end.
pub struct FileOptionsWith<P: ?Sized, D> {
    /// The name that it is offered under. Default: the path's last component. Spaces and case stay; what is unsafe on any
    /// system does not.
    pub name: Option<String>,
    /// Told how much the receiver has written: every 256 KiB or so. Default: the handler is, by `file`.
    pub on_progress: Option<Arc<P>>,
    /// Told once how it ended. Default: the handler is, by `file`.
    pub on_done: Option<D>,
}

impl<P: ?Sized, D> Default for FileOptionsWith<P, D> {
    fn default() -> Self {
        FileOptionsWith { name: None, on_progress: None, on_done: None }
    }
}

/// The callbacks of a file under way.
pub struct Watcher<P: ?Sized, D> {
    pub(crate) on_progress: Option<Arc<P>>,
    pub(crate) on_done: Option<D>,
}

impl<P: ?Sized, D> FileOptionsWith<P, D> {
    /// The name to offer, and what remains.
    pub(crate) fn split(self, path: &Path) -> (String, Option<Watcher<P, D>>) {
        let last = || path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = self.name.unwrap_or_else(last);
        let watched = self.on_progress.is_some() || self.on_done.is_some();
        (name, watched.then_some(Watcher { on_progress: self.on_progress, on_done: self.on_done }))
    }
}

/// Payload bytes of one peer's files in its queue, at most, and the part of its bounds that they may take: the rest is the
/// host's. They are at bulk priority, so they delay nothing else.
pub(crate) const FILE_QUEUE_BYTES: usize = 1024 * 1024;
const QUEUE_PART: usize = 4;

/// How a file's messages are sent.
pub(crate) const FILE_DELIVERY: Delivery =
    Delivery { mode: Mode::Files, channel: 0, priority: Priority::Bulk, deadline: None, redundancy: 0 };

/// Whether a queue takes another message of a file.
pub(crate) fn has_room(bytes: usize, messages: usize, max_bytes: usize, max_messages: usize) -> bool {
    bytes < FILE_QUEUE_BYTES.min(max_bytes / QUEUE_PART) && messages <= max_messages / QUEUE_PART
}

/// What refuses everything that needs files where they are not enabled.
pub(crate) const NOT_ENABLED: &str = "files are not enabled in the configuration";
/// What refuses a file to a peer that could not take it.
pub(crate) const NOT_TAKEN: &str =
    "the other end takes no files: it is on mpgameserver's wire, or its host has not enabled them";

/// Where a file is, as text that is told to whoever is not Rust.
pub(crate) fn path_text(path: Option<&PathBuf>) -> String {
    path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
}
