//! What the kernel side counts: every loss where it happens, in calls or records, and in bytes.

macro_rules! counters {
    ($($(#[$doc:meta])* $variant:ident,)+) => {
        /// Index into the `COUNTERS` map, an array of `u64`.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Counter {
            $($(#[$doc])* $variant,)+
        }

        impl Counter {
            /// Every counter, in the order of the map.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];
        }
    };
}

counters! {
    /// Transfer calls whose bytes were looked at: not ignored, not nested, and successful.
    Calls,
    /// Bytes that those calls transferred, delivered or not.
    Bytes,
    /// Times the reader was woken.
    WakeUps,
    /// Calls that lost bytes because the ring was full.
    RingFull,
    /// Bytes lost because the ring was full.
    RingFullBytes,
    /// Calls that transferred more than the cap.
    PastCap,
    /// Bytes past the cap.
    PastCapBytes,
    /// Records whose memory could not be read: the page was not resident.
    Unreadable,
    /// Bytes of those records.
    UnreadableBytes,
    /// Calls whose count could not be read. How much they moved is not known, so the connection
    /// ends and goes on as another generation; the same holds for the four below.
    CountUnreadable,
    /// Calls that say to have transferred more than they were asked to; taken for misread.
    Implausible,
    /// Calls not followed because the table of calls in flight was full.
    CallsFull,
    /// Calls in flight that never returned, found when the thread made its next one.
    Abandoned,
    /// Calls on another connection inside a followed call of the same thread and direction (TLS within
    /// TLS).
    NestedElsewhere,
    /// Calls on the same connection inside a followed call of the same thread and direction: no loss,
    /// the outer call has the bytes.
    Nested,
    /// Calls not followed because the connection could not be stored.
    ConnectionsFull,
    /// Bytes of those calls.
    ConnectionsFullBytes,
    /// Records of application data that were encrypted or decrypted with a key of which it is not known
    /// to which connection it belongs: it was made before the probes were there, or out of order.
    Unpaired,
    /// Bytes of those records.
    UnpairedBytes,
    /// Notices (opened, closed, exec, exit) lost because the ring was full.
    NoticesLost,
    /// Connections ignored from their first byte on, because of whose they are.
    Filtered,
}
