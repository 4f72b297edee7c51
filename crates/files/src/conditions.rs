//! Whether a file is what the client has, and which part of it is asked for.

use std::time::{Duration, SystemTime};

use message::{Method, Precondition, Ranges, Request, Validators};

use super::find::OpenFile;

/// The age from which on the time of a change is a strong validator: no later change has the same time.
const SETTLED: Duration = Duration::from_secs(2);

/// The validators of a file (RFC 9110, section 8.8).
pub(super) struct FileValidators {
    etag: String,
    /// In whole seconds, never in the future.
    modified: SystemTime,
    is_settled: bool,
}

impl FileValidators {
    pub(super) fn of(file: &OpenFile, now: SystemTime) -> Self {
        // RFC 9110, section 8.8.1: a file that has only just changed might change again without
        // its time doing so; until that is past, the tag is a weak one.
        let is_settled = now.duration_since(file.modified).is_ok_and(|age| age >= SETTLED);
        let weak = if is_settled { "" } else { "W/" };
        let etag = format!("{weak}\"{:x}-{:x}\"", file.modified_nanos, file.size);
        // RFC 9110, section 8.8.2.1: never later than the date of the answer.
        Self { etag, modified: whole_seconds(file.modified.min(now)), is_settled }
    }

    pub(super) fn etag(&self) -> &str {
        &self.etag
    }

    pub(super) fn last_modified(&self) -> String {
        httpdate::fmt_http_date(self.modified)
    }
}

fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

/// What is sent of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Whole,
    /// From the first byte to the last, both in.
    Part {
        first: u64,
        last: u64,
    },
    /// 304
    NotModified,
    /// 412
    Failed,
    /// 416
    Unsatisfiable,
}

/// Judges conditions and ranges, in the order of RFC 9110, section 13.2.2.
pub(super) fn judge(request: &Request, file: &FileValidators, size: u64) -> Decision {
    let validators = Validators {
        etag: Some(file.etag.as_bytes()),
        modified: Some(file.modified),
        modified_is_strong: file.is_settled,
    };
    match validators.judge(&request.fields) {
        Precondition::Failed => return Decision::Failed,
        Precondition::NotModified => return Decision::NotModified,
        Precondition::Proceed => {}
    }
    // RFC 9110, section 14.2: Range is for GET.
    if request.method != Method::Get || !validators.allow_range(&request.fields) {
        return Decision::Whole;
    }
    match Ranges::of(&request.fields, size) {
        Ranges::Whole => Decision::Whole,
        Ranges::Unsatisfiable => Decision::Unsatisfiable,
        // Several parts are not sent.
        Ranges::Parts(parts) => parts
            .single()
            .map_or(Decision::Whole, |part| Decision::Part { first: part.first, last: part.last }),
    }
}
