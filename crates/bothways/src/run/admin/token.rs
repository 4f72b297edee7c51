//! Who may change something: whoever reaches the unix socket, and over TCP whoever has the token.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use hyper::header::{AUTHORIZATION, HeaderMap};

use super::socket::Caller;

/// Bytes of a token.
const TOKEN_BYTES_MIN: usize = 16;
const TOKEN_BYTES_MAX: usize = 1024;
/// Wrong tokens are told no more often.
const COMPLAIN_EVERY: Duration = Duration::from_secs(1);

/// What allows changes over TCP.
#[derive(Default)]
pub(crate) struct Token {
    known: RefCell<Known>,
    complained: Cell<Option<Instant>>,
}

/// Never printed: it has no `Debug`.
#[derive(Default)]
enum Known {
    /// No file is set.
    #[default]
    Unset,
    /// There is a file, which cannot be used.
    Unusable,
    Token(Vec<u8>),
}

/// Why a change is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// There is no token that could be shown.
    NoToken,
    /// None was shown, or another one.
    WrongToken,
}

impl Token {
    /// Takes the token from its file, if there is one. What cannot be used allows nothing.
    pub(crate) fn read(&self, file: Option<&Path>) {
        let known = match file {
            None => Known::Unset,
            Some(path) => match read(path) {
                Ok(token) => Known::Token(token),
                Err(error) => {
                    let file = path.display();
                    tracing::error!(%file, %error, "the admin token cannot be used: changes over TCP are refused");
                    Known::Unusable
                }
            },
        };
        *self.known.borrow_mut() = known;
    }

    /// Whether a caller may change something.
    pub(super) fn check(&self, caller: &Caller, fields: &HeaderMap) -> Result<(), Denied> {
        if matches!(caller, Caller::Unix { .. }) {
            return Ok(());
        }
        let known = self.known.borrow();
        let Known::Token(token) = &*known else { return Err(Denied::NoToken) };
        if shown(fields).is_some_and(|shown| is_equal(shown, token)) {
            return Ok(());
        }
        let now = Instant::now();
        if self.complained.get().is_none_or(|at| now - at >= COMPLAIN_EVERY) {
            self.complained.set(Some(now));
            tracing::warn!(who = %caller, "a change over the admin interface without the right token");
        }
        Err(Denied::WrongToken)
    }
}

/// RFC 6750, section 2.1: the token in the field.
fn shown(fields: &HeaderMap) -> Option<&[u8]> {
    let mut values = fields.get_all(AUTHORIZATION).iter();
    let value = values.next()?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    (values.next().is_none() && scheme.eq_ignore_ascii_case(b"bearer ")).then_some(token)
}

/// Takes as long for tokens of one length, wherever they differ.
fn is_equal(shown: &[u8], token: &[u8]) -> bool {
    let differing =
        shown.iter().zip(token).fold(0, |all, (a, b)| std::hint::black_box(all | (a ^ b)));
    shown.len() == token.len() && differing == 0
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if metadata.permissions().mode() & 0o007 != 0 {
        return Err(io::Error::other("everybody on this machine can read it; chmod 640"));
    }
    let mut text = Vec::new();
    File::open(path)?.take(TOKEN_BYTES_MAX as u64 + 2).read_to_end(&mut text)?;
    let token = text.trim_ascii();
    if !(TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len()) {
        let words = format!("a token has {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} characters");
        return Err(io::Error::other(words));
    }
    if !token.iter().all(u8::is_ascii_graphic) {
        return Err(io::Error::other("a token is one word of printable characters"));
    }
    Ok(token.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_change() {
        let path = std::env::temp_dir().join(format!("bothways-token-{}", std::process::id()));
        let secret = "0123456789abcdef";
        std::fs::write(&path, format!("{secret}\n")).unwrap();
        let mode = |mode| std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        mode(0o600);
        let token = Token::default();
        let check = |caller: &Caller, shown: &[&str]| {
            let mut fields = HeaderMap::new();
            for shown in shown {
                fields.append(AUTHORIZATION, shown.parse().unwrap());
            }
            token.check(caller, &fields)
        };
        let unix = Caller::Unix { user: Some(0), process: None };
        let tcp = Caller::Tcp(([127, 0, 0, 1], 1).into());
        let right = format!("Bearer {secret}");
        assert_eq!(check(&unix, &[]), Ok(()));
        assert_eq!(check(&tcp, &[&right]), Err(Denied::NoToken));
        token.read(Some(&path));
        assert_eq!(check(&tcp, &[&right]), Ok(()));
        assert_eq!(check(&tcp, &[&right.replace("Bearer", "bearer")]), Ok(()));
        for wrong in [&right[..right.len() - 1], "Bearer ", "", secret, &right.replace('f', "g")] {
            assert_eq!(check(&tcp, &[wrong]), Err(Denied::WrongToken), "{wrong}");
        }
        assert_eq!(check(&tcp, &[]), Err(Denied::WrongToken));
        assert_eq!(check(&tcp, &[&right, &right]), Err(Denied::WrongToken));
        mode(0o644);
        token.read(Some(&path));
        assert_eq!(check(&tcp, &[&right]), Err(Denied::NoToken), "everybody may read it");
        mode(0o600);
        std::fs::write(&path, "short").unwrap();
        token.read(Some(&path));
        assert_eq!(check(&tcp, &["Bearer short"]), Err(Denied::NoToken));
        token.read(None);
        assert_eq!(check(&tcp, &[&right]), Err(Denied::NoToken));
        std::fs::remove_file(&path).unwrap();
    }
}
