//! Bottleneck adapters (Houlsby et al., arXiv 1902.00751) after both halves of each layer: what a half adds to the stream passes
//! through
//!
//! > f -> f + gelu(f D^T + d) U^T + u,   f `[tokens, width]`, D `[size, width]`, d `[size]`, U `[width, size]`, u `[width]`
//!
//! before it is added. U and u start at zero, so that step 0 is the base model. As there, the adapters alone are trained, but for the
//! layers' norms, which stay frozen here so that the base does.
//!
//! Files: `bottleneck.json` {format, base, base_sha256, size} and `bottleneck.safetensors`.

use super::backbone::Backbone;
use super::context::Context;
use super::expert::{FORMAT, other_format};
use super::init::{Random, Start};
use super::projection::Projection;
use super::weights::{self, Maker, Weights};
use crate::{Error, files, memory};
use mode_autograd::{Added, AutogradError, Param, Var, add};
use mode_tensor::{Activation, Device, SafeTensors, Tensor};
use serde::{Deserialize, Serialize};
use std::path::Path;

pub(super) const CONFIG: &str = "bottleneck.json";
const WEIGHTS: &str = "bottleneck.safetensors";

/// `bottleneck.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct BottleneckInfo {
    /// Version of the format, 1.
    pub(crate) format: u32,
    /// Path of the base model, relative to the adapter's folder.
    pub(crate) base: String,
    /// Hash of the base model's weights.
    pub(crate) base_sha256: String,
    /// Width of the bottlenecks.
    pub(crate) size: usize,
}

/// The adapter after one half of a layer. Clones are the same parameters.
#[derive(Clone)]
pub(crate) struct Bottleneck {
    down: Projection,
    up: Projection,
}

impl Bottleneck {
    fn new(maker: &mut Maker, at: &str, width: usize, size: usize) -> Result<Self, Error> {
        let start = Start::Normal((width as f64).powf(-0.5));
        Ok(Self {
            down: Projection::new(maker, &format!("{at}.down"), [size, width], start, true)?,
            up: Projection::new(maker, &format!("{at}.up"), [width, size], Start::Constant(0.0), true)?,
        })
    }

    /// The stream x with f, by way of the adapter, added; in `out` if one is given.
    pub(crate) fn add_to(
        &self,
        context: &Context,
        x: &Var,
        f: &Var,
        out: Option<&Tensor>,
    ) -> Result<Var, AutogradError> {
        let gelu = Added { activation: Some(Activation::Gelu), ..Added::default() };
        let narrow = self.down.apply_to(context, f, gelu)?;
        self.up.apply_to(context, &narrow, Added { residual: Some(&add(x, f)?), out, ..Added::default() })
    }

    pub(crate) fn params(&self) -> impl Iterator<Item = &Param> {
        self.down.params().chain(self.up.params())
    }
}

/// Puts fresh adapters of `size` after both halves of all layers of `backbone`.
///
/// # Errors
/// A size of zero, or what the device reports.
pub fn add_bottlenecks(backbone: &mut Backbone, size: usize, random: &mut Random) -> Result<(), Error> {
    if size == 0 {
        return Err(Error::Setting("bottleneck.size is 0; an eighth of the width is usual".into()));
    }
    let numbers = 4 * (backbone.config.layers * backbone.config.width) as u64 * size as u64;
    memory::require(backbone.device(), numbers, &format!("bottlenecks of {size}"))?;
    let device = backbone.device().clone();
    attach(backbone, &device, size, Weights::Random(random))
}

fn attach(backbone: &mut Backbone, device: &Device, size: usize, weights: Weights) -> Result<(), Error> {
    let (width, names) = (backbone.config.width, &backbone.config.family.names);
    let mut maker = Maker { device, weights };
    for (i, layer) in backbone.layers.iter_mut().enumerate() {
        let at = |half: &str| format!("{}{}{i}.bottlenecks.{half}", names.body, names.layer);
        let mut one = |half| Bottleneck::new(&mut maker, &at(half), width, size);
        layer.bottlenecks = Some([one("attention")?, one("feed_forward")?]);
    }
    Ok(())
}

/// Reads `bottleneck.json`.
pub(super) fn read_info(folder: &Path) -> Result<BottleneckInfo, Error> {
    let path = folder.join(CONFIG);
    let info: BottleneckInfo = files::read_json(&path)?;
    if info.format != FORMAT {
        return Err(Error::content(&path, other_format(info.format, FORMAT)));
    }
    if info.size == 0 {
        return Err(Error::content(&path, "size is 0; a bottleneck has one element at the least"));
    }
    Ok(info)
}

/// Puts the adapters of a folder into their base model.
pub(super) fn load(backbone: &mut Backbone, folder: &Path, info: &BottleneckInfo) -> Result<(), Error> {
    let names = &backbone.config.family.names;
    let path = folder.join(WEIGHTS);
    let tensors = SafeTensors::open(std::slice::from_ref(&path))?;
    let mut wanted = Vec::new();
    attach(backbone, &Device::dry(), info.size, Weights::Listed(&mut wanted, names))?;
    weights::check(&tensors, &path, "bottleneck.json and the base model", &wanted, |_| false)?;
    let weights = Weights::File { tensors: &tensors, file_name: &str::to_string, names };
    let device = backbone.device().clone();
    attach(backbone, &device, info.size, weights)
}

/// Writes the folder, which exists, of adapters for the base model of a path and a hash.
pub(crate) fn save(backbone: &Backbone, folder: &Path, (base, sha256): (&str, &str), size: usize) -> Result<(), Error> {
    let params = backbone.layers.iter().flat_map(|layer| layer.bottleneck_params());
    weights::write(&folder.join(WEIGHTS), params, str::to_string, &backbone.config.family.names)?;
    let info = BottleneckInfo { format: FORMAT, base: base.into(), base_sha256: sha256.into(), size };
    files::write_json(&folder.join(CONFIG), &info)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mode_autograd::Tape;
    use mode_tensor::Dtype;

    #[test]
    fn a_bottleneck_adds_what_its_formula_says() -> Result<(), Error> {
        let device = Device::cpu();
        let rule = |name: &str, _: &[usize]| match name {
            "a.down.weight" => vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
            "a.down.bias" => vec![0.0, 1.0],
            "a.up.weight" => vec![1.0, 0.0, 0.0, 1.0, 1.0, 1.0],
            _ => vec![0.0, 0.0, 0.5],
        };
        let bottleneck = Bottleneck::new(&mut Maker { device: &device, weights: Weights::Rule(&rule) }, "a", 3, 2)?;
        let row = |values: [f32; 3]| Ok::<_, Error>(Var::constant(Tensor::from_slice(&device, &values, &[1, 3])?));
        let (tape, rotations) = (Tape::frozen(), Vec::new());
        let context = Context {
            tape: &tape,
            rotations: &rotations,
            length: 1,
            activations: Dtype::F32,
            recompute: false,
            spans: &[],
        };
        let y = bottleneck.add_to(&context, &row([10.0, 20.0, 30.0])?, &row([1.0, -2.0, 3.0])?, None)?;
        // gelu(1) = 0.8413447, and gelu(-2 + 1) = -0.1586553.
        let expected = [11.841_345, 17.841_345, 33.5 + 0.682_689_4];
        for (found, expected) in y.value().to_vec()?.into_iter().zip(expected) {
            approx::assert_relative_eq!(found, expected, max_relative = 1e-6);
        }
        Ok(())
    }

    #[test]
    fn a_fresh_one_is_its_base() -> Result<(), Error> {
        let device = Device::cpu();
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tiny-random-llama"));
        let (base, mut adapted) = (crate::model::open(folder, &device)?, crate::model::open(folder, &device)?);
        add_bottlenecks(&mut adapted.backbone, 4, &mut Random::new(1))?;
        assert!(adapted.has_adapter() && !adapted.has_lora());
        let windows = [(0..9).collect::<Vec<u32>>()];
        let loss = |model| Ok::<_, Error>(crate::train::evaluate(model, &windows, false)?.mean_nll);
        approx::assert_relative_eq!(loss(&base)?, loss(&adapted)?, max_relative = 1e-6);
        Ok(())
    }
}
