//! Who may ask for what: over the unix socket anybody whom the file system lets use it, for everything;
//! over TCP anybody who has the token.
//!
//! The token is that of `token-file`, which then is needed for everything; else one that is made in
//! the state directory, for what changes something. Invariant: what cannot be used opens nothing.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use config::{AdminAddress, Process};
use hyper::header::{AUTHORIZATION, HeaderMap};
use tls::StateDir;

use super::socket::Caller;

/// Bytes of a token.
const TOKEN_BYTES_MIN: usize = 16;
const TOKEN_BYTES_MAX: usize = 1024;
/// Wrong tokens are told no more often.
const COMPLAIN_EVERY: Duration = Duration::from_secs(1);
/// Random bytes of a token that is made.
const RANDOM_BYTES: usize = 32;

/// What requests over TCP are allowed by.
#[derive(Default)]
pub(crate) struct Token {
    known: RefCell<Known>,
    complained: Cell<Option<Instant>>,
}

/// Never printed: it has no `Debug`.
#[derive(Default)]
struct Known {
    /// `None`: there is none that could be used.
    token: Option<Vec<u8>>,
    /// Where it is.
    file: PathBuf,
    /// Whether reading needs it too.
    for_reading: bool,
    /// Whether `/metrics` never does.
    metrics_open: bool,
}

/// Why something is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// There is no token that could be shown.
    NoToken,
    /// None was shown, or another one.
    WrongToken,
}

impl Token {
    /// Takes the token from its file; without one it is made in the state directory, if there is an
    /// admin interface over TCP.
    pub(crate) fn read(&self, process: &Process) {
        let (file, token) = match (&process.admin_token, &process.admin) {
            (Some(file), _) => (file.clone(), read(file)),
            (None, Some(AdminAddress::Tcp(_))) => {
                match StateDir::find(process.state.as_deref()).map_err(io::Error::other) {
                    Ok(state) => (state.path_of(MADE), made(&state)),
                    Err(error) => (PathBuf::from(MADE), Err(error)),
                }
            }
            (None, _) => return *self.known.borrow_mut() = Known::default(),
        };
        let for_reading = process.admin_token.is_some();
        let token = token.map_err(|error| {
            let (shown, what) = (file.display(), if for_reading { "requests" } else { "changes" });
            tracing::error!(
                file = %shown, %error,
                "the admin token cannot be used: {what} over TCP are refused"
            );
        });
        let metrics_open = process.admin_metrics_open;
        *self.known.borrow_mut() = Known { token: token.ok(), file, for_reading, metrics_open };
    }

    /// Whether `token-file` is set.
    pub(super) fn is_set(&self) -> bool {
        self.known.borrow().for_reading
    }

    /// Where it is, for people.
    pub(super) fn file(&self) -> PathBuf {
        self.known.borrow().file.clone()
    }

    /// Whether a caller may read a page.
    pub(super) fn may_read(
        &self,
        path: &str,
        caller: &Caller,
        fields: &HeaderMap,
    ) -> Result<(), Denied> {
        let is_open = {
            let known = self.known.borrow();
            let open = matches!(path, "/healthz" | "/readyz");
            !known.for_reading || open || (path == "/metrics" && known.metrics_open)
        };
        if is_open { Ok(()) } else { self.check(caller, fields) }
    }

    /// Whether a caller may change something.
    pub(super) fn check(&self, caller: &Caller, fields: &HeaderMap) -> Result<(), Denied> {
        if matches!(caller, Caller::Unix { .. }) {
            return Ok(());
        }
        let known = self.known.borrow();
        let Some(token) = &known.token else { return Err(Denied::NoToken) };
        if shown(fields).is_some_and(|shown| is_equal(shown, token)) {
            return Ok(());
        }
        let now = Instant::now();
        if self.complained.get().is_none_or(|at| now - at >= COMPLAIN_EVERY) {
            self.complained.set(Some(now));
            tracing::warn!(who = %caller, "a request to the admin interface without the right token");
        }
        Err(Denied::WrongToken)
    }
}

/// The file of the token that is made, in the state directory.
pub(crate) const MADE: &str = "admin-token";

/// The token of the state directory; made if there is none that can be used. Processes that share
/// the directory share the token, also if they start at the same time.
fn made(state: &StateDir) -> io::Result<Vec<u8>> {
    let path = state.path_of(MADE);
    if let Ok(token) = read(&path) {
        return Ok(token);
    }
    let secret = random::secret::<RANDOM_BYTES>().map_err(io::Error::other)?;
    let fresh: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let name = format!(".{MADE}-{}", std::process::id());
    state.write(&name, format!("{fresh}\n").as_bytes()).map_err(io::Error::other)?;
    let fresh_path = state.path_of(&name);
    // A link is made only where there is nothing yet; what is there and no good is replaced.
    let placed = match std::fs::hard_link(&fresh_path, &path) {
        Ok(()) => std::fs::remove_file(&fresh_path),
        Err(_) if read(&path).is_ok() => std::fs::remove_file(&fresh_path),
        Err(_) => std::fs::rename(&fresh_path, &path),
    };
    placed.and_then(|()| read(&path))
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
        let process = |file: Option<&Path>| Process {
            admin: Some(AdminAddress::Tcp(([127, 0, 0, 1], 9900).into())),
            admin_token: file.map(Path::to_owned),
            state: Some(path.with_extension("state")),
            ..Process::default()
        };
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
        token.read(&process(Some(&path)));
        assert_eq!(check(&tcp, &[&right]), Ok(()));
        assert_eq!(check(&tcp, &[&right.replace("Bearer", "bearer")]), Ok(()));
        for wrong in [&right[..right.len() - 1], "Bearer ", "", secret, &right.replace('f', "g")] {
            assert_eq!(check(&tcp, &[wrong]), Err(Denied::WrongToken), "{wrong}");
        }
        assert_eq!(check(&tcp, &[]), Err(Denied::WrongToken));
        assert_eq!(check(&tcp, &[&right, &right]), Err(Denied::WrongToken));
        mode(0o644);
        token.read(&process(Some(&path)));
        assert_eq!(check(&tcp, &[&right]), Err(Denied::NoToken), "everybody may read it");
        mode(0o600);
        std::fs::write(&path, "short").unwrap();
        token.read(&process(Some(&path)));
        assert_eq!(check(&tcp, &["Bearer short"]), Err(Denied::NoToken));
        let may_read = |path| token.may_read(path, &tcp, &HeaderMap::new());
        assert_eq!(may_read("/healthz"), Ok(()));
        assert_eq!(may_read("/metrics"), Err(Denied::NoToken));
        token.read(&Process { admin_metrics_open: true, ..process(Some(&path)) });
        assert_eq!(may_read("/metrics"), Ok(()));
        assert_eq!(may_read("/config"), Err(Denied::NoToken));
        // Without a file there is one that was made, and reading is for every process here.
        token.read(&process(None));
        assert_eq!(may_read("/config"), Ok(()));
        assert_eq!(check(&tcp, &[&right]), Err(Denied::WrongToken));
        let made = std::fs::read_to_string(token.file()).unwrap();
        let shown = format!("Bearer {}", made.trim());
        assert_eq!(check(&tcp, &[&shown]), Ok(()));
        let mode = std::fs::metadata(token.file()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        token.read(&process(None));
        assert_eq!(check(&tcp, &[&shown]), Ok(()), "the next one has the same");
        std::fs::write(token.file(), "").unwrap();
        token.read(&process(None));
        assert_eq!(check(&tcp, &[&shown]), Err(Denied::WrongToken), "an empty file is replaced");
        std::fs::remove_dir_all(path.with_extension("state")).unwrap();
        std::fs::remove_file(&path).unwrap();
    }
}
