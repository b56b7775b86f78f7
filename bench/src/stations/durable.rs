//! Semel on Postgres at its peak: P1, P2, P3, P7 and P10.

use crate::{
    Outcome,
    bench::Bench,
    book::figure as f,
    load::{Load, Report, Transport, Work},
    plan::{RESULT_BYTES, UNARY_CALLERS},
    postgres::SEMEL,
};

/// Sizes of results whose completions are to be HOT updates.
const HOT_SIZES: [u64; 2] = [RESULT_BYTES, 1_024];

pub fn claims(bench: &mut Bench) -> Outcome<()> {
    let (length, warm_up) = (bench.plan.length, bench.plan.warm_up);
    if bench.plan.wants(&["P1"]) {
        peak(bench)?;
        repeating(bench)?;
    }
    if bench.plan.wants(&["P2"]) {
        let load = Load::new(Transport::Unary, Work::Claims, UNARY_CALLERS);
        let report =
            bench.on_postgres(&load.lasting(length, warm_up), "unary claim, 64 callers")?;
        bench.book.put(f::UNARY_CLAIMS, report.rate);
    }
    if bench.plan.wants(&["P7"]) {
        let load = Load::new(Transport::Unary, Work::Claims, 1);
        let report = bench.on_postgres(&load.lasting(length, warm_up), "unary claim, 1 caller")?;
        bench.book.put(f::UNARY_P50_US, report.p50_us);
    }
    Ok(())
}

/// The most Session claims a second of this round; measured when it is first asked for.
pub fn peak(bench: &mut Bench) -> Outcome<f64> {
    if let Some(peak) = bench.book.this_round(f::SESSION_CLAIMS) {
        return Ok(peak);
    }
    let mut best = 0.0f64;
    for callers in bench.plan.callers.clone() {
        let load = Load::new(Transport::Session, Work::Claims, callers)
            .lasting(bench.plan.length, bench.plan.warm_up);
        let report = bench.on_postgres(&load, cost_of_claims(callers))?;
        if report.rate > best {
            best = report.rate;
            bench.book.put(f::SESSION_CALLERS, callers as f64);
        }
    }
    bench.book.put(f::SESSION_CLAIMS, best);
    Ok(best)
}

/// The peak again, with as many callers, where some claims are of keys that were claimed lately, as
/// deliveries that come twice are. The goal of P1 is about first claims, so nothing judges these.
fn repeating(bench: &mut Bench) -> Outcome<()> {
    let callers = bench.book.this_round(f::SESSION_CALLERS);
    let callers = callers.ok_or("no peak to compare with")? as u64;
    for (per_mille, figure, cost) in [
        (
            1,
            f::SESSION_CLAIMS_REPEATING_1_IN_1000,
            "session claim, 0.1 % repeats",
        ),
        (
            10,
            f::SESSION_CLAIMS_REPEATING_1_IN_100,
            "session claim, 1 % repeats",
        ),
    ] {
        let load = Load::new(Transport::Session, Work::Claims, callers)
            .repeating(per_mille)
            .lasting(bench.plan.length, bench.plan.warm_up);
        let report = bench.on_postgres(&load, cost)?;
        bench.book.put(figure, report.rate);
    }
    Ok(())
}

fn cost_of_claims(callers: u64) -> &'static str {
    match callers {
        1_024 => "session claim, 1,024 callers",
        _ => "session claim, 4,096 callers",
    }
}

/// Pairs, whose rate is P3's and whose share of HOT updates is P10's.
pub fn completions(bench: &mut Bench) -> Outcome<()> {
    let callers = bench.plan.callers.clone();
    for callers in &callers {
        let cost = match callers {
            1_024 => "session pair, 256 B, 1,024 callers",
            _ => "session pair, 256 B, 4,096 callers",
        };
        let (report, hot) = pairs(bench, *callers, RESULT_BYTES, cost)?;
        bench.book.put_greatest(f::SESSION_PAIRS, report.rate);
        bench.book.put_least(f::HOT_SHARE, hot);
    }
    if bench.plan.wants(&["P10"]) {
        for size in HOT_SIZES.into_iter().filter(|size| *size != RESULT_BYTES) {
            // Shown and kept, and not judged: the page has room for completions of 256 bytes.
            let of = "session pair, 1 KiB, 1,024 callers";
            pairs(bench, callers[0], size, of)?;
        }
    }
    Ok(())
}

/// Pairs over Session with results of a size, and how many of the completions were HOT updates.
pub fn pairs(
    bench: &mut Bench,
    callers: u64,
    result_bytes: u64,
    cost: &'static str,
) -> Outcome<(Report, f64)> {
    let load = Load::new(Transport::Session, Work::Pairs, callers)
        .results_of(result_bytes)
        .lasting(bench.plan.length, bench.plan.warm_up);
    let before = updates(bench)?;
    let report = bench.on_postgres(&load, cost)?;
    let after = updates(bench)?;
    let hot = hot_share(before, after).ok_or("Postgres counted no completions")?;
    eprintln!(
        "    {:.1} % of the completions were HOT updates",
        hot * 100.0
    );
    bench.book.put_run("share of HOT updates", hot);
    Ok((report, hot))
}

/// Updates so far, and those that were HOT. Of those who have left, so nobody may be connected.
fn updates(bench: &Bench) -> Outcome<[i64; 2]> {
    bench.postgres.numbers(
        SEMEL,
        "SELECT sum(n_tup_upd)::bigint, sum(n_tup_hot_upd)::bigint \
         FROM pg_stat_user_tables WHERE relname = 'records'",
    )
}

fn hot_share(before: [i64; 2], after: [i64; 2]) -> Option<f64> {
    let [updates, hot] = [after[0] - before[0], after[1] - before[1]];
    (updates > 0).then(|| hot as f64 / updates as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_of_what_was_updated_meanwhile() {
        assert_eq!(hot_share([100, 100], [300, 250]), Some(0.75));
        assert_eq!(hot_share([100, 100], [100, 100]), None);
    }
}
