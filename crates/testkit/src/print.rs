//! Prints messages as a proxy without any settings would forward them.

use message::{BodyLength, Form, Known, Request, Response};
use wire::http1::{write_field, write_fields, write_request_line, write_status_line};

/// The head of a canonical request: end-to-end fields, its own `Host` and framing.
pub fn request_head(request: &Request) -> Vec<u8> {
    let mut out = Vec::new();
    let target = match request.target.form() {
        Form::Authority => request.target.authority().as_bytes(),
        _ => request.target.sent(),
    };
    write_request_line(&mut out, &request.method, target, request.version);
    write_field(&mut out, b"Host", request.target.authority().as_bytes());
    // A proxy does not forward a second spelling of a field that it knows: some servers read `_` as a
    // hyphen.
    let is_twin = |name: &[u8]| name.contains(&b'_') && Known::of_twin(name) != Known::Other;
    let passed = request.fields.end_to_end();
    let passed = passed.filter(|field| field.known != Known::Host && !is_twin(field.name));
    write_fields(&mut out, passed);
    end_head(&mut out, request.body);
    out
}

/// The head of a response.
pub fn response_head(response: &Response) -> Vec<u8> {
    let mut out = Vec::new();
    write_status_line(&mut out, response.status, response.version);
    write_fields(&mut out, response.fields.end_to_end());
    end_head(&mut out, response.body);
    out
}

fn end_head(out: &mut Vec<u8>, body: BodyLength) {
    if body == BodyLength::Chunked {
        write_field(out, b"Transfer-Encoding", b"chunked");
    }
    out.extend_from_slice(b"\r\n");
}
