//! Compiled pipelines from run to run.

mod common;

use std::path::{Path, PathBuf};

/// Compiles a pipeline on the GPU, with what is kept in `cache`; stderr.
fn check(cache: &Path) -> String {
    let mut program = common::mode();
    let output = program.args(["check", "add", "--device", "gpu"]).env("MODE_CACHE", cache).output();
    let output = output.expect("the program");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    stderr
}

#[test]
fn what_a_driver_compiled_is_kept_and_what_is_damaged_is_written_anew() {
    let Some(gpu) = common::gpu() else { return };
    if gpu.pipeline_cache_key().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let files = || -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder.path().join("pipelines"));
        entries.into_iter().flatten().map(|entry| entry.expect("an entry").path()).collect()
    };
    check(folder.path());
    let [file] = files().try_into().expect("one file");
    let kept = std::fs::read(&file).expect("a file");
    assert!(kept.len() > 32 && file.to_string_lossy().contains("vulkan"), "{}", file.display());
    for damage in [&kept[..kept.len() / 2], &[0; 100], b""] {
        std::fs::write(&file, damage).expect("written");
        check(folder.path());
        let anew = std::fs::read(&file).expect("a file");
        assert!(anew.len() > 100 && files().len() == 1, "{} bytes", anew.len());
    }
    let before = file.metadata().and_then(|about| about.modified()).expect("a file");
    check(folder.path());
    let after = file.metadata().and_then(|about| about.modified()).expect("a file");
    assert_eq!(before, after, "nothing new, nothing written");
    // Nothing is kept, which hinders nobody.
    let said = check(&file);
    assert!(said.contains("compiled pipelines are not kept: "), "{said}");
    std::fs::remove_dir_all(folder.path().join("pipelines")).expect("removed");
    assert!(!check(Path::new("off")).contains("not kept") && files().is_empty() && !Path::new("off").exists());
}
