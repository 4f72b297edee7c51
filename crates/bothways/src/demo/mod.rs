//! `bothways demo`: the whole thing at work, on this machine alone.
//!
//! Two little web servers ([`origin`]), and the real data plane between them and whoever tries the
//! lines that are printed, with a configuration written for the ports that are free ([`setup`]).
//! Each exchange is shown as each side saw it ([`view`]): the client and the proxy by the access
//! log, the server by what it received.
//! Not here: anything that real traffic depends on.

mod origin;
mod setup;
mod tries;
mod view;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::cli::Demo;
use crate::exit::Failure;
use crate::load::Source;
use crate::run::signals::Signals;
use crate::run::{control_runtime, drain};
use crate::terminal::{self, Paint};
use proxy::{Inherited, Server};

use origin::{Origin, Seen};
use setup::Setup;
use view::{Records, View};

/// What diagnostics and records call the configuration.
const NAME: &str = "demo.kdl";
/// Observations that may wait to be shown; more are not shown.
const WAITING_MAX: usize = 256;
/// For one of the demo's own requests to be shown.
const SHOW_TIME: Duration = Duration::from_secs(10);

/// Runs the demo.
pub(crate) fn demo(options: &Demo) -> Result<(), Failure> {
    let runtime = control_runtime()?;
    runtime.block_on(run(options))
}

async fn run(options: &Demo) -> Result<(), Failure> {
    let mut signals = Signals::catch()?;
    let (sender, seen) = mpsc::channel(WAITING_MAX);
    let origins = [origin::start("apples", &sender).await?, origin::start("pears", &sender).await?];
    let setup = Setup::new(&origins)?;
    let text = setup.configuration();
    if options.print_config {
        return Ok(terminal::to_stdout(&text)?);
    }
    let loaded = Source::text(NAME, text).load()?;
    let records = Records::open(setup.access_log())?;
    let server =
        Server::start(Arc::new(loaded.config), Inherited::default()).map_err(Failure::other)?;
    let paint = Paint::new(terminal::stdout_is_coloured());
    let mut view = View::new(paint, records, seen, &origins);
    let outcome = if options.once {
        show_tries(&setup, &mut view).await
    } else {
        terminal::to_stdout(&setup.invitation(&origins, paint))?;
        tokio::select! {
            outcome = show_all(&mut view) => outcome,
            _ = signals.stop() => Ok(terminal::to_stdout("\nThe demo is over.\n")?),
        }
    };
    drain::drain(&server, "the demo is over", &mut signals).await;
    // Joining threads blocks; nothing else is to be done on this one.
    server.stop();
    outcome
}

/// Shows every exchange as it comes.
async fn show_all(view: &mut View) -> Result<(), Failure> {
    loop {
        let block = view.next().await;
        terminal::to_stdout(&block)?;
    }
}

/// Makes the requests itself and shows each.
async fn show_tries(setup: &Setup, view: &mut View) -> Result<(), Failure> {
    for try_it in setup.tries() {
        terminal::to_stdout(&format!("$ {}\n", try_it.command))?;
        let got = tries::request(&try_it)
            .await
            .map_err(|error| Failure::other(format!("the demo's own request failed: {error}")))?;
        let block = tokio::time::timeout(SHOW_TIME, view.next())
            .await
            .map_err(|_| Failure::other("an exchange has left no record"))?;
        terminal::to_stdout(&format!("{block}   client    got: {got}\n\n"))?;
    }
    Ok(())
}

/// The two servers, shared with what is printed about them.
type Origins = [Rc<Origin>; 2];
/// Where servers report what they received.
type Report = mpsc::Sender<Seen>;
