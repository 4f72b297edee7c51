//! Stored responses, as operators see and purge them.

use std::sync::Arc;
use std::time::Instant;

use cache::store::{Moment, Object, PurgeKind, Scope, Store};
use config::{CacheKey, Config};
use message::Target;
use observe::CacheCounts;

use super::Server;
use crate::caching::hash_tag;

/// What is purged.
#[derive(Debug, Clone)]
pub enum Purge {
    /// What is stored for this URL.
    Url(Box<Target>),
    /// For every URL that begins so.
    Prefix(Box<str>),
    /// For this host, with its port if it is not the usual one; `scheme://host` for one scheme alone.
    Host(Box<str>),
    /// What has this tag.
    Tag(Box<str>),
    /// Everything.
    All,
}

/// A stored response.
#[derive(Debug, Clone)]
pub struct StoredResponse {
    /// The response.
    pub object: Arc<Object>,
    /// Whether it was purged softly.
    pub is_purged: bool,
}

impl Server {
    /// The store, if a configuration has asked for one.
    pub fn store(&self) -> Option<&Arc<Store>> {
        self.inner.services.shared.store()
    }

    /// The store's time.
    pub fn moment(&self) -> Moment {
        self.store().map_or_else(Moment::default, |store| store.moment(Instant::now()))
    }

    /// What the cache did, by site and forward listener.
    pub fn cache_counts(&self) -> Vec<CacheCounts> {
        self.inner.services.registry.cache_counts()
    }

    /// Responses that are stored for a URL.
    pub fn stored(&self, target: &Target) -> Vec<StoredResponse> {
        let Some(store) = self.store() else { return Vec::new() };
        let mut found = Vec::new();
        for uri in self.uris(target) {
            let variants = store.variants(&uri).into_iter();
            let held = variants.filter(|(_, purged)| *purged != Some(PurgeKind::Hard));
            found.extend(
                held.map(|(object, purged)| StoredResponse { object, is_purged: purged.is_some() }),
            );
        }
        found
    }

    /// Purges; false if there is no store.
    pub fn purge(&self, what: Purge, kind: PurgeKind) -> bool {
        let Some(store) = self.store() else { return false };
        let now = store.moment(Instant::now());
        let scope = match what {
            Purge::Url(target) => {
                for uri in self.uris(&target) {
                    let text = String::from_utf8_lossy(&uri).into();
                    store.purge(Scope::Url(text), kind, now);
                }
                return true;
            }
            Purge::Prefix(prefix) => Scope::Prefix(prefix),
            Purge::Host(host) => Scope::Host(host),
            Purge::Tag(tag) => Scope::Tag(hash_tag(tag.as_bytes())),
            Purge::All => Scope::All,
        };
        store.purge(scope, kind, now);
        true
    }

    /// What a URL may be stored under: each `key` of the configuration may leave out other parts of the query.
    fn uris(&self, target: &Target) -> Vec<Vec<u8>> {
        let config = self.config();
        let mut uris: Vec<Vec<u8>> = Vec::new();
        let usual = CacheKey::default();
        for key in keys(&config).chain([&usual]) {
            let mut uri = Vec::new();
            cache::write_uri(&mut uri, target, key);
            if !uris.contains(&uri) {
                uris.push(uri);
            }
        }
        uris
    }
}

/// The keys of a configuration.
fn keys(config: &Config) -> impl Iterator<Item = &CacheKey> {
    let routes = config.sites.iter().flat_map(|site| &site.routes).map(|route| &route.settings);
    let forwards = config.forwards.iter().map(|forward| &forward.settings);
    routes.chain(forwards).filter_map(|settings| Some(&settings.caching.as_ref()?.key))
}
