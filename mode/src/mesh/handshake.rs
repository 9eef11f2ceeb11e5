//! What processes tell each other before the first step: who does not have the same can't train together.

use super::layout::Layout;
use crate::{Error, files};
use serde::{Deserialize, Serialize};

/// Digits of a hash that people are shown.
const SHOWN: usize = 12;

/// What must be the same in all processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// The program's version.
    pub(crate) version: String,
    /// The hash of the recipe, but for where it is saved and how often, and of the weights that it begins with.
    pub(crate) recipe: String,
    /// The layout, in words.
    pub(crate) layout: String,
    /// The names of experts whose weights stay with their owners.
    pub(crate) private: String,
}

impl Hello {
    /// What this process has; `weights` are hashes of the files that the recipe reads them from.
    ///
    /// # Errors
    /// None that a recipe which was read could lead to.
    pub(crate) fn new(
        recipe: &impl Serialize,
        weights: &[String],
        layout: &Layout,
        private: &[&str],
    ) -> Result<Self, Error> {
        let broken = |source| Error::Json { path: "recipe".into(), source };
        let mut value = serde_json::to_value(recipe).map_err(broken)?;
        if let Some(table) = value.as_object_mut() {
            table.retain(|key, _| !["out", "checkpoint", "mesh"].contains(&key.as_str()));
        }
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").into(),
            recipe: files::sha256_of((value.to_string() + &weights.concat()).as_bytes()),
            layout: layout.summary(),
            private: if private.is_empty() { "none".into() } else { private.join(", ") },
        })
    }

    /// The first thing that another process has otherwise, in words.
    pub(crate) fn difference(&self, other: &Self) -> Option<String> {
        let short = |hash: &str| hash.chars().take(SHOWN).collect::<String>();
        let all = [
            ("version of the program", self.version.clone(), other.version.clone()),
            ("set of private experts", self.private.clone(), other.private.clone()),
            ("recipe, other weights or another --measure", short(&self.recipe), short(&other.recipe)),
            ("layout", self.layout.clone(), other.layout.clone()),
        ];
        let different = all.into_iter().find(|(_, here, there)| here != there);
        different.map(|(what, here, there)| {
            format!("has another {what} ({there}; here {here}); start all processes with the same one")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named() {
        let hello = |[version, recipe, layout, private]: [&str; 4]| Hello {
            version: version.into(),
            recipe: recipe.into(),
            layout: layout.into(),
            private: private.into(),
        };
        let one = hello(["1", "abc", "all 1x1", "none"]);
        assert_eq!(one.difference(&one), None);
        for (other, what) in [
            (["2", "abc", "all 1x1", "none"], "another version of the program (2; here 1)"),
            (["1", "def", "all 1x1", "none"], "another recipe, other weights or another --measure (def; here abc)"),
            (["1", "abc", "all 1x2", "none"], "another layout (all 1x2; here all 1x1)"),
            (["1", "def", "all 1x1", "math"], "another set of private experts (math; here none)"),
        ] {
            let told = one.difference(&hello(other)).expect("a difference");
            assert!(told.contains(what), "{told}");
        }
    }
}
