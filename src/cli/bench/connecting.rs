//! `connect`: connections as fast as they come, or when they are due, and then nothing but to hold them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::clock::nanos;
use super::error::LoadError;
use super::flow::Flow;
use super::flow::lock;
use super::link::Link;
use super::outcome;
use super::outcome::Ending;
use super::outcome::Outcome;
use super::plan::Length;
use super::plan::Plan;
use super::process;
use super::schedule::Schedule;
use super::side::Side;
use super::snapshot::Snapshot;
use super::snapshot::approximately;
use super::snapshot::per_second;
use super::subscriber::Subscriber;
use super::watch::Seen;
use super::watch::Watch;
use super::worker::work;
use crate::cli::Failure;
use crate::cli::client::Options;
use crate::cli::signals::Signals;

/// How long all goodbyes may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was measured.
struct Measured {
    from: Snapshot,
    connected: Snapshot,
    held: Snapshot,
    connections: u64,
    memory: [Option<u64>; 2],
    ending: Ending,
    error: Option<LoadError>,
}

/// Runs it.
///
/// # Errors
/// Fails if the plan can't be carried out; what the broker does wrong is in the outcome.
pub(super) async fn run(plan: &Plan, signals: &mut Signals) -> Result<Outcome, Failure> {
    let flow = Arc::new(Flow::new(plan.shape(), plan.arrivals()));
    let options: Result<Vec<Options>, Failure> =
        (0..plan.subscribers).map(|index| plan.options('c', index)).collect();
    let closing = watch::Sender::new(false);
    let work = connect_all(
        Arc::clone(&flow),
        options?,
        plan.rate.map(|rate| Schedule::new(rate, 1)),
        plan.window.into(),
        closing.subscribe(),
    );
    let memory = || plan.common.broker.and_then(process::resident);
    let before = memory();
    let from = Snapshot::take(&flow, plan.common.broker);
    let side = match Side::start("connect", work) {
        Ok(side) => side,
        Err(error) => return Ok(Outcome::failed(&error)),
    };
    let mut watch = Watch::new(&flow, signals);
    let wanted = u64::try_from(plan.subscribers).unwrap_or(u64::MAX);
    let made = || flow.counts.finished.load(Ordering::Relaxed);
    let seen = until(&mut watch, || made() >= wanted).await;
    let mut connected = Snapshot::take(&flow, plan.common.broker);
    connected.at = watch.moved();
    let connections = made();
    let begun = Instant::now();
    let time = match plan.length {
        Length::Time(time) => time,
        Length::Messages(_) => Duration::ZERO,
    };
    let seen = match seen {
        Seen::Going => until(&mut watch, || begun.elapsed() >= time).await,
        Seen::Interrupted | Seen::Failed => seen,
    };
    let held = Snapshot::take(&flow, plan.common.broker);
    let ending = if seen == Seen::Going { Ending::Complete } else { Ending::Interrupted };
    let memory = [before, memory()];
    let error = flow.take_failure();
    let measured = Measured { from, connected, held, connections, memory, ending, error };
    let outcome = report(plan, &flow, &measured);
    closing.send_replace(true);
    side.end(PATIENCE).await;
    Ok(outcome)
}

/// Looks until it is done.
async fn until(watch: &mut Watch<'_>, is_done: impl Fn() -> bool) -> Seen {
    while !is_done() {
        match watch.look().await {
            Seen::Going => {}
            other @ (Seen::Interrupted | Seen::Failed) => return other,
        }
    }
    Seen::Going
}

/// Makes the connections, so many at a time, and holds them.
async fn connect_all(
    flow: Arc<Flow>,
    options: Vec<Options>,
    schedule: Option<Schedule>,
    together: usize,
    closing: watch::Receiver<bool>,
) {
    let begun = Instant::now();
    let each = |(place, options)| connect(&flow, place, options, begun, schedule);
    let jobs = stream::iter(options.into_iter().enumerate()).map(each);
    let mut connections = std::pin::pin!(jobs.buffer_unordered(together));
    let mut held = JoinSet::new();
    while let Some(connection) = connections.next().await {
        match connection {
            Ok(connection) => {
                held.spawn(work(connection, Arc::clone(&flow), closing.clone()));
            }
            Err(error) => flow.fail(error),
        }
        if flow.has_failed() || *closing.borrow() {
            break;
        }
    }
    while held.join_next().await.is_some() {}
}

async fn connect(
    flow: &Arc<Flow>,
    place: usize,
    options: Options,
    begun: Instant,
    schedule: Option<Schedule>,
) -> Result<Subscriber, LoadError> {
    let mut due = Instant::now();
    if let Some(schedule) = schedule {
        let number = u64::try_from(place).unwrap_or(u64::MAX);
        due = begun + Duration::from_nanos(schedule.due(0, number));
        tokio::time::sleep_until(due).await;
    }
    let link = Link::open(&options).await?;
    lock(&flow.times.acknowledgements).record(nanos(due.elapsed()));
    flow.counts.finished.fetch_add(1, Ordering::Relaxed);
    Ok(Subscriber::new(place, link, Arc::clone(flow)))
}

fn report(plan: &Plan, flow: &Flow, measured: &Measured) -> Outcome {
    let making = measured.connected.since(&measured.from);
    let holding = measured.held.since(&measured.connected);
    let mut report = outcome::opening(plan, measured.ending);
    report.field("seconds", making.time.as_secs_f64());
    let rate = per_second(measured.connections, making.time);
    report.count("connected", measured.connections, Some(rate));
    let times = lock(&flow.times.acknowledgements).percentiles();
    report.times("connect_us", "to CONNACK", times);
    outcome::costs(&mut report, &making, measured.connections, "connection", plan.common.broker);
    let [before, after] = measured.memory;
    let grown = before.zip(after).filter(|_| measured.connections > 0).map(|(before, after)| {
        approximately(after.saturating_sub(before)) / approximately(measured.connections)
    });
    report.figure("broker_memory_bytes_per_connection", grown);
    let idle = holding.broker.filter(|_| !holding.time.is_zero());
    let idle = idle.map(|busy| 100.0 * busy.as_secs_f64() / holding.time.as_secs_f64());
    report.figure("broker_idle_cpu_percent", idle);
    if let Some(grown) = grown {
        report.line(format!("memory of the broker for each connection: {:.1} KiB", grown / 1024.0));
    }
    if let Some(idle) = idle {
        report.line(format!("the broker while nothing happened: {idle:.1} % of a core"));
    }
    let complaint = outcome::complaint(flow, measured.error.as_ref(), measured.ending);
    Outcome { report: Some(report), complaint }
}
