//! Hashes of passwords as user files have them, and how a password is compared with one.

use argon2::password_hash::{PasswordVerifier, phc};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use thiserror::Error;

/// The logarithm of rounds that bcrypt may take: 2 s on a common machine.
const BCRYPT_COST_MAX: u32 = 16;
/// KiB of memory that argon2 may take.
const ARGON2_MEMORY_MAX: u32 = 512 * 1024;
/// Passes over its memory that argon2 may make.
const ARGON2_PASSES_MAX: u32 = 64;
/// Rounds that the SHA-2 hashes of crypt(3) may take.
const SHA_CRYPT_ROUNDS_MAX: u32 = 5_000_000;
/// The cost of new hashes: a twentieth of a second on a common machine.
const BCRYPT_COST: u32 = 10;

/// The hash of a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordHash(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// `$2y$…`, and its older names `$2a$` and `$2b$`.
    Bcrypt(Box<str>),
    /// `$argon2id$…`, `$argon2i$…`, `$argon2d$…`, as a PHC string.
    Argon2(Box<str>),
    /// `$5$…` (SHA-256) and `$6$…` (SHA-512) of crypt(3).
    ShaCrypt(Box<str>),
    /// `$apr1$…` of Apache, `$1$…` of crypt(3).
    Md5 { magic: &'static str, salt: Box<str>, hash: Box<str> },
    /// `{SHA}…` and, with a salt, `{SSHA}…`.
    Sha1 { sum: [u8; 20], salt: Box<[u8]> },
}

/// Why a hash cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HashError {
    /// It is of no kind that is known.
    #[error(
        "this is no hash that the proxy knows: it knows bcrypt, argon2, SHA-512 and SHA-256 of crypt(3), apr1 and {{SHA}}"
    )]
    Unknown,
    /// It is a password itself.
    #[error("this is a password in clear: a user file holds hashes")]
    Clear,
    /// It is of a kind that is known, but not as that kind is written.
    #[error("this {0} hash is malformed")]
    Malformed(&'static str),
    /// To check it takes too much time or memory.
    #[error("this {0} hash is too costly to check for each login; its largest cost is {1}")]
    TooCostly(&'static str, u32),
}

/// A new hash of a password, for a user file: bcrypt. `None` if the system has no source of random numbers, or if the
/// password is longer than the 72 bytes that bcrypt reads, or has a NUL.
pub fn new_hash(password: &[u8]) -> Option<String> {
    if password.contains(&0) || password.len() > 72 {
        return None;
    }
    let salt = random::secret::<16>().ok()?;
    let parts = bcrypt::non_truncating_hash_with_salt(password, BCRYPT_COST, salt).ok()?;
    Some(parts.format_for_version(bcrypt::Version::TwoY))
}

impl PasswordHash {
    /// Reads a hash.
    pub fn parse(text: &str) -> Result<Self, HashError> {
        let kind = if text.starts_with("$2") {
            bcrypt_hash(text)?
        } else if text.starts_with("$argon2") {
            argon2_hash(text)?
        } else if let Some(rest) = text.strip_prefix("$5$").or_else(|| text.strip_prefix("$6$")) {
            sha_crypt_hash(text, rest)?
        } else if let Some(rest) = text.strip_prefix("$apr1$") {
            md5_hash("$apr1$", rest)?
        } else if let Some(rest) = text.strip_prefix("$1$") {
            md5_hash("$1$", rest)?
        } else if let Some(rest) = text.strip_prefix("{SHA}") {
            sha1_hash(rest, false)?
        } else if let Some(rest) = text.strip_prefix("{SSHA}") {
            sha1_hash(rest, true)?
        } else if text.starts_with("{PLAIN}") {
            return Err(HashError::Clear);
        } else {
            return Err(HashError::Unknown);
        };
        Ok(Self(kind))
    }

    /// Whether this is the password. Takes as long for a wrong one.
    pub fn verify(&self, password: &[u8]) -> bool {
        match &self.0 {
            Kind::Bcrypt(hash) => {
                // As written elsewhere: longer passwords are cut to the 72 bytes that bcrypt reads.
                bcrypt::verify(password, hash).unwrap_or(false)
            }
            Kind::Argon2(hash) => phc::PasswordHash::new(hash).is_ok_and(|hash| {
                argon2::Argon2::default().verify_password(password, &hash).is_ok()
            }),
            Kind::ShaCrypt(hash) => {
                sha_crypt::ShaCrypt::default().verify_password(password, &**hash).is_ok()
            }
            Kind::Md5 { magic, salt, hash } => {
                let computed = md5_crypt(password, magic, salt.as_bytes());
                verify_slices_are_equal(&computed, hash.as_bytes()).is_ok()
            }
            Kind::Sha1 { sum, salt } => {
                let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
                context.update(password);
                context.update(salt);
                verify_slices_are_equal(context.finish().as_ref(), sum).is_ok()
            }
        }
    }
}

fn bcrypt_hash(text: &str) -> Result<Kind, HashError> {
    let parts: bcrypt::HashParts = text.parse().map_err(|_| HashError::Malformed("bcrypt"))?;
    if parts.get_cost() > BCRYPT_COST_MAX {
        return Err(HashError::TooCostly("bcrypt", BCRYPT_COST_MAX));
    }
    Ok(Kind::Bcrypt(text.into()))
}

fn argon2_hash(text: &str) -> Result<Kind, HashError> {
    const NAME: &str = "argon2";
    let hash = phc::PasswordHash::new(text).map_err(|_| HashError::Malformed(NAME))?;
    let params = argon2::Params::try_from(&hash).map_err(|_| HashError::Malformed(NAME))?;
    if hash.hash.is_none() || hash.salt.is_none() {
        return Err(HashError::Malformed(NAME));
    }
    if params.m_cost() > ARGON2_MEMORY_MAX {
        return Err(HashError::TooCostly(NAME, ARGON2_MEMORY_MAX));
    }
    if params.t_cost() > ARGON2_PASSES_MAX {
        return Err(HashError::TooCostly(NAME, ARGON2_PASSES_MAX));
    }
    Ok(Kind::Argon2(text.into()))
}

fn sha_crypt_hash(text: &str, rest: &str) -> Result<Kind, HashError> {
    const NAME: &str = "crypt(3)";
    let malformed = || HashError::Malformed(NAME);
    let (rounds, rest) = match rest.strip_prefix("rounds=") {
        Some(rest) => {
            let (rounds, rest) = rest.split_once('$').ok_or_else(malformed)?;
            (rounds.parse::<u32>().map_err(|_| malformed())?, rest)
        }
        None => (5000, rest),
    };
    if rounds > SHA_CRYPT_ROUNDS_MAX {
        return Err(HashError::TooCostly(NAME, SHA_CRYPT_ROUNDS_MAX));
    }
    let (salt, hash) = rest.split_once('$').ok_or_else(malformed)?;
    let length = if text.starts_with("$5$") { 43 } else { 86 };
    let is_fit =
        (1..=16).contains(&salt.len()) && hash.len() == length && hash.bytes().all(is_crypt_digit);
    if is_fit { Ok(Kind::ShaCrypt(text.into())) } else { Err(malformed()) }
}

fn md5_hash(magic: &'static str, rest: &str) -> Result<Kind, HashError> {
    let malformed = HashError::Malformed(if magic == "$1$" { "MD5 crypt(3)" } else { "apr1" });
    let Some((salt, hash)) = rest.split_once('$') else { return Err(malformed) };
    let is_fit = salt.len() <= 8 && hash.len() == 22 && hash.bytes().all(is_crypt_digit);
    if !is_fit {
        return Err(malformed);
    }
    Ok(Kind::Md5 { magic, salt: salt.into(), hash: hash.into() })
}

fn sha1_hash(rest: &str, salted: bool) -> Result<Kind, HashError> {
    let malformed = || HashError::Malformed(if salted { "{SSHA}" } else { "{SHA}" });
    let bytes = STANDARD.decode(rest).map_err(|_| malformed())?;
    let (sum, salt) = bytes.split_first_chunk::<20>().ok_or_else(malformed)?;
    if salt.is_empty() == salted {
        return Err(malformed());
    }
    Ok(Kind::Sha1 { sum: *sum, salt: salt.into() })
}

/// The digits of crypt(3).
const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

fn is_crypt_digit(byte: u8) -> bool {
    DIGITS.contains(&byte)
}

/// The MD5 hash of crypt(3), by Poul-Henning Kamp; Apache's `apr1` differs in its magic text alone.
fn md5_crypt(password: &[u8], magic: &str, salt: &[u8]) -> [u8; 22] {
    let inner =
        Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize();
    let mut sum = Md5::new().chain_update(password).chain_update(magic).chain_update(salt);
    for chunk in password.chunks(16) {
        sum.update(inner.get(..chunk.len()).unwrap_or_default());
    }
    let first = password.first().map_or(&[][..], std::slice::from_ref);
    let mut length = password.len();
    while length > 0 {
        sum.update(if length & 1 == 1 { &[0][..] } else { first });
        length >>= 1;
    }
    let mut sum = sum.finalize();
    for round in 0..1000 {
        let mut next = Md5::new();
        let odd = round % 2 == 1;
        if odd {
            next.update(password)
        } else {
            next.update(sum)
        }
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        if odd {
            next.update(sum)
        } else {
            next.update(password)
        }
        sum = next.finalize();
    }
    let at = |index: usize| u32::from(sum.get(index).copied().unwrap_or_default());
    let mut text = [0; 22];
    let groups = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];
    let mut digits = text.iter_mut();
    let mut write = |mut bits: u32, count: usize| {
        for digit in digits.by_ref().take(count) {
            *digit = DIGITS.get(bits as usize & 63).copied().unwrap_or_default();
            bits >>= 6;
        }
    };
    for [high, middle, low] in groups {
        write(at(high) << 16 | at(middle) << 8 | at(low), 4);
    }
    write(at(11), 2);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes of `open sesame` by other programs: htpasswd (Apache), openssl passwd, Python's `crypt` and argon2-cffi.
    const OF_OPEN_SESAME: &[&str] = &[
        "$2y$05$ZdoCND6NUm.kFSFW40V2vugAcNMEUfs1qMVDtxMVqegDvxh9ksgdW",
        "$2a$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW",
        "$apr1$aW40xAU9$eehUggkiVMFs7MqSu4/VS/",
        "$apr1$pepper$q1evYAGW7H1ajwuBjp4yr1",
        "$1$MN7gqnIi$P.miGSYngZP1Ftgdaw86T.",
        "$1$x$oF/tgio3KLGf3mIcWzC260",
        "$6$CJgUd7.7doqX5my0$fT2ZHHu/A6NXGN7Krygy8Pq7FPTbCYPKCulhlDVHcQaI1IH69h6qOYWg6s7l3t4PlxQdiWxSZSOM/1gXfIJXo1",
        "$6$rounds=7777$saltsalt$KXRdm3tZhkeci6HUUGawS.73NZ2SPdcx.haLULW6eIntU8J7JiCExJ.NYp7g7bxE6eEho2WMbpdBrMJx.6RoU/",
        "$5$kK1cAvl80W9xW9G.$7m7q22M10byzVr9my6hx/Z9cPqTmkQtVmwuXb4hEwj4",
        "$argon2id$v=19$m=8192,t=2,p=2$pW4qGgyQil5BUvddMc5veg$R4lt4H2cugRam100jNmm/4d1nl7PXMKnFq37ro28q+Y",
        "$argon2i$v=19$m=1024,t=1,p=1$XIm5/w0Gp2ywQDy3oqOdJA$C2bgJ/ji3yJxmLyf7wVL6+YhZ6sN2NrPzsu8r2Dc82Y",
        "{SHA}W8r/fyL/UzygmbNAjq2HbA67qac=",
        "{SSHA}hN5uxFJUEWCPg56kk42tnVCdJ61zYWx0",
    ];

    #[test]
    fn hashes_of_other_programs() {
        for text in OF_OPEN_SESAME {
            let hash = PasswordHash::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(hash.verify(b"open sesame"), "{text}");
            for wrong in [&b"open sesamE"[..], b"open sesame ", b"", b"open"] {
                assert!(!hash.verify(wrong), "{text}: {wrong:?}");
            }
        }
    }

    #[test]
    fn new_hashes() {
        let hash = new_hash(b"open sesame").unwrap();
        assert!(hash.starts_with("$2y$10$"), "{hash}");
        assert!(PasswordHash::parse(&hash).unwrap().verify(b"open sesame"));
        assert_ne!(new_hash(b"open sesame").unwrap(), hash);
        assert_eq!((new_hash(&[b'a'; 73]), new_hash(b"a\0b")), (None, None));
    }

    #[test]
    fn hashes_that_cannot_be_used() {
        let table: &[(&str, HashError)] = &[
            ("", HashError::Unknown),
            ("secret", HashError::Unknown),
            ("rqXexS6ZhobKA", HashError::Unknown), // DES
            ("{PLAIN}secret", HashError::Clear),
            ("$7$abc", HashError::Unknown),
            ("$2y$10$short", HashError::Malformed("bcrypt")),
            (
                "$2y$17$L6Bc/AlTQHyd9liGgGEZyO9Aae5mF7hKpkxVUqQ2WUB8jSWZ.lT9a",
                HashError::TooCostly("bcrypt", 16),
            ),
            ("$argon2id$v=19$m=65536,t=3,p=4", HashError::Malformed("argon2")),
            (
                "$argon2id$v=19$m=4194304,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b4dWRWJTmaaJObG",
                HashError::TooCostly("argon2", 512 * 1024),
            ),
            ("$6$rounds=9000000$salt$x", HashError::TooCostly("crypt(3)", 5_000_000)),
            ("$6$salt$x", HashError::Malformed("crypt(3)")),
            ("$6$salt", HashError::Malformed("crypt(3)")),
            ("$apr1$salt$x", HashError::Malformed("apr1")),
            ("{SHA}YQ==", HashError::Malformed("{SHA}")),
            ("{SSHA}fEqNCco3Yq9h5ZUglD3CZJT4lBs=", HashError::Malformed("{SSHA}")),
        ];
        for (text, error) in table {
            assert_eq!(PasswordHash::parse(text), Err(error.clone()), "{text}");
        }
    }
}
