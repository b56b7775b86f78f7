//! How a case becomes one test for each engine.

use std::{panic, sync::Arc, time::Duration};

use crate::{Database, Engine, House};

/// The longest that a case may take. A wait that never ends fails here.
pub const BOUND: Duration = Duration::from_secs(60);

/// Runs one case in a house of its own, and removes the house also when the case panics.
pub async fn run<E: Engine, F>(case: impl FnOnce(House) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    run_on(E::create().await, case).await;
}

/// Runs one case on a database, and removes that also when the case panics.
pub async fn run_on<F>(database: Arc<dyn Database>, case: impl FnOnce(House) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let house = House::open(database.clone()).await;
    let outcome = tokio::spawn(tokio::time::timeout(BOUND, case(house))).await;
    database.remove().await;
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(_)) => panic!("the case has not ended within {BOUND:?}"),
        Err(error) => match error.try_into_panic() {
            Ok(payload) => panic::resume_unwind(payload),
            Err(error) => panic!("the case was cut off: {error}"),
        },
    }
}

/// What comes of `future`, which has to come soon.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("not within 20 seconds")
}

/// Names the cases of one file, `cases/<theme>.rs`, and makes a macro of the theme's name that makes
/// a test of each on one engine; it has to be called in a module of the crate's root. A case that is
/// not named is dead code, and the compiler says so.
#[macro_export]
macro_rules! cases {
    ($theme:ident: $($case:ident),+ $(,)?) => {
        $crate::cases!(@ ($) $theme $($case)+);
    };
    (@ ($d:tt) $theme:ident $($case:ident)+) => {
        macro_rules! $theme {
            ($d engine:ty) => {
                mod $theme {
                    $(
                        #[tokio::test]
                        async fn $case() {
                            $crate::run::<$d engine, _>(super::super::cases::$theme::$case).await;
                        }
                    )+
                }
            };
        }
        pub(crate) use $theme;
    };
}
