//! The program `mode`.

fn main() -> std::process::ExitCode {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // Without a desktop session, Mesa's device-select layer complains about its absence on stderr at every start.
        // SAFETY: this is the program's first statement, so there is no other thread that could read the environment.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
    mode::cli::main()
}
