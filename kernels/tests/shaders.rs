//! What can be checked of the WGSL without a GPU: every shader belongs to a kernel, its bindings and parameters are those
//! of the kernel's definition, and every variant translates to SPIR-V, MSL and HLSL.

use mode_kernels::registry::{ALL, AnyKernel};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};

/// What shaders may use beyond WebGPU's least: `unpack2x16float`, which Vulkan, Metal and DX12 all have.
const CAPABILITIES: Capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;

fn parse(kernel: &dyn AnyKernel, constants: &[(&'static str, u32)]) -> (naga::Module, ModuleInfo) {
    let name = kernel.name();
    let text = mode_shaders::specialise(kernel.wgsl(), constants).unwrap_or_else(|c| panic!("{name}: no const {c}"));
    let module = naga::front::wgsl::parse_str(&text).unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(&text)));
    let info = Validator::new(ValidationFlags::all(), CAPABILITIES)
        .validate(&module)
        .unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(&text)));
    (module, info)
}

#[test]
fn every_shader_belongs_to_one_kernel() {
    assert_eq!(ALL.len(), mode_shaders::ALL.len());
    for (file, text) in mode_shaders::ALL {
        assert_eq!(ALL.iter().filter(|k| k.wgsl() == *text).count(), 1, "{file}");
        assert!(ALL.iter().any(|k| format!("{}.wgsl", k.name()) == *file), "{file} is not named after its kernel");
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
    for kernel in ALL {
        let (module, _) = parse(*kernel, &[]);
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
                        kernel.name()
                    );
                    assert!(fields.iter().enumerate().all(|(i, field)| field.2 == 4 * i as u32), "{fields:?}");
                }
                naga::AddressSpace::Storage { access } => {
                    let writes = access.contains(naga::StorageAccess::STORE);
                    assert_eq!(writes, number > inputs.len(), "{}: {}", kernel.name(), found[number]);
                }
                space => panic!("{}: {space:?}", kernel.name()),
            }
        }
        let wanted: Vec<&str> = ["params"].iter().chain(inputs).chain(outputs).copied().collect();
        assert_eq!(found, wanted, "{}", kernel.name());
    }
}

#[test]
fn every_variant_translates_for_every_backend() {
    for kernel in ALL {
        for launch in kernel.launches() {
            let (module, info) = parse(*kernel, &launch.constants);
            for entry in &launch.entries {
                let known = module.entry_points.iter().any(|e| e.name == *entry);
                assert!(known, "{}: no entry point {entry}", kernel.name());
            }
            let name = kernel.name();
            naga::back::spv::write_vec(&module, &info, &Default::default(), None)
                .unwrap_or_else(|e| panic!("{name}: {e}"));
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
        assert!(launches.len() >= 3, "{}", kernel.name());
        assert!(launches.iter().all(|l| l.cost.bytes > 0.0 && l.cost.flop >= 0.0), "{}", kernel.name());
    }
}

#[test]
fn no_entry_point_binds_more_than_eight_buffers() {
    for kernel in ALL {
        let (module, info) = parse(*kernel, &[]);
        for index in 0..module.entry_points.len() {
            let uses = info.get_entry_point(index);
            let stored = |g: &naga::GlobalVariable| matches!(g.space, naga::AddressSpace::Storage { .. });
            let count = module.global_variables.iter().filter(|(h, g)| stored(g) && !uses[*h].is_empty()).count();
            assert!(count <= 8, "{}: {} binds {count}", kernel.name(), module.entry_points[index].name);
        }
    }
}
