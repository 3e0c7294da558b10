//! What went wrong or was passed over, per connection, to be summed by whoever owns them.

/// Counts since the connection was first seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests seen.
    pub requests: u64,
    /// Jumps in a direction's offset.
    pub gaps: u64,
    /// Bytes those jumps were wide.
    pub lost_bytes: u64,
    /// Bytes delivered twice, dropped here.
    pub repeated_bytes: u64,
    /// Messages and frames that HTTP does not allow.
    pub malformed: u64,
    /// Bodies whose coding is unknown or whose data does not decode.
    pub undecodable: u64,
    /// Bytes passed over while waiting for a message to begin.
    pub skipped_bytes: u64,
    /// Responses whose request was not seen, or can no longer be told.
    pub unmatched_responses: u64,
    /// Responses that came up before their request, and waited for it.
    pub early_responses: u64,
    /// Responses that waited for longer than allowed for a request to come up.
    pub early_given_up: u64,
    /// Times that a direction's HPACK state was lost: the daemon came late, bytes were lost, or a header
    /// block was broken.
    pub hpack_desync: u64,
    /// Connections given up because responses could no longer be matched for certain: 0 or 1.
    pub abandoned: u64,
    /// WebSockets, or their client's direction, that could not be read to their end.
    pub websockets_given_up: u64,
    /// WebSockets whose upgrade was not seen, so that nobody knows what they are for.
    pub websockets_unrecognised: u64,
}

impl std::ops::AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        let Self {
            requests,
            gaps,
            lost_bytes,
            repeated_bytes,
            malformed,
            undecodable,
            skipped_bytes,
            unmatched_responses,
            early_responses,
            early_given_up,
            hpack_desync,
            abandoned,
            websockets_given_up,
            websockets_unrecognised,
        } = other;
        self.requests += requests;
        self.gaps += gaps;
        self.lost_bytes += lost_bytes;
        self.repeated_bytes += repeated_bytes;
        self.malformed += malformed;
        self.undecodable += undecodable;
        self.skipped_bytes += skipped_bytes;
        self.unmatched_responses += unmatched_responses;
        self.early_responses += early_responses;
        self.early_given_up += early_given_up;
        self.hpack_desync += hpack_desync;
        self.abandoned += abandoned;
        self.websockets_given_up += websockets_given_up;
        self.websockets_unrecognised += websockets_unrecognised;
    }
}
