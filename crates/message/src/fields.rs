//! The fields of a message, in their order and case, without an allocation per field.
//!
//! All names and values lie in one buffer, and entries are ranges in it. Names that matter to a
//! proxy are recognised once, when a field is added ([`Known`]), so that later questions compare a
//! small number. A set of the known names that are there answers [`Fields::has`] at once.
//! Invariant: names are tokens and values hold no CR, LF or NUL. The code that adds fields ensures that.

use std::fmt;
use std::ops::Range;

/// One field.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Which one, if it is known.
    pub known: Known,
    /// The name, in the case it came in.
    pub name: &'a [u8],
    /// The value, without white space around it.
    pub value: &'a [u8],
}

/// The fields of a message.
#[derive(Default)]
pub struct Fields {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// The known names that may be there.
    seen: KnownSet,
}

impl Clone for Fields {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes.clone(), entries: self.entries.clone(), seen: self.seen }
    }

    // A derived one would take new memory each time.
    fn clone_from(&mut self, source: &Self) {
        self.bytes.clone_from(&source.bytes);
        self.entries.clone_from(&source.entries);
        self.seen = source.seen;
    }
}

/// Where a field lies in the buffer.
#[derive(Clone, Copy)]
struct Entry {
    name: u32,
    value: u32,
    value_length: u32,
    name_length: u16,
    known: Known,
    /// Only for this connection: a hop-by-hop field, or one that `Connection` names.
    hop_by_hop: bool,
}

/// A set of known names, a bit for each.
#[derive(Clone, Copy, Default)]
struct KnownSet([u64; 2]);

impl KnownSet {
    #[inline]
    const fn add(&mut self, known: Known) {
        self.0[known as usize / 64 % 2] |= 1 << (known as usize % 64);
    }

    #[inline]
    const fn remove(&mut self, known: Known) {
        self.0[known as usize / 64 % 2] &= !(1 << (known as usize % 64));
    }

    #[inline]
    const fn has(self, known: Known) -> bool {
        self.0[known as usize / 64 % 2] & 1 << (known as usize % 64) != 0
    }
}

const _: () = assert!(Known::ALL.len() < 128, "`KnownSet` has a bit for each known name");

macro_rules! known {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// A field name that a proxy has to know.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Known {
            /// None of the others.
            Other,
            $(#[doc = concat!("`", $text, "`")] $(#[$doc])* $variant,)*
        }

        impl Known {
            /// Every known name but [`Known::Other`], as it is usually written.
            pub const ALL: &[(Known, &str)] = &[$((Known::$variant, $text),)*];

            /// The usual spelling; empty for [`Known::Other`].
            pub fn as_str(self) -> &'static str {
                match self {
                    Self::Other => "",
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

known! {
    Host = "Host",
    Connection = "Connection",
    ContentLength = "Content-Length",
    TransferEncoding = "Transfer-Encoding",
    Te = "TE",
    Trailer = "Trailer",
    Upgrade = "Upgrade",
    KeepAlive = "Keep-Alive",
    ProxyConnection = "Proxy-Connection",
    ProxyAuthorization = "Proxy-Authorization",
    ProxyAuthenticate = "Proxy-Authenticate",
    ProxyAuthenticationInfo = "Proxy-Authentication-Info",
    Http2Settings = "HTTP2-Settings",
    Expect = "Expect",
    Via = "Via",
    Forwarded = "Forwarded",
    XForwardedFor = "X-Forwarded-For",
    XForwardedProto = "X-Forwarded-Proto",
    XForwardedHost = "X-Forwarded-Host",
    XForwardedPort = "X-Forwarded-Port",
    XForwardedPrefix = "X-Forwarded-Prefix",
    XRealIp = "X-Real-IP",
    XRequestId = "X-Request-Id",
    XOriginalUrl = "X-Original-URL",
    XRewriteUrl = "X-Rewrite-URL",
    /// CGI programs take it for `HTTP_PROXY` (CVE-2016-5385); never passed on.
    Proxy = "Proxy",
    Accept = "Accept",
    AcceptEncoding = "Accept-Encoding",
    Authorization = "Authorization",
    Cookie = "Cookie",
    SetCookie = "Set-Cookie",
    ContentType = "Content-Type",
    ContentEncoding = "Content-Encoding",
    ContentRange = "Content-Range",
    AcceptRanges = "Accept-Ranges",
    Range = "Range",
    IfRange = "If-Range",
    IfMatch = "If-Match",
    IfNoneMatch = "If-None-Match",
    IfModifiedSince = "If-Modified-Since",
    IfUnmodifiedSince = "If-Unmodified-Since",
    UserAgent = "User-Agent",
    Referer = "Referer",
    From = "From",
    Origin = "Origin",
    Location = "Location",
    Refresh = "Refresh",
    Server = "Server",
    Date = "Date",
    ETag = "ETag",
    LastModified = "Last-Modified",
    CacheControl = "Cache-Control",
    Age = "Age",
    Vary = "Vary",
    MaxForwards = "Max-Forwards",
    RetryAfter = "Retry-After",
    ProxyStatus = "Proxy-Status",
    EarlyData = "Early-Data",
    SecWebSocketKey = "Sec-WebSocket-Key",
    SecWebSocketVersion = "Sec-WebSocket-Version",
    SecWebSocketAccept = "Sec-WebSocket-Accept",
    SecWebSocketProtocol = "Sec-WebSocket-Protocol",
    SecWebSocketExtensions = "Sec-WebSocket-Extensions",
    Expires = "Expires",
    Pragma = "Pragma",
    Warning = "Warning",
    CdnCacheControl = "CDN-Cache-Control",
    SurrogateControl = "Surrogate-Control",
    CacheStatus = "Cache-Status",
    BothwaysCacheControl = "Bothways-Cache-Control",
    SurrogateKey = "Surrogate-Key",
    CacheTag = "Cache-Tag",
    CacheGroups = "Cache-Groups",
    CacheGroupInvalidation = "Cache-Group-Invalidation",
    NoVarySearch = "No-Vary-Search",
    ContentLocation = "Content-Location",
    ContentLanguage = "Content-Language",
    AcceptLanguage = "Accept-Language",
    ContentDigest = "Content-Digest",
    ReprDigest = "Repr-Digest",
    WwwAuthenticate = "WWW-Authenticate",
    AuthenticationInfo = "Authentication-Info",
    SecFetchSite = "Sec-Fetch-Site",
    SecFetchMode = "Sec-Fetch-Mode",
    SecFetchDest = "Sec-Fetch-Dest",
    AccessControlRequestMethod = "Access-Control-Request-Method",
    /// The status line of a CGI program's response (RFC 3875, section 6.3.3).
    Status = "Status",
    XAccelRedirect = "X-Accel-Redirect",
    XSendfile = "X-Sendfile",
    AltSvc = "Alt-Svc",
    Priority = "Priority",
}

impl Known {
    /// Recognises a name in any case.
    pub fn of(name: &[u8]) -> Self {
        let row = slot(name).and_then(|slot| SLOTS.get(slot));
        // Slots count from 1; 0 is an empty one.
        let row = row.and_then(|&number| Self::ALL.get(usize::from(number).wrapping_sub(1)));
        match row {
            // Most senders use the usual spelling, and equality is cheaper to test.
            Some(&(known, text))
                if name == text.as_bytes() || name.eq_ignore_ascii_case(text.as_bytes()) =>
            {
                known
            }
            _ => Self::Other,
        }
    }

    /// True for fields that belong to one connection (RFC 9110, section 7.6.1), whether or not
    /// `Connection` names them.
    pub fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::KeepAlive
                | Self::ProxyConnection
                | Self::TransferEncoding
                | Self::Te
                | Self::Trailer
                | Self::Upgrade
                | Self::Http2Settings
                | Self::ProxyAuthorization
                | Self::ProxyAuthenticate
                | Self::ProxyAuthenticationInfo
        )
    }

    /// True for fields that `Connection` may name without effect: removing one of them would let a
    /// client hide from the upstream what we, or a proxy before us, say about it.
    pub fn resists_connection(self) -> bool {
        matches!(
            self,
            Self::Host
                | Self::ContentLength
                | Self::ContentType
                | Self::ContentEncoding
                | Self::Authorization
                | Self::Cookie
                | Self::Via
                | Self::Forwarded
                | Self::XForwardedFor
                | Self::XForwardedProto
                | Self::XForwardedHost
                | Self::XForwardedPort
                | Self::XForwardedPrefix
                | Self::XRealIp
                | Self::XOriginalUrl
                | Self::XRewriteUrl
                | Self::CacheControl
                | Self::Range
                | Self::EarlyData
                | Self::Origin
        )
    }

    /// Recognises a name that may have `_` instead of hyphens, as CGI and its successors read it.
    pub fn of_twin(name: &[u8]) -> Self {
        let mut hyphens = [0; LENGTHS];
        let Some(hyphens) = hyphens.get_mut(..name.len()) else { return Self::Other };
        let as_read = name.iter().map(|&byte| if byte == b'_' { b'-' } else { byte });
        hyphens.iter_mut().zip(as_read).for_each(|(to, from)| *to = from);
        Self::of(hyphens)
    }
}

/// True for two names that are the same to a server that reads `_` as a hyphen. Case does not matter.
pub fn are_twins(one: &[u8], other: &[u8]) -> bool {
    let read = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    one.len() == other.len() && one.iter().zip(other).all(|(&a, &b)| read(a) == read(b))
}

/// True for fields by which a proxy says who its client is and what that asked for; a client must not send them
/// itself. `known` is the result of [`Known::of`] or [`Known::of_twin`] for the name.
pub fn tells_of_client(known: Known, name: &[u8]) -> bool {
    match known {
        Known::Forwarded
        | Known::XForwardedFor
        | Known::XForwardedProto
        | Known::XForwardedHost
        | Known::XForwardedPort
        | Known::XForwardedPrefix
        | Known::XRealIp
        | Known::XOriginalUrl
        | Known::XRewriteUrl => true,
        Known::Other => is_forwarding(name),
        _ => false,
    }
}

/// `X-Forwarded`, and every name that continues with a hyphen (`X-Forwarded-Server`, `-Ssl` …).
fn is_forwarding(name: &[u8]) -> bool {
    const START: &[u8] = b"X-Forwarded";
    let (Some(b'x' | b'X'), Some(start)) = (name.first(), name.get(..START.len())) else {
        return false;
    };
    are_twins(start, START) && matches!(name.get(START.len()), None | Some(b'-' | b'_'))
}

/// One more than the longest known name has.
const LENGTHS: usize = 30;

/// The table of known names is a perfect hash: one look into it, and one comparison, recognise a name.
const SLOT_BITS: u32 = 10;
static SLOTS: [u8; 1 << SLOT_BITS] = {
    let mut slots = [0; 1 << SLOT_BITS];
    let mut index = 0;
    while index < Known::ALL.len() {
        let text = Known::ALL[index].1.as_bytes();
        assert!(text.len() < LENGTHS, "`LENGTHS` is that of the longest name and one more");
        if let Some(slot) = slot(text) {
            slots[slot] = index as u8 + 1;
        }
        index += 1;
    }
    slots
};

/// Where in the table a name is, if it is known: by its length, first and last two letters.
#[inline]
const fn slot(name: &[u8]) -> Option<usize> {
    match slot_key(name) {
        Some(key) => Some(slot_of_key(key, MULTIPLIER)),
        None => None,
    }
}

#[inline]
const fn slot_key(name: &[u8]) -> Option<u32> {
    let ([first, ..], [.., penultimate, last]) = (name, name) else { return None };
    // A set bit 0x20 makes a letter lower case.
    Some(u32::from_le_bytes([*first, *penultimate, *last, name.len() as u8]) | 0x0020_2020)
}

#[inline]
const fn slot_of_key(key: u32, multiplier: u32) -> usize {
    (key.wrapping_mul(multiplier) >> (u32::BITS - SLOT_BITS)) as usize
}

/// The first number found by which no two known names share a slot.
const MULTIPLIER: u32 = {
    assert!(keys_differ(), "two known names have the same length, first and last two letters");
    let mut multiplier = 0x9e37_79b9_u32;
    while !is_perfect(multiplier) {
        multiplier = multiplier.wrapping_mul(0x915f_77f5).wrapping_add(2);
    }
    multiplier
};

const fn keys_differ() -> bool {
    let mut index = 0;
    while index < Known::ALL.len() {
        let Some(key) = slot_key(Known::ALL[index].1.as_bytes()) else { return false };
        let mut other = 0;
        while other < index {
            if let Some(other) = slot_key(Known::ALL[other].1.as_bytes())
                && other == key
            {
                return false;
            }
            other += 1;
        }
        index += 1;
    }
    true
}

const fn is_perfect(multiplier: u32) -> bool {
    let mut taken = [0_u64; (1 << SLOT_BITS) / 64];
    let mut index = 0;
    while index < Known::ALL.len() {
        let Some(key) = slot_key(Known::ALL[index].1.as_bytes()) else { return false };
        let slot = slot_of_key(key, multiplier);
        if taken[slot / 64] & 1 << (slot % 64) != 0 {
            return false;
        }
        taken[slot / 64] |= 1 << (slot % 64);
        index += 1;
    }
    true
}

impl Fields {
    /// No fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes all, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.seen = KnownSet::default();
    }

    /// Frees memory beyond what a usual message needs, so that one large head does not stay with a connection
    /// forever.
    pub fn shrink(&mut self) {
        self.bytes.shrink_to(4096);
        self.entries.shrink_to(64);
    }

    /// Makes the memory as small as what it holds, for fields that are kept.
    pub fn shrink_to_fit(&mut self) {
        self.bytes.shrink_to_fit();
        self.entries.shrink_to_fit();
    }

    /// How much memory what it holds takes, in bytes.
    pub fn memory(&self) -> usize {
        self.bytes.len() + self.entries.len() * size_of::<Entry>()
    }

    /// Takes a copy of a whole head, in which [`Fields::push_range`] names fields, before or
    /// after. Must be called before any other field is added.
    pub fn load(&mut self, head: &[u8]) {
        debug_assert!(self.bytes.is_empty());
        self.bytes.extend_from_slice(head);
    }

    /// Adds a field that lies in the loaded head. Ranges outside of it add an empty field.
    #[inline]
    pub fn push_range(&mut self, known: Known, name: Range<usize>, value: Range<usize>) {
        self.seen.add(known);
        self.entries.push(Entry {
            name: name.start as u32,
            value: value.start as u32,
            value_length: value.len() as u32,
            name_length: name.len() as u16,
            known,
            hop_by_hop: known.is_hop_by_hop(),
        });
    }

    /// Adds a field at the end.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        self.push_as(Known::of(name), name, value);
    }

    /// Adds a field at the end that was recognised already: `known` is what [`Known::of`] says.
    pub fn push_as(&mut self, known: Known, name: &[u8], value: &[u8]) {
        let name_start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        let value_start = self.bytes.len();
        self.bytes.extend_from_slice(value);
        let end = self.bytes.len();
        self.push_range(known, name_start..value_start, value_start..end);
    }

    /// Adds a known field at the end, in its usual spelling.
    pub fn push_known(&mut self, known: Known, value: &[u8]) {
        self.push_as(known, known.as_str().as_bytes(), value);
    }

    /// As [`Fields::push_known`], for a field that is ours to say to the next hop, although one that came from the last
    /// hop would not be forwarded.
    pub fn push_for_this_hop(&mut self, known: Known, value: &[u8]) {
        self.push_known(known, value);
        if let Some(entry) = self.entries.last_mut() {
            entry.hop_by_hop = false;
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All fields, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Field<'_>> + ExactSizeIterator {
        self.entries.iter().map(|entry| self.field(entry))
    }

    /// The fields that may be forwarded: all except hop-by-hop ones and those that `Connection` names.
    pub fn end_to_end(&self) -> impl Iterator<Item = Field<'_>> + Clone {
        self.entries.iter().filter(|entry| !entry.hop_by_hop).map(|entry| self.field(entry))
    }

    fn field(&self, entry: &Entry) -> Field<'_> {
        let slice = |start: u32, length: usize| {
            self.bytes.get(start as usize..start as usize + length).unwrap_or_default()
        };
        Field {
            known: entry.known,
            name: slice(entry.name, usize::from(entry.name_length)),
            value: slice(entry.value, entry.value_length as usize),
        }
    }

    /// True if a field of this name is there.
    pub fn has(&self, known: Known) -> bool {
        self.seen.has(known) && self.entries.iter().any(|entry| entry.known == known)
    }

    /// The value of the first field of this name.
    pub fn get(&self, known: Known) -> Option<&[u8]> {
        self.get_all(known).next()
    }

    /// The values of all fields of this name, in order.
    pub fn get_all(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        let entries = if self.seen.has(known) { self.entries.as_slice() } else { &[] };
        let named = entries.iter().filter(move |entry| entry.known == known);
        named.map(|entry| self.field(entry).value)
    }

    /// The value of the first field of this name, in any case.
    pub fn find(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    /// The members of a list field (RFC 9110, section 5.6.1) over all its lines, without white
    /// space around them; empty ones left out. Quoted commas are not understood, so this is for
    /// lists of tokens such as `Connection` and `TE`.
    pub fn list(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        self.get_all(known)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|member| !member.is_empty())
    }

    /// Removes every field of this name.
    pub fn remove(&mut self, known: Known) {
        if self.seen.has(known) && known != Known::Other {
            self.entries.retain(|entry| entry.known != known);
            self.seen.remove(known);
        }
    }

    /// Removes every field of this name, in any case.
    pub fn remove_named(&mut self, name: &[u8]) {
        match Known::of(name) {
            Known::Other => self.retain(|field| !field.name.eq_ignore_ascii_case(name)),
            known => self.remove(known),
        }
    }

    /// Keeps the fields that `keep` answers with true.
    pub fn retain(&mut self, mut keep: impl FnMut(Field<'_>) -> bool) {
        let bytes = &self.bytes;
        self.entries.retain(|entry| {
            let slice = |start: u32, length: usize| {
                bytes.get(start as usize..start as usize + length).unwrap_or_default()
            };
            keep(Field {
                known: entry.known,
                name: slice(entry.name, usize::from(entry.name_length)),
                value: slice(entry.value, entry.value_length as usize),
            })
        });
    }

    /// Replaces every field of this name by one, at the end.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        self.remove_named(name);
        self.push(name, value);
    }

    /// Gives fields other values, in their places: `rewrite` writes the new value of a field into the empty
    /// `scratch` and returns true, or returns false if the field stays as it is.
    pub fn rewrite_values(
        &mut self,
        scratch: &mut Vec<u8>,
        mut rewrite: impl FnMut(Field<'_>, &mut Vec<u8>) -> bool,
    ) {
        for index in 0..self.entries.len() {
            let Some(entry) = self.entries.get(index).copied() else { break };
            scratch.clear();
            if !rewrite(self.field(&entry), scratch) {
                continue;
            }
            let value = self.bytes.len() as u32;
            self.bytes.extend_from_slice(scratch);
            if let Some(entry) = self.entries.get_mut(index) {
                (entry.value, entry.value_length) = (value, scratch.len() as u32);
            }
        }
    }

    /// Marks the fields that `Connection` names as hop-by-hop (RFC 9110, section 7.6.1), except those that resist
    /// ([`Known::resists_connection`]). To be called once all fields have been added.
    pub fn mark_connection_options(&mut self) {
        if !self.seen.has(Known::Connection) {
            return;
        }
        for index in 0..self.entries.len() {
            let Some(entry) = self.entries.get(index).copied() else { break };
            if entry.known != Known::Connection {
                continue;
            }
            let start = entry.value as usize;
            let options = start..start + entry.value_length as usize;
            let Some(value) = self.bytes.get(options) else { continue };
            for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                // Nearly all options are `close`, `keep-alive` or `upgrade`, which name no field that
                // is not hop-by-hop anyway.
                let known = Known::of(option);
                if known.resists_connection()
                    || known.is_hop_by_hop()
                    || is_forwarding(option)
                    || option.eq_ignore_ascii_case(b"close")
                {
                    continue;
                }
                for named in &mut self.entries {
                    let start = named.name as usize;
                    let name = self.bytes.get(start..start + usize::from(named.name_length));
                    if name.is_some_and(|name| name.eq_ignore_ascii_case(option)) {
                        named.hop_by_hop = true;
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        out.debug_map().entries(self.iter().map(|f| (text(f.name), text(f.value)))).finish()
    }
}

impl fmt::Debug for Field<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        write!(out, "{}: {}", text(self.name), text(self.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_recognised_in_any_case() {
        for (known, text) in Known::ALL {
            assert_eq!(Known::of(text.as_bytes()), *known);
            assert_eq!(Known::of(text.to_lowercase().as_bytes()), *known);
            assert_eq!(Known::of(text.to_uppercase().as_bytes()), *known);
            assert_eq!(Known::of(format!("{text}x").as_bytes()), Known::Other);
        }
        assert_eq!(Known::of(b""), Known::Other);
        assert_eq!(Known::of(&[b'a'; 100]), Known::Other);
    }

    #[test]
    fn every_known_name_is_told_from_all_others() {
        for (known, text) in Known::ALL {
            let mut fields = Fields::new();
            fields.push(text.as_bytes(), b"v");
            let found = Known::ALL.iter().filter(|(known, _)| fields.has(*known));
            assert!(found.eq([&(*known, *text)]));
            assert_eq!(fields.get(*known), Some(&b"v"[..]));
            fields.remove(*known);
            assert!(fields.is_empty() && !fields.has(*known));
        }
    }

    #[test]
    fn twins() {
        for (known, text) in Known::ALL {
            let twin = text.replace('-', "_");
            assert_eq!(Known::of_twin(twin.as_bytes()), *known);
            assert_eq!(Known::of_twin(text.to_uppercase().as_bytes()), *known);
            assert!(are_twins(twin.as_bytes(), text.to_lowercase().as_bytes()));
        }
        assert_eq!(Known::of_twin(&[b'_'; 100]), Known::Other);
        assert!(!are_twins(b"X-A", b"X-AB") && !are_twins(b"X-A", b"X.A"));
        let tells = |name: &str| tells_of_client(Known::of_twin(name.as_bytes()), name.as_bytes());
        for name in ["Forwarded", "x-forwarded", "X-Forwarded-Ssl", "X_FORWARDED_SERVER"] {
            assert!(tells(name), "{name}");
        }
        for name in ["X-Real-IP", "X_Original-URL", "x_rewrite_url", "X-Forwarded-For"] {
            assert!(tells(name), "{name}");
        }
        for name in ["Forwarded-For", "X-Forwarder", "X-Forwardedness", "X-Real-IP2", "X-F", "Via"]
        {
            assert!(!tells(name), "{name}");
        }
    }

    #[test]
    fn fields_keep_order_and_case() {
        let mut fields = Fields::new();
        fields.load(b"GET / HTTP/1.1\r\nhOsT: a\r\n\r\n");
        fields.push_range(Known::Host, 16..20, 22..23);
        fields.push(b"X-a", b"1");
        fields.push(b"x-A", b"2");
        assert_eq!(format!("{fields:?}"), r#"{"hOsT": "a", "X-a": "1", "x-A": "2"}"#);
        assert_eq!(fields.get(Known::Host), Some(&b"a"[..]));
        fields.set(b"X-A", b"3");
        assert_eq!(format!("{fields:?}"), r#"{"hOsT": "a", "X-A": "3"}"#);
        fields.remove_named(b"host");
        assert!(!fields.has(Known::Host));
    }

    #[test]
    fn connection_options() {
        // RFC 9110, section 7.6.1
        #[track_caller]
        fn check(connection: &str, expected: &[&str]) {
            let mut fields = Fields::new();
            fields.push(b"Connection", connection.as_bytes());
            for name in ["X-Hop", "X-Forwarded-For", "Cookie", "Keep-Alive", "TE"] {
                fields.push(name.as_bytes(), b"v");
            }
            fields.mark_connection_options();
            let left: Vec<_> = fields.end_to_end().map(|f| str::from_utf8(f.name)).collect();
            assert_eq!(left, expected.iter().map(|&name| Ok(name)).collect::<Vec<_>>());
        }
        check("keep-alive", &["X-Hop", "X-Forwarded-For", "Cookie"]);
        check("close, x-hop", &["X-Forwarded-For", "Cookie"]);
        check("x-forwarded-for, cookie, ,", &["X-Hop", "X-Forwarded-For", "Cookie"]);
    }
}
