//! The peer of P1, P2, P3 and P7: pgbench with hand-written statements.

use crate::{Outcome, bench::Bench, book::figure as f, by_hand::Script, plan::UNARY_CALLERS};

pub fn run(bench: &mut Bench) -> Outcome<()> {
    if bench.pgbench.is_none() {
        bench.skip(&["P1", "P2", "P3", "P7"], "there is no pgbench");
        return Ok(());
    }
    for clients in bench.plan.pgbench_clients.clone() {
        // Costs of the run that has as many clients as the single calls have callers.
        let is_like_unary = clients == UNARY_CALLERS;
        if bench.plan.wants(&["P1", "P2"]) {
            let cost = is_like_unary.then_some("claim by hand, 64 clients");
            let run = bench.by_hand(Script::Claims, clients, cost)?;
            bench.book.put_greatest(f::BY_HAND_CLAIMS, run.rate);
            if is_like_unary {
                bench.book.put(f::BY_HAND_CLAIMS_64, run.rate);
            }
        }
        if bench.plan.wants(&["P3"]) {
            let cost = is_like_unary.then_some("pair by hand, 64 clients");
            let run = bench.by_hand(Script::Pairs, clients, cost)?;
            bench.book.put_greatest(f::BY_HAND_PAIRS, run.rate);
        }
    }
    if bench.plan.wants(&["P7"]) {
        let run = bench.by_hand_with_latencies(Script::Claims)?;
        if let Some(p50_us) = run.p50_us {
            bench.book.put(f::BY_HAND_P50_US, p50_us);
        }
    }
    Ok(())
}
