//! Answers to ACME challenges that wait to be fetched (RFC 8555, section 8.3; RFC 8737).
//!
//! Shared by all cores and nearly always empty: then a look-up costs one load.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::slot::Chain;

/// Answers to ACME challenges.
#[derive(Debug, Default)]
pub struct Challenges {
    waiting: AtomicUsize,
    tables: RwLock<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    http: HashMap<Box<str>, Arc<str>>,
    alpn: HashMap<Box<str>, Arc<Chain>>,
}

impl Challenges {
    /// Without any.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0
    }

    /// The key authorization for a token of HTTP-01.
    pub fn http(&self, token: &str) -> Option<Arc<str>> {
        self.read(|tables| tables.http.get(token).cloned())
    }

    /// Answers this token from now on.
    pub fn set_http(&self, token: &str, authorization: &str) {
        self.change(|tables| drop(tables.http.insert(token.into(), authorization.into())));
    }

    /// Forgets the token.
    pub fn clear_http(&self, token: &str) {
        self.change(|tables| drop(tables.http.remove(token)));
    }

    /// The certificate that answers TLS-ALPN-01 for a name (lower case).
    pub fn alpn(&self, name: &str) -> Option<Arc<Chain>> {
        self.read(|tables| tables.alpn.get(name).cloned())
    }

    /// Presents this certificate for the name (lower case) from now on, to clients that ask for it by ALPN.
    pub fn set_alpn(&self, name: &str, chain: Arc<Chain>) {
        self.change(|tables| drop(tables.alpn.insert(name.into(), chain)));
    }

    /// Forgets the name.
    pub fn clear_alpn(&self, name: &str) {
        self.change(|tables| drop(tables.alpn.remove(name)));
    }

    fn read<T>(&self, read: impl FnOnce(&Tables) -> Option<T>) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        read(&self.tables.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Tables)) {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut tables);
        self.waiting.store(tables.http.len() + tables.alpn.len(), Ordering::Release);
    }
}
