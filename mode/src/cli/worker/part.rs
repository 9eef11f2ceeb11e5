//! What a process does of a layout's steps, and what it says of that.

use super::Arguments;
use crate::Error;
use crate::cli::mesh::print;
use crate::cli::print_json;
use crate::mesh::{Bench, Hello, Here, Layout};
use crate::train::Recipe;
use mode_tensor::Device;

/// A recipe that has been opened, and the layout that it is to be stepped on.
pub(super) struct Part {
    bench: Bench,
    pub(super) layout: Layout,
    pub(super) hello: Hello,
}

impl Part {
    /// Opens what a recipe names, if it is wanted without its data, and makes the layout for its experts.
    pub(super) fn open(
        arguments: &Arguments,
        data: bool,
        layout: impl FnOnce(&[String]) -> Result<Layout, Error>,
    ) -> Result<Self, Error> {
        let recipe = Recipe::read(&arguments.recipe, &arguments.set)?;
        let bench = Bench::open(&recipe, data).map_err(|error| error.in_file(&arguments.recipe))?;
        let layout = layout(bench.experts())?;
        bench.problem().check(&layout).map_err(|what| Error::Setting(format!("layout {}: {what}", layout.name)))?;
        let hello = Hello::new(&recipe, &layout)?;
        Ok(Self { bench, layout, hello })
    }

    /// Takes all steps on the devices of this process; the one of the first device prints what was found.
    pub(super) fn run(&self, arguments: &Arguments, here: Vec<Here>) -> Result<(), Error> {
        let numbers: Vec<usize> = here.iter().map(|here| here.number).collect();
        let who = self.who(&numbers);
        if !numbers.contains(&0) {
            tell!("{who}: stepping");
        }
        let measured = self.bench.round(&self.layout, here, arguments.threads as usize)?;
        match numbers.contains(&0) {
            false => tell!("{who}: done after {} steps", measured.losses.len()),
            true if arguments.json => print_json(&[measured])?,
            true => print(&[measured]),
        }
        Ok(())
    }

    /// A device of this process.
    pub(super) fn device(arguments: &Arguments) -> Result<Device, Error> {
        Ok(Device::choose(Some(&arguments.device))?)
    }

    /// What a line calls this process.
    fn who(&self, numbers: &[usize]) -> String {
        let mesh = numbers.first().map_or("", |&first| &self.layout.mesh_of(first).name);
        let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
        let word = if numbers.len() == 1 { "device" } else { "devices" };
        format!("mesh '{mesh}', {word} {}", numbers.join(", "))
    }
}
