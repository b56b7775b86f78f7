//! Calls that nobody waits for any more, and calls that break off.

use std::{
    pin::{Pin, pin},
    sync::{Arc, Mutex, mpsc},
    task::{Context, Poll, Waker},
};

use super::*;

/// Keeps the writer busy until what is given back is dropped; nobody awaits the call.
async fn hold_up(store: &SqliteStore) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel::<()>();
    let (started, has_started) = tokio::sync::oneshot::channel();
    let call = pin!(store.read(move |_, _| {
        started.send(()).unwrap();
        let _ = held.recv();
        Ok(())
    }));
    assert!(poll_once(call).is_none());
    has_started.await.unwrap();
    release
}

/// Enough to send a call on its way.
fn poll_once<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[tokio::test]
async fn a_call_that_was_dropped_runs_to_its_end_and_leaves_nothing_open() {
    let Fresh { store, .. } = &Fresh::open().await;
    let release = hold_up(store).await;
    let ids = testing::ids("n", 50);
    {
        let records: Vec<_> = ids.iter().map(testing::claim).collect();
        let refs: Vec<_> = records.iter().collect();
        assert!(poll_once(pin!(store.insert_if_absent(0, &refs))).is_none());
    }
    drop(release);
    store.ready().await.unwrap();
    for id in &ids {
        assert!(testing::load(store, id).await.is_some());
    }
}

#[tokio::test]
async fn those_that_stop_waiting_leave_nothing_behind() {
    let Fresh { store, .. } = &Fresh::open().await;
    let release = hold_up(store).await;
    let done = Arc::new(Mutex::new(0));
    for _ in 0..20 {
        let done = done.clone();
        let call = pin!(store.read(move |_, _| {
            *done.lock().unwrap() += 1;
            Ok(())
        }));
        assert!(poll_once(call).is_none());
    }
    drop(release);
    store.ready().await.unwrap();
    assert_eq!(*done.lock().unwrap(), 1, "there is one place to wait in");
}

#[tokio::test]
async fn a_store_that_hangs_is_not_ready_and_is_again_when_it_goes_on() {
    let Fresh { store, .. } = &Fresh::open().await;
    let release = hold_up(store).await;
    let hangs = store.ready().await;
    assert!(
        matches!(hangs, Err(StoreError::Unavailable(_))),
        "{hangs:?}"
    );
    drop(release);
    store.ready().await.unwrap();
}

fn in_the_middle_of_it() -> Result<(), CallError> {
    panic!("in the middle of it")
}

#[tokio::test]
async fn a_panic_goes_on_where_the_call_was_made_and_undoes_what_it_had_written() {
    let Fresh {
        directory: _directory,
        store,
        ..
    } = Fresh::open().await;
    let store = Arc::new(store);
    let id = testing::id("n");
    let claim = testing::claim(&id);
    let panicking = tokio::spawn({
        let store = store.clone();
        async move {
            let call = store.write(move |transaction, keys, now| {
                batches::insert_if_absent(transaction, keys, now, &[claim])?;
                in_the_middle_of_it()
            });
            call.await
        }
    });
    assert!(panicking.await.unwrap_err().is_panic());
    assert_eq!(testing::load(&*store, &id).await, None);
    testing::claim_all(&*store, &[id]).await;
}

#[tokio::test]
async fn a_store_that_is_dropped_finishes_its_call_before_it_lets_the_directory_go() {
    let Fresh {
        directory, store, ..
    } = Fresh::open().await;
    let release = hold_up(&store).await;
    drop(store);
    let again = || SqliteStore::open(directory.path(), SqliteOptions::default());
    assert!(matches!(again().await, Err(OpenError::Locked { .. })));
    drop(release);
    for _ in 0..1_000 {
        if again().await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the directory stays locked");
}
