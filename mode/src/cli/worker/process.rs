//! What a process does for a layout's steps, and what it says of that.

use super::Arguments;
use crate::Error;
use crate::bench::{MeshBench, RunProfile};
use crate::cli::mesh::print;
use crate::cli::print_json;
use crate::cli::run::{self, Folder, carry_out};
use crate::mesh::{Connected, Hello, Here, Layout, Members, check_threads};
use crate::model::Held;
use crate::train::{Named, Recipe, check_out, follow};
use mode_tensor::Device;

/// A recipe, and the layout that it is to be stepped on.
pub(super) struct Process {
    recipe: Recipe,
    experts: Vec<Named>,
    pub(super) layout: Layout,
    pub(super) hello: Hello,
}

impl Process {
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
        let names: Vec<String> = experts.iter().map(|expert| expert.name.clone()).collect();
        let layout = layout(&names, text)?;
        let private: Vec<&str> = experts.iter().filter(|e| e.private).map(|e| e.name.as_str()).collect();
        // Whose folder goes on has to be everybody's or nobody's, where more than one has one.
        let resumes = arguments.recipe.resume && !private.is_empty();
        let flags = [("use of --measure", arguments.measure), ("use of --resume", resumes)];
        let hello = Hello::of_run(recipe.sha256()?, layout.summary(), &private, flags);
        Ok(Self { recipe, experts, layout, hello })
    }

    /// An error, before others are kept waiting, unless this process, which has these devices, may leave what it is to leave, and private
    /// experts are where they may be.
    pub(super) fn check(&self, arguments: &Arguments, here: &[usize]) -> Result<(), Error> {
        self.check_private(here)?;
        check_threads(here.len(), arguments.threads as usize)?;
        let leaves = here.contains(&0) || self.owns(here);
        match leaves && !arguments.measure {
            true => check_out(&self.recipe, arguments.recipe.existing())
                .map_err(|error| error.in_file(&arguments.recipe.file)),
            false => Ok(()),
        }
    }

    /// Whether a private expert is in this process.
    fn owns(&self, here: &[usize]) -> bool {
        let mut homes = self.experts.iter().zip(&self.layout.experts).filter(|(expert, _)| expert.private);
        homes.any(|(_, &mesh)| self.layout.is_among(mesh, here))
    }

    /// An error unless each private expert is by itself in one process, which is not the backbone's, by the devices of this one.
    fn check_private(&self, here: &[usize]) -> Result<(), Error> {
        for (Named { name, .. }, &mesh) in self.experts.iter().zip(&self.layout.experts).filter(|(e, _)| e.private) {
            let mesh = &self.layout.meshes[mesh];
            let own: Vec<usize> = mesh.devices().filter(|device| here.contains(device)).collect();
            let what = match (mesh.first, own.len()) {
                (0, _) => format!("layout {} puts it beside the backbone; give it a mesh of its own", self.layout.name),
                (_, 0) => continue,
                _ if here.contains(&0) => format!(
                    "mesh '{}' is in this process, beside the backbone; start its owner's with --listen, and reach it by --connect",
                    mesh.name
                ),
                (_, some) if some < mesh.size() => format!(
                    "mesh '{}' has {} devices in as many processes; give it one, or take gRPC, where a process has them all",
                    mesh.name,
                    mesh.size()
                ),
                _ => continue,
            };
            return Err(Error::Setting(format!("expert '{name}' is private: {what}")));
        }
        Ok(())
    }

    /// Whether the weights of an expert are opened here, by its name: those of its owner alone if it is private, or else in the first
    /// device's process, and where its devices are.
    fn opens(&self, numbers: &[usize], name: &str) -> bool {
        let number = self.experts.iter().position(|expert| expert.name == name);
        number.is_some_and(|number| {
            let is_here = self.layout.is_among(self.layout.experts[number], numbers);
            is_here || numbers.contains(&0) && !self.experts[number].private
        })
    }

    /// Takes all steps on the devices of this process. That of the first device reads the data, leads, and leaves what the recipe makes;
    /// the others do what it tells them. With `--measure` nothing is left, and what was measured is printed.
    ///
    /// `others` are the first devices of the other processes, where this one leads.
    pub(super) fn run(self, arguments: &Arguments, here: Vec<Here>, others: Vec<usize>) -> Result<(), Error> {
        let numbers: Vec<usize> = here.iter().map(|here| here.number).collect();
        let (leads, who, threads) = (numbers.contains(&0), self.who(&numbers), arguments.threads as usize);
        let in_file = |error: Error| error.in_file(&arguments.recipe.file);
        if !leads {
            tell!("{who}: stepping");
        }
        if arguments.measure {
            let backbone = self.layout.is_among(0, &numbers);
            let held = Held { backbone, expert: &|name| self.opens(&numbers, name) };
            let bench = MeshBench::open(&self.recipe, held).map_err(in_file)?;
            bench.problem().check(&self.layout)?;
            let measured = bench.round(&self.layout, here, threads)?;
            match leads {
                false => tell!("{who}: done after {} steps", measured.losses.len()),
                true if arguments.json => print_json(&[measured])?,
                true => print(&[measured]),
            }
            return Ok(());
        }
        let existing = arguments.recipe.existing();
        let owns = self.owns(&numbers);
        let connected = Connected { layout: self.layout, here, others, threads };
        if !leads {
            let written = if owns { format!("; written {}", self.recipe.out.display()) } else { String::new() };
            match follow(&self.recipe, connected, existing).map_err(in_file)? {
                Some(steps) => tell!("{who}: done after {steps} steps{written}"),
                None => tell!("{who}: the run has ended already"),
            }
            return Ok(());
        }
        let members = Members::Connected(connected);
        let (device, folder) = (Device::cpu(), Folder { existing, quiet: arguments.recipe.quiet });
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
