//! Statements over any number of rows, from few prepared ones.
//!
//! SQLite takes no arrays. A file has one row's placeholders between two `/*each*/` marks; here
//! they are repeated for a few sizes, and a batch is cut into chunks of those: so a handful of
//! statements is prepared and stays prepared, and the largest has 64 × 24 parameters, far below
//! SQLite's 32,766.

use std::{ops::Range, sync::Arc};

use sqlx::AssertSqlSafe;

const MARK: &str = "/*each*/";

/// Largest first, down to one.
const SIZES: [usize; 4] = [64, 16, 4, 1];

/// A statement in each of its sizes.
#[derive(Debug)]
pub(super) struct Template([Arc<str>; SIZES.len()]);

/// A part of a batch, and the statement of its size.
pub(super) struct Chunk {
    pub(super) rows: Range<usize>,
    pub(super) sql: AssertSqlSafe<Arc<str>>,
}

impl Template {
    /// From a file with one row.
    ///
    /// # Panics
    /// When the file has not two marks; a test prepares each.
    pub(super) fn new(file: &str) -> Self {
        let parts: Vec<_> = file.split(MARK).collect();
        let [head, row, tail] = parts[..] else {
            panic!("a template has one row between two {MARK} marks");
        };
        Self(SIZES.map(|size| {
            let rows = vec![row.trim(); size].join(", ");
            format!("{head}{rows}{tail}").into()
        }))
    }

    /// Cuts a batch of `len` rows.
    pub(super) fn chunks(&self, len: usize) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        let mut start = 0;
        for (size, sql) in SIZES.into_iter().zip(&self.0) {
            while len - start >= size {
                chunks.push(Chunk {
                    rows: start..start + size,
                    // The text comes from a file in this crate.
                    sql: AssertSqlSafe(sql.clone()),
                });
                start += size;
            }
        }
        chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_cut_into_few_sizes_and_each_row_stands_once() {
        let template = Template::new("VALUES /*each*/ (?, ?) /*each*/ x");
        for len in [0, 1, 3, 4, 63, 64, 65, 256, 341] {
            let chunks = template.chunks(len);
            let rows: Vec<_> = chunks.iter().flat_map(|chunk| chunk.rows.clone()).collect();
            assert_eq!(rows, (0..len).collect::<Vec<_>>());
            for chunk in chunks {
                assert_eq!(chunk.sql.0.matches("(?, ?)").count(), chunk.rows.len());
            }
        }
    }
}
