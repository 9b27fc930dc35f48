//! `tidelog bench`: a load for any broker, to see what it carries, how long that takes and what it costs.
//!
//! ```text
//! plan ─► flow (what all share) ─► crew ┬─ side "publish":   publishers  ─┐
//!                                       └─ side "subscribe": subscribers ─┴─► links ─► the broker
//!         watch (live line, silence, signals) ─► outcome ─► report
//! ```
//!
//! - Publishers have one thread and subscribers another, each with one task for each connection. A read brings many packets,
//!   and one write takes many; a PUBLISH is encoded once. The load has to cost much less than the broker.
//! - Times count from when a message was to be sent, also if it was sent late (no coordinated omission).
//! - Every payload says who published it, as which message, and when it was due ([`stamp`]): loss, repetition and order are
//!   judged by content ([`tracker`]).
//! - Memory is bounded whatever the broker does, and so is the time for which it may be silent.

mod arguments;
mod arrivals;
mod backlog;
mod clock;
mod connecting;
mod crew;
mod error;
mod flow;
mod link;
mod outcome;
mod pacer;
mod plan;
mod process;
mod publisher;
mod report;
mod schedule;
mod side;
mod snapshot;
mod stamp;
mod streaming;
mod subscriber;
mod template;
mod times;
mod tracker;
mod watch;
mod worker;

use clap::Args;

use super::Failure;
use super::runtime;
use super::signals::Signals;
use arguments::BenchCommand;
use plan::Plan;
use plan::Scenario;

/// The flags of `bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    command: BenchCommand,
}

impl BenchArgs {
    /// Measures, and prints what was found.
    ///
    /// # Errors
    /// Fails if the broker can't be measured, or does not keep its promises.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let plan = self.command.plan()?;
        if let Some(process) = plan.common.broker {
            process::check(process)?;
        }
        process::raise_open_files();
        runtime::run(run(plan))
    }
}

async fn run(plan: Plan) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let outcome = match plan.scenario {
        Scenario::Connect => connecting::run(&plan, &mut signals).await?,
        Scenario::Backlog => backlog::run(&plan, &mut signals).await?,
        Scenario::Pub
        | Scenario::Sub
        | Scenario::Pair
        | Scenario::FanOut
        | Scenario::Shared
        | Scenario::Latency => streaming::run(&plan, &mut signals).await?,
    };
    outcome.print(plan.common.json, plan.common.setup.quiet)
}
