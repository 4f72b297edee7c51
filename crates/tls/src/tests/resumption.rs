//! Tickets, their bounds, and early data.
