//! Stripe: marks orders as paid.

use axum::{body::Bytes, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::Value;

use crate::books::Books;

/// Any event.
#[derive(Deserialize)]
struct Event {
    r#type: String,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Value,
}

/// The part of a checkout session that counts.
#[derive(Deserialize)]
struct Session {
    /// What the shop named the order when it made the session.
    client_reference_id: Option<String>,
    payment_status: String,
}

/// Runs once for each event. What it answers is what every duplicate is answered.
pub async fn handle(
    State(books): State<Books>,
    body: Bytes,
) -> Result<String, (StatusCode, String)> {
    // 400 is final: the same body would not be read the next time either.
    let unreadable = |error: serde_json::Error| (StatusCode::BAD_REQUEST, error.to_string());
    let event: Event = serde_json::from_slice(&body).map_err(unreadable)?;
    // The second one ends a payment that takes days, such as a transfer.
    if ![
        "checkout.session.completed",
        "checkout.session.async_payment_succeeded",
    ]
    .contains(&event.r#type.as_str())
    {
        return Ok("ignored\n".to_owned());
    }
    let session: Session = serde_json::from_value(event.data.object).map_err(unreadable)?;
    match session.client_reference_id {
        Some(order) if session.payment_status == "paid" => {
            let paid = books.mark_as_paid(&order);
            println!("stripe: order {order} is paid, {paid} in all");
            Ok(format!("order {order} is paid\n"))
        }
        _ => Ok("ignored\n".to_owned()),
    }
}
