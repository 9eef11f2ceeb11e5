//! The examples run.

#[path = "../examples/gate_merge.rs"]
mod gate_merge;
#[path = "../examples/matmul.rs"]
mod matmul;
#[path = "../examples/mode_block.rs"]
mod mode_block;
#[path = "../examples/train_mlp.rs"]
mod train_mlp;

#[test]
fn examples_run() {
    matmul::main().expect("matmul");
    train_mlp::main().expect("train_mlp");
    mode_block::main().expect("mode_block");
    gate_merge::main().expect("gate_merge");
}
