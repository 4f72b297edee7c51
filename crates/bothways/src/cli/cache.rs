//! Arguments and help of `bothways cache …`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

const CACHE_EXAMPLES: &str = "\
Examples:
  bothways cache                                     the store, and what the cache did by site
  bothways cache show http://shop.example.com/a      what is stored for it, how old, by which line
  bothways cache purge http://shop.example.com/a
  bothways cache purge --prefix http://shop.example.com/img/ --soft
  bothways cache purge --host shop.example.com --tag product-7
  bothways cache purge --all
  bothways cache warm urls.txt                       fetch a list of URLs, or a sitemap";

/// `cache`
#[derive(Debug, Args)]
#[command(after_help = CACHE_EXAMPLES)]
pub(crate) struct Cache {
    /// The file with the `admin` address [default: ./bothways.kdl, else /etc/bothways/bothways.kdl]
    #[arg(short, long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// The admin address of the process: host:port or unix:PATH
    #[arg(long, global = true, value_name = "ADDR")]
    pub admin: Option<String>,
    /// The file with the token, for TCP [default: that of the configuration, else of the state directory]
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub token_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do [default: stats]
    #[command(subcommand)]
    pub task: Option<CacheTask>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum CacheTask {
    /// Show how full the store is, and what the cache did by site
    Stats,
    /// Show what is stored for a URL
    Show(Url),
    /// Remove stored responses: from now on they are not used
    Purge(Purge),
    /// Fetch URLs through the running process, so that they are stored
    Warm(Warm),
}

/// A URL.
#[derive(Debug, Args)]
pub(crate) struct Url {
    /// The URL, with http:// or https://
    pub url: String,
}

/// `cache purge`
#[derive(Debug, Args)]
pub(crate) struct Purge {
    /// These URLs
    #[arg(value_name = "URL")]
    pub urls: Vec<String>,
    /// All URLs that begin so; may be repeated
    #[arg(long, value_name = "URL")]
    pub prefix: Vec<String>,
    /// All of a host, with its port if it is not the usual one; may be repeated
    #[arg(long, value_name = "HOST")]
    pub host: Vec<String>,
    /// All with this tag (`Surrogate-Key`, `Cache-Tag`); may be repeated
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    /// Everything
    #[arg(long, conflicts_with_all = ["urls", "prefix", "host", "tag"])]
    pub all: bool,
    /// Make it stale: it is sent only where `stale` allows, and can still be validated
    #[arg(long)]
    pub soft: bool,
}

/// `cache warm`
#[derive(Debug, Args)]
pub(crate) struct Warm {
    /// A list with a URL on each line, or a sitemap (XML); `-` reads standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// The address of the proxy [default: the listener of each URL, by the configuration]
    #[arg(long, value_name = "ADDR")]
    pub to: Option<SocketAddr>,
    /// Requests at once
    #[arg(short, long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: u16,
    /// A field of the requests, as `Name: value`; may be repeated
    #[arg(short = 'H', long, value_name = "FIELD")]
    pub field: Vec<String>,
}
