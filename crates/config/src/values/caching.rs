//! Values of `cache`.

use super::{Wrong, addresses};

/// `404`, `5xx`, or several with commas; a class is its range.
pub(super) fn statuses(text: &str) -> Result<Vec<(u16, u16)>, Wrong> {
    addresses::parts(text)?.map(status).collect()
}

fn status(text: &str) -> Result<(u16, u16), Wrong> {
    if let [digit @ b'2'..=b'5', b'x' | b'X', b'x' | b'X'] = text.as_bytes() {
        let first = u16::from(digit - b'0') * 100;
        return Ok((first, first + 99));
    }
    let wrong = |why: &str| {
        Wrong::new(format!("`{text}` is not the status of a response that may be stored"))
            .hinted(why)
    };
    match text.parse::<u16>() {
        Ok(
            401 | 407 | 408 | 412 | 413 | 416 | 417 | 421 | 425 | 426 | 428 | 429 | 431 | 505 | 511,
        ) => Err(wrong("it speaks of one request or one client, and is never stored")),
        Ok(206) => Err(wrong("a 206 is a part of a 200, and gets the time of that: write 200")),
        Ok(304) => {
            Err(wrong("a 304 says that the stored response still holds, and is not stored itself"))
        }
        Ok(status @ 200..=599) => Ok((status, status)),
        Ok(_) => Err(wrong("statuses of final responses are 200 to 599")),
        Err(_) => Err(wrong("write 404, \"5xx\", or several with commas: \"404,410\"")),
    }
}

/// `utm_*,fbclid`.
pub(super) fn name_patterns(text: &str) -> Result<Vec<Box<str>>, Wrong> {
    let name = |name: &str| {
        let bare = name.strip_suffix('*').unwrap_or(name);
        match bare.find(['*', '&', '=', '#', ' ']) {
            None => Ok(name.into()),
            Some(_) if bare.contains('*') => Err(Wrong::new(format!("`{name}` is not a name"))
                .hinted("`*` stands only at the end: \"utm_*\"")),
            Some(_) => Err(Wrong::new(format!("`{name}` is not a name")).hinted(
                "write the name of a parameter as it stands in the query, without its value",
            )),
        }
    };
    addresses::parts(text)?.map(name).collect()
}
