//! One suite that every engine has to pass.
//!
//! An engine is added with the line `suite!(name, Engine);`. A case is an `async fn` in `cases/`
//! that gets a [`House`](semel_tests::House); its name goes into the list at the top of its file.

mod cases;
mod postgres_only;
mod random;

/// Makes a test of every case, on one engine.
macro_rules! suite {
    ($name:ident, $engine:ty) => {
        mod $name {
            suite!(@ $engine,
                store_insert store_keys store_records store_load store_complete store_swap store_purge
                store_policies store_census claim takeover replay complete fail settle hold
                events limits_hold clock two_servers waiting peers guarantees
            );

            #[test]
            fn random_stories_come_to_what_the_rules_say() {
                crate::random::stories::<$engine>();
            }
        }
    };
    (@ $engine:ty, $($theme:ident)+) => {
        $(crate::cases::$theme::$theme!($engine);)+
    };
}

suite!(sqlite, semel_tests::Sqlite);
suite!(postgres, semel_tests::Postgres);
