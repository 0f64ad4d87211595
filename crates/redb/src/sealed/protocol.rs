//! The steps that crash safety stands on, each named, so that the crash tests can prove that they would notice its loss.

use std::fmt::Debug;

/// Which steps a sealed file takes. Every program uses [`Sound`]; a test names a type of its own that leaves one out and
/// shows that the simulator then finds lost data. A type, not a setting: nothing can switch a step off at run time.
#[doc(hidden)]
pub trait Protocol: Debug + Send + Sync + 'static {
    /// A record is believed only if every page that it lists authenticates.
    const VERIFIES_NEWEST: bool = true;
    /// Pages that the newest record lists are overwritten only behind a record that lists none.
    const RAISES_BARRIERS: bool = true;
    /// Records are given up only when their entries are home, durably.
    const CHECKPOINTS_FIRST: bool = true;
    /// The file is cut only when a record with the smaller length is durable.
    const TRUNCATES_LAST: bool = true;
    /// What was accepted at open is made durable before anything is overwritten on the strength of it.
    const SYNCS_AT_OPEN: bool = true;
    /// Entries newer than the accepted record are not taken for pages.
    const JUDGES_EPOCHS: bool = true;
    /// Each commit leaves its epoch where every opening looks, outside the ring.
    const LEAVES_WITNESSES: bool = true;
}

/// All of the steps.
#[derive(Debug)]
pub struct Sound;

impl Protocol for Sound {}
