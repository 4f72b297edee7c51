//! The ClientHello: tables, splits, and real ones.
