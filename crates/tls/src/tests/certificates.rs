//! Which certificate is shown, which is believed, and what is said of those that are not.
