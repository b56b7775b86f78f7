//! Keys are bytes: never folded, normalised, trimmed or read as anything else.

use super::*;

semel_tests::cases!(store_keys:
    keys_that_differ_by_case_only_are_two,
    keys_that_differ_by_normalisation_only_are_two,
    keys_that_differ_by_compatibility_only_are_two,
    keys_that_differ_by_blanks_only_are_two,
    keys_that_differ_by_an_invisible_character_only_are_two,
    keys_that_are_the_beginning_of_one_another_are_two,
    keys_that_look_like_sql_or_arrays_or_null_are_only_keys,
    keys_of_every_plane_come_back_as_they_went_in,
    the_longest_keys_and_namespaces_are_kept_whole,
    the_same_key_in_two_namespaces_is_two,
    keys_of_one_bucket_and_one_name_in_two_namespaces_are_two,
    where_the_namespace_ends_and_the_key_begins_counts,
    every_printable_ascii_character_makes_a_key_of_its_own,
);

/// Claims every key, gives each a result of its own, and finds all of them apart.
async fn are_apart(house: &House, ids: &[KeyId]) {
    let mut grants = Vec::new();
    for (n, id) in (1..).zip(ids) {
        assert_eq!(
            house.lookup_word(id).await,
            "NOT_FOUND",
            "{:?} before its claim",
            id.key()
        );
        grants.push(house.claimed(id, n).await);
    }
    for (n, (id, grant)) in ids.iter().zip(grants).enumerate() {
        let stored = house.word(id, complete(grant.token, n.to_string())).await;
        assert_eq!(stored, "stored", "{:?}", id.key());
    }
    // One by one, and all in one batch.
    let loaded = load(&house.store, ids).await.records;
    for (n, (id, loaded)) in ids.iter().zip(loaded).enumerate() {
        let (outcome, _) = house.look(id).await;
        let Outcome::Completed { result, .. } = outcome else {
            panic!("{:?} is {outcome:?}", id.key())
        };
        assert_eq!(result, n.to_string(), "{:?}", id.key());
        let state = loaded.expect("it stands").state;
        assert!(matches!(&state, State::Completed { result, .. } if *result == n.to_string()));
    }
}

fn all_orders<const N: usize>(keys: [&str; N]) -> Vec<KeyId> {
    keys.map(order).to_vec()
}

pub async fn keys_that_differ_by_case_only_are_two(house: House) {
    are_apart(
        &house,
        &all_orders(["order", "Order", "ORDER", "straße", "STRASSE", "ß", "ẞ"]),
    )
    .await;
    are_apart(&house, &all_orders(["i", "I", "ı", "İ", "σ", "ς", "Σ"])).await;
}

pub async fn keys_that_differ_by_normalisation_only_are_two(house: House) {
    are_apart(
        &house,
        &all_orders(["\u{e9}", "e\u{301}", "\u{1e69}", "s\u{323}\u{307}"]),
    )
    .await;
    are_apart(
        &house,
        &all_orders(["\u{ac00}", "\u{1100}\u{1161}", "\u{212b}", "\u{c5}"]),
    )
    .await;
}

pub async fn keys_that_differ_by_compatibility_only_are_two(house: House) {
    are_apart(
        &house,
        &all_orders(["fi", "ﬁ", "1", "１", "①", "x²", "x2", "K", "\u{212a}"]),
    )
    .await;
}

pub async fn keys_that_differ_by_blanks_only_are_two(house: House) {
    let blanks = [
        "k",
        "k ",
        " k",
        "k  ",
        " ",
        "  ",
        "k\u{a0}",
        "\u{2003}k",
        "k\u{3000}",
    ];
    are_apart(&house, &all_orders(blanks)).await;
}

pub async fn keys_that_differ_by_an_invisible_character_only_are_two(house: House) {
    let invisible = [
        "k",
        "k\u{200b}",
        "\u{feff}k",
        "k\u{200d}",
        "\u{202e}k",
        "k\u{ad}",
        "k\u{fe0f}",
    ];
    are_apart(&house, &all_orders(invisible)).await;
}

pub async fn keys_that_are_the_beginning_of_one_another_are_two(house: House) {
    are_apart(
        &house,
        &all_orders(["a", "aa", "aaa", "a/", "a/1", "a/10", "a/1/"]),
    )
    .await;
}

pub async fn keys_that_look_like_sql_or_arrays_or_null_are_only_keys(house: House) {
    let odd = [
        "'",
        "''",
        "\"",
        "\\",
        "\\\\",
        "\\x00",
        "{a,b}",
        "{",
        "}",
        ",",
        "NULL",
        "null",
        "{NULL}",
        "%",
        "_",
        "%%",
        "'; DROP TABLE records; --",
        "$1",
        "?",
        "?1",
        ":k",
        "E'\\n'",
        "(a,b)",
        "[1:2]={1,2}",
        "true",
        "0",
        "00",
        "-0",
        "1e3",
        "0x10",
    ];
    are_apart(&house, &all_orders(odd)).await;
}

pub async fn keys_of_every_plane_come_back_as_they_went_in(house: House) {
    let planes = [
        "\u{7e}",
        "\u{a1}",
        "\u{7ff}",
        "\u{800}",
        "\u{d7ff}",
        "\u{e000}",
        "\u{fffd}",
        "\u{ffff}",
        "\u{10000}",
        "😀",
        "👩‍👩‍👧",
        "\u{10ffff}",
        "中文",
        "العربية",
        "ไทย",
    ];
    are_apart(&house, &all_orders(planes)).await;
}

pub async fn the_longest_keys_and_namespaces_are_kept_whole(house: House) {
    let namespace = "n".repeat(64);
    let long = "k".repeat(254);
    let ids = [
        key_in(&namespace, &format!("{long}a")),
        key_in(&namespace, &format!("{long}b")),
        key_in(&namespace, &long),
        key_in(&namespace, &"😀".repeat(63)),
        key_in(&namespace, &"é".repeat(127)),
        key_in(&namespace[1..], &long),
    ];
    are_apart(&house, &ids).await;
}

pub async fn the_same_key_in_two_namespaces_is_two(house: House) {
    let ids = [
        order("k"),
        bulk("k"),
        key_in("a", "k"),
        key_in("a.", "k"),
        key_in("-a", "k"),
    ];
    are_apart(&house, &ids).await;
}

pub async fn keys_of_one_bucket_and_one_name_in_two_namespaces_are_two(house: House) {
    are_apart(&house, &neighbours()).await;
}

pub async fn where_the_namespace_ends_and_the_key_begins_counts(house: House) {
    let ids = [
        ("a", "bc"),
        ("ab", "c"),
        ("a.b", "c"),
        ("a", ".bc"),
        ("a", "b.c"),
        ("a.b.c", "c"),
    ];
    are_apart(&house, &ids.map(|(namespace, key)| key_in(namespace, key))).await;
}

pub async fn every_printable_ascii_character_makes_a_key_of_its_own(house: House) {
    let ids: Vec<_> = (b' '..=b'~')
        .map(|c| order(&char::from(c).to_string()))
        .collect();
    assert_eq!(ids.len(), 95);
    are_apart(&house, &ids).await;
}
