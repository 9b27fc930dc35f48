//! How long the disk takes to make 4 KiB durable while nothing else is asked of it: what every durable figure stands beside.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use crate::histogram::Histogram;

/// What is written at a time.
const WRITE_BYTES: usize = 4 << 10;
/// Places in the file, which is written before it is measured: a growing one takes twice as long.
const PLACES: u64 = 256;
/// How often it is measured.
const SYNCS: u64 = 500;

/// Half and 99 % of all writes with `fdatasync` took at most so many microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sync {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// Measures it in a directory.
pub(crate) fn measure(directory: &Path) -> Sync {
    let path = directory.join("probe");
    let file = OpenOptions::new().create_new(true).write(true).open(&path).unwrap();
    let bytes = [0xA5; WRITE_BYTES];
    let at = |round: u64| round % PLACES * WRITE_BYTES as u64;
    for place in 0..PLACES {
        file.write_all_at(&bytes, at(place)).unwrap();
    }
    file.sync_all().unwrap();
    let histogram = Histogram::default();
    for round in 0..SYNCS {
        let begun = Instant::now();
        file.write_all_at(&bytes, at(round)).unwrap();
        file.sync_data().unwrap();
        histogram.record(begun.elapsed().as_nanos() as u64);
    }
    std::fs::remove_file(path).unwrap();
    Sync { p50: histogram.micros_at(0.5).unwrap(), p99: histogram.micros_at(0.99).unwrap() }
}
