//! Arguments of `bothways upstreams drain` and the other tasks that change endpoints at run time.

use clap::{Args, Subcommand};

/// What to do with endpoints at run time.
#[derive(Debug, Subcommand)]
pub(crate) enum UpstreamsTask {
    /// Send an endpoint no new clients; bound clients and requests in flight continue
    #[command(after_help = super::upstreams::UPSTREAMS_EXAMPLES)]
    Drain(Drain),
    /// Send an endpoint new clients again
    #[command(after_help = super::upstreams::UPSTREAMS_EXAMPLES)]
    Undrain(EndpointName),
    /// Set the share of an endpoint, 1 to 1000
    #[command(after_help = super::upstreams::UPSTREAMS_EXAMPLES)]
    Weight(Weight),
    /// Set the maximum of concurrent requests of an endpoint, or `none`
    #[command(after_help = super::upstreams::UPSTREAMS_EXAMPLES)]
    Max(Max),
    /// Add an endpoint
    #[command(after_help = super::upstreams::UPSTREAMS_EXAMPLES)]
    Add(Add),
    /// Remove an endpoint; its requests in flight continue
    #[command(after_help = super::upstreams::UPSTREAMS_EXAMPLES)]
    Remove(EndpointName),
    /// Show how the running upstream differs from the configuration
    #[command(after_help = super::upstreams::UPSTREAMS_EXAMPLES)]
    Diff(Diff),
    /// Write changes into the files that the endpoints come from
    #[command(after_help = super::upstreams::UPSTREAMS_EXAMPLES)]
    Save(UpstreamName),
    /// Discard changes
    #[command(after_help = super::upstreams::UPSTREAMS_EXAMPLES)]
    Revert(UpstreamName),
}

/// An upstream.
#[derive(Debug, Args)]
pub(crate) struct UpstreamName {
    /// Name of the upstream
    pub upstream: String,
}

/// An endpoint of an upstream.
#[derive(Debug, Args)]
pub(crate) struct EndpointName {
    /// Name of the upstream
    pub upstream: String,
    /// The endpoint, as written in the configuration
    pub endpoint: String,
}

/// `drain`
#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// The endpoint.
    #[command(flatten)]
    pub target: EndpointName,
    /// Return when its last request has ended
    #[arg(long)]
    pub wait: bool,
}

/// `weight`
#[derive(Debug, Args)]
pub(crate) struct Weight {
    /// The endpoint.
    #[command(flatten)]
    pub target: EndpointName,
    /// Its share, relative to the others
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub weight: u16,
}

/// `max`
#[derive(Debug, Args)]
pub(crate) struct Max {
    /// The endpoint.
    #[command(flatten)]
    pub target: EndpointName,
    /// The maximum, or `none`
    pub max: String,
}

/// `add`
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The endpoint.
    #[command(flatten)]
    pub target: EndpointName,
    /// Its share, relative to the others
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub weight: Option<u16>,
    /// Maximum of concurrent requests
    #[arg(long, value_name = "N")]
    pub max: Option<u32>,
    /// Its zone
    #[arg(long, value_name = "NAME")]
    pub zone: Option<String>,
    /// Its priority; lower ones come first
    #[arg(long, value_name = "N")]
    pub priority: Option<u16>,
    /// Use it only if no other endpoint is up
    #[arg(long)]
    pub backup: bool,
}

/// `diff`
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// Name of the upstream
    pub upstream: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
