//! The embedded store over Session beside Redis: P5.

use serde_json::json;

use crate::{
    Outcome,
    bench::Bench,
    book::figure as f,
    load::{Load, Transport, Work},
    redis::Redis,
};

pub fn run(bench: &mut Bench) -> Outcome<()> {
    match bench.redis.clone() {
        Some(programs) => {
            bench.postgres.settle()?;
            let beside = bench.data_dir()?;
            let redis = Redis::start(&programs, beside.path())?;
            let (rate, output) = redis.claims(&programs, bench.plan.length)?;
            let what = "Redis: SET NX EX, appendfsync always, 64 clients";
            eprintln!("  {what}: {rate:.0}/s");
            bench
                .book
                .put_run(what, json!({"rate": rate, "output": output}));
            bench.book.put(f::REDIS, rate);
        }
        None => bench.skip(
            &["P5"],
            "redis-server and redis-benchmark are not installed",
        ),
    }
    for callers in bench.plan.callers.clone() {
        let load = Load::new(Transport::Session, Work::Claims, callers)
            .lasting(bench.plan.length, bench.plan.warm_up);
        let cost = match callers {
            1_024 => "session claim embedded, 1,024 callers",
            _ => "session claim embedded, 4,096 callers",
        };
        let report = bench.embedded(&load, cost)?;
        bench.book.put_greatest(f::EMBEDDED_SESSION, report.rate);
    }
    Ok(())
}
