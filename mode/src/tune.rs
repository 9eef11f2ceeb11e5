//! What `mode tune` found on an adapter: a file in `tune/` of the user's cache folder, which the program reads when it opens a GPU.
//!
//! It is believed if it is of this version of the program, this adapter and driver, and these texts of the shaders in question, and
//! if every number in it is one that the adapter can do.

use crate::{Error, files, folders};
use mode_kernels::shaders::one_line;
use mode_kernels::tune::{Choice, KNOBS, RULES, Times, Trial, number};
use mode_kernels::{AdapterSummary, Capabilities, Tuning};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Characters of an adapter's name in a file's.
const LONGEST_NAME: usize = 80;

/// What a file is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// Version of this program.
    program: String,
    /// The adapter, and what it is reached through.
    adapter: String,
    /// The driver and its version.
    driver: String,
    /// SHA-256 of the texts of the shaders that there is something to choose for, and of [`RULES`].
    shaders: String,
}

/// One number of a [`Tuning`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Chosen {
    /// Its name.
    name: String,
    /// What it is.
    value: u32,
    /// What is built in.
    built_in: u32,
    /// Why.
    reason: String,
    /// What else was tried, and the times of each shape.
    #[serde(default)]
    tried: Vec<String>,
}

/// The file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cache {
    #[serde(flatten)]
    head: Head,
    #[serde(default, rename = "choice")]
    choices: Vec<Chosen>,
}

impl Head {
    /// That of files made now on an adapter, with these texts of shaders by their paths.
    pub(crate) fn new<'a>(adapter: &AdapterSummary, texts: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        // Lengths keep the end of one from being taken for the beginning of the next.
        let texts: String = texts.map(|(path, text)| format!("{path} {}\n{text}\n", text.len())).collect();
        let all = format!("rules {RULES}\n{texts}");
        Self {
            program: env!("CARGO_PKG_VERSION").into(),
            adapter: format!("{} through {}", adapter.name, adapter.backend),
            driver: adapter.driver.clone(),
            shaders: files::sha256_of(all.as_bytes()),
        }
    }

    /// The adapter's name as one of a file; with other shaders than the built-in ones there is a file of its own for each set of them.
    pub(crate) fn file(&self, built_in: bool) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let words: String = self.adapter.chars().map(plain).collect();
        let words: Vec<&str> = words.split('-').filter(|word| !word.is_empty()).collect();
        let shaders = if built_in { String::new() } else { format!("-{:.8}", self.shaders) };
        format!("{:.LONGEST_NAME$}{shaders}.toml", words.join("-"))
    }

    /// What of a file's head is not as it is here.
    fn differs(&self, found: &Self) -> Option<String> {
        if found.shaders != self.shaders && (&found.program, &found.driver) == (&self.program, &self.driver) {
            return Some("the shaders' texts are others now".into());
        }
        let all = [
            ("program", &found.program, &self.program),
            ("adapter", &found.adapter, &self.adapter),
            ("driver", &found.driver, &self.driver),
        ];
        let (what, found, here) = all.into_iter().find(|(_, found, here)| found != here)?;
        Some(format!("its {what} is '{:.80}', and here it is '{here}'", one_line(found)))
    }
}

impl Cache {
    /// One without choices.
    pub(crate) fn new(head: Head) -> Self {
        Self { head, choices: Vec::new() }
    }

    /// The file of `head`; none if there is no such file. The error says why one is not to be believed.
    pub(crate) fn read(path: &Path, head: &Head, device: &Capabilities) -> Result<Option<Self>, String> {
        if !files::is_there(path) {
            return Ok(None);
        }
        // A pipe would be waited for.
        if !path.is_file() {
            return Err("it is no file".into());
        }
        let text = files::read_text(path).map_err(|error| match error {
            Error::File { source, .. } => source.to_string(),
            _ => "it is no text".into(),
        })?;
        // A file of another version may have other fields: what it is of is looked at first.
        let found: Head = toml::from_str(&text).map_err(|error| one_line(error.message()))?;
        if let Some(what) = head.differs(&found) {
            return Err(what);
        }
        let cache: Self = toml::from_str(&text).map_err(|error| one_line(error.message()))?;
        let built_in = Tuning::built_in(device);
        for (place, Chosen { name, value, built_in: before, .. }) in cache.choices.iter().enumerate() {
            if cache.choices[..place].iter().any(|other| other.name == *name) {
                return Err(format!("it has {:.40} twice", one_line(name)));
            }
            let Some(knob) = KNOBS.iter().find(|knob| knob.name == name) else {
                return Err(format!("there is no '{:.40}' to be chosen", one_line(name)));
            };
            let now = built_in.get(name).unwrap_or_default();
            if *before != now {
                return Err(format!("{name} is built in as {}, not {}", number(now), number(*before)));
            }
            if let Some(what) = knob.lack(*value, device).filter(|_| *value != now) {
                return Err(format!("{name} can't be {}: the adapter has not {what}", number(*value)));
            }
        }
        Ok(Some(cache))
    }

    /// The numbers that are not as they are built in, which it holds if [`Cache::read`] gave it.
    pub(crate) fn changed(&self) -> impl Iterator<Item = (&str, u32)> {
        self.choices.iter().filter(|c| c.value != c.built_in).map(|c| (c.name.as_str(), c.value))
    }

    /// Those in words; none if there are none.
    pub(crate) fn summary(&self) -> Option<String> {
        let words: Vec<String> = self.changed().map(|(name, value)| format!("{name} {}", number(value))).collect();
        (!words.is_empty()).then(|| words.join(", "))
    }

    /// `tuning` with them.
    pub(crate) fn apply(&self, mut tuning: Tuning) -> Tuning {
        for (name, value) in self.changed() {
            if let Some(number) = tuning.get_mut(name) {
                *number = value;
            }
        }
        tuning
    }

    /// Takes a choice in place of an earlier one of the same number.
    pub(crate) fn put(&mut self, choice: &Choice) {
        let times = |t: &Times| format!("{:.3} ms instead of {:.3} for {}", t.own, t.built_in, t.shape);
        // A line for each round, and one for what speaks against it.
        let tried = |trial: &Trial| {
            let value = number(trial.value);
            let rounds = trial.rounds.iter().zip(["", " in a second round"]).map(|(round, which)| {
                let times: Vec<String> = round.times.iter().map(times).collect();
                format!("{value} takes {}{which}: {}", round.words(), times.join("; "))
            });
            let refused = trial.refused.iter().map(|why| format!("{value} {}", one_line(why)));
            rounds.chain(refused).collect::<Vec<_>>()
        };
        let chosen = Chosen {
            name: choice.name.into(),
            value: choice.value,
            built_in: choice.built_in,
            reason: one_line(&choice.reason),
            tried: choice.trials.iter().flat_map(tried).collect(),
        };
        self.choices.retain(|other| other.name != chosen.name);
        self.choices.push(chosen);
        self.choices.sort_by_key(|chosen| KNOBS.iter().position(|knob| knob.name == chosen.name));
    }

    /// Writes it, whole or not at all.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        let body = toml::to_string_pretty(self).map_err(|error| Error::content(path, one_line(&error.to_string())))?;
        let text = format!(
            "# What `mode tune` found on this adapter. Without this file what is built in counts again.\n\n{body}"
        );
        folders::keep(path, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mode_kernels::tune::Round;

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
            capabilities: Capabilities::default(),
        };
        Head::new(&adapter, [("add.wgsl", text)].into_iter())
    }

    fn choice(name: &'static str, value: u32, built_in: u32) -> Choice {
        let times = vec![Times { shape: "1 x 2 x 3".into(), own: 1.0, built_in: 2.0, ratio: 0.5 }];
        let tried = Trial { value, rounds: vec![Round { times, ratio: 0.5 }], refused: None };
        let wrong = Trial { value: 8, rounds: Vec::new(), refused: Some("is wrong\nand more".into()) };
        Choice { name, value, built_in, trials: vec![tried, wrong], reason: "takes 50.0 % less".into() }
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_not_believed_elsewhere() -> Result<(), Error> {
        let folder = tempfile::tempdir().map_err(Error::file(Path::new("a temporary folder")))?;
        let here = head("driver 1", "text");
        let path = folder.path().join("deep").join(here.file(true));
        assert_ne!(here.file(false), head("driver 1", "others").file(false));
        assert!(path.ends_with("a-gpu-of-2026-through-vulkan.toml"), "{}", path.display());
        let device = Capabilities { workgroups: 32, ..Capabilities::default() };
        let read = |head: &Head| Cache::read(&path, head, &device);
        assert_eq!(read(&here), Ok(None));
        let mut cache = Cache::new(here.clone());
        cache.put(&choice("merge_pieces", 8, 4));
        cache.put(&choice("large_tiles", 16, 16));
        cache.put(&choice("merge_pieces", 16, 4));
        cache.write(&path)?;
        assert_eq!(read(&here), Ok(Some(cache.clone())));
        let names: Vec<&str> = cache.choices.iter().map(|chosen| chosen.name.as_str()).collect();
        assert_eq!(names, ["large_tiles", "merge_pieces"]);
        let text = files::read_text(&path)?;
        for line in ["16 takes 50.0 % less: 1.000 ms instead of 2.000 for 1 x 2 x 3", "8 is wrong and more"] {
            assert!(text.contains(line), "{text}");
        }
        let built_in = Tuning::built_in(&device);
        assert_eq!(cache.apply(built_in), Tuning { merge_pieces: 16, ..built_in });
        assert_eq!(cache.summary().as_deref(), Some("merge_pieces 16"));
        let ignored = |head: &Head, says: &str| {
            let why = read(head).err().unwrap_or_default();
            assert!(why.contains(says) && !why.is_empty() && !why.contains('\n'), "{says}: {why}");
        };
        ignored(&head("driver 2", "text"), "its driver is 'driver 1', and here it is 'driver 2'");
        ignored(&head("driver 1", "another"), "the shaders' texts are others now");
        let with = |from: &str, to: &str, says: &str| {
            assert!(text.contains(from), "{from} is not in {text}");
            files::write(&path, text.replace(from, to))?;
            ignored(&here, says);
            Ok::<_, Error>(())
        };
        with("\"merge_pieces\"", "\"merge_\\u001bpeaces\"", "there is no 'merge_ peaces' to be chosen")?;
        with(
            "value = 16\nbuilt_in = 4",
            "value = 17\nbuilt_in = 4",
            "merge_pieces can't be 17: the adapter has not any",
        )?;
        with("built_in = 4", "built_in = 5", "merge_pieces is built in as 4, not 5")?;
        let again = "name = \"merge_pieces\"\nvalue = 8\nbuilt_in = 4";
        with("name = \"large_tiles\"\nvalue = 16\nbuilt_in = 16", again, "it has merge_pieces twice")?;
        with("value = 16\nbuilt_in = 4", "value = -1\nbuilt_in = 4", "")?;
        with("value = 16", "value = 'much'", "invalid type")?;
        with("program =", "program", "")?;
        Ok(())
    }

    #[test]
    fn matrices_that_an_adapter_has_not_are_not_believed() -> Result<(), Error> {
        let folder = tempfile::tempdir().map_err(Error::file(Path::new("a temporary folder")))?;
        let (here, path) = (head("driver", "text"), folder.path().join("file.toml"));
        let mut cache = Cache::new(here.clone());
        cache.put(&choice("attention_cooperative", 8, 16));
        cache.write(&path)?;
        let both = Capabilities { cooperative_8: true, cooperative_16: true, ..Capabilities::default() };
        assert_eq!(Cache::read(&path, &here, &both), Ok(Some(cache)));
        let why = |device: Capabilities| Cache::read(&path, &here, &device).err().unwrap_or_default();
        assert_eq!(
            why(Capabilities { cooperative_16: false, ..both }),
            "attention_cooperative is built in as 8, not 16"
        );
        let without = why(Capabilities { cooperative_8: false, ..both });
        assert_eq!(without, "attention_cooperative can't be 8: the adapter has not cooperative matrices of 8 x 8");
        Ok(())
    }
}
