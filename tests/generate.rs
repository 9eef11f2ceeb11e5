//! Generation: a batch is what each of its sequences would be alone, whichever experts each asks for; and what the program does
//! with prompts, stop texts and seeds.

use mode::generate::{Request, Sampling, Settings, generate, generate_batch};
use mode::model::{GateRule, Model, open, open_with_experts};
use mode_tensor::Device;
use serde_json::{Value, json};
use std::path::PathBuf;

mod common;
use common::{Recipes, data, devices, families, refused, run, text};

fn settings(count: usize) -> Settings {
    Settings { count, sampling: Sampling::Greedy, stop: Vec::new(), at_once: 4 }
}

fn experts(names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(|name| data("tiny-random-mode").join(name)).collect()
}

fn with_experts(names: &[&str], device: &Device) -> Model {
    let base = data("tiny-random-llama");
    match names {
        [] => open(&base, device),
        names => open_with_experts(&base, &experts(names), GateRule::Diluted, device),
    }
    .expect("a model")
}

#[test]
fn a_batch_is_what_each_sequence_is_alone() {
    for device in devices() {
        let model = with_experts(&["code", "math"], &device);
        let asked: [&[&str]; 4] = [&["code", "math"], &["math"], &[], &["code"]];
        let sets: Vec<_> = asked
            .iter()
            .map(|names| model.only(&names.iter().map(|name| name.to_string()).collect::<Vec<_>>()).expect("a set"))
            .collect();
        let request = |prompt: &[u32], set| Request { prompt: prompt.to_vec(), set };
        let requests = [
            request(&[1, 2, 3], 3),
            request(&[9], 0),
            request(&[4, 5, 6, 7, 8, 9, 10], 1),
            request(&[200, 3], 2),
            request(&[1, 2, 3, 4], 3),
            request(&[250], 1),
        ];
        let batch = generate_batch(&model, &sets, &requests, &settings(9), &mut |_, _| true).expect("answers");
        for (request, answer) in requests.iter().zip(&batch.answers) {
            let alone = with_experts(asked[request.set], &device);
            let alone = generate(&alone, &request.prompt, 9, &[]).expect("an answer");
            assert_eq!(answer.ids, alone.ids, "{request:?} on {}", device.name());
            for (got, want) in answer.top.iter().zip(&alone.top) {
                assert!(got.0 == want.0 && (got.1 - want.1).abs() < 1e-4, "{got:?} {want:?}");
            }
        }
    }
}

#[test]
fn every_family_continues_a_batch_as_it_does_alone() {
    for family in families() {
        let model = open(&family, &Device::cpu()).expect("a model");
        let everyone = [model.without(&[]).expect("a set")];
        // Longer than the windows of those that have one.
        let prompts: [Vec<u32>; 3] = [(0..20).collect(), vec![5], (30..37).collect()];
        let requests = prompts.clone().map(|prompt| Request { prompt, set: 0 });
        let batch = generate_batch(&model, &everyone, &requests, &settings(12), &mut |_, _| true).expect("answers");
        for (prompt, answer) in prompts.iter().zip(&batch.answers) {
            let alone = generate(&model, prompt, 12, &[]).expect("an answer");
            assert_eq!(answer.ids, alone.ids, "{}", family.display());
        }
    }
}

#[test]
fn who_opts_out_leaves_the_softmax_to_the_rest() {
    let device = Device::cpu();
    let model = open(&data("tiny-random-mode/composed"), &device).expect("a model");
    let before = (model.gates[0].weight.value().to_vec(), model.gates[0].bias.value().to_vec());
    let (weight, bias) = (before.0.expect("readable"), before.1.expect("readable"));
    let rest = model.without(&["code".into()]).expect("a set");
    let model = model.keep(rest);
    assert_eq!(model.experts.len(), 1);
    let width = model.backbone.config.width;
    let kept = model.gates[0].weight.value().to_vec().expect("readable");
    assert_eq!(kept, [&weight[..width], &weight[2 * width..]].concat());
    assert_eq!(model.gates[0].bias.value().to_vec().expect("readable"), [bias[0], bias[2]]);
    let rest = model.without(&["math".into()]).expect("a set");
    let (plain, model) = (with_experts(&[], &device), model.keep(rest));
    let greedy = |model: &Model| generate(model, &[1, 2, 3], 8, &[]).expect("an answer");
    assert_eq!(greedy(&model), greedy(&plain));
}

#[test]
fn a_seed_draws_the_same_tokens_again() {
    let model = with_experts(&[], &Device::cpu());
    let everyone = [model.without(&[]).expect("a set")];
    let draw = |seed, temperature| {
        let sampling = Sampling::Random { temperature, top_k: Some(40), top_p: 0.95, seed };
        let settings = Settings { count: 20, sampling, stop: Vec::new(), at_once: 1 };
        let request = [Request { prompt: vec![1, 2, 3], set: 0 }];
        generate_batch(&model, &everyone, &request, &settings, &mut |_, _| true)
            .expect("an answer")
            .answers
            .remove(0)
            .ids
    };
    assert_eq!(draw(5, 2.0), draw(5, 2.0));
    assert_ne!(draw(5, 2.0), draw(6, 2.0));
    let greedy = generate(&model, &[1, 2, 3], 20, &[]).expect("an answer").ids;
    assert_eq!(draw(5, 1e-4), greedy, "almost no temperature takes the likeliest");
}

#[test]
fn each_prompt_of_a_batch_draws_for_itself() {
    let model = with_experts(&[], &Device::cpu());
    let everyone = [model.without(&[]).expect("a set")];
    let requests = vec![Request { prompt: vec![1, 2, 3], set: 0 }; 3];
    let draw = |requests: &[Request], seed, at_once| {
        let sampling = Sampling::Random { temperature: 2.0, top_k: None, top_p: 1.0, seed };
        let settings = Settings { count: 12, sampling, stop: Vec::new(), at_once };
        let batch = generate_batch(&model, &everyone, requests, &settings, &mut |_, _| true).expect("answers");
        batch.answers.into_iter().map(|answer| answer.ids).collect::<Vec<_>>()
    };
    let answers = draw(&requests, 5, 3);
    assert!(answers[0] != answers[1] && answers[1] != answers[2]);
    assert_eq!(draw(&requests, 5, 2), answers, "whatever else is in the batch");
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(draw(&requests[..1], 5 + number as u64, 1), std::slice::from_ref(answer));
    }
}

#[test]
fn the_program_answers_prompts_of_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("prompts.jsonl");
    let lines =
        [json!({"ids": [1, 2, 3], "experts": ["code"]}), json!({"ids": [4]}), json!({"ids": [9, 8], "experts": []})];
    std::fs::write(&file, lines.map(|line| line.to_string()).join("\n")).expect("a file");
    let composed = data("tiny-random-mode/composed");
    let arguments = ["generate", "--model", text(&composed), "--prompts", text(&file), "--max-new", "4", "--json"];
    let (stdout, stderr, code) = run(&arguments);
    assert_eq!(code, 0, "{stderr}");
    let answer: Value = serde_json::from_str(stdout.trim()).expect("one JSON object");
    let answers = answer["answers"].as_array().expect("answers");
    assert!(answers.len() == 3 && answers.iter().all(|a| a["new_ids"].as_array().is_some_and(|ids| ids.len() == 4)));
    assert!(answer["load_seconds"].is_number() && answer["tokens_per_second"].is_number());
    for (line, says) in [
        (r#"{"ids": [1], "experts": ["nobody"]}"#, "line 1: the model has no expert 'nobody'; it has code, math"),
        (r#"{"ids": [1], "prompt": "a"}"#, "line 1: give either"),
        (r#"{"ids": [1], "expert": []}"#, "line 1: unknown field `expert`"),
        ("{\"ids\": [1]}\n\n{\"ids\": [99999]}", "line 3: token 99999 is out of range"),
        ("{\"ids\": [1]}\n{\"ids\": []}", "line 2: the prompt is empty"),
        ("[null, [1, 2]]", "line 1: is no JSON object"),
        ("{\"ids\": [1]}\n{\"ids\": 3}", "line 2: invalid type: integer `3`, expected a sequence at column 9"),
        (r#"{"prompt": "a"}"#, "has no tokenizer.json for texts; give token ids"),
        ("", "holds no prompt"),
    ] {
        std::fs::write(&file, line).expect("a file");
        refused(&["generate", "--model", text(&composed), "--prompts", text(&file)], says);
    }
    let model = data("tiny-random-llama");
    let ids = folder.path().join("ids.json");
    std::fs::write(&ids, "[1,2]").expect("a file");
    for (more, says) in [
        (&["--temperature", "-1"][..], "temperature of -1"),
        (&["--temperature", "nan"], "temperature of NaN"),
        (&["--top-p", "0.5"], "--temperature 1"),
        (&["--top-p", "1.5", "--temperature", "1"], "top-p is 1.5"),
        (&["--top-k", "0", "--temperature", "1"], "top-k is 0"),
        (&["--without", "code"], "no expert 'code'; it has none"),
        (&["--stop", "x"], "no tokenizer.json"),
        (&["--stop", ""], "--stop is empty"),
        (&["--max-new", "100"], "positions"),
    ] {
        refused(&[&["generate", "--model", text(&model), "--ids", text(&ids)][..], more].concat(), says);
    }
}

#[test]
fn texts_are_streamed_and_cut_at_stop_texts() {
    let recipes = Recipes::new();
    recipes.pretrain();
    let base = recipes.path("base");
    let ask = |more: &[&str]| {
        let (stdout, stderr, code) =
            run(&[&["generate", "--model", text(&base), "--prompt", "river", "--max-new", "12"][..], more].concat());
        assert_eq!(code, 0, "{stderr}");
        stdout
    };
    let whole = ask(&[]);
    assert_eq!(ask(&["--stream"]), whole);
    // Some characters out of the middle, which must not be in what is left.
    let characters: Vec<char> = whole.trim_end_matches('\n').chars().collect();
    let stop: String = characters[characters.len() / 2..][..2].iter().collect();
    let cut = ask(&["--stop", &stop]);
    assert_eq!(cut.strip_suffix('\n').expect("a line"), whole.split(&stop).next().expect("a part"));
    assert_eq!(ask(&["--stop", &stop, "--stream"]), cut);
}
