//! Server settings of one cluster.

/// Settings that a cluster starts with: sound defaults, and whatever a test adds.
///
/// They are passed as `-c name=value`, so they also outrank `ALTER SYSTEM`.
#[derive(Clone, Debug)]
pub struct Settings {
    values: Vec<(String, String)>,
}

impl Settings {
    /// Durable like production (fsync and synchronous commit on), room for many
    /// connections, and the same answers on every machine (UTC).
    pub fn new() -> Self {
        let defaults = [
            ("fsync", "on"),
            ("synchronous_commit", "on"),
            ("full_page_writes", "on"),
            ("max_connections", "200"),
            ("shared_buffers", "128MB"),
            ("timezone", "UTC"),
            ("log_timezone", "UTC"),
            ("log_line_prefix", "%m [%p] %d "),
        ];
        Self {
            values: defaults.map(|(n, v)| (n.into(), v.into())).into(),
        }
    }

    /// Sets `name` to `value`, in place of a default or an earlier value.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        self.values.retain(|(known, _)| *known != name);
        self.values.push((name, value));
        self
    }

    /// The settings as arguments of `postgres`.
    pub(crate) fn arguments(&self) -> impl Iterator<Item = String> + '_ {
        self.values
            .iter()
            .flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")])
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::Settings;

    #[test]
    fn a_setting_replaces_the_default_of_the_same_name() {
        let arguments: Vec<_> = Settings::new()
            .set("max_connections", "7")
            .arguments()
            .filter(|argument| argument.starts_with("max_connections"))
            .collect();
        assert_eq!(arguments, ["max_connections=7"]);
    }

    #[test]
    fn durability_is_on_unless_a_test_turns_it_off() {
        let arguments: Vec<_> = Settings::new().arguments().collect();
        assert!(arguments.contains(&"fsync=on".to_owned()));
        assert!(arguments.contains(&"synchronous_commit=on".to_owned()));
    }
}
