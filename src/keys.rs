//! A server's identity: a P-256 key pair, as PEM and DER.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ring::agreement::{self, EphemeralPrivateKey};
use ring::rand::SystemRandom;
use ring::signature::{
    EcdsaKeyPair, KeyPair, UnparsedPublicKey, ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING,
};

use crate::error::{Error, ErrorKind, Result};
use crate::protocol::crypto::Provider;
use crate::protocol::handshake::native::{Identity, NativeKey};

mod native;

pub use native::{native_key_text, parse_native_key};

/// Longest key file that is read, in bytes; a longer one is refused. A key takes less than 300.
const MAX_KEY_FILE_BYTES: u64 = 64 * 1024;

/// How many names for the temporary file are tried before [`RootKey::save`] gives up. Only left-overs
/// of a process that was killed while saving can take one.
const MAX_TEMPORARY_NAMES: u32 = 100;

const PRIVATE_LABEL: &str = "PRIVATE KEY";
const PUBLIC_LABEL: &str = "PUBLIC KEY";

/// AlgorithmIdentifier: id-ecPublicKey (1.2.840.10045.2.1) with prime256v1 (1.2.840.10045.3.1.7).
#[rustfmt::skip]
const P256_ALGORITHM: [u8; 21] = [
    0x30, 0x13,
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
];

/// What stands before the point in a SubjectPublicKeyInfo of P-256: SEQUENCE (89 bytes), the algorithm,
/// BIT STRING (66 bytes, none unused).
const SPKI_PREFIX: [u8; 26] = {
    let mut prefix = [0; 26];
    let (head, tail) = ([0x30, 0x59], [0x03, 0x42, 0x00]);
    let mut i = 0;
    while i < prefix.len() {
        prefix[i] = match i {
            0..2 => head[i],
            2..23 => P256_ALGORITHM[i - 2],
            _ => tail[i - 23],
        };
        i += 1;
    }
    prefix
};

/// A P-256 key pair that signs handshakes.
pub struct RootKey {
    pair: EcdsaKeyPair,
    /// The PKCS#8 document that `pair` came from: ring gives no way back.
    der: Vec<u8>,
    public: PublicKey,
    /// The private number, from which the native protocol's keys are derived.
    scalar: native::PrivateNumber,
    native: NativeKey,
}

impl fmt::Debug for RootKey {
    /// Shows the public part only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootKey").field("public", &self.public).finish_non_exhaustive()
    }
}

impl RootKey {
    /// A new random key pair. Errors: Key, when the operating system gives no randomness.
    pub fn generate() -> Result<RootKey> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .map_err(|_| key_error("no key could be generated: the system gives no random bytes"))?;
        RootKey::from_der(document.as_ref())
    }

    /// From PKCS#8, PEM ("PRIVATE KEY"). Errors: Key, when the text is no PEM, is encrypted, has another
    /// label, or holds another kind of key than P-256 with its public part.
    pub fn from_pem(pem: &str) -> Result<RootKey> {
        RootKey::from_der(&pem_contents(pem, PRIVATE_LABEL)?)
    }

    /// From PKCS#8, DER. Errors: Key, when it is malformed or holds another kind of key than P-256 with its
    /// public part.
    pub fn from_der(der: &[u8]) -> Result<RootKey> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der, &SystemRandom::new())
            .map_err(|rejected| key_error(explain(der, &rejected.to_string())))?;
        // ring derived the point from the private key, so it lies on the curve.
        let point = pair
            .public_key()
            .as_ref()
            .try_into()
            .map_err(|_| key_error("the public part of the key is not an uncompressed P-256 point"))?;
        let scalar = native::private_number(der)
            .ok_or_else(|| key_error("the private number is not where PKCS#8 has it"))?;
        let native = Identity::public_of(&scalar)
            .map_err(|_| key_error("the native protocol's key could not be derived"))?;
        Ok(RootKey { pair, der: der.to_vec(), public: PublicKey(point), scalar, native })
    }

    /// Reads a PEM file. Errors: Io, when it cannot be read, and those of [`from_pem`](Self::from_pem); both
    /// name the path.
    pub fn load(path: &Path) -> Result<RootKey> {
        let read = || -> io::Result<String> {
            let mut text = String::new();
            File::open(path)?.take(MAX_KEY_FILE_BYTES + 1).read_to_string(&mut text)?;
            Ok(text)
        };
        let in_file = |what: &dyn fmt::Display| format!("key file {}: {what}", path.display());
        let text = match read() {
            Ok(text) => text,
            // Bytes that are no UTF-8: readable, but a DER file or something else altogether.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(key_error(in_file(&"it is not PEM text")));
            }
            Err(error) => return Err(Error::new(ErrorKind::Io, in_file(&error))),
        };
        if text.len() as u64 > MAX_KEY_FILE_BYTES {
            return Err(key_error(in_file(&format!("it is longer than {MAX_KEY_FILE_BYTES} bytes"))));
        }
        RootKey::from_pem(&text).map_err(|error| Error::new(error.kind(), in_file(&error)))
    }

    /// Writes the private key as PEM, readable and writable by its owner only (unix: mode 0600). What stood
    /// at `path` is replaced as a whole or, on an error, not at all. Errors: Io, naming the path.
    pub fn save(&self, path: &Path) -> Result<()> {
        save_private(path, self.private_pem().as_bytes())
            .map_err(|error| Error::new(ErrorKind::Io, format!("key file {}: {error}", path.display())))
    }

    /// The private key: PKCS#8, DER, about 138 bytes.
    pub fn private_der(&self) -> &[u8] {
        &self.der
    }

    /// The private key: PKCS#8, PEM ("PRIVATE KEY"), lines ending in `\n`.
    pub fn private_pem(&self) -> String {
        pem_text(PRIVATE_LABEL, &self.der)
    }

    /// The public part, for clients to pin.
    pub fn public_key(&self) -> PublicKey {
        self.public
    }

    /// What a server with this key is to clients of the native protocol. Errors: Key, when `provider` gives no
    /// randomness.
    pub fn native_identity(&self, provider: &dyn Provider) -> Result<Identity> {
        Identity::new(&self.scalar, provider)
            .map_err(|_| key_error("no native identity could be made: the system gives no random bytes"))
    }

    /// The X25519 key of the same server, for clients of the native protocol to pin. Derived from the private
    /// number, so it is the same wherever the root key is.
    pub fn native_public(&self) -> NativeKey {
        self.native
    }

    /// ECDSA over SHA-256, as ASN.1 DER, at most 72 bytes. Errors: Key, when the operating system gives no
    /// randomness.
    pub fn sign(&self, data: &[u8]) -> Result<Vec<u8>> {
        self.pair
            .sign(&SystemRandom::new(), data)
            .map(|signature| signature.as_ref().to_vec())
            .map_err(|_| key_error("nothing could be signed: the system gives no random bytes"))
    }
}

/// The public part: a point on P-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 65]);

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKey(")?;
        for byte in &self.0 {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}

impl PublicKey {
    /// From SubjectPublicKeyInfo, DER, 91 bytes. Errors: Key, when it is malformed, of another kind than
    /// P-256, its point is compressed, or its point is not on the curve.
    pub fn from_der(der: &[u8]) -> Result<PublicKey> {
        let point =
            der.strip_prefix(&SPKI_PREFIX).and_then(|rest| rest.try_into().ok()).ok_or_else(|| {
                key_error("the public key is not a SubjectPublicKeyInfo of an uncompressed P-256 point")
            })?;
        PublicKey::from_point(point)
    }

    /// From SubjectPublicKeyInfo, PEM ("PUBLIC KEY"). Errors: Key, as [`from_der`](Self::from_der).
    pub fn from_pem(pem: &str) -> Result<PublicKey> {
        PublicKey::from_der(&pem_contents(pem, PUBLIC_LABEL)?)
    }

    /// From the uncompressed point: 0x04, x, y. Errors: Key, when it is not on the curve. Costs about one key
    /// agreement: ring has no cheaper way to ask.
    pub fn from_point(point: &[u8; 65]) -> Result<PublicKey> {
        let throw_away =
            EphemeralPrivateKey::generate(&agreement::ECDH_P256, &SystemRandom::new()).map_err(|_| {
                key_error("the public key could not be checked: the system gives no random bytes")
            })?;
        let peer = agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, point);
        agreement::agree_ephemeral(throw_away, &peer, |_| ())
            .map_err(|_| key_error("the public key is not a point on P-256"))?;
        Ok(PublicKey(*point))
    }

    /// The uncompressed point: 0x04, x, y.
    pub fn point(&self) -> &[u8; 65] {
        &self.0
    }

    /// SubjectPublicKeyInfo, DER.
    pub fn to_der(&self) -> [u8; 91] {
        let mut der = [0; 91];
        let (prefix, point) = der.split_at_mut(SPKI_PREFIX.len());
        prefix.copy_from_slice(&SPKI_PREFIX);
        point.copy_from_slice(&self.0);
        der
    }

    /// SubjectPublicKeyInfo, PEM ("PUBLIC KEY"), lines ending in `\n`.
    pub fn to_pem(&self) -> String {
        pem_text(PUBLIC_LABEL, &self.to_der())
    }

    /// Checks an ECDSA signature over SHA-256 of `data`, in ASN.1 DER. Errors: Signature, when it does not fit.
    pub fn verify(&self, data: &[u8], signature: &[u8]) -> Result<()> {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.0)
            .verify(data, signature)
            .map_err(|_| Error::new(ErrorKind::Signature, "the signature does not fit the key and the data"))
    }
}

fn key_error(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Key, message)
}

/// What to tell a person whose PKCS#8 document ring rejected.
fn explain(der: &[u8], rejected: &str) -> &'static str {
    // A P-256 document begins SEQUENCE (one length byte), version 0, algorithm.
    let is_p256 = der.get(5..26) == Some(&P256_ALGORITHM[..]);
    // The public point takes 65 bytes beside the private key's 32.
    let is_whole = der.get(1).is_some_and(|length| usize::from(*length) + 2 == der.len());
    let has_room_for_point = der.len() >= 26 + 32 + 65;
    match rejected {
        "WrongAlgorithm" => "the key is of another kind than P-256 (prime256v1), the only one supported",
        "InconsistentComponents" => "the public part inside the key does not belong to its private part",
        "InvalidComponent" => "the private number inside the key is out of range",
        _ if is_p256 && is_whole && !has_room_for_point => {
            "the key carries no public part, which is needed; `openssl ec -in old.pem | openssl pkcs8 -topk8 \
             -nocrypt -out new.pem` adds it"
        }
        _ => "the key is not well-formed PKCS#8",
    }
}

/// The bytes inside a PEM text whose first block must have `label`.
fn pem_contents(text: &str, label: &str) -> Result<Vec<u8>> {
    // The parser's own words could quote the text, and the text may be a private key.
    let block =
        pem::parse(text).map_err(|_| key_error(format!("the text is not a PEM block \"{label}\"")))?;
    let hint = match (block.tag(), label) {
        (found, label) if found == label => return Ok(block.into_contents()),
        ("ENCRYPTED PRIVATE KEY" | "EC PRIVATE KEY", PRIVATE_LABEL) => {
            "; `openssl pkey -in old.pem -out new.pem` converts it"
        }
        _ => "",
    };
    Err(key_error(format!("the PEM block is \"{}\", expected is \"{label}\"{hint}", block.tag())))
}

fn pem_text(label: &str, contents: &[u8]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(label, contents), config)
}

/// Writes a temporary file beside `path` and renames it over it, so that no reader sees half a key and no
/// moment passes in which others may read it.
fn save_private(path: &Path, contents: &[u8]) -> io::Result<()> {
    let (temporary, mut file) = create_beside(path)?;
    let written = file.write_all(contents).and_then(|()| file.sync_all());
    // Closed before the rename: Windows does not rename open files.
    drop(file);
    let result = written.and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    result
}

/// Creates a file of a name that was free, in the directory of `path`, for its owner only.
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name =
        path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no file"))?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut result = Err(io::ErrorKind::AlreadyExists.into());
    for _ in 0..MAX_TEMPORARY_NAMES {
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        let temporary = path.with_file_name(temporary);
        match options.open(&temporary) {
            Ok(file) => return Ok((temporary, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => result = Err(error),
            Err(error) => return Err(error),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made by Python's `cryptography`, version 48: one key in several forms, and others of another kind.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgpc/IqhgWdhEgmZAa
W/3BJ68Q8aRgIGAMXPgn1Aohqn+hRANCAASCmYhc5WoiSBf/Hfb42qcWTS69+Byc
H0CnoP7sZnHJQi1ZMiCTXN4nZw7oK4/j2qpGm4TB4wzqNLoXM1wwFkCI
-----END PRIVATE KEY-----
";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEgpmIXOVqIkgX/x32+NqnFk0uvfgc
nB9Ap6D+7GZxyUItWTIgk1zeJ2cO6CuP49qqRpuEweMM6jS6FzNcMBZAiA==
-----END PUBLIC KEY-----
";
    /// ECDSA with SHA-256 of `gamekeeper` by the same key.
    const SIGNATURE: &str = "3045022042ca1ab8ce460720774adf32f9631cfa5c119fb0718188aec39854387ef34463\
                             02210083d1a2a45f3fc793c91551c85e02854c5e68fc0ecebddbf460ef5c9ffd30c7ef";
    const SEC1: &str = "-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIKXPyKoYFnYRIJmQGlv9wSevEPGkYCBgDFz4J9QKIap/oAoGCCqGSM49
AwEHoUQDQgAEgpmIXOVqIkgX/x32+NqnFk0uvfgcnB9Ap6D+7GZxyUItWTIgk1ze
J2cO6CuP49qqRpuEweMM6jS6FzNcMBZAiA==
-----END EC PRIVATE KEY-----
";
    const ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIH0MF8GCSqGSIb3DQEFDTBSMDEGCSqGSIb3DQEFDDAkBBDNBLOWtou4MJyybVsP
I5zJAgIIADAMBggqhkiG9w0CCQUAMB0GCWCGSAFlAwQBKgQQayrBVw5DYuKHZyCi
oPf3lASBkARrHV9hAbwsybfUAlOHsNQLn3hUPi/4ncakXKqBffWMDg9216qfBxdP
x6qTG6viMm+HjJ4jBs5gyBPRQKezpIqjeJVn+S3f3iZdEM6TKVsnfcq90wvQH5Nh
xwHrim3vsCoAmDggrHLiXWm6Wr7l6q27H9GQn0umhEVk/fuclMHzwjTtEscFKTd+
rKTLcVDF0g==
-----END ENCRYPTED PRIVATE KEY-----
";
    const P384: &str = "-----BEGIN PRIVATE KEY-----
MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDAPYABrw8QaUvzMHj9B
wPI4dntenb+iKu4lTjyzOWlpOGhtbzpJ2kpWz5b23xyLHZOhZANiAAQPHmVgdfjA
34PKRfrUt5OppfjxGIH2VBfGisQFvV8QaQhRSI0UpVpIAgGCJevNUtzSZe8Owc5G
otmGoqMIa6wAgty+YnMNb2429HEztP6qW0ezcuSaa4pJkCNOePZBb/w=
-----END PRIVATE KEY-----
";
    const ED25519: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIFHyG7g4C9qn+cYQJdeq2+19UG7ETiMFtuH0esQtwRLJ
-----END PRIVATE KEY-----
";
    const SECP256K1_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAEWA/16FNVYp1U7fd7HChlvDU48+J1e4Ba
vz9FkdPjM94HSxmJopQmLdbaF1ckheUJI3/c2REjNHxXUrzlt9C44A==
-----END PUBLIC KEY-----
";
    const WITHOUT_PUBLIC: &str = "-----BEGIN PRIVATE KEY-----
MEECAQAwEwYHKoZIzj0CAQYIKoZIzj0DAQcEJzAlAgEBBCClz8iqGBZ2ESCZkBpb
/cEnrxDxpGAgYAxc+CfUCiGqfw==
-----END PRIVATE KEY-----
";

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    /// The message of an error that must be of kind Key.
    fn key_message<T: fmt::Debug>(result: Result<T>) -> String {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Key, "{error}");
        error.to_string()
    }

    /// A directory of this test's own, removed at its end.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Directory {
            let path = std::env::temp_dir().join(format!("gamekeeper-keys-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Directory(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_foreign_key_loads_and_is_written_back_byte_for_byte() {
        let key = RootKey::from_pem(PRIVATE).unwrap();
        assert_eq!(key.private_pem(), PRIVATE);
        assert_eq!(key.public_key().to_pem(), PUBLIC);
        assert_eq!(PublicKey::from_pem(PUBLIC).unwrap(), key.public_key());
        assert_eq!(RootKey::from_der(key.private_der()).unwrap().private_pem(), PRIVATE);
    }

    #[test]
    fn windows_line_ends_are_read() {
        let key = RootKey::from_pem(&PRIVATE.replace('\n', "\r\n")).unwrap();
        assert_eq!(key.public_key().to_pem(), PUBLIC);
    }

    #[test]
    fn a_foreign_signature_fits_and_an_altered_one_does_not() {
        let key = PublicKey::from_pem(PUBLIC).unwrap();
        let signature = unhex(SIGNATURE);
        key.verify(b"gamekeeper", &signature).unwrap();
        let wrong_data = key.verify(b"gamekeepes", &signature).unwrap_err();
        assert_eq!(wrong_data.kind(), ErrorKind::Signature);
        for i in 0..signature.len() {
            let mut altered = signature.clone();
            altered[i] ^= 1;
            assert!(key.verify(b"gamekeeper", &altered).is_err(), "byte {i}");
            assert!(key.verify(b"gamekeeper", &signature[..i]).is_err(), "cut at {i}");
        }
    }

    #[test]
    fn a_generated_key_signs_what_its_public_part_verifies() {
        let key = RootKey::generate().unwrap();
        let other = RootKey::generate().unwrap();
        assert_ne!(key.public_key(), other.public_key());
        // Laid out as Python's `cryptography` lays it out: the same bytes around both numbers.
        let foreign = RootKey::from_pem(PRIVATE).unwrap();
        let (ours, theirs) = (key.private_der(), foreign.private_der());
        assert_eq!(ours.len(), theirs.len());
        assert_eq!((&ours[..36], &ours[68..73]), (&theirs[..36], &theirs[68..73]));
        let signature = key.sign(b"hello").unwrap();
        assert!(signature.len() <= 72);
        let public = PublicKey::from_der(&key.public_key().to_der()).unwrap();
        public.verify(b"hello", &signature).unwrap();
        assert!(other.public_key().verify(b"hello", &signature).is_err());
        assert_eq!(RootKey::from_pem(&key.private_pem()).unwrap().public_key(), public);
    }

    #[test]
    fn other_labels_curves_and_forms_are_named_in_the_error() {
        let expectations = [
            (ENCRYPTED, "ENCRYPTED PRIVATE KEY"),
            (SEC1, "EC PRIVATE KEY"),
            (PUBLIC, "\"PUBLIC KEY\""),
            (P384, "another kind than P-256"),
            (ED25519, "another kind than P-256"),
            (WITHOUT_PUBLIC, "no public part"),
            ("", "not a PEM block"),
            ("-----BEGIN PRIVATE KEY-----\n!!!\n-----END PRIVATE KEY-----\n", "not a PEM block"),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not well-formed"),
        ];
        for (pem, part) in expectations {
            let message = key_message(RootKey::from_pem(pem));
            assert!(message.contains(part), "{message} lacks {part}");
            assert!(!message.contains('\n'), "{message}");
        }
        assert!(key_message(PublicKey::from_pem(PRIVATE)).contains("\"PRIVATE KEY\""));
        assert!(key_message(PublicKey::from_pem(SECP256K1_PUBLIC)).contains("P-256"));
    }

    #[test]
    fn a_cut_lengthened_or_mixed_document_is_refused() {
        let key = RootKey::from_pem(PRIVATE).unwrap();
        let der = key.private_der();
        for length in 0..der.len() {
            key_message(RootKey::from_der(&der[..length]));
        }
        key_message(RootKey::from_der(&[der, &[0]].concat()));
        // The private number, replaced by another: the public part no longer fits.
        let mut mixed = der.to_vec();
        mixed[40] ^= 1;
        assert!(key_message(RootKey::from_der(&mixed)).contains("does not belong"));

        let public = key.public_key().to_der();
        for length in 0..public.len() {
            key_message(PublicKey::from_der(&public[..length]));
        }
        key_message(PublicKey::from_der(&[&public[..], &[0]].concat()));
    }

    #[test]
    fn points_off_the_curve_are_refused() {
        let point = *PublicKey::from_pem(PUBLIC).unwrap().point();
        assert_eq!(*PublicKey::from_point(&point).unwrap().point(), point);
        for i in [0, 1, 32, 33, 64] {
            let mut off = point;
            off[i] ^= 1;
            assert!(key_message(PublicKey::from_point(&off)).contains("P-256"), "byte {i}");
        }
        key_message(PublicKey::from_point(&[0; 65]));
        key_message(PublicKey::from_point(&[0xff; 65]));
        let mut infinity = [0; 65];
        infinity[0] = 4;
        key_message(PublicKey::from_point(&infinity));
    }

    #[test]
    fn the_private_key_is_not_shown() {
        let key = RootKey::from_pem(PRIVATE).unwrap();
        let shown = format!("{key:?} {key:#?}");
        // The private number begins so.
        assert!(!shown.contains("a5cfc8aa") && !shown.contains("165, 207"), "{shown}");
        assert!(shown.contains("0482998"), "the public part should be shown: {shown}");
    }

    #[test]
    fn a_saved_key_loads_and_replaces_what_was_there() {
        let directory = Directory::new("save");
        let path = directory.0.join("root.pem");
        fs::write(&path, "old").unwrap();
        let key = RootKey::generate().unwrap();
        key.save(&path).unwrap();
        assert_eq!(RootKey::load(&path).unwrap().private_pem(), key.private_pem());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn a_failed_save_leaves_no_temporary_file_and_names_the_path() {
        let directory = Directory::new("fail");
        // A directory that is not empty cannot be replaced by a file.
        let path = directory.0.join("root.pem");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "").unwrap();
        let key = RootKey::generate().unwrap();
        let error = key.save(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains("root.pem"), "{error}");
        assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 1);
        assert_eq!(key.save(&directory.0.join("none/root.pem")).unwrap_err().kind(), ErrorKind::Io);
        assert_eq!(key.save(Path::new("/")).unwrap_err().kind(), ErrorKind::Io);
    }

    #[test]
    fn a_file_that_is_no_key_is_refused_with_its_path() {
        let directory = Directory::new("load");
        let path = directory.0.join("root.pem");
        assert_eq!(RootKey::load(&path).unwrap_err().kind(), ErrorKind::Io);
        for contents in [&b"\xff\xfe"[..], b"", b"text", &vec![b'a'; MAX_KEY_FILE_BYTES as usize + 1]] {
            fs::write(&path, contents).unwrap();
            assert!(key_message(RootKey::load(&path)).contains("root.pem"));
        }
    }
}
