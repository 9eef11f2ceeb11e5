//! Every kernel agrees with its f64 reference over odd sizes: its CPU body always, its WGSL wherever a GPU adapter is,
//! hardware or software.

use mode_kernels::check::not_run;
use mode_kernels::fill_hash::fill;
use mode_kernels::matmul::{Params, Precision, matmul};
use mode_kernels::scale::scale;
use mode_kernels::{Activation, Device, Dtype, Epilogue, KernelError, Sizes, View, registry};
use std::io::Write;

/// Runs all kernels; the number of kernels and cases, with a word on those that the device can't run, or every disagreement.
fn check_all(device: &Device) -> Result<(usize, usize, String), String> {
    let mut cases = 0;
    let mut lacks = Vec::new();
    let mut wrong = Vec::new();
    for kernel in registry::ALL {
        match kernel.check(device, Sizes::Odd, 7) {
            Ok(outcome) if outcome.agrees() => {
                cases += outcome.cases;
                lacks.extend(outcome.not_run);
            }
            Ok(o) => wrong.push(format!("{}: error {:.1e} at {}", o.kernel, o.worst, o.at)),
            Err(error) => wrong.push(format!("{}: {error}", kernel.name())),
        }
    }
    if wrong.is_empty() { Ok((registry::ALL.len(), cases, not_run(&lacks))) } else { Err(wrong.join("\n")) }
}

#[test]
fn cpu_bodies_agree_with_the_reference() {
    let (kernels, cases, _) = check_all(&Device::cpu()).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert!(kernels >= 20 && cases > 3 * kernels);
    check_products(&Device::cpu()).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_reference_agrees_with_itself() {
    check_all(&Device::reference()).unwrap_or_else(|wrong| panic!("{wrong}"));
}

/// Draws of each kernel, the first of which has the seed 11.
fn check_draws(device: &Device, count: u32) {
    for kernel in registry::ALL {
        let drawn = kernel.draws(device, count, 11).unwrap_or_else(|error| panic!("{error}"));
        let (name, seed) = (kernel.name(), drawn.seed.unwrap_or_default());
        let again = format!("mode check {name} --draws 1 --seed {seed}");
        assert!(drawn.agrees(), "error {:.1e} at {}; {again}", drawn.worst, drawn.at);
        assert_eq!(drawn.cases + drawn.not_run.len(), count as usize);
        assert!(drawn.cases > 0 || name == "mma", "{name}: no draw runs here, of a kernel that runs everywhere");
    }
}

#[test]
fn random_launches_agree_with_the_reference() {
    check_draws(&Device::cpu(), 60);
}

/// Products that are long enough to be summed in parts, as the device would choose to compute them.
fn check_products(device: &Device) -> Result<(), KernelError> {
    let (plain, mixed) = ([Dtype::F32; 2], [Dtype::F16, Dtype::F32]);
    for ([m, n, k], accumulate, precision, [a_dtype, c_dtype], error) in [
        ([130, 260, 1_100], 1, Precision::F32, plain, 1e-3),
        ([5, 70, 2_060], 0, Precision::F32, plain, 1e-3),
        ([300, 9, 1_025], 1, Precision::F32, plain, 1e-3),
        ([65, 67, 1_100], 0, Precision::F32, mixed, 1e-3),
        // Each of a thousand terms is off by 4e-4 or so, and they add as chance has it.
        ([130, 260, 1_100], 1, Precision::Half, plain, 4e-2),
        ([130, 68, 1_100], 0, Precision::Half, mixed, 4e-2),
    ] {
        if device.is_gpu() && !device.capabilities().f16 && a_dtype != Dtype::F32 {
            continue;
        }
        for ends in [false, true] {
            let product = |device: &Device| {
                let place = |dtype: Dtype, seed: u32, len: usize| {
                    let view = View::whole(device.alloc_as(dtype, len)?);
                    device.write(&view, &fill(seed, len, 1.0))?;
                    Ok::<_, KernelError>(view)
                };
                let [a, b, c] = [(a_dtype, 1, m * k), (Dtype::F32, 2, k * n), (c_dtype, 3, m * n)]
                    .map(|(dtype, seed, len)| place(dtype, seed, len));
                let (a, b, c) = (a?, b?, c?);
                let (bias, residual) = (place(Dtype::F32, 4, n)?, place(c_dtype, 5, m * n)?);
                let all =
                    Epilogue { bias: Some(&bias), residual: Some(&residual), activation: Some(Activation::GeluTanh) };
                let params = Params { accumulate, precision: precision.code(), ..Params::new(1, m, n, k, true, false) };
                matmul(device, params, [&a, &b], &if ends { all } else { Epilogue::default() }, &c)?;
                device.read_f64(&c)
            };
            let (got, want) = (product(device)?, product(&Device::reference())?);
            let close = |(got, want): (&f64, &f64)| (got - want).abs() < error;
            assert!(got.iter().zip(&want).all(close), "{m} x {n} x {k}, with an epilogue: {ends}");
        }
    }
    Ok(())
}

/// Many launches of one submission each keep parameters of their own, past the ring's end too.
fn check_ring(device: &Device) -> Result<(), KernelError> {
    let x = View::whole(device.alloc(64)?);
    device.write(&x, &[1.0; 64])?;
    let outputs = (0..300).map(|_| device.alloc(64).map(View::whole)).collect::<Result<Vec<_>, _>>()?;
    for (i, y) in outputs.iter().enumerate() {
        scale(device, i as f32, &x, y, false)?;
    }
    for (i, y) in outputs.iter().enumerate() {
        assert_eq!(device.read(y)?, [i as f32; 64], "launch {i}");
    }
    Ok(())
}

#[test]
fn a_buffer_is_not_bound_twice_to_be_written() -> Result<(), KernelError> {
    let device = Device::cpu();
    let buffer = device.alloc(128)?;
    let half = |offset| View { buffer: buffer.clone(), offset, len: 64 };
    let error = scale(&device, 2.0, &half(0), &half(64), false).expect_err("one buffer, read and written");
    assert!(error.to_string().contains("bound twice"), "{error}");
    Ok(())
}

#[test]
fn sizes_that_no_memory_holds_are_errors() {
    let device = Device::cpu();
    for len in [1 << 50, usize::MAX / 2, usize::MAX] {
        assert!(matches!(device.alloc(len), Err(KernelError::Memory { .. })), "{len}");
    }
}

/// The closing line goes to the process's stderr itself, for the harness swallows what `println!` writes.
#[test]
fn wgsl_agrees_with_the_reference() {
    let line = match Device::choose(Some("gpu")) {
        Ok(device) => {
            let (kernels, cases, not_run) = check_all(&device).unwrap_or_else(|wrong| panic!("{wrong}"));
            check_products(&device).unwrap_or_else(|error| panic!("{error}"));
            check_draws(&device, 12);
            check_ring(&device).unwrap_or_else(|error| panic!("{error}"));
            format!("wgsl: {kernels} kernels, {cases} cases, {}{not_run}", device.name())
        }
        Err(KernelError::NoAdapter { .. }) if std::env::var_os("MODE_REQUIRE_GPU").is_none() => {
            "wgsl: validated but not run, for there is no GPU adapter; `./ci/lavapipe cargo test --workspace` runs it"
                .into()
        }
        Err(error) => panic!("{error}"),
    };
    let _ = writeln!(std::io::stderr(), "{line}");
}
