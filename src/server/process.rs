//! What the process asks of the system for itself.

use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::getrlimit;
use rustix::process::setrlimit;

/// Open files beside connections: segments, indexes, the state's files, listeners.
const OTHER_FILES: u64 = 1_024;

/// Raises the limit of open files as far as it goes, and says so if that is not enough for so many connections.
pub(super) fn allow_connections(connections: u32) {
    let wanted = u64::from(connections) + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let raised = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let raise = Rlimit { current: Some(raised), maximum: limit.maximum };
    let allowed =
        if setrlimit(Resource::Nofile, raise).is_ok() { Some(raised) } else { limit.current };
    if let Some(files) = allowed.filter(|allowed| *allowed < wanted) {
        tracing::warn!(
            files,
            connections,
            "the system allows fewer open files than limits.connections wants (ulimit -n)"
        );
    }
}
