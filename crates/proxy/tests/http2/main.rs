//! HTTP/2 towards clients, by the frame: what RFC 9113 and RFC 7541 ask of a server, what may not
//! reach an HTTP/1.1 origin, and what one client may not do to the others.

mod answers;
mod case;
mod conformance;
mod endpoints;
mod heads;
mod hpack;
mod malformed;
mod messages;
mod smuggling;
mod tunnels;
mod unfinished;
mod windows;
