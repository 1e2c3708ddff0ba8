//! The password that joining takes, where a host sets one.

use std::fmt;

use ring::hmac;

use crate::error::{Error, ErrorKind, Result};

/// Longest password in bytes.
pub const MAX_PASSWORD_BYTES: usize = 256;

/// A password: kept as a digest, and shown to nobody. Comparing takes the same time for every guess of a
/// length.
#[derive(Clone)]
pub struct Password(hmac::Tag);

impl Password {
    /// From its bytes. Errors: Argument (none, or more than [`MAX_PASSWORD_BYTES`]).
    pub fn new(password: &[u8]) -> Result<Self> {
        if password.is_empty() || password.len() > MAX_PASSWORD_BYTES {
            let text = format!("a password has 1 to {MAX_PASSWORD_BYTES} bytes, not {}", password.len());
            return Err(Error::new(ErrorKind::Argument, text));
        }
        Ok(Password(hmac::sign(&key(), password)))
    }

    /// Whether a guess is right.
    pub fn is(&self, guess: &[u8]) -> bool {
        // Longer ones are no passwords, and not worth hashing.
        guess.len() <= MAX_PASSWORD_BYTES && hmac::verify(&key(), guess, self.0.as_ref()).is_ok()
    }
}

/// The digest is no secret of its own: what it is for is that neither the password lies in memory nor its
/// length shows in the time of a comparison.
fn key() -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, b"gamekeeper password")
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_password_is_right() {
        let password = Password::new(b"open sesame").unwrap();
        assert!(password.is(b"open sesame"));
        for wrong in [&b""[..], b"open sesam", b"open sesame ", b"Open sesame", &[b'o'; 300]] {
            assert!(!password.is(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn lengths_have_a_range() {
        for (length, good) in
            [(0, false), (1, true), (MAX_PASSWORD_BYTES, true), (MAX_PASSWORD_BYTES + 1, false)]
        {
            assert_eq!(Password::new(&vec![b'x'; length]).is_ok(), good, "{length}");
        }
    }

    #[test]
    fn it_is_not_shown() {
        let shown = format!("{:?}", Password::new(b"open sesame").unwrap());
        assert_eq!(shown, "Password(…)");
    }
}
