//! What the process asks of the system for itself.

use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::getrlimit;
use rustix::process::setrlimit;

/// Open files beside connections that there is room for if the system has it.
const OTHER_FILES: u64 = 1_024;
/// Open files beside connections that there have to be: the log's, the state's, listeners, what the runtime has.
const OTHER_FILES_MIN: u64 = 128;

/// Raises the limit of open files as far as it goes. What to tell the operator if so many connections do not fit.
pub(super) fn allow_connections(connections: u32) -> Option<String> {
    let wanted = u64::from(connections) + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current?;
    if current >= wanted {
        return None;
    }
    let raised = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let raise = Rlimit { current: Some(raised), maximum: limit.maximum };
    let files = if setrlimit(Resource::Nofile, raise).is_ok() { raised } else { current };
    let fitting = files.saturating_sub(OTHER_FILES_MIN);
    (fitting < u64::from(connections)).then(|| {
        format!(
            "the system allows {files} open files (ulimit -n): {fitting} connections fit, and limits.connections is {connections}"
        )
    })
}
