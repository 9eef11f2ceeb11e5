//! The program `mode`.

fn main() -> std::process::ExitCode {
    mode::cli::main()
}
