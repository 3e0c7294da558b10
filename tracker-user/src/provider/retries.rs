//! Which requests repeat an earlier one that failed.
//!
//! Some clients say so (`x-stainless-retry-count` of the SDKs of OpenAI, Anthropic and others,
//! `amz-sdk-request` of Amazon's). Of the others a request repeats one that failed when the same process
//! sends the same bytes to the same place soon after. Of the bytes only a hash is kept, with a key that is
//! new at each start.

use std::{
    collections::VecDeque,
    hash::{BuildHasher as _, DefaultHasher, Hash, RandomState},
    sync::{Mutex, PoisonError},
};

use crate::{capture::Timestamp, stream::RequestHead};

/// How long after a failure its repetition may come, nanoseconds. SDKs wait seconds, or as long as
/// `Retry-After` says, of which they believe a minute.
const WITHIN: u64 = 120_000_000_000;
/// Failures that are remembered; when there are more, the oldest is forgotten.
const MAX_FAILURES: usize = 1024;

/// Finds the repetitions among the requests of all connections: they use any.
#[derive(Debug, Default)]
pub(super) struct Retries {
    hasher: RandomState,
    failures: Mutex<VecDeque<Failure>>,
}

/// A request that failed and has not been repeated.
#[derive(Debug)]
struct Failure {
    request: u64,
    ended: Timestamp,
    retry: u32,
}

impl Retries {
    /// What the hash of a request's body begins with.
    pub(super) fn hasher(&self) -> DefaultHasher {
        self.hasher.build_hasher()
    }

    /// Takes notice of a request that has had its answer between `began` and `ended`, and says which
    /// repetition it is. `said` is what its client says, which knows best.
    pub(super) fn note(
        &self,
        request: impl Hash,
        (began, ended): (Timestamp, Timestamp),
        failed: bool,
        said: Option<u32>,
    ) -> Option<u32> {
        let request = self.hasher.hash_one(request);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        while failures.front().is_some_and(|oldest| began.0.saturating_sub(oldest.ended.0) > WITHIN) {
            failures.pop_front();
        }
        // What was under way at the same time is no repetition.
        let repeated = failures
            .iter()
            .position(|failure| failure.request == request && failure.ended < began)
            .and_then(|position| failures.remove(position));
        let retry = said.or(repeated.map(|failure| failure.retry.saturating_add(1)));
        if failed {
            if failures.len() == MAX_FAILURES {
                failures.pop_front();
            }
            failures.push_back(Failure { request, ended, retry: retry.unwrap_or(0) });
        }
        retry
    }
}

/// Whether a client would try again: of the status codes those that SDKs do so for, of other answers
/// those with an error in them.
pub(super) fn is_failure(status: Option<u16>, error: bool) -> bool {
    match status {
        Some(408 | 409 | 425 | 429 | 500..) | None => true,
        Some(400..) => false,
        Some(_) => error,
    }
}

/// Which repetition a client says that its request is; zero: it is none.
pub(super) fn said(head: &RequestHead) -> Option<u32> {
    head.headers.iter().find_map(|(name, value)| match *name {
        "x-stainless-retry-count" => value.trim().parse().ok(),
        "amz-sdk-request" => {
            let attempt = value.split(';').find_map(|part| part.trim().strip_prefix("attempt="))?;
            attempt.trim().parse::<u32>().ok()?.checked_sub(1)
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request `what`, from this second to the next, and how it was answered.
    fn sent(retries: &Retries, what: &str, second: u64, status: u16) -> Option<u32> {
        let at = |second: u64| Timestamp(second * 1_000_000_000);
        let failed = is_failure(Some(status).filter(|status| *status > 0), false);
        retries.note(what, (at(second), at(second + 1)), failed, None)
    }

    #[test]
    fn the_same_request_after_a_failure_is_its_repetition() {
        let retries = Retries::default();
        assert_eq!(sent(&retries, "a", 0, 429), None);
        assert_eq!(sent(&retries, "a", 2, 500), Some(1));
        assert_eq!(sent(&retries, "b", 3, 200), None, "another request");
        assert_eq!(sent(&retries, "a", 4, 0), Some(2));
        assert_eq!(sent(&retries, "a", 6, 200), Some(3));
        assert_eq!(sent(&retries, "a", 8, 200), None, "the one before was answered");
        assert_eq!(sent(&retries, "a", 10, 400), None);
        assert_eq!(sent(&retries, "a", 12, 200), None, "nobody repeats what is wrong");
    }

    #[test]
    fn what_is_at_the_same_time_or_much_later_is_none() {
        let retries = Retries::default();
        sent(&retries, "a", 0, 429);
        assert_eq!(sent(&retries, "a", 0, 200), None);
        assert_eq!(sent(&retries, "a", 200, 200), None);
        assert!(retries.failures.lock().unwrap().is_empty());
        for n in 0..2 * MAX_FAILURES {
            sent(&retries, &n.to_string(), 300, 0);
        }
        assert_eq!(retries.failures.lock().unwrap().len(), MAX_FAILURES);
    }

    #[test]
    fn what_the_client_says_counts() {
        let head = |name, value: &str| RequestHead {
            headers: vec![("upgrade", "x".into()), (name, value.into())],
            ..RequestHead::default()
        };
        assert_eq!(said(&head("x-stainless-retry-count", "2")), Some(2));
        assert_eq!(said(&head("amz-sdk-request", "attempt=3; max=5")), Some(2));
        assert_eq!(said(&head("amz-sdk-request", "ttl=20260101T000000Z; attempt=1")), Some(0));
        assert_eq!(said(&head("amz-sdk-request", "attempt=x")), None);
        let retries = Retries::default();
        sent(&retries, "a", 0, 429);
        let second = (Timestamp(2_000_000_000), Timestamp(3_000_000_000));
        assert_eq!(retries.note("a", second, false, Some(4)), Some(4));
    }
}
