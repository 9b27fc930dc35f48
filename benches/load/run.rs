//! One run of publishers and subscribers against a broker: one thread for each side, a while to get going, a while that counts,
//! and then all that is under way has to arrive.

use std::future::pending;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::broker::Broker;
use crate::figures::Figures;
use crate::figures::Measure;
use crate::flow::Flow;
use crate::link::Link;
use crate::process;
use crate::publisher::Publisher;
use crate::publisher::Task;
use crate::subscriber::Subscriber;
use crate::transport::Target;

/// While nothing arrives for so long, nothing more is expected.
const SILENCE: Duration = Duration::from_secs(3);
/// How long is waited between two looks.
const LOOK: Duration = Duration::from_millis(1);

/// Who publishes to whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) publishers: usize,
    pub(crate) audience: Audience,
    pub(crate) qos: u8,
    /// Messages of QoS 1 or 2 that a publisher may have without acknowledgement.
    pub(crate) window: u16,
    pub(crate) payload: usize,
}

/// Who subscribes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Audience {
    Nobody,
    /// One for each publisher.
    Pairs,
    /// So many, each of whom gets everything.
    All(usize),
}

/// How long is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) warm: Duration,
    pub(crate) measured: Duration,
    /// Messages that each publisher may be ahead of its subscriber.
    pub(crate) ahead: u64,
}

/// A thread with a runtime that does something until it is dropped.
pub(crate) struct Side {
    thread: Option<JoinHandle<()>>,
    stop: Option<oneshot::Sender<()>>,
}

impl Side {
    /// Starts it.
    pub(crate) fn start(work: impl Future<Output = ()> + Send + 'static) -> Self {
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = work => {}
                    _ = stopped => {}
                }
            });
        });
        Self { thread: Some(thread), stop: Some(stop) }
    }

    /// Panics if it has ended, which it does only by panicking.
    pub(crate) fn check(&self) {
        let ended = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
        assert!(!ended, "one side of the load has failed");
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Lets everybody work. Never ends but by a panic of one of them.
pub(crate) async fn forever(mut at_work: JoinSet<()>) {
    while let Some(ended) = at_work.join_next().await {
        ended.unwrap();
    }
    pending::<()>().await;
}

/// What is counted at a moment.
struct Snapshot {
    at: Instant,
    published: u64,
    delivered: u64,
    acknowledged: u64,
    broker: Duration,
    own: Duration,
    switches: u64,
}

impl Shape {
    fn fan(&self) -> usize {
        match self.audience {
            Audience::Nobody => 0,
            Audience::Pairs => 1,
            Audience::All(subscribers) => subscribers,
        }
    }

    /// What each subscriber subscribes to.
    fn filters(&self) -> Vec<String> {
        match self.audience {
            Audience::Nobody => Vec::new(),
            Audience::Pairs => (0..self.publishers).map(topic).collect(),
            Audience::All(subscribers) => vec!["load/+".to_owned(); subscribers],
        }
    }

    fn tasks(&self) -> Vec<Task> {
        let task = |index| Task {
            index,
            topic: topic(index),
            qos: self.qos,
            window: self.window,
            payload: self.payload,
            messages: u64::MAX,
        };
        (0..self.publishers).map(task).collect()
    }
}

fn topic(publisher: usize) -> String {
    format!("load/{publisher}")
}

/// Publishes as much as the broker takes and measures.
pub(crate) fn stream(broker: &Broker, shape: &Shape, pace: Pace) -> Figures {
    let flow = Arc::new(Flow::new(shape.publishers, shape.fan(), pace.ahead));
    let subscribers = start_subscribers(&flow, broker.target(), shape);
    let publishers = start_publishers(&flow, broker.target(), shape.tasks());
    let figures = measure(broker, &flow, pace);
    flow.stop();
    let finished = || flow.finished.load(Ordering::Acquire) == shape.publishers;
    settle(
        &flow,
        || finished() && flow.missing() == 0,
        || {
            subscribers.check();
            publishers.check();
        },
    );
    let mut figures = figures;
    let unanswered = if finished() || shape.fan() > 0 { 0.0 } else { 1.0 };
    figures.set(Measure::Lost, flow.missing() as f64 + unanswered);
    figures.set(Measure::Repeated, flow.repeated.load(Ordering::Relaxed) as f64);
    figures
}

/// Waits until everything is there, or nothing arrives any more.
pub(crate) fn settle(flow: &Flow, done: impl Fn() -> bool, check: impl Fn()) {
    let mut seen = (0, 0);
    let mut since = Instant::now();
    while !done() && since.elapsed() < SILENCE {
        check();
        thread::sleep(LOOK);
        let now = (flow.delivered(), flow.acknowledged.load(Ordering::Relaxed));
        if now != seen {
            seen = now;
            since = Instant::now();
        }
    }
}

/// Measures what flows, after a while.
pub(crate) fn measure(broker: &Broker, flow: &Flow, pace: Pace) -> Figures {
    thread::sleep(pace.warm);
    let commits = broker.commits().map(|commits| (commits, flow.published()));
    flow.record(true);
    let from = Snapshot::take(broker, flow);
    thread::sleep(pace.measured);
    let to = Snapshot::take(broker, flow);
    flow.record(false);
    let mut figures = to.since(&from);
    if let (Some((before, published)), Some(after)) = (commits, broker.commits()) {
        let messages = (flow.published() - published) as f64;
        figures.set(Measure::PerCommit, messages / (after - before).max(1) as f64);
    }
    figures.set_some(Measure::DeliveryP50, flow.deliveries.micros_at(0.5));
    figures.set_some(Measure::DeliveryP99, flow.deliveries.micros_at(0.99));
    figures.set_some(Measure::AckP50, flow.acknowledgements.micros_at(0.5));
    figures.set_some(Measure::AckP99, flow.acknowledgements.micros_at(0.99));
    figures.set(Measure::PeakMib, mebibytes(process::resident_peak(broker.process())));
    figures
}

/// Bytes in MiB.
pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl Snapshot {
    fn take(broker: &Broker, flow: &Flow) -> Self {
        Self {
            at: Instant::now(),
            published: flow.published(),
            delivered: flow.delivered(),
            acknowledged: flow.acknowledged.load(Ordering::Relaxed),
            broker: process::processor_time(broker.process()),
            own: process::processor_time(std::process::id()),
            switches: process::context_switches(broker.process()),
        }
    }

    fn since(&self, before: &Self) -> Figures {
        let seconds = self.at.duration_since(before.at).as_secs_f64();
        let delivered = self.delivered - before.delivered;
        let counted =
            if self.delivered > 0 { delivered } else { self.acknowledged - before.acknowledged };
        let messages = (self.published - before.published + delivered).max(1) as f64;
        let micros = |later: Duration, earlier: Duration| {
            later.saturating_sub(earlier).as_secs_f64() * 1e6 / messages
        };
        let mut figures = Figures::default();
        figures.set(Measure::Rate, counted as f64 / seconds);
        figures.set(Measure::BrokerMicros, micros(self.broker, before.broker));
        figures.set(Measure::LoadMicros, micros(self.own, before.own));
        figures.set(Measure::Switches, (self.switches - before.switches) as f64 / messages);
        figures
    }
}

/// Starts the subscribers and waits until all are subscribed.
fn start_subscribers(flow: &Arc<Flow>, target: &Target, shape: &Shape) -> Side {
    let (flow, target, shape) = (Arc::clone(flow), target.clone(), *shape);
    let (ready, subscribed) = mpsc::channel();
    let side = Side::start(async move {
        let mut at_work = JoinSet::new();
        let mut subscribers = Vec::new();
        for (index, filter) in shape.filters().iter().enumerate() {
            let mut link = Link::open(&target, &format!("load-sub-{index}"), true).await;
            link.subscribe([filter.as_str()], shape.qos).await;
            subscribers.push(Subscriber::new(link, Arc::clone(&flow), shape.publishers));
        }
        ready.send(()).unwrap();
        for mut subscriber in subscribers {
            at_work.spawn(async move { poll_fn(|cx| subscriber.poll(cx)).await });
        }
        forever(at_work).await;
    });
    subscribed.recv().expect("all subscribe");
    side
}

/// Starts the publishers once all are connected. They stay connected.
pub(crate) fn start_publishers(flow: &Arc<Flow>, target: &Target, tasks: Vec<Task>) -> Side {
    let (flow, target) = (Arc::clone(flow), target.clone());
    let (ready, connected) = mpsc::channel();
    let side = Side::start(async move {
        let mut publishers = Vec::new();
        for task in tasks {
            let link = Link::open(&target, &format!("load-pub-{}", task.index), true).await;
            publishers.push(Publisher::new(task, link, Arc::clone(&flow)));
        }
        ready.send(()).unwrap();
        let mut at_work = JoinSet::new();
        for mut publisher in publishers {
            at_work.spawn(async move {
                poll_fn(|cx| publisher.poll(cx)).await;
                publisher.into_link()
            });
        }
        let mut links = Vec::new();
        while let Some(ended) = at_work.join_next().await {
            links.push(ended.unwrap());
        }
        pending::<()>().await;
    });
    connected.recv().expect("all connect");
    side
}
