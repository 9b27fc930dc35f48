//! What becomes of broken files.
