//! Checkpoints: all that a run needs to go on to the same bits as if it had never stopped.
//!
//! Each is one safetensors file, `checkpoints/step-00000100-9f86d081884c7d65.safetensors`: trained weights (`weight.NAME`),
//! AdamW's moments (`m.NAME`, `v.NAME`), the losses so far, and in its header's `mode` the rest. It is written under another
//! name, flushed to the disk and renamed, and its name ends in the start of its SHA-256: a file that is half there, or that
//! someone changed, is known before it is read.

use super::frozen;
use super::mixed::SavedScale;
use super::recipe::Recipe;
use super::trainer::Trainer;
use crate::data::MixtureState;
use crate::model::{Config, Model};
use crate::{Error, files};
use mode_autograd::{AdamW, Param};
use mode_tensor::{Device, SafeTensors, Tensor, write_safetensors};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Version of the format.
const FORMAT: u32 = 1;
/// The header's entry for what is no tensor.
const NOTE: &str = "mode";
/// The same in a private checkpoint.
pub(super) const PRIVATE: &str = "mode-private";
/// Hex digits of the hash in a file's name.
const DIGITS: usize = 16;

/// What a checkpoint holds beside tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the format, 1.
    pub format: u32,
    /// Steps taken.
    pub step: u64,
    /// Tokens predicted.
    pub tokens_seen: u64,
    /// Seconds of stepping.
    pub seconds: f64,
    /// Mean loss on validation text, if there is any.
    pub validation_loss: Option<f64>,
    /// The recipe.
    pub recipe: Value,
    /// Hash of all frozen weights.
    pub frozen_sha256: String,
    /// The model's `config.json` as far as it is maths; null in files of before it was kept.
    #[serde(default)]
    pub config: Value,
    /// Hash of the data's tokens.
    pub data_sha256: String,
    /// Where the data stands.
    pub data: MixtureState,
    /// Where the loss scale stands, in mixed precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<SavedScale>,
}

/// The checkpoints of one run.
pub(crate) struct Checkpoints {
    folder: PathBuf,
    recipe: Value,
    frozen_sha256: String,
    config: Value,
    data_sha256: String,
}

/// A checkpoint's file, as its name tells.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(super) step: u64,
    hash: String,
    pub(crate) path: PathBuf,
}

impl Checkpoints {
    /// Those of the run of `recipe` on a model whose frozen weights have this hash, with data that have the other.
    pub(crate) fn new(
        recipe: &Recipe,
        config: &Config,
        frozen_sha256: String,
        data_sha256: String,
    ) -> Result<Self, Error> {
        let folder = folder(&recipe.out);
        let recipe = serde_json::to_value(recipe).map_err(|source| Error::Json { path: folder.clone(), source })?;
        Ok(Self { folder, recipe, frozen_sha256, config: config.maths(), data_sha256 })
    }

    /// Saves where `trainer` stands, then removes all but the last `keep` and the best.
    pub(crate) fn save(&self, trainer: &Trainer, validation_loss: Option<f64>, keep: usize) -> Result<PathBuf, Error> {
        let header = Header {
            format: FORMAT,
            step: trainer.steps(),
            tokens_seen: trainer.tokens_seen,
            seconds: trainer.seconds,
            validation_loss,
            recipe: self.recipe.clone(),
            frozen_sha256: self.frozen_sha256.clone(),
            config: self.config.clone(),
            data_sha256: self.data_sha256.clone(),
            data: trainer.data.state(),
            loss_scale: trainer.optimizer.loss_scale().map(SavedScale::from),
        };
        let mut tensors = tensors(&trainer.optimizer);
        let losses = Tensor::from_slice(&Device::cpu(), &trainer.losses, &[trainer.losses.len()])?;
        tensors.insert("losses".into(), losses);
        let path = place(&self.folder, header.step, &tensors, NOTE, &header)?;
        self.prune(keep)?;
        Ok(path)
    }

    /// Removes all but the last `keep` (one at least) and the one of the lowest validation loss.
    fn prune(&self, keep: usize) -> Result<(), Error> {
        let entries = entries(&self.folder)?;
        let loss = |entry: &Entry| read_header(&entry.path).ok().and_then(|header| header.validation_loss);
        let best =
            entries.iter().filter_map(|entry| loss(entry).map(|loss| (loss, entry))).min_by(|a, b| a.0.total_cmp(&b.0));
        prune(&entries, keep.max(1), best.map(|(_, entry)| entry))
    }

    /// Puts `trainer` where the last whole checkpoint was made; its step, or 0 if there is none. Those that are damaged are set
    /// aside under another name, said aloud, so that none of them is counted among those to keep.
    ///
    /// # Errors
    /// A checkpoint of another recipe, base model or data.
    pub(crate) fn resume(&self, trainer: &mut Trainer, say: &mut dyn FnMut(&str)) -> Result<u64, Error> {
        let mut last = None;
        for entry in entries(&self.folder)? {
            match read(&entry.path) {
                Ok(whole) => last = Some((entry.path, whole)),
                Err(error) => {
                    let aside = entry.path.with_extension("damaged");
                    say(&format!("passing over a damaged checkpoint: {error}; it is set aside as {}", aside.display()));
                    std::fs::rename(&entry.path, &aside).map_err(Error::file(&entry.path))?;
                }
            }
        }
        let Some((path, (tensors, header))) = last else { return Ok(0) };
        self.check(&path, &header)?;
        restore(trainer, &tensors, &header).map_err(|error| match error {
            Error::Tensor(_) | Error::Data(_) => Error::content(&path, error.to_string()),
            other => other,
        })?;
        Ok(header.step)
    }

    fn check(&self, path: &Path, header: &Header) -> Result<(), Error> {
        let wrong = |what: String| Err(Error::content(path, what));
        if header.format != FORMAT {
            return wrong(format!("its format is {}; this program reads {FORMAT}", header.format));
        }
        if let Some((key, was, is)) = difference("", &header.recipe, &self.recipe) {
            return wrong(format!("{key} was {was} when it was made and is {is} now; resume with the same recipe"));
        }
        same_base(path, header, &self.frozen_sha256, &self.config)?;
        if header.data_sha256 != self.data_sha256 {
            return wrong("the data are not those it was trained on; give back the files it began with".into());
        }
        Ok(())
    }
}

/// An error if a model, of which as much is frozen as was then, is not the one that a checkpoint was made of.
pub(crate) fn check_base(path: &Path, header: &Header, model: &Model) -> Result<(), Error> {
    same_base(path, header, &frozen::hash(model)?, &model.backbone.config.maths())
}

fn same_base(path: &Path, header: &Header, frozen_sha256: &str, config: &Value) -> Result<(), Error> {
    if header.frozen_sha256 != frozen_sha256 {
        let what = "the frozen weights are not those it was made beside; give back the base it began with";
        return Err(Error::content(path, what));
    }
    match difference("", &header.config, config).filter(|_| !header.config.is_null()) {
        None => Ok(()),
        Some((key, was, is)) => {
            let what =
                format!("the base's config.json had {key} {was} when it was made and has {is} now; give it back");
            Err(Error::content(path, what))
        }
    }
}

/// Writes a step's tensors and what is noted of them into a folder of checkpoints, whole or not at all.
pub(super) fn place(
    folder: &Path,
    step: u64,
    tensors: &BTreeMap<String, Tensor>,
    key: &str,
    note: &impl Serialize,
) -> Result<PathBuf, Error> {
    let note = serde_json::to_string(note).map_err(|source| Error::Json { path: folder.into(), source })?;
    std::fs::create_dir_all(folder).map_err(Error::file(folder))?;
    let staged = files::Staged { path: folder.join(format!(".step-{step:08}{}", files::PARTIAL)) };
    write_safetensors(&staged.path, tensors, |_| false, &[(key, note)])?;
    let hash = files::sha256(&staged.path)?;
    let path = folder.join(format!("step-{step:08}-{}.safetensors", &hash[..DIGITS]));
    staged.place(&path)?;
    Ok(path)
}

/// Gives checkpoints of this one's step and of later ones, which a run that has gone back was to make anew, names under which none is read
/// or removed.
#[cfg(any(test, feature = "mpi", feature = "net"))]
pub(super) fn set_aside(folder: &Path, placed: &Path) -> Result<(), Error> {
    let Some(Entry { step, .. }) = entry(placed) else { return Ok(()) };
    for Entry { path, .. } in entries(folder)?.into_iter().filter(|other| other.step >= step && other.path != placed) {
        std::fs::rename(&path, path.with_extension("before")).map_err(Error::file(&path))?;
    }
    Ok(())
}

/// Removes all but the last `keep` checkpoints and the one that is `spared`.
pub(super) fn prune(entries: &[Entry], keep: usize, spared: Option<&Entry>) -> Result<(), Error> {
    let old = &entries[..entries.len().saturating_sub(keep)];
    for entry in old.iter().filter(|entry| spared.is_none_or(|spared| spared != *entry)) {
        std::fs::remove_file(&entry.path).map_err(Error::file(&entry.path))?;
    }
    Ok(())
}

/// What an optimizer trains and its moments, under their names in a checkpoint.
pub(super) fn tensors(optimizer: &AdamW) -> BTreeMap<String, Tensor> {
    optimizer.states().flat_map(|(param, m, v)| named(param, m, v)).collect()
}

/// Takes them back from a checkpoint.
pub(super) fn restore_states(optimizer: &AdamW, tensors: &SafeTensors) -> Result<(), Error> {
    for (param, m, v) in optimizer.states() {
        for (name, tensor) in named(param, m, v) {
            tensor.write(&tensors.read(&name, tensor.shape())?)?;
        }
    }
    Ok(())
}

/// A parameter and its moments, under their names in a checkpoint.
fn named(param: &Param, m: &Tensor, v: &Tensor) -> [(String, Tensor); 3] {
    let name = param.name();
    [(weight_name(name), param.value()), (format!("m.{name}"), m.clone()), (format!("v.{name}"), v.clone())]
}

/// A trained weight's name in a checkpoint.
pub(crate) fn weight_name(param: &str) -> String {
    format!("weight.{param}")
}

/// Where a run's checkpoints lie.
pub(crate) fn folder(out: &Path) -> PathBuf {
    out.join("checkpoints")
}

/// The checkpoints in a folder, by step; none if there is no folder.
pub(crate) fn entries(folder: &Path) -> Result<Vec<Entry>, Error> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut entries = Vec::new();
    for file in std::fs::read_dir(folder).map_err(Error::file(folder))? {
        let path = file.map_err(Error::file(folder))?.path();
        entries.extend(entry(&path));
    }
    entries.sort();
    Ok(entries)
}

/// The checkpoints of the run in folder `out`, by step.
pub(crate) fn files(out: &Path) -> Result<Vec<PathBuf>, Error> {
    Ok(entries(&folder(out))?.into_iter().map(|entry| entry.path).collect())
}

/// True if a checkpoint's name promises this hash.
pub(crate) fn is_intact(path: &Path, sha256: &str) -> bool {
    entry(path).is_some_and(|entry| sha256.starts_with(&entry.hash))
}

/// What a checkpoint's name tells.
pub(crate) fn entry(path: &Path) -> Option<Entry> {
    let name = path.file_name()?.to_str()?;
    let (step, hash) = name.strip_prefix("step-")?.strip_suffix(".safetensors")?.split_once('-')?;
    let whole = hash.len() == DIGITS && hash.bytes().all(|digit| digit.is_ascii_hexdigit());
    Some(Entry { step: step.parse().ok().filter(|_| whole)?, hash: hash.into(), path: path.into() })
}

/// Reads a checkpoint whose bytes are those that its name promises.
///
/// # Errors
/// A file that is none, or that has been altered.
pub(crate) fn read(path: &Path) -> Result<(SafeTensors, Header), Error> {
    let tensors = open(path)?;
    let header = header(path, &tensors)?;
    Ok((tensors, header))
}

/// The tensors of a checkpoint whose bytes are those that its name promises.
pub(super) fn open(path: &Path) -> Result<SafeTensors, Error> {
    if entry(path).is_none() {
        let what = "is no checkpoint; those are named step-STEP-HASH.safetensors, in a run's folder of checkpoints";
        return Err(Error::content(path, what));
    }
    if !is_intact(path, &files::sha256(path)?) {
        return Err(Error::content(path, "has been altered: its hash is not the one in its name; take another"));
    }
    Ok(SafeTensors::open(&[path.to_path_buf()])?)
}

/// A checkpoint's header, altered or not.
///
/// # Errors
/// A file that is no checkpoint.
pub(crate) fn read_header(path: &Path) -> Result<Header, Error> {
    header(path, &SafeTensors::open(&[path.to_path_buf()])?)
}

fn header(path: &Path, tensors: &SafeTensors) -> Result<Header, Error> {
    let Some(note) = tensors.note(NOTE)? else {
        return Err(Error::content(
            path,
            match tensors.note(PRIVATE)? {
                Some(_) => {
                    "is an owner's checkpoint of private experts, from which only its process goes on, with --resume"
                }
                None => "is no checkpoint: its header has no 'mode'",
            },
        ));
    };
    serde_json::from_str(&note).map_err(|source| Error::Json { path: path.into(), source })
}

fn restore(trainer: &mut Trainer, tensors: &SafeTensors, header: &Header) -> Result<(), Error> {
    let losses = tensors.read("losses", &[header.step as usize])?;
    trainer.data.restore(&header.data)?;
    restore_states(&trainer.optimizer, tensors)?;
    trainer.optimizer.resume(header.step);
    if let Some(saved) = &header.loss_scale {
        trainer.optimizer.set_loss_scale(saved.into());
    }
    (trainer.losses, trainer.tokens_seen, trainer.seconds) = (losses, header.tokens_seen, header.seconds);
    Ok(())
}

/// Settings that change no bit of a result. Another layout's is the same but for rounding.
pub(super) const FREE: [&str; 3] = ["out", "checkpoint", "mesh"];

/// The first setting in which two recipes (or configurations) differ, but for those that change no bit of the result.
pub(super) fn difference(at: &str, was: &Value, is: &Value) -> Option<(String, Value, Value)> {
    let (Value::Object(a), Value::Object(b)) = (was, is) else {
        return (was != is).then(|| (at.to_string(), was.clone(), is.clone()));
    };
    let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
    keys.filter(|key| !(at.is_empty() && FREE.contains(&key.as_str()))).find_map(|key| {
        let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        // What recipes leave out where it is as it was before there was such a setting.
        let absent = if path == "train.precision" { Value::from("f32") } else { Value::Null };
        difference(&path, a.get(key).unwrap_or(&absent), b.get(key).unwrap_or(&absent))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_has_gone_back_keeps_what_it_places_and_loses_nothing() -> Result<(), Error> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |step: u64, digit: char| {
            folder.path().join(format!("step-{step:08}-{}.safetensors", digit.to_string().repeat(DIGITS)))
        };
        let made = [(20, 'a'), (40, 'a'), (40, 'b'), (120, 'a'), (160, 'a')];
        made.iter().for_each(|&(step, digit)| std::fs::write(path(step, digit), "").expect("a file"));
        set_aside(folder.path(), &path(40, 'b'))?;
        prune(&entries(folder.path())?, 1, None)?;
        let left: Vec<PathBuf> = entries(folder.path())?.into_iter().map(|entry| entry.path).collect();
        assert_eq!(left, [path(40, 'b')]);
        for (step, digit) in [(40, 'a'), (120, 'a'), (160, 'a')] {
            assert!(path(step, digit).with_extension("before").exists(), "{step}");
        }
        Ok(())
    }

    #[test]
    fn a_private_checkpoint_is_told_from_none() -> Result<(), Error> {
        let folder = tempfile::tempdir().expect("a folder");
        let tensors = BTreeMap::from([("weight.x".into(), Tensor::from_slice(&Device::cpu(), &[1.0], &[1])?)]);
        for (key, says) in [(PRIVATE, "is an owner's checkpoint of private experts"), ("other", "is no checkpoint")] {
            let path = place(folder.path(), 1, &tensors, key, &Value::Null)?;
            let error = read_header(&path).expect_err(says).to_string();
            assert!(error.contains(says), "{error}");
        }
        Ok(())
    }
}
