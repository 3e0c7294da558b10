//! Whether hooked functions are what they were taken for, told by what passes through them.
//!
//! A plan that was inferred is a guess until a connection has shown plaintext of a known protocol in both
//! directions; what shows random bytes instead is refuted, and its probes go. One that was found by
//! symbols is believed from the start, and verified all the same, so that an operator can see that
//! it works.

use std::collections::HashMap;

use crate::{
    capture::{Chunk, ConnectionId, Direction, PlanId, Proof, Trust},
    stream::{Beginning, Looks},
};

/// Connections that are looked at, at a time.
const MAX_WATCHED: usize = 1024;
/// Plans that are remembered; past that, all are forgotten and proven anew.
const MAX_PLANS: usize = 16 * 1024;
/// Transfers of a connection that are looked at. One whose messages are still not known by then leaves
/// its place to another.
const MAX_LOOKS: u32 = 64;
/// What a connection with noise in both directions counts.
const DOUBT_BOTH: u32 = 4;
/// What a connection with noise in one direction counts: a compressed body may have begun before the
/// daemon came.
const DOUBT_ONE: u32 = 1;
/// With so much doubt, and no connection in its favour, a guess is refuted.
const REFUTED_AT: u32 = 12;

/// What is known of a plan.
#[derive(Debug, Default)]
struct Plan {
    doubt: u32,
    settled: bool,
}

/// A connection whose first bytes are looked at.
#[derive(Debug)]
struct Watch {
    plan: PlanId,
    write: Beginning,
    read: Beginning,
    /// Times that it is still looked at.
    looks: u32,
}

/// Finds out which plans see plaintext, from the first bytes of connections.
#[derive(Debug, Default)]
pub struct Prover {
    plans: HashMap<PlanId, Plan>,
    watched: HashMap<ConnectionId, Watch>,
    proofs: Vec<(PlanId, Proof)>,
}

impl Prover {
    /// A connection was seen through a plan's probes.
    pub fn opened(&mut self, connection: ConnectionId, plan: PlanId) {
        if plan == PlanId::NONE || self.watched.len() >= MAX_WATCHED {
            return;
        }
        if self.plans.len() >= MAX_PLANS {
            self.plans.clear();
        }
        if !self.plans.entry(plan).or_default().settled {
            let watch =
                Watch { plan, write: Beginning::default(), read: Beginning::default(), looks: MAX_LOOKS };
            self.watched.insert(connection, watch);
        }
    }

    /// Looks at what a connection transferred; whether it is certain that it is no plaintext.
    pub fn chunk(&mut self, chunk: &Chunk) -> bool {
        let Some(watch) = self.watched.get_mut(&chunk.connection) else { return false };
        let side = match chunk.direction {
            Direction::Write => &mut watch.write,
            Direction::Read => &mut watch.read,
        };
        side.push(&chunk.bytes);
        let plan = watch.plan;
        watch.looks = watch.looks.saturating_sub(1);
        let over = watch.looks == 0 || (watch.write.is_full() && watch.read.is_full());
        match (watch.write.looks(), watch.read.looks()) {
            (Looks::Protocol, Looks::Protocol) => self.settle(plan, Proof::Verified),
            (Looks::Noise, Looks::Noise) => {
                self.watched.remove(&chunk.connection);
                self.doubt(plan, DOUBT_BOTH);
                return plan.trust() == Trust::Inferred;
            }
            _ if over => self.closed(chunk.connection),
            _ => {}
        }
        false
    }

    /// A connection has ended, or nothing more is to be learnt from it.
    pub fn closed(&mut self, connection: ConnectionId) {
        let Some(Watch { plan, write, read, looks: _ }) = self.watched.remove(&connection) else { return };
        if [write.looks(), read.looks()].contains(&Looks::Noise) {
            self.doubt(plan, DOUBT_ONE);
        }
    }

    fn doubt(&mut self, plan: PlanId, amount: u32) {
        if plan.trust() == Trust::Symbols {
            return;
        }
        let known = self.plans.entry(plan).or_default();
        known.doubt = known.doubt.saturating_add(amount);
        if !known.settled && known.doubt >= REFUTED_AT {
            self.settle(plan, Proof::Refuted);
        }
    }

    fn settle(&mut self, plan: PlanId, proof: Proof) {
        let known = self.plans.entry(plan).or_default();
        if !std::mem::replace(&mut known.settled, true) {
            self.proofs.push((plan, proof));
        }
        self.watched.retain(|_, watch| watch.plan != plan);
    }

    /// What was found out since the last time.
    pub fn take(&mut self) -> Vec<(PlanId, Proof)> {
        std::mem::take(&mut self.proofs)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::capture::Timestamp;

    fn connection(generation: u32) -> ConnectionId {
        ConnectionId { tgid: 1, generation, ssl: 1 }
    }

    fn chunk(generation: u32, direction: Direction, bytes: &[u8]) -> Chunk {
        Chunk {
            connection: connection(generation),
            tid: 1,
            direction,
            offset: 0,
            timestamp: Timestamp(0),
            cgroup_id: 0,
            bytes: Bytes::copy_from_slice(bytes),
        }
    }

    fn random(seed: u64) -> Vec<u8> {
        let mut state = seed;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(512)
        .collect()
    }

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const RESPONSE: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

    /// What a prover says after each of some connections, by what each direction moved.
    fn after(trust: Trust, connections: &[(&[u8], &[u8])]) -> Vec<Proof> {
        let (mut prover, plan) = (Prover::default(), PlanId::new(trust));
        for (generation, (written, read)) in (1..).zip(connections) {
            prover.opened(connection(generation), plan);
            prover.chunk(&chunk(generation, Direction::Write, written));
            prover.chunk(&chunk(generation, Direction::Read, read));
            prover.closed(connection(generation));
        }
        assert!(prover.watched.is_empty());
        prover.take().into_iter().map(|(_, proof)| proof).collect()
    }

    #[test]
    fn one_connection_that_makes_sense_verifies_for_good() {
        let (noise, sense) = (random(1), (REQUEST, RESPONSE));
        assert_eq!(after(Trust::Inferred, &[sense]), [Proof::Verified]);
        assert_eq!(after(Trust::Symbols, &[sense, sense]), [Proof::Verified]);
        let then_noise: Vec<_> = [sense].into_iter().chain([(&*noise, &*noise); 9]).collect();
        assert_eq!(after(Trust::Inferred, &then_noise), [Proof::Verified]);
    }

    #[test]
    fn a_guess_is_refuted_by_a_few_connections_of_noise() {
        let noise = random(1);
        let noise = (&*noise, &*noise);
        assert_eq!(after(Trust::Inferred, &[noise; 2]), []);
        assert_eq!(after(Trust::Inferred, &[noise; 3]), [Proof::Refuted]);
        assert_eq!(after(Trust::Inferred, &[noise; 30]), [Proof::Refuted]);
        assert_eq!(after(Trust::Symbols, &[noise; 30]), [], "what has its name is believed");
    }

    #[test]
    fn half_a_guess_that_is_wrong_takes_longer() {
        let noise = random(1);
        let noise = &*noise;
        let (answered, unasked) = ((REQUEST, noise), (&b""[..], noise));
        assert_eq!(after(Trust::Inferred, &[answered; 11]), []);
        assert_eq!(after(Trust::Inferred, &[answered; 12]), [Proof::Refuted]);
        assert_eq!(after(Trust::Inferred, &[unasked; 12]), [Proof::Refuted]);
    }

    #[test]
    fn a_connection_that_is_not_understood_is_not_looked_at_for_ever() {
        let (mut prover, plan) = (Prover::default(), PlanId::new(Trust::Inferred));
        prover.opened(connection(1), plan);
        for _ in 0..MAX_LOOKS {
            assert_eq!(prover.watched.len(), 1);
            prover.chunk(&chunk(1, Direction::Read, b"text"));
        }
        assert!(prover.watched.is_empty() && prover.take().is_empty());
    }

    #[test]
    fn what_is_not_understood_says_nothing() {
        let text: (&[u8], &[u8]) = (b"hello, is there anybody? ", b"yes, this is a protocol of our own");
        assert_eq!(after(Trust::Inferred, &[text; 100]), []);
    }

    #[test]
    fn only_noise_of_a_guess_is_given_up() {
        let noise = random(1);
        for (trust, given_up) in [(Trust::Inferred, true), (Trust::Symbols, false)] {
            let (mut prover, plan) = (Prover::default(), PlanId::new(trust));
            prover.opened(connection(1), plan);
            assert!(!prover.chunk(&chunk(1, Direction::Write, &noise)));
            assert_eq!(prover.chunk(&chunk(1, Direction::Read, &noise)), given_up);
        }
    }
}
