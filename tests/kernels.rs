//! Every kernel agrees with its f64 reference over odd sizes: its CPU body always, its WGSL wherever a GPU adapter is,
//! hardware or software.

use mode_kernels::{Device, KernelError, registry};
use std::io::Write;

/// Runs all kernels; the number of kernels and cases, or every disagreement.
fn check_all(device: &Device) -> Result<(usize, usize), String> {
    let mut cases = 0;
    let mut wrong = Vec::new();
    for kernel in registry::ALL {
        match kernel.check(device, 7) {
            Ok(outcome) if outcome.agrees() => cases += outcome.cases,
            Ok(o) => wrong.push(format!("{}: error {:.1e} at {}", o.kernel, o.worst, o.at)),
            Err(error) => wrong.push(format!("{}: {error}", kernel.name())),
        }
    }
    if wrong.is_empty() { Ok((registry::ALL.len(), cases)) } else { Err(wrong.join("\n")) }
}

#[test]
fn cpu_bodies_agree_with_the_reference() {
    let (kernels, cases) = check_all(&Device::cpu()).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert!(kernels >= 20 && cases > 3 * kernels);
}

#[test]
fn a_reference_agrees_with_itself() {
    check_all(&Device::reference()).unwrap_or_else(|wrong| panic!("{wrong}"));
}

/// The closing line goes to the process's stderr itself, for the harness swallows what `println!` writes.
#[test]
fn wgsl_agrees_with_the_reference() {
    let line = match Device::choose(Some("gpu")) {
        Ok(device) => {
            let (kernels, cases) = check_all(&device).unwrap_or_else(|wrong| panic!("{wrong}"));
            format!("wgsl: {kernels} kernels, {cases} cases, {}", device.name())
        }
        Err(KernelError::NoAdapter { .. }) if std::env::var_os("MODE_REQUIRE_GPU").is_none() => {
            "wgsl: validated but not run, for there is no GPU adapter; `./ci/lavapipe cargo test --workspace` runs it"
                .into()
        }
        Err(error) => panic!("{error}"),
    };
    let _ = writeln!(std::io::stderr(), "{line}");
}
