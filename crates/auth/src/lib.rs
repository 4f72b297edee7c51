//! Who a client is: user files, hashes of passwords, Basic credentials (RFC 7617).
//!
//! - [`UserFile`]: a file of users as `htpasswd` writes it, read again when it changes.
//! - [`Verifier`]: the threads that check passwords. A good hash takes a tenth of a second, so no core may do it.
//! - [`Logins`]: what one core remembers of passwords that were right a moment ago, so that a request with
//!   credentials costs a keyed hash and a look-up.
//!
//! Passwords are kept nowhere: the memory of a core holds keyed hashes of credentials, by a key that no other process knows.
//! Not here: what is asked of which request, and the answer to it (`proxy::admission`).

mod credentials;
mod failures;
mod file;
mod hash;
mod logins;
mod verifier;

pub use credentials::{Credentials, basic};
pub use file::{UserFile, UserFileError, Users};
pub use hash::{HashError, PasswordHash, new_hash};
pub use logins::Logins;
pub use verifier::{Outcome, Verifier, Wait};
