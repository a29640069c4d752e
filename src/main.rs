//! Arguments → command → exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    ollama_gateway::cli::main()
}
