//! What processes tell each other before the first step or question: who does not have the same can't train or answer together.

#[cfg(feature = "net")]
use crate::files;
#[cfg(feature = "net")]
use crate::model::{Config, ExpertInfo};
use serde::{Deserialize, Serialize};

/// Digits of a hash that people are shown, and those that it has.
const SHOWN: usize = 12;
const DIGITS: usize = 64;

/// What must be the same in all processes, each with its name, in the order in which they are compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello(pub(super) Vec<(String, String)>);

impl Hello {
    /// What a process has that trains, where `recipe` is a hash of what its results follow from, and of `flags` all or none are to be given.
    pub(crate) fn of_run(recipe: String, layout: String, private: &[&str], flags: [(&str, bool); 2]) -> Self {
        let private = if private.is_empty() { "none".into() } else { private.join(", ") };
        let given = |is_given: bool| if is_given { "given" } else { "not given" }.to_string();
        let [measure, resume] = flags.map(|(flag, is_given)| (flag, given(is_given)));
        Self::of([
            ("set of private experts", private),
            ("recipe, or other weights", recipe),
            measure,
            resume,
            ("layout", layout),
        ])
    }

    /// What a process has that asks an expert's owner, or is the owner's.
    #[cfg(feature = "net")]
    pub(crate) fn of_expert(info: &ExpertInfo, config: &Config) -> Self {
        let ExpertInfo { name, base_sha256, blocks, layers_per_block, .. } = info;
        Self::of([
            ("expert", name.clone()),
            ("base", base_sha256.clone()),
            ("configuration of the base", files::sha256_of(config.maths().to_string().as_bytes())),
            ("shape of the expert", format!("{blocks} x {layers_per_block} layers")),
        ])
    }

    /// This program's version, and what else must be the same.
    fn of<const N: usize>(facts: [(&str, String); N]) -> Self {
        let version = ("version of the program", env!("CARGO_PKG_VERSION").to_string());
        Self(std::iter::once(version).chain(facts).map(|(what, which)| (what.into(), which)).collect())
    }

    /// The first thing that another process has otherwise, in words.
    pub(crate) fn difference(&self, other: &Self) -> Option<String> {
        let there = |what: &str| other.0.iter().find(|(known, _)| known == what).map_or("none", |(_, which)| which);
        let (what, here) = self.0.iter().find(|(what, here)| there(what) != here)?;
        let short = |which: &str| {
            let is_hash = which.len() == DIGITS && which.chars().all(|c| c.is_ascii_hexdigit());
            which.chars().take(if is_hash { SHOWN } else { usize::MAX }).collect::<String>()
        };
        let (there, here) = (short(there(what)), short(here));
        Some(format!("has another {what} ({there}; here {here}); start all processes with the same one"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named() {
        let whats = ["version of the program", "set of private experts", "recipe", "layout"];
        let hello = |all: [&str; 4]| Hello(whats.into_iter().zip(all).map(|(a, b)| (a.into(), b.into())).collect());
        let (long, other) = ("ab".repeat(32), "cd".repeat(32));
        let one = hello(["1", "none", &long, "all 1x1"]);
        assert_eq!(one.difference(&one), None);
        for (other, what) in [
            (["2", "none", &long, "all 1x1"], "another version of the program (2; here 1)"),
            (["1", "none", &other, "all 1x2"], "another recipe (cdcdcdcdcdcd; here abababababab)"),
            (["1", "none", &long, "all 1x2"], "another layout (all 1x2; here all 1x1)"),
            (["1", "math", &other, "all 1x1"], "another set of private experts (math; here none)"),
        ] {
            let told = one.difference(&hello(other)).expect("a difference");
            assert!(told.contains(what), "{told}");
        }
        let told = one.difference(&Hello(one.0[..1].to_vec())).expect("a difference");
        assert!(told.contains("recipe (none"), "{told}");
    }
}
