//! What the threads of a load have in common while they play.

use std::net::SocketAddr;
use std::sync::Condvar;
use std::sync::Mutex;
use std::time::Duration;

use super::history::History;

/// What each client is up to, and whether the play goes on.
struct Scene {
    over: bool,
    /// What each client waits for; `None` if nothing.
    waiting: Vec<Option<String>>,
}

/// See the module's page.
pub(crate) struct Stage {
    scene: Mutex<Scene>,
    changed: Condvar,
}

/// One client's part in it.
pub(crate) struct Part<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) number: usize,
    pub(crate) history: &'a History,
    pub(crate) address: SocketAddr,
}

impl Stage {
    pub(crate) fn new(players: usize) -> Self {
        let waiting = vec![Some("its turn".to_owned()); players];
        Self { scene: Mutex::new(Scene { over: false, waiting }), changed: Condvar::new() }
    }

    /// Everybody goes home.
    pub(crate) fn end(&self) {
        self.scene.lock().unwrap().over = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.scene.lock().unwrap().over
    }

    /// Waits for the end, but not for longer.
    pub(crate) fn wait(&self, at_most: Duration) {
        let scene = self.scene.lock().unwrap();
        drop(self.changed.wait_timeout_while(scene, at_most, |scene| !scene.over).unwrap());
    }

    pub(crate) fn all_idle(&self) -> bool {
        self.scene.lock().unwrap().waiting.iter().all(Option::is_none)
    }

    /// What is waited for.
    pub(crate) fn waiting(&self) -> Vec<String> {
        self.scene.lock().unwrap().waiting.iter().flatten().cloned().collect()
    }
}

impl Part<'_> {
    /// Says what this client waits for.
    pub(crate) fn waits_for(&self, what: Option<String>) {
        self.stage.scene.lock().unwrap().waiting[self.number] = what;
    }
}
