//! How the program opens a device, alone or as one of a mesh: with the shaders of `MODE_SHADERS`, what `mode tune` found and what its
//! driver has compiled. A library that opens one has what is built in.

use super::{pipelines, shaders, tune};
use crate::Error;
use crate::mesh::devices;
use mode_tensor::Device;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Opens the device that `--device` or a recipe names, and says on stderr which GPU that is and where it goes another way than built in.
pub(super) fn open(spec: Option<&str>) -> Result<Device, Error> {
    let shaders = shaders::Folder::from_environment()?;
    let device = Device::choose(spec)?;
    if !device.is_gpu() {
        return Ok(device);
    }
    tell_once(format!("device: {}", device.name()));
    if let Some(folder) = shaders {
        tell_once(format!("shaders: {}", folder.summary()));
        folder.replace(&device);
    }
    pipelines::load(&device);
    tune::load(&device)?.into_iter().for_each(tell_once);
    Ok(device)
}

/// Devices of layouts that are stepped on one after the other: opened anew for each, a GPU would compile all of it again.
#[derive(Default)]
pub(super) struct Fleet(RefCell<Vec<Device>>);

impl Fleet {
    /// The first `count` of them, by these names; none has memory of the layout before.
    pub(super) fn devices(&self, names: &[String], count: usize) -> Result<Vec<Device>, Error> {
        let next = Cell::new(0);
        devices(names, count, &|name| {
            let (mut all, number) = (self.0.borrow_mut(), next.replace(next.get() + 1));
            if number == all.len() {
                all.push(open(Some(name))?);
            }
            all[number].trim();
            Ok(all[number].clone())
        })
    }
}

/// Of several devices on one adapter there is as much to say as of one.
fn tell_once(line: String) {
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if !told.contains(&line) {
        tell!("{line}");
        told.insert(line);
    }
}
