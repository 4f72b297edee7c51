//! What our language has: asked of `config`, which reads it.
//!
//! A mapping that needs a word asks [`Words::has`] first. So a file is never written that the same
//! program does not read, and a directive becomes *refused: planned* where the word is missing.

/// A word of our language that a mapping needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Word {
    /// `route ~ "regex" priority=`
    RegexRoute,
    /// `route "*.php"`
    SuffixRoute,
    /// `when field=… matches=` and `unless path=`
    Conditions,
    /// A label of a site's name as a capture.
    HostCapture,
    /// `allow` and `deny` in `site` and `route`.
    Access,
    /// `satisfy any`
    Satisfy,
    /// `try` in `files`.
    Try,
    /// `to` in `files`.
    FilesThenTo,
    /// `{uri}`
    Uri,
    /// `{request-id}`
    RequestId,
    /// `{port}`
    Port,
    /// `{client-port}`
    ClientPort,
    /// `{client-cert}`
    ClientCert,
    /// `{field:NAME}`, `{cookie:NAME}`, `{query:NAME}`
    Parts,
    /// `map`
    Map,
    /// Parts in the text of `respond`.
    RespondParts,
    /// `respond file=`
    RespondFile,
    /// `rewrite-responses`
    RewriteResponses,
    /// `error-page … from=`
    ErrorPageFrom,
    /// `maintenance`
    Maintenance,
    /// `log` in `site` and `route`.
    SiteLog,
    /// Formats of logs as text with parts.
    LogFormat,
    /// `login basic`
    Login,
}

/// For each word, the smallest text that uses it; after `!`, one that is refused because of it.
const PROBES: &[(Word, &str)] = &[
    (Word::RegexRoute, r#"site { route ~ "^/a(?<x>.)" priority=1 { respond status=204; } }"#),
    (Word::SuffixRoute, r#"site { route "/a/*.php" { respond status=204; } }"#),
    (
        Word::Conditions,
        r#"site { route "/a/*" { when field="X-A" matches="^b"; when query="q" is="1"; unless path="/a/b/*"; respond status=204; } }"#,
    ),
    (Word::HostCapture, r#"site "{tenant}.example.com" { respond "{tenant}"; }"#),
    (Word::Access, r#"site { allow from="10.0.0.0/8"; deny; respond status=204; }"#),
    (Word::Satisfy, r#"site { allow from="10.0.0.0/8"; satisfy any; respond status=204; }"#),
    (Word::Try, r#"site { files "/srv" { try "{path}" "{path}.html" status=404; } }"#),
    (Word::FilesThenTo, r#"site { files "/srv" { to "10.0.0.1:80"; } }"#),
    (Word::Uri, r#"site { redirect "https://a{uri}"; }"#),
    (Word::RequestId, r#"site { request { set "X" "{request-id}"; }; to "10.0.0.1:80"; }"#),
    (Word::Port, r#"site { request { set "X" "{port}"; }; to "10.0.0.1:80"; }"#),
    (Word::ClientPort, r#"site { request { set "X" "{client-port}"; }; to "10.0.0.1:80"; }"#),
    (Word::ClientCert, r#"site { request { set "X" "{client-cert}"; }; to "10.0.0.1:80"; }"#),
    (
        Word::Parts,
        r#"site { request { set "X" "{field:A}{cookie:b}{query:c}"; }; to "10.0.0.1:80"; }"#,
    ),
    (
        Word::Map,
        "map plan \"{field:X-Plan}\" { \"gold\" \"fast\"; default \"none\"; }\n\
         site { request { set \"X\" \"{plan}\"; }; to \"10.0.0.1:80\"; }",
    ),
    // Where the text has no parts, it is taken as it stands.
    (Word::RespondParts, r#"!site { respond "{no-such-part}"; }"#),
    (Word::RewriteResponses, r#"site { rewrite-responses off; to "10.0.0.1:80"; }"#),
    (
        Word::Maintenance,
        r#"site { maintenance file="/run/bothways/maintenance"; to "10.0.0.1:80"; }"#,
    ),
    (Word::SiteLog, r#"site { log access=off; to "10.0.0.1:80"; }"#),
    (
        Word::LogFormat,
        r#"process { log format="{status} {bytes}"; }
site { respond status=204; }"#,
    ),
    (
        Word::ErrorPageFrom,
        r#"site { error-page 502 file="/dev/null" from=both; to "10.0.0.1:80"; }"#,
    ),
    (Word::RespondFile, r#"site { respond file="/dev/null"; }"#),
    (
        Word::Login,
        r#"site { login basic file="/etc/bothways/users" realm="a"; to "10.0.0.1:80"; }"#,
    ),
];

/// Which words the language of this program has.
#[derive(Debug, Clone)]
pub struct Words {
    known: Vec<Word>,
}

impl Words {
    /// Asks `config` about each word.
    pub fn ask() -> Self {
        let known = PROBES.iter().filter(|(_, text)| match text.strip_prefix('!') {
            Some(text) => !understood(text),
            None => understood(text),
        });
        Self { known: known.map(|(word, _)| *word).collect() }
    }

    /// True if the language has the word.
    pub fn has(&self, word: Word) -> bool {
        self.known.contains(&word)
    }

    /// The words that it does not have yet.
    pub fn missing(&self) -> Vec<Word> {
        PROBES.iter().map(|(word, _)| *word).filter(|word| !self.has(*word)).collect()
    }
}

/// True if `config` takes the text. A file that a setting names and that is missing is no objection.
fn understood(text: &str) -> bool {
    match config::parse("probe", text) {
        Ok(_) => true,
        Err(failure) => failure.errors.iter().all(|error| error.message.contains("cannot be read")),
    }
}
