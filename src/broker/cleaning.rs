//! When the log is cleaned: one segment at a time, beside everything else, and never while segments are being deleted.

use crate::broker::Broker;
use crate::broker::Timer;
use crate::broker::client::ClientRef;
use crate::broker::event::Output;
use crate::broker::storage::StorageState;
use crate::commitlog::Offset;
use crate::commitlog::StorageError;
use crate::store::CleanDone;

impl Broker {
    /// The timer: begins a round of cleaning if one is due, or goes on with it.
    pub(super) fn cleaning_due(&mut self) {
        self.timers.set(self.now + self.options.clean_interval, Timer::Clean);
        if let Some(end) = self.store.cleaning_due() {
            self.write_progress_below(end);
            self.store.begin_cleaning(self.now);
        }
        self.go_on_cleaning();
    }

    /// Writes down where the connected clients stand whose rows say that they stand in the part that is looked at.
    pub(super) fn write_progress_below(&mut self, end: Offset) {
        let clients: Vec<ClientRef> =
            self.clients.iter().filter_map(|(slot, _)| self.client_ref(slot)).collect();
        for client in clients {
            let Some(known) = self.clients.get(client.index()) else { continue };
            let session = self.store.state().session(&known.id);
            if session.is_some_and(|session| session.progress.position < end) {
                self.put_progress(client, true);
            }
        }
    }

    /// Starts the next piece of the round, unless something else has to end first.
    fn go_on_cleaning(&mut self) {
        let stopping = self.stopping.has_begun();
        if self.cleaning
            || stopping
            || self.is_retaining()
            || self.commit.state() != StorageState::Ok
        {
            return;
        }
        if let Some(clean) = self.store.take_clean() {
            self.cleaning = true;
            self.outputs.push_back(Output::Clean(clean));
        }
    }

    pub(super) fn handle_cleaned(&mut self, result: &Result<CleanDone, StorageError>) {
        self.cleaning = false;
        self.store.cleaned(result);
        match result {
            Ok(done) => {
                for damage in done.damage() {
                    tracing::error!(%damage, "the log is damaged; what is broken is not cleaned");
                }
                if let Some(rewritten) = done.rewritten() {
                    self.stats.segments_cleaned += 1;
                    self.stats.records_cleaned += rewritten.records_dropped;
                    self.stats.bytes_cleaned +=
                        rewritten.bytes_before.saturating_sub(rewritten.bytes_after);
                }
            }
            Err(error) if error.is_full() => {
                tracing::warn!(%error, "the disk is too full for the log to be cleaned");
            }
            Err(error) => {
                tracing::error!(%error, "the log is not cleaned any more until the next start");
            }
        }
        self.go_on_cleaning();
    }
}
