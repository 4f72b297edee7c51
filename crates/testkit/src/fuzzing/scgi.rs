//! SCGI: heads of responses, and variables of requests.

use message::{BodyLength, Method, Response};
use wire::scgi::{finish_head, parse_response, variables, write_decoded_path, write_variable};

use super::LIMITS;

/// The response: each prefix gives the same result or none, and an accepted head has a final status, a length
/// that CGI knows, and nothing that says otherwise. The request: the input as variables is read again as it was.
pub fn check(data: &[u8]) {
    response(data);
    request(data);
    path(data);
}

fn response(data: &[u8]) {
    let read = |input: &[u8]| {
        let mut response = Response::default();
        let read = parse_response(input, &LIMITS, &Method::Get, &mut Vec::new(), &mut response);
        read.map(|length| length.map(|length| (length, response)))
    };
    let whole = read(data);
    super::check_prefixes(
        data,
        whole.as_ref().ok().map(|read| read.as_ref().map(|(length, _)| *length)),
        |prefix| read(prefix).ok().map(|read| read.map(|(length, _)| length)),
    );
    let Ok(Some((length, response))) = whole else { return };
    assert!(length <= LIMITS.bytes && length <= data.len());
    assert!((200..1000).contains(&response.status) && !response.keep_alive);
    assert_ne!(response.body, BodyLength::Chunked);
    for name in [&b"Status"[..], b"Transfer-Encoding"] {
        assert_eq!(response.fields.find(name), None);
    }
    for field in response.fields.iter() {
        assert!(!field.value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
    }
}

/// Lines of the input are names and values in turn.
fn request(data: &[u8]) {
    let mut out = Vec::new();
    let mut expected = Vec::new();
    let mut lines = data.split(|&byte| byte == b'\n');
    while let (Some(name), Some(value)) = (lines.next(), lines.next()) {
        if name.is_empty() {
            continue; // there is no such variable
        }
        let has_nul = name.contains(&0) || value.contains(&0);
        let written = write_variable(&mut out, name, |out| out.extend_from_slice(value));
        assert_eq!(written.is_err(), has_nul);
        if !has_nul {
            expected.push((name, value));
        }
    }
    assert_eq!(variables(&out).collect::<Vec<_>>(), expected);
    let size = out.len();
    finish_head(&mut out, 0, 7);
    let start = format!("{}:CONTENT_LENGTH\u{0}7\u{0}", size + 17);
    let content = out.strip_prefix(start.as_bytes()).and_then(|rest| rest.strip_suffix(b","));
    assert_eq!(variables(content.expect("a netstring")).collect::<Vec<_>>(), expected);
}

/// No dot segment is left in an absolute path, and what has nothing to decode or resolve stays.
fn path(data: &[u8]) {
    let mut path = Vec::new();
    write_decoded_path(&mut path, data);
    assert!(path.len() <= data.len());
    if data.starts_with(b"/") {
        assert!(path.starts_with(b"/"), "{:?}", path.escape_ascii().to_string());
        assert!(!path.split(|&byte| byte == b'/').any(|segment| matches!(segment, b"." | b"..")));
        if !data.contains(&b'%') && !data.contains(&b'.') {
            assert_eq!(path, data);
        }
    }
}
