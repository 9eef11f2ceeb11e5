//! What can be checked of the WGSL without a GPU: every shader belongs to a kernel, its bindings and parameters are those
//! of the kernel's definition, and every variant translates to SPIR-V, MSL and HLSL (cooperative matrices, which only
//! Vulkan runs, to SPIR-V alone).

use mode_kernels::registry::ALL;
use mode_shaders::Shader;
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};

/// What shaders may use beyond WebGPU's least: `unpack2x16float`, which Vulkan, Metal and DX12 all have.
const CAPABILITIES: Capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;

const COOPERATIVE: &str = "enable wgpu_cooperative_matrix;";

/// Those, and what a shader's text says that it uses.
fn capabilities(text: &str) -> Capabilities {
    [
        ("enable f16;", Capabilities::SHADER_FLOAT16),
        ("const SUBGROUP: u32 =", Capabilities::SUBGROUP),
        (COOPERATIVE, Capabilities::COOPERATIVE_MATRIX),
    ]
    .iter()
    .filter(|(word, _)| text.contains(word))
    .fold(CAPABILITIES, |all, (_, capability)| all | *capability)
}

fn parse(
    shader: &Shader,
    constants: &[(&'static str, u32)],
    types: &[(&'static str, &'static str)],
) -> (naga::Module, ModuleInfo) {
    let name = shader.file;
    let text = mode_shaders::specialise(shader.text, constants, types).unwrap_or_else(|c| panic!("{name}: no {c}"));
    let module = naga::front::wgsl::parse_str(&text).unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(&text)));
    let info = Validator::new(ValidationFlags::all(), capabilities(&text))
        .validate(&module)
        .unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(&text)));
    (module, info)
}

#[test]
fn every_shader_belongs_to_one_kernel() {
    for shader in mode_shaders::ALL {
        assert_eq!(ALL.iter().filter(|k| k.shaders().contains(shader)).count(), 1, "{}", shader.file);
    }
    for kernel in ALL {
        let (first, tiers) = kernel.shaders().split_first().expect("a shader");
        assert_eq!(first.file, format!("{}.wgsl", kernel.name()));
        for tier in tiers {
            assert!(
                tier.file.starts_with(&format!("{}_", kernel.name())),
                "{} is not named after its kernel",
                tier.file
            );
        }
    }
}

/// Names, types and offsets of a struct's members.
fn fields(module: &naga::Module, ty: naga::Handle<naga::Type>) -> Vec<(String, String, u32)> {
    let naga::TypeInner::Struct { members, .. } = &module.types[ty].inner else { panic!("Params is no struct") };
    let kind = |member: &naga::StructMember| match module.types[member.ty].inner {
        naga::TypeInner::Scalar(naga::Scalar::U32) => "u32".into(),
        naga::TypeInner::Scalar(naga::Scalar::F32) => "f32".into(),
        ref other => format!("{other:?}"),
    };
    members.iter().map(|m| (m.name.clone().unwrap_or_default(), kind(m), m.offset)).collect()
}

#[test]
fn bindings_and_parameters_agree_with_the_definitions() {
    for (kernel, shader) in ALL.iter().flat_map(|kernel| kernel.shaders().iter().map(move |shader| (kernel, shader))) {
        let (module, _) = parse(shader, &[], &[]);
        let (inputs, outputs) = kernel.bindings();
        let mut found = vec![String::new(); 1 + inputs.len() + outputs.len()];
        for (_, global) in module.global_variables.iter() {
            let Some(binding) = &global.binding else { continue };
            let number = binding.binding as usize;
            found[number] = global.name.clone().unwrap_or_default();
            match global.space {
                naga::AddressSpace::Uniform => {
                    // A field that only the CPU needs may follow the shader's own.
                    let fields = fields(&module, global.ty);
                    let ours = &kernel.params()[..fields.len().min(kernel.params().len())];
                    let same = |(f, o): (&(String, String, u32), &(&str, &str))| (f.0.as_str(), f.1.as_str()) == *o;
                    assert!(
                        fields.len() == ours.len() && fields.iter().zip(ours).all(same),
                        "{}: the shader has {fields:?}, the kernel {ours:?}",
                        shader.file
                    );
                    assert!(fields.iter().enumerate().all(|(i, field)| field.2 == 4 * i as u32), "{fields:?}");
                }
                naga::AddressSpace::Storage { access } => {
                    let writes = access.contains(naga::StorageAccess::STORE);
                    assert_eq!(writes, number > inputs.len(), "{}: {}", shader.file, found[number]);
                }
                space => panic!("{}: {space:?}", shader.file),
            }
        }
        let wanted: Vec<&str> = ["params"].iter().chain(inputs).chain(outputs).copied().collect();
        assert_eq!(found, wanted, "{}", shader.file);
    }
}

#[test]
fn every_variant_translates_for_every_backend() {
    for kernel in ALL {
        for launch in kernel.launches() {
            let (module, info) = parse(&launch.shader, &launch.constants, &launch.types);
            let name = launch.shader.file;
            for entry in &launch.entries {
                let known = module.entry_points.iter().any(|e| e.name == *entry);
                assert!(known, "{name}: no entry point {entry}");
            }
            naga::back::spv::write_vec(&module, &info, &Default::default(), None)
                .unwrap_or_else(|e| panic!("{name}: {e}"));
            if launch.shader.text.contains(COOPERATIVE) {
                continue;
            }
            let options = naga::back::msl::Options { fake_missing_bindings: true, ..Default::default() };
            naga::back::msl::write_string(&module, &info, &options, &Default::default())
                .unwrap_or_else(|e| panic!("{name}: {e}"));
            let mut hlsl = String::new();
            let options = naga::back::hlsl::Options { fake_missing_bindings: true, ..Default::default() };
            naga::back::hlsl::Writer::new(&mut hlsl, &options, &Default::default())
                .write(&module, &info, None)
                .unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
}

#[test]
fn every_kernel_has_a_cost_and_odd_cases() {
    for kernel in ALL {
        let launches = kernel.launches();
        for tier in kernel.shaders() {
            assert!(launches.iter().filter(|launch| launch.shader == *tier).count() >= 3, "{}", tier.file);
        }
        assert!(launches.iter().all(|l| l.cost.bytes > 0.0 && l.cost.flop >= 0.0), "{}", kernel.name());
    }
}

#[test]
fn no_entry_point_binds_more_than_eight_buffers() {
    for shader in mode_shaders::ALL {
        let (module, info) = parse(shader, &[], &[]);
        for index in 0..module.entry_points.len() {
            let uses = info.get_entry_point(index);
            let stored = |g: &naga::GlobalVariable| matches!(g.space, naga::AddressSpace::Storage { .. });
            let count = module.global_variables.iter().filter(|(h, g)| stored(g) && !uses[*h].is_empty()).count();
            assert!(count <= 8, "{}: {} binds {count}", shader.file, module.entry_points[index].name);
        }
    }
}
