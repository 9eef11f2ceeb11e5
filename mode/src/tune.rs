//! What `mode tune` found on an adapter: a file in the user's cache folder, which the program reads when it opens a GPU.
//!
//! `MODE_CACHE` names the folder, else it is `mode` in `XDG_CACHE_HOME`, else `.cache/mode` in the home folder; in its `tune/` each
//! adapter has a TOML file. A file of another program version, driver or text of a shader is not believed.

use crate::{Error, files};
use mode_kernels::AdapterSummary;
use mode_kernels::Tuning;
use mode_kernels::tune::{Choice, KNOBS, Times, Trial, number};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// The variable that names the cache folder.
pub(crate) const VARIABLE: &str = "MODE_CACHE";

/// Characters of an adapter's name in a file's.
const LONGEST_NAME: usize = 80;

/// What a file is for, and what else makes it wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// Version of this program.
    program: String,
    /// The adapter, and what it is reached through.
    adapter: String,
    /// The driver and its version.
    driver: String,
    /// SHA-256 of the texts of all shaders.
    shaders: String,
}

/// One number of a [`Tuning`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Chosen {
    /// Its name.
    pub(crate) name: String,
    /// What it is.
    pub(crate) value: u32,
    /// What is built in.
    built_in: u32,
    /// Why.
    reason: String,
    /// What else was tried.
    #[serde(default)]
    tried: Vec<String>,
}

/// The file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cache {
    #[serde(flatten)]
    head: Head,
    #[serde(default, rename = "choice")]
    pub(crate) choices: Vec<Chosen>,
}

impl Chosen {
    /// True where what is built in was as fast.
    pub(crate) fn is_built_in(&self) -> bool {
        self.value == self.built_in
    }
}

impl Head {
    /// That of files made now on an adapter, with these texts of shaders by their paths.
    pub(crate) fn new<'a>(adapter: &AdapterSummary, texts: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut hash = Sha256::new();
        for (path, text) in texts {
            // Lengths keep the end of one from being taken for the beginning of the next.
            for part in [path, text] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        }
        Self {
            program: env!("CARGO_PKG_VERSION").into(),
            adapter: format!("{} through {}", adapter.name, adapter.backend),
            driver: adapter.driver.clone(),
            shaders: hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }

    /// Where its file is; none where no folder is known.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        let folder = |name: &str| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        let home = || std::env::home_dir().filter(|path| path.is_absolute()).map(|home| home.join(".cache"));
        let own = || folder("XDG_CACHE_HOME").or_else(home).map(|cache| cache.join("mode"));
        Some(folder(VARIABLE).or_else(own)?.join("tune").join(self.file()))
    }

    /// The adapter's name as one of a file.
    fn file(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let words: String = self.adapter.chars().map(plain).collect();
        let words: Vec<&str> = words.split('-').filter(|word| !word.is_empty()).collect();
        format!("{:.LONGEST_NAME$}.toml", words.join("-"))
    }

    /// What of a file's head is not as it is here.
    fn differs(&self, found: &Self) -> Option<String> {
        let all = [
            ("program", &found.program, &self.program),
            ("adapter", &found.adapter, &self.adapter),
            ("driver", &found.driver, &self.driver),
            ("shaders", &found.shaders, &self.shaders),
        ];
        let (what, found, here) = all.into_iter().find(|(_, found, here)| found != here)?;
        // Enough of a hash to tell it from another.
        let short = |text: &str| if what == "shaders" { format!("{text:.12}") } else { text.into() };
        Some(format!("its {what} is {}, and here it is {}", short(found), short(here)))
    }
}

impl Cache {
    /// One without choices.
    pub(crate) fn new(head: Head) -> Self {
        Self { head, choices: Vec::new() }
    }

    /// The file of `head`; none if there is no such file. The error says why one is not to be believed.
    pub(crate) fn read(path: &Path, head: &Head) -> Result<Option<Self>, String> {
        if !path.exists() {
            return Ok(None);
        }
        let text = files::read_text(path).map_err(|error| error.to_string())?;
        // A file of another version may have other fields: what it is for is looked at first.
        let found: Head = toml::from_str(&text).map_err(|error| one_line(error.message()))?;
        if let Some(what) = head.differs(&found) {
            return Err(what);
        }
        let cache: Self = toml::from_str(&text).map_err(|error| one_line(error.message()))?;
        for chosen in &cache.choices {
            let Some(knob) = KNOBS.iter().find(|knob| knob.name == chosen.name) else {
                return Err(format!("there is nothing called '{:.40}' to be chosen", chosen.name));
            };
            if !knob.takes(chosen.value) && !chosen.is_built_in() {
                return Err(format!("{} can't be {}", chosen.name, chosen.value));
            }
        }
        Ok(Some(cache))
    }

    /// `tuning` with what was chosen. A choice of what is built in is none: that may be another number elsewhere.
    pub(crate) fn apply(&self, mut tuning: Tuning) -> Tuning {
        for chosen in self.choices.iter().filter(|chosen| !chosen.is_built_in()) {
            if let Some(number) = tuning.get_mut(&chosen.name) {
                *number = chosen.value;
            }
        }
        tuning
    }

    /// Takes a choice in place of an earlier one of the same number.
    pub(crate) fn put(&mut self, choice: &Choice) {
        let tried = |trial: &Trial| {
            let value = number(trial.value);
            let times = || {
                let shape = |t: &Times| format!("{}: {:.3} ms instead of {:.3}", t.shape, t.own, t.other);
                trial.times.iter().map(shape).collect::<Vec<_>>().join("; ")
            };
            match (&trial.refused, trial.ratio) {
                (Some(why), _) => format!("{value}: {why}"),
                (None, Some(ratio)) => {
                    format!("{value} took {ratio:.2} of the time of {}: {}", number(trial.against), times())
                }
                (None, None) => format!("{value} was not timed to the end"),
            }
        };
        let chosen = Chosen {
            name: choice.name.into(),
            value: choice.value,
            built_in: choice.built_in,
            reason: choice.reason.clone(),
            tried: choice.trials.iter().map(tried).collect(),
        };
        self.choices.retain(|other| other.name != chosen.name);
        self.choices.push(chosen);
        self.choices.sort_by_key(|chosen| KNOBS.iter().position(|knob| knob.name == chosen.name));
    }

    /// Writes it, whole or not at all.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        let body = toml::to_string(self).map_err(|error| Error::content(path, one_line(&error.to_string())))?;
        let text = format!(
            "# What `mode tune` found on this adapter. Remove the file, and what is built in counts again.\n\n{body}"
        );
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(Error::file(folder))?;
        }
        files::write(path, text)
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(driver: &str, text: &str) -> Head {
        let adapter = AdapterSummary {
            name: "A GPU (of 2026)".into(),
            backend: "vulkan".into(),
            hardware: true,
            driver: driver.into(),
            buffer_bytes: [0; 2],
            workgroup_bytes: 0,
            workgroup_threads: 0,
            workgroups: 0,
            subgroup: [0; 2],
            features: Vec::new(),
            cooperative_matrices: Vec::new(),
        };
        Head::new(&adapter, [("add.wgsl", text)].into_iter())
    }

    fn choice(name: &'static str, value: u32, built_in: u32) -> Choice {
        let times = Times { shape: "1 x 2 x 3".into(), own: 1.0, other: 2.0, ratio: 0.5 };
        let tried = Trial { value, against: built_in, times: vec![times], ratio: Some(0.5), refused: None };
        let wrong =
            Trial { value: 8, against: value, times: Vec::new(), ratio: None, refused: Some("is \"wrong\"".into()) };
        Choice {
            name,
            value,
            built_in,
            trials: vec![tried, wrong],
            reason: "takes 0.50 of the time".into(),
            whole: true,
        }
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_not_believed_elsewhere() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep").join(head("a", "b").file());
        assert!(path.ends_with("a-gpu-of-2026-through-vulkan.toml"), "{}", path.display());
        let here = head("driver 1", "text");
        assert_eq!(Cache::read(&path, &here), Ok(None));
        let mut cache = Cache::new(here.clone());
        cache.put(&choice("merge_pieces", 8, 4));
        cache.put(&choice("large_tiles", 16, 16));
        cache.put(&choice("merge_pieces", 16, 4));
        cache.write(&path).expect("written");
        assert_eq!(Cache::read(&path, &here), Ok(Some(cache.clone())));
        let names: Vec<&str> = cache.choices.iter().map(|chosen| chosen.name.as_str()).collect();
        assert_eq!(names, ["large_tiles", "merge_pieces"]);
        // What is as built in elsewhere stays as built in there.
        let built_in = Tuning::built_in(&mode_kernels::Capabilities { workgroups: 256, ..Default::default() });
        assert_eq!(cache.apply(built_in), Tuning { merge_pieces: 16, ..built_in });
        let ignored = |head: &Head, says: &str| {
            let why = Cache::read(&path, head).expect_err("not to be believed");
            assert!(why.contains(says) && !why.contains('\n'), "{why}");
        };
        ignored(&head("driver 2", "text"), "its driver is driver 1, and here it is driver 2");
        ignored(&head("driver 1", "another"), "its shaders is");
        let text = std::fs::read_to_string(&path).expect("a file");
        let rewrite = |from: &str, to: &str| {
            assert!(text.contains(from), "{text}");
            std::fs::write(&path, text.replace(from, to)).expect("written");
        };
        rewrite("\"merge_pieces\"", "\"merge_peaces\"");
        ignored(&here, "nothing called 'merge_peaces'");
        rewrite("value = 16\nbuilt_in = 4", "value = 17\nbuilt_in = 4");
        ignored(&here, "merge_pieces can't be 17");
        rewrite("value = 16", "value = 'much'");
        ignored(&here, "invalid type");
        rewrite("program =", "program");
        ignored(&here, "");
    }
}
