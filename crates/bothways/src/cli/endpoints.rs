//! `bothways upstreams drain` and the other words that change endpoints of a running process.

use clap::{Args, Subcommand};

/// What is done to endpoints at run time.
#[derive(Debug, Subcommand)]
pub(crate) enum MembersTask {
    /// Give an endpoint no new clients; those bound to it and requests under way go on
    #[command(after_help = super::upstreams::UPSTREAMS_EXAMPLES)]
    Drain(Drain),
    /// Give it new clients again
    #[command(after_help = super::upstreams::UPSTREAMS_EXAMPLES)]
    Undrain(Named),
    /// Set its share of the requests, 1 to 1000
    #[command(after_help = super::upstreams::UPSTREAMS_EXAMPLES)]
    Weight(Weight),
    /// Set how many requests at once it gets at most, or `none`
    #[command(after_help = super::upstreams::UPSTREAMS_EXAMPLES)]
    Max(Max),
    /// Add an endpoint
    #[command(after_help = super::upstreams::UPSTREAMS_EXAMPLES)]
    Add(Add),
    /// Take an endpoint away; its requests under way go on
    #[command(after_help = super::upstreams::UPSTREAMS_EXAMPLES)]
    Remove(Named),
    /// Show what differs from what is written
    #[command(after_help = super::upstreams::UPSTREAMS_EXAMPLES)]
    Diff(Diff),
    /// Write what differs into the file that it comes from
    #[command(after_help = super::upstreams::UPSTREAMS_EXAMPLES)]
    Save(OfUpstream),
    /// Forget what differs
    #[command(after_help = super::upstreams::UPSTREAMS_EXAMPLES)]
    Revert(OfUpstream),
}

/// An upstream.
#[derive(Debug, Args)]
pub(crate) struct OfUpstream {
    /// The upstream, by its name
    pub upstream: String,
}

/// An endpoint of an upstream.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The upstream, by its name
    pub upstream: String,
    /// The endpoint, as it is written
    pub endpoint: String,
}

/// `drain`
#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// Which one.
    #[command(flatten)]
    pub named: Named,
    /// Return once its last request is over
    #[arg(long)]
    pub wait: bool,
}

/// `weight`
#[derive(Debug, Args)]
pub(crate) struct Weight {
    /// Which one.
    #[command(flatten)]
    pub named: Named,
    /// Its share, beside that of the others
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub weight: u16,
}

/// `max`
#[derive(Debug, Args)]
pub(crate) struct Max {
    /// Which one.
    #[command(flatten)]
    pub named: Named,
    /// How many, or `none`
    pub max: String,
}

/// `add`
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Which one.
    #[command(flatten)]
    pub named: Named,
    /// Its share, beside that of the others
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub weight: Option<u16>,
    /// Requests at once at most
    #[arg(long, value_name = "N")]
    pub max: Option<u32>,
    /// Where it stands
    #[arg(long, value_name = "NAME")]
    pub zone: Option<String>,
    /// Lower ones are taken first
    #[arg(long, value_name = "N")]
    pub priority: Option<u16>,
    /// Taken only when none of the others is up
    #[arg(long)]
    pub backup: bool,
}

/// `diff`
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The upstream, by its name
    pub upstream: String,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}
