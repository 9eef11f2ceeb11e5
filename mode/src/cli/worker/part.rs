//! What a process does for a layout's steps, and what it says of that.

use super::Arguments;
use crate::Error;
use crate::bench::{MeshBench, RunProfile};
use crate::cli::mesh::print;
use crate::cli::print_json;
use crate::cli::run::{self, Folder, carry_out};
use crate::mesh::{Hello, Here, Layout, Members, Wired};
use crate::train::Recipe;
use mode_tensor::Device;

/// A recipe, and the layout that it is to be stepped on.
pub(super) struct Part {
    recipe: Recipe,
    pub(super) layout: Layout,
    pub(super) hello: Hello,
}

impl Part {
    /// Reads a recipe, and makes the layout for its experts, of what is said of it on the command line or else in the recipe.
    pub(super) fn open(
        arguments: &Arguments,
        layout: impl FnOnce(&[String], Option<&str>) -> Result<Layout, Error>,
    ) -> Result<Self, Error> {
        if arguments.mesh.is_empty() {
            return Err(Error::Setting("--mesh is empty; give this process's mesh a name".into()));
        }
        let recipe = arguments.recipe.read()?;
        let experts = recipe.experts().map_err(|error| error.in_file(&arguments.recipe.file))?;
        let text = arguments.layout.as_deref().or(recipe.mesh.as_ref().map(|mesh| mesh.layout.as_str()));
        let layout = layout(&experts, text)?;
        let mut begins_with = recipe.weights_sha256()?;
        begins_with.extend(arguments.measure.then(|| "--measure".to_string()));
        let hello = Hello::new(&recipe, &begins_with, &layout)?;
        Ok(Self { recipe, layout, hello })
    }

    /// Takes all steps on the devices of this process. That of the first device reads the data, leads, and leaves what the recipe makes;
    /// the others do what it tells them. With `--measure` nothing is left, and what was measured is printed.
    pub(super) fn run(self, arguments: &Arguments, here: Vec<Here>) -> Result<(), Error> {
        let numbers: Vec<usize> = here.iter().map(|here| here.number).collect();
        let (leads, who, threads) = (numbers.contains(&0), self.who(&numbers), arguments.threads as usize);
        let in_file = |error: Error| error.in_file(&arguments.recipe.file);
        if !leads {
            tell!("{who}: stepping");
        }
        if arguments.measure {
            // Devices of the backbone's mesh read their windows themselves.
            let data = numbers.iter().any(|number| self.layout.meshes[0].devices().contains(number));
            let bench = MeshBench::open(&self.recipe, data).map_err(in_file)?;
            bench
                .problem()
                .check(&self.layout)
                .map_err(|what| Error::Setting(format!("layout {}: {what}", self.layout.name)))?;
            let measured = bench.round(&self.layout, here, threads)?;
            match leads {
                false => tell!("{who}: done after {} steps", measured.losses.len()),
                true if arguments.json => print_json(&[measured])?,
                true => print(&[measured]),
            }
            return Ok(());
        }
        if !leads {
            let steps = MeshBench::open(&self.recipe, false).map_err(in_file)?.serve(&self.layout, here, threads)?;
            tell!("{who}: done after {steps} steps");
            return Ok(());
        }
        let members = Members::Wired(Wired { layout: self.layout, here, threads });
        let (device, folder) =
            (Device::cpu(), Folder { existing: arguments.recipe.existing(), quiet: arguments.recipe.quiet });
        let finished = carry_out(&self.recipe, &device, members, folder, &mut RunProfile::new(0)).map_err(in_file)?;
        if arguments.json {
            return print_json(&finished);
        }
        run::print(&finished, None);
        Ok(())
    }

    /// A device of this process.
    pub(super) fn device(arguments: &Arguments) -> Result<Device, Error> {
        crate::cli::open(Some(&arguments.device))
    }

    /// What a line calls this process.
    fn who(&self, numbers: &[usize]) -> String {
        let mesh = numbers.first().map_or("", |&first| &self.layout.mesh_of(first).name);
        let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
        let word = if numbers.len() == 1 { "device" } else { "devices" };
        format!("mesh '{mesh}', {word} {}", numbers.join(", "))
    }
}
