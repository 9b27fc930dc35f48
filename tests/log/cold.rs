//! What start-up and cold reads cost, in bytes read: no more than what there is to be read once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use tidelog::commitlog::Fault;
use tidelog::commitlog::Log;
use tidelog::commitlog::Offset;
use tidelog::commitlog::Options;
use tidelog::commitlog::Read;
use tidelog::commitlog::disk::Access;
use tidelog::commitlog::disk::Disk;
use tidelog::commitlog::disk::DiskFile;
use tidelog::commitlog::disk::DiskLock;
use tidelog::commitlog::disk::MemoryDisk;
use tidelog::commitlog::disk::memory::Corruption;

use crate::world::World;
use crate::world::every;
use crate::world::small;

const FIRST: &str = "00000000000000000000.log";

/// A disk that counts the bytes that are read from it.
struct Counting {
    disk: MemoryDisk,
    bytes: Arc<AtomicU64>,
}

struct CountingFile {
    file: Arc<dyn DiskFile>,
    bytes: Arc<AtomicU64>,
}

impl Counting {
    fn new(disk: MemoryDisk) -> Arc<Self> {
        Arc::new(Self { disk, bytes: Arc::default() })
    }

    /// The bytes read since the last call.
    fn take(&self) -> u64 {
        self.bytes.swap(0, Relaxed)
    }
}

impl Disk for Counting {
    fn directory(&self) -> String {
        self.disk.directory()
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(name, access)?;
        Ok(Arc::new(CountingFile { file, bytes: Arc::clone(&self.bytes) }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }

    fn lock(&self, name: &str) -> io::Result<DiskLock> {
        self.disk.lock(name)
    }
}

impl DiskFile for CountingFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let count = self.file.read_at(buffer, position)?;
        self.bytes.fetch_add(count as u64, Relaxed);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.file.write_at(bytes, position)
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.file.set_size(size)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        self.file.allocate(size)
    }
}

/// Segments and batches large enough that nothing is sealed by its size.
fn large() -> Options {
    Options { segment_bytes: 64 << 20, batch_bytes_max: 4 << 20, ..small() }
}

/// Six records of 700,000 bytes, each in a batch of its own: several reads' worth of file.
fn wide() -> World {
    let mut world = World::new(large());
    for number in 0..6 {
        world.append("k", &vec![number + 1; 700_000]);
        world.commit().unwrap();
    }
    world
}

fn fill_ahead(disk: &MemoryDisk, bytes: usize) {
    let mut file = disk.file(FIRST).unwrap();
    file.resize(file.len() + bytes, 0);
    disk.put(FIRST, file);
}

#[test]
fn the_zeros_of_a_preallocated_file_are_read_once_at_an_opening() {
    let mut world = World::new(large());
    world.fill(30);
    world.disk.kill();
    fill_ahead(&world.disk, 5 << 20);
    let size = world.disk.file(FIRST).unwrap().len() as u64;
    let disk = Counting::new(world.disk.clone());
    let opened = Log::open(Arc::clone(&disk) as Arc<dyn Disk>, large(), &mut |_| {});
    let (log, _writer, mut reader, report) = opened.unwrap();
    assert_eq!((report.damage, report.torn, log.next_offset()), (vec![], None, Offset::new(30)));
    let used = log.size_bytes();
    let opening = disk.take();
    assert!((size..size + 2 * used + 4_096).contains(&opening), "{opening} bytes of {size}");
    let mut found = 0;
    let damage = reader.replay_to(Offset::new(9), Offset::new(30), &mut |_| found += 1).unwrap();
    assert_eq!((damage, found), (vec![], 21));
    let replay = disk.take();
    assert!(replay <= 1 << 20, "{replay} bytes to replay {used}");
}

#[test]
fn a_replay_of_a_part_is_that_part_of_the_whole() {
    let mut world = World::new(small());
    world.fill(200);
    assert!(world.segments().len() > 3);
    let all = world.replay(Offset::ZERO);
    for (from, to) in [(0, 200), (0, 1), (7, 8), (50, 150), (199, 200), (60, 60), (0, 0)] {
        let mut found = Vec::new();
        let mut visit = |record| found.push(record);
        let damage = world.reader.replay_to(Offset::new(from), Offset::new(to), &mut visit);
        assert_eq!(damage.unwrap(), [], "{from} to {to}");
        assert!(found.iter().eq(all.iter().skip(usize::try_from(from).unwrap()).take(found.len())));
        assert_eq!(found.len() as u64, to - from);
    }
}

/// What stands behind a stretch of zeros counts, however long it is and wherever it ends.
#[test]
fn a_sound_batch_far_behind_zeros_makes_them_damage() {
    let world = wide();
    let bytes = world.disk.file(FIRST).unwrap();
    let batch = (bytes.len() - 64) / 6;
    for last in 2..6 {
        let disk = MemoryDisk::new();
        for name in world.disk.list().unwrap() {
            disk.put(&name, world.disk.file(&name).unwrap());
        }
        let (from, to) = (64 + batch, 64 + last * batch);
        let mut spoiled = bytes.clone();
        spoiled[from..to].fill(0);
        disk.put(FIRST, spoiled);
        let mut world = World::open(disk, large());
        let damage = &world.report.damage[0];
        assert_eq!((damage.position, damage.bytes), (from as u64, (to - from) as u64));
        assert_eq!((damage.from, damage.to), (Offset::new(1), Offset::new(last as u64)));
        assert_eq!((damage.what, damage.synced), (Fault::BatchHeader, true));
        assert_eq!((world.report.damage.len(), &world.report.torn), (1, &None));
        assert_eq!(world.read_all().len(), 7 - last);
    }
}

/// What marks a batch may lie across the end of what is read in one go.
#[test]
fn a_sound_batch_behind_zeros_is_found_wherever_it_begins() {
    let mut seen = Vec::new();
    for step in (11..18).chain(131_082..131_088) {
        let mut world = World::new(large());
        world.append("k", b"first");
        world.commit().unwrap();
        let from = world.disk.file(FIRST).unwrap().len();
        world.append("k", &vec![7; (1 << 20) - from - 64 - 128 + 8 * step]);
        world.commit().unwrap();
        let to = world.disk.file(FIRST).unwrap().len();
        world.append("k", b"last");
        world.commit().unwrap();
        assert!(world.disk.corrupt(FIRST, from, Corruption::Zero(to - from)));
        let mut world = world.reopen();
        assert_eq!(world.report.torn, None);
        let damage = &world.report.damage[0];
        assert_eq!((damage.position, damage.bytes), (from as u64, (to - from) as u64));
        assert_eq!(world.read_all().len(), 2);
        seen.push(to);
    }
    let borders = [(1 << 20) - 16, (1 << 20) - 8, 1 << 20, (2 << 20) - 24, (2 << 20) - 16];
    assert!(borders.iter().all(|border| seen.contains(border)), "{seen:?}");
}

#[test]
fn a_torn_tail_reaches_to_the_last_byte_that_is_not_zero() {
    let mut world = World::new(large());
    world.fill(9);
    world.disk.kill();
    let end = world.disk.file(FIRST).unwrap().len();
    let mib = 1 << 20;
    for after in [0, 7, 8, 4_095, 4_096, mib - 9, mib - 8, mib - 1, mib, mib + 8, 2 * mib + 12] {
        fill_ahead(&world.disk, 2 * mib + 13);
        assert!(world.disk.corrupt(FIRST, end + after, Corruption::Flip(1)));
        world = World::open(world.disk.clone(), large());
        let torn = world.report.torn.clone().unwrap();
        assert_eq!((torn.position, torn.bytes), (end as u64, after as u64 + 1));
        assert_eq!(world.disk.file(FIRST).unwrap().len(), end);
        world.disk.kill();
    }
}

#[test]
fn neighbours_in_a_batch_are_read_from_the_file_once() {
    let mut world = World::new(large());
    for number in 0..4_000_u32 {
        world.append(&format!("key/{number}"), &number.to_le_bytes().repeat(25));
    }
    world.commit().unwrap();
    world.disk.kill();
    let disk = Counting::new(world.disk.clone());
    let opened = Log::open(Arc::clone(&disk) as Arc<dyn Disk>, large(), &mut |_| {});
    let (log, _writer, mut reader, _) = opened.unwrap();
    disk.take();
    for number in (0..4_000_u32).rev() {
        let Read::Cold(request) = log.record(Offset::new(number.into())) else { panic!("warm") };
        let records = reader.read(&request).unwrap().records;
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].offset, Offset::new(number.into()));
        assert_eq!(records[0].key(), format!("key/{number}").as_bytes());
        assert_eq!(records[0].value(), number.to_le_bytes().repeat(25));
    }
    let read = disk.take();
    assert!(read <= log.size_bytes() + 4_096, "{read} bytes of {}", log.size_bytes());
    let Read::Cold(request) = log.read(Offset::new(10), Offset::new(20), 1 << 20, &every()) else {
        panic!("warm")
    };
    assert_eq!(reader.read(&request).unwrap().records.len(), 10);
    assert_eq!(disk.take(), 0);
}

#[test]
fn a_reader_keeps_no_more_batches_than_it_may() {
    let mut world = World::new(large());
    for number in 0..40 {
        world.append("k", &vec![number; 1_000_000]);
        world.commit().unwrap();
    }
    world.disk.kill();
    let disk = Counting::new(world.disk.clone());
    let opened = Log::open(Arc::clone(&disk) as Arc<dyn Disk>, large(), &mut |_| {});
    let (log, _writer, mut reader, _) = opened.unwrap();
    let mut read = |number: u64| {
        disk.take();
        let Read::Cold(request) = log.record(Offset::new(number)) else { panic!("warm") };
        let records = reader.read(&request).unwrap().records;
        assert_eq!(records[0].value(), vec![u8::try_from(number).unwrap(); 1_000_000]);
        disk.take()
    };
    for number in 0..40 {
        assert!(read(number) >= 1_000_000);
    }
    let kept: Vec<u64> = (32..40).collect();
    assert!(kept.iter().all(|number| read(*number) == 0));
    assert!(read(0) >= 1_000_000, "kept for ever");
    assert!(read(32) >= 1_000_000, "the one used the longest ago makes room");
    assert_eq!((read(39), read(0)), (0, 0));
}

#[test]
fn a_peek_finds_what_is_in_memory_and_nothing_else() {
    let mut world = World::new(Options { tail_bytes_max: 300, ..small() });
    world.fill(90);
    let open = [world.append("open", b"1"), world.append("open", b"2")];
    let mut warm = 0;
    for number in 0..94 {
        let offset = Offset::new(number);
        let found = world.log.peek(offset);
        match world.log.record(offset) {
            Read::Records { records, .. } => {
                assert_eq!(records.first(), found.as_ref());
                warm += u64::from(found.is_some());
            }
            Read::Cold(_) => assert_eq!(found, None),
        }
    }
    assert!((3..50).contains(&warm), "{warm} in memory");
    assert_eq!(open.map(|offset| world.log.peek(offset).is_some()), [true, true]);
    assert_eq!(world.log.peek(Offset::MAX), None);
}
