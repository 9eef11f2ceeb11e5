//! Compute pipelines, compiled once per shader, entry point and constants.

use super::one_line;
use crate::{Capabilities, Kernel, KernelError};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A compiled entry point and the bindings (1 is the kernel's first) that it uses.
pub(super) struct Pipeline {
    pub(super) id: usize,
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
    pub(super) bindings: Vec<u32>,
    pub(super) params_size: u64,
}

type Key = (&'static str, &'static str, Vec<(&'static str, u32)>, Vec<(&'static str, &'static str)>);

/// The pipelines compiled so far.
#[derive(Default)]
pub(super) struct Pipelines(Mutex<HashMap<Key, Arc<Pipeline>>>);

impl Pipelines {
    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    /// The pipeline of kernel `K`'s entry point, compiled now if this is its first use.
    pub(super) fn get<K: Kernel>(
        &self,
        device: &wgpu::Device,
        capabilities: &Capabilities,
        params: &K::Params,
        entry: &'static str,
    ) -> Result<Arc<Pipeline>, KernelError> {
        let key = (K::SHADERS[K::tier(params)].file, entry, K::constants(params), K::types(params));
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = known.get(&key) {
            return Ok(pipeline.clone());
        }
        let pipeline = Arc::new(compile::<K>(device, capabilities, params, entry, known.len())?);
        known.insert(key, pipeline.clone());
        Ok(pipeline)
    }
}

fn compile<K: Kernel>(
    device: &wgpu::Device,
    capabilities: &Capabilities,
    params: &K::Params,
    entry: &'static str,
    id: usize,
) -> Result<Pipeline, KernelError> {
    let shader = K::SHADERS[K::tier(params)];
    let invalid = |what: String| KernelError::Launch { kernel: K::NAME, what: format!("{}: {what}", shader.file) };
    let mut constants = K::constants(params);
    constants.extend(capabilities.constants(&shader));
    let source = mode_shaders::specialise(shader.text, &constants, &K::types(params))
        .map_err(|name| invalid(format!("there is no {name} to specialise")))?;
    if let Some(what) = capabilities.lack(&source) {
        return Err(KernelError::Lack { kernel: K::NAME, file: shader.file, what });
    }
    let reflection = reflect(&source, entry).map_err(|e| invalid(one_line(&e)))?;
    let has = u64::from(capabilities.workgroup_bytes);
    if reflection.workgroup_bytes > has && K::tier(params) > 0 {
        return Err(KernelError::Lack { kernel: K::NAME, file: shader.file, what: "as much workgroup memory" });
    }
    if reflection.workgroup_bytes > has {
        let (what, needs) = ("bytes of workgroup memory", reflection.workgroup_bytes);
        return Err(KernelError::Limit { kernel: K::NAME, what, needs, has });
    }
    let params_size = size_of::<K::Params>() as u64;
    let entry_of = |binding: u32, ty: wgpu::BufferBindingType, dynamic: bool| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: dynamic, min_binding_size: None },
        count: None,
    };
    let mut entries = vec![entry_of(0, wgpu::BufferBindingType::Uniform, true)];
    for &binding in &reflection.bindings {
        let read_only = binding as usize <= K::INPUTS.len();
        entries.push(entry_of(binding, wgpu::BufferBindingType::Storage { read_only }, false));
    }
    let layout = device
        .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(shader.file), entries: &entries });
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(shader.file),
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let descriptor =
        wgpu::ShaderModuleDescriptor { label: Some(shader.file), source: wgpu::ShaderSource::Wgsl(source.into()) };
    // A counter in every loop keeps compilers from unrolling it: a product takes twice the time. All other checks stay.
    let checks = wgpu::ShaderRuntimeChecks { force_loop_bounding: false, ..wgpu::ShaderRuntimeChecks::checked() };
    // SAFETY: no loop of the shaders is endless. Each counts up to a number of elements, by steps that are not 0, and does not
    // wrap, for no view has so many elements; or halves a number until it is 0.
    let module = unsafe { device.create_shader_module_trusted(descriptor, checks) };
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(shader.file),
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some(entry),
        compilation_options: wgpu::PipelineCompilationOptions {
            // Every kernel writes its workgroup memory before it reads it.
            zero_initialize_workgroup_memory: false,
            ..Default::default()
        },
        cache: None,
    });
    Ok(Pipeline { id, pipeline, layout, bindings: reflection.bindings, params_size })
}

struct Reflection {
    bindings: Vec<u32>,
    workgroup_bytes: u64,
}

/// The storage bindings and the workgroup memory that an entry point uses.
fn reflect(source: &str, entry: &str) -> Result<Reflection, String> {
    let module = naga::front::wgsl::parse_str(source).map_err(|e| e.emit_to_string(source))?;
    let mut validator =
        naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::all());
    let info = validator.validate(&module).map_err(|e| e.emit_to_string(source))?;
    let index = module.entry_points.iter().position(|e| e.name == entry).ok_or(format!("no entry point {entry}"))?;
    let uses = info.get_entry_point(index);
    let mut reflection = Reflection { bindings: Vec::new(), workgroup_bytes: 0 };
    for (_, global) in module.global_variables.iter().filter(|(handle, _)| !uses[*handle].is_empty()) {
        match (&global.binding, global.space) {
            (Some(resource), naga::AddressSpace::Storage { .. }) => reflection.bindings.push(resource.binding),
            (_, naga::AddressSpace::WorkGroup) => {
                reflection.workgroup_bytes += u64::from(module.types[global.ty].inner.size(module.to_ctx()));
            }
            _ => {}
        }
    }
    reflection.bindings.sort_unstable();
    Ok(reflection)
}
