//! Every field of a record comes back as it went in, in every state.

use super::*;

semel_tests::cases!(store_records:
    in_progress_comes_back_whole,
    completed_comes_back_whole,
    failed_comes_back_whole,
    retryable_comes_back_whole,
    dead_comes_back_whole,
    uncertain_comes_back_whole,
    an_empty_result_is_a_result,
    an_empty_checkpoint_is_not_an_absent_one,
    an_empty_delivery_is_not_an_absent_one,
    empty_texts_and_an_empty_fingerprint_stay_empty,
    bytes_of_every_value_come_back_as_they_went_in,
    texts_with_everything_but_nul_come_back_as_they_went_in,
    a_result_of_4_mib_comes_back_byte_for_byte,
    a_delivery_of_1_mib_comes_back_byte_for_byte,
    everything_at_its_longest_fits_into_one_record,
    numbers_at_their_ends_come_back_as_they_went_in,
    each_step_through_all_states_leaves_nothing_of_the_one_before,
);

/// Plants a record and finds it again.
async fn comes_back(house: &House, record: Record) {
    let id = order("k");
    if let Some(standing) = house.record(&id).await {
        let expected = (standing.fence, standing.revision);
        assert!(swap(&house.store, &id, expected, &record).await);
    } else {
        plant(&house.store, &id, &record).await;
    }
    assert_eq!(house.standing(&id).await, record);
}

pub async fn in_progress_comes_back_whole(house: House) {
    comes_back(&house, record(in_progress())).await;
}

pub async fn completed_comes_back_whole(house: House) {
    comes_back(&house, record(completed("result"))).await;
}

pub async fn failed_comes_back_whole(house: House) {
    comes_back(&house, record(failed("card declined"))).await;
}

pub async fn retryable_comes_back_whole(house: House) {
    comes_back(&house, record(resting())).await;
}

pub async fn dead_comes_back_whole(house: House) {
    comes_back(&house, record(dead())).await;
}

pub async fn uncertain_comes_back_whole(house: House) {
    comes_back(&house, record(uncertain())).await;
}

pub async fn an_empty_result_is_a_result(house: House) {
    comes_back(&house, record(completed(""))).await;
    comes_back(&house, record(failed(""))).await;
}

pub async fn an_empty_checkpoint_is_not_an_absent_one(house: House) {
    for checkpoint in [
        None,
        Some(Bytes::new()),
        None,
        Some("x".into()),
        Some(Bytes::new()),
    ] {
        comes_back(
            &house,
            Record {
                checkpoint,
                ..record(in_progress())
            },
        )
        .await;
    }
}

pub async fn an_empty_delivery_is_not_an_absent_one(house: House) {
    for delivery in [
        Some(Bytes::new()),
        None,
        Some("x".into()),
        Some(Bytes::new()),
        None,
    ] {
        comes_back(
            &house,
            Record {
                delivery,
                ..record(in_progress())
            },
        )
        .await;
    }
    // Also as the first claim brings them.
    for (key, delivery) in [("absent", None), ("empty", Some(Bytes::new()))] {
        let new = NewRecord {
            delivery: delivery.clone(),
            ..new_record(&order(key), 1)
        };
        insert(&house.store, &new).await.unwrap();
        assert_eq!(house.standing(&order(key)).await.delivery, delivery);
    }
}

pub async fn empty_texts_and_an_empty_fingerprint_stay_empty(house: House) {
    comes_back(
        &house,
        Record {
            fingerprint: Fingerprint::default(),
            owner: String::new(),
            traceparent: String::new(),
            last_error: String::new(),
            ..record(in_progress())
        },
    )
    .await;
}

pub async fn bytes_of_every_value_come_back_as_they_went_in(house: House) {
    let all: Bytes = (0..=255).collect::<Vec<u8>>().into();
    for state in [
        completed(all.clone()),
        failed(all.clone()),
        completed("\0"),
        completed("\\x41"),
    ] {
        comes_back(
            &house,
            Record {
                fingerprint: Fingerprint::from_stored(all.slice(..64)),
                checkpoint: Some(all.clone()),
                delivery: Some(all.slice(128..)),
                ..record(state)
            },
        )
        .await;
    }
}

pub async fn texts_with_everything_but_nul_come_back_as_they_went_in(house: House) {
    let text = "\u{1}\t\n\r\u{7f} '\"\\{},NULL %_ äé\u{301} 😀\u{10ffff} ";
    comes_back(
        &house,
        Record {
            owner: text.into(),
            traceparent: text.into(),
            last_error: text.into(),
            ..record(resting())
        },
    )
    .await;
}

pub async fn a_result_of_4_mib_comes_back_byte_for_byte(house: House) {
    comes_back(&house, record(completed(noise(limits::RESULT_BYTES)))).await;
    // A longer one leaves nothing behind when a shorter one follows.
    comes_back(&house, record(failed(noise(limits::RESULT_BYTES / 2 + 1)))).await;
}

pub async fn a_delivery_of_1_mib_comes_back_byte_for_byte(house: House) {
    let id = bulk("k");
    let delivery = noise(limits::DELIVERY_BODY_BYTES + limits::DELIVERY_HEADER_BYTES);
    let new = NewRecord {
        delivery: Some(delivery.clone()),
        ..new_record(&id, 1)
    };
    insert(&house.store, &new).await.unwrap();
    assert_eq!(house.standing(&id).await.delivery, Some(delivery));
}

pub async fn everything_at_its_longest_fits_into_one_record(house: House) {
    comes_back(
        &house,
        Record {
            fingerprint: Fingerprint::from_stored(noise(limits::FINGERPRINT_BYTES)),
            owner: "ö".repeat(limits::OWNER_BYTES / 2),
            traceparent: "t".repeat(limits::TRACEPARENT_BYTES),
            last_error: "e".repeat(limits::ERROR_BYTES),
            checkpoint: Some(noise(limits::CHECKPOINT_BYTES)),
            delivery: Some(noise(limits::DELIVERY_BODY_BYTES)),
            ..record(failed(noise(limits::RESULT_BYTES)))
        },
    )
    .await;
}

pub async fn numbers_at_their_ends_come_back_as_they_went_in(house: House) {
    let (first, last) = (Timestamp::MIN, Timestamp::MAX);
    for (policy, fence, revision, times, id) in [
        (i64::MIN, i64::MAX - 1, i32::MAX, (first, last), [0xff; 16]),
        (i64::MAX, 1, 0, (last, first), [0x01; 16]),
        (
            0,
            0,
            1,
            (Timestamp::from_micros(0), Timestamp::from_micros(-1)),
            [0x80; 16],
        ),
    ] {
        let settled = Settled {
            at: times.0,
            expires_at: times.1,
        };
        comes_back(
            &house,
            Record {
                attempt_id: AttemptId::from_stored(id),
                policy_id: PolicyId::from_i64(policy),
                fence: Fence::from_i64(fence),
                revision,
                attempt: limits::ATTEMPTS_MAX,
                created_at: times.0,
                claimed_at: times.1,
                ..record(State::Retryable {
                    not_before: times.0,
                    settled,
                })
            },
        )
        .await;
    }
}

pub async fn each_step_through_all_states_leaves_nothing_of_the_one_before(house: House) {
    let states = [
        in_progress(),
        completed("r"),
        uncertain(),
        failed("f"),
        dead(),
        resting(),
    ];
    // Every state after every other one.
    for before in &states {
        for after in &states {
            comes_back(&house, record(before.clone())).await;
            comes_back(&house, record(after.clone())).await;
        }
    }
}
