//! A segment: a file of batches, named by the offset of its first record.
//!
//! ```text
//!  00000000000000001234.log
//!   0          8        12        16       24            32          64
//!  | TIDELOG1 | crc32c | version | log id | base offset | reserved  | batch | batch | ... | zeros
//! ```
//!
//! [`scan`] reads one from front to back and never trusts it: what is not a sound batch in its right place is
//! stepped over to the next one that is.

use std::io;

use bytes::Bytes;
use bytes::BytesMut;

use crate::commitlog::Damage;
use crate::commitlog::Fault;
use crate::commitlog::Offset;
use crate::commitlog::StorageError;
use crate::commitlog::batch;
use crate::commitlog::batch::Batch;
use crate::commitlog::batch::BatchHeader;
use crate::commitlog::batch::Fields;
use crate::commitlog::disk::DiskFile;

/// The bytes before the first batch.
pub(super) const HEADER_BYTES: usize = 64;
/// The version of all files together, as in the file `format`.
pub(super) const VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"TIDELOG1";
/// How much is read at once.
const WINDOW_BYTES: usize = 1 << 20;
/// How much is asked at once whether it is nothing but zeros.
const BLOCK_BYTES: usize = 4 << 10;
const ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];
/// The magic and the log id: what a batch is known by before it is read.
const SIGN_BYTES: usize = 16;

/// The name of the segment that begins at this offset.
pub(super) fn file_name(base: Offset) -> String {
    format!("{:020}.log", base.as_u64())
}

/// The name of its index.
pub(super) fn index_name(base: Offset) -> String {
    format!("{:020}.index", base.as_u64())
}

/// The base offset of a segment's file name.
pub(super) fn base_of(name: &str) -> Option<Offset> {
    offset_of(name, ".log")
}

/// The base offset of an index's file name.
pub(super) fn index_base_of(name: &str) -> Option<Offset> {
    offset_of(name, ".index")
}

fn offset_of(name: &str, suffix: &str) -> Option<Offset> {
    let digits = name.strip_suffix(suffix)?;
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok().map(Offset::new)).flatten()
}

/// What the first bytes of a segment say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) version: u32,
    pub(super) log_id: u64,
    pub(super) base_offset: Offset,
    /// How often the segment was cleaned.
    pub(super) generation: u32,
    /// The offset below which the cleaner looked for what supersedes its records; zero if it was never cleaned.
    pub(super) cleaned_to: Offset,
}

impl SegmentHeader {
    pub(super) fn new(log_id: u64, base_offset: Offset) -> Self {
        let (generation, cleaned_to) = (0, Offset::ZERO);
        Self { version: VERSION, log_id, base_offset, generation, cleaned_to }
    }

    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut fields = Vec::with_capacity(HEADER_BYTES);
        fields.extend_from_slice(&self.version.to_le_bytes());
        fields.extend_from_slice(&self.log_id.to_le_bytes());
        fields.extend_from_slice(&self.base_offset.as_u64().to_le_bytes());
        fields.extend_from_slice(&self.generation.to_le_bytes());
        fields.extend_from_slice(&[0; 4]);
        fields.extend_from_slice(&self.cleaned_to.as_u64().to_le_bytes());
        fields.resize(HEADER_BYTES - 12, 0);
        let mut header = [0; HEADER_BYTES];
        let whole = MAGIC.into_iter().chain(crc32c::crc32c(&fields).to_le_bytes()).chain(fields);
        header.iter_mut().zip(whole).for_each(|(target, byte)| *target = byte);
        header
    }

    /// `None` if the bytes are not a sound header.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let fields = Fields(header);
        let sound =
            header.starts_with(&MAGIC) && fields.int(8) == crc32c::crc32c(header.get(12..)?);
        sound.then(|| Self {
            version: fields.int(12),
            log_id: fields.long(16),
            base_offset: Offset::new(fields.long(24)),
            generation: fields.int(32),
            cleaned_to: Offset::new(fields.long(40)),
        })
    }

    /// Whether this is the header of the segment of this log that begins here.
    pub(super) fn is_of(&self, log_id: u64, base_offset: Offset) -> bool {
        (self.version, self.log_id, self.base_offset) == (VERSION, log_id, base_offset)
    }
}

/// A file seen through a window that moves along, so that small batches cost no system call each.
pub(super) struct Window<'a> {
    file: &'a dyn DiskFile,
    name: &'a str,
    size: u64,
    start: u64,
    bytes: Bytes,
}

impl<'a> Window<'a> {
    /// Sees the first `size` bytes of a file.
    pub(super) fn new(file: &'a dyn DiskFile, name: &'a str, size: u64) -> Self {
        Self { file, name, size, start: 0, bytes: Bytes::new() }
    }

    /// The bytes from `position` on, at most `len`; fewer where the file ends.
    pub(super) fn slice(&mut self, position: u64, len: usize) -> Result<Bytes, StorageError> {
        self.slice_ahead(position, len, WINDOW_BYTES)
    }

    /// As [`Window::slice`]; reads `ahead` bytes when it has to read.
    pub(super) fn slice_ahead(
        &mut self,
        position: u64,
        len: usize,
        ahead: usize,
    ) -> Result<Bytes, StorageError> {
        let len =
            usize::try_from(self.size.saturating_sub(position)).unwrap_or(usize::MAX).min(len);
        if let Some(bytes) = self.seen(position, len) {
            return Ok(bytes);
        }
        let rest = usize::try_from(self.size.saturating_sub(position)).unwrap_or(usize::MAX);
        let mut buffer = self.buffer(len.max(ahead).min(rest));
        let read = |error: io::Error| StorageError::read(self.name, position, error);
        let count = self.file.read_at(&mut buffer, position).map_err(read)?;
        buffer.truncate(count);
        self.start = position;
        self.bytes = buffer.freeze();
        Ok(self.bytes.slice(..len.min(count)))
    }

    /// Memory to read into: what was read before, if nobody looks at it any more.
    fn buffer(&mut self, len: usize) -> BytesMut {
        match std::mem::take(&mut self.bytes).try_into_mut() {
            Ok(mut buffer) if buffer.capacity() >= len => {
                buffer.resize(len, 0);
                buffer
            }
            _ => BytesMut::zeroed(len),
        }
    }

    /// All bytes from `position` on that were read already; if those are fewer than `len`, more are read.
    fn ahead(&mut self, position: u64, len: usize) -> Result<Bytes, StorageError> {
        let seen = position.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        match seen.filter(|from| from.saturating_add(len) <= self.bytes.len()) {
            Some(from) => Ok(self.bytes.slice(from..)),
            None => self.slice(position, WINDOW_BYTES),
        }
    }

    fn seen(&self, position: u64, len: usize) -> Option<Bytes> {
        let from = usize::try_from(position.checked_sub(self.start)?).ok()?;
        let to = from.checked_add(len)?;
        (to <= self.bytes.len()).then(|| self.bytes.slice(from..to))
    }
}

/// The log id of the first batch that is sound but for belonging to a log nobody knows.
pub(super) fn find_log_id(file: &dyn DiskFile, name: &str) -> Result<Option<u64>, StorageError> {
    let size = file.size().map_err(|error| StorageError::read(name, 0, error))?;
    let mut window = Window::new(file, name, size);
    let mut position = HEADER_BYTES as u64;
    while position < size {
        let start = window.slice(position, batch::HEADER_BYTES)?;
        if start.starts_with(&batch::MAGIC) {
            let log_id = Fields(&start).long(8);
            let header = BatchHeader::decode(&start, log_id);
            let length = header.map_or(0, |header| header.length as usize);
            if Batch::decode(&window.slice(position, length)?, log_id, position).is_ok() {
                return Ok(Some(log_id));
            }
        }
        position += batch::ALIGNMENT as u64;
    }
    Ok(None)
}

/// What a scan found.
#[derive(Clone, Debug, Default)]
pub(super) struct Scan {
    /// Where the last sound batch ends.
    pub(super) end: u64,
    /// The offset after the last sound record.
    pub(super) next_offset: Offset,
    /// Places with sound batches after them.
    pub(super) damage: Vec<Damage>,
    /// Bytes after `end` up to the last that is not zero.
    pub(super) trailing_bytes: u64,
    pub(super) batches: u64,
    /// Whether the header is sound.
    pub(super) header: bool,
    /// How often the segment was cleaned, as its header says.
    pub(super) generation: u32,
}

/// One segment being read from front to back.
pub(super) struct Scanner<'a> {
    window: Window<'a>,
    log_id: u64,
    base: Offset,
    /// The place after the last byte after the sound batches that was seen not to be zero.
    used: u64,
    scan: Scan,
}

/// Reads a segment from front to back; `visit` gets every sound batch.
pub(super) fn scan(
    file: &dyn DiskFile,
    name: &str,
    log_id: u64,
    base: Offset,
    visit: &mut dyn FnMut(&Batch),
) -> Result<Scan, StorageError> {
    scan_to(file, name, log_id, base, Offset::MAX, visit)
}

/// As [`scan`], but ends with the batch that reaches the offset `to`: what is after it is not looked at.
pub(super) fn scan_to(
    file: &dyn DiskFile,
    name: &str,
    log_id: u64,
    base: Offset,
    to: Offset,
    visit: &mut dyn FnMut(&Batch),
) -> Result<Scan, StorageError> {
    let size = file.size().map_err(|error| StorageError::read(name, 0, error))?;
    let scan = Scan { end: HEADER_BYTES as u64, next_offset: base, ..Scan::default() };
    let window = Window::new(file, name, size);
    let mut scanner = Scanner { window, log_id, base, used: 0, scan };
    scanner.check_header()?;
    scanner.run(to, visit)?;
    Ok(scanner.scan)
}

impl Scanner<'_> {
    fn check_header(&mut self) -> Result<(), StorageError> {
        let bytes = self.window.slice(0, HEADER_BYTES)?;
        let header =
            SegmentHeader::decode(&bytes).filter(|header| header.is_of(self.log_id, self.base));
        self.scan.header = header.is_some();
        self.scan.generation = header.map_or(0, |header| header.generation);
        Ok(())
    }

    fn run(&mut self, to: Offset, visit: &mut dyn FnMut(&Batch)) -> Result<(), StorageError> {
        while self.scan.next_offset < to {
            let fault = match self.batch(self.scan.end)? {
                Ok(batch) => {
                    self.note_gap(&batch);
                    self.accept(&batch, visit);
                    continue;
                }
                Err(fault) => fault,
            };
            let Some(batch) = self.next_sound(self.scan.end)? else {
                self.scan.trailing_bytes = self.used.saturating_sub(self.scan.end);
                return Ok(());
            };
            self.note_damage(&batch, fault);
            self.accept(&batch, visit);
        }
        Ok(())
    }

    /// The batch at this place, if it is sound and its records follow those before.
    fn batch(&mut self, position: u64) -> Result<Result<Batch, Fault>, StorageError> {
        let header = self.window.slice(position, batch::HEADER_BYTES)?;
        let header = match BatchHeader::decode(&header, self.log_id) {
            Ok(header) => header,
            Err(fault) => return Ok(Err(fault)),
        };
        let bytes = self.window.slice(position, header.length as usize)?;
        Ok(Batch::decode(&bytes, self.log_id, position).and_then(|batch| {
            if batch.header.base_offset < self.scan.next_offset {
                Err(Fault::Stray)
            } else {
                Ok(batch)
            }
        }))
    }

    /// The first sound batch after this place; where there is none, all bytes up to the file's end were seen.
    fn next_sound(&mut self, position: u64) -> Result<Option<Batch>, StorageError> {
        let start = self.window.slice(position, batch::ALIGNMENT)?;
        self.note_used(position, &start);
        let mut position = position;
        while let Some(candidate) = self.candidate(position + batch::ALIGNMENT as u64)? {
            if let Ok(batch) = self.batch(candidate)? {
                return Ok(Some(batch));
            }
            position = candidate;
        }
        Ok(None)
    }

    /// The first place from `position` on that looks like the beginning of a batch of this log.
    ///
    /// Most of what is looked at are the zeros of a file that was filled ahead: they are passed block by block.
    fn candidate(&mut self, mut position: u64) -> Result<Option<u64>, StorageError> {
        loop {
            let bytes = self.window.ahead(position, SIGN_BYTES)?;
            if bytes.len() < SIGN_BYTES {
                self.note_used(position, &bytes);
                return Ok(None);
            }
            for (number, block) in bytes.chunks(BLOCK_BYTES).enumerate() {
                if ZEROS.starts_with(block) {
                    continue;
                }
                let at = number * BLOCK_BYTES;
                self.note_used(position + at as u64, block);
                if let Some(found) = self.sign(bytes.get(at..).unwrap_or_default(), block.len()) {
                    return Ok(Some(position + (at + found) as u64));
                }
            }
            // The first place with too few bytes after it to tell.
            position +=
                (bytes.len() / batch::ALIGNMENT * batch::ALIGNMENT - batch::ALIGNMENT) as u64;
        }
    }

    /// Where in the first `len` of these bytes something begins that is marked as a batch of this log.
    fn sign(&self, bytes: &[u8], len: usize) -> Option<usize> {
        (0..len).step_by(batch::ALIGNMENT).find(|at| {
            let marked = bytes.get(*at..).filter(|rest| rest.starts_with(&batch::MAGIC));
            marked
                .is_some_and(|rest| rest.len() >= SIGN_BYTES && Fields(rest).long(8) == self.log_id)
        })
    }

    fn note_used(&mut self, position: u64, bytes: &[u8]) {
        if let Some(at) = bytes.iter().rposition(|byte| *byte != 0) {
            self.used = self.used.max(position + at as u64 + 1);
        }
    }

    /// Records are missing though the bytes are sound.
    fn note_gap(&mut self, batch: &Batch) {
        if batch.header.base_offset > self.scan.next_offset {
            self.note_damage(batch, Fault::Missing);
        }
    }

    /// Everything between the last sound batch and this one is damaged.
    fn note_damage(&mut self, batch: &Batch, what: Fault) {
        let position = self.scan.end;
        let from = self.scan.next_offset;
        self.scan.damage.push(Damage {
            file: self.window.name.into(),
            position,
            bytes: u64::from(batch.header.position).saturating_sub(position),
            from,
            to: batch.header.base_offset,
            what,
            synced: batch.header.synced_offset() > from,
        });
    }

    fn accept(&mut self, batch: &Batch, visit: &mut dyn FnMut(&Batch)) {
        visit(batch);
        self.scan.end = u64::from(batch.header.position) + u64::from(batch.header.length);
        self.scan.next_offset = batch.header.next_offset();
        self.scan.batches += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_offsets() {
        assert_eq!(file_name(Offset::new(1_234)), "00000000000000001234.log");
        assert_eq!(base_of("00000000000000001234.log"), Some(Offset::new(1_234)));
        assert_eq!(base_of("18446744073709551615.log"), Some(Offset::MAX));
        for name in [
            "1.log",
            "99999999999999999999.log",
            "+0000000000000000001.log",
            "00000000000000001234.index",
        ] {
            assert_eq!(base_of(name), None, "{name}");
        }
    }

    #[test]
    fn a_header_comes_back_and_no_other_does() {
        let header = SegmentHeader {
            generation: 3,
            cleaned_to: Offset::new(70),
            ..SegmentHeader::new(7, Offset::new(9))
        };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Some(header));
        for at in 0..HEADER_BYTES {
            let mut broken = bytes;
            broken[at] ^= 1;
            assert_eq!(SegmentHeader::decode(&broken), None);
        }
    }
}
