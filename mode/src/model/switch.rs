//! Other experts beside a backbone that stays where it is: only their own files are read.

use super::backbone::base_sha256;
use super::decoder::Model;
use super::expert::{self, Expert, ExpertInfo};
use super::gate::{Gate, GateRule};
use super::held::Held;
use super::sets::StageOneGates;
use crate::Error;
use mode_tensor::Device;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Where a model's backbone came from: a folder or a GGUF file.
pub(crate) struct Base {
    folder: PathBuf,
    /// Hash of its weights, once it is asked for.
    sha256: OnceLock<String>,
}

impl Base {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.into(), sha256: OnceLock::new() }
    }

    fn sha256(&self) -> Result<&str, Error> {
        if let Some(known) = self.sha256.get() {
            return Ok(known);
        }
        let found = base_sha256(&self.folder)?;
        Ok(self.sha256.get_or_init(|| found))
    }
}

impl Model {
    /// Puts these experts beside the backbone in place of those that are there, one as stage 1 left it, several composed by
    /// `rule`, none for the plain model; returns the bytes of the files that were read. On an error all stays as it was.
    ///
    /// # Errors
    /// Experts of another base or of different shapes, two of one name, broken files, or a model that was not read from a
    /// folder.
    pub fn switch(&mut self, folders: &[PathBuf], rule: GateRule) -> Result<u64, Error> {
        let device = self.backbone.device().clone();
        self.switch_held(folders, rule, &device, Held::ALL)
    }

    /// The same on a device, of what is held alone; gates are always.
    ///
    /// # Errors
    /// As [`Model::switch`].
    pub(crate) fn switch_held(
        &mut self,
        folders: &[PathBuf],
        rule: GateRule,
        device: &Device,
        held: Held,
    ) -> Result<u64, Error> {
        let Some(base) = &self.base else {
            return Err(Error::Setting("a model that was not read from a folder has no base hash for experts".into()));
        };
        let infos = fitting(base, folders)?;
        let config = &self.backbone.config;
        let (mut experts, mut own, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (folder, info) in folders.iter().zip(&infos) {
            let prefix = if folders.len() == 1 { String::new() } else { format!("experts.{}.", info.name) };
            experts.push(match (held.expert)(&info.name) {
                true => Expert::open(folder, config, device, &prefix)?,
                false => Expert::remote(config, info.clone(), &prefix)?,
            });
            own.push(Expert::open_gates(folder, info, config.width, device)?);
            bytes += expert::bytes(folder)?;
        }
        let blocks = infos.first().map_or(0, |info| info.blocks);
        let of_block = |block: usize| own.iter().map(|gates: &Vec<Gate>| &gates[block]).collect::<Vec<_>>();
        let gates = (0..blocks).map(|block| Gate::compose(&of_block(block), block, rule)).collect::<Result<_, _>>()?;
        self.set_experts(experts, gates)?;
        self.stage_one = Some(StageOneGates { rule, gates: own });
        Ok(bytes)
    }
}

/// What the experts' folders say, if they fit the base and each other.
fn fitting(base: &Base, folders: &[PathBuf]) -> Result<Vec<ExpertInfo>, Error> {
    let infos = folders.iter().map(|folder| ExpertInfo::read(folder)).collect::<Result<Vec<_>, _>>()?;
    for (folder, info) in folders.iter().zip(&infos) {
        let found = base.sha256()?;
        if info.base_sha256 != found {
            let (adapter, base) = (folder.clone(), base.folder.clone());
            let (wanted, found) = (info.base_sha256.clone(), found.to_string());
            return Err(Error::OtherBase { adapter, base, wanted, found });
        }
        if (info.blocks, info.layers_per_block) != (infos[0].blocks, infos[0].layers_per_block) {
            let what = format!("its blocks or layers a block are not those of {}", infos[0].name);
            return Err(Error::content(folder, format!("{what}; experts of one model share both")));
        }
        if infos.iter().filter(|other| other.name == info.name).count() > 1 {
            let what = format!("two experts are named '{}'; rename one in its expert.json", info.name);
            return Err(Error::content(folder, what));
        }
    }
    Ok(infos)
}
