//! What the server tells a client whose hello it accepted.

use super::{take, RESET_TOKEN_LEN};

/// A password is wanted with the join.
const WANTS_PASSWORD: u8 = 1;
/// The server takes part in transfers of files.
const FILES: u8 = 2;

/// The sealed contents of a WELCOME.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Welcome {
    /// Stands in each data packet to the server.
    pub connection_id: u32,
    /// The peer's public number.
    pub token: u32,
    /// What a RESET of this connection will carry.
    pub reset_token: [u8; RESET_TOKEN_LEN],
    /// Microseconds from one tick of the server to the next.
    pub tick_interval_us: u32,
    /// The server's tick when it wrote this.
    pub tick: u64,
    /// The server's clock when it wrote this: microseconds since it started.
    pub clock_us: u64,
    /// Silence after which the server gives the connection up, in milliseconds; 0 if it does not say. A client waits no longer.
    pub timeout_ms: u32,
    /// Bytes of the longest message that the server takes; 0 if it does not say.
    pub max_message: u32,
    /// Bytes of the longest data that may come with the join.
    pub max_join: u16,
    /// Whether a join without the right password is refused.
    pub wants_password: bool,
    /// Whether the server takes part in transfers of files.
    pub files: bool,
}

impl Welcome {
    /// Bytes of what [`write`](Self::write) appends.
    pub const LEN: usize = 4 + 4 + RESET_TOKEN_LEN + 4 + 8 + 8 + 4 + 4 + 2 + 1;

    /// Appends it to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.connection_id.to_be_bytes());
        out.extend_from_slice(&self.token.to_be_bytes());
        out.extend_from_slice(&self.reset_token);
        out.extend_from_slice(&self.tick_interval_us.to_be_bytes());
        out.extend_from_slice(&self.tick.to_be_bytes());
        out.extend_from_slice(&self.clock_us.to_be_bytes());
        out.extend_from_slice(&self.timeout_ms.to_be_bytes());
        out.extend_from_slice(&self.max_message.to_be_bytes());
        out.extend_from_slice(&self.max_join.to_be_bytes());
        let password = if self.wants_password { WANTS_PASSWORD } else { 0 };
        out.push(password | if self.files { FILES } else { 0 });
    }

    /// Reads it. What stands behind it, and flags without a meaning, are of a later version and passed over.
    /// `None`: too short.
    pub fn parse(mut bytes: &[u8]) -> Option<Welcome> {
        let rest = &mut bytes;
        let mut welcome = Welcome {
            connection_id: u32::from_be_bytes(take(rest)?),
            token: u32::from_be_bytes(take(rest)?),
            reset_token: take(rest)?,
            tick_interval_us: u32::from_be_bytes(take(rest)?),
            tick: u64::from_be_bytes(take(rest)?),
            clock_us: u64::from_be_bytes(take(rest)?),
            timeout_ms: u32::from_be_bytes(take(rest)?),
            max_message: u32::from_be_bytes(take(rest)?),
            max_join: u16::from_be_bytes(take(rest)?),
            ..Welcome::default()
        };
        let [flags] = take(rest)?;
        (welcome.wants_password, welcome.files) = (flags & WANTS_PASSWORD != 0, flags & FILES != 0);
        Some(welcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn welcome() -> Welcome {
        Welcome {
            connection_id: 0x0102_0304,
            token: 0x4506_0708,
            reset_token: [0xaa; 16],
            tick_interval_us: 16_667,
            tick: u64::MAX,
            clock_us: 1 << 40,
            timeout_ms: 5000,
            max_message: 8 << 20,
            max_join: 1024,
            wants_password: true,
            files: false,
        }
    }

    #[test]
    fn what_is_written_is_read_and_nothing_shorter() {
        for (wants_password, files) in [(false, false), (true, false), (false, true), (true, true)] {
            let welcome = Welcome { wants_password, files, ..welcome() };
            let mut bytes = Vec::new();
            welcome.write(&mut bytes);
            assert_eq!(bytes.len(), Welcome::LEN);
            assert_eq!(Welcome::parse(&bytes), Some(welcome));
            for length in 0..bytes.len() {
                assert_eq!(Welcome::parse(&bytes[..length]), None, "{length}");
            }
        }
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        let mut bytes = Vec::new();
        welcome().write(&mut bytes);
        bytes[Welcome::LEN - 1] = 0xfc;
        bytes.extend_from_slice(b"more");
        assert_eq!(Welcome::parse(&bytes), Some(Welcome { wants_password: false, ..welcome() }));
    }
}
