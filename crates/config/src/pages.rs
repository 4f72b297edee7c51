//! Pages in place of errors, and maintenance.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::ids::SwitchId;
use crate::model::{Place, Template, TextKind};

/// A page in place of the body of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorPage {
    /// For this status.
    pub status: u16,
    /// Whose errors.
    pub from: ErrorsFrom,
    /// The page.
    pub page: Page,
}

/// Whose errors get a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ErrorsFrom {
    /// Those of the proxy.
    #[default]
    Proxy,
    /// Those of endpoints.
    Upstream,
    /// Both.
    Both,
}

impl ErrorsFrom {
    /// Whether errors of the proxy get the page.
    pub fn has_proxy(self) -> bool {
        matches!(self, Self::Proxy | Self::Both)
    }

    /// Whether errors of endpoints get the page.
    pub fn has_upstream(self) -> bool {
        matches!(self, Self::Upstream | Self::Both)
    }
}

/// A page, read with the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// The file it was read from.
    pub file: PathBuf,
    /// Its Content-Type, by the file's ending.
    pub content_type: Box<str>,
    /// What it is by that, and so how its parts are encoded.
    pub kind: TextKind,
    /// What it held when the configuration was read.
    pub pieces: Box<[PagePiece]>,
}

/// A piece of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PagePiece {
    /// These bytes.
    Bytes(Arc<[u8]>),
    /// Text with parts.
    Text(Template),
    /// The status of the response.
    Status,
    /// What the status is called.
    Reason,
}

/// How a site or route is closed for maintenance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maintenance {
    /// The line of it.
    pub place: Place,
    /// What closes it.
    pub switch: SwitchId,
    /// When clients should ask again.
    pub retry_after: Duration,
    /// What they get meanwhile.
    pub page: Option<Page>,
    /// Clients that are served all the same.
    pub except: Vec<IpNet>,
}

/// What closes sites and routes: a file, as long as it exists.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Switch {
    /// This one.
    File(PathBuf),
    /// One in the state directory, for the site with this first name.
    Site(Box<str>),
}
