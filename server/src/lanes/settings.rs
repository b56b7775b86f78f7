//! Bounds of the lanes.

/// Bounds of the lanes. Every one of them limits memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneSettings {
    /// Places in each of a lane's three queues.
    pub queue: usize,
    /// Most commands in one round of a lane.
    pub batch: usize,
    /// Bytes of results, deliveries and checkpoints above 4 KiB that may be under way at once.
    pub payload_bytes: usize,
    /// Most Claims that may wait at once.
    pub waiters: usize,
}

impl Default for LaneSettings {
    fn default() -> Self {
        Self {
            queue: 4_096,
            batch: 1_024,
            payload_bytes: 256 * 1024 * 1024,
            waiters: 8_192,
        }
    }
}
