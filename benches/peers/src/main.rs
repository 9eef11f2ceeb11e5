//! `peers ENGINE WORKLOAD`: burn's and candle's side of `run.py`. Here is what both share: inputs from integers, the sizes of the
//! small model, timing, and the line of JSON, all as in `timing.py`.

#[cfg(any(feature = "burn-flex", feature = "burn-cpu", feature = "burn-vulkan"))]
mod burn;
#[cfg(feature = "candle")]
mod candle;

use cpu_time::ProcessTime;
use std::error::Error;
use std::time::{Duration, Instant};

const WINDOWS: usize = 4;
const LENGTH: usize = 256;
const HEADS: usize = 4;
const WIDTH: usize = 256;
const HIDDEN: usize = 1024;
const LAYERS: usize = 4;
const VOCABULARY: usize = 512;
const PROMPT: usize = 16;
const NEW: usize = 64;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The check value of a run's results.
type Check = Box<dyn FnOnce() -> Result<f64>>;

/// Does the work once and waits for it.
type Run = Box<dyn FnMut() -> Result<Check>>;

fn hash(seed: u32, i: u32) -> u32 {
    let mut x = i.wrapping_mul(2654435761).wrapping_add(seed.wrapping_mul(40503)).wrapping_add(12345);
    x = (x ^ x >> 16).wrapping_mul(0x045d9f3b);
    x = (x ^ x >> 16).wrapping_mul(0x045d9f3b);
    x ^ x >> 16
}

fn fill(seed: u32, n: usize, scale: f32) -> Vec<f32> {
    (0..n as u32).map(|i| ((hash(seed, i) >> 8) as f32 / 8_388_608.0 - 1.0) * scale).collect()
}

/// A matrix of the model, [out, in].
struct Matrix {
    values: Vec<f32>,
    out: usize,
    into: usize,
}

fn matrix(seed: u32, out: usize, into: usize) -> Matrix {
    Matrix { values: fill(seed, out * into, (3.0 / into as f32).sqrt()), out, into }
}

/// Layer number `layer`'s matrices: query, key and value as one, output, up, down.
fn layer_matrices(layer: usize) -> [Matrix; 4] {
    let s = 10 + 10 * layer as u32;
    let mut qkv = matrix(s, WIDTH, WIDTH);
    for seed in [s + 1, s + 2] {
        qkv.values.extend(matrix(seed, WIDTH, WIDTH).values);
        qkv.out += WIDTH;
    }
    [qkv, matrix(s + 3, WIDTH, WIDTH), matrix(s + 4, HIDDEN, WIDTH), matrix(s + 5, WIDTH, HIDDEN)]
}

fn ids(count: usize) -> Vec<u32> {
    (0..count as u32).map(|i| hash(99, i) % VOCABULARY as u32).collect()
}

/// Ids of the training step, and one further on their targets.
fn windows() -> (Vec<u32>, Vec<u32>) {
    let all = ids(WINDOWS * (LENGTH + 1));
    let rows = || all.chunks(LENGTH + 1);
    (rows().flat_map(|row| &row[..LENGTH]).copied().collect(), rows().flat_map(|row| &row[1..]).copied().collect())
}

fn mean_abs(values: &[f32]) -> f64 {
    values.iter().map(|x| f64::from(x.abs())).sum::<f64>() / values.len() as f64
}

/// Nominal FLOP of a run, and its tokens.
fn cost(workload: &str) -> (f64, Option<usize>) {
    let attention = (4 * WINDOWS * HEADS * LENGTH * LENGTH * 64) as f64;
    let layer = 2 * (4 * WIDTH * WIDTH + 2 * WIDTH * HIDDEN);
    let head = 2 * WIDTH * VOCABULARY;
    let forward = (LAYERS * (layer + 4 * LENGTH * WIDTH) + head) as f64;
    let token = |past: usize| LAYERS * (layer + 4 * (past + 1) * WIDTH);
    match workload {
        "W1" => (2.0 * 1024f64.powi(3), None),
        "W1b" => (2.0 * 512.0 * 2048.0 * 512.0, None),
        "W2" => (attention, None),
        "W2b" => (3.0 * attention, None),
        "W3" => (11.0 * 4096.0 * 512.0, None),
        "W3b" => (32.0 * 4096.0 * 512.0, None),
        "W4" => (3.0 * forward * (WINDOWS * LENGTH) as f64, Some(WINDOWS * LENGTH)),
        "W5" => (((0..PROMPT + NEW - 1).map(token).sum::<usize>() + NEW * head) as f64, Some(NEW)),
        _ => (forward * LENGTH as f64, Some(LENGTH)),
    }
}

/// The most memory this process ever held, where the system says.
fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [engine, workload] = &arguments[..] else { return Err("peers ENGINE WORKLOAD".into()) };
    let (device, mut run): (String, Run) = match engine.as_str() {
        #[cfg(feature = "candle")]
        "candle" => ("CPU".into(), candle::workload(workload)?),
        #[cfg(any(feature = "burn-flex", feature = "burn-cpu", feature = "burn-vulkan"))]
        burn if burn.starts_with("burn") => burn::workload(burn, workload)?,
        _ => return Err(format!("{engine} was not built in").into()),
    };
    let mut check = run()?;
    for _ in 0..2 {
        check = run()?;
    }
    let check = check()?;
    let (mut times, cpu, started) = (Vec::new(), ProcessTime::now(), Instant::now());
    while times.len() < 5 || started.elapsed() < Duration::from_secs(4) {
        let before = Instant::now();
        let results = run()?;
        times.push(1e3 * before.elapsed().as_secs_f64());
        drop(results);
    }
    let cpu_ms = 1e3 * cpu.elapsed().as_secs_f64() / times.len() as f64;
    times.sort_by(f64::total_cmp);
    let (median_ms, (flop, tokens)) = (times[times.len() / 2], cost(workload));
    let mut line = serde_json::json!({
        "engine": engine, "device": device, "workload": workload, "median_ms": median_ms, "min_ms": times[0], "cpu_ms": cpu_ms,
        "gflops": flop / median_ms / 1e6, "peak_rss_mb": peak_rss_mb(), "check": check,
    });
    if let Some(tokens) = tokens {
        line["tokens_per_s"] = (1e3 * tokens as f64 / median_ms).into();
    }
    println!("{line}");
    Ok(())
}
