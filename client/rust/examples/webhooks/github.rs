//! GitHub: counts stars.

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use serde::Deserialize;

use crate::books::Books;

/// The part of a `star` event that counts.
#[derive(Deserialize)]
struct Star {
    action: String,
    repository: Repository,
}

#[derive(Deserialize)]
struct Repository {
    full_name: String,
}

/// Runs once for each delivery. What it answers is what every duplicate is answered.
pub async fn handle(
    State(books): State<Books>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<String, (StatusCode, String)> {
    let event = headers.get("x-github-event");
    if event.is_none_or(|event| event != "star") {
        return Ok("ignored\n".to_owned());
    }
    // 400 is final: the same body would not be read the next time either.
    let star: Star = serde_json::from_slice(&body)
        .map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    let change = match star.action.as_str() {
        "created" => 1,
        "deleted" => -1,
        _ => return Ok("ignored\n".to_owned()),
    };
    let repository = star.repository.full_name;
    let stars = books.count_star(&repository, change);
    println!("github: {repository}: {stars} stars");
    Ok(format!("{repository}: {stars} stars\n"))
}
