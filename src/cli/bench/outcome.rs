//! What a run came to: its report, and whether the broker kept its promises.

use std::fmt::Display;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::error::LoadError;
use super::flow::Flow;
use super::flow::lock;
use super::plan::Plan;
use super::plan::Scenario;
use super::process;
use super::report::Report;
use super::snapshot::Snapshot;
use super::snapshot::Span;
use super::snapshot::approximately;
use super::snapshot::micros_each;
use super::snapshot::per_second;
use crate::cli::Failure;
use crate::cli::stdout;
use crate::mqtt::QoS;

/// How a run ended.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// What was found; `None` if it never began.
    pub(super) report: Option<Report>,
    /// What the user has to know, and exit code 1.
    pub(super) complaint: Option<String>,
}

/// How far a run got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// To its end.
    Complete,
    /// As far as the user let it: what is missing may be under way.
    Interrupted,
}

impl Outcome {
    /// Of a run that never began.
    pub(super) fn failed(error: &LoadError) -> Self {
        Self { report: None, complaint: Some(error.to_string()) }
    }

    /// Prints what was found.
    ///
    /// # Errors
    /// The complaint, if there is one.
    pub(super) fn print(self, json: bool, quiet: bool) -> Result<(), Failure> {
        match self.report {
            Some(report) if !json => stdout::print(&report.table())?,
            None if !json => {}
            report => {
                let report = report.unwrap_or_default();
                stdout::print(&report.json(self.complaint.as_deref()))?;
            }
        }
        match self.complaint {
            Some(_) if quiet => Err(Failure::failed("")),
            Some(complaint) => Err(Failure::failed(complaint)),
            None => Ok(()),
        }
    }
}

/// One line about everything that a broker has to answer for; `None` if there is nothing.
pub(super) fn complaint(flow: &Flow, error: Option<&LoadError>, ending: Ending) -> Option<String> {
    let mut complaints: Vec<String> = error.map(ToString::to_string).into_iter().collect();
    let refused = flow.counts.refused.load(Ordering::Relaxed);
    if let Some(code) = flow.refusal() {
        let were = if refused == 1 { "was" } else { "were" };
        complaints.push(format!("{} {were} refused: {code}", some(refused, "message")));
    }
    let lost = flow.missing().promised;
    if lost > 0 && ending == Ending::Complete {
        complaints.push(format!("{} at QoS 1 or 2 did not come", some(lost, "message")));
    }
    let duplicates = flow.counts.duplicates_exactly_once.load(Ordering::Relaxed);
    if duplicates > 0 {
        complaints.push(format!("{} at QoS 2 came twice", some(duplicates, "message")));
    }
    (!complaints.is_empty()).then(|| complaints.join("; "))
}

/// The beginning of a report: what was run.
pub(super) fn opening(plan: &Plan, ending: Ending) -> Report {
    let version = plan.common.setup.options.connect.version;
    let mut report = Report::new(title(plan, &version.to_string()));
    report.field("scenario", plan.scenario.name());
    report.field("version", version.to_string());
    report.field("publishers", plan.publishers);
    report.field("subscribers", plan.subscribers);
    report.field("qos", plan.qos.as_u8());
    report.field("size", plan.size);
    report.field("rate", plan.rate);
    report.field("interrupted", ending == Ending::Interrupted);
    report
}

fn title(plan: &Plan, version: &str) -> String {
    let some = |count: usize, one| (count > 0).then(|| some(count, one));
    let connects = plan.scenario == Scenario::Connect;
    let receiver = if connects { "connection" } else { "subscriber" };
    let parts = [
        Some(format!("{}: MQTT {version}", plan.scenario.name())),
        some(plan.publishers, "publisher"),
        some(plan.subscribers, receiver),
        (!connects).then(|| format!("QoS {}", plan.qos)),
        some(plan.size, "byte"),
        plan.rate.map(|rate| format!("{rate} a second")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// So many of something, in words: `1 message`, `2 messages`.
fn some<N: Copy + Display + PartialEq + From<u8>>(count: N, one: &str) -> String {
    let ending = if count == 1.into() { "" } else { "s" };
    format!("{count} {one}{ending}")
}

/// What was sent in one time and came in another, and what did not.
pub(super) fn counts(report: &mut Report, plan: &Plan, flow: &Flow, sent: &Span, came: &Span) {
    let rate = |count: u64, span: &Span| Some(per_second(count, span.time));
    let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    let counts = &flow.counts;
    report.field("seconds", came.time.as_secs_f64());
    if flow.shape.publishers > 0 {
        report.count("published", flow.published(), rate(sent.published, sent));
    }
    if flow.shape.qos > QoS::AtMostOnce && flow.shape.publishers > 0 {
        let acknowledged = count(&counts.acknowledged);
        report.count("acknowledged", acknowledged, rate(sent.acknowledged, sent));
        report.count("refused", count(&counts.refused), None);
    }
    if flow.shape.fan > 0 || flow.shape.publishers == 0 {
        report.count("delivered", count(&counts.delivered), rate(came.delivered, came));
        report.count("lost", flow.missing().total(), None);
        report.count("duplicates", count(&counts.duplicates), None);
        if plan.scenario != Scenario::Shared {
            // The members of a group are not in step.
            report.count("out_of_order", count(&counts.out_of_order), None);
        }
        report.count("unknown", count(&counts.unknown), None);
    }
}

/// How long it took.
pub(super) fn times(report: &mut Report, flow: &Flow) {
    let times = &flow.times;
    for (key, shown, times) in [
        ("ack_us", "to acknowledgement", &times.acknowledgements),
        ("delivery_us", "to delivery", &times.deliveries),
        ("late_us", "sent late by us", &times.lateness),
    ] {
        report.times(key, shown, lock(times).percentiles());
    }
}

/// What it cost, for each of so many.
pub(super) fn costs(report: &mut Report, span: &Span, count: u64, of: &str, broker: Option<u32>) {
    let each = |time: Option<Duration>| time.and_then(|time| micros_each(time, count));
    let (own, its) = (each(span.own), each(span.broker));
    report.figure(&format!("own_cpu_us_per_{of}"), own);
    report.figure(&format!("broker_cpu_us_per_{of}"), its);
    let memory = broker.and_then(process::resident);
    report.field("broker_memory_bytes", memory);
    let mut line = Vec::new();
    if let Some(own) = own {
        line.push(format!("this program {own:.2} us"));
    }
    if let Some(its) = its {
        line.push(format!("the broker {its:.2} us"));
    }
    if !line.is_empty() {
        report.line(format!(
            "processor time for each {}: {}",
            of.replace('_', " "),
            line.join(", ")
        ));
    }
    if let (Some(own), Some(its)) = (own, its)
        && own > its
    {
        report.line("this program costs more than the broker: it may be what limits".to_owned());
    }
    if let Some(memory) = memory {
        report.line(format!("memory of the broker: {:.1} MiB", mebibytes(memory)));
    }
}

/// The report of messages that went from publishers to subscribers.
pub(super) fn of_messages(
    plan: &Plan,
    flow: &Flow,
    from: &Snapshot,
    to: &Snapshot,
    ending: Ending,
) -> Report {
    let span = to.since(from);
    let mut report = opening(plan, ending);
    counts(&mut report, plan, flow, &span, &span);
    times(&mut report, flow);
    costs(&mut report, &span, span.messages(), "message", plan.common.broker);
    report
}

/// Bytes in MiB.
pub(super) fn mebibytes(bytes: u64) -> f64 {
    approximately(bytes) / f64::from(1 << 20)
}
