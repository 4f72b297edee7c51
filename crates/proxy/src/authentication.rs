//! Whether a client proves who it is, where a login is asked for.
//!
//! Passwords are checked on threads of their own (`auth::Verifier`); a core remembers for a minute those that were right.
//! Not here: what else a request must be allowed (`admission`, the rules).

use std::sync::Arc;
use std::time::Instant;

use auth::{Credentials, Outcome, UserFile};
use config::{Login, LoginId, RouteSettings};
use message::{Known, Request};
use observe::{ErrorKind, Record};

use crate::answer;
use crate::context::ClientContext;
use crate::destination::{NoConnection, unless_client_gone};
use crate::downstream::Downstream;
use crate::ending::{Ending, gone};
use crate::trouble::Trouble;
use crate::work::Work;

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

/// The user that a client has proven to be, where a login is asked for; otherwise the answer that it gets instead has been sent.
/// `asked`: who asks, for which login, and with which settings.
pub(crate) async fn log_in<D: Downstream>(
    context: &ClientContext<'_>,
    work: &mut Work,
    down: &mut D,
    (asker, id, settings): (Asker, LoginId, &RouteSettings),
) -> Result<Arc<str>, Ending> {
    let Work { request, record, .. } = &mut *work;
    match prove(context, down, request, record, (asker, id)).await {
        Ok(user) => Ok(user),
        Err(NoConnection::ClientGone) => Err(gone(record)),
        Err(NoConnection::Trouble(trouble)) => {
            Err(answer::trouble(context, work, down, Some(settings), trouble).await)
        }
    }
}

/// The user that a client has proven to be. Only a password that must be checked takes time, and memory.
async fn prove<D: Downstream>(
    context: &ClientContext<'_>,
    down: &mut D,
    request: &Request,
    record: &mut Record,
    (asker, id): (Asker, LoginId),
) -> Result<Arc<str>, NoConnection> {
    let user = match known_user(context, request, record, asker, id)? {
        Some(user) => user,
        None => Box::pin(check_password(context, down, request, asker, id)).await?,
    };
    record.user = Some(Arc::clone(&user));
    Ok(user)
}

/// The user whose credentials were right a moment ago; none if they must be checked.
fn known_user(
    context: &ClientContext<'_>,
    request: &Request,
    record: &mut Record,
    asker: Asker,
    id: LoginId,
) -> Result<Option<Arc<str>>, Trouble> {
    let (login, file) = of_id(context, id)?;
    record.decided = login.place;
    let Some(token) = token(request, asker) else {
        let detail = "the client has not logged in";
        let public = "log in with a name and a password";
        let trouble = Trouble::new(ErrorKind::LoginRequired, detail).with_public(public);
        return Err(challenged(trouble, login, asker));
    };
    Ok(context.core.logins.user(file, token, Instant::now()))
}

/// Has the credentials of a request checked.
async fn check_password<D: Downstream>(
    context: &ClientContext<'_>,
    down: &mut D,
    request: &Request,
    asker: Asker,
    id: LoginId,
) -> Result<Arc<str>, NoConnection> {
    const WRONG: &str = "the name or the password is wrong";
    let (login, file) = of_id(context, id)?;
    let failed = |detail: String| {
        let trouble = Trouble::new(ErrorKind::LoginFailed, detail).with_public(WRONG);
        NoConnection::from(challenged(trouble, login, asker))
    };
    let token = token(request, asker).unwrap_or_default();
    let Some(credentials) = Credentials::decode(token) else {
        return Err(failed(WRONG.to_owned()));
    };
    let name = credentials.user().to_owned();
    // Of IPv6, what stands for one client.
    let address = context.account().key().address();
    let verifier = context.core.shared.verifier();
    let Some(Ok(outcome)) = verifier.map(|v| v.verify(file, credentials, address)) else {
        let detail = "too many passwords wait to be checked";
        return Err(Trouble::new(ErrorKind::Overloaded, detail).into());
    };
    let outcome = unless_client_gone(down.split().0, outcome).await;
    match outcome.ok_or(NoConnection::ClientGone)? {
        Ok(Outcome::Right(user)) => {
            context.core.logins.remember(file, token, &user, Instant::now());
            Ok(user)
        }
        Ok(Outcome::Wrong) => {
            Err(failed(format!("the user {name:?} is unknown, or the password is wrong")))
        }
        Ok(Outcome::TooMany(wait)) => {
            let detail =
                format!("too many wrong passwords for the user {name:?} from this address");
            let trouble = Trouble::new(ErrorKind::TooManyLogins, detail);
            let public = "there were too many wrong passwords; wait a little";
            Err(trouble.with_public(public).with_retry_after(wait).into())
        }
        Err(_) => {
            let detail = "the check of a password has failed";
            Err(Trouble::new(ErrorKind::ProxyInternalError, detail).into())
        }
    }
}

fn of_id<'a>(
    context: &'a ClientContext<'_>,
    id: LoginId,
) -> Result<(&'a Login, &'a Arc<UserFile>), Trouble> {
    let login = context.view.config().login(id);
    login.zip(context.view.shared.user_files.get(id.index())).ok_or_else(|| {
        Trouble::new(ErrorKind::ProxyInternalError, "the configuration has no such login")
    })
}

/// The Basic credentials of a request, as they came.
fn token(request: &Request, asker: Asker) -> Option<&[u8]> {
    only(request.fields.get_all(asker.credentials())).and_then(auth::basic)
}

/// The same, with what the client must prove.
fn challenged(trouble: Trouble, login: &Login, asker: Asker) -> Trouble {
    trouble.with_status(asker.status()).with_challenge(challenge(login))
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
