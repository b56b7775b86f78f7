//! The contract's tables row by row, and what must hold over all of them.

mod checkpoint;
mod claim;
mod claim_attempts;
mod claim_memory;
mod claim_policy;
mod complete;
mod extend;
mod fail;
mod invariants;
mod lookup;
mod matrix;
mod reachable;
mod scene;
