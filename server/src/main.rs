//! The `semel` binary.

/// Under load an eighth of the server's time went into the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> semel_server::cli::Exit {
    semel_server::cli::run()
}
