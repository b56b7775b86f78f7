//! The client against a fake server over real sockets, with a network that breaks on purpose.

mod calls;
mod guard;
mod inventory;
mod once;
mod support;
