//! HTTP/1 messages as the peer of a story reads them: a simple parser that panics on anything unusual.

/// A message that was read from a connection.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// The first line, without its end.
    pub start: String,
    /// The fields, in order.
    pub fields: Vec<(String, String)>,
    /// The decoded body.
    pub body: Vec<u8>,
    /// The sizes of the chunks; empty if it was not chunked.
    pub chunks: Vec<usize>,
    /// The fields after the chunks.
    pub trailers: Vec<(String, String)>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN_MAX: usize = 400;
        writeln!(out, "{}", self.start)?;
        self.fields.iter().try_for_each(|(name, value)| writeln!(out, "{name}: {value}"))?;
        let shown = self.body.get(..SHOWN_MAX).unwrap_or(&self.body);
        writeln!(out, "({} bytes) {}", self.body.len(), String::from_utf8_lossy(shown))?;
        if self.chunks.is_empty() { Ok(()) } else { write!(out, "trailers: {:?}", self.trailers) }
    }
}

impl Message {
    /// Parses a head, which ends with an empty line. Invalid UTF-8 is replaced.
    #[track_caller]
    pub fn of_head(head: &[u8]) -> Self {
        let text = String::from_utf8_lossy(head);
        let text = text.strip_suffix("\r\n\r\n").expect("a head ends with an empty line");
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        Self { start, fields: lines.map(field).collect(), ..Self::default() }
    }

    /// The status of a response.
    #[track_caller]
    pub fn status(&self) -> u16 {
        let status = self.start.strip_prefix("HTTP/1.1 ").or(self.start.strip_prefix("HTTP/1.0 "));
        let status = status.and_then(|rest| rest.get(..3)).and_then(|digits| digits.parse().ok());
        status.unwrap_or_else(|| panic!("no status line: {:?}", self.start))
    }

    /// The target of a request.
    pub fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// The method of a request.
    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    /// The value of a field; panics if there are two.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() < 2, "{name} is there {} times: {self:?}", values.len());
        values.first().copied()
    }

    /// The values of all fields of this name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// Whether there is a field with this name.
    pub fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        str::from_utf8(&self.body).expect("a body in UTF-8")
    }

    /// Whether the body is chunked; panics on other codings.
    #[track_caller]
    pub fn is_chunked(&self) -> bool {
        self.field("Transfer-Encoding").is_some_and(|coding| {
            assert_eq!(coding, "chunked", "{self:?}");
            assert!(!self.has("Content-Length"), "two lengths: {self:?}");
            true
        })
    }

    /// The value of `Content-Length`.
    #[track_caller]
    pub fn length(&self) -> Option<usize> {
        self.field("Content-Length").map(|length| length.parse().expect("a number"))
    }
}

/// Splits a field line.
#[track_caller]
pub fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("no field: {line:?}"));
    (name.to_owned(), value.to_owned())
}

/// A response with status 200 and this body.
pub fn ok(body: &str) -> String {
    response(200, body)
}

/// A response with this status and body.
pub fn response(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} Whatever\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
