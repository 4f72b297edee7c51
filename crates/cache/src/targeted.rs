//! Fields that speak to some caches alone (RFC 9213), which come before `Cache-Control` and `Expires`.
//!
//! They are structured fields: one that is not valid, or empty, is as good as not there. A directive of a type that it cannot have makes
//! the response less fresh, never more.

use message::{Fields, Known};

use crate::directives::{FieldsNamed, ResponseDirectives};
use crate::structured::{Member, dictionary};

/// The fields that speak to us, the first that counts first.
pub const TARGETS: &[Known] = &[Known::BothwaysCacheControl, Known::CdnCacheControl];

/// What the first field says that speaks to us, is valid and is not empty; `None`: `Cache-Control` and `Expires` count.
pub(crate) fn targeted(fields: &Fields) -> Option<ResponseDirectives> {
    TARGETS.iter().find_map(|target| {
        let mut lines = fields.get_all(*target);
        let first = lines.next()?;
        match lines.next() {
            None => read(first),
            // RFC 9651, section 4.2: the lines are one value.
            Some(_) => read(&fields.get_all(*target).collect::<Vec<_>>().join(&b","[..])),
        }
    })
}

fn read(value: &[u8]) -> Option<ResponseDirectives> {
    let (mut directives, mut is_empty) = (ResponseDirectives::default(), true);
    let is_valid = dictionary(value, |name, member| {
        is_empty = false;
        take(&mut directives, name, member);
    });
    (is_valid && !is_empty).then_some(directives)
}

fn take(directives: &mut ResponseDirectives, name: &str, member: Member<'_>) {
    // RFC 9213, section 2.1: an integer, and nothing that looks like one.
    let seconds = match member {
        Member::Integer(seconds) => u32::try_from(seconds.max(0)).unwrap_or(u32::MAX),
        _ => 0,
    };
    if matches!(member, Member::Item(_)) {
        return; // the list that it is of has counted
    }
    let is_on = member != Member::Boolean(false);
    let named = match member {
        Member::Boolean(false) => FieldsNamed::Absent,
        Member::String(text) | Member::Token(text)
            if !text.trim_matches([' ', '\t', ',']).is_empty() =>
        {
            FieldsNamed::Some
        }
        _ => FieldsNamed::All,
    };
    match name {
        "max-age" => directives.max_age = Some(seconds),
        "s-maxage" => directives.s_maxage = Some(seconds),
        "stale-while-revalidate" => directives.stale_while_revalidate = Some(seconds),
        "stale-if-error" => directives.stale_if_error = Some(seconds),
        "no-cache" => directives.no_cache = named,
        "private" => directives.private = named,
        "no-store" => directives.no_store = is_on,
        "public" => directives.public = member == Member::Boolean(true),
        "must-revalidate" => directives.must_revalidate = is_on,
        "proxy-revalidate" => directives.proxy_revalidate = is_on,
        "must-understand" => directives.must_understand = member == Member::Boolean(true),
        "immutable" => directives.immutable = member == Member::Boolean(true),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_valid_field_counts() {
        #[track_caller]
        fn check(lines: &[(&str, &str)], expected: Option<u32>) {
            let mut fields = Fields::new();
            lines.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
            let max_age = targeted(&fields).map(|directives| directives.max_age.unwrap_or(999));
            assert_eq!(max_age, expected, "{lines:?}");
        }
        const CDN: &str = "CDN-Cache-Control";
        const OURS: &str = "Bothways-Cache-Control";
        check(&[], None);
        check(&[("Cache-Control", "max-age=1")], None);
        check(&[(CDN, "max-age=1")], Some(1));
        check(&[(CDN, "max-age=1"), (OURS, "max-age=2")], Some(2));
        check(&[(CDN, "max-age=1"), (OURS, "")], Some(1));
        check(&[(CDN, "max-age=1"), (OURS, "max-age=2,")], Some(1));
        check(&[(CDN, "max-age=1, &&&")], None);
        check(&[(CDN, "MaX-aGe=1")], None);
        check(&[(CDN, "max-age =1")], None);
        check(&[(CDN, "max-age= 1")], None);
        check(&[(CDN, "max-age=1, max-age=2")], Some(2)); // RFC 9651: the last one
        check(&[(CDN, "max-age=1"), (CDN, "max-age=2")], Some(2));
        check(&[(CDN, "max-age=1"), (CDN, "&")], None);
        check(&[(CDN, "max-age=1;x=2")], Some(1));
        check(&[(CDN, "max-age=99999999999")], Some(u32::MAX));
        check(&[(CDN, "max-age=-1")], Some(0));
        check(&[(CDN, r#"max-age="10""#)], Some(0));
        check(&[(CDN, "max-age=1.5")], Some(0));
        check(&[(CDN, "max-age")], Some(0));
        check(&[(CDN, "max-age=(1)")], Some(0));
        check(&[(CDN, "foo")], Some(999));
    }

    #[test]
    fn directives() {
        #[track_caller]
        fn check(value: &str, expected: ResponseDirectives) {
            assert_eq!(read(value.as_bytes()), Some(expected), "{value}");
        }
        let none = ResponseDirectives::default();
        check("no-store", ResponseDirectives { no_store: true, ..none });
        check("no-store=?0", none);
        check("no-store=1", ResponseDirectives { no_store: true, ..none });
        check("public=1", none);
        check("public", ResponseDirectives { public: true, ..none });
        check("private", ResponseDirectives { private: FieldsNamed::All, ..none });
        check("private=1", ResponseDirectives { private: FieldsNamed::All, ..none });
        check(r#"private="a""#, ResponseDirectives { private: FieldsNamed::Some, ..none });
        check(r#"private="""#, ResponseDirectives { private: FieldsNamed::All, ..none });
        check("no-cache=(a b)", ResponseDirectives { no_cache: FieldsNamed::All, ..none });
        check("must-revalidate, immutable", {
            ResponseDirectives { must_revalidate: true, immutable: true, ..none }
        });
    }
}
