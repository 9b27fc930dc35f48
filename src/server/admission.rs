//! How many connections there may be: in all, of one listener, from one address.
//!
//! A connection is admitted before anything is spawned or read for it, and holds its [`Permit`] until its socket is
//! closed, so the bounds hold for connections in their handshake and for those that linger, too.

#![expect(clippy::disallowed_types, reason = "accept loops on several threads share the counts")]

use std::fmt;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use tokio::sync::Notify;

use crate::collections::Map;

/// The first 64 bits of an IPv6 address: what one customer of a network is given.
const IPV6_NETWORK: u128 = !0 << 64;

/// Which bound was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `limits.connections`.
    Total,
    /// `connections` of the listener.
    Listener,
    /// `limits.connections_per_address`.
    Address,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Total => "limits.connections is reached",
            Self::Listener => "the listener's connections are reached",
            Self::Address => "limits.connections_per_address is reached",
        })
    }
}

/// Counts connections against their bounds.
#[derive(Debug)]
pub(crate) struct Admission {
    connections_max: usize,
    per_address_max: Option<u32>,
    connections: AtomicUsize,
    addresses: Mutex<Map<IpAddr, u32>>,
    accepted: AtomicU64,
    refused: AtomicU64,
    emptied: Notify,
}

/// The count and bound of one listener.
#[derive(Debug)]
pub(crate) struct ListenerQuota {
    connections_max: Option<u32>,
    connections: AtomicUsize,
}

/// The right to be connected; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    listener: Arc<ListenerQuota>,
    address: Option<IpAddr>,
}

impl ListenerQuota {
    pub(crate) fn new(connections_max: Option<u32>) -> Arc<Self> {
        Arc::new(Self { connections_max, connections: AtomicUsize::new(0) })
    }

    fn is_full(&self, connections: usize) -> bool {
        let limit = self.connections_max.and_then(|limit| usize::try_from(limit).ok());
        limit.is_some_and(|limit| connections >= limit)
    }
}

impl Admission {
    pub(crate) fn new(connections_max: usize, per_address_max: Option<u32>) -> Arc<Self> {
        Arc::new(Self {
            connections_max,
            per_address_max,
            connections: AtomicUsize::new(0),
            addresses: Mutex::new(Map::default()),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            emptied: Notify::new(),
        })
    }

    /// Admits a connection, or says which bound it is over. A Unix socket has no address.
    pub(crate) fn admit(
        self: &Arc<Self>,
        listener: &Arc<ListenerQuota>,
        address: Option<IpAddr>,
    ) -> Result<Permit, Refusal> {
        let permit = self.count(listener, address.map(network));
        let counter = if permit.is_ok() { &self.accepted } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
        permit
    }

    fn count(
        self: &Arc<Self>,
        listener: &Arc<ListenerQuota>,
        address: Option<IpAddr>,
    ) -> Result<Permit, Refusal> {
        let total = &self.connections;
        if !add_unless(total, |connections| connections >= self.connections_max) {
            return Err(Refusal::Total);
        }
        if !add_unless(&listener.connections, |connections| listener.is_full(connections)) {
            total.fetch_sub(1, Ordering::Relaxed);
            return Err(Refusal::Listener);
        }
        if !self.count_address(address) {
            listener.connections.fetch_sub(1, Ordering::Relaxed);
            total.fetch_sub(1, Ordering::Relaxed);
            return Err(Refusal::Address);
        }
        Ok(Permit { admission: Arc::clone(self), listener: Arc::clone(listener), address })
    }

    fn count_address(&self, address: Option<IpAddr>) -> bool {
        let (Some(address), Some(limit)) = (address, self.per_address_max) else { return true };
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let count = addresses.entry(address).or_insert(0);
        let room = *count < limit;
        if room {
            *count += 1;
        }
        room
    }

    fn release_address(&self, address: Option<IpAddr>) {
        let (Some(address), Some(_)) = (address, self.per_address_max) else { return };
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = addresses.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&address);
            }
        }
    }

    /// Connections now, their handshakes included.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Waits until there is no connection. One may wait at a time.
    pub(crate) async fn empty(&self) {
        while self.connections() > 0 {
            self.emptied.notified().await;
        }
    }

    /// Connections ever admitted.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Connections ever closed at once because a bound was reached.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.release_address(self.address);
        self.listener.connections.fetch_sub(1, Ordering::Relaxed);
        if self.admission.connections.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.admission.emptied.notify_one();
        }
    }
}

/// Adds one, unless the number is `full` already. Returns whether it did.
fn add_unless(count: &AtomicUsize, full: impl Fn(usize) -> bool) -> bool {
    let add = |connections| (!full(connections)).then_some(connections + 1);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
}

/// What counts as one address: an IPv4 address, the /64 network of an IPv6 one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & IPV6_NETWORK)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(
        admission: &Arc<Admission>,
        listener: &Arc<ListenerQuota>,
        address: &str,
    ) -> Result<Permit, Refusal> {
        admission.admit(listener, Some(address.parse().unwrap()))
    }

    #[test]
    fn each_bound_refuses_and_is_given_back() {
        let admission = Admission::new(3, Some(2));
        let one = ListenerQuota::new(Some(2));
        let other = ListenerQuota::new(None);
        let a = admit(&admission, &one, "10.0.0.1").unwrap();
        let b = admit(&admission, &one, "10.0.0.2").unwrap();
        assert_eq!(admit(&admission, &one, "10.0.0.3").unwrap_err(), Refusal::Listener);
        let c = admit(&admission, &other, "10.0.0.1").unwrap();
        assert_eq!(admit(&admission, &other, "10.0.0.4").unwrap_err(), Refusal::Total);
        drop(b);
        assert_eq!(admit(&admission, &other, "10.0.0.1").unwrap_err(), Refusal::Address);
        drop((a, c));
        assert_eq!(admission.connections(), 0);
        assert_eq!((admission.accepted(), admission.refused()), (3, 3));
        assert!(admission.addresses.lock().unwrap().is_empty());
    }

    #[test]
    fn an_ipv6_network_is_one_address_and_a_mapped_address_is_ipv4() {
        let admission = Admission::new(9, Some(1));
        let listener = ListenerQuota::new(None);
        let _held = admit(&admission, &listener, "2001:db8::1").unwrap();
        assert!(admit(&admission, &listener, "2001:db8::ffff:2").is_err());
        let _other = admit(&admission, &listener, "2001:db8:0:1::1").unwrap();
        let _mapped = admit(&admission, &listener, "::ffff:10.0.0.1").unwrap();
        assert!(admit(&admission, &listener, "10.0.0.1").is_err());
        let _unix = admission.admit(&listener, None).unwrap();
        let _unix_again = admission.admit(&listener, None).unwrap();
    }
}
