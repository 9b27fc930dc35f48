//! Whatever a segment, its index and the format file hold, opening and reading the log ends without a panic, and
//! what one reader serves another serves too.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use tidelog::commitlog::DumpFilter;
use tidelog::commitlog::EveryKey;
use tidelog::commitlog::KeyMatcher;
use tidelog::commitlog::Log;
use tidelog::commitlog::Offset;
use tidelog::commitlog::Options;
use tidelog::commitlog::Read;
use tidelog::commitlog::disk::MemoryDisk;
use tidelog::commitlog::dump;
use tidelog::commitlog::verify;

/// The first byte says which file the rest is; a second file follows a line of eight zeros.
fn files(disk: &MemoryDisk, data: &[u8]) {
    let names = ["00000000000000000000.log", "00000000000000000000.index", "00000000000000000009.log", "format"];
    let split = data.windows(8).position(|bytes| bytes == [0; 8]).unwrap_or(data.len());
    let (first, second) = data.split_at(split);
    for part in [first, second.get(8..).unwrap_or_default()] {
        if let Some((which, bytes)) = part.split_first()
            && let Some(name) = names.get(usize::from(which % 4))
        {
            disk.put(name, bytes.to_vec());
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let disk = MemoryDisk::new();
    files(&disk, data);
    let _ = verify(&disk, &mut |_| {});
    let _ = dump(&disk, &DumpFilter::default(), &mut |_| std::ops::ControlFlow::Continue(()));
    let options = Options { preallocate: false, ..Options::default() };
    let Ok((log, _writer, mut reader, _)) = Log::open(Arc::new(disk), options, &mut |_| {}) else { return };
    let matcher: Arc<dyn KeyMatcher> = Arc::new(EveryKey);
    let mut at = log.start_offset();
    while at < log.next_offset() {
        let Read::Cold(request) = log.read(at, Offset::MAX, 1 << 16, &matcher) else { return };
        let Ok(result) = reader.read(&request) else { return };
        assert!(result.next > at);
        at = result.next;
    }
    let _ = reader.replay(Offset::ZERO, &mut |_| {});
});
