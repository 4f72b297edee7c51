//! `Strict-Transport-Security` (RFC 6797).

use config::{Hsts, Site, SiteTls};

/// The value of `Strict-Transport-Security` for a site, if it sends that.
pub(crate) fn of(site: &Site) -> Option<Box<[u8]>> {
    let Some(SiteTls::Terminate(tls)) = &site.tls else { return None };
    let Hsts { max_age, subdomains, preload } = tls.hsts.as_ref()?;
    let mut value = format!("max-age={}", max_age.as_secs());
    if *subdomains {
        value.push_str("; includeSubDomains");
    }
    if *preload {
        value.push_str("; preload");
    }
    Some(value.into_bytes().into())
}
