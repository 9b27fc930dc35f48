//! What a process costs, as the system counts it. Only for Linux: it reads `/proc`.

use std::time::Duration;

/// In what the system counts processor time: 1/100 s on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// Processor time of a process since it began, of all its threads, in and out of the kernel.
pub(crate) fn processor_time(process: u32) -> Duration {
    let text = read(process, "stat");
    // The name of the program, in parentheses, may have spaces; user and system time are fields 14 and 15.
    let (_, fields) = text.rsplit_once(") ").unwrap();
    let ticks = fields.split(' ').skip(11).take(2).map(|field| field.parse::<u32>().unwrap());
    TICK * ticks.sum::<u32>()
}

/// Bytes in memory now.
pub(crate) fn resident(process: u32) -> u64 {
    kibibytes(&read(process, "status"), "VmRSS:")
}

/// The most bytes that were in memory since it began.
pub(crate) fn resident_peak(process: u32) -> u64 {
    kibibytes(&read(process, "status"), "VmHWM:")
}

/// How often its threads gave up a core or lost it.
pub(crate) fn context_switches(process: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let of_thread = |status: String| -> u64 {
        ["voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"]
            .iter()
            .filter_map(|name| status.lines().find_map(|line| line.strip_prefix(name)))
            .map(|count| count.trim().parse::<u64>().unwrap())
            .sum()
    };
    threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("status")).ok())
        .map(of_thread)
        .sum()
}

fn read(process: u32, name: &str) -> String {
    std::fs::read_to_string(format!("/proc/{process}/{name}")).expect("the process is there")
}

fn kibibytes(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
