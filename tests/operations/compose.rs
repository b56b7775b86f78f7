//! The compose file: nobody starts it here, so what it names is looked up.

use std::{collections::BTreeSet, process::Command};

use serde_json::Value;

use super::{
    deploy::{file, text, yaml},
    program::semel,
};

const COMPOSE: &str = "deploy/compose.yaml";

fn compose() -> Value {
    yaml(COMPOSE)
}

fn services(compose: &Value) -> &serde_json::Map<String, Value> {
    compose["services"].as_object().expect("services")
}

fn texts(value: &Value) -> Vec<&str> {
    let list = value.as_array().into_iter().flatten();
    list.map(|it| it.as_str().expect("a text")).collect()
}

/// What `semel serve --help` says.
fn help() -> String {
    let output = Command::new(semel())
        .args(["serve", "--help"])
        .output()
        .expect("the program runs");
    String::from_utf8(output.stdout).expect("help is text")
}

/// The port that an option has unless told otherwise.
fn default_port(help: &str, option: &str) -> String {
    let (_, after) = help
        .split_once(&format!("--{option} <"))
        .unwrap_or_else(|| panic!("semel serve has no --{option}"));
    let (_, after) = after.split_once("[default: 127.0.0.1:").expect("a default");
    let (port, _) = after.split_once(']').expect("a port");
    port.to_owned()
}

fn port(address: &str) -> &str {
    let (_, port) = address.rsplit_once(':').expect("a port");
    port
}

#[test]
fn all_files_that_it_mounts_or_builds_from_are_there() {
    let compose = compose();
    let mut mounted = 0;
    for (name, service) in services(&compose) {
        for volume in texts(&service["volumes"]) {
            let source = volume.split(':').next().unwrap_or(volume);
            if let Some(path) = source.strip_prefix("./") {
                let path = file("deploy").join(path);
                assert!(path.exists(), "{name} mounts {}", path.display());
                mounted += 1;
            } else {
                let volumes = compose["volumes"].as_object().expect("volumes");
                assert!(volumes.contains_key(source), "{name}: no volume {source}");
            }
        }
    }
    assert!(mounted > 0, "it mounts files");
    let build = &compose["services"]["semel"]["build"];
    let context = file("deploy").join(build["context"].as_str().expect("a context"));
    let dockerfile = context.join(build["dockerfile"].as_str().expect("a Dockerfile"));
    assert!(
        context.join("Cargo.toml").is_file(),
        "{}",
        context.display()
    );
    assert!(dockerfile.is_file(), "{}", dockerfile.display());
}

#[test]
fn what_the_image_is_built_from_reaches_the_builder() {
    let ignored = text("deploy/Dockerfile.dockerignore");
    let sent: BTreeSet<_> = ignored
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    for name in &sent {
        assert!(file(name).exists(), "there is no {name} to send");
    }
    // Cargo wants to see every member of the workspace, also those that it does not build.
    for member in members() {
        let top = member.split('/').next().unwrap_or(&member);
        assert!(sent.contains(top), "{member} is not sent to the builder");
    }
    for name in ["Cargo.toml", "Cargo.lock", ".cargo"] {
        assert!(sent.contains(name), "{name} is not sent to the builder");
    }
}

#[test]
fn it_sets_what_the_server_knows() {
    let (compose, help) = (compose(), help());
    let environment = compose["services"]["semel"]["environment"].as_object();
    let environment = environment.expect("an environment");
    let ours = environment.keys().filter(|name| name.starts_with("SEMEL_"));
    let ours: Vec<_> = ours.collect();
    assert!(!ours.is_empty(), "it sets something");
    for name in ours {
        // With a value of its own, or without: `[env: NAME=]`, `[env: NAME]`.
        let known = ['=', ']']
            .iter()
            .any(|end| help.contains(&format!("[env: {name}{end}")));
        assert!(known, "semel serve does not know {name}");
    }
    for (option, variable) in [
        ("listen", "SEMEL_LISTEN"),
        ("http-listen", "SEMEL_HTTP_LISTEN"),
    ] {
        let address = environment[variable].as_str().expect("an address");
        assert_eq!(port(address), default_port(&help, option), "{variable}");
    }
}

#[test]
fn its_ports_are_those_that_its_parts_name() {
    let compose = compose();
    let semel = &compose["services"]["semel"];
    let environment = &semel["environment"];
    let [grpc, http] = ["SEMEL_LISTEN", "SEMEL_HTTP_LISTEN"]
        .map(|name| port(environment[name].as_str().expect("an address")));
    // The image says so, and the health check and Prometheus ask there.
    let dockerfile = text("deploy/Dockerfile");
    assert!(
        dockerfile.contains(&format!("\nEXPOSE {grpc} {http}\n")),
        "the Dockerfile's ports"
    );
    let check = texts(&semel["healthcheck"]["test"]).join(" ");
    assert!(
        check.contains(&format!("/dev/tcp/127.0.0.1/{http} ")),
        "{check}"
    );
    let prometheus: Value = yaml("deploy/prometheus/prometheus.yml");
    let job = &prometheus["scrape_configs"][0];
    assert_eq!(job["job_name"], "semel");
    assert_eq!(
        job["static_configs"][0]["targets"][0],
        format!("semel:{http}")
    );
    // Whoever is asked by name is a service, and has that port.
    let sources: Value = yaml("deploy/grafana/provisioning/datasources/semel.yaml");
    let sources = sources["datasources"].as_array().expect("a list");
    let mut asked: Vec<_> = sources
        .iter()
        .map(|it| it["url"].as_str().expect("an address"))
        .collect();
    asked.push(
        environment["OTEL_EXPORTER_OTLP_ENDPOINT"]
            .as_str()
            .expect("an address"),
    );
    assert_eq!(asked.len(), 3);
    for url in asked {
        let (host, port) = url
            .trim_start_matches("http://")
            .split_once(':')
            .expect("host:port");
        let service = services(&compose)
            .get(host)
            .unwrap_or_else(|| panic!("{url}: no such service"));
        let published = texts(&service["ports"]);
        let there = published.iter().any(|it| it.ends_with(&format!(":{port}")));
        assert!(there, "{url}: {published:?}");
    }
}

#[test]
fn it_can_be_reached_from_this_machine_only() {
    for (name, service) in services(&compose()) {
        for port in texts(&service["ports"]) {
            assert!(port.starts_with("127.0.0.1:"), "{name} publishes {port}");
        }
    }
}

#[test]
fn images_are_of_one_version() {
    for (name, service) in services(&compose()) {
        let Some(image) = service["image"].as_str() else {
            continue;
        };
        let (_, tag) = image.split_once(':').unwrap_or((image, "latest"));
        assert!(
            tag.contains(|c: char| c.is_ascii_digit()),
            "{name}: {image}"
        );
    }
}

/// The members of the workspace.
fn members() -> Vec<String> {
    let manifest = text("Cargo.toml");
    let (_, list) = manifest.split_once("\nmembers = [").expect("members");
    let (list, _) = list.split_once(']').expect("the end of the list");
    let names = list.split(',').map(|it| it.trim().trim_matches('"'));
    names
        .filter(|it| !it.is_empty())
        .map(str::to_owned)
        .collect()
}
