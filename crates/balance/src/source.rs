//! The same endpoint for the same address of a client, whatever `by` says: `rendezvous` by address.

use std::sync::Arc;

use crate::algorithm::AlgorithmFactory;
use crate::group::Member;
use crate::rendezvous;

/// The table of `rendezvous`.
pub(crate) fn factory(members: &[Member], settings: &config::Balance) -> Arc<dyn AlgorithmFactory> {
    rendezvous::factory(members, settings)
}
