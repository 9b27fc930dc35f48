//! What a process costs, as Linux counts it under `/proc`.

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::Failure;
use crate::cli::file;

/// In what processor time is counted: 1/100 s on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// These files are short.
const BYTES_MAX: usize = 64 * 1024;

/// Processor time of a process since it began, of all its threads, in and out of the kernel; `None` if it is not there.
pub(super) fn processor_time(process: u32) -> Option<Duration> {
    ticks(&read(process, "stat")?).map(|ticks| TICK * ticks)
}

/// Bytes in memory; `None` if the process is not there.
pub(super) fn resident(process: u32) -> Option<u64> {
    kibibytes(&read(process, "status")?)?.checked_mul(1024)
}

/// Checks that there is something to be measured.
///
/// # Errors
/// If there is no such process, or no `/proc`.
pub(super) fn check(process: u32) -> Result<(), Failure> {
    if !cfg!(target_os = "linux") {
        return Err(Failure::usage("--broker-pid reads /proc, which only Linux has"));
    }
    match processor_time(process) {
        Some(_) => Ok(()),
        None => Err(Failure::usage(format!("--broker-pid: there is no process {process}"))),
    }
}

/// As many open files as the system allows.
pub(super) fn raise_open_files() {
    #[cfg(unix)]
    {
        use rustix::process::Resource;
        use rustix::process::Rlimit;
        use rustix::process::getrlimit;
        use rustix::process::setrlimit;
        let maximum = getrlimit(Resource::Nofile).maximum;
        // Who needs more than there are is told so when there are none left.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

fn read(process: u32, name: &str) -> Option<String> {
    let path = PathBuf::from(format!("/proc/{process}/{name}"));
    String::from_utf8(file::read(&path, BYTES_MAX).ok()?).ok()
}

/// The program's name, in parentheses, may have spaces and parentheses; user and system time are fields 14 and 15.
fn ticks(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

fn kibibytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_s_words_are_understood() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 120 30 0 0 20 0 1";
        assert_eq!(ticks(stat), Some(150));
        assert_eq!(ticks("7 (a) S 1"), None);
        assert_eq!(kibibytes("Name:\ta\nVmRSS:\t  1234 kB\n"), Some(1234));
        assert_eq!(kibibytes("Name:\ta\n"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_is_there_or_not() {
        let own = std::process::id();
        assert!(processor_time(own).is_some());
        assert!(resident(own).is_some_and(|bytes| bytes > 100_000));
        check(own).unwrap();
        assert_eq!(check(u32::MAX).unwrap_err().exit_code, 2);
    }
}
