//! What becomes of failing disks.
