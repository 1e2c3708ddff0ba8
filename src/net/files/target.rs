//! A file that is received: a temporary file beside its place, and the way into that.
//!
//! The temporary file is named after the hash, `.gk-<64 hex digits>.part`, so that a later try finds what an earlier one has left,
//! whoever comes. It is locked: where two receive the same at once, in one process or in two, the second one has one of its own.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use ring::digest::{Context, SHA256};

use super::{write_failed, Failed};
use crate::protocol::files::{name, Digest, Failure, Reply, Target};

/// Unfinished files that are kept in a directory for a next try; of more the oldest are removed.
pub const MAX_PARTIALS: usize = 64;
/// How long one is kept after it was written to last.
pub const PARTIAL_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often a directory is looked through for those, at most.
const CLEAN_INTERVAL: Duration = Duration::from_secs(60);
/// Temporary files of one hash at once, and numbers behind a name that is taken, at most.
const MAX_NUMBER: u32 = 1000;
/// What temporary files' names begin and end with.
const PREFIX: &str = ".gk-";
const SUFFIX: &str = ".part";

/// See the module.
pub(super) struct Incoming {
    file: File,
    temporary: PathBuf,
    target: Target,
    name: String,
    digest: Option<Digest>,
    hash: Context,
    /// Bytes in it, and those of them that the hash has seen.
    written: u64,
    hashed: u64,
    /// What it had from an earlier try is not trusted before the hash fits.
    resumed: bool,
}

/// What became of a file that is all written.
pub(super) enum Finished {
    /// It is in its place.
    At(PathBuf),
    /// What an earlier try had left was wrong.
    Restarted,
}

impl Incoming {
    /// Opens the temporary file, with what it has.
    pub(super) fn open(
        target: Target,
        name: String,
        size: Option<u64>,
        digest: Option<Digest>,
    ) -> Result<Incoming, Failed> {
        let disk = |error: io::Error| (Failure::Disk, error.to_string());
        if !fs::metadata(&target.directory).map_err(disk)?.is_dir() {
            return Err((Failure::Disk, "not a directory".into()));
        }
        let (file, temporary) = open_temporary(&target.directory, digest.as_ref()).map_err(disk)?;
        let mut written = file.metadata().map_err(disk)?.len();
        if digest.is_none() || size.is_some_and(|size| written > size) {
            file.set_len(0).map_err(disk)?;
            written = 0;
        }
        let (hash, resumed) = (Context::new(&SHA256), written > 0);
        Ok(Incoming { file, temporary, target, name, digest, hash, written, hashed: 0, resumed })
    }

    /// Hashes the next step of what was there; at the end the rest may come.
    pub(super) fn hash_on(&mut self, buffer: &mut [u8]) -> Result<Option<Reply>, Failed> {
        if self.hashed < self.written {
            let most = usize::try_from(self.written - self.hashed).unwrap_or(usize::MAX).min(buffer.len());
            let buffer = buffer.get_mut(..most).unwrap_or_default();
            let len = self.file.read(buffer).map_err(|e| write_failed(&e))?;
            if len == 0 {
                return Err((Failure::Disk, "the temporary file became shorter".into()));
            }
            self.hash.update(buffer.get(..len).unwrap_or_default());
            self.hashed += len as u64;
            return Ok(None);
        }
        Ok(Some(Reply::Prepared { offset: self.written }))
    }

    /// Appends.
    pub(super) fn write(&mut self, data: &[u8]) -> Result<(), Failed> {
        self.file.write_all(data).map_err(|e| write_failed(&e))?;
        self.hash.update(data);
        self.written += data.len() as u64;
        self.hashed = self.written;
        Ok(())
    }

    /// Checks, puts onto the disk, renames.
    pub(super) fn finish(&mut self) -> Result<Finished, Failed> {
        let found = self.hash.clone().finish();
        if self.digest.is_some_and(|digest| digest.as_slice() != found.as_ref()) {
            if !std::mem::take(&mut self.resumed) {
                return Err((Failure::Mismatch, Failure::Mismatch.text().into()));
            }
            self.file.set_len(0).map_err(|e| write_failed(&e))?;
            self.file.seek(SeekFrom::Start(0)).map_err(|e| write_failed(&e))?;
            (self.hash, self.written, self.hashed) = (Context::new(&SHA256), 0, 0);
            return Ok(Finished::Restarted);
        }
        self.file.sync_all().map_err(|e| write_failed(&e))?;
        let path = self.place().map_err(|e| write_failed(&e))?;
        sync_directory(&self.target.directory);
        Ok(Finished::At(path))
    }

    /// Gives the file its name. One that is there already stays, unless the host wants it replaced.
    fn place(&self) -> io::Result<PathBuf> {
        let directory = &self.target.directory;
        let path = directory.join(&self.name);
        if self.target.replace {
            fs::rename(&self.temporary, &path)?;
            return Ok(path);
        }
        for number in 0..MAX_NUMBER {
            let name = if number == 0 { self.name.clone() } else { name::numbered(&self.name, number) };
            let path = directory.join(name);
            match self.claim(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Ok(()) => return Ok(path),
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "too many files of this name"))
    }

    /// Takes a name that nobody has, in one step, so that two who finish at once do not get the same.
    fn claim(&self, path: &Path) -> io::Result<()> {
        match rename_new(&self.temporary, path) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
            done => return done,
        }
        // Two steps: whoever dies between them leaves two names of one file, of which the next try takes the temporary one away.
        match fs::hard_link(&self.temporary, path) {
            Ok(()) => fs::remove_file(&self.temporary),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            Err(_) => {
                // No links here: an empty file holds the name for a moment, and for ever if the machine stops in it.
                drop(OpenOptions::new().write(true).create_new(true).open(path)?);
                fs::rename(&self.temporary, path)
            }
        }
    }

    /// The transfer is over without success.
    pub(super) fn give_up(self, keep: bool) {
        if !keep || self.written == 0 || self.digest.is_none() {
            self.remove();
        }
    }

    /// Nothing of it is left.
    pub(super) fn remove(self) {
        // It may be gone already; there is nobody to tell if it cannot be removed.
        let _gone = fs::remove_file(&self.temporary);
    }
}

/// A temporary file that is nobody else's now. One without a hash is always new.
fn open_temporary(directory: &Path, digest: Option<&Digest>) -> io::Result<(File, PathBuf)> {
    let mut stem = String::from(PREFIX);
    match digest {
        // Writing into a string does not fail.
        Some(digest) => digest.iter().for_each(|byte| {
            let _fits = write!(stem, "{byte:02x}");
        }),
        None => stem.push_str("plain"),
    }
    for number in 0..MAX_NUMBER {
        let name = if number == 0 { format!("{stem}{SUFFIX}") } else { format!("{stem}-{number}{SUFFIX}") };
        let path = directory.join(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        if digest.is_none() {
            options.create_new(true);
        } else {
            options.create(true).truncate(false);
        }
        match lock::open(&mut options, &path) {
            Ok(Some(file)) => return Ok((file, path)),
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "too many temporary files"))
}

/// Renames, unless somebody has the name, in one step that a crash does not divide. Errors: AlreadyExists; Unsupported: neither this
/// system nor this disk can, or only another way.
#[cfg(target_os = "linux")]
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from);
    let (from, to) = (text(from)?, text(to)?);
    // SAFETY: both are strings that live until the call returns, which keeps neither.
    let done = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            libc::RENAME_NOREPLACE,
        )
    };
    if done == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    Err(match error.raw_os_error() {
        // Older kernels, and disks without this; EPERM is what some sandboxes say of calls that they do not know.
        Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP | libc::EPERM) => {
            io::ErrorKind::Unsupported.into()
        }
        _ => error,
    })
}

#[cfg(not(target_os = "linux"))]
fn rename_new(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// After this the name stays, whatever happens to the machine.
fn sync_directory(directory: &Path) {
    // Not all systems can; the file itself is on the disk.
    let _may = File::open(directory).and_then(|directory| directory.sync_all());
}

/// Removes what others have left in a directory for too long.
#[derive(Default)]
pub(super) struct Cleaner(Option<(PathBuf, Instant)>);

impl Cleaner {
    pub(super) fn clean(&mut self, directory: &Path) {
        let recent =
            |(cleaned, at): &(PathBuf, Instant)| cleaned == directory && at.elapsed() < CLEAN_INTERVAL;
        if self.0.as_ref().is_some_and(recent) {
            return;
        }
        self.0 = Some((directory.to_owned(), Instant::now()));
        let Ok(entries) = fs::read_dir(directory) else { return };
        let mut partials: Vec<(SystemTime, PathBuf)> = entries
            .filter_map(|entry| {
                let entry = entry.ok().filter(|entry| is_temporary(&entry.file_name()))?;
                Some((entry.metadata().ok()?.modified().ok()?, entry.path()))
            })
            .collect();
        partials.sort();
        let surplus = partials.len().saturating_sub(MAX_PARTIALS);
        for (at, (modified, path)) in partials.iter().enumerate() {
            let old = modified.elapsed().is_ok_and(|age| age > PARTIAL_LIFETIME);
            // One that is being written is locked.
            if (old || at < surplus)
                && matches!(lock::open(OpenOptions::new().write(true), path), Ok(Some(_)))
            {
                let _gone = fs::remove_file(path);
            }
        }
    }
}

fn is_temporary(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX))
}

#[cfg(unix)]
mod lock {
    use std::fs::{self, File, OpenOptions};
    use std::io;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
    use std::path::Path;

    /// Opens a file for this process alone. `None`: another one has it.
    pub(super) fn open(options: &mut OpenOptions, path: &Path) -> io::Result<Option<File>> {
        // A link that somebody put there leads elsewhere.
        let file = options.custom_flags(libc::O_NOFOLLOW).open(path)?;
        // SAFETY: the descriptor is open for as long as `file` lives.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
            return Ok(None);
        }
        // Whoever had it may have renamed or removed it between the two calls.
        let (ours, there) = (file.metadata()?, fs::symlink_metadata(path));
        let same = there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino()));
        if same && ours.is_file() && ours.nlink() > 1 {
            // It has its place already, under another name, and whoever was to take this one away has died.
            fs::remove_file(path)?;
            return Ok(None);
        }
        Ok((same && ours.is_file()).then_some(file))
    }
}

#[cfg(windows)]
mod lock {
    use std::fs::{File, OpenOptions};
    use std::io;
    use std::os::windows::fs::OpenOptionsExt;
    use std::path::Path;

    /// The system's code for a file that somebody else has open.
    const SHARING_VIOLATION: i32 = 32;
    /// Others may rename and remove it.
    const SHARE_DELETE: u32 = 4;

    /// Opens a file for this process alone. `None`: another one has it.
    pub(super) fn open(options: &mut OpenOptions, path: &Path) -> io::Result<Option<File>> {
        match options.share_mode(SHARE_DELETE).open(path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.raw_os_error() == Some(SHARING_VIOLATION) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
