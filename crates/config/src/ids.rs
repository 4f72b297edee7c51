//! Ids: an index of its own type for each list of the model, and tables that only such an id indexes.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

/// An index of its own type.
pub trait Id: Copy {
    /// The id of the entry at `index`.
    fn at(index: usize) -> Self;
    /// Where its entry is.
    fn index(self) -> usize;
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u32);

        impl $name {
            /// The id of the entry at `index`.
            pub const fn at(index: usize) -> Self {
                // More entries than that do not fit into memory.
                Self(index as u32)
            }

            /// Where its entry is.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl Id for $name {
            fn at(index: usize) -> Self {
                Self::at(index)
            }

            fn index(self) -> usize {
                self.index()
            }
        }
    )*};
}

ids! {
    /// Counts in [`Config::listeners`](crate::Config::listeners).
    ListenerId;
    /// Counts in [`Config::sites`](crate::Config::sites).
    SiteId;
    /// Counts in [`Site::routes`](crate::Site::routes).
    RouteId;
    /// Counts in [`Config::upstreams`](crate::Config::upstreams).
    UpstreamId;
    /// Counts in [`Config::forwards`](crate::Config::forwards).
    ForwardId;
    /// Counts in [`Config::acme`](crate::Config::acme).
    AcmeId;
    /// Counts in [`Config::maps`](crate::Config::maps).
    MapId;
    /// Counts in [`Config::switches`](crate::Config::switches).
    SwitchId;
    /// Counts in [`Config::logins`](crate::Config::logins).
    LoginId;
    /// Counts in [`Config::logs`](crate::Config::logs); the first is that of the process.
    LogId;
}

impl Default for LogId {
    fn default() -> Self {
        Self::at(0)
    }
}

/// An endpoint: an upstream, and which of its endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EndpointId {
    /// The upstream.
    pub upstream: UpstreamId,
    /// Counts in [`Upstream::endpoints`](crate::Upstream::endpoints).
    pub index: u32,
}

impl EndpointId {
    /// The endpoint at `index` of an upstream.
    pub const fn new(upstream: UpstreamId, index: usize) -> Self {
        // More endpoints than that do not fit into memory.
        Self { upstream, index: index as u32 }
    }
}

/// Entries by id, such as what is kept for each [`SiteId`] beside [`Config::sites`](crate::Config::sites).
pub struct Table<I, T> {
    entries: Vec<T>,
    ids: PhantomData<fn(I) -> I>,
}

impl<I: Id, T> Table<I, T> {
    /// One without entries.
    pub const fn new() -> Self {
        Self { entries: Vec::new(), ids: PhantomData }
    }

    /// The entry of this id.
    pub fn get(&self, id: I) -> Option<&T> {
        self.entries.get(id.index())
    }

    /// The entry of this id, to be changed.
    pub fn get_mut(&mut self, id: I) -> Option<&mut T> {
        self.entries.get_mut(id.index())
    }

    /// Adds an entry; gives its id.
    pub fn push(&mut self, entry: T) -> I {
        let id = I::at(self.entries.len());
        self.entries.push(entry);
        id
    }

    /// Every id, in order.
    pub fn ids(&self) -> impl Iterator<Item = I> + use<I, T> {
        (0..self.entries.len()).map(I::at)
    }

    /// Every entry with its id, in order.
    pub fn entries(&self) -> impl Iterator<Item = (I, &T)> {
        self.entries.iter().enumerate().map(|(index, entry)| (I::at(index), entry))
    }
}

impl<I, T> Deref for Table<I, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.entries
    }
}

impl<I: Id, T> Default for Table<I, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<I, T: Clone> Clone for Table<I, T> {
    fn clone(&self) -> Self {
        Self { entries: self.entries.clone(), ids: PhantomData }
    }
}

impl<I, T: fmt::Debug> fmt::Debug for Table<I, T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries.fmt(out)
    }
}

impl<I: Id, T> FromIterator<T> for Table<I, T> {
    fn from_iter<E: IntoIterator<Item = T>>(entries: E) -> Self {
        Self { entries: entries.into_iter().collect(), ids: PhantomData }
    }
}

impl<'t, I, T> IntoIterator for &'t Table<I, T> {
    type Item = &'t T;
    type IntoIter = std::slice::Iter<'t, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.iter()
    }
}
