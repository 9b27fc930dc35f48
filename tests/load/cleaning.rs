//! Settings under which the cleaner has work all the time, and how often it has replaced a segment.

use std::fs;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use super::History;

/// Lines of the section `data`: many small segments, soon below two checkpoints.
pub(crate) const SETTINGS: &str = "segment_size = \"16 KiB\"\ntail_memory = \"1 KiB\"\n\
     checkpoint_interval = \"200ms\"\nclean_interval = \"100ms\"\n";

/// How long the next segment may take to be replaced.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a segment's header says how often it was cleaned, as `docs/format.md` has it.
const GENERATION: std::ops::Range<usize> = 32..36;

/// How often the segments in a data directory were replaced by cleaned ones.
pub(crate) fn replaced(data: &Path) -> u64 {
    let files = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    let segments = files.filter(|path| path.extension().is_some_and(|kind| kind == "log"));
    segments.map(|path| u64::from(generation(&path))).sum()
}

/// Waits until another segment is replaced, but not for ever: what is alive may be too much. The cleaner is at work then, or has
/// just been. Returns how often segments were replaced that are there now.
pub(crate) fn await_another(data: &Path, history: &History) -> u64 {
    let (before, deadline) = (replaced(data), Instant::now() + PATIENCE);
    while replaced(data) == before && Instant::now() < deadline {
        history.await_acknowledged(10, PATIENCE / 100);
    }
    replaced(data)
}

fn generation(segment: &Path) -> u32 {
    // One that was deleted meanwhile, or is being begun, was not cleaned.
    let bytes = fs::read(segment).unwrap_or_default();
    bytes.get(GENERATION).map_or(0, |bytes| u32::from_le_bytes(bytes.try_into().unwrap()))
}
