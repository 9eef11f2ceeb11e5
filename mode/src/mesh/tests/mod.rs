//! What crosses between processes where an expert is private: a model that has one, and a record of all messages, which is looked through for
//! numbers that were to stay.

mod private_training;
mod refused;
mod remote_inference;

use super::transport::{Local, Message, Transport};
use crate::Error;
use crate::model::{Backbone, Config, Expert, ExpertInfo, ExpertInit, Gate, Model, Random, Trained};
use mode_kernels::fill_hash::hash;
use mode_tensor::Device;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};

const WINDOWS: usize = 2;
const LENGTH: usize = 8;
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

/// An expert, which may be remote, beside a decoder of four layers.
fn model(is_remote: bool) -> Model {
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
    let expert = match is_remote {
        true => Expert::remote(&backbone.config, info, ""),
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
