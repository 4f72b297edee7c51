//! The binary: command line, start-up, signals, reload, admin.

fn main() {}
