//! Whether a client proves who it is, where a login is asked for.
//!
//! Passwords are checked on threads of their own (`auth::Verifier`); a core remembers for a minute those that were right.
//! Not here: what else a request must be allowed (`admission`, the rules).

use std::sync::Arc;
use std::time::Instant;

use auth::{Credentials, Outcome};
use config::{Login, LoginId, RouteSettings};
use message::{Known, Request};
use observe::{ErrorKind, Record};

use crate::context::ClientContext;
use crate::destination::{NoConnection, unless_client_gone};
use crate::downstream::Downstream;
use crate::trouble::Trouble;

/// What asks for the login: it decides the fields and the status (RFC 9110, sections 11.6 and 11.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A site, as an origin would: 401.
    Site,
    /// A forward proxy: 407.
    Forward,
}

impl Asker {
    fn credentials(self) -> Known {
        match self {
            Self::Site => Known::Authorization,
            Self::Forward => Known::ProxyAuthorization,
        }
    }

    fn status(self) -> u16 {
        match self {
            Self::Site => 401,
            Self::Forward => 407,
        }
    }
}

/// The user that a client has proven to be.
pub(crate) async fn log_in<D: Downstream>(
    context: &ClientContext<'_>,
    down: &mut D,
    request: &Request,
    record: &mut Record,
    (asker, id): (Asker, LoginId),
) -> Result<Arc<str>, NoConnection> {
    let shared = &context.view.shared;
    let (Some(login), Some(file)) =
        (context.view.config().login(id), shared.user_files.get(id.index()))
    else {
        let detail = "the configuration has no such login";
        return Err(Trouble::new(ErrorKind::ProxyInternalError, detail).into());
    };
    let refused = |kind, detail: String, public| {
        let status = asker.status();
        let trouble = Trouble::new(kind, detail).with_status(status).with_public(public);
        NoConnection::from(trouble.with_challenge(challenge(login)))
    };
    record.decided = login.place;
    let Some(token) = only(request.fields.get_all(asker.credentials())).and_then(auth::basic)
    else {
        let detail = "the client has not logged in".to_owned();
        return Err(refused(ErrorKind::LoginRequired, detail, "log in with a name and a password"));
    };
    let now = Instant::now();
    let known = context.core.logins.user(file, token, now);
    let user = match known {
        Some(user) => user,
        None => {
            const WRONG: &str = "the name or the password is wrong";
            let Some(credentials) = Credentials::decode(token) else {
                return Err(refused(ErrorKind::LoginFailed, WRONG.to_owned(), WRONG));
            };
            let name = credentials.user().to_owned();
            // Of IPv6, what stands for one client.
            let address = context.account().key().address();
            let Some(Ok(outcome)) =
                context.core.shared.verifier().map(|v| v.verify(file, credentials, address))
            else {
                let detail = "too many passwords wait to be checked";
                return Err(Trouble::new(ErrorKind::Overloaded, detail).into());
            };
            let outcome = unless_client_gone(down.split().0, outcome).await;
            match outcome.ok_or(NoConnection::ClientGone)? {
                Ok(Outcome::Right(user)) => {
                    context.core.logins.remember(file, token, &user, now);
                    user
                }
                Ok(Outcome::Wrong) => {
                    let detail = format!("the user {name:?} is unknown, or the password is wrong");
                    return Err(refused(ErrorKind::LoginFailed, detail, WRONG));
                }
                Ok(Outcome::TooMany(wait)) => {
                    let detail =
                        format!("too many wrong passwords for the user {name:?} from this address");
                    let trouble = Trouble::new(ErrorKind::TooManyLogins, detail);
                    let public = "there were too many wrong passwords; wait a little";
                    return Err(trouble.with_public(public).with_retry_after(wait).into());
                }
                Err(_) => {
                    let detail = "the check of a password has failed";
                    return Err(Trouble::new(ErrorKind::ProxyInternalError, detail).into());
                }
            }
        }
    };
    record.user = Some(Arc::clone(&user));
    Ok(user)
}

/// Takes credentials that are for us from a request to a site, whether they were asked for or not, unless the login passes
/// them on. Those for a forward proxy are for one hop alone and go no further anyway.
pub(crate) fn take_credentials(
    context: &ClientContext<'_>,
    request: &mut Request,
    settings: &RouteSettings,
) {
    let login = settings.login.and_then(|id| context.view.config().login(id));
    if login.is_some_and(|login| !login.pass) {
        request.fields.remove(Known::Authorization);
    }
}

/// The one value, if there is only one: of several, the next server might read another than we did.
fn only<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    values.next().filter(|_| values.next().is_none())
}

/// RFC 7617, section 2: names and passwords are UTF-8.
fn challenge(login: &Login) -> String {
    let mut value = String::from("Basic realm=\"");
    for character in login.realm.chars().filter(|character| !character.is_control()) {
        if matches!(character, '"' | '\\') {
            value.push('\\');
        }
        value.push(character);
    }
    value.push_str("\", charset=\"UTF-8\"");
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn realms_are_quoted() {
        let text = "site { login basic file=f realm=\"a \\\"b\\\" \\\\ c\"; respond; }";
        let config = config::parse("t", text).unwrap().config;
        let challenge = challenge(config.logins.first().unwrap());
        assert_eq!(challenge, "Basic realm=\"a \\\"b\\\" \\\\ c\", charset=\"UTF-8\"");
    }
}
