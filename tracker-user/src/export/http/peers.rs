//! Connections by who opened them, so that one stranger cannot have all the places.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

/// One address has this part of all places at most.
const SHARE: usize = 4;

/// Who is connected how often. Clones are one. There are never more entries than connections.
#[derive(Clone, Debug)]
pub(super) struct Peers {
    most: usize,
    connected: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    peers: Peers,
    address: IpAddr,
}

impl Peers {
    /// Of so many places.
    pub(super) fn new(places: usize) -> Self {
        Self { most: places.div_ceil(SHARE), connected: Arc::default() }
    }

    /// A place, unless this address has enough of them. Whoever is on this host can do worse.
    pub(super) fn enter(&self, address: IpAddr) -> Option<Place> {
        let address = network(address);
        let mut connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        let count = connected.entry(address).or_default();
        if *count >= self.most && !address.is_loopback() {
            return None;
        }
        *count += 1;
        Some(Place { peers: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut connected = self.peers.connected.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = connected.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                connected.remove(&self.address);
            }
        }
    }
}

/// What one host has: an IPv4 address, or an IPv6 network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_has_a_share() {
        let peers = Peers::new(8);
        let enter = |address: &str| peers.enter(address.parse().unwrap());
        let (first, second) = (enter("192.0.2.1").unwrap(), enter("::ffff:192.0.2.1").unwrap());
        assert!(enter("192.0.2.1").is_none(), "by whichever family it comes");
        assert!(enter("192.0.2.2").is_some());
        drop(first);
        assert!(enter("192.0.2.1").is_some());
        let _v6 = (enter("2001:db8::1").unwrap(), enter("2001:db8::2").unwrap());
        assert!(enter("2001:db8::3").is_none());
        let local: Vec<_> = (0..8).map(|_| enter("127.0.0.1")).collect();
        assert!(local.iter().all(Option::is_some));
        drop((second, local));
        assert_eq!(peers.connected.lock().unwrap().len(), 1, "only who is connected is remembered");
    }
}
