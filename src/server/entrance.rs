//! The way in: accepted sockets are counted, shake hands, and become connections of the core.

use std::io;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::admission::Admission;
use super::admission::ListenerQuota;
use super::admission::Permit;
use super::connection::Connection;
use super::connection::Flow;
use super::driver::Driver;
use super::listener::Accepted;
use super::listener::Listener;
use super::listener::Speech;
use super::transport::Transport;
use crate::broker::event::Origin;
use crate::mqtt::Text;

/// What every way in shares.
#[derive(Debug)]
pub(super) struct Entrance {
    pub(super) admission: Arc<Admission>,
    pub(super) driver: Arc<Driver>,
    pub(super) flow: Flow,
    pub(super) runtime: Handle,
}

impl Entrance {
    /// Accepts connections until this is dropped.
    pub(super) async fn accept_all(self: Arc<Self>, listener: Listener) {
        loop {
            let accepted = listener.accept().await;
            match self.admission.admit(&listener.quota, accepted.address()) {
                Ok(permit) => self.let_in(&listener, accepted, permit),
                Err(refusal) => {
                    let peer = accepted.peer();
                    tracing::debug!(listener = %listener.name, %peer, %refusal, "connection closed at once");
                }
            }
        }
    }

    fn let_in(self: &Arc<Self>, listener: &Listener, accepted: Accepted, permit: Permit) {
        let origin = Origin {
            listener: Arc::clone(&listener.name),
            peer: accepted.peer(),
            anonymous: listener.lets_anonymous_in(&accepted),
            certificate_name: None,
        };
        let speech = Arc::clone(listener.speech());
        let this = Arc::clone(self);
        self.runtime.spawn(async move {
            this.serve(&speech, accepted, origin).await;
            drop(permit);
        });
    }

    /// Shakes hands and carries the connection until its end. A name in the client's certificate that is no MQTT string is
    /// not used, and where one is wanted the client is nobody.
    async fn serve(&self, speech: &Speech, accepted: Accepted, mut origin: Origin) {
        let handshakes = tokio::select! {
            handshakes = speech.open(accepted) => handshakes,
            _ = self.driver.ended() => return,
        };
        match handshakes {
            Ok((transport, name)) => {
                origin.certificate_name = name.and_then(|name| Text::try_from(name).ok());
                self.connection(transport).run(origin).await;
            }
            Err(error) => {
                let Origin { listener, peer, .. } = &origin;
                tracing::debug!(%listener, %peer, %error, "no connection: handshake failed");
            }
        }
    }

    fn connection(&self, transport: Transport) -> Connection {
        Connection::new(Arc::clone(&self.driver), transport, self.flow)
    }

    /// Lets a transport within this process in.
    ///
    /// # Errors
    /// `limits.connections` is reached.
    pub(super) fn let_link_in(self: &Arc<Self>, transport: Transport) -> io::Result<()> {
        let permit = self
            .admission
            .admit(&ListenerQuota::new(None), None)
            .map_err(|refusal| io::Error::new(io::ErrorKind::QuotaExceeded, refusal.to_string()))?;
        let origin = Origin {
            listener: "link".into(),
            peer: "link".into(),
            anonymous: true,
            certificate_name: None,
        };
        let this = Arc::clone(self);
        self.runtime.spawn(async move {
            this.connection(transport).run(origin).await;
            drop(permit);
        });
        Ok(())
    }
}
