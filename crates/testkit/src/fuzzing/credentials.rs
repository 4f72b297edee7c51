//! Basic credentials of a client, and files of users.

use auth::{Credentials, Users, basic};

/// Credentials that are read have a usable name, and bytes that are no file of users have an error that names a line.
/// Passwords are not checked: a hash may cost a second.
pub fn check(data: &[u8]) {
    for token in [basic(data), Some(data)].into_iter().flatten() {
        if let Some(credentials) = Credentials::decode(token) {
            let user = credentials.user();
            assert!(!user.is_empty() && !user.contains(':') && !user.chars().any(char::is_control));
            assert!(user.len() + credentials.password().len() <= data.len());
        }
    }
    match Users::parse(data) {
        Ok(users) => assert!(users.len() <= data.split(|&byte| byte == b'\n').count()),
        Err(error) => assert!(error.to_string().contains("line "), "{error}"),
    }
}
