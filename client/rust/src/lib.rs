//! Semel client.
