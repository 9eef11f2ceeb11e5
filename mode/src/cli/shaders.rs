//! `MODE_SHADERS`: shaders from a folder in place of the built-in ones, for those who change them.
//!
//! The folder is laid out like the repository's `shaders/`; the files that it has replace the built-in ones of the same name.

use super::nearest;
use crate::Error;
use mode_kernels::Device;
use mode_kernels::shaders::{Replacements, files};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The variable that names the folder.
pub(super) const VARIABLE: &str = "MODE_SHADERS";

/// When each `.wgsl` file was last written, and how long it is.
pub(super) type Stamps = BTreeMap<String, (SystemTime, u64)>;

/// The folder, as it was when it was read.
pub(super) struct Folder {
    path: PathBuf,
    /// Texts by their paths in the folder.
    texts: BTreeMap<String, String>,
}

impl Folder {
    /// What the variable names; none where it is not set.
    pub(super) fn from_environment() -> Result<Option<Self>, Error> {
        let path = std::env::var_os(VARIABLE).filter(|path| !path.is_empty());
        path.map(|path| Self::read(Path::new(&path))).transpose()
    }

    /// The texts of a folder; one that would replace nothing is an error, and so is a file that no kernel has.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let known = files();
        let mut texts = BTreeMap::new();
        for file in stamps(path)?.into_keys() {
            let place = path.join(&file);
            if !known.contains(&file.as_str()) {
                let near = nearest(&file, known.iter().copied());
                return Err(Error::content(&place, format!("no kernel has a shader '{file}'; did you mean '{near}'?")));
            }
            let text = std::fs::read_to_string(&place).map_err(Error::file(&place))?;
            texts.insert(file, text);
        }
        if texts.is_empty() {
            let what = format!(
                "{VARIABLE} names a folder without .wgsl files; it is laid out like shaders/, add.wgsl and so on"
            );
            return Err(Error::content(path, what));
        }
        Ok(Self { path: path.into(), texts })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How many of all files are replaced, in one line.
    pub(super) fn summary(&self) -> String {
        format!("{} of {} from {}", self.texts.len(), files().len(), self.path.display())
    }

    /// Lets a device compile these in place of the built-in ones.
    pub(super) fn replace(&self, device: &Device) {
        let mut replacements = Replacements::default();
        for (file, text) in &self.texts {
            replacements.insert(file, self.path.join(file).display().to_string(), text.clone());
        }
        // SAFETY: the README asks those who change shaders for loops that end, as a GPU does.
        unsafe { device.replace_shaders(replacements) };
    }

    /// The text of a file, if the folder has it.
    pub(super) fn text(&self, file: &str) -> Option<&str> {
        self.texts.get(file).map(String::as_str)
    }

    /// The files whose texts are not those of `before`.
    pub(super) fn changed(&self, before: &Self) -> Vec<&str> {
        let differs = |file: &&'static str| self.texts.get(*file) != before.texts.get(*file);
        files().into_iter().filter(differs).collect()
    }
}

/// Those of a folder laid out like `shaders/`. What editors keep beside a file begins with a dot, or ends otherwise.
pub(super) fn stamps(folder: &Path) -> Result<Stamps, Error> {
    let mut stamps = Stamps::new();
    for under in ["", "shared/"] {
        let path = if under.is_empty() { folder.into() } else { folder.join("shared") };
        if !under.is_empty() && !path.exists() {
            continue;
        }
        for entry in std::fs::read_dir(&path).map_err(Error::file(&path))? {
            let entry = entry.map_err(Error::file(&path))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || !name.ends_with(".wgsl") {
                continue;
            }
            // A link counts as what it leads to.
            let about = std::fs::metadata(entry.path()).map_err(Error::file(&entry.path()))?;
            let written = about.modified().map_err(Error::file(&entry.path()))?;
            stamps.insert(format!("{under}{name}"), (written, about.len()));
        }
    }
    Ok(stamps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_replaces_what_it_has_and_nothing_unknown() {
        let folder = tempfile::tempdir().expect("a folder");
        let read = || Folder::read(folder.path());
        let refused = |says: &str| {
            let text = read().err().map(|error| error.to_string()).unwrap_or_default();
            assert!(text.contains(says), "{text}");
        };
        refused("without .wgsl files");
        let write = |file: &str, text: &str| std::fs::write(folder.path().join(file), text).expect("written");
        write("add.wgsl", "a");
        write(".#add.wgsl", "an editor's");
        write("add.wgsl~", "an editor's");
        std::fs::create_dir(folder.path().join("shared")).expect("a folder");
        write("shared/weight.wgsl", "w");
        let before = read().expect("two files");
        assert!(before.summary().starts_with("2 of "), "{}", before.summary());
        write("add.wgsl", "b");
        write("bias.wgsl", "c");
        std::fs::remove_file(folder.path().join("shared/weight.wgsl")).expect("removed");
        let after = read().expect("two files");
        assert_eq!(after.changed(&before), ["add.wgsl", "bias.wgsl", "shared/weight.wgsl"]);
        write("gate_merg.wgsl", "d");
        refused("did you mean 'gate_merge.wgsl'");
        std::fs::rename(folder.path().join("gate_merg.wgsl"), folder.path().join("shared/weigth.wgsl")).expect("moved");
        refused("did you mean 'shared/weight.wgsl'");
    }
}
