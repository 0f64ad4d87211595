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
    /// Records are given up only when their entries are home, durably, or carried.
    const CHECKPOINTS_FIRST: bool = true;
    /// What goes home is taken for home by the record after the sync, not by the one that the sync is for.
    const AWAITS_HOMECOMINGS: bool = true;
    /// What a record that is given up names, and is not home, is named by the one that gives it up.
    const CARRIES_ENTRIES: bool = true;
    /// A closing record that gives up all others is written only when what came home for it is durable.
    const SYNCS_BEFORE_CLOSING: bool = true;
    /// A file that was closed is opened without reading the whole ring. Not a step that anything depends on: without it every
    /// opening goes the long way, and must find the same.
    const TAKES_THE_SHORT_WAY: bool = true;
    /// Opening the short way makes sure that no record follows.
    const LOOKS_BEYOND_THE_WITNESS: bool = true;
    /// What was away of pages that were cut off does not come back with them.
    const DROPS_WHAT_IS_CUT: bool = true;
    /// Opening makes the groups and zeros anew that may not have come home with the record that it accepts.
    const REMAKES_ZEROS: bool = true;
    /// The file is cut only when a record with the smaller length is durable.
    const TRUNCATES_LAST: bool = true;
    /// What was accepted at open is made durable before anything is overwritten on the strength of it.
    const SYNCS_AT_OPEN: bool = true;
    /// What was accepted at open is written again before that sync, which would else pass over what an earlier one failed to write.
    const WRITES_AGAIN_AT_OPEN: bool = true;
    /// Where the next record goes follows from the newest one and those that it needs, not from what changed since.
    const PLACES_BY_THE_NEWEST: bool = true;
    /// Zeros are written into the ring only where no needed record lies.
    const SPARES_NEEDED_RECORDS: bool = true;
    /// Entries newer than the accepted record are not taken for pages.
    const JUDGES_EPOCHS: bool = true;
    /// Each commit leaves its epoch where every opening looks, outside the ring.
    const LEAVES_WITNESSES: bool = true;
}

/// All of the steps.
#[derive(Debug)]
pub struct Sound;

impl Protocol for Sound {}
