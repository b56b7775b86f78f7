//! Directories, ports and databases of a test's own.

use std::{fs, future::Future, net::TcpListener, path::PathBuf, sync::Arc};

use semel_tests::{Database as _, Postgres};

/// A directory that goes with the test.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file in here.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("a file in a temporary directory");
        path
    }
}

/// A loopback port that nobody listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it has an address").port()
}

/// Runs a test in an empty schema of a Postgres, and removes the schema also when the test panics.
pub async fn on_postgres<F>(test: impl FnOnce(Arc<Postgres>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let database = Arc::new(Postgres::schema().await);
    let outcome = tokio::spawn(tokio::time::timeout(
        std::time::Duration::from_secs(50),
        test(database.clone()),
    ))
    .await;
    database.remove().await;
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(_)) => panic!("the test has not ended within 50 seconds"),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
