//! DEPENDENCIES.md is true: every direct dependency has a line that says why it is there, and the licences are those of the crates.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))] // Other systems compile other crates.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/DEPENDENCIES.md");
/// Headings of the lists: a default build's, and of what each feature adds. Only a build with a feature is sure to have fetched its
/// crates.
const LISTS: [(&str, Option<&str>, bool); 4] = [
    ("## Licences\n", None, true),
    ("## The feature `hub`\n", Some("hub"), cfg!(feature = "hub")),
    ("## The feature `mpi`\n", Some("mpi"), cfg!(feature = "mpi")),
    ("## The feature `net`\n", Some("net"), cfg!(feature = "net")),
];
const TABLE: &str = "| licence | crates |\n|---|---|\n";
const PERMISSIVE: [&str; 10] = [
    "MIT",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "Unlicense",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
];
/// Crates of the feature `hub` that are none of these; DEPENDENCIES.md says why they are there all the same.
const EXCEPTIONS: [(&str, &str); 1] = [("MPL-2.0", "option-ext")];

fn cargo(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).args(["--offline", "--locked"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output().expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn document() -> String {
    std::fs::read_to_string(FILE).expect("DEPENDENCIES.md")
}

/// True if a licence expression leaves a choice of permissive ones alone.
fn is_permissive(expression: &str) -> bool {
    let one = |name: &str| PERMISSIVE.contains(&name.trim_matches(['(', ')']));
    expression.split(" AND ").all(|part| part.split(" OR ").any(one))
}

/// The crates that are compiled, each with its licence.
fn crates(feature: Option<&str>) -> BTreeSet<(String, String)> {
    let mut arguments = vec!["tree", "--workspace", "-e", "normal,build", "--prefix", "none", "-f", "{l}|{p}"];
    arguments.extend(feature.iter().flat_map(|feature| ["--features", feature]));
    let tree = cargo(&arguments);
    let crates = tree.lines().filter_map(|line| line.split_once('|')).map(|(licence, package)| {
        // Old crates write a slash where SPDX has OR.
        let licence = licence.replace(" / ", " OR ").replace('/', " OR ");
        (licence, package.split(' ').next().expect("a name").to_string())
    });
    crates.collect()
}

#[test]
fn licences_are_permissive_and_listed() {
    let default = crates(None);
    for (heading, feature, _) in LISTS.iter().filter(|(.., compiled)| *compiled) {
        let found = if feature.is_some() { &crates(*feature) - &default } else { default.clone() };
        let mut by_licence: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (licence, name) in found {
            let excepted = *feature == Some("hub") && EXCEPTIONS.contains(&(&licence, &name));
            assert!(is_permissive(&licence) || excepted, "{licence}: {name}");
            by_licence.entry(licence).or_default().push(name);
        }
        let mut list = String::from(TABLE);
        for (licence, names) in &by_licence {
            list += &format!("| {licence} | {} |\n", names.join(", "));
        }
        let document = document();
        let start = document.find(heading).expect("the list's heading");
        let start = start + document[start..].find(TABLE).expect("the list's place");
        let (text, rest) = document.split_at(start);
        let listed = rest.split_inclusive('\n').take_while(|line| line.starts_with('|')).collect::<String>();
        if std::env::var_os("MODE_BLESS").is_some() {
            std::fs::write(FILE, format!("{text}{list}{}", &rest[listed.len()..])).expect("written");
        } else {
            assert_eq!(listed, list, "DEPENDENCIES.md is not up to date; see there");
        }
    }
}

#[test]
fn every_direct_dependency_has_a_reason() {
    let metadata: serde_json::Value =
        serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version", "1"])).expect("JSON");
    let document = document();
    let reasons: Vec<&str> = document.lines().filter(|line| line.starts_with("| `")).collect();
    for package in metadata["packages"].as_array().expect("packages") {
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let name = dependency["name"].as_str().expect("a name");
            let listed = reasons.iter().any(|line| line.contains(&format!("`{name}`")));
            assert!(listed || name.starts_with("mode-"), "{name} has no line in DEPENDENCIES.md");
        }
    }
}

#[test]
fn licences_by_hand() {
    assert!(is_permissive("(MIT OR Apache-2.0) AND Unicode-3.0") && is_permissive("GPL-3.0 OR MIT"));
    assert!(!is_permissive("GPL-3.0") && !is_permissive("MIT AND GPL-3.0") && !is_permissive(""));
}
