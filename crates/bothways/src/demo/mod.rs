//! `bothways demo`: a demonstration on this machine alone.
//!
//! Starts two small web servers ([`origin`]) and the real data plane in front of them, with a
//! configuration for free ports ([`setup`]), and prints commands to try. Each exchange is shown as
//! each side saw it ([`view`]): the client and the proxy by the access log, the server by what it
//! received. Real traffic depends on nothing in this module.

mod examples;
mod origin;
mod setup;
mod view;

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::cli::Demo;
use crate::exit::Failure;
use crate::load::Source;
use crate::run::signals::Signals;
use crate::run::{control_runtime, drain};
use crate::terminal::{self, Paint};
use proxy::{Inherited, Server};

use origin::{Origin, ReceivedRequest};
use setup::Setup;
use view::{Records, View};

/// The name of the configuration in diagnostics and records.
const NAME: &str = "demo.kdl";
/// Maximum number of received requests that wait to be shown; further ones are dropped.
const WAITING_MAX: usize = 256;
/// Timeout for the record of one of the demo's own requests.
const SHOW_TIME: Duration = Duration::from_secs(10);

/// Runs the demo.
pub(crate) fn demo(options: &Demo) -> Result<(), Failure> {
    let runtime = control_runtime()?;
    runtime.block_on(run(options))
}

async fn run(options: &Demo) -> Result<(), Failure> {
    let mut signals = Signals::catch()?;
    let (sender, received) = mpsc::channel(WAITING_MAX);
    let origins = [origin::start("apples", &sender).await?, origin::start("pears", &sender).await?];
    let setup = Setup::new(&origins)?;
    if options.print_config {
        return Ok(terminal::to_stdout(&setup.configuration("stdout"))?);
    }
    let text = setup.configuration(&setup.access_log().to_string_lossy());
    let loaded = Source::text(NAME, text).load()?;
    let records = Records::open(setup.access_log())?;
    let server = Server::start(loaded.config, Inherited::default()).map_err(Failure::other)?;
    let paint = Paint::new(terminal::stdout_is_coloured());
    let mut view = View::new(paint, records, received, &origins);
    let outcome = if options.once {
        show_examples(&setup, &mut view).await
    } else {
        terminal::to_stdout(&setup.introduction(&origins, paint))?;
        tokio::select! {
            outcome = show_all(&mut view) => outcome,
            _ = signals.stop() => Ok(terminal::to_stdout("\nThe demo is over.\n")?),
        }
    };
    drain::drain(&server, "the demo is over", &mut signals).await;
    // This joins threads, which blocks; nothing else is left to do on this thread.
    server.stop();
    outcome
}

/// Prints every exchange when it ends.
async fn show_all(view: &mut View) -> Result<(), Failure> {
    loop {
        let block = view.next().await;
        terminal::to_stdout(&block)?;
    }
}

/// Runs the examples and prints each exchange.
async fn show_examples(setup: &Setup, view: &mut View) -> Result<(), Failure> {
    for example in setup.examples() {
        terminal::to_stdout(&format!("$ {}\n", example.command))?;
        let got = examples::request(&example)
            .await
            .map_err(|error| Failure::other(format!("the demo's own request failed: {error}")))?;
        let block = tokio::time::timeout(SHOW_TIME, view.next())
            .await
            .map_err(|_| Failure::other("there is no record of an exchange"))?;
        terminal::to_stdout(&format!("{block}   client    got: {got}\n\n"))?;
    }
    Ok(())
}

/// The two servers.
type Origins = [Rc<Origin>; 2];
/// Where servers report requests that they received.
type ReportSender = mpsc::Sender<ReceivedRequest>;
