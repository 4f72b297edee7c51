//! The program as people and other programs use it: the real binary, real files, real signals.

mod admin;
mod caching;
mod certificates;
mod choices;
mod commands;
mod demo;
mod running;
mod secrets;
mod support;
mod upstreams;
