//! Which policy a namespace has now, and which one a record was claimed under.
//!
//! Policies live in the store, so that all servers on it agree; this is a copy in memory that a
//! background task renews. A record's policy is looked up by its id, which names the same settings
//! for ever; an id that is not known yet was stored by another server, and one renewal finds it.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::{
    key::{Invalid, Memory, Namespace, Policy, PolicyId, PolicySettings, Span},
    store::{SharedStore, StoreError},
};

/// How often the copy is renewed: the longest that servers can disagree about a new policy.
const RENEWAL: Duration = Duration::from_secs(5);

/// For so long after a change another server may still claim under the old policy, because its copy
/// is not renewed yet.
const STALE: Span = Span::from_secs(10);

/// The policies that the server knows.
#[derive(Debug)]
pub struct Policies {
    known: RwLock<Known>,
}

#[derive(Debug, Clone)]
struct Known {
    by_id: HashMap<PolicyId, Arc<Policy>>,
    by_namespace: HashMap<Namespace, NamespacePolicy>,
    /// Of every namespace that nobody configured.
    unconfigured: NamespacePolicy,
}

/// What a namespace asks of a new claim.
#[derive(Debug, Clone)]
pub struct NamespacePolicy {
    /// The policy.
    pub policy: Arc<Policy>,
    /// What it may have forgotten although the policy says otherwise.
    pub memory: Memory,
}

/// Why policies could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store holds a policy that this version does not understand.
    #[error("policy {} in the store is not one this version understands: {problem}", .id.as_i64())]
    Unreadable {
        /// Its id.
        id: PolicyId,
        /// What is wrong with it.
        problem: String,
    },
}

impl Policies {
    /// Stores the policy of namespaces that nobody configured and the configured ones' policies,
    /// where they differ from what the store has, and reads what else it has.
    ///
    /// Servers on one store share them all: the configuration that was read last holds. One that
    /// says nothing about unconfigured namespaces leaves their policy as it is, and gives them the
    /// built-in one only where they have none yet.
    ///
    /// # Errors
    /// When the store fails, or holds a policy that this version cannot read.
    pub async fn seed(
        store: &SharedStore,
        unconfigured: Option<Policy>,
        namespaces: Vec<(Namespace, Policy)>,
    ) -> Result<Self, PolicyError> {
        let mut known = Known {
            by_id: HashMap::new(),
            by_namespace: HashMap::new(),
            unconfigured: NamespacePolicy {
                policy: Arc::new(unconfigured.clone().unwrap_or_else(Policy::built_in)),
                memory: Memory::FULL,
            },
        };
        known.renew(store).await?;
        let is_new = !known.by_namespace.contains_key(&Namespace::unconfigured());
        let unconfigured = unconfigured
            .or_else(|| is_new.then(Policy::built_in))
            .map(|policy| (Namespace::unconfigured(), policy));
        let configured = unconfigured.into_iter().chain(namespaces);
        // Read again after all of them: until then `known` is what has held so far.
        for (namespace, policy) in configured {
            let standing = known.by_namespace.get(&namespace);
            if standing.is_some_and(|standing| standing.policy.id() == policy.id()) {
                continue;
            }
            store
                .put_policy(policy.id(), &policy.canonical_text())
                .await?;
            let remembered = known.remembered(&namespace);
            let remembered_until_now = (policy.retention() > remembered).then_some(remembered);
            store
                .put_namespace(&namespace, policy.id(), remembered_until_now)
                .await?;
            tracing::info!(%namespace, policy = policy.id().as_i64(), "policy set");
        }
        known.renew(store).await?;
        Ok(Self {
            known: RwLock::new(known),
        })
    }

    /// The policy for new claims in `namespace`.
    pub fn of(&self, namespace: &Namespace) -> NamespacePolicy {
        self.read().of(namespace).clone()
    }

    /// The policy that a record or a token names, if it is known here.
    pub fn by_id(&self, id: PolicyId) -> Option<Arc<Policy>> {
        self.read().by_id.get(&id).cloned()
    }

    /// The retention of new claims in each configured namespace, and in all others.
    pub fn retentions(&self) -> Vec<(Namespace, Span)> {
        let known = self.read();
        let of = |(namespace, it): (&Namespace, &NamespacePolicy)| {
            (namespace.clone(), it.policy.retention())
        };
        known.by_namespace.iter().map(of).collect()
    }

    /// Reads everything from the store again.
    ///
    /// # Errors
    /// When the store fails, or holds a policy that this version cannot read.
    pub async fn renew(&self, store: &SharedStore) -> Result<(), PolicyError> {
        let mut known = self.read().clone();
        known.renew(store).await?;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(())
    }

    /// Renews the copy until `stop`. A failed renewal leaves the last one in use.
    pub async fn keep_renewed(self: Arc<Self>, store: SharedStore, stop: CancellationToken) {
        let mut is_failing = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RENEWAL) => {}
            }
            let renewed = self.renew(&store).await;
            // Once, however long the store is away.
            let was_failing = std::mem::replace(&mut is_failing, renewed.is_err());
            if let (Err(error), false) = (renewed, was_failing) {
                tracing::warn!(%error, "policies could not be renewed; the last ones stay in use");
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn of(&self, namespace: &Namespace) -> &NamespacePolicy {
        self.by_namespace
            .get(namespace)
            .unwrap_or(&self.unconfigured)
    }

    /// How long the outcomes of `namespace` have been kept at the least. One without a policy of
    /// its own had the others', and what those may have forgotten: the store keeps that in mind for
    /// namespaces that have a row only.
    fn remembered(&self, namespace: &Namespace) -> Span {
        let NamespacePolicy { policy, memory } = self.of(namespace);
        let has_row = self.by_namespace.contains_key(namespace);
        if has_row || *memory == Memory::FULL {
            policy.retention()
        } else {
            policy.retention().min(memory.shorter_retention)
        }
    }

    async fn renew(&mut self, store: &SharedStore) -> Result<(), PolicyError> {
        // Namespaces first: every policy they name is then among those read after them.
        let rows = store.namespaces().await?;
        for (id, text) in store.policies().await? {
            // An id names the same text for ever, so what is known need not be read again.
            if let Entry::Vacant(unknown) = self.by_id.entry(id) {
                unknown.insert(Arc::new(read(id, &text)?));
            }
        }
        for row in rows {
            let named = self.by_id.get(&row.policy);
            let policy = named.cloned().ok_or_else(|| PolicyError::Unreadable {
                id: row.policy,
                problem: format!("namespace {} names it, but it is not there", row.namespace),
            })?;
            let mut memory = row.memory;
            if memory != Memory::FULL {
                memory.shorter_until = memory.shorter_until + STALE;
            }
            let in_force = NamespacePolicy { policy, memory };
            if row.namespace == Namespace::unconfigured() {
                self.unconfigured = in_force.clone();
            }
            self.by_namespace.insert(row.namespace, in_force);
        }
        Ok(())
    }
}

fn read(id: PolicyId, text: &str) -> Result<Policy, PolicyError> {
    let unreadable = |problem: String| PolicyError::Unreadable { id, problem };
    let settings: PolicySettings =
        serde_json::from_str(text).map_err(|error| unreadable(error.to_string()))?;
    let policy = Policy::new(settings).map_err(|problems| {
        unreadable(
            problems
                .iter()
                .map(Invalid::to_string)
                .collect::<Vec<_>>()
                .join("; "),
        )
    })?;
    if policy.id() != id {
        return Err(unreadable(format!(
            "its text has the id {}",
            policy.id().as_i64()
        )));
    }
    Ok(policy)
}
