//! Diagnostics, as they are shown.
