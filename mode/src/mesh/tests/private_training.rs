//! What leaves the process of a private expert's owner in training: every message is recorded, and none has a weight or a moment of one.

use super::{LENGTH, Log, Recorded, WINDOWS, found, model, windows};
use crate::mesh::plan::{Action, Collective, Schedule, plan, plan_score};
use crate::mesh::processes::{Follower, FollowerEvent};
use crate::mesh::transport::{Message, local};
use crate::mesh::{Connected, Here, Layout, Leader, Places, Problem};
use crate::model::Model;
use mode_autograd::{AdamW, AdamWSettings};
use mode_tensor::Device;
use std::time::Duration;

/// Steps that the run has taken before, and those that it takes.
const BEFORE: u64 = 5;
const STEPS: usize = 3;
/// The devices of the owner's process; the others are the main one's.
pub(super) const OWNERS: [usize; 2] = [1, 2];

/// What a run of steps, a score, a checkpoint and an end sends out of the owner's process, and the numbers that were to stay there.
fn sent(private: &[usize]) -> (Vec<Message>, Vec<Vec<f32>>) {
    let layout = Layout::named("1+2", 1).expect("a layout");
    let log = Log::default();
    let (mut main, mut owner) = (Vec::new(), Vec::new());
    for (number, way) in local(layout.device_names(), None, Duration::from_secs(20)).into_iter().enumerate() {
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
    let connected = |here, others| Connected { layout: layout.clone(), here, others, threads: 1 };
    let problem = |model: &Model| Problem::new(model, WINDOWS, LENGTH).expect("a problem");
    let settings = AdamWSettings::default();
    let numbers = std::thread::scope(|scope| {
        let follower = connected(owner, Vec::new());
        let served = scope.spawn(move || {
            let model = model(false);
            let params = model.experts[0].params();
            let optimizer = AdamW::new(params, settings).expect("parameters");
            let places = Places::new(follower, problem(&model)).expect("places");
            let mut follower =
                Follower::new(places, settings, &model, private, BEFORE + STEPS as u64).expect("devices");
            let noted = || {
                let states = optimizer.states().flat_map(|(param, m, v)| [param.value(), m.clone(), v.clone()]);
                states.map(|tensor| tensor.to_vec().expect("numbers")).collect::<Vec<_>>()
            };
            let mut numbers = noted();
            let mut note = |follower: &Follower| {
                if !private.is_empty() {
                    follower.collect(&optimizer).expect("all of it");
                }
                numbers.extend(noted());
            };
            loop {
                match follower.next().expect("an order") {
                    FollowerEvent::Save(step) => {
                        assert_eq!(step, BEFORE + STEPS as u64);
                        note(&follower);
                        follower.give().expect("given");
                    }
                    FollowerEvent::Load(step) => {
                        assert_eq!(step, BEFORE);
                        follower.take_over(Some(&optimizer)).expect("taken");
                    }
                    FollowerEvent::Finish(gates) => {
                        assert_eq!(gates.len(), 4, "two gates");
                        note(&follower);
                        follower.finished().expect("told");
                    }
                    FollowerEvent::End(steps) => {
                        assert_eq!(steps, BEFORE + STEPS as u64);
                        return numbers;
                    }
                    FollowerEvent::Over => unreachable!("it had not ended before"),
                }
            }
        });
        let model = model(!private.is_empty());
        let mut optimizer =
            AdamW::new(model.params().filter(|param| param.is_trained()), settings).expect("parameters");
        optimizer.resume(BEFORE);
        let places = Places::new(connected(main, vec![OWNERS[0]]), problem(&model)).expect("places");
        let mut leader = Leader::new(places, settings, &model, &optimizer).expect("devices");
        for step in 0..STEPS {
            leader.step(windows(step), 1e-2).expect("a step");
        }
        leader.collect(&optimizer, Some(BEFORE + STEPS as u64)).expect("collected");
        leader.score(&windows(9)).expect("a score");
        leader.collect(&optimizer, None).expect("collected");
        leader.finish(&model.gates).expect("written");
        drop(leader);
        served.join().expect("the owner's process")
    });
    let messages = log.lock().expect("a log").clone();
    (messages, numbers)
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
    let mut add = |schedule: &Schedule, times: usize| {
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
    add(&plan(&problem, &layout), STEPS);
    add(&plan_score(&problem, &layout), 1);
    // Thrice each device says that it has no states to give, and once that all is done: the bytes of `[]`.
    wanted.extend([2; 7]);
    let mut lengths: Vec<usize> = messages.iter().map(|message| message.len()).collect();
    lengths.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(lengths, wanted);
    assert_eq!(messages.iter().filter(|message| message.as_slice() == [91.0, 93.0]).count(), 7);
}
