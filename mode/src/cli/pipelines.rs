//! Compiled pipelines from run to run: a file an adapter and driver in `pipelines/` of the user's cache folder.
//!
//! A file holds the SHA-256 of what follows, and then what the driver let out. One that does not hold what it promises is passed over
//! and written anew, as is one of another driver.
//!
//! What two devices have compiled can't be put together, for only their driver could and wgpu does not ask it to. So of several
//! devices that a mesh has on one adapter each has a file of its own, by its turn, and begins with the first one's until there is
//! one. Of two processes the one that ends last is believed, and the next that begins with that adds what it lacks.

use crate::{Error, files, folders};
use mode_kernels::Device;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Bytes of a file at the most. What shaders of former versions left in one stays there, and nobody can take it out again: past this
/// the next run begins anew.
const MOST: u64 = 64 << 20;
/// Bytes of the hash.
const HASH: usize = 32;

/// A device whose pipelines are kept, where, and the hash of what it began with.
type Kept = (Device, PathBuf, Option<[u8; HASH]>);

static KEPT: Mutex<Vec<Kept>> = Mutex::new(Vec::new());

/// Gives a device what was compiled before, and remembers it for [`save`].
pub(super) fn load(device: &Device) {
    let Some((key, folder)) = device.pipeline_cache_key().zip(folders::cache()) else { return };
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let turn = kept.iter().filter(|(other, ..)| other.pipeline_cache_key().as_ref() == Some(&key)).count();
    let first = folder.join("pipelines").join(key);
    let path = of_turn(&first, turn);
    let data = read(&path).or_else(|| read(&first));
    // SAFETY: the hash says that these are the bytes that `save` wrote, of a device of the same key; and whoever can write another hash
    // into the user's own folder needs no driver's defect to harm them.
    unsafe { device.keep_pipelines(data.as_ref().map(|(data, _)| data.as_slice())) };
    kept.push((device.clone(), path, data.map(|(_, hash)| hash)));
}

/// The file of the device that is opened on an adapter after so many others, which the first one's is named by.
fn of_turn(first: &Path, turn: usize) -> PathBuf {
    let mut name = first.as_os_str().to_os_string();
    if turn > 0 {
        name.push(format!("-device-{turn}"));
    }
    name.into()
}

/// What a file holds, and its hash; none if it is not there, or not what was written.
fn read(path: &Path) -> Option<(Vec<u8>, [u8; HASH])> {
    // Neither a pipe, which nobody may ever write to, nor a device that never ends.
    path.metadata().ok().filter(|about| about.is_file() && about.len() <= MOST)?;
    let mut data = std::fs::read(path).ok()?;
    let hash = data.get(..HASH)?.try_into().ok()?;
    data.drain(..HASH);
    (files::digest_of(&data) == hash).then_some((data, hash))
}

/// Writes down what devices have compiled, if there is anything new. That this fails is no reason for the program to; `tell` says so.
pub(super) fn save(tell: bool) {
    let kept = std::mem::take(&mut *KEPT.lock().unwrap_or_else(PoisonError::into_inner));
    let failed = kept.iter().filter_map(|(device, path, before)| save_one(device, path, *before).err());
    if let Some(error) = failed.reduce(|first, _| first)
        && tell
    {
        tell!("compiled pipelines are not kept: {error}");
    }
}

fn save_one(device: &Device, path: &Path, before: Option<[u8; HASH]>) -> Result<(), Error> {
    if device.counters().pipelines == 0 {
        return Ok(());
    }
    let Some(data) = device.pipeline_cache() else { return Ok(()) };
    let hash = files::digest_of(&data);
    if before == Some(hash) { Ok(()) } else { write(path, &hash, &data) }
}

fn write(path: &Path, hash: &[u8], data: &[u8]) -> Result<(), Error> {
    if (HASH + data.len()) as u64 > MOST {
        return match path.exists() {
            true => std::fs::remove_file(path).map_err(Error::file(path)),
            false => Ok(()),
        };
    }
    folders::keep(path, [hash, data].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_what_was_written_is_passed_over() -> Result<(), Error> {
        let folder = tempfile::tempdir().map_err(Error::file(Path::new("a temporary folder")))?;
        let path = folder.path().join("pipelines/key");
        assert!(read(&path).is_none());
        let data = b"what a driver compiled".to_vec();
        let hash = files::digest_of(&data);
        write(&path, &hash, &data)?;
        assert_eq!(read(&path), Some((data.clone(), hash)));
        let whole = std::fs::read(&path).map_err(Error::file(&path))?;
        let mut changed = whole.clone();
        changed[HASH + 3] ^= 1;
        for other in [&changed[..], &whole[..whole.len() - 1], &whole[..HASH - 1], b""] {
            files::write(&path, other)?;
            assert!(read(&path).is_none());
        }
        write(&path, &hash, &vec![0; MOST as usize])?;
        assert!(!path.exists(), "too much is no more than a reason to begin anew");
        Ok(())
    }
}
