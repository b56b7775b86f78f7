//! `semel lookup`: shows what stands under a key.

use super::{Exit, outcome, remote, remote::Remote};

/// Show what stands under a key.
///
/// Changes nothing and waits for nothing. The trace id is that of the last attempt's claim, the claim id
/// and the key hash are what spans and logs call it: semel.claim_id and semel.key.
#[derive(Debug, clap::Args)]
#[command(after_long_help = after_help())]
pub(super) struct Args {
    /// The key
    key: String,

    /// Show the kept delivery as well, where the namespace keeps deliveries
    #[arg(long)]
    delivery: bool,

    #[command(flatten)]
    remote: Remote,
}

fn after_help() -> String {
    let examples = "\
Examples:
  semel lookup order-4711
  semel lookup order-4711 -n payments --json | jq -r .outcome
  semel lookup order-4711 --json | jq -r .result_base64 | base64 -d > result";
    remote::after_help(
        examples,
        "the key is known, whatever its state",
        &[Exit::NotFound],
    )
}

pub(super) async fn run(args: Args) -> Exit {
    let Args {
        key,
        delivery,
        remote,
    } = args;
    let answer = match remote.client() {
        Ok(client) => {
            let namespace = &remote.namespace;
            let call = async {
                if delivery {
                    client.lookup_with_delivery(namespace, &key).await
                } else {
                    client.lookup(namespace, &key).await
                }
            };
            remote.patiently(call).await
        }
        Err(error) => Err(error),
    };
    match answer {
        Ok(Some(record)) => {
            remote.print(&outcome::of_record(&remote.namespace, &key, &record));
            Exit::Success
        }
        Ok(None) => remote.failed(&key, &semel_client::Error::NotFound),
        Err(error) => remote.failed(&key, &error),
    }
}
