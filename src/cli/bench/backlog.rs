//! `backlog`: sessions that are away while messages are published, and what it takes to drain them.
//!
//! ```text
//! make the sessions ─► publish ─► the sessions come back and drain ─► have them forgotten
//! ```

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::TryStreamExt;
use futures_util::stream;

use super::crew::Crew;
use super::crew::SubscriberJob;
use super::crew::open_subscriber;
use super::error::LoadError;
use super::flow::Flow;
use super::link::Link;
use super::outcome;
use super::outcome::Ending;
use super::outcome::Outcome;
use super::pacer;
use super::plan::Plan;
use super::snapshot::Snapshot;
use super::streaming::Part;
use super::streaming::go_on;
use super::streaming::has_all;
use super::watch::Watch;
use super::watch::unless_interrupted;
use super::worker::Worker;
use crate::cli::Failure;
use crate::cli::client::Options;
use crate::cli::signals::Signals;

/// How many sessions are made, or forgotten, at a time.
const TOGETHER: usize = 32;

/// A part of the run.
struct Phase {
    from: Snapshot,
    to: Snapshot,
    part: Part,
}

/// Runs it.
///
/// # Errors
/// Fails if the plan can't be carried out; what the broker does wrong is in the outcome.
pub(super) async fn run(plan: &Plan, signals: &mut Signals) -> Result<Outcome, Failure> {
    let flow = Arc::new(Flow::new(plan.shape(), plan.arrivals()));
    let made: Vec<SubscriberJob> = jobs(plan, true)?;
    let back: Vec<SubscriberJob> = jobs(plan, false)?;
    let forgotten: Result<Vec<Options>, Failure> =
        (0..plan.subscribers).map(|index| plan.forgotten(index)).collect();
    let forgotten = forgotten?;
    let outcome = fill_and_drain(plan, &flow, signals, made, back).await;
    // Sessions that are left expire by themselves, or the user has them forgotten another day.
    let _ = unless_interrupted(signals, forget(forgotten)).await;
    outcome
}

fn jobs(plan: &Plan, subscribe: bool) -> Result<Vec<SubscriberJob>, Failure> {
    let job = |index| {
        Ok(SubscriberJob {
            place: plan.place(index),
            options: plan.kept(index)?,
            subscribe: if subscribe { Some(plan.subscribe(index)?) } else { None },
            timeout: plan.common.timeout,
        })
    };
    (0..plan.subscribers).map(job).collect()
}

async fn fill_and_drain(
    plan: &Plan,
    flow: &Arc<Flow>,
    signals: &mut Signals,
    made: Vec<SubscriberJob>,
    back: Vec<SubscriberJob>,
) -> Result<Outcome, Failure> {
    let publishers = plan.publisher_jobs()?;
    let mut crew = Crew::new(flow);
    let begun = async {
        make(flow, made).await?;
        crew.publishers(publishers).await?;
        pacer::start(flow)
    };
    match unless_interrupted(signals, begun).await {
        None => return Ok(Outcome::default()),
        Some(Err(error)) => return Ok(Outcome::failed(&error)),
        Some(Ok(())) => {}
    }
    let filled = fill(plan, flow, signals).await;
    flow.stop();
    let drained = match filled.part {
        Part::Done => drain(plan, flow, signals, &mut crew, back).await,
        Part::Interrupted | Part::Failed(_) => {
            Phase { from: filled.to, to: filled.to, part: filled.part }
        }
    };
    let (ending, error) = match drained.part {
        Part::Done => (Ending::Complete, None),
        Part::Interrupted => (Ending::Interrupted, None),
        Part::Failed(error) => (Ending::Complete, Some(error)),
    };
    let (sent, came) = (filled.to.since(&filled.from), drained.to.since(&drained.from));
    let mut report = outcome::opening(plan, ending);
    outcome::counts(&mut report, plan, flow, &sent, &came);
    outcome::times(&mut report, flow);
    outcome::costs(&mut report, &came, came.delivered, "message_drained", plan.common.broker);
    let complaint = outcome::complaint(flow, error.as_ref(), ending);
    crew.close().await;
    Ok(Outcome { report: Some(report), complaint })
}

/// Makes the sessions, and leaves them.
async fn make(flow: &Arc<Flow>, jobs: Vec<SubscriberJob>) -> Result<(), LoadError> {
    let each = |job| async {
        open_subscriber(Arc::clone(flow), job).await?.into_link().close().await;
        Ok(())
    };
    stream::iter(jobs).map(each).buffered(TOGETHER).try_collect().await
}

/// Publishes.
async fn fill(plan: &Plan, flow: &Flow, signals: &mut Signals) -> Phase {
    let mut watch = Watch::new(flow, signals);
    flow.record(true);
    flow.begin();
    let from = Snapshot::take(flow, plan.common.broker);
    let part = go_on(plan, flow, &mut watch, || flow.is_finished()).await;
    flow.record(false);
    let mut to = Snapshot::take(flow, plan.common.broker);
    to.at = watch.moved();
    Phase { from, to, part }
}

/// Has the sessions come back, and waits until they have everything.
async fn drain(
    plan: &Plan,
    flow: &Flow,
    signals: &mut Signals,
    crew: &mut Crew,
    back: Vec<SubscriberJob>,
) -> Phase {
    let from = Snapshot::take(flow, plan.common.broker);
    let part = match unless_interrupted(signals, crew.subscribers(back)).await {
        None => Part::Interrupted,
        Some(Err(error)) => Part::Failed(error),
        Some(Ok(())) => Part::Done,
    };
    let mut watch = Watch::new(flow, signals);
    let part = match part {
        Part::Done => go_on(plan, flow, &mut watch, || has_all(flow)).await,
        stopped @ (Part::Interrupted | Part::Failed(_)) => stopped,
    };
    let mut to = Snapshot::take(flow, plan.common.broker);
    to.at = watch.moved().max(from.at);
    Phase { from, to, part }
}

/// Has the broker forget the sessions.
async fn forget(sessions: Vec<Options>) {
    let each = |options: Options| async move {
        if let Ok(link) = Link::open(&options).await {
            link.close().await;
        }
    };
    stream::iter(sessions).map(each).buffer_unordered(TOGETHER).collect::<()>().await;
}
