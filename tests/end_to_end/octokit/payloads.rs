//! GitHub's examples of every webhook, from the npm package `@octokit/webhooks-examples`.
//!
//! The package has a directory for GitHub itself and one for each Enterprise release, each with an
//! `index.json`: a list of events, each with its `name` and a list of `examples`.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use semel_test_postgres::tools::target_dir;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Names the package's directory.
const VARIABLE: &str = "SEMEL_TEST_WEBHOOK_EXAMPLES";
const PACKAGE: &str = "node_modules/@octokit/webhooks-examples";

/// One webhook.
pub struct Payload {
    /// `X-GitHub-Delivery`: the same in every run.
    pub delivery: String,
    /// `X-GitHub-Event`.
    pub event: String,
    /// The raw body.
    pub body: Bytes,
}

/// All webhooks of the package.
///
/// # Errors
/// Why there are none.
pub fn all() -> Result<Vec<Payload>, String> {
    let package = package()?;
    let mut releases: Vec<_> = fs::read_dir(&package)
        .map_err(|error| format!("{}: {error}", package.display()))?
        .flatten()
        .map(|entry| entry.path().join("index.json"))
        .filter(|index| index.is_file())
        .collect();
    releases.sort();
    let mut payloads = Vec::new();
    for index in releases {
        let text = fs::read(&index).expect("the package can be read");
        let events: Vec<Value> = serde_json::from_slice(&text).expect("a list of events");
        let release = index.parent().and_then(Path::file_name);
        let release = release.expect("a directory").to_string_lossy();
        for event in events {
            let name = event["name"].as_str().expect("an event has a name");
            let examples = event["examples"].as_array().expect("an event has examples");
            for (number, example) in examples.iter().enumerate() {
                payloads.push(Payload {
                    delivery: delivery(&format!("{release}/{name}/{number}")),
                    event: name.to_owned(),
                    body: example.to_string().into(),
                });
            }
        }
    }
    assert!(
        payloads.len() >= 300,
        "the package has changed: {}",
        payloads.len()
    );
    Ok(payloads)
}

fn package() -> Result<PathBuf, String> {
    if let Some(given) = env::var_os(VARIABLE).filter(|given| !given.is_empty()) {
        return Ok(given.into());
    }
    let tools = target_dir().join("tools");
    let fetched = fs::read_dir(&tools).into_iter().flatten().flatten();
    fetched
        .filter(|tool| {
            tool.file_name()
                .to_string_lossy()
                .starts_with("octokit-webhooks-examples-")
        })
        .map(|tool| tool.path().join(PACKAGE))
        .find(|package| package.is_dir())
        .ok_or_else(|| {
            format!(
                "{VARIABLE} is not set, and no package was fetched into {}",
                tools.display()
            )
        })
}

/// In the form of GitHub's own: a UUID, made from where the payload comes from.
fn delivery(place: &str) -> String {
    let digest = Sha256::digest(place.as_bytes());
    let hex = hex(&digest[..16]);
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
