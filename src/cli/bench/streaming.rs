//! `pub`, `sub`, `pair`, `fan-out`, `shared` and `latency`: messages flow for a while, and then all that is under way has to
//! come.
//!
//! ```text
//! connect ─► warm-up ─► measured ─► publishers stop ─► what is under way comes ─► goodbye
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::crew::Crew;
use super::error::LoadError;
use super::flow::Flow;
use super::flow::Pace;
use super::outcome;
use super::outcome::Ending;
use super::outcome::Outcome;
use super::pacer;
use super::plan::Length;
use super::plan::Plan;
use super::plan::Scenario;
use super::snapshot::Snapshot;
use super::watch::Seen;
use super::watch::Watch;
use super::watch::unless_interrupted;
use crate::cli::Failure;
use crate::cli::signals::Signals;
use crate::mqtt::QoS;

/// After so much silence nothing more is expected at `QoS` 0.
const QUIET: Duration = Duration::from_secs(2);

/// With a rate, what is due at the end may be sent so much later.
const GRACE: Duration = Duration::from_secs(1);

/// How a part of a run ended.
pub(super) enum Part {
    /// As planned.
    Done,
    /// By the user.
    Interrupted,
    /// By the broker.
    Failed(LoadError),
}

/// What was measured.
struct Measured {
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
    let (subscribers, publishers) = (plan.subscriber_jobs()?, plan.publisher_jobs()?);
    let mut crew = Crew::new(&flow);
    let connected = async {
        crew.subscribers(subscribers).await?;
        crew.publishers(publishers).await?;
        pacer::start(&flow)
    };
    match unless_interrupted(signals, connected).await {
        None => return Ok(Outcome::default()),
        Some(Err(error)) => return Ok(Outcome::failed(&error)),
        Some(Ok(())) => {}
    }
    let mut watch = Watch::new(&flow, signals);
    let measured = measure(plan, &flow, &mut watch).await;
    if matches!((flow.shape.pace, &measured.part), (Pace::Open(_), Part::Done)) {
        let end = Instant::now() + GRACE;
        let sent = || flow.is_finished() || Instant::now() >= end;
        // What fails now is seen when it is waited for.
        drop(go_on(plan, &flow, &mut watch, sent).await);
    }
    flow.stop();
    let ending = settle(plan, &flow, &mut watch, measured.part).await;
    let (ending, error) = match ending {
        Ok(ending) => (ending, None),
        Err(error) => (Ending::Complete, Some(error)),
    };
    let report = outcome::of_messages(plan, &flow, &measured.from, &measured.to, ending);
    let complaint = outcome::complaint(&flow, error.as_ref(), ending);
    crew.close().await;
    Ok(Outcome { report: Some(report), complaint })
}

/// Lets it flow for as long as is planned.
async fn measure(plan: &Plan, flow: &Flow, watch: &mut Watch<'_>) -> Measured {
    let take = || Snapshot::take(flow, plan.common.broker);
    flow.begin();
    let mut from = take();
    if !plan.warm_up.is_zero() {
        let end = from.at + plan.warm_up;
        let part = go_on(plan, flow, watch, || Instant::now() >= end).await;
        let to = take();
        if !matches!(part, Part::Done) {
            return Measured { from, to, part };
        }
        from = to;
    }
    flow.record(true);
    if plan.scenario == Scenario::Sub {
        // What counts begins with the first message.
        let begun = from.at;
        let first = || flow.counts.delivered.load(Ordering::Relaxed) > 0 || is_over(plan, begun);
        let part = go_on(plan, flow, watch, first).await;
        if !matches!(part, Part::Done) {
            return Measured { from, to: take(), part };
        }
        from.at = Instant::now().min(watch.moved());
    }
    let begun = from.at;
    let part = go_on(plan, flow, watch, || is_done(plan, flow) || is_over(plan, begun)).await;
    flow.record(false);
    let mut to = take();
    if matches!(plan.length, Length::Messages(_)) || plan.scenario == Scenario::Sub {
        // It ended when the last message was there, not when we noticed.
        to.at = watch.moved();
    }
    Measured { from, to, part }
}

/// Whether the planned time is over.
fn is_over(plan: &Plan, begun: Instant) -> bool {
    matches!(plan.length, Length::Time(time) if begun.elapsed() >= time)
}

/// Whether the planned messages are there.
fn is_done(plan: &Plan, flow: &Flow) -> bool {
    let Length::Messages(messages) = plan.length else { return false };
    if plan.scenario == Scenario::Sub {
        return flow.counts.delivered.load(Ordering::Relaxed) >= messages;
    }
    flow.is_finished() && has_all(flow)
}

/// Whether everything that was published has come.
pub(super) fn has_all(flow: &Flow) -> bool {
    flow.passed() >= flow.published().saturating_mul(flow.shape.fan) && flow.missing().total() == 0
}

/// Waits until it is done, or can't go on.
pub(super) async fn go_on(
    plan: &Plan,
    flow: &Flow,
    watch: &mut Watch<'_>,
    is_done: impl Fn() -> bool,
) -> Part {
    let timeout = plan.common.timeout;
    let mut given_up = None;
    while !is_done() {
        match watch.look().await {
            Seen::Going => {}
            Seen::Interrupted => return Part::Interrupted,
            Seen::Failed => {
                return Part::Failed(flow.take_failure().unwrap_or(LoadError::ThreadEnded));
            }
        }
        // All is sent and acknowledged, and what has not come by now may be lost.
        let is_all_sent = flow.is_finished() && flow.shape.publishers > 0;
        if is_all_sent && watch.silence() >= patience(plan) {
            return Part::Done;
        }
        let waiting = watch.waiting();
        if waiting >= timeout {
            return Part::Failed(LoadError::Silent(timeout));
        }
        if plan.qos == QoS::AtMostOnce
            && waiting >= QUIET.min(timeout / 2)
            && given_up != Some(watch.moved())
        {
            // At QoS 0 messages may be lost: publishers don't wait for them for ever.
            flow.give_up();
            given_up = Some(watch.moved());
        }
    }
    Part::Done
}

/// For how long messages are waited for in silence.
fn patience(plan: &Plan) -> Duration {
    let timeout = plan.common.timeout;
    if plan.qos == QoS::AtMostOnce { QUIET.min(timeout) } else { timeout }
}

/// Waits for what is under way.
async fn settle(
    plan: &Plan,
    flow: &Flow,
    watch: &mut Watch<'_>,
    part: Part,
) -> Result<Ending, LoadError> {
    let ending = match part {
        Part::Failed(error) => return Err(error),
        Part::Done => Ending::Complete,
        Part::Interrupted => Ending::Interrupted,
    };
    if plan.scenario == Scenario::Sub {
        return Ok(ending);
    }
    if watch.silence() < patience(plan) || !flow.is_finished() {
        watch.forgive();
    }
    while !(flow.is_finished() && has_all(flow)) && watch.silence() < patience(plan) {
        match watch.look().await {
            Seen::Going => {}
            Seen::Interrupted => return Ok(Ending::Interrupted),
            Seen::Failed => return Err(flow.take_failure().unwrap_or(LoadError::ThreadEnded)),
        }
    }
    if flow.is_finished() { Ok(ending) } else { Err(LoadError::Silent(patience(plan))) }
}
