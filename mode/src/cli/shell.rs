//! `mode completions` and `mode man`: what shells and `man` want to know.

use super::Program;
use crate::Error;
use clap::CommandFactory;
use clap_complete::Shell;

/// Print a shell's completions; for bash: mode completions bash > ~/.local/share/bash-completion/completions/mode
#[derive(clap::Args)]
pub(crate) struct Completions {
    /// bash, zsh, fish, elvish or powershell
    shell: Shell,
}

/// Print the manual page; to read it: mode man | man -l -
#[derive(clap::Args)]
pub(crate) struct Man {}

pub(crate) fn completions(arguments: Completions) -> Result<(), Error> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut Program::command(), "mode", &mut text);
    say!("{}", String::from_utf8_lossy(&text).trim_end());
    Ok(())
}

pub(crate) fn man(_: Man) -> Result<(), Error> {
    let mut text = Vec::new();
    let page = |command: &clap::Command, text: &mut Vec<u8>| {
        clap_mangen::Man::new(command.clone()).render(text).map_err(Error::file("the manual page".as_ref()))
    };
    let mut program = Program::command();
    program.build();
    page(&program, &mut text)?;
    for command in program.get_subcommands().filter(|command| command.get_name() != "help") {
        page(command, &mut text)?;
    }
    say!("{}", String::from_utf8_lossy(&text).trim_end());
    Ok(())
}
