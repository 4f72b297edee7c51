//! What can go wrong with an exchange, as one table.
//!
//! A row says how the kind is called in the log and in the metrics, which proxy error type of
//! RFC 9209 it is for the client, whose fault it is and which status it has when no answer was
//! begun. Not here: the words for people, which the data plane writes into
//! [`Record::detail`](super::Record::detail).

use super::labels::named_values;

named_values! {
    /// Whose fault an error is: where an operator should look first.
    pub enum Blame {
        /// The client's: what it sent, or that it left.
        Client = "client";
        /// The upstream's, the destination's or the network's on the way there.
        Upstream = "upstream";
        /// Nobody's: the configuration says so.
        Policy = "policy";
        /// Ours.
        Us = "us";
    }
}

struct Row {
    name: &'static str,
    token: &'static str,
    blame: Blame,
    status: u16,
}

macro_rules! error_kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident = $name:literal, $token:literal, $blame:ident, $status:literal;)+) => {
        /// What went wrong with an exchange.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum ErrorKind {
            $($(#[doc = $doc])+ $kind,)+
        }

        impl ErrorKind {
            /// Every kind, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$kind,)+];

            const fn row(self) -> Row {
                match self {
                    $(Self::$kind => Row {
                        name: $name, token: $token, blame: Blame::$blame, status: $status,
                    },)+
                }
            }
        }
    };
}

// kind = name in log and metrics, proxy error type (RFC 9209, section 2.3), blame, status.
// The statuses are those that RFC 9209 recommends, except where a comment says why not.
error_kinds! {
    /// No name server answered in time (RFC 9209, section 2.3.1).
    DnsTimeout = "dns_timeout", "dns_timeout", Upstream, 504;
    /// The name cannot be looked up (section 2.3.2).
    DnsError = "dns_error", "dns_error", Upstream, 502;
    /// No site or route takes the request (section 2.3.3). The RFC has 500 for a proxy that does
    /// not know its next hop; for an origin's clients a path that is not there is 404.
    DestinationNotFound = "destination_not_found", "destination_not_found", Client, 404;
    /// No endpoint is up (section 2.3.4).
    DestinationUnavailable = "destination_unavailable", "destination_unavailable", Upstream, 503;
    /// The address is one that may not be dialled (section 2.3.5). The RFC has 502; here the
    /// client named the destination, and 403 tells it not to try again.
    DestinationIpProhibited = "destination_ip_prohibited", "destination_ip_prohibited", Policy, 403;
    /// There is no way to the address (section 2.3.6).
    DestinationIpUnroutable = "destination_ip_unroutable", "destination_ip_unroutable", Upstream, 502;
    /// The connection was refused (section 2.3.7).
    ConnectionRefused = "connection_refused", "connection_refused", Upstream, 502;
    /// The connection broke (section 2.3.8).
    ConnectionTerminated = "connection_terminated", "connection_terminated", Upstream, 502;
    /// There was no connection in time (section 2.3.9).
    ConnectionTimeout = "connection_timeout", "connection_timeout", Upstream, 504;
    /// The upstream sent nothing for too long (section 2.3.10).
    ConnectionReadTimeout = "connection_read_timeout", "connection_read_timeout", Upstream, 504;
    /// The upstream took nothing for too long (section 2.3.11).
    ConnectionWriteTimeout = "connection_write_timeout", "connection_write_timeout", Upstream, 504;
    /// No more connections to the upstream are allowed (section 2.3.12).
    ConnectionLimitReached = "connection_limit_reached", "connection_limit_reached", Policy, 503;
    /// As many requests as may wait for an endpoint with room (the nearest type is that of section
    /// 2.3.12, as for the next two).
    QueueFull = "queue_full", "connection_limit_reached", Policy, 503;
    /// No endpoint had room in time.
    QueueTimeout = "queue_timeout", "connection_limit_reached", Policy, 503;
    /// The upstream as a whole has as many requests as it may.
    CircuitOpen = "circuit_open", "connection_limit_reached", Policy, 503;
    /// TLS with the upstream went wrong (section 2.3.13).
    TlsProtocolError = "tls_protocol_error", "tls_protocol_error", Upstream, 502;
    /// The upstream's certificate is not trusted (section 2.3.14).
    TlsCertificateError = "tls_certificate_error", "tls_certificate_error", Upstream, 502;
    /// The upstream sent a TLS alert (section 2.3.15).
    TlsAlertReceived = "tls_alert_received", "tls_alert_received", Upstream, 502;
    /// The request is malformed or ambiguous (section 2.3.16).
    HttpRequestError = "http_request_error", "http_request_error", Client, 400;
    /// A rule refuses the request (section 2.3.17).
    HttpRequestDenied = "http_request_denied", "http_request_denied", Policy, 403;
    /// The client has not logged in where a login is asked for (RFC 9110, sections 15.5.2 and 15.5.8; 407 of a forward
    /// proxy). The type is that of section 2.3.17, as for the next two.
    LoginRequired = "login_required", "http_request_denied", Policy, 401;
    /// The user is unknown, or the password is wrong.
    LoginFailed = "login_failed", "http_request_denied", Policy, 401;
    /// Too many wrong passwords came from the client's address (RFC 6585, section 4).
    TooManyLogins = "too_many_logins", "http_request_denied", Policy, 429;
    /// The response ended before its end (section 2.3.18).
    HttpResponseIncomplete = "http_response_incomplete", "http_response_incomplete", Upstream, 502;
    /// The response's head is too large (section 2.3.19).
    HttpResponseHeaderSectionSize = "http_response_header_section_size",
        "http_response_header_section_size", Upstream, 502;
    /// The response's body is too large (section 2.3.21).
    HttpResponseBodySize = "http_response_body_size", "http_response_body_size", Upstream, 502;
    /// The response's trailers are too large (section 2.3.22).
    HttpResponseTrailerSectionSize = "http_response_trailer_section_size",
        "http_response_trailer_section_size", Upstream, 502;
    /// The response's transfer coding is unknown or malformed (section 2.3.24).
    HttpResponseTransferCoding = "http_response_transfer_coding",
        "http_response_transfer_coding", Upstream, 502;
    /// No response came in time (section 2.3.26).
    HttpResponseTimeout = "http_response_timeout", "http_response_timeout", Upstream, 504;
    /// The upgrade of the connection failed (section 2.3.27).
    HttpUpgradeFailed = "http_upgrade_failed", "http_upgrade_failed", Upstream, 502;
    /// The response is malformed (section 2.3.28).
    HttpProtocolError = "http_protocol_error", "http_protocol_error", Upstream, 502;
    /// A defect or lack of ours (section 2.3.30).
    ProxyInternalError = "proxy_internal_error", "proxy_internal_error", Us, 500;
    /// The configuration does not fit the request (section 2.3.31).
    ProxyConfigurationError = "proxy_configuration_error", "proxy_configuration_error", Us, 500;
    /// The request came through us before (section 2.3.32). The RFC has 502; 508 (RFC 5842, section 7.2) says what is
    /// wrong, and to nobody that another try may help.
    ProxyLoopDetected = "proxy_loop_detected", "proxy_loop_detected", Policy, 508;

    // What RFC 9209 has no type of its own for; the token is the nearest one.
    /// The client left before the end. 499 is nginx's, seen in logs only.
    ClientGone = "client_gone", "http_request_error", Client, 499;
    /// There is no TLS connection with the client: no request was read. Seen in logs only.
    ClientTlsError = "client_tls_error", "http_request_error", Client, 400;
    /// The request did not arrive in time (RFC 9110, section 15.5.9).
    ClientTimeout = "client_timeout", "http_request_error", Client, 408;
    /// The client sends or takes fewer bytes a second than it must.
    ClientTooSlow = "client_too_slow", "http_request_error", Client, 408;
    /// The request's body is too large (RFC 9110, section 15.5.14).
    RequestBodyTooLarge = "request_body_too_large", "http_request_error", Client, 413;
    /// The request's target is too long (RFC 9110, section 15.5.15).
    RequestTargetTooLong = "request_target_too_long", "http_request_error", Client, 414;
    /// The request's head is too large (RFC 6585, section 5).
    RequestHeadTooLarge = "request_head_too_large", "http_request_error", Client, 431;
    /// The method, version or an extension is not there (RFC 9110, sections 15.6.2 and 15.6.6).
    NotImplemented = "not_implemented", "http_request_error", Client, 501;
    /// The host is not one that the listener serves (RFC 9110, section 15.5.20).
    MisdirectedRequest = "misdirected_request", "destination_not_found", Client, 421;
    /// The request came as early data, and is not one that may be replayed (RFC 8470, section 5.2).
    TooEarly = "too_early", "http_request_error", Client, 425;
    /// A tunnel or stream was closed because no byte came either way for too long.
    IdleTimeout = "idle_timeout", "connection_read_timeout", Policy, 504;
    /// The exchange took longer than an exchange may.
    RequestTimeout = "request_timeout", "http_response_timeout", Policy, 504;
    /// The client wants a stored response or none, and none is stored (RFC 9111, section 5.2.1.7).
    NotStored = "not_stored", "http_request_error", Client, 504;
    /// The client has as many upstream connections or look-ups as one client may (the nearest type is that of section
    /// 2.3.12). 503 as for every limit of connections: 429 is for rates (RFC 6585, section 4).
    ClientLimitReached = "client_limit_reached", "connection_limit_reached", Client, 503;
    /// The process or the machine has no file, port or memory left for a connection, or not the family of addresses that
    /// it would need. It says nothing of the upstream.
    LocalResources = "local_resources", "proxy_internal_error", Us, 503;
    /// The site or route is closed for maintenance.
    Maintenance = "maintenance", "http_request_denied", Policy, 503;
    /// We have no room: a limit of the process is reached.
    Overloaded = "overloaded", "http_request_denied", Us, 503;
    /// The process is going down.
    Draining = "draining", "http_request_denied", Us, 503;
}

impl ErrorKind {
    /// How many kinds there are.
    pub const COUNT: usize = Self::ALL.len();

    /// As in the log and in the metrics.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The proxy error type for `Proxy-Status` (RFC 9209, section 2.3): a registered one, the
    /// nearest if there is none of its own.
    pub fn proxy_status_token(self) -> &'static str {
        self.row().token
    }

    /// Whose fault it is.
    pub fn blame(self) -> Blame {
        self.row().blame
    }

    /// The status of the answer, if none was begun. A caller that knows better may send another.
    pub fn status(self) -> u16 {
        self.row().status
    }

    /// Its number, below [`Self::COUNT`].
    pub fn index(self) -> usize {
        usize::from(self as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order() {
        for (index, kind) in ErrorKind::ALL.iter().enumerate() {
            assert_eq!(kind.index(), index, "{kind:?}");
            assert!((400..600).contains(&kind.status()), "{kind:?}");
            let twice = ErrorKind::ALL.iter().filter(|other| other.name() == kind.name()).count();
            assert_eq!(twice, 1, "{kind:?}");
        }
    }

    /// A row each, in this order.
    #[test]
    fn the_table_for_operators_is_this_one() {
        let docs = include_str!("../../../docs/operations.md");
        let rows = docs.lines().skip_while(|line| !line.starts_with("| `error` | `blame` |"));
        let rows: Vec<_> = rows.skip(2).take_while(|line| line.starts_with('|')).collect();
        for (kind, row) in ErrorKind::ALL.iter().zip(&rows) {
            let (name, blame, status) = (kind.name(), kind.blame().name(), kind.status());
            let begin = format!("| `{name}` | `{blame}` | {status} | ");
            assert!(row.starts_with(&begin), "{row:?} should begin with {begin:?}");
        }
        assert_eq!(rows.len(), ErrorKind::COUNT);
    }

    #[test]
    fn tokens_are_registered_ones() {
        // RFC 9209, section 2.3
        const REGISTERED: &str = "dns_timeout dns_error destination_not_found \
            destination_unavailable destination_ip_prohibited destination_ip_unroutable \
            connection_refused connection_terminated connection_timeout connection_read_timeout \
            connection_write_timeout connection_limit_reached tls_protocol_error \
            tls_certificate_error tls_alert_received http_request_error http_request_denied \
            http_response_incomplete http_response_header_section_size \
            http_response_header_size http_response_body_size \
            http_response_trailer_section_size http_response_trailer_size \
            http_response_transfer_coding http_response_content_coding http_response_timeout \
            http_upgrade_failed http_protocol_error proxy_internal_response \
            proxy_internal_error proxy_configuration_error proxy_loop_detected";
        for kind in ErrorKind::ALL {
            let token = kind.proxy_status_token();
            assert!(REGISTERED.split_whitespace().any(|known| known == token), "{token}");
        }
    }
}
