//! What leaves the process of a private expert's owner: every message is recorded, and none has a weight, a moment or a gradient of one.

mod asked;
mod refused;

use super::local::{Local, local};
use super::schedule::{Action, Collective};
use super::serving::{Asked, Serving};
use super::team::device_names;
use super::transport::{Message, Transport};
use super::{Here, Layout, Places, Problem, Training, Wired};
use crate::Error;
use crate::model::{Backbone, Config, Expert, ExpertInfo, ExpertInit, Gate, Model, Random, Trained};
use mode_autograd::{AdamW, AdamWSettings};
use mode_kernels::fill_hash::hash;
use mode_tensor::Device;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Steps that the run has taken before, and those that it takes.
const BEFORE: u64 = 5;
const STEPS: usize = 3;
const WINDOWS: usize = 2;
const LENGTH: usize = 8;
/// The devices of the owner's process; the others are the main one's.
const OWNERS: [usize; 2] = [1, 2];
/// Numbers in a row that are taken for weights wherever they stand.
const RUN: usize = 4;

type Log = Arc<Mutex<Vec<Message>>>;

/// A device's way to others, with a note of all that goes to another process.
struct Recorded {
    way: Local,
    log: Log,
    /// Devices of other processes.
    outside: &'static [usize],
}

impl Transport for Recorded {
    fn send(&mut self, to: usize, message: Message) -> Result<(), Error> {
        if self.outside.contains(&to) {
            self.log.lock().expect("a log").push(message.clone());
        }
        self.way.send(to, message)
    }

    fn receive(&mut self, from: usize) -> Result<Message, Error> {
        self.way.receive(from)
    }
}

/// An expert, which may be elsewhere, beside a decoder of four layers.
fn model(elsewhere: bool) -> Model {
    let shape = Config {
        vocabulary: 64,
        width: 16,
        hidden: 32,
        layers: 4,
        heads: 2,
        kv_heads: 2,
        head_width: 8,
        positions: 16,
        tied: true,
        ..Config::default()
    };
    let cpu = Device::cpu();
    let backbone = Backbone::random(shape, &cpu, &mut Random::new(1)).expect("a decoder");
    let info = ExpertInfo::new("math", "math", "", 2, 1).expect("a name");
    let expert = match elsewhere {
        true => Expert::elsewhere(&backbone.config, info, ""),
        false => Expert::new(&backbone, info, ExpertInit::Random, &mut Random::new(3)),
    };
    let gates = (0..2).map(|block| Gate::with_share(&cpu, block, 16, 0.5).expect("a gate")).collect();
    let model = Model::with_experts(backbone, vec![expert.expect("an expert")], gates).expect("a model");
    model.set_trained(Trained::Experts);
    model
}

fn windows(step: usize) -> Vec<Vec<u32>> {
    let window = |row: usize| (0..=LENGTH as u32).map(|i| hash((100 * step + row) as u32, i) % 64).collect();
    (0..WINDOWS).map(window).collect()
}

/// What a run of steps, a score, a checkpoint and an end sends out of the owner's process, and the numbers that were to stay there.
fn sent(private: &[usize]) -> (Vec<Message>, Vec<Vec<f32>>) {
    let layout = Layout::named("1+2", 1).expect("a layout");
    let log = Log::default();
    let (mut main, mut owner) = (Vec::new(), Vec::new());
    for (number, way) in local(device_names(&layout), None, Duration::from_secs(20)).into_iter().enumerate() {
        let device = Device::cpu();
        match OWNERS.contains(&number) {
            true => owner.push(Here {
                number,
                device,
                transport: Box::new(Recorded { way, log: log.clone(), outside: &[0] }),
            }),
            false => main.push(Here { number, device, transport: Box::new(way) }),
        }
    }
    let wired = |here, others| Wired { layout: layout.clone(), here, others, threads: 1 };
    let problem = |model: &Model| Problem::new(model, WINDOWS, LENGTH).expect("a problem");
    let settings = AdamWSettings::default();
    let numbers = std::thread::scope(|scope| {
        let serving = wired(owner, Vec::new());
        let served = scope.spawn(move || {
            let model = model(false);
            let params = model.experts[0].params();
            let optimizer = AdamW::new(params, settings).expect("parameters");
            let places = Places::new(serving, problem(&model)).expect("places");
            let mut serving = Serving::new(places, settings, &model, private, BEFORE + STEPS as u64).expect("devices");
            let noted = || {
                let states = optimizer.states().flat_map(|(param, m, v)| [param.value(), m.clone(), v.clone()]);
                states.map(|tensor| tensor.to_vec().expect("numbers")).collect::<Vec<_>>()
            };
            let mut numbers = noted();
            let mut note = |serving: &Serving| {
                if !private.is_empty() {
                    serving.collect(&optimizer).expect("all of it");
                }
                numbers.extend(noted());
            };
            loop {
                match serving.next().expect("an order") {
                    Asked::Save(step) => {
                        assert_eq!(step, BEFORE + STEPS as u64);
                        note(&serving);
                        serving.give().expect("given");
                    }
                    Asked::Load(step) => {
                        assert_eq!(step, BEFORE);
                        serving.take_over(Some(&optimizer)).expect("taken");
                    }
                    Asked::Finish(gates) => {
                        assert_eq!(gates.len(), 4, "two gates");
                        note(&serving);
                        serving.finished().expect("told");
                    }
                    Asked::End(steps) => {
                        assert_eq!(steps, BEFORE + STEPS as u64);
                        return numbers;
                    }
                    Asked::Over => unreachable!("it had not ended before"),
                }
            }
        });
        let model = model(!private.is_empty());
        let mut optimizer =
            AdamW::new(model.params().filter(|param| param.is_trained()), settings).expect("parameters");
        optimizer.resume(BEFORE);
        let places = Places::new(wired(main, vec![OWNERS[0]]), problem(&model)).expect("places");
        let mut training = Training::new(places, settings, &model, &optimizer).expect("devices");
        for step in 0..STEPS {
            training.step(windows(step), 1e-2).expect("a step");
        }
        training.collect(&optimizer, Some(BEFORE + STEPS as u64)).expect("collected");
        training.score(&windows(9)).expect("a score");
        training.collect(&optimizer, None).expect("collected");
        training.finish(&model.gates).expect("written");
        drop(training);
        served.join().expect("the owner's process")
    });
    let messages = log.lock().expect("a log").clone();
    (messages, numbers)
}

/// How many runs of numbers in messages are also in `numbers`; those of one number over and over say nothing.
fn found(messages: &[Message], numbers: &[Vec<f32>]) -> usize {
    let runs = |values: &[f32]| -> Vec<Vec<u32>> {
        let bits: Vec<u32> = values.iter().map(|value| value.to_bits()).collect();
        let telling = bits.windows(RUN).filter(|run| run.iter().any(|bits| *bits != run[0]));
        telling.map(<[u32]>::to_vec).collect()
    };
    let known: HashSet<Vec<u32>> = numbers.iter().flat_map(|values| runs(values)).collect();
    messages.iter().flat_map(|message| runs(message)).filter(|run| known.contains(run)).count()
}

#[test]
fn no_weight_of_a_private_expert_leaves_its_owners_process() {
    let (messages, numbers) = sent(&[0]);
    assert!(numbers.len() > 10 && numbers.iter().any(|values| values.len() > 100));
    assert_eq!(found(&messages, &numbers), 0);
    // Of what is not private they do, so that what is looked for would be found.
    let (messages, _) = sent(&[]);
    assert!(found(&messages, &numbers) > 1_000);
}

#[test]
fn nothing_leaves_an_owners_process_but_what_the_schedule_says() {
    let (messages, _) = sent(&[0]);
    let model = model(false);
    let problem = Problem::new(&model, WINDOWS, LENGTH).expect("a problem");
    let layout = Layout::named("1+2", 1).expect("a layout");
    let mut wanted = Vec::new();
    let mut add = |schedule: &super::Schedule, times: usize| {
        for entry in OWNERS.iter().flat_map(|&owner| schedule.of(owner)).map(|(_, entry)| entry) {
            let lengths = match &entry.action {
                // Activations and their gradients.
                Action::Send { to, rows } if !OWNERS.contains(to) => vec![rows.len() * schedule.width],
                // The square of the gradient's norm.
                Action::Collective { kind: Collective::AllGather, group, elements } if group.len() == 3 => {
                    assert_eq!(*elements, 4 * group.len());
                    vec![4; group.len() - OWNERS.len()]
                }
                Action::Collective { group, .. } => {
                    assert!(group.iter().all(|member| OWNERS.contains(member)), "{entry:?}");
                    Vec::new()
                }
                _ => Vec::new(),
            };
            (0..times).for_each(|_| wanted.extend(&lengths));
        }
    };
    add(&super::plan(&problem, &layout), STEPS);
    add(&super::plan::plan_score(&problem, &layout), 1);
    // Thrice each device says that it has no states to give, and once that all is done: the bytes of `[]`.
    wanted.extend([2; 7]);
    let mut lengths: Vec<usize> = messages.iter().map(|message| message.len()).collect();
    lengths.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(lengths, wanted);
    assert_eq!(messages.iter().filter(|message| message.as_slice() == [91.0, 93.0]).count(), 7);
}
