//! How the purge paces itself; the same on every engine.

use crate::key::Span;

/// How long a bucket rests after a sweep that left nothing to do, and how long one whose sweeper
/// crashed waits for the next. With 64 buckets an idle fleet takes about one a second.
pub const SWEEP_EVERY: Span = Span::from_secs(60);

/// How soon the purge may look again at a record that is in progress or uncertain. It waits longer
/// for old ones: an eighth of the claim's age.
pub(super) const POSTPONE_AT_LEAST: Span = Span::from_secs(10 * 60);
