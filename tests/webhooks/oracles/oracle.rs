//! A provider's own library in a process of its own.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use semel_test_postgres::tools;
use serde_json::{Value, json};

const PYTHON_PACKAGES: [&str; 2] = ["standardwebhooks==1.1.0", "stripe==16.1.0"];
const NODE_PACKAGE: &str = "@octokit/webhooks-methods";
const NODE_VERSION: &str = "6.0.0";

pub struct Oracle {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Oracle {
    /// The Python packages of Standard Webhooks and of Stripe. Python is there by what a developer must
    /// have; that it is not is an error.
    pub fn python() -> Option<Self> {
        let dir = tools::python_packages("webhook-oracles-1", &PYTHON_PACKAGES)
            .unwrap_or_else(|error| panic!("the oracles cannot be installed: {error}"));
        let mut command = Command::new("python3");
        command.env("PYTHONPATH", dir).arg(script("oracle.py"));
        Some(Self::start(command))
    }

    /// GitHub's own package; `None` where there is no Node to run it, except in CI.
    pub fn node() -> Option<Self> {
        let dir = match tools::node_package(NODE_PACKAGE, NODE_VERSION) {
            Ok(dir) => dir,
            Err(error) if env::var_os("CI").is_none() => {
                eprintln!("SKIPPED: GitHub's signatures beside its own library: {error}");
                return None;
            }
            Err(error) => panic!("the oracle cannot be installed: {error}"),
        };
        let mut command = Command::new("node");
        command
            .arg(script("oracle.mjs"))
            .arg(dir.join("dist-node/index.js"));
        Some(Self::start(command))
    }

    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let questions = child.stdin.take().expect("it is piped");
        let answers = BufReader::new(child.stdout.take().expect("it is piped"));
        Self {
            child,
            questions,
            answers,
        }
    }

    fn ask(&mut self, question: &Value) -> Value {
        writeln!(self.questions, "{question}").expect("it listens");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("it answers");
        serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{question}: {answer:?}"))
    }

    pub fn believes(
        &mut self,
        scheme: &str,
        secret: &str,
        headers: &[(&'static str, String)],
        body: &[u8],
    ) -> bool {
        // As an HTTP library gives them out: what stands twice is joined.
        let mut joined = serde_json::Map::new();
        for (name, value) in headers {
            let known = joined.get(*name).and_then(Value::as_str);
            let value = known.map_or(value.clone(), |known| format!("{known}, {value}"));
            joined.insert((*name).to_owned(), value.into());
        }
        let body = BASE64_STANDARD.encode(body);
        let question = json!({"scheme": scheme, "secret": secret, "headers": joined, "body": body});
        self.ask(&question).as_bool().expect("true or false")
    }

    pub fn sign(&mut self, scheme: &str, secret: &str, id: &str, at: u64, body: &[u8]) -> String {
        let body = BASE64_STANDARD.encode(body);
        let question = json!({"scheme": scheme, "secret": secret, "sign": [id, at], "body": body});
        let answer = self.ask(&question);
        answer.as_str().expect("a signature").to_owned()
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn script(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("webhooks/oracles")
        .join(name)
}
