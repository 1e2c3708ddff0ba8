//! What the native protocol takes of a root key, and its public keys as text.

use zeroize::Zeroizing;

use super::key_error;
use crate::error::Result;
use crate::protocol::handshake::native::NativeKey;

/// A number of P-256, big-endian.
pub(super) type PrivateNumber = Zeroizing<[u8; 32]>;

/// A native public key as text: 64 lower-case hexadecimal digits.
pub fn native_key_text(key: &NativeKey) -> String {
    key.iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|d| char::from_digit(d.into(), 16))
        .collect()
}

/// Reads a native public key's text, in digits of either case; white space around them is passed over. Errors: Key,
/// when it is anything else.
pub fn parse_native_key(text: &str) -> Result<NativeKey> {
    let digits = text.trim().as_bytes();
    let mut key = [0; 32];
    if digits.len() != 2 * key.len() {
        return Err(key_error(format!("a native key has 64 hexadecimal digits, not {}", digits.len())));
    }
    let value = |digit: u8| char::from(digit).to_digit(16);
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let number = pair.iter().try_fold(0, |number, digit| Some(number * 16 + value(*digit)?));
        *byte = number
            .and_then(|number| u8::try_from(number).ok())
            .ok_or_else(|| key_error("a native key is written in hexadecimal digits alone"))?;
    }
    Ok(key)
}

/// The private number inside a PKCS#8 document of P-256 that ring has taken. `None`: not where it belongs.
pub(super) fn private_number(der: &[u8]) -> Option<PrivateNumber> {
    const INTEGER: u8 = 0x02;
    const OCTET_STRING: u8 = 0x04;
    const SEQUENCE: u8 = 0x30;
    let mut info = der_value(&mut &*der, SEQUENCE)?;
    der_value(&mut info, INTEGER)?;
    der_value(&mut info, SEQUENCE)?;
    let mut inner = der_value(&mut info, OCTET_STRING)?;
    let mut key = der_value(&mut inner, SEQUENCE)?;
    der_value(&mut key, INTEGER)?;
    der_value(&mut key, OCTET_STRING)?.try_into().ok().map(Zeroizing::new)
}

/// The contents of the DER element of kind `tag` that `rest` begins with, which is taken off it. Lengths of up to
/// two bytes are read.
fn der_value<'a>(rest: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (length, after) = match rest.strip_prefix(&[tag])? {
        [0x82, high, low, after @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), after),
        [0x81, length, after @ ..] => (usize::from(*length), after),
        [length @ ..=0x7f, after @ ..] => (usize::from(*length), after),
        _ => return None,
    };
    let (value, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::keys::RootKey;

    // Made by Python's `cryptography`, version 48: a key, and what is derived from it.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgpc/IqhgWdhEgmZAa
W/3BJ68Q8aRgIGAMXPgn1Aohqn+hRANCAASCmYhc5WoiSBf/Hfb42qcWTS69+Byc
H0CnoP7sZnHJQi1ZMiCTXN4nZw7oK4/j2qpGm4TB4wzqNLoXM1wwFkCI
-----END PRIVATE KEY-----
";
    const NATIVE: &str = "376ef53aa1247bd1a75ae244246c22f9242def63762aa64c9df4d0e694b6f72b";

    /// The message of an error that must be of kind Key.
    fn key_message<T: std::fmt::Debug>(result: Result<T>) -> String {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Key, "{error}");
        error.to_string()
    }

    #[test]
    fn the_private_number_is_the_one_that_another_implementation_reads() {
        use p256::pkcs8::DecodePrivateKey;
        let generated = RootKey::generate().unwrap();
        for key in [RootKey::from_pem(PRIVATE).unwrap(), generated] {
            let theirs = p256::SecretKey::from_pkcs8_der(key.private_der()).unwrap();
            assert_eq!(key.scalar.as_slice(), &theirs.to_bytes()[..]);
        }
    }

    #[test]
    fn the_private_number_is_found_behind_long_lengths_and_nowhere_else() {
        let key = RootKey::from_pem(PRIVATE).unwrap();
        let der = key.private_der();
        assert_eq!(private_number(der).as_deref(), Some(&*key.scalar));
        // The outermost length in three bytes instead of two.
        let long = [&[0x30, 0x82, 0, der[2]], &der[3..]].concat();
        assert_eq!(private_number(&long).as_deref(), Some(&*key.scalar));
        for length in 0..der.len() {
            assert_eq!(private_number(&der[..length]), None, "{length}");
        }
        for malformed in [&[0x30, 0x83, 0, 0, 0][..], &[0x30, 0x80, 0, 0], &[0x30, 0xff], &[0x30]] {
            assert_eq!(private_number(malformed), None, "{malformed:?}");
        }
        // Nothing panics, whatever ring would have refused before.
        for i in 0..der.len() {
            for change in [1, 0x7f, 0x80, 0xff] {
                let mut changed = der.to_vec();
                changed[i] ^= change;
                let _number = private_number(&changed);
            }
        }
    }

    #[test]
    fn the_native_key_comes_from_the_private_number() {
        let key = RootKey::from_pem(PRIVATE).unwrap();
        let identity = key.native_identity(&crate::crypto::RingProvider::new()).unwrap();
        assert_eq!(identity.public(), key.native_public());
        assert_eq!(native_key_text(&key.native_public()), NATIVE);
        assert_ne!(RootKey::generate().unwrap().native_public(), key.native_public());
    }

    #[test]
    fn native_keys_as_text() {
        let key = parse_native_key(NATIVE).unwrap();
        assert_eq!(native_key_text(&key), NATIVE);
        assert_eq!(parse_native_key(&format!(" {}\n", NATIVE.to_uppercase())).unwrap(), key);
        for (text, part) in [
            ("", "not 0"),
            (&NATIVE[1..], "not 63"),
            (&format!("{NATIVE}0"), "not 65"),
            (&NATIVE.replace(&NATIVE[..1], "g"), "hexadecimal"),
            (&format!("+{}", &NATIVE[1..]), "hexadecimal"),
            (&"ü".repeat(32), "hexadecimal"),
        ] {
            assert!(key_message(parse_native_key(text)).contains(part), "{text}");
        }
    }
}
