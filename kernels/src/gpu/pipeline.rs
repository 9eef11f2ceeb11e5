//! Compute pipelines, compiled once per shader, entry point and constants.

use super::bind_groups::MOST_BINDINGS;
use super::plan::Plans;
use crate::cooperative::ENABLE;
use crate::shaders::{Replacements, Source, one_line};
use crate::{Capabilities, Kernel, KernelError};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A compiled entry point and the bindings (1 is the kernel's first) that it uses.
pub(super) struct Pipeline {
    pub(super) id: usize,
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
    pub(super) bindings: Vec<u32>,
    pub(super) params_size: u64,
    /// True if it multiplies by cooperative matrices.
    pub(super) cooperative: bool,
}

/// The version tells the texts of a shader apart where others are put in its place.
type Key = (&'static str, u64, &'static str, Vec<(&'static str, u32)>, Vec<(&'static str, &'static str)>);

/// The pipelines compiled so far.
#[derive(Default)]
pub(super) struct Pipelines(Mutex<Known>);

#[derive(Default)]
pub(super) struct Known {
    compiled: HashMap<Key, Arc<Pipeline>>,
    pub(super) plans: Plans,
    replaced: Replacements,
    /// Where the driver keeps what it compiles, for others to take out.
    cache: Option<wgpu::PipelineCache>,
}

impl Pipelines {
    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.known().compiled.len() as u64
    }

    /// From now on takes these texts in place of the built-in shaders.
    pub(super) fn replace(&self, texts: Replacements) {
        let known = &mut *self.known();
        known.plans.clear();
        known.replaced = texts;
    }

    /// From now on compiles through `cache`.
    pub(super) fn keep(&self, cache: wgpu::PipelineCache) {
        self.known().cache = Some(cache);
    }

    /// What is compiled through.
    pub(super) fn cache(&self) -> Option<wgpu::PipelineCache> {
        self.known().cache.clone()
    }

    /// The pipeline of kernel `K`'s entry point, compiled now if this is its first use.
    pub(super) fn get<K: Kernel>(
        &self,
        device: &wgpu::Device,
        capabilities: &Capabilities,
        params: &K::Params,
        entry: &'static str,
    ) -> Result<Arc<Pipeline>, KernelError> {
        let shader = &K::SHADERS[K::tier(params)];
        let known = &mut *self.known();
        let key = (shader.file, known.replaced.version(shader), entry, K::constants(params), K::types(params));
        if let Some(pipeline) = known.compiled.get(&key) {
            return Ok(pipeline.clone());
        }
        let mut source = Source::new(K::NAME, shader, &known.replaced);
        let own = capabilities.constants(source.text());
        source.specialise(&[&key.3[..], own.as_slice()].concat(), &key.4)?;
        let id = known.compiled.len();
        let pipeline =
            Arc::new(compile::<K>(device, capabilities, known.cache.as_ref(), shader.file, &source, entry, id)?);
        known.compiled.insert(key, pipeline.clone());
        Ok(pipeline)
    }
}

fn compile<K: Kernel>(
    device: &wgpu::Device,
    capabilities: &Capabilities,
    cache: Option<&wgpu::PipelineCache>,
    file: &'static str,
    source: &Source,
    entry: &'static str,
    id: usize,
) -> Result<Pipeline, KernelError> {
    if let Some(what) = capabilities.lack(source.text()) {
        return Err(KernelError::Lack { kernel: K::NAME, file, what });
    }
    let reflection = reflect::<K>(source, entry)?;
    if reflection.bindings.len() > MOST_BINDINGS {
        return Err(
            source.wrong(format!("{entry} uses {} buffers; use {MOST_BINDINGS} at most", reflection.bindings.len()))
        );
    }
    let (needs, has) = (reflection.workgroup_bytes, u64::from(capabilities.workgroup_bytes));
    if needs > has && file != K::SHADERS[0].file && !source.is_replaced() {
        return Err(KernelError::Lack { kernel: K::NAME, file, what: "as much workgroup memory" });
    }
    if needs > has {
        let what = "bytes of workgroup memory, and the adapter has";
        return Err(source.wrong(format!("{entry} takes {needs} {what} {has}; use smaller tiles, or --device cpu")));
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
    let layout =
        device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(file), entries: &entries });
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(file),
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let descriptor =
        wgpu::ShaderModuleDescriptor { label: Some(file), source: wgpu::ShaderSource::Wgsl(source.text().into()) };
    // What naga passes and this device or driver does not is the shader's error, not one of the launches that follow.
    let failed = device.push_error_scope(wgpu::ErrorFilter::Validation);
    // A counter in every loop keeps compilers from unrolling it: a product takes twice the time. All other checks stay.
    let checks = wgpu::ShaderRuntimeChecks { force_loop_bounding: false, ..wgpu::ShaderRuntimeChecks::checked() };
    // SAFETY: no loop of the shaders is endless. Each counts up to a number of elements, by steps that are not 0, and does not
    // wrap, for no view has so many elements; or halves a number until it is 0. Of others in their place, whoever gave them
    // to `Device::replace_shaders` has said so.
    let module = unsafe { device.create_shader_module_trusted(descriptor, checks) };
    if let Some(error) = pollster::block_on(failed.pop()) {
        let info = pollster::block_on(module.get_compilation_info());
        let located = info.messages.iter().find_map(|m| Some((m.location?, one_line(&m.message))));
        return Err(match located {
            Some((at, what)) => source.wrong_at(naga::Span::new(at.offset, at.offset + at.length), what, "", &[]),
            None => source.wrong(one_line(&error.to_string())),
        });
    }
    let failed = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(file),
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some(entry),
        compilation_options: wgpu::PipelineCompilationOptions {
            // Every kernel writes its workgroup memory before it reads it.
            zero_initialize_workgroup_memory: false,
            ..Default::default()
        },
        cache,
    });
    let (internal, failed) = (pollster::block_on(internal.pop()), pollster::block_on(failed.pop()));
    if let Some(error) = internal.or(failed) {
        return Err(source.wrong(one_line(&error.to_string())));
    }
    let cooperative = source.text().contains(ENABLE);
    Ok(Pipeline { id, pipeline, layout, bindings: reflection.bindings, params_size, cooperative })
}

struct Reflection {
    bindings: Vec<u32>,
    workgroup_bytes: u64,
}

/// The storage bindings and the workgroup memory that an entry point uses, which must be bindings that the kernel has.
fn reflect<K: Kernel>(source: &Source, entry: &str) -> Result<Reflection, KernelError> {
    let module = source.parse()?;
    let info = source.validate(&module)?;
    let index = module
        .entry_points
        .iter()
        .position(|e| e.name == entry)
        .ok_or_else(|| source.wrong(format!("there is no entry point 'fn {entry}', which the kernel runs")))?;
    let uses = info.get_entry_point(index);
    let mut reflection = Reflection { bindings: Vec::new(), workgroup_bytes: 0 };
    let (inputs, all) = (K::INPUTS.len() as u32, (K::INPUTS.len() + K::OUTPUTS.len()) as u32);
    for (handle, global) in module.global_variables.iter().filter(|(handle, _)| !uses[*handle].is_empty()) {
        let size = u64::from(module.types[global.ty].inner.size(module.to_ctx()));
        let wrong = |what: String| {
            let list = [K::INPUTS, K::OUTPUTS].concat().join(", ");
            let note = format!("note: the kernel's bindings are 0, the uniform Params, then from 1 on {list}");
            source.wrong_at(module.global_variables.get_span(handle), what, "", &[note])
        };
        match (&global.binding, global.space) {
            (Some(at), naga::AddressSpace::Storage { access }) => {
                if at.group != 0 || !(1..=all).contains(&at.binding) {
                    return Err(wrong(format!("the kernel has no buffer {} in group {}", at.binding, at.group)));
                }
                if at.binding <= inputs && access.contains(naga::StorageAccess::STORE) {
                    return Err(wrong(format!("buffer {} is an input, which is only read", at.binding)));
                }
                reflection.bindings.push(at.binding);
            }
            (Some(at), _) if at.group != 0 || at.binding != 0 => {
                return Err(wrong(format!("the kernel has no uniform {} in group {}", at.binding, at.group)));
            }
            (Some(_), _) if size > size_of::<K::Params>() as u64 => {
                let given = size_of::<K::Params>();
                return Err(wrong(format!("Params takes {size} bytes, and the kernel's has {given}")));
            }
            (_, naga::AddressSpace::WorkGroup) => reflection.workgroup_bytes += size,
            _ => {}
        }
    }
    reflection.bindings.sort_unstable();
    Ok(reflection)
}
