//! Which meshes there are and which expert lives where, by name or by a TOML file.
//!
//! `spmd-4` and `spmd-2x2`: one mesh of 4 devices along the tensor axis, or 2 along data times 2 along tensor, with everything on it.
//! `4+2+2`: the backbone on the first mesh, the experts on the others, in order, as evenly as they go. A file says the same in words:
//!
//! ```toml
//! [[mesh]]
//! name = "backbone"        # the first one: backbone, gates and head
//! tensor = 4               # devices along the tensor axis; data = 2 for two such rows of windows
//!
//! [[mesh]]
//! name = "private"
//! tensor = 1
//! experts = ["code"]       # names; an expert on no mesh is an error
//! ```

use super::grid::{Mesh, share};
use crate::set::{from_table, located};
use crate::{Error, files};
use serde::Deserialize;
use std::path::Path;

/// Devices of a layout at the most.
const MOST_DEVICES: usize = 4_096;

/// Bytes of a mesh's name at the most.
const MOST_NAME: usize = 64;

/// Meshes, and the one that each expert lives on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// As it was asked for.
    pub name: String,
    /// The backbone's first.
    pub meshes: Vec<Mesh>,
    /// The number of each expert's mesh.
    pub experts: Vec<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    mesh: Vec<MeshTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MeshTable {
    name: String,
    #[serde(default = "one")]
    data: usize,
    #[serde(default = "one")]
    tensor: usize,
    #[serde(default)]
    experts: Vec<String>,
}

fn one() -> usize {
    1
}

impl Layout {
    /// The layout of this name, or of a file whose name ends in `.toml`, for these experts.
    ///
    /// # Errors
    /// A name that is none, a broken file, no devices or too many, a mesh without an expert, or an expert without a mesh.
    pub fn read(text: &str, experts: &[String]) -> Result<Self, Error> {
        if text.ends_with(".toml") {
            return Self::open(Path::new(text), experts);
        }
        Self::named(text, experts.len())
    }

    /// The layout of this name for so many experts.
    ///
    /// # Errors
    /// As [`Layout::read`].
    pub fn named(text: &str, experts: usize) -> Result<Self, Error> {
        Self::parse(text, experts).map_err(|what| Error::Layout { layout: text.into(), what })
    }

    fn parse(text: &str, experts: usize) -> Result<Self, String> {
        const HOW: &str =
            "write spmd-4, spmd-2x2 (data x tensor), 4+2+2 (backbone, then experts), or a .toml file's name";
        let number = |text: &str| match text.parse::<usize>() {
            Ok(0) => Err("a mesh of no devices; give each one or more".to_string()),
            Ok(number) => Ok(number),
            Err(_) => Err(format!("is no layout; {HOW}")),
        };
        let shape = |text: &str| match text.split_once('x') {
            Some((data, tensor)) => Ok((number(data)?, number(tensor)?)),
            None => Ok::<_, String>((1, number(text)?)),
        };
        let shapes: Vec<_> = match text.strip_prefix("spmd-") {
            Some(one) => vec![shape(one)?],
            None => text.split('+').map(shape).collect::<Result<_, _>>()?,
        };
        let others = shapes.len() - 1;
        if others > experts {
            return Err(format!(
                "{others} meshes for experts, of which there are {experts}; give each mesh one or more"
            ));
        }
        let name = |i: usize| match (i, others) {
            (0, 0) => "all".into(),
            (0, _) => "backbone".into(),
            _ => format!("experts-{i}"),
        };
        let meshes = shapes.into_iter().enumerate().map(|(i, (data, tensor))| (name(i), data, tensor)).collect();
        let home = |expert: usize| match others {
            0 => 0,
            // The mesh whose even share of the experts this one is in.
            _ => 1 + (0..others).find(|&mesh| share(experts, others, mesh).contains(&expert)).unwrap_or(0),
        };
        Self::new(text.into(), meshes, (0..experts).map(home).collect())
    }

    /// The layout of processes of one device each, by the word that each has for its mesh: processes beside each other with one word are
    /// one mesh, along the tensor axis, the first one the backbone's. A mesh called like an expert has that one, and the others share out
    /// the experts that are left, as in [`Layout::named`].
    ///
    /// # Errors
    /// As [`Layout::read`], in words that name no layout, for it has no name yet.
    pub fn of_processes(words: &[String], experts: &[String]) -> Result<Self, String> {
        let mut shapes: Vec<(String, usize, usize)> = Vec::new();
        for word in words {
            let known = shapes.iter().position(|(name, ..)| name == word);
            match known {
                Some(mesh) if mesh + 1 == shapes.len() => shapes[mesh].2 += 1,
                Some(_) => {
                    return Err(format!(
                        "mesh '{word}' is there twice; start all of its processes one after the other"
                    ));
                }
                None => shapes.push((word.clone(), 1, 1)),
            }
        }
        let named = |expert: &String| shapes.iter().position(|(name, ..)| name == expert);
        let mut homes: Vec<Option<usize>> = experts.iter().map(named).collect();
        let free: Vec<usize> = (1..shapes.len()).filter(|&mesh| !homes.contains(&Some(mesh))).collect();
        let left: Vec<usize> = (0..homes.len()).filter(|&expert| homes[expert].is_none()).collect();
        match (free.len(), left.first()) {
            (0, Some(&expert)) if shapes.len() > 1 => {
                return Err(format!("expert '{}' has no device; start processes with --mesh {0}", experts[expert]));
            }
            (0, _) => left.iter().for_each(|&expert| homes[expert] = Some(0)),
            (meshes, _) if meshes > left.len() => {
                return Err(format!(
                    "mesh '{}' has no experts and so nothing to do; name it after one",
                    shapes[free[left.len()]].0
                ));
            }
            (meshes, _) => {
                for (mesh, &home) in free.iter().enumerate() {
                    share(left.len(), meshes, mesh).for_each(|i| homes[left[i]] = Some(home));
                }
            }
        }
        let name = match shapes.as_slice() {
            [(_, _, size)] => format!("spmd-{size}"),
            all => all.iter().map(|(_, _, size)| size.to_string()).collect::<Vec<_>>().join("+"),
        };
        Self::new(name, shapes, homes.into_iter().flatten().collect())
    }

    fn open(path: &Path, names: &[String]) -> Result<Self, Error> {
        let wrong = |what: String| Error::content(path, what);
        let text = files::read_text(path)?;
        let table = text.parse().map_err(|e| wrong(located(&text, &e)))?;
        let File { mesh: tables } = from_table(table).map_err(wrong)?;
        let mut experts = vec![None; names.len()];
        for (number, table) in tables.iter().enumerate() {
            if tables[..number].iter().any(|other| other.name == table.name) {
                return Err(wrong(format!("two meshes are called '{}'; give each a name of its own", table.name)));
            }
            for name in &table.experts {
                let Some(expert) = names.iter().position(|known| known == name) else {
                    let known = if names.is_empty() { "it has none".into() } else { names.join(", ") };
                    return Err(wrong(format!("mesh '{}': the recipe has no expert '{name}' ({known})", table.name)));
                };
                if experts[expert].replace(number).is_some() {
                    return Err(wrong(format!("expert '{name}' is on two meshes; put it on one")));
                }
            }
            if number > 0 && table.experts.is_empty() {
                return Err(wrong(format!("mesh '{}' has no experts and so nothing to do; name some", table.name)));
            }
        }
        let home = |(mesh, name): (Option<usize>, &String)| {
            mesh.ok_or_else(|| wrong(format!("expert '{name}' has no device; name it in a mesh's experts")))
        };
        let experts = experts.into_iter().zip(names).map(home).collect::<Result<_, _>>()?;
        let meshes = tables.into_iter().map(|table| (table.name, table.data, table.tensor)).collect();
        Self::new(path.display().to_string(), meshes, experts).map_err(wrong)
    }

    fn new(name: String, shapes: Vec<(String, usize, usize)>, experts: Vec<usize>) -> Result<Self, String> {
        let mut meshes: Vec<Mesh> = Vec::new();
        for (name, data, tensor) in shapes {
            if name.is_empty() || name.len() > MOST_NAME || name.chars().any(char::is_control) {
                return Err(format!("a mesh is called {name:?}; give it a word of at most {MOST_NAME} letters"));
            }
            if data == 0 || tensor == 0 {
                return Err(format!("mesh '{name}' has no devices; give it one or more"));
            }
            let first = meshes.last().map_or(0, |mesh| mesh.devices().end);
            if data.saturating_mul(tensor).saturating_add(first) > MOST_DEVICES {
                return Err(format!("more than {MOST_DEVICES} devices; give fewer"));
            }
            meshes.push(Mesh { name, data, tensor, first });
        }
        if meshes.is_empty() {
            return Err("there is no mesh; give one or more".into());
        }
        Ok(Self { name, meshes, experts })
    }

    /// How many devices it has.
    pub fn devices(&self) -> usize {
        self.meshes.last().map_or(0, |mesh| mesh.devices().end)
    }

    /// All that it says, on a line.
    pub fn summary(&self) -> String {
        let mesh = |(number, mesh): (usize, &Mesh)| {
            let experts: Vec<String> = self.experts_on(number).map(|expert| format!(" expert {expert}")).collect();
            format!("{} {}x{}{}", mesh.name, mesh.data, mesh.tensor, experts.concat())
        };
        self.meshes.iter().enumerate().map(mesh).collect::<Vec<_>>().join(", ")
    }

    /// True if everything is on one mesh.
    pub fn is_spmd(&self) -> bool {
        self.meshes.len() == 1
    }

    /// The number of the mesh that a device belongs to.
    pub fn mesh_index(&self, device: usize) -> usize {
        self.meshes.iter().position(|mesh| mesh.devices().contains(&device)).unwrap_or(0)
    }

    /// The mesh that a device belongs to.
    pub fn mesh_of(&self, device: usize) -> &Mesh {
        &self.meshes[self.mesh_index(device)]
    }

    /// What messages call a device.
    pub(crate) fn device_name(&self, device: usize) -> String {
        format!("device {device} of mesh '{}'", self.mesh_of(device).name)
    }

    /// What messages call all devices, in order.
    pub(crate) fn device_names(&self) -> Vec<String> {
        (0..self.devices()).map(|device| self.device_name(device)).collect()
    }

    /// Whether one of some devices is of a mesh of this number.
    #[cfg(any(feature = "mpi", feature = "net"))]
    pub(crate) fn is_among(&self, mesh: usize, devices: &[usize]) -> bool {
        devices.iter().any(|device| self.meshes[mesh].devices().contains(device))
    }

    /// The numbers of the experts on a mesh.
    pub fn experts_on(&self, mesh: usize) -> impl Iterator<Item = usize> {
        self.experts.iter().enumerate().filter(move |(_, home)| **home == mesh).map(|(expert, _)| expert)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_layouts() {
        let layout = |text, experts| Layout::named(text, experts).expect("a layout");
        assert_eq!(layout("spmd-8", 2).experts, [0, 0]);
        let two = layout("4+2+2", 4);
        assert_eq!((two.devices(), two.experts.clone()), (8, vec![1, 1, 2, 2]));
        assert_eq!(two.meshes[2].devices(), 6..8);
        assert_eq!(layout("4+1+1+1+1", 4).experts, [1, 2, 3, 4]);
        assert_eq!(layout("2x2+1+1", 3).experts, [1, 2, 2]);
        assert_eq!(layout("2x2", 1), Layout { name: "2x2".into(), ..layout("spmd-2x2", 1) });
        for (text, experts, what) in [
            ("4+", 2, "is no layout"),
            ("spmd-0", 2, "no devices"),
            ("1+1+1", 1, "2 meshes for experts, of which there are 1"),
            ("9999", 1, "more than 4096"),
            ("4+2x", 1, "is no layout"),
        ] {
            let error = Layout::named(text, experts).expect_err(text).to_string();
            assert!(error.starts_with(&format!("layout {text}: ")) && error.contains(what), "{error}");
        }
    }

    #[test]
    fn words_of_processes_are_layouts() {
        let texts = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
        let experts = texts(&["code", "math", "law"]);
        let layout = |words: &[&str]| Layout::of_processes(&texts(words), &experts);
        let all = layout(&["all", "all"]).expect("a layout");
        assert_eq!((all.name.as_str(), all.summary().as_str()), ("spmd-2", "all 1x2 expert 0 expert 1 expert 2"));
        let two = layout(&["backbone", "experts", "experts"]).expect("a layout");
        assert_eq!((two.name.as_str(), two.experts.clone()), ("1+2", vec![1, 1, 1]));
        assert_eq!(layout(&["home", "a", "b"]).expect("a layout").experts, [1, 2, 2]);
        assert_eq!(layout(&["home", "others", "math"]).expect("a layout").experts, [1, 2, 1]);
        for (words, what) in [
            (&["home", "a", "home"][..], "mesh 'home' is there twice"),
            (&["home", "code", "math"], "expert 'law' has no device"),
            (&["home", "code", "math", "a", "b"], "mesh 'b' has no experts"),
        ] {
            let error = layout(words).expect_err(what);
            assert!(error.contains(what), "{error}");
        }
    }
}
