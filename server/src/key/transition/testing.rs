//! Builders for the tests of the decision tables.
