//! The peer of P1, P2, P3 and P7: pgbench with hand-written statements.

use crate::{Outcome, bench::Bench, book::figure as f, by_hand::Script, plan::PGBENCH_CLIENTS};

pub fn run(bench: &mut Bench) -> Outcome<()> {
    if bench.pgbench.is_none() {
        bench.skip(&["P1", "P2", "P3", "P7"], "there is no pgbench");
        return Ok(());
    }
    for clients in PGBENCH_CLIENTS {
        // Costs of the widest run; with few clients each waits for the disk alone.
        let is_widest = clients == 64;
        if bench.plan.wants(&["P1", "P2", "P7"]) {
            let cost = is_widest.then_some("claim by hand, 64 clients");
            let run = bench.by_hand(Script::Claims, clients, cost)?;
            bench.book.put_greatest(f::BY_HAND_CLAIMS, run.rate);
            if is_widest {
                bench.book.put(f::BY_HAND_CLAIMS_64, run.rate);
            }
            if let Some(p50_us) = run.p50_us {
                bench.book.put(f::BY_HAND_P50_US, p50_us);
            }
        }
        if bench.plan.wants(&["P3"]) {
            let cost = is_widest.then_some("pair by hand, 64 clients");
            let run = bench.by_hand(Script::Pairs, clients, cost)?;
            bench.book.put_greatest(f::BY_HAND_PAIRS, run.rate);
        }
    }
    Ok(())
}
