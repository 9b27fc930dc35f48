//! Open segments and their indexes, the most recently used ones.

use std::sync::Arc;

use crate::commitlog::Offset;
use crate::commitlog::disk::DiskFile;
use crate::commitlog::index::FileIndex;

/// How many files stay open.
const FILES_MAX: usize = 32;

/// Open segments, the most recently used last.
pub(super) struct SegmentCache {
    segments: Vec<CachedSegment>,
    bytes_max: usize,
}

struct CachedSegment {
    base: Offset,
    file: Arc<dyn DiskFile>,
    index: Option<Arc<FileIndex>>,
}

impl CachedSegment {
    fn bytes(&self) -> usize {
        self.index.as_ref().map_or(0, |index| index.size_bytes())
    }
}

impl SegmentCache {
    /// Keeps so many bytes of indexes, but always the last one used.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { segments: Vec::new(), bytes_max }
    }

    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    pub(super) fn file(&mut self, base: Offset) -> Option<Arc<dyn DiskFile>> {
        self.touch(base).map(|segment| Arc::clone(&segment.file))
    }

    pub(super) fn index(&mut self, base: Offset) -> Option<Arc<FileIndex>> {
        self.touch(base)?.index.as_ref().map(Arc::clone)
    }

    pub(super) fn put(&mut self, base: Offset, file: Arc<dyn DiskFile>) {
        self.segments.push(CachedSegment { base, file, index: None });
        self.evict();
    }

    pub(super) fn put_index(&mut self, base: Offset, index: Arc<FileIndex>) {
        if let Some(segment) = self.touch(base) {
            segment.index = Some(index);
        }
        self.evict();
    }

    pub(super) fn forget(&mut self, bases: &[Offset]) {
        self.segments.retain(|segment| !bases.contains(&segment.base));
    }

    /// Finds a segment and makes it the last.
    fn touch(&mut self, base: Offset) -> Option<&mut CachedSegment> {
        let number = self.segments.iter().position(|segment| segment.base == base)?;
        let segment = self.segments.remove(number);
        self.segments.push(segment);
        self.segments.last_mut()
    }

    fn evict(&mut self) {
        let mut bytes: usize = self.segments.iter().map(CachedSegment::bytes).sum();
        while self.segments.len() > 1 && (bytes > self.bytes_max || self.segments.len() > FILES_MAX)
        {
            bytes -= self.segments.remove(0).bytes();
        }
    }
}
