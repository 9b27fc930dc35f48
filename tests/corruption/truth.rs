//! What a directory holds, read while it was sound: every record, every batch and its place, the state that they make.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;

use tidelog::commitlog::DumpFilter;
use tidelog::commitlog::Offset;
use tidelog::commitlog::StoredRecord;
use tidelog::commitlog::disk::OsDisk;
use tidelog::commitlog::dump;
use tidelog::mqtt::QoS;
use tidelog::store::Kind;
use tidelog::store::Row;
use tidelog::store::State;
use tidelog::store::StoredMessage;

/// A batch, found by walking from one to the next as `docs/format.md` describes them.
pub(crate) struct Batch {
    pub(crate) file: String,
    pub(crate) at: usize,
    pub(crate) bytes: Vec<u8>,
    pub(crate) offsets: std::ops::Range<u64>,
}

/// All of it.
pub(crate) struct Truth {
    pub(crate) records: Vec<StoredRecord>,
    pub(crate) batches: Vec<Batch>,
}

impl Truth {
    pub(crate) fn of(folder: &Path) -> Self {
        let disk = OsDisk::open(folder).unwrap();
        let mut records = Vec::new();
        let damage = dump(&disk, &DumpFilter::default(), &mut |record| {
            records.push(record);
            ControlFlow::Continue(())
        });
        assert_eq!(damage.unwrap(), []);
        let logs = segments(folder);
        Self { records, batches: logs.iter().flat_map(|name| batches(folder, name)).collect() }
    }

    /// The offset after the last record.
    pub(crate) fn next_offset(&self) -> u64 {
        self.batches.last().unwrap().offsets.end
    }

    /// The offsets whose batch is not whole in a directory any more.
    pub(crate) fn lost(&self, folder: &Path) -> BTreeSet<u64> {
        let mut lost = BTreeSet::new();
        for name in segments_of(&self.batches) {
            let bytes = std::fs::read(folder.join(&name)).unwrap_or_default();
            for batch in self.batches.iter().filter(|batch| batch.file == name) {
                let end = batch.at + batch.bytes.len();
                if bytes.get(batch.at..end) != Some(&batch.bytes) {
                    lost.extend(batch.offsets.clone());
                }
            }
        }
        lost
    }

    /// Whether no message to `plant/...` is lost. Below a checkpoint nobody reads anything else, so that only a check finds it broken.
    pub(crate) fn has_all_that_is_read(&self, lost: &BTreeSet<u64>) -> bool {
        let is_read = |record: &&StoredRecord| {
            record.kind == Kind::Message.as_u8() && record.key().starts_with(b"plant/")
        };
        let mut read = self.records.iter().filter(is_read);
        read.all(|record| !lost.contains(&record.offset.as_u64()))
    }

    /// The records that are not lost.
    pub(crate) fn left(&self, lost: &BTreeSet<u64>) -> Vec<&StoredRecord> {
        self.records.iter().filter(|record| !lost.contains(&record.offset.as_u64())).collect()
    }

    /// The state that the records below `checkpoint` make, with those of the rest that are not lost.
    pub(crate) fn state(&self, checkpoint: Offset, lost: &BTreeSet<u64>) -> State {
        let mut state = State::default();
        for record in &self.records {
            if record.offset < checkpoint || !lost.contains(&record.offset.as_u64()) {
                put(&mut state, record);
            }
        }
        state.drop_orphans();
        state
    }

    /// The payloads of the messages to `plant/...` that are not lost; those at QoS 0 are not for who is away.
    pub(crate) fn payloads(&self, lost: &BTreeSet<u64>) -> BTreeSet<String> {
        let plant =
            self.left(lost).into_iter().filter(|record| record.key().starts_with(b"plant/"));
        let messages = plant.filter_map(|record| StoredMessage::new(record.clone()));
        let owed = messages.filter(|message| message.view().qos != QoS::AtMostOnce);
        owed.map(|message| String::from_utf8(message.payload().to_vec()).unwrap()).collect()
    }
}

fn put(state: &mut State, record: &StoredRecord) {
    match Kind::from_u8(record.kind).unwrap() {
        Kind::Origin => {}
        Kind::Message => {
            state.apply_message(&StoredMessage::new(record.clone()).unwrap().view());
        }
        kind => {
            state.apply(Row::decode(kind, record.key(), record.value()).unwrap(), record.offset);
        }
    }
}

/// The names of the segments in a folder, the oldest first.
pub(crate) fn segments(folder: &Path) -> Vec<String> {
    let mut names = crate::folder::files(folder);
    names.retain(|name| crate::folder::is_of(name, "log"));
    names
}

fn segments_of(batches: &[Batch]) -> BTreeSet<String> {
    batches.iter().map(|batch| batch.file.clone()).collect()
}

fn batches(folder: &Path, name: &str) -> Vec<Batch> {
    let bytes = std::fs::read(folder.join(name)).unwrap();
    let int = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let mut found = Vec::new();
    let mut at = 64;
    while bytes.get(at..at + 4) == Some(b"TLb\x01") {
        let end = at + int(at + 16) as usize;
        let offsets = long(at + 24)..long(at + 24) + u64::from(int(at + 36));
        found.push(Batch { file: name.to_owned(), at, bytes: bytes[at..end].to_vec(), offsets });
        at = end;
    }
    found
}
