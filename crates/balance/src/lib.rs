//! Upstream groups: which endpoint gets the next request.
