//! Signals: the first SIGTERM or SIGINT ends the server in good order, the second at once; SIGHUP reads files again; SIGXFSZ is
//! nothing, because the write that raised it fails as well, with an error that names the file.
//!
//! They are listened to by a task of their own, so that one that comes while the server starts is not lost, and a second one
//! ends the process whatever it is doing.

use std::io;
use std::process;
use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::Notify;

use super::runtime::Background;

/// What the shell sees of a process that was told to end twice.
const EXIT_CODE: i32 = 130;

/// What the signals that came ask for.
#[derive(Debug)]
pub(super) struct Signals {
    wishes: Arc<Wishes>,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// To end.
    End,
    /// To read files again.
    Reload,
}

/// What was asked for and is not yet heeded, each once.
#[derive(Debug, Default)]
struct Wishes {
    end: Notify,
    reload: Notify,
}

impl Signals {
    /// Listens from now on, on this runtime.
    pub(super) fn listen(runtime: &Background) -> io::Result<Self> {
        let _in_runtime = runtime.enter();
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let hang_up = signal(SignalKind::hangup())?;
        // It stays caught for as long as the process lives.
        drop(signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?);
        let wishes = Arc::new(Wishes::default());
        runtime.spawn(listen(terminate, interrupt, hang_up, Arc::clone(&wishes)));
        Ok(Self { wishes })
    }

    /// The next wish.
    pub(super) async fn next(&self) -> Wish {
        tokio::select! {
            () = self.wishes.end.notified() => Wish::End,
            () = self.wishes.reload.notified() => Wish::Reload,
        }
    }
}

async fn listen(
    mut terminate: Signal,
    mut interrupt: Signal,
    mut hang_up: Signal,
    wishes: Arc<Wishes>,
) {
    let mut ending = false;
    loop {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
            _ = hang_up.recv() => {
                wishes.reload.notify_one();
                continue;
            }
        }
        if std::mem::replace(&mut ending, true) {
            tracing::warn!("told to end a second time: ending at once");
            process::exit(EXIT_CODE);
        }
        wishes.end.notify_one();
    }
}
