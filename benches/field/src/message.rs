//! What the messages of all workloads begin with: when they left, and for which part of the run they count.

use crate::system;

/// Bytes of a message that are looked at.
pub const HEAD: usize = 16;

/// The part of a run that a message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    /// Before and after what is measured.
    Around = 0,
    Measured = 1,
}

/// Writes the head: now, and the part.
pub fn stamp(message: &mut [u8], part: Part) {
    if let Some(head) = message.first_chunk_mut::<HEAD>() {
        head[..8].copy_from_slice(&system::now().to_be_bytes());
        head[8] = part as u8;
    }
}

/// Nanoseconds since it was stamped, and whether it counts.
pub fn read(message: &[u8]) -> Option<(u64, Part)> {
    let head = message.first_chunk::<HEAD>()?;
    let sent = u64::from_be_bytes(*head.first_chunk::<8>()?);
    let part = if head[8] == Part::Measured as u8 { Part::Measured } else { Part::Around };
    Some((system::now().saturating_sub(sent), part))
}
