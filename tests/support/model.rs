//! The rules on a map: what every store has to come to, one command after another.

use std::{collections::HashMap, sync::Arc};

use semel_server::key::{
    Fence, KeyId, Policy, Record, Timestamp,
    transition::{ClaimGrant, ClaimReply, Command, Decision, Refusal, Reply, Standing, decide},
};

/// Keys in memory, decided by the same rules as everywhere.
#[derive(Debug)]
pub struct Model {
    standing: HashMap<KeyId, Standing>,
    /// The greatest fence that was purged.
    floor: Fence,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            standing: HashMap::new(),
            floor: Fence::from_i64(0),
        }
    }
}

impl Model {
    /// Carries out one command at `now`.
    ///
    /// # Errors
    /// When the rules refuse it.
    ///
    /// # Panics
    /// When the rules decide what no store could do.
    pub fn call(
        &mut self,
        id: &KeyId,
        command: &Command,
        now: Timestamp,
    ) -> Result<Reply, Refusal> {
        let standing = self.standing.get(id);
        match decide(id, command, standing, now) {
            Decision::Answer(answer) => answer,
            Decision::Insert(new) => {
                assert!(standing.is_none(), "an insert where something stands");
                assert!(now <= new.insert_until, "an insert that would miss");
                let record = new.inserted(self.floor.next(now), now);
                let grant = ClaimGrant::of(&record, now);
                self.stands(id, record, command);
                Ok(Reply::Claim(ClaimReply::Claimed(grant)))
            }
            Decision::Replace { record, reply } => {
                let old = &standing.expect("a change of what stands").record;
                let changed = (record.fence, record.revision) > (old.fence, old.revision);
                assert!(changed, "a change that a compare-and-swap would not notice");
                self.stands(id, *record, command);
                Ok(reply)
            }
        }
    }

    /// What stands under a key, forgotten or not.
    pub fn record(&self, id: &KeyId) -> Option<&Record> {
        self.standing.get(id).map(|standing| &standing.record)
    }

    /// The store has purged the key at `now`.
    ///
    /// # Panics
    /// When it must not have.
    pub fn purged(&mut self, id: &KeyId, now: Timestamp) {
        let Standing { record, .. } = self.standing.remove(id).expect("something stood there");
        assert!(
            record.is_forgotten(now),
            "purged, but not past its retention: {record:?}"
        );
        self.floor = self.floor.max(record.fence);
    }

    fn stands(&mut self, id: &KeyId, record: Record, command: &Command) {
        let policy = self.policy(id, &record, command);
        self.standing
            .insert(id.clone(), Standing { record, policy });
    }

    /// The policy that a record was written under: the one it had, or the Claim's.
    fn policy(&self, id: &KeyId, record: &Record, command: &Command) -> Arc<Policy> {
        if let Some(old) = self.standing.get(id)
            && old.policy.id() == record.policy_id
        {
            return old.policy.clone();
        }
        match command {
            Command::Claim(claim) if claim.policy.id() == record.policy_id => claim.policy.clone(),
            other => panic!("{other:?} has changed the policy"),
        }
    }
}
