//! Resident memory of a server, idle and with 256 callers, on both engines: P12.

use std::{thread, time::Duration};

use crate::{
    Outcome,
    bench::Bench,
    book::figure as f,
    load::{Load, Transport, Work},
    postgres::SEMEL,
    proc::Resident,
    server::Server,
};

const CALLERS: u64 = 256;
/// A started server has made its connections and read its policies by then.
const IDLE_FOR: Duration = Duration::from_secs(2);

pub fn run(bench: &mut Bench) -> Outcome<()> {
    for transport in [Transport::Unary, Transport::Session] {
        bench.postgres.settle()?;
        let server = bench.semel_on(SEMEL, &[])?;
        measure(bench, "Semel on Postgres", &server, transport)?;
        drop(server);

        let dir = bench.data_dir()?;
        let server = bench.semel_embedded(dir.path())?;
        measure(bench, "Semel embedded", &server, transport)?;
    }
    Ok(())
}

fn measure(bench: &mut Bench, what: &str, server: &Server, transport: Transport) -> Outcome<()> {
    thread::sleep(IDLE_FOR);
    let idle = Resident::of(server.pid());
    // Pairs touch all there is: claims, results, both of a lane's queues.
    let load =
        Load::new(transport, Work::Pairs, CALLERS).lasting(bench.plan.brief, bench.plan.warm_up);
    bench.load(what, server, &load, || Ok(()))?;
    let (Some(idle), Some(loaded)) = (idle, Resident::of(server.pid())) else {
        bench.skip(
            &["P12"],
            "/proc does not tell how much memory a process has",
        );
        return Ok(());
    };
    let (idle, loaded) = (idle.now_mib, loaded.peak_mib);
    eprintln!("    resident: idle {idle:.1} MiB, at most {loaded:.1} MiB");
    bench.book.put_run("resident memory, MiB", (idle, loaded));
    bench.book.put_greatest(f::IDLE_MIB, idle);
    bench.book.put_greatest(f::LOADED_MIB, loaded);
    Ok(())
}
