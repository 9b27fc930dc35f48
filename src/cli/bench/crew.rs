//! The clients of a run: connected by the side that they belong to, at work until the run closes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::TryStreamExt;
use futures_util::stream;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::error::LoadError;
use super::flow::Flow;
use super::link::Link;
use super::publisher::Publisher;
use super::side::Side;
use super::subscriber::Subscriber;
use super::template::Template;
use super::worker::Worker;
use super::worker::work;
use crate::cli::client::Options;
use crate::mqtt::QoS;
use crate::mqtt::Subscribe;

/// How many connect at a time.
const TOGETHER: usize = 32;

/// How long their goodbyes may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Somebody who publishes.
pub(super) struct PublisherJob {
    pub(super) index: usize,
    pub(super) options: Options,
    pub(super) template: Template,
    pub(super) window: u16,
    pub(super) limit: u64,
}

/// Somebody who receives.
pub(super) struct SubscriberJob {
    pub(super) place: usize,
    pub(super) options: Options,
    /// `None` for a session that is there and subscribed.
    pub(super) subscribe: Option<Subscribe>,
    /// How long a SUBACK may take.
    pub(super) timeout: Duration,
}

/// All sides of a run.
pub(super) struct Crew {
    flow: Arc<Flow>,
    closing: watch::Sender<bool>,
    sides: Vec<Side>,
}

impl Crew {
    /// Nobody yet.
    pub(super) fn new(flow: &Arc<Flow>) -> Self {
        Self { flow: Arc::clone(flow), closing: watch::Sender::new(false), sides: Vec::new() }
    }

    /// Connects publishers, on a thread of their own. They wait for the run to begin.
    ///
    /// # Errors
    /// If one of them can't connect.
    pub(super) async fn publishers(&mut self, jobs: Vec<PublisherJob>) -> Result<(), LoadError> {
        self.side("publish", jobs, open_publisher).await
    }

    /// Connects subscribers, on a thread of their own, and waits until all are subscribed.
    ///
    /// # Errors
    /// If one of them can't.
    pub(super) async fn subscribers(&mut self, jobs: Vec<SubscriberJob>) -> Result<(), LoadError> {
        self.side("subscribe", jobs, open_subscriber).await
    }

    /// Has everybody say goodbye.
    pub(super) async fn close(self) {
        self.closing.send_replace(true);
        for side in self.sides {
            side.end(PATIENCE).await;
        }
    }

    /// Connects clients, on a thread of their own, where they work until the run closes.
    async fn side<J, W, O>(
        &mut self,
        name: &str,
        jobs: Vec<J>,
        open: fn(Arc<Flow>, J) -> O,
    ) -> Result<(), LoadError>
    where
        J: Send + 'static,
        W: Worker,
        O: Future<Output = Result<W, LoadError>> + Send + 'static,
    {
        let (flow, closing) = (Arc::clone(&self.flow), self.closing.subscribe());
        let (ready, is_ready) = oneshot::channel();
        let all = async move {
            let opened = stream::iter(jobs).map(|job| open(Arc::clone(&flow), job));
            let Some(workers) = gather(opened.buffered(TOGETHER).try_collect().await, ready) else {
                return;
            };
            let mut tasks = JoinSet::new();
            for worker in workers {
                tasks.spawn(work(worker, Arc::clone(&flow), closing.clone()));
            }
            while tasks.join_next().await.is_some() {}
        };
        self.sides.push(Side::start(name, all)?);
        is_ready.await.unwrap_or(Err(LoadError::ThreadEnded))
    }
}

/// Those who are connected, if all are; says whether they are.
fn gather<T>(
    opened: Result<Vec<T>, LoadError>,
    ready: oneshot::Sender<Result<(), LoadError>>,
) -> Option<Vec<T>> {
    let (clients, outcome) = match opened {
        Ok(clients) => (Some(clients), Ok(())),
        Err(error) => (None, Err(error)),
    };
    // If nobody waits any more, nobody has to work.
    ready.send(outcome).ok().and(clients)
}

async fn open_publisher(flow: Arc<Flow>, job: PublisherJob) -> Result<Publisher, LoadError> {
    let link = Link::open(&job.options).await?;
    check_limits(&link, flow.shape.qos, job.template.packet_length())?;
    let (template, window) = (job.template, job.window);
    Ok(Publisher::new(job.index, link, flow, template, window, job.limit))
}

/// Connects a subscriber, and waits until it is subscribed.
///
/// # Errors
/// If it can't be, or if its session is gone.
pub(super) async fn open_subscriber(
    flow: Arc<Flow>,
    job: SubscriberJob,
) -> Result<Subscriber, LoadError> {
    let link = Link::open(&job.options).await?;
    let known = link.connack.session_present;
    let mut subscriber = Subscriber::new(job.place, link, flow);
    match job.subscribe {
        Some(subscribe) => {
            let granted = tokio::time::timeout(job.timeout, subscriber.subscribe(subscribe)).await;
            granted.unwrap_or(Err(LoadError::Silent(job.timeout)))?;
        }
        None if known => {}
        None => return Err(LoadError::SessionForgotten),
    }
    Ok(subscriber)
}

/// Whether the broker takes our messages at all.
fn check_limits(link: &Link, qos: QoS, length: usize) -> Result<(), LoadError> {
    if let Some(most) = link.connack.maximum_qos.filter(|most| *most < qos) {
        return Err(LoadError::MaximumQos(most));
    }
    let most = link.connack.maximum_packet_size.map(u32::from);
    match most.filter(|most| u32::try_from(length).is_ok_and(|length| length > *most)) {
        Some(most) => Err(LoadError::MaximumPacketSize(most)),
        None => Ok(()),
    }
}
