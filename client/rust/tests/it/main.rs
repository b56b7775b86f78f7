//! The client against a fake server over real sockets, with a network that breaks on purpose.

mod fallback;
mod inventory;
mod receiver;
mod sender;
mod session;
mod session_ends;
mod support;

/// What a caller sees is the same however calls go, so these run twice: as the client is by
/// default, which is over sessions here, and with each call alone.
#[allow(clippy::duplicate_mod)] // on purpose, see above
#[path = "."]
mod by_default {
    use crate::support;

    mod calls;
    mod guard;
    mod once;
    mod trace;

    fn quick() -> semel_client::Builder {
        support::quick()
    }
}

#[allow(clippy::duplicate_mod)] // on purpose, see above
#[path = "."]
mod alone {
    use semel_client::Transport;

    use crate::support;

    mod calls;
    mod guard;
    mod once;
    mod trace;

    fn quick() -> semel_client::Builder {
        support::quick().transport(Transport::Unary)
    }
}
