//! Sockets of Bothways: listeners, dialling with the address guard, buffers, timers.
