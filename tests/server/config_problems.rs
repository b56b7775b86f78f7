//! A configuration with problems: all of them are told at once, before anything is touched.

use crate::support::*;

async fn serve_with(file: &str, arguments: &[&str]) -> Ended {
    let scratch = Scratch::new();
    let config = scratch.file("semel.toml", file);
    let ours = ["serve", "--config", config.to_str().unwrap()];
    Process::finish(semel(&[&ours, arguments].concat())).await
}

#[tokio::test]
async fn every_problem_of_a_file_is_told_with_its_place() {
    let file = r#"
        listen = "localhost"
        lanes = 0
        speed = "fast"
        drain = 5
        max_calls = 0
        purge_interval = "often"
        [defaults]
        retention = "1ms"
        [namespaces.Payments]
        [namespaces.orders]
        attempts = 0
        on_lapse = "shrug"
        colour = "red"
    "#;
    let ended = serve_with(file, &[]).await;
    ended.expect(3).says(&[
        "the configuration has 11 problems:",
        "\n  listen: must be an IP address and a port",
        "\n  lanes: must be 1 to 64, is 0",
        "\n  speed: is not a setting of Semel",
        "\n  drain: must be a length of time",
        "\n  max_calls: must be 1 to",
        "\n  purge_interval: must be a length of time",
        "\n  defaults.retention: must be",
        "\n  namespaces.Payments: may contain only",
        "\n  namespaces.orders.attempts: must be 1 to",
        "\n  namespaces.orders.on_lapse: must be \"reclaim\" or \"hold\"",
        "\n  namespaces.orders.colour: is not a setting of Semel",
    ]);
}

#[tokio::test]
async fn an_address_that_others_can_reach_has_to_be_asked_for() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let ended = Process::finish(semel(&["serve", "--listen", address])).await;
        ended
            .expect(3)
            .says(&[address, "without authentication", "--allow-plaintext"]);
    }
    let ended = serve_with("listen = \"0.0.0.0:0\"", &[]).await;
    ended.expect(3).says(&["--allow-plaintext"]);
}

#[tokio::test]
async fn a_file_that_is_missing_or_is_no_toml_is_named() {
    let missing = ["serve", "--config", "/no/such/semel.toml"];
    let ended = Process::finish(semel(&missing)).await;
    ended
        .expect(3)
        .says(&["/no/such/semel.toml", "cannot be read"]);
    serve_with("lanes = 1\nlisten = ", &[])
        .await
        .expect(3)
        .says(&["is not TOML: line 2:"]);
    // Parsers like to quote the line that they fail on.
    let ended = serve_with("database_url = \"postgres://u:hunter2@h/d\" x", &[]).await;
    ended.expect(3).hides("hunter2");
}

#[tokio::test]
async fn two_stores_contradict_each_other_and_no_secret_is_repeated() {
    let url = "postgres://semel:hunter2@127.0.0.1/orders";
    let both = ["serve", "--data-dir", "x", "--database-url", url];
    Process::finish(semel(&both))
        .await
        .expect(3)
        .hides("hunter2")
        .says(&["name one"]);
    let other = [
        "serve",
        "--database-url",
        "mysql://semel:hunter2@127.0.0.1/orders",
    ];
    let ended = Process::finish(semel(&other)).await;
    ended
        .expect(3)
        .hides("hunter2")
        .says(&["must start with postgres://"]);
    let wrong = serve_with("database_url = [\"postgres://semel:hunter2@h/d\"]", &[]).await;
    wrong
        .expect(3)
        .hides("hunter2")
        .says(&["must be a text in quotes"]);
}

#[tokio::test]
async fn the_help_does_not_repeat_what_the_environment_says() {
    let mut help = semel(&["serve", "--help"]);
    help.env(
        "SEMEL_DATABASE_URL",
        "postgres://semel:hunter2@127.0.0.1/orders",
    );
    let ended = Process::finish(help).await;
    ended.expect(0).hides("hunter2");
    assert!(ended.stdout.contains("SEMEL_DATABASE_URL"));
}
