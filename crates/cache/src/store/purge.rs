//! Purges: what was stored before a purge that concerns it is not used any more.
//!
//! A purge of a host, a prefix or a tag touches no object: it is noted with its time, and every object is compared
//! with the notes once, when it is looked at for the first time after them. So a purge costs the same however many objects it concerns.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use foldhash::{HashMap, HashMapExt};

use super::object::{Moment, Object};

/// What is to be purged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    All,
    /// This URL, as [`crate::write_uri`] writes it.
    Url(Box<str>),
    /// All under this origin: scheme, `://` and authority; or an authority alone, for every scheme.
    Host(Box<str>),
    /// Every URL that begins so.
    Prefix(Box<str>),
    /// What has this tag or is in this group; by the hash that [`super::StoredHead`] holds.
    Tag(u64),
}

/// What a purge does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PurgeKind {
    /// It is stale from now on, and may be used where stale responses may.
    Soft,
    /// It is gone.
    Hard,
}

/// Before when objects are purged: softly, and hard.
#[derive(Debug, Clone, Copy, Default)]
struct Before {
    soft: Moment,
    hard: Moment,
}

impl Before {
    fn note(&mut self, kind: PurgeKind, now: Moment) {
        match kind {
            PurgeKind::Soft => self.soft = self.soft.max(now),
            PurgeKind::Hard => self.hard = self.hard.max(now),
        }
    }

    fn judge(self, asked: Moment) -> Option<PurgeKind> {
        match () {
            () if asked <= self.hard && self.hard > Moment::default() => Some(PurgeKind::Hard),
            () if asked <= self.soft && self.soft > Moment::default() => Some(PurgeKind::Soft),
            () => None,
        }
    }
}

#[derive(Debug, Default)]
struct Notes {
    all: Before,
    urls: HashMap<Box<str>, Before>,
    hosts: HashMap<Box<str>, Before>,
    tags: HashMap<u64, Before>,
    /// The latest of those of tags.
    any_tag: Before,
    /// By length, then by text: a URL is looked up once for each length that there is.
    prefixes: Vec<(usize, HashMap<Box<str>, Before>)>,
}

impl Notes {
    fn count(&self) -> usize {
        let prefixes: usize = self.prefixes.iter().map(|(_, texts)| texts.len()).sum();
        self.urls.len() + self.hosts.len() + self.tags.len() + prefixes
    }

    /// `tags`: unless they are not known yet.
    fn judge(&self, url: &str, tags: Option<&[u64]>, asked: Moment) -> Option<PurgeKind> {
        let authority = url.find("://").map_or(0, |at| at + 3);
        let rest = url.get(authority..).unwrap_or_default();
        let origin = url.get(..authority + rest.find('/').unwrap_or(rest.len())).unwrap_or(url);
        let host = origin.get(authority..).unwrap_or_default();
        let hosts = [origin, host].into_iter().filter_map(|name| self.hosts.get(name));
        let any_tag = tags.is_none().then_some(&self.any_tag);
        let tags = tags.unwrap_or_default().iter().filter_map(|tag| self.tags.get(tag));
        let prefixes = self.prefixes.iter();
        let prefixes = prefixes.filter_map(|(length, texts)| texts.get(url.get(..*length)?));
        let exact = self.urls.get(url);
        let all = std::iter::once(&self.all).chain(exact).chain(hosts).chain(tags).chain(any_tag);
        all.chain(prefixes).filter_map(|before| before.judge(asked)).max()
    }
}

/// The most notes: when there are more, all objects are judged and the notes are forgotten.
pub(super) const NOTES_MAX: usize = 10_000;

/// All purges that may still concern an object.
#[derive(Debug, Default)]
pub(super) struct Purges {
    /// How many there were; objects know up to which they were judged.
    count: AtomicU64,
    /// Notes up to this number may be forgotten: what was asked for before them cannot be judged.
    forgotten: AtomicU64,
    notes: RwLock<Notes>,
}

impl Purges {
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Notes a purge; true if there are too many notes now.
    pub(super) fn note(&self, scope: Scope, kind: PurgeKind, now: Moment) -> bool {
        let mut notes = self.notes.write().unwrap_or_else(PoisonError::into_inner);
        match scope {
            Scope::All => notes.all.note(kind, now),
            Scope::Url(url) => notes.urls.entry(url).or_default().note(kind, now),
            Scope::Host(host) => notes.hosts.entry(host).or_default().note(kind, now),
            Scope::Tag(tag) => {
                notes.tags.entry(tag).or_default().note(kind, now);
                notes.any_tag.note(kind, now);
            }
            Scope::Prefix(prefix) => {
                let length = prefix.len();
                let known = notes.prefixes.iter().position(|(known, _)| *known == length);
                let at = known.unwrap_or_else(|| {
                    notes.prefixes.push((length, HashMap::new()));
                    notes.prefixes.len() - 1
                });
                if let Some((_, texts)) = notes.prefixes.get_mut(at) {
                    texts.entry(prefix).or_default().note(kind, now);
                }
            }
        }
        self.count.fetch_add(1, Ordering::Release);
        notes.count() > NOTES_MAX
    }

    /// What a purge means for an object.
    pub(super) fn judge(&self, object: &Object) -> Option<PurgeKind> {
        let count = self.count();
        if object.judged.load(Ordering::Relaxed) == count {
            return None;
        }
        let url = str::from_utf8(object.key()).unwrap_or_default();
        let notes = self.notes.read().unwrap_or_else(PoisonError::into_inner);
        let judged = notes.judge(url, Some(&object.head.tags), object.asked);
        drop(notes);
        if judged.is_none() {
            object.judged.store(count, Ordering::Relaxed);
        }
        judged
    }

    /// Whether a purge since then concerns a response that is on its way, or may do so as far as is known.
    pub(super) fn may_concern(
        &self,
        key: &[u8],
        tags: Option<&[u64]>,
        (judged, asked): (u64, Moment),
    ) -> bool {
        if judged == self.count() {
            return false;
        }
        let url = str::from_utf8(key).unwrap_or_default();
        let notes = self.notes.read().unwrap_or_else(PoisonError::into_inner);
        self.is_forgotten(judged) || notes.judge(url, tags, asked).is_some()
    }

    /// Whether what was asked for at this number of purges can be judged no more.
    pub(super) fn is_forgotten(&self, judged: u64) -> bool {
        judged < self.forgotten.load(Ordering::Acquire)
    }

    /// The notes are about to be forgotten: what is stored is to be judged now. The number for [`Purges::forget`].
    pub(super) fn begin_to_forget(&self) -> u64 {
        let count = self.count();
        self.forgotten.fetch_max(count, Ordering::AcqRel);
        count
    }

    /// Forgets the notes, once every object was judged by them; later, if there is a new one.
    pub(super) fn forget(&self, count: u64) {
        let mut notes = self.notes.write().unwrap_or_else(PoisonError::into_inner);
        if self.count() == count {
            *notes = Notes::default();
        }
    }
}
