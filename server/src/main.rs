//! The `semel` binary.

fn main() -> semel_server::cli::Exit {
    semel_server::cli::run()
}
