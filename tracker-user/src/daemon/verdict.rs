//! When a connection is none of our business.
//!
//! Every byte copied for nothing is the host's time, so the answer has to come early; a connection
//! that is given up wrongly is an LLM call unseen, so it must not come on a guess. A client's
//! connection pool may ask a gateway for a token or its health before the first call, so one
//! request that is no call does not end the matter.

use crate::capture::Verdict;

/// Requests that belong to no LLM API, after which a connection is given up.
const UNRELATED_REQUESTS: u32 = 4;
/// Requests that cannot be told (HTTP/2 heads from the middle of a connection), none of which turned
/// out to be a call, after which a connection is given up.
const UNCLEAR_REQUESTS: u32 = 16;
/// Plaintext of such requests and their answers, after which it is given up, bytes.
const UNRELATED_BYTES: u64 = 64 << 10;
/// Plaintext without the start of any message (the daemon came in the middle of something), after
/// which it is given up, bytes. Larger, because the middle may be that of an LLM's long answer.
const LOST_BYTES: u64 = 1 << 20;

/// What a connection speaks, as far as its first bytes tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// Not known yet.
    #[default]
    Unknown,
    /// HTTP that is understood.
    Http,
    /// Something else, or something that is not decoded.
    Other,
}

/// What has been seen of a connection so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// Requests to an LLM's API, calls or not.
    pub(crate) related: u32,
    /// Requests to anything else.
    pub(crate) unrelated: u32,
    /// Requests whose heads do not tell.
    pub(crate) unclear: u32,
    /// All plaintext so far, both directions, bytes.
    pub(crate) bytes: u64,
    /// Plaintext since a message last began cleanly, bytes.
    pub(crate) bytes_out_of_step: u64,
    /// The protocol.
    pub(crate) speaks: Speaks,
}

impl Evidence {
    /// Requests so far.
    pub(crate) const fn requests(&self) -> u32 {
        self.related.saturating_add(self.unrelated).saturating_add(self.unclear)
    }

    /// What follows from it. `Capture` and `Ignore` are final.
    #[must_use]
    pub(crate) const fn verdict(&self) -> Verdict {
        let Self { related, unrelated, unclear, bytes, bytes_out_of_step, speaks } = *self;
        if related > 0 {
            return Verdict::Capture;
        }
        let given_up = match speaks {
            Speaks::Other => true,
            Speaks::Http if unclear > 0 => {
                unclear.saturating_add(unrelated) >= UNCLEAR_REQUESTS || bytes >= LOST_BYTES
            }
            Speaks::Http => unrelated >= UNRELATED_REQUESTS || (unrelated > 0 && bytes >= UNRELATED_BYTES),
            Speaks::Unknown => false,
        };
        if given_up || bytes_out_of_step >= LOST_BYTES { Verdict::Ignore } else { Verdict::Unknown }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(related: u32, unrelated: u32, bytes: u64, speaks: Speaks) -> Verdict {
        Evidence { related, unrelated, bytes, speaks, ..Evidence::default() }.verdict()
    }

    #[test]
    fn one_request_to_an_llm_settles_it() {
        assert_eq!(after(1, 0, 200, Speaks::Http), Verdict::Capture);
        assert_eq!(after(1, 100, u64::MAX, Speaks::Http), Verdict::Capture);
    }

    #[test]
    fn a_pool_may_ask_for_something_else_first() {
        assert_eq!(after(0, 1, 3_000, Speaks::Http), Verdict::Unknown);
        assert_eq!(after(0, 3, 3_000, Speaks::Http), Verdict::Unknown);
        assert_eq!(after(0, 4, 3_000, Speaks::Http), Verdict::Ignore);
    }

    #[test]
    fn a_download_is_given_up_in_its_middle() {
        assert_eq!(after(0, 1, UNRELATED_BYTES - 1, Speaks::Http), Verdict::Unknown);
        assert_eq!(after(0, 1, UNRELATED_BYTES, Speaks::Http), Verdict::Ignore);
    }

    #[test]
    fn heads_that_do_not_tell_are_given_time() {
        let unclear = |unclear, bytes| {
            Evidence { unclear, bytes, speaks: Speaks::Http, ..Evidence::default() }.verdict()
        };
        assert_eq!(unclear(UNCLEAR_REQUESTS - 1, UNRELATED_BYTES), Verdict::Unknown);
        assert_eq!(unclear(UNCLEAR_REQUESTS, 1000), Verdict::Ignore);
        assert_eq!(unclear(1, LOST_BYTES), Verdict::Ignore);
    }

    #[test]
    fn the_middle_of_an_unknown_stream_is_given_time() {
        let lost = |bytes_out_of_step| Evidence { bytes_out_of_step, ..Evidence::default() }.verdict();
        assert_eq!(lost(LOST_BYTES - 1), Verdict::Unknown);
        assert_eq!(lost(LOST_BYTES), Verdict::Ignore);
        assert_eq!(after(0, 0, 10, Speaks::Other), Verdict::Ignore);
    }
}
