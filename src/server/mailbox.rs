//! What the core has for one connection, until the connection's task comes and takes it.
//!
//! Invariant: whatever is put in after [`Mailbox::arm`] returned `true` wakes the task, once; all but a pause, which
//! gives it nothing to do.

#![expect(
    clippy::disallowed_types,
    reason = "the core's outputs cross to the connection's task here"
)]

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::task::Waker;

use bytes::Bytes;
use smallvec::SmallVec;

/// Bytes and orders on their way to a connection's task.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    mail: Mutex<Mail>,
}

/// What was put in since it was last taken.
#[derive(Debug, Default)]
struct Mail {
    chunks: SmallVec<[Bytes; 2]>,
    orders: Orders,
    waker: Option<Waker>,
}

/// What the task is told besides bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Orders {
    /// Whether to stop or go on reading, the last word counts; `None` for no word.
    pub(super) paused: Option<bool>,
    /// Whether reading went on in between, so that what was left has to be handed in again.
    pub(super) resumed: bool,
    /// Whether to close once everything is written.
    pub(super) close: bool,
}

impl Mailbox {
    /// Puts bytes in. Returns who has to be woken.
    pub(super) fn write(&self, chunks: SmallVec<[Bytes; 2]>) -> Option<Waker> {
        let mut mail = self.lock();
        if mail.chunks.is_empty() {
            mail.chunks = chunks;
        } else {
            mail.chunks.extend(chunks);
        }
        mail.waker.take()
    }

    /// Tells the task to close. Returns who has to be woken.
    pub(super) fn close(&self) -> Option<Waker> {
        let mut mail = self.lock();
        mail.orders.close = true;
        mail.waker.take()
    }

    /// Tells the task to stop reading. That wakes nobody: the task will see it before it reads again, or reads once more.
    pub(super) fn pause(&self) {
        self.lock().orders.paused = Some(true);
    }

    /// Tells the task to go on reading. Returns who has to be woken.
    pub(super) fn resume(&self) -> Option<Waker> {
        let mut mail = self.lock();
        mail.orders.paused = Some(false);
        mail.orders.resumed = true;
        mail.waker.take()
    }

    /// Takes everything out. Nobody is woken from now on, until [`Mailbox::arm`].
    pub(super) fn take(&self, output: &mut VecDeque<Bytes>) -> Orders {
        let mut mail = self.lock();
        mail.waker = None;
        output.extend(mail.chunks.drain(..));
        std::mem::take(&mut mail.orders)
    }

    /// Names whom to wake when something is put in. Returns `false`, and does not, if something is there already.
    pub(super) fn arm(&self, waker: &Waker) -> bool {
        let mut mail = self.lock();
        let Orders { paused, resumed, close } = mail.orders;
        let nothing = mail.chunks.is_empty() && paused.is_none() && !resumed && !close;
        if nothing {
            mail.waker = Some(waker.clone());
        }
        nothing
    }

    fn lock(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
