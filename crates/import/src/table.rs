//! The directives of nginx, one row each: what becomes of them.
//!
//! A directive whose meaning depends on its words is read in `map`; its row says what usually comes of
//! it. For all others the row is the whole answer. `docs/from-nginx.md` has the same table; a test
//! compares the two.

use std::fmt::Write as _;

use crate::nginx::Directive;
use crate::report::Verdict;

/// A directive.
#[derive(Debug)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// What usually becomes of it.
    pub verdict: Verdict,
    /// What it is called here.
    pub ours: &'static str,
    /// What differs, or what to do.
    pub note: &'static str,
    /// Whether its words are read: then a line that was not read is one without effect.
    pub needs_reading: bool,
}

impl Row {
    /// The verdict for a line: a feature that is off needs nothing.
    pub(crate) fn verdict(&self, line: &Directive) -> Verdict {
        match line.word(0) == "off" && line.words.len() == 1 {
            true => Exact,
            false => self.verdict,
        }
    }
}

const fn read(name: &'static str, verdict: Verdict, ours: &'static str, note: &'static str) -> Row {
    Row { name, verdict, ours, note, needs_reading: true }
}

const fn fixed(
    name: &'static str,
    verdict: Verdict,
    ours: &'static str,
    note: &'static str,
) -> Row {
    Row { name, verdict, ours, note, needs_reading: false }
}

use Verdict::{Exact, Near, Planned, Refused};

/// Every directive that is known, by subject.
pub static DIRECTIVES: &[(&str, &[Row])] = &[
    (
        "The process",
        &[
            read("worker_processes", Exact, "`process { cores }`", "`auto` is the default"),
            read("error_log", Near, "`log error= level=`", "levels differ"),
            fixed("user", Near, "the unit's `User=`", "the process never changes its user"),
            fixed("pid", Near, "`run --pid-file`", "systemd needs none"),
            fixed("events", Exact, "(not needed)", ""),
            fixed(
                "worker_connections",
                Near,
                "`process { connections }`",
                "the default comes from the limit of open files",
            ),
            fixed("worker_rlimit_nofile", Near, "the unit's `LimitNOFILE=`", ""),
            fixed("worker_shutdown_timeout", Near, "`process { drain }`", ""),
            fixed("worker_cpu_affinity", Exact, "(always)", ""),
            fixed("worker_priority", Near, "the unit's `Nice=`", ""),
            fixed("multi_accept", Exact, "(not needed)", ""),
            fixed("accept_mutex", Exact, "(not needed)", ""),
            fixed("use", Exact, "(not needed)", ""),
            fixed(
                "daemon",
                Exact,
                "(not needed)",
                "it stays in the foreground, as systemd wants it",
            ),
            fixed("master_process", Exact, "(not needed)", ""),
            fixed("pcre_jit", Exact, "(not needed)", ""),
            fixed("thread_pool", Exact, "(not needed)", ""),
            fixed("timer_resolution", Exact, "(not needed)", ""),
            fixed(
                "load_module",
                Near,
                "(not needed)",
                "what the module's directives do is said at each of them",
            ),
            fixed("env", Near, "the unit's `Environment=`", ""),
            fixed("http", Exact, "(the top level)", ""),
            fixed(
                "include",
                Near,
                "`include`",
                "the included text is written into the file; types of files are built in",
            ),
            fixed(
                "stream",
                Planned,
                "",
                "TCP and UDP proxying is planned; `tls passthrough` relays TLS by its server name",
            ),
            fixed("mail", Refused, "", "mail protocols are not proxied"),
            read("resolver", Exact, "`process { resolver }`", ""),
            read("resolver_timeout", Exact, "`resolver { timeout }`", ""),
        ],
    ),
    (
        "Servers",
        &[
            fixed("server", Exact, "`site`", "one for each scheme"),
            read(
                "listen",
                Exact,
                "`listen`",
                "`ssl`, `default_server`, `proxy_protocol`, `reuseport` and IPv6 twins; HTTP/2 is always offered over TLS",
            ),
            read(
                "server_name",
                Exact,
                "`site \"name\"`",
                "`*.x`, `.x`; `x.*` is refused; of regular expressions only one label",
            ),
            fixed("http2", Near, "(always offered)", "`listen … { http2 off }`"),
            fixed("http3", Planned, "", "HTTP/3 is planned"),
            fixed("quic_retry", Planned, "", "HTTP/3 is planned"),
            fixed("server_tokens", Exact, "(no version is sent)", ""),
            fixed("server_name_in_redirect", Exact, "(the client's host)", ""),
            fixed("port_in_redirect", Near, "(redirects to the same host are relative)", ""),
            fixed("absolute_redirect", Near, "(redirects to the same host are relative)", ""),
            fixed("server_names_hash_bucket_size", Exact, "(not needed)", ""),
            fixed("server_names_hash_max_size", Exact, "(not needed)", ""),
            fixed("types_hash_max_size", Exact, "(not needed)", ""),
            fixed("types_hash_bucket_size", Exact, "(not needed)", ""),
            fixed("variables_hash_max_size", Exact, "(not needed)", ""),
            fixed("variables_hash_bucket_size", Exact, "(not needed)", ""),
            fixed("map_hash_bucket_size", Exact, "(not needed)", ""),
            fixed("map_hash_max_size", Exact, "(not needed)", ""),
            fixed("proxy_headers_hash_max_size", Exact, "(not needed)", ""),
            fixed("proxy_headers_hash_bucket_size", Exact, "(not needed)", ""),
            fixed("ignore_invalid_headers", Near, "(malformed fields are refused)", ""),
            fixed(
                "underscores_in_headers",
                Near,
                "`underscores`",
                "they pass, but for those that CGI would confuse",
            ),
            fixed(
                "merge_slashes",
                Near,
                "`path-readings`",
                "a path that servers may read in two ways must lead to one route",
            ),
            read("set_real_ip_from", Exact, "`trusted-proxy`", ""),
            read(
                "real_ip_header",
                Exact,
                "`trusted-proxy`, `listen { proxy-protocol }`",
                "`X-Forwarded-For` and `Forwarded`",
            ),
            read("real_ip_recursive", Exact, "`trusted-proxy`", "as `on`"),
        ],
    ),
    (
        "Locations",
        &[
            fixed("location", Near, "`route`", "`=`, `^~`, `~`, `~*`, prefixes, nested and named"),
            fixed("internal", Exact, "`respond status=404`", ""),
            read("return", Exact, "`redirect`, `respond`", "444 is 403"),
            read(
                "rewrite",
                Near,
                "`redirect`, `strip-prefix`, `rewrite`",
                "regular expressions in linear time: no look-around",
            ),
            fixed("break", Exact, "(not needed)", ""),
            fixed("last", Exact, "(not needed)", ""),
            fixed(
                "if",
                Near,
                "`route` with `when`, a site of its own",
                "with `return` or a redirect inside",
            ),
            read("set", Exact, "(its value stands where it is used)", "a fixed value"),
            read("map", Exact, "`map`, `when`, `route`", "keys with letters mind case"),
            fixed("geo", Refused, "", "write routes with `when from=`"),
            fixed("split_clients", Refused, "", "write `split` in the site or route"),
            fixed("rewrite_log", Exact, "(`bothways explain`)", ""),
            fixed("uninitialized_variable_warn", Exact, "(not needed)", ""),
            read("error_page", Near, "`error-page … file=`", "files; the status stays"),
            fixed("recursive_error_pages", Exact, "(not needed)", ""),
            read("try_files", Exact, "`files { try }`, `files { fallback }`, `files { to }`", ""),
            read("limit_except", Exact, "`route … method=`", ""),
            read("stub_status", Refused, "", "`process { admin }` serves `/metrics`"),
            fixed("mirror", Refused, "", "write `mirror` with an upstream"),
        ],
    ),
    (
        "Files",
        &[
            read("root", Exact, "`files`", ""),
            read("alias", Exact, "`files` with `strip-prefix`", ""),
            read("index", Exact, "`files { index }`", "programs are left out"),
            read("autoindex", Exact, "`files { listing }`", ""),
            fixed("autoindex_exact_size", Near, "`files { listing }`", "the page looks different"),
            fixed("autoindex_localtime", Near, "`files { listing }`", "the page looks different"),
            fixed("autoindex_format", Near, "`files { listing }`", "the page looks different"),
            fixed("types", Near, "(built in)", "types of files are built in"),
            fixed(
                "default_type",
                Near,
                "(built in)",
                "`application/octet-stream` for unknown endings",
            ),
            fixed("charset", Near, "(texts are UTF-8)", ""),
            fixed("charset_types", Near, "(texts are UTF-8)", ""),
            fixed("sendfile", Exact, "(not needed)", ""),
            fixed("sendfile_max_chunk", Exact, "(not needed)", ""),
            fixed("tcp_nopush", Exact, "(not needed)", ""),
            fixed("tcp_nodelay", Exact, "(always)", ""),
            fixed("aio", Exact, "(not needed)", ""),
            fixed("directio", Exact, "(not needed)", ""),
            fixed("output_buffers", Exact, "(not needed)", ""),
            fixed("open_file_cache", Exact, "(not needed)", ""),
            fixed("open_file_cache_valid", Exact, "(not needed)", ""),
            fixed("open_file_cache_min_uses", Exact, "(not needed)", ""),
            fixed("open_file_cache_errors", Exact, "(not needed)", ""),
            fixed(
                "disable_symlinks",
                Near,
                "(links that leave the directory are not followed)",
                "",
            ),
            fixed("etag", Near, "(always)", ""),
            fixed("if_modified_since", Near, "(always)", ""),
            fixed("log_not_found", Exact, "(missing files are no errors)", ""),
            fixed("max_ranges", Exact, "(not needed)", ""),
            fixed("gzip_static", Planned, "", "files compressed beforehand are planned"),
            fixed("gunzip", Planned, "", "compression is planned"),
        ],
    ),
    (
        "Proxying",
        &[
            read(
                "proxy_pass",
                Exact,
                "`to`, with `strip-prefix` or `rewrite` if it has a path",
                "a server that the request decides is refused",
            ),
            read("grpc_pass", Exact, "`to`, `protocol h2c` or `h2`", ""),
            read("scgi_pass", Exact, "`to`, `protocol scgi`", ""),
            fixed("scgi_param", Near, "(the usual variables)", ""),
            read("fastcgi_pass", Planned, "", "until then 501"),
            read("uwsgi_pass", Planned, "", "until then 501"),
            fixed("memcached_pass", Refused, "", "501"),
            read(
                "proxy_set_header",
                Near,
                "`request { set, remove }`, `host`",
                "`X-Forwarded-For`, `-Proto` and `-Host` are always sent, and what a client claims is dropped",
            ),
            read("grpc_set_header", Near, "`request { set, remove }`, `host`", ""),
            read("proxy_hide_header", Exact, "`response { remove }`", ""),
            read("grpc_hide_header", Exact, "`response { remove }`", ""),
            fixed("proxy_pass_header", Exact, "(every field passes)", ""),
            read(
                "proxy_ignore_headers",
                Near,
                "`cache override= set-cookie=`",
                "`Vary` always counts; `X-Accel-…` has no effect",
            ),
            fixed("chunked_transfer_encoding", Exact, "(always, where it is needed)", ""),
            fixed("proxy_http_version", Exact, "(always 1.1 or 2)", ""),
            read(
                "proxy_redirect",
                Near,
                "`rewrite-responses`",
                "redirects to the application's own name are put right",
            ),
            read("proxy_cookie_path", Near, "`rewrite-responses`", "below a `strip-prefix`"),
            read("proxy_cookie_domain", Near, "`rewrite-responses`", "the endpoint's own domain"),
            fixed("proxy_cookie_flags", Refused, "", "the application sets its cookies"),
            fixed("proxy_buffering", Exact, "(streams, with bounded memory)", ""),
            fixed("proxy_request_buffering", Exact, "(streams)", ""),
            fixed("proxy_buffers", Exact, "(not needed)", ""),
            fixed("proxy_buffer_size", Exact, "(not needed)", ""),
            fixed("proxy_busy_buffers_size", Exact, "(not needed)", ""),
            fixed("proxy_max_temp_file_size", Exact, "(nothing is written to disk)", ""),
            fixed("proxy_temp_file_write_size", Exact, "(nothing is written to disk)", ""),
            fixed("proxy_temp_path", Exact, "(nothing is written to disk)", ""),
            fixed("proxy_limit_rate", Planned, "", "limits of rate are planned"),
            fixed("proxy_force_ranges", Near, "(ranges are the application's)", ""),
            read(
                "proxy_connect_timeout",
                Exact,
                "`timeouts { connect }`",
                "the default is 3 s (nginx: 60 s)",
            ),
            read(
                "proxy_read_timeout",
                Exact,
                "`timeouts { first-byte, stream-idle, tunnel-idle }`",
                "",
            ),
            read(
                "proxy_send_timeout",
                Near,
                "`timeouts { stream-idle }`",
                "one time for both directions",
            ),
            read(
                "grpc_read_timeout",
                Exact,
                "`timeouts { first-byte, stream-idle, tunnel-idle }`",
                "",
            ),
            read("grpc_send_timeout", Near, "`timeouts { stream-idle }`", ""),
            read("grpc_connect_timeout", Exact, "`timeouts { connect }`", ""),
            read(
                "proxy_next_upstream",
                Near,
                "`retry { on … }`",
                "a request that may have been handled is never sent twice",
            ),
            read("proxy_next_upstream_tries", Exact, "`retry tries=`", ""),
            read("proxy_next_upstream_timeout", Near, "`timeouts { request }`", ""),
            read("proxy_intercept_errors", Exact, "`error-page … from=both`", ""),
            fixed("proxy_ignore_client_abort", Near, "(an exchange ends with its client)", ""),
            fixed("proxy_socket_keepalive", Near, "(not needed)", ""),
            fixed("proxy_pass_request_headers", Near, "(they pass)", ""),
            fixed("proxy_pass_request_body", Near, "(it passes)", ""),
            fixed("proxy_bind", Planned, "", "choosing our own address is planned"),
            fixed("proxy_method", Refused, "", "the method is the client's"),
            fixed("proxy_set_body", Refused, "", "the body is the client's"),
            fixed("proxy_store", Refused, "", "nothing is stored"),
            read(
                "proxy_ssl_verify",
                Exact,
                "`upstream { tls { verify } }`",
                "nginx does not verify by default; this is kept, with a warning",
            ),
            fixed("proxy_ssl_verify_depth", Near, "(not needed)", ""),
            read("proxy_ssl_trusted_certificate", Exact, "`upstream { tls { ca } }`", ""),
            read("proxy_ssl_certificate", Exact, "`upstream { tls { cert } }`", ""),
            read("proxy_ssl_certificate_key", Exact, "`upstream { tls { key } }`", ""),
            read("proxy_ssl_name", Exact, "`upstream { tls { name } }`", ""),
            fixed("proxy_ssl_server_name", Exact, "(always)", ""),
            fixed("proxy_ssl_session_reuse", Exact, "(always)", ""),
            fixed("proxy_ssl_protocols", Near, "(TLS 1.2 and 1.3)", ""),
            fixed("proxy_ssl_ciphers", Near, "(fixed)", ""),
            read("grpc_ssl_verify", Exact, "`upstream { tls { verify } }`", ""),
            fixed(
                "sub_filter",
                Refused,
                "",
                "bodies are not edited: most applications can be told their prefix",
            ),
            fixed("sub_filter_once", Refused, "", "bodies are not edited"),
            fixed("sub_filter_types", Refused, "", "bodies are not edited"),
            fixed("addition_types", Refused, "", "bodies are not edited"),
            fixed("ssi", Refused, "", "bodies are not edited"),
        ],
    ),
    (
        "Upstreams",
        &[
            fixed("upstream", Exact, "`upstream`", "`balance round-robin`, as nginx does it"),
            read("least_conn", Exact, "`balance least-connections`", ""),
            read("ip_hash", Near, "`balance source`", "the whole address is the key"),
            read(
                "hash",
                Near,
                "`balance ring`, `balance maglev`",
                "another function, so clients move once",
            ),
            read("random", Near, "`balance random`, `balance p2c`", ""),
            read("least_time", Exact, "`balance least-time`", ""),
            read("keepalive", Near, "`pool max=`", "for each endpoint and core"),
            read("keepalive_requests", Near, "`pool lifetime=`", "by age, not by number"),
            read("keepalive_time", Exact, "`pool lifetime=`", ""),
            read("zone", Exact, "(not needed)", ""),
            read("sticky", Near, "`sticky`", "clients choose once more"),
            read("queue", Exact, "`queue`", ""),
        ],
    ),
    (
        "TLS",
        &[
            read("ssl_certificate", Exact, "`tls cert=`", "`tls auto` gets certificates itself"),
            read("ssl_certificate_key", Exact, "`tls key=`", ""),
            read("ssl_protocols", Near, "`tls { versions }`", "1.2 and 1.3"),
            read("ssl_session_tickets", Exact, "`tls { tickets }`", ""),
            read("ssl_early_data", Near, "`tls { early-data }`", "safe methods only"),
            read(
                "ssl_verify_client",
                Near,
                "`tls { client }`",
                "a bad certificate ends the handshake",
            ),
            read("ssl_client_certificate", Exact, "`tls { client ca= }`", ""),
            read("ssl_crl", Exact, "`tls { client crl= }`", ""),
            read("ssl", Exact, "`tls`", ""),
            read("ssl_reject_handshake", Exact, "(unknown names are refused)", ""),
            fixed("ssl_ciphers", Near, "(fixed: forward secrecy and authenticated encryption)", ""),
            fixed("ssl_prefer_server_ciphers", Exact, "(not needed: every suite is good)", ""),
            fixed("ssl_conf_command", Near, "(fixed)", ""),
            fixed("ssl_dhparam", Exact, "(not needed: no DHE)", ""),
            fixed("ssl_ecdh_curve", Near, "(fixed: X25519MLKEM768, X25519, P-256, P-384)", ""),
            fixed("ssl_session_cache", Exact, "(tickets)", ""),
            fixed("ssl_session_timeout", Near, "(tickets)", "tickets are good for half a day"),
            fixed(
                "ssl_session_ticket_key",
                Near,
                "(tickets)",
                "keys exist only in memory and change every six hours",
            ),
            fixed("ssl_buffer_size", Exact, "(not needed)", ""),
            fixed(
                "ssl_stapling",
                Near,
                "(not sent)",
                "browsers no longer ask; Let's Encrypt has ended OCSP",
            ),
            fixed("ssl_stapling_verify", Near, "(not sent)", ""),
            fixed("ssl_trusted_certificate", Near, "(not needed)", "it is for OCSP"),
            fixed("ssl_verify_depth", Near, "(not needed)", ""),
            fixed(
                "ssl_password_file",
                Refused,
                "",
                "store the key without a password, readable for its owner only",
            ),
            fixed("ssl_ocsp", Refused, "", "`tls { client crl= }`"),
        ],
    ),
    (
        "Fields of responses",
        &[
            read(
                "add_header",
                Near,
                "`response { add }`",
                "on answers of every status, as with `always`",
            ),
            read("expires", Near, "`response { add \"Cache-Control\" … }`", "without `Expires`"),
            read("more_set_headers", Exact, "`response { set }`", ""),
            read("more_clear_headers", Exact, "`response { remove }`", ""),
            fixed("add_trailer", Refused, "", ""),
        ],
    ),
    (
        "Who may come in",
        &[
            read("allow", Exact, "`allow from=`", ""),
            read("deny", Exact, "`deny from=`", ""),
            read("satisfy", Exact, "`satisfy`", ""),
            read(
                "auth_basic",
                Near,
                "`login basic`",
                "the password does not go to the application (`pass=#true` sends it, as nginx does)",
            ),
            read("auth_basic_user_file", Exact, "`login basic file=`", ""),
            fixed("auth_request", Planned, "", "until then the location is closed (503)"),
            fixed("auth_request_set", Planned, "", ""),
            fixed("auth_delay", Near, "(not needed)", ""),
            fixed("valid_referers", Refused, "", "write `when field=\"Referer\" matches=…`"),
        ],
    ),
    (
        "Limits and times",
        &[
            read(
                "client_max_body_size",
                Exact,
                "`limits { body }`",
                "nginx's default of 1m is written out: without it there is no limit here",
            ),
            fixed("client_body_buffer_size", Exact, "(streams)", ""),
            fixed("client_body_temp_path", Exact, "(nothing is written to disk)", ""),
            fixed("client_body_in_file_only", Refused, "", "nothing is written to disk"),
            read("client_header_timeout", Exact, "`timeouts { head }`", ""),
            fixed("client_header_buffer_size", Exact, "(not needed)", ""),
            read("large_client_header_buffers", Near, "`limits { head-bytes }`", ""),
            fixed(
                "client_body_timeout",
                Near,
                "`timeouts { stream-idle, slow-rate }`",
                "a slow client is judged by its rate",
            ),
            fixed(
                "send_timeout",
                Near,
                "`timeouts { stream-idle, slow-rate }`",
                "a slow client is judged by its rate",
            ),
            read(
                "keepalive_timeout",
                Exact,
                "`timeouts { client-idle }`",
                "in `http`; for one address in `listen`",
            ),
            fixed("keepalive_disable", Exact, "(not needed)", ""),
            fixed("keepalive_min_timeout", Exact, "(not needed)", ""),
            fixed("reset_timedout_connection", Exact, "(always)", ""),
            fixed("lingering_close", Exact, "(always)", ""),
            fixed("lingering_timeout", Exact, "(always)", ""),
            fixed("http2_max_concurrent_streams", Near, "`limits { streams }`", ""),
            fixed("http2_max_field_size", Near, "`limits { head-bytes }`", ""),
            fixed("http2_max_header_size", Near, "`limits { head-bytes }`", ""),
            fixed("http2_recv_buffer_size", Exact, "(not needed)", ""),
            fixed("http2_push", Exact, "(browsers have ended it)", ""),
            fixed("http2_push_preload", Exact, "(browsers have ended it)", ""),
            fixed("limit_req", Planned, "", "limits of rate are planned; until then requests pass"),
            fixed("limit_req_zone", Planned, "", "limits of rate are planned"),
            fixed("limit_req_status", Planned, "", "limits of rate are planned"),
            fixed("limit_req_log_level", Planned, "", "limits of rate are planned"),
            fixed("limit_req_dry_run", Planned, "", "limits of rate are planned"),
            fixed(
                "limit_conn",
                Planned,
                "`limits { connections-per-client }`",
                "for a listening address; by other keys it is planned",
            ),
            fixed("limit_conn_zone", Planned, "", "limits by key are planned"),
            fixed("limit_conn_status", Planned, "", "limits by key are planned"),
            fixed("limit_conn_log_level", Planned, "", "limits by key are planned"),
            fixed("limit_rate", Planned, "", "limits of rate are planned"),
            fixed("limit_rate_after", Planned, "", "limits of rate are planned"),
        ],
    ),
    (
        "Compression and caching",
        &[
            fixed("gzip", Planned, "", "compression is planned; an application's own passes"),
            fixed("gzip_types", Planned, "", "compression is planned"),
            fixed("gzip_vary", Planned, "", "compression is planned"),
            fixed("gzip_proxied", Planned, "", "compression is planned"),
            fixed("gzip_comp_level", Planned, "", "compression is planned"),
            fixed("gzip_min_length", Planned, "", "compression is planned"),
            fixed("gzip_buffers", Planned, "", "compression is planned"),
            fixed("gzip_http_version", Planned, "", "compression is planned"),
            fixed("gzip_disable", Planned, "", "compression is planned"),
            fixed("brotli", Planned, "", "compression is planned"),
            fixed("brotli_types", Planned, "", "compression is planned"),
            fixed("brotli_comp_level", Planned, "", "compression is planned"),
            fixed("brotli_static", Planned, "", "compression is planned"),
            read(
                "proxy_cache",
                Near,
                "`cache`",
                "by RFC 9111; nothing is cached where its key or its conditions cannot be written",
            ),
            read(
                "proxy_cache_path",
                Near,
                "`process { cache memory= }`",
                "one store for all zones, in memory alone",
            ),
            read("proxy_cache_valid", Exact, "`cache { ttl … status= }`", ""),
            read(
                "proxy_cache_key",
                Exact,
                "`cache { key { … } }`",
                "scheme, host and path are always parts of it; the query, fields and cookies by choice",
            ),
            read(
                "proxy_cache_bypass",
                Exact,
                "`cache { bypass … }`",
                "fields and cookies, and maps of them",
            ),
            read(
                "proxy_no_cache",
                Near,
                "`cache { pass … }`",
                "such requests are not answered from the store either",
            ),
            read(
                "proxy_cache_use_stale",
                Near,
                "`cache { stale … }`",
                "for a time that is said; only if there is no response, and for 500, 502, 503 and 504",
            ),
            read("proxy_cache_background_update", Exact, "`stale while-revalidate=`", ""),
            read("proxy_cache_lock", Exact, "(always)", ""),
            read("proxy_cache_lock_timeout", Exact, "`cache lock=`", ""),
            read(
                "proxy_cache_lock_age",
                Near,
                "`cache lock=`",
                "a fill has the time-outs of any request",
            ),
            read("proxy_cache_revalidate", Exact, "(always)", ""),
            read("proxy_cache_min_uses", Exact, "`cache min-uses=`", ""),
            read(
                "proxy_cache_methods",
                Near,
                "(GET and HEAD)",
                "other requests go to the endpoint",
            ),
            read("proxy_cache_convert_head", Exact, "(always)", ""),
            read("proxy_cache_max_range_offset", Exact, "(a range is answered from slices)", ""),
            fixed(
                "proxy_cache_purge",
                Near,
                "`cache { purge from= }`, `bothways cache purge`",
                "by the method `PURGE` from networks that are named, and by command",
            ),
            read("slice", Near, "(always)", "large responses are stored in slices"),
        ],
    ),
    (
        "Logs",
        &[
            read("access_log", Exact, "`log access=`", ""),
            read(
                "log_format",
                Near,
                "`log format=`",
                "odd characters are escaped as in JSON; a variable without counterpart is `-`",
            ),
            fixed("log_subrequest", Exact, "(not needed)", ""),
            fixed("open_log_file_cache", Exact, "(not needed)", ""),
        ],
    ),
];

/// The row of a directive; those of FastCGI and uwsgi have one in common.
pub(crate) fn row(name: &str) -> Option<&'static Row> {
    static CGI: Row = fixed("fastcgi_…, uwsgi_…", Planned, "", "FastCGI and uwsgi are planned");
    static SCGI: Row = fixed("scgi_…", Near, "(as for HTTP)", "");
    let found = DIRECTIVES.iter().flat_map(|(_, rows)| *rows).find(|row| row.name == name);
    found.or_else(|| match name.split_once('_')?.0 {
        "fastcgi" | "uwsgi" => Some(&CGI),
        "scgi" => Some(&SCGI),
        _ => None,
    })
}

/// True for blocks whose lines are no directives.
pub(crate) fn is_whole(name: &str) -> bool {
    matches!(name, "types" | "map" | "geo" | "split_clients") || name.ends_with("_by_lua_block")
}

/// The table as it stands in `docs/from-nginx.md`.
pub fn markdown() -> String {
    let mut out = String::new();
    for (subject, rows) in DIRECTIVES {
        let _ = write!(
            out,
            "### {subject}\n\n| nginx | verdict | here | what differs |\n|---|---|---|---|\n"
        );
        for row in *rows {
            let _ = writeln!(
                out,
                "| `{}` | {} | {} | {} |",
                row.name,
                row.verdict.word(),
                row.ours.replace('|', "\\|"),
                row.note.replace('|', "\\|")
            );
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_directive_has_one_row() {
        let mut names = BTreeSet::new();
        for row in DIRECTIVES.iter().flat_map(|(_, rows)| *rows) {
            assert!(names.insert(row.name), "{} has two rows", row.name);
            let says_something = !row.ours.is_empty() || !row.note.is_empty();
            assert!(
                says_something || row.verdict == Refused || row.name == "auth_request_set",
                "{} says nothing",
                row.name
            );
        }
    }
}
