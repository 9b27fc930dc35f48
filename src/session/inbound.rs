//! Messages of the client that are not yet acknowledged: the server's side of Receive Maximum.
//!
//! A QoS 1 message counts from its PUBLISH to our PUBACK, a QoS 2 message from its PUBLISH to our PUBCOMP (or a PUBREC of 0x80 or
//! above). Which QoS 2 ids are taken is state that survives, so it is kept with the session's rows and not here.

/// How many of the client's messages above QoS 0 may be open, and are.
#[derive(Clone, Copy, Debug)]
pub struct Inbound {
    open: usize,
    receive_maximum: usize,
}

impl Inbound {
    /// `open` messages are taken over from the session's earlier connection: received at QoS 2 and not released.
    pub fn new(receive_maximum: u16, open: usize) -> Self {
        Self { open, receive_maximum: usize::from(receive_maximum) }
    }

    /// Notes a new message above QoS 0. Returns whether the client keeps to the Receive Maximum [MQTT-3.3.4-7].
    #[must_use]
    pub fn open(&mut self) -> bool {
        self.open += 1;
        self.open <= self.receive_maximum
    }

    /// Notes that messages are finished: PUBACK, PUBCOMP or a negative PUBREC has left.
    pub fn finish(&mut self, count: usize) {
        self.open = self.open.saturating_sub(count);
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.open
    }
}
