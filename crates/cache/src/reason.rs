//! Why a request is forwarded, or a response is not stored: one word each.

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $word:literal, $forward:literal;)*) => {
        /// Why a request is forwarded, or a response is not stored.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $variant,)*
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// One word, for the log and for `explain`.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }

            /// Why a request is forwarded, as `fwd` of `Cache-Status` has it (RFC 9211, section 2.2).
            pub fn forward(self) -> &'static str {
                match self {
                    $(Self::$variant => $forward,)*
                }
            }
        }
    };
}

reasons! {
    /// Nothing is stored under the request's key.
    Miss = "miss", "uri-miss";
    /// What is stored under the key was for requests that differ in a field that `Vary` names.
    VariantMiss = "variant-miss", "vary-miss";
    /// Not all bytes that are asked for are stored.
    PartMissing = "part-missing", "partial";

    /// Requests of this method are not answered from the store.
    Method = "method", "method";
    /// A line `bypass` says so.
    Bypass = "bypass", "bypass";
    /// A line `pass` says so.
    Pass = "pass", "bypass";
    /// The request has a body, which the key does not hold.
    RequestBody = "request-body", "bypass";
    /// The request asks for another protocol.
    Upgrade = "upgrade", "bypass";
    /// The request's target is no resource: `*`, or that of CONNECT.
    Target = "target", "bypass";
    /// The request asks the application to take it for one of another method, in a field that the key does not hold.
    MethodOverride = "method-override", "bypass";
    /// The request has a condition that only the origin may judge: `If-Match`, `If-Unmodified-Since`.
    OriginCondition = "origin-condition", "bypass";
    /// The client says `no-store`.
    RequestNoStore = "request-no-store", "request";
    /// The client says `no-cache`.
    RequestNoCache = "request-no-cache", "request";
    /// What is stored is older than the client's `max-age`.
    RequestMaxAge = "request-max-age", "request";
    /// What is stored is not fresh for as long as the client's `min-fresh` asks.
    RequestMinFresh = "request-min-fresh", "request";

    /// What is stored is no longer fresh.
    Stale = "stale", "stale";
    /// What is stored must be validated before each use: the origin says `no-cache`.
    NoCache = "no-cache", "stale";

    /// A response of this status is not stored.
    Status = "status", "uri-miss";
    /// The origin says `no-store`.
    NoStore = "no-store", "uri-miss";
    /// The origin says `private`.
    Private = "private", "uri-miss";
    /// The request proved who the client is, and the origin does not say that others may see the response.
    Authorization = "authorization", "uri-miss";
    /// The response sets a cookie.
    SetCookie = "set-cookie", "uri-miss";
    /// The response varies by more than fields: `Vary: *`.
    VaryStar = "vary-star", "uri-miss";
    /// The response varies by who the client is, or by what proxies say about it.
    VaryClient = "vary-client", "uri-miss";
    /// Nothing says how long the response is fresh.
    NoLifetime = "no-lifetime", "uri-miss";
    /// The response is stale at once and cannot be validated.
    StaleAtOnce = "stale-at-once", "uri-miss";
    /// The body is larger than what is stored.
    TooLarge = "too-large", "uri-miss";
    /// There were too few requests for it.
    MinUses = "min-uses", "uri-miss";
    /// The body did not arrive whole.
    Incomplete = "incomplete", "uri-miss";
    /// The part that came is not one that can be stored.
    Part = "part", "uri-miss";
}
