//! Compiles `semel/v1/*.proto` with protox, so that no `protoc` has to be installed anywhere.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=semel");
    let files = [
        "semel/v1/answer.proto",
        "semel/v1/idempotency.proto",
        "semel/v1/outcome.proto",
        "semel/v1/session.proto",
    ];
    let descriptors = protox::compile(files, ["."])?;

    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(
        out.join("semel_v1_descriptor.bin"),
        descriptors.encode_to_vec(),
    )?;

    tonic_prost_build::configure()
        // Results, deliveries and checkpoints are handed on without a copy.
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
