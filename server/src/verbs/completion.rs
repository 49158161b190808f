//! `sampan completion`.

use clap::CommandFactory;

use super::Outcome;
use crate::cli::Cli;

/// Prints the script of a shell.
pub fn run(shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "sampan", &mut script);
    // a closed pipe on the other end is no reason to fail
    let _ = std::io::Write::write_all(&mut std::io::stdout(), &script);
    Ok(0)
}
