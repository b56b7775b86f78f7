//! The webhook `order.paid`, and a look at the shelf.

use axum::{
    Extension,
    body::Bytes,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use semel_client::Context;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::shelf::{Order, Shelf, Undecided};

/// An event, as Standard Webhooks writes it.
#[derive(Deserialize)]
struct Event {
    r#type: String,
    data: Value,
}

/// Runs once for each event, and again when it fails or dies.
pub async fn handle(
    State(shelf): State<Shelf>,
    Extension(work): Extension<Context>,
    body: Bytes,
) -> Response {
    let order = match order_in(&body) {
        Ok(Some(order)) => order,
        Ok(None) => return answer(StatusCode::OK, &json!({"status": "ignored"})),
        // Final: the same body would not be read the next time either.
        Err(error) => {
            return answer(
                StatusCode::BAD_REQUEST,
                &json!({"error": error.to_string()}),
            );
        }
    };
    let event = work.held().key();
    match shelf.take(event, work.fence().get(), &order).await {
        // 200 also where the answer is no: the event was handled, and is not to be sent again.
        Ok(decision) => {
            let status = if decision.is_taken {
                "taken"
            } else {
                "out of stock"
            };
            let remaining = decision.remaining;
            println!(
                "{}: {} {}, {remaining} left",
                order.order, order.sku, status
            );
            let said = json!({"order": order.order, "status": status, "remaining": remaining});
            answer(StatusCode::OK, &said)
        }
        Err(error) => come_again(&error),
    }
}

/// What is on the shelf.
pub async fn stock(State(shelf): State<Shelf>) -> Response {
    match shelf.levels().await {
        Ok(levels) => {
            let levels = levels.into_iter().map(|(sku, n)| (sku, Value::from(n)));
            answer(StatusCode::OK, &Value::Object(levels.collect()))
        }
        Err(error) => come_again(&error.into()),
    }
}

fn order_in(body: &[u8]) -> Result<Option<Order>, serde_json::Error> {
    let event: Event = serde_json::from_slice(body)?;
    match event.r#type.as_str() {
        "order.paid" => serde_json::from_value(event.data).map(Some),
        _ => Ok(None),
    }
}

/// Not final: the sender comes again, and by then it is done or can be done.
fn come_again(error: &Undecided) -> Response {
    tracing::warn!(%error, "nothing was decided");
    let said = json!({"error": "the stock cannot be taken now"});
    answer(StatusCode::SERVICE_UNAVAILABLE, &said)
}

fn answer(status: StatusCode, said: &Value) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (status, json, said.to_string()).into_response()
}
