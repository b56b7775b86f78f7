//! One running server: started, minded, broken on purpose, stopped.

mod supervisor;

use std::fmt::{self, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use self::supervisor::{StartError, Supervisor};
use crate::wire::{Connection, Row, quoted};
use crate::{Binaries, Error, Settings};

/// How often another port is tried when somebody else took the one we chose.
const PORT_TRIES: u32 = 10;

/// Below the range that systems hand out to outgoing connections: between a stop and a
/// restart no connection can be given our port, nor connect to itself on it.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Long enough for any statement that a test's preparation runs.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// A private PostgreSQL server with its own data, that lives as long as this value, or as
/// long as the process that holds it. Its superuser is `postgres`, without a password.
pub struct Cluster {
    supervisor: Mutex<Supervisor>,
    binaries: Binaries,
    dir: PathBuf,
    port: u16,
}

impl Cluster {
    /// Starts a server with [`Settings::new`] and waits until it takes connections.
    pub fn start() -> Result<Self, Error> {
        Self::start_with(Settings::new())
    }

    /// Starts a server with `settings` and waits until it takes connections.
    pub fn start_with(settings: Settings) -> Result<Self, Error> {
        Self::start_from(Binaries::find()?, settings)
    }

    /// Starts a server of the installation `binaries`.
    pub fn start_from(binaries: Binaries, settings: Settings) -> Result<Self, Error> {
        let mut supervisor = Supervisor::launch(binaries, &settings)?;
        supervisor.init()?;
        let mut tries = 1;
        let port = loop {
            let port = free_port()?;
            match supervisor.start(port) {
                Ok(()) => break port,
                Err(StartError::PortTaken(_)) if tries < PORT_TRIES => tries += 1,
                Err(error) => return Err(error.into()),
            }
        };
        Ok(Self {
            binaries: supervisor.binaries().clone(),
            dir: supervisor.dir().to_owned(),
            supervisor: Mutex::new(supervisor),
            port,
        })
    }

    /// The one server that this process's tests share, started when first asked for.
    ///
    /// Tests that stop, kill or flood a server start their own. The shared one goes away
    /// with the process.
    pub fn shared() -> Result<&'static Self, &'static Error> {
        static SHARED: OnceLock<Result<Cluster, Error>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    /// Where `database` is to be reached over TCP on the loopback interface.
    pub fn url(&self, database: &str) -> String {
        let database = percent_encoded(database);
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Where `database` is to be reached over the Unix socket.
    pub fn socket_url(&self, database: &str) -> String {
        let database = percent_encoded(database);
        let host = percent_encoded(&self.dir.to_string_lossy());
        format!(
            "postgres://postgres@localhost:{}/{database}?host={host}",
            self.port
        )
    }

    /// The loopback port; a restart keeps it.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory that holds the server's data, log and socket.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory of the programs that run here, for tests that need another of them.
    pub fn bin_dir(&self) -> &Path {
        self.binaries.dir()
    }

    /// Makes an empty database, in which text sorts by bytes.
    pub fn create_database(&self, name: &str) -> Result<(), Error> {
        // Nobody connects to template0, so creations do not get in each other's way.
        let sql = format!("CREATE DATABASE {} TEMPLATE template0", quoted(name));
        self.query("postgres", &sql).map(drop)
    }

    /// Runs `sql` in `database` as the superuser and returns the rows as text. Meant for
    /// preparing and inspecting; tests proper use a real client.
    pub fn query(&self, database: &str, sql: &str) -> Result<Vec<Row>, Error> {
        let socket = supervisor::socket(&self.dir, self.port);
        Connection::open(&socket, database, STATEMENT_TIMEOUT)?.query(sql)
    }

    /// The process id of the postmaster.
    pub fn pid(&self) -> Result<u32, Error> {
        self.lock().pid()
    }

    /// Kills the postmaster with SIGKILL, as a crash would, and waits until it is gone.
    /// The data stays. Its other processes notice by themselves and end soon after.
    pub fn kill(&self) -> Result<(), Error> {
        self.lock().kill()
    }

    /// Stops the server as an administrator would, cutting open connections. The data
    /// stays. A server that is not running is left alone.
    pub fn stop_fast(&self) -> Result<(), Error> {
        self.lock().stop_fast()
    }

    /// Stops the server if it runs, and starts it again on the same data and port. After
    /// [`Cluster::kill`] that includes crash recovery.
    pub fn restart(&self) -> Result<(), Error> {
        let mut supervisor = self.lock();
        supervisor.stop_fast()?;
        supervisor.start_again(self.port)
    }

    fn lock(&self) -> MutexGuard<'_, Supervisor> {
        // A test that panicked while it held the lock has left a server in some state;
        // every operation starts by looking at that state.
        self.supervisor
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("dir", &self.dir)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// A port that was free a moment ago. Somebody may still take it before the server does.
fn free_port() -> Result<u16, Error> {
    let mut last = None;
    for _ in 0..100 {
        let port = random_in(PORTS);
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(_) => return Ok(port),
            Err(error) => last = Some(error),
        }
    }
    let last = last.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into());
    Err(Error::io("no free port on the loopback interface")(last))
}

fn random_in(range: std::ops::Range<u16>) -> u16 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    // The standard library has no random numbers, but it seeds its hash maps with some.
    let random = RandomState::new().build_hasher().finish();
    let width = u64::from(range.end - range.start);
    range.start + u16::try_from(random % width).expect("the width of a range of u16 fits u16")
}

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a string cannot fail");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::{PORTS, percent_encoded, random_in};

    #[test]
    fn names_are_made_fit_for_a_url() {
        assert_eq!(percent_encoded("orders_1.x"), "orders_1.x");
        assert_eq!(percent_encoded("/tmp/a b"), "%2Ftmp%2Fa%20b");
    }

    #[test]
    fn chosen_ports_vary_and_stay_in_range() {
        let ports: std::collections::HashSet<_> = (0..100).map(|_| random_in(PORTS)).collect();
        assert!(ports.iter().all(|port| PORTS.contains(port)));
        assert!(ports.len() > 10);
    }
}
