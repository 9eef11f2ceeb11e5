//! Files that something has happened to: an error or a sound result, never a panic, a hang, or memory without bound.
//!
//! 200 altered copies of each kind of file; 2,000 with `MODE_CAMPAIGN=1`.

mod common;

use common::{Recipes, data, text};
use mode::data::Tokenizer;
use mode::model::{GateRule, Model, open, open_tokenizer, open_with_experts};
use mode::train::{Recipe, evaluate};
use mode_kernels::fill_hash::hash;
use mode_tensor::Device;
use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Counts the bytes in use, so that a header that promises much can be caught taking it.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = IN_USE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let now = IN_USE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Random numbers that are the same in every run.
struct Dice(u32);

impl Dice {
    fn roll(&mut self, bound: usize) -> usize {
        self.0 += 1;
        hash(77, self.0) as usize % bound.max(1)
    }
}

/// One alteration: a bit, a cut, a repetition, an insertion, a number, a value of another type.
fn alter(bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let (at, length) = (dice.roll(out.len()), 1 + dice.roll(16));
    let end = (at + length).min(out.len());
    match dice.roll(8) {
        0 => out[at] ^= 1 << dice.roll(8),
        1 => out.truncate(at),
        2 => drop(out.drain(at..end)),
        3 => out.splice(at..at, bytes[at..end].to_vec()).for_each(drop),
        4 => out.splice(at..at, (0..length).map(|i| hash(at as u32, i as u32) as u8)).for_each(drop),
        5 => out[at] = dice.roll(256) as u8,
        kind => {
            // A number or a word of a text format becomes another.
            let digits = |byte: &u8| if kind == 6 { byte.is_ascii_digit() } else { byte.is_ascii_alphabetic() };
            let Some(from) = (at..out.len()).chain(0..at).find(|&i| digits(&out[i])) else { return out };
            let to = from + out[from..].iter().take_while(|byte| digits(byte)).count();
            let values =
                ["0", "-1", "1", "99999999", "18446744073709551616", "1e308", "null", "true", "[]", "{}", "\"x\""];
            out.splice(from..to, values[dice.roll(values.len())].bytes());
        }
    }
    out
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let (from, name) = entry.map(|entry| (entry.path(), entry.file_name())).expect("a file");
        if from.is_dir() { copy_folder(&from, &to.join(name)) } else { drop(std::fs::copy(&from, to.join(name))) }
    }
}

/// Alters `file` again and again and lets `read` read it.
fn campaign(what: &str, file: &Path, most_bytes: usize, read: &dyn Fn() -> Result<(), String>) {
    let count = if std::env::var_os("MODE_CAMPAIGN").is_some() { 2_000 } else { 200 };
    let good = std::fs::read(file).expect("a file");
    read().expect("the file as it was");
    let mut dice = Dice(what.bytes().map(u32::from).sum());
    let (mut refused, mut slowest) = (0, Duration::ZERO);
    for i in 0..count {
        let bad = alter(&good, &mut dice);
        std::fs::write(file, &bad).expect("a file");
        let before = IN_USE.load(Relaxed);
        PEAK.store(before, Relaxed);
        let started = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(read));
        slowest = slowest.max(started.elapsed());
        let taken = PEAK.load(Relaxed).saturating_sub(before);
        let kept = || {
            let kept = std::env::temp_dir().join(format!("mode-mutation-{what}-{i}"));
            std::fs::write(&kept, &bad).expect("a file");
            kept.display().to_string()
        };
        match result {
            Err(_) => panic!("{what} {i}: a panic; the file is {}", kept()),
            Ok(Err(error)) => {
                refused += 1;
                assert!(!error.trim().is_empty(), "{what} {i}: an error without words");
            }
            Ok(Ok(())) => {}
        }
        assert!(taken <= most_bytes + 2 * bad.len(), "{what} {i}: {taken} bytes taken; the file is {}", kept());
        assert!(started.elapsed() < Duration::from_secs(20), "{what} {i}: slow; the file is {}", kept());
    }
    std::fs::write(file, &good).expect("a file");
    eprintln!("{what}: {count} altered copies, {refused} refused, the others sound; slowest {slowest:.0?}");
}

/// A model that opened must evaluate to numbers, or say that it does not.
fn sound(model: Result<Model, mode::Error>) -> Result<(), String> {
    let model = model.map_err(|e| e.to_string())?;
    let found = evaluate(&model, &[vec![0, 1, 0, 1]], false).map_err(|e| e.to_string())?;
    assert!(found.mean_nll.is_finite() && (0.0..=1.0).contains(&found.next_token_accuracy));
    Ok(())
}

const ROOM: usize = 4 << 20;

#[test]
fn altered_files_are_refused_or_sound() {
    let folder = tempfile::tempdir().expect("a folder");
    let device = Device::cpu();
    let llama = folder.path().join("llama");
    copy_folder(&data("tiny-random-llama"), &llama);
    let size = std::fs::metadata(llama.join("model.safetensors")).expect("a file").len() as usize;
    for file in ["model.safetensors", "config.json"] {
        campaign(file, &llama.join(file), ROOM + 6 * size, &|| sound(open(&llama, &device)));
    }

    // Blocks of half a byte a number become f32, and a list's byte a value of the metadata's.
    for name in ["llama-q4_0.gguf", "gpt2-q8_0.gguf"] {
        let file = folder.path().join(name);
        std::fs::copy(data("gguf").join(name), &file).expect("a file");
        let size = std::fs::metadata(&file).expect("a file").len() as usize;
        campaign(name, &file, ROOM + 32 * size, &|| {
            sound(open(&file, &device))?;
            let tokenizer = open_tokenizer(&file).map_err(|e| e.to_string())?;
            let ids = tokenizer.encode("river stone, lantern.", true).map_err(|e| e.to_string())?;
            tokenizer.decode(&ids, false).map(drop).map_err(|e| e.to_string())
        });
    }

    let recipes = Recipes::new();
    recipes.pretrain();
    let expert = "[expert]\nname = 'one'\ndomain = 'tales'\nblocks = 2\nlayers_per_block = 1\n[checkpoint]\nevery = 2";
    recipes.run("train", "one", &format!("method = 'expert'\n{expert}"));
    let (base, one) = (recipes.path("base"), recipes.path("one"));
    let experts: [PathBuf; 1] = [one.clone()];
    for file in ["expert.json", "expert.safetensors"] {
        let read = || sound(open_with_experts(&base, &experts, GateRule::Diluted, &device));
        campaign(file, &one.join(file), ROOM, &read);
    }
    recipes.run("compose", "both", &format!("method = 'compose'\n[compose]\nexperts = ['{}']", text(&one)));
    recipes.run("train", "lora", "method = 'lora'\n[lora]\nrank = 2\nalpha = 4.0");
    for (model, file) in [
        ("both", "mode.json"),
        ("both", "gates.safetensors"),
        ("lora", "adapter_config.json"),
        ("lora", "adapter_model.safetensors"),
    ] {
        let model = recipes.path(model);
        campaign(file, &model.join(file), ROOM, &|| sound(open(&model, &device)));
    }

    let tokenizer = recipes.path("tokenizer.json");
    campaign("tokenizer.json", &tokenizer, 64 << 20, &|| {
        let tokenizer = Tokenizer::open(&tokenizer).map_err(|e| e.to_string())?;
        let ids = tokenizer.encode("river stone, lantern.", true).map_err(|e| e.to_string())?;
        tokenizer.decode(&ids, false).map(drop).map_err(|e| e.to_string())
    });

    let recipe = recipes.path("one.toml");
    campaign("recipe.toml", &recipe, ROOM, &|| Recipe::read(&recipe, &[]).map(drop).map_err(|e| e.to_string()));

    let checkpoints = std::fs::read_dir(one.join("checkpoints")).expect("a folder");
    let checkpoint = checkpoints.map(|file| file.expect("a file").path()).max().expect("a checkpoint");
    let good = std::fs::read(&checkpoint).expect("a file");
    campaign("checkpoint", &checkpoint, ROOM, &|| {
        let found = mode::inspect::inspect(&checkpoint).map_err(|e| e.to_string())?;
        let intact = found.facts.iter().any(|(name, value)| *name == "intact" && *value == true);
        let same = std::fs::read(&checkpoint).expect("a file") == good;
        assert_eq!(intact, same, "a checkpoint that was altered passes for whole");
        Ok(())
    });
}
