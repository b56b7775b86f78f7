//! Callers at work, a book of everything they were told, and the check of that book.

mod book;
mod callers;

pub use callers::{Load, NAMESPACE};
