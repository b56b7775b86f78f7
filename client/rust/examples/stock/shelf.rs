//! The shelf: stock in a database, and beside it what was decided for each event, under which fence.
//!
//! Semel lets one holder at a time act, and tells everybody else what came of it. Two things no lease
//! can see to, and the database does:
//!
//! - **A holder that dies between its effect and its word of it.** The decision is committed with the
//!   stock, so that the next holder finds it and says the same.
//! - **A holder that was paused, lost its lease, and goes on.** The fence of the last holder that was
//!   here is beside the decision, and a smaller one is refused.

use serde::Deserialize;
use sqlx::{AnyConnection, AnyPool, any::AnyPoolOptions};

const SCHEMA: [&str; 3] = [
    "CREATE TABLE IF NOT EXISTS stock (sku TEXT PRIMARY KEY, quantity BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS orders (
        event TEXT PRIMARY KEY,
        fence BIGINT NOT NULL,
        order_id TEXT NOT NULL,
        sku TEXT NOT NULL,
        quantity BIGINT NOT NULL,
        -- NULL only within the transaction that decides.
        is_taken BIGINT,
        remaining BIGINT
    )",
    "INSERT INTO stock VALUES ('mug', 10), ('shirt', 3) ON CONFLICT DO NOTHING",
];

/// Locks the event's row, puts the fence down, and finds what was decided before. No row: a holder with
/// a larger fence was here.
const ENTER: &str = "INSERT INTO orders (event, fence, order_id, sku, quantity)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (event) DO UPDATE SET fence = excluded.fence WHERE orders.fence <= excluded.fence
    RETURNING is_taken, remaining";
const TAKE: &str = "UPDATE stock SET quantity = quantity - $1
    WHERE sku = $2 AND quantity >= $1
    RETURNING quantity";
const LEVEL: &str = "SELECT quantity FROM stock WHERE sku = $1";
const DECIDE: &str = "UPDATE orders SET is_taken = $1, remaining = $2 WHERE event = $3";

/// A paid order.
#[derive(Debug, Clone, Deserialize)]
pub struct Order {
    /// Which.
    pub order: String,
    /// What was bought.
    pub sku: String,
    /// How many.
    pub quantity: u32,
}

/// What was decided for an event, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether the stock was taken; if not, there was too little.
    pub is_taken: bool,
    /// How many were left.
    pub remaining: i64,
}

/// Why nothing was decided, and nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum Undecided {
    /// It is not for this holder any more.
    #[error("a later holder was here")]
    LaterHolder,
    /// The database did not do it.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// A shelf. Cheap to clone; clones are the same shelf.
#[derive(Clone)]
pub struct Shelf(AnyPool);

impl Shelf {
    /// Opens the database at `url`, with some stock if it is new.
    pub async fn open(url: &str) -> Result<Self, sqlx::Error> {
        sqlx::any::install_default_drivers();
        // SQLite has one writer at a time: the others wait in a row here, and not for its lock.
        let connections = if url.starts_with("sqlite:") { 1 } else { 8 };
        let pool = AnyPoolOptions::new().max_connections(connections);
        let pool = pool.connect(url).await?;
        for statement in SCHEMA {
            sqlx::query(statement).execute(&pool).await?;
        }
        Ok(Self(pool))
    }

    /// Takes what the order asks for, under the key and the fence of a claim.
    pub async fn take(
        &self,
        event: &str,
        fence: i64,
        order: &Order,
    ) -> Result<Decision, Undecided> {
        // The first statement writes, so that SQLite's lock is taken at the beginning. What ends
        // without a commit is rolled back.
        let mut transaction = self.0.begin().await?;
        let found: Option<(Option<i64>, Option<i64>)> = sqlx::query_as(ENTER)
            .bind(event)
            .bind(fence)
            .bind(&order.order)
            .bind(&order.sku)
            .bind(i64::from(order.quantity))
            .fetch_optional(&mut *transaction)
            .await?;
        let decision = match found {
            None => return Err(Undecided::LaterHolder),
            // An earlier holder came so far and no further.
            Some((Some(is_taken), Some(remaining))) => Decision {
                is_taken: is_taken != 0,
                remaining,
            },
            Some(_) => decide(&mut transaction, event, order).await?,
        };
        transaction.commit().await?;
        Ok(decision)
    }

    /// What is on the shelf.
    pub async fn levels(&self) -> Result<Vec<(String, i64)>, sqlx::Error> {
        let levels = sqlx::query_as("SELECT sku, quantity FROM stock ORDER BY sku");
        levels.fetch_all(&self.0).await
    }

    /// Closes its connections.
    pub async fn close(&self) {
        self.0.close().await;
    }
}

/// The first and only time.
async fn decide(
    transaction: &mut AnyConnection,
    event: &str,
    order: &Order,
) -> Result<Decision, sqlx::Error> {
    let taken: Option<(i64,)> = sqlx::query_as(TAKE)
        .bind(i64::from(order.quantity))
        .bind(&order.sku)
        .fetch_optional(&mut *transaction)
        .await?;
    let level: Option<(i64,)> = match taken {
        Some(_) => taken,
        None => {
            let level = sqlx::query_as(LEVEL).bind(&order.sku);
            level.fetch_optional(&mut *transaction).await?
        }
    };
    let decision = Decision {
        is_taken: taken.is_some(),
        remaining: level.map_or(0, |(quantity,)| quantity),
    };
    sqlx::query(DECIDE)
        .bind(i64::from(decision.is_taken))
        .bind(decision.remaining)
        .bind(event)
        .execute(transaction)
        .await?;
    Ok(decision)
}
