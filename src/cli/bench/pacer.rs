//! Wakes publishers when their messages are due: to some microseconds, which the runtime's timers can't.

use std::sync::Arc;
use std::time::Duration;

use super::error::LoadError;
use super::flow::Flow;
use super::flow::Pace;
use super::schedule::Schedule;
use super::side;

/// Messages that are due within this time are sent together.
const TOGETHER: Duration = Duration::from_micros(100);

/// How long it sleeps at most, so that it hears of the end.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// Starts it, if there is a rate. It ends with the run.
///
/// # Errors
/// If the system gives us no thread.
pub(super) fn start(flow: &Arc<Flow>) -> Result<(), LoadError> {
    let Pace::Open(schedule) = flow.shape.pace else { return Ok(()) };
    let flow = Arc::clone(flow);
    side::start_pacing(move || run(&flow, schedule))
}

fn run(flow: &Flow, schedule: Schedule) {
    side::wake_exactly();
    let publishers = u64::try_from(flow.shape.publishers).unwrap_or(u64::MAX).max(1);
    let mut woken: u64 = 0;
    while !flow.is_stopping() {
        let elapsed = flow.elapsed().unwrap_or(0);
        let due = schedule.due_count_of_all(elapsed);
        // They take turns: of more messages than publishers each has some.
        for message in woken..due.min(woken.saturating_add(publishers)) {
            flow.wake(usize::try_from(message % publishers).unwrap_or(0));
        }
        woken = due;
        let sleep = Duration::from_nanos(schedule.due_after(due).saturating_sub(elapsed));
        side::wait(sleep.clamp(TOGETHER, SLEEP_MAX));
    }
}
