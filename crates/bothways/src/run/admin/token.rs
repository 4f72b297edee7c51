//! Authorization: over the unix socket, everybody who can open it may do everything; over TCP, a
//! token is needed.
//!
//! The token is that of `token-file`, which is then needed for all requests; else one generated in the
//! state directory, which is needed for changes. Invariant: a token that cannot be used permits
//! nothing.

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

/// Minimum and maximum bytes of a token.
const TOKEN_BYTES_MIN: usize = 16;
const TOKEN_BYTES_MAX: usize = 1024;
/// Wrong tokens are logged at most this often.
const WARNING_INTERVAL: Duration = Duration::from_secs(1);
/// Random bytes of a generated token.
const RANDOM_BYTES: usize = 32;

/// The token for requests over TCP.
#[derive(Default)]
pub(crate) struct Token {
    state: RefCell<TokenState>,
    last_warning: Cell<Option<Instant>>,
}

/// Never printed: it has no `Debug`.
#[derive(Default)]
struct TokenState {
    /// `None` if it cannot be used.
    token: Option<Vec<u8>>,
    /// Its file.
    file: PathBuf,
    /// Whether reading needs the token, too.
    for_reading: bool,
    /// Whether `/metrics` never needs it.
    metrics_open: bool,
}

/// Why a request is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenError {
    /// The process has no usable token.
    Unavailable,
    /// The request has no token, or a wrong one.
    Wrong,
}

impl Token {
    /// Reads the token from its file. Without `token-file`, generates one in the state directory, if there
    /// is an admin interface over TCP.
    pub(crate) fn read(&self, process: &Process) {
        let (file, token) = match (&process.admin_token, &process.admin) {
            (Some(file), _) => (file.clone(), read(file)),
            (None, Some(AdminAddress::Tcp(_))) => {
                match StateDir::find(process.state.as_deref()).map_err(io::Error::other) {
                    Ok(state) => (state.path_of(GENERATED_FILE), generated(&state)),
                    Err(error) => (PathBuf::from(GENERATED_FILE), Err(error)),
                }
            }
            (None, _) => return *self.state.borrow_mut() = TokenState::default(),
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
        *self.state.borrow_mut() =
            TokenState { token: token.ok(), file, for_reading, metrics_open };
    }

    /// Whether `token-file` is set.
    pub(super) fn is_set(&self) -> bool {
        self.state.borrow().for_reading
    }

    /// The file of the token, for messages.
    pub(super) fn file(&self) -> PathBuf {
        self.state.borrow().file.clone()
    }

    /// Whether a caller may read a page.
    pub(super) fn may_read(
        &self,
        path: &str,
        caller: &Caller,
        fields: &HeaderMap,
    ) -> Result<(), TokenError> {
        let is_open = {
            let state = self.state.borrow();
            let open = matches!(path, "/healthz" | "/readyz");
            !state.for_reading || open || (path == "/metrics" && state.metrics_open)
        };
        if is_open { Ok(()) } else { self.check(caller, fields) }
    }

    /// Checks the token of a caller.
    pub(super) fn check(&self, caller: &Caller, fields: &HeaderMap) -> Result<(), TokenError> {
        if matches!(caller, Caller::Unix { .. }) {
            return Ok(());
        }
        let state = self.state.borrow();
        let Some(token) = &state.token else { return Err(TokenError::Unavailable) };
        if bearer_token(fields).is_some_and(|shown| is_equal(shown, token)) {
            return Ok(());
        }
        let now = Instant::now();
        if self.last_warning.get().is_none_or(|at| now - at >= WARNING_INTERVAL) {
            self.last_warning.set(Some(now));
            tracing::warn!(who = %caller, "refused a request to the admin interface without the right token");
        }
        Err(TokenError::Wrong)
    }
}

/// The file of the generated token, in the state directory.
pub(crate) const GENERATED_FILE: &str = "admin-token";

/// The token of the state directory; generated if there is no usable one. Processes that share the
/// directory share the token, even if they start at the same time.
fn generated(state: &StateDir) -> io::Result<Vec<u8>> {
    let path = state.path_of(GENERATED_FILE);
    if let Ok(token) = read(&path) {
        return Ok(token);
    }
    let secret = random::secret::<RANDOM_BYTES>().map_err(io::Error::other)?;
    let fresh: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let name = format!(".{GENERATED_FILE}-{}", std::process::id());
    state.write(&name, format!("{fresh}\n").as_bytes()).map_err(io::Error::other)?;
    let fresh_path = state.path_of(&name);
    // A hard link never replaces a file; an unusable file is replaced by a rename.
    let placed = match std::fs::hard_link(&fresh_path, &path) {
        Ok(()) => std::fs::remove_file(&fresh_path),
        Err(_) if read(&path).is_ok() => std::fs::remove_file(&fresh_path),
        Err(_) => std::fs::rename(&fresh_path, &path),
    };
    placed.and_then(|()| read(&path))
}

/// The token in `Authorization` (RFC 6750, section 2.1).
fn bearer_token(fields: &HeaderMap) -> Option<&[u8]> {
    let mut values = fields.get_all(AUTHORIZATION).iter();
    let value = values.next()?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    (values.next().is_none() && scheme.eq_ignore_ascii_case(b"bearer ")).then_some(token)
}

/// Compares in constant time for tokens of equal length.
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
        return Err(io::Error::other("everybody on this machine can read it: chmod 640"));
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
    fn token_rules() {
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
        assert_eq!(check(&tcp, &[&right]), Err(TokenError::Unavailable));
        token.read(&process(Some(&path)));
        assert_eq!(check(&tcp, &[&right]), Ok(()));
        assert_eq!(check(&tcp, &[&right.replace("Bearer", "bearer")]), Ok(()));
        for wrong in [&right[..right.len() - 1], "Bearer ", "", secret, &right.replace('f', "g")] {
            assert_eq!(check(&tcp, &[wrong]), Err(TokenError::Wrong), "{wrong}");
        }
        assert_eq!(check(&tcp, &[]), Err(TokenError::Wrong));
        assert_eq!(check(&tcp, &[&right, &right]), Err(TokenError::Wrong));
        mode(0o644);
        token.read(&process(Some(&path)));
        assert_eq!(check(&tcp, &[&right]), Err(TokenError::Unavailable), "everybody may read it");
        mode(0o600);
        std::fs::write(&path, "short").unwrap();
        token.read(&process(Some(&path)));
        assert_eq!(check(&tcp, &["Bearer short"]), Err(TokenError::Unavailable));
        let may_read = |path| token.may_read(path, &tcp, &HeaderMap::new());
        assert_eq!(may_read("/healthz"), Ok(()));
        assert_eq!(may_read("/metrics"), Err(TokenError::Unavailable));
        token.read(&Process { admin_metrics_open: true, ..process(Some(&path)) });
        assert_eq!(may_read("/metrics"), Ok(()));
        assert_eq!(may_read("/config"), Err(TokenError::Unavailable));
        // Without `token-file`, the token is generated, and reading needs none.
        token.read(&process(None));
        assert_eq!(may_read("/config"), Ok(()));
        assert_eq!(check(&tcp, &[&right]), Err(TokenError::Wrong));
        let generated = std::fs::read_to_string(token.file()).unwrap();
        let shown = format!("Bearer {}", generated.trim());
        assert_eq!(check(&tcp, &[&shown]), Ok(()));
        let mode = std::fs::metadata(token.file()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        token.read(&process(None));
        assert_eq!(check(&tcp, &[&shown]), Ok(()), "the next one has the same");
        std::fs::write(token.file(), "").unwrap();
        token.read(&process(None));
        assert_eq!(check(&tcp, &[&shown]), Err(TokenError::Wrong), "an empty file is replaced");
        std::fs::remove_dir_all(path.with_extension("state")).unwrap();
        std::fs::remove_file(&path).unwrap();
    }
}
