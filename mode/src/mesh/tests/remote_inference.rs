//! What leaves an expert's owner whom a model asks: it computes what the model would have, to the bit, and says nothing else.

use super::{Log, Recorded, found, model, windows};
use crate::Error;
use crate::generate::{Request, Sampling, Settings, generate_batch};
use crate::mesh::{ExpertClient, Transport, answer, local};
use crate::model::{Model, RemoteExpert, Rows, ServedExpert};
use crate::train::evaluate;
use mode_tensor::Tensor;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const WIDTH: usize = 16;

/// The model's expert in its owner's process.
fn served() -> ServedExpert {
    let Model { backbone, mut experts, .. } = model(false);
    let device = backbone.device().clone();
    ServedExpert::new(experts.remove(0), backbone.config, &device).expect("an expert")
}

/// What `ask` finds out from a model whose expert is elsewhere, what crossed either way, and how many questions were asked.
fn asked<T>(ask: impl FnOnce(&Model) -> T) -> (T, [Log; 2], Result<u64, Error>) {
    let ends = local(vec!["the caller".into(), "the owner".into()], None, Duration::from_secs(20));
    let logs = [Log::default(), Log::default()];
    let ends = ends.into_iter().zip(&logs).zip([&[1], &[0]]);
    let mut ends = ends.map(|((way, log), outside)| Recorded { way, log: log.clone(), outside });
    let (caller, mut owner) = (ends.next().expect("an end"), ends.next().expect("an end"));
    let (result, answered) = std::thread::scope(|scope| {
        let answered = scope.spawn(move || answer(&mut served(), &mut owner));
        let mut model = model(true);
        model.experts[0].reach(ExpertClient::new("the owner".into(), Box::new(caller)));
        let result = ask(&model);
        drop(model);
        (result, answered.join().expect("the owner's process"))
    });
    (result, logs, answered)
}

/// Prompts of two sets of experts, some at once, and windows of two lengths.
fn all_of(model: &Model) -> (Vec<Vec<u32>>, String) {
    let sets = [model.without(&[]).expect("a set"), model.only(&[]).expect("a set")];
    let request = |(prompt, set): (&[u32], usize)| Request { prompt: prompt.to_vec(), set };
    let prompts = [(&[1, 2, 3][..], 0), (&[4, 5], 1), (&[6], 0), (&[7, 8, 9, 10], 0), (&[2], 0)];
    let settings = Settings { count: 6, sampling: Sampling::Greedy, stop: Vec::new(), at_once: 3 };
    let batch = generate_batch(model, &sets, &prompts.map(request), &settings, &mut |_, _| true).expect("answers");
    let mut windows = windows(1);
    windows.push(vec![5, 6, 7]);
    let evaluation = evaluate(model, &windows, false).expect("an evaluation");
    let top: Vec<_> = batch.answers.iter().map(|answer| &answer.top).collect();
    let numbers = format!("{top:?} {evaluation:?}");
    (batch.answers.into_iter().map(|answer| answer.ids).collect(), numbers)
}

#[test]
fn an_owner_answers_what_the_model_would_have_computed() {
    let (remote, _, answered) = asked(all_of);
    assert_eq!(remote, all_of(&model(false)));
    // Of two blocks: twice six passes with the expert, and windows of two lengths.
    assert_eq!(answered.expect("answers"), 2 * (6 + 6 + 2));
}

/// Takes note of what it is asked, and answers nothing.
struct Noted(Arc<Mutex<Vec<&'static str>>>);

impl RemoteExpert for Noted {
    fn ask(&self, _: usize, _: &Tensor, _: Rows) -> Result<(), Error> {
        self.0.lock().expect("a log").push("asked");
        Ok(())
    }

    fn answer(&self, out: &Tensor) -> Result<(), Error> {
        self.0.lock().expect("a log").push("waited for");
        Ok(out.write(&vec![0.0; out.len()])?)
    }
}

#[test]
fn questions_of_all_groups_go_out_before_one_is_waited_for() {
    let log = Arc::default();
    let mut model = model(true);
    model.experts[0].reach(Noted(Arc::clone(&log)));
    let sets = [model.without(&[]).expect("a set"), model.without(&[]).expect("a set")];
    let prompts = [0, 1].map(|set| Request { prompt: vec![1, 2, 3], set });
    let settings = Settings { count: 1, sampling: Sampling::Greedy, stop: Vec::new(), at_once: 2 };
    generate_batch(&model, &sets, &prompts, &settings, &mut |_, _| true).expect("answers");
    // Of two blocks.
    assert_eq!(*log.lock().expect("a log"), ["asked", "asked", "waited for", "waited for"].repeat(2));
}

#[test]
fn nothing_crosses_but_activations_and_their_places() {
    let (_, [questions, answers], _) = asked(all_of);
    let [questions, answers] = [questions, answers].map(|log| log.lock().expect("a log").clone());
    let numbers: Vec<Vec<f32>> =
        model(false).experts[0].params().map(|param| param.value().to_vec().expect("numbers")).collect();
    assert_eq!(found(&answers, &numbers), 0);
    assert!(found(&[Arc::new(numbers[0].clone())], &numbers) > 10, "what is looked for would be found");
    let (last, questions) = questions.split_last().expect("questions");
    assert!(last.is_empty() && questions.len() == answers.len());
    for (question, answer) in questions.iter().zip(&answers) {
        // Beside x there are five numbers, one for each sequence that is over, and four for each with new tokens.
        let [_, _, _, over, chunks] = *question[..5].as_array().expect("a question");
        let x = question.len() - 5 - over as usize - 4 * chunks as usize;
        assert!(x > 0 && x.is_multiple_of(WIDTH) && answer.len() == x + 1, "{x} {}", answer.len());
        assert!(over <= 3.0 && chunks <= 3.0, "what is over is forgotten");
    }
    assert!(questions.iter().any(|question| question[3] > 0.0));
}

#[test]
fn what_an_expert_elsewhere_can_t_give_is_told() {
    let (error, _, answered) = asked(|model| evaluate(model, &windows(1), true).expect_err("gradients").to_string());
    assert!(error.contains("expert 'math' is in another process, through which no gradients go"), "{error}");
    assert_eq!(answered.expect("no question"), 0);
    let error = evaluate(&model(true), &windows(1), false).expect_err("no way").to_string();
    assert!(error.contains("--connect math=HOST:PORT"), "{error}");
    // An owner that ends is named.
    let ends = local(vec!["the caller".into(), "the owner".into()], None, Duration::from_secs(20));
    let mut model = model(true);
    let way = Box::new(ends.into_iter().next().expect("an end"));
    model.experts[0].reach(ExpertClient::new("expert 'math' at HOST".into(), way));
    let error = evaluate(&model, &windows(1), false).expect_err("gone");
    assert!(error.to_string().starts_with("expert 'math' at HOST has ended") && error.exit_code() == 1, "{error}");
}

#[test]
fn answers_to_what_was_not_asked_are_refused() {
    let ends = local(vec!["the caller".into(), "the owner".into()], None, Duration::from_millis(200));
    let mut ends = ends.into_iter();
    let (caller, mut owner) = (ends.next().expect("an end"), ends.next().expect("an end"));
    let client = ExpertClient::new("the owner".into(), Box::new(caller));
    let x = model(true).backbone.device().clone();
    let x = Tensor::from_slice(&x, &[0.5; WIDTH], &[1, WIDTH]).expect("numbers");
    let answer = |number: f32| Arc::new(std::iter::once(number).chain([0.0; WIDTH]).collect());
    let mut asked = |numbers: &[f32]| {
        client.ask(0, &x, Rows::Windows(1)).expect("asked");
        numbers.iter().for_each(|&number| owner.send(0, answer(number)).expect("sent"));
        client.answer(&x).map_err(|error| error.to_string())
    };
    // The first answer comes when nobody waits for it any more.
    assert!(asked(&[]).is_err_and(|error| error.contains("has sent nothing")));
    assert_eq!(asked(&[0.0, 1.0]), Ok(()));
    for stale in [0.0, 7.0, f32::NAN] {
        assert!(
            asked(&[stale]).is_err_and(|error| error.starts_with("the owner has answered what was not asked")),
            "{stale}"
        );
    }
}

#[test]
fn what_an_owner_can_t_be_asked_is_refused() {
    use crate::model::Chunk;
    let mut served = served();
    let x = vec![0.5; 2 * WIDTH];
    let chunk = |sequence, past, tokens, capacity| Chunk { sequence, past, tokens, capacity };
    for (block, chunks, says) in [
        (2, &[chunk(0, 0, 2, 8)][..], "block 2"),
        (0, &[chunk(0, 0, 1, 8)], "2 tokens for chunks"),
        (0, &[chunk(0, 0, 1, 8), chunk(0, 1, 1, 8)], "a sequence twice"),
        (0, &[chunk(0, 1, 2, 8)], "1 tokens of which 0 are here"),
        (0, &[chunk(0, 0, 2, 1)], "2 tokens behind 0 of 1"),
        (0, &[chunk(0, 0, 2, 18)], "2 tokens behind 0 of 18"),
    ] {
        let error = served.chunks(block, &x, chunks).expect_err(says).to_string();
        assert!(error.contains(says), "{says}: {error}");
        served.forget_all();
    }
    served.chunks(0, &x, &[chunk(0, 0, 2, 8)]).expect("an answer");
    // What block 0 has put in is not in block 1.
    assert!(served.chunks(1, &x, &[chunk(0, 2, 2, 8)]).is_err());
    served.chunks(0, &x, &[chunk(0, 2, 2, 8)]).expect("an answer");
    served.forget(0);
    assert!(served.chunks(0, &x, &[chunk(0, 4, 2, 8)]).is_err(), "it was over");
    for (rows, length) in [(2, 0), (2, 3), (2, 17), (0, 1)] {
        assert!(served.windows(0, &x[..rows * WIDTH], length).is_err(), "{rows} in windows of {length}");
    }
    assert!(served.windows(0, &x[..WIDTH + 1], 1).is_err());
}
