//! What is made from the commands and the configuration themselves: completions, the manual page, the schema.
//!
//! Guarantees: never out of date, since there is nothing to keep in step.

use super::{Arguments, CommandError};
use crate::config::schema;
use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use std::io::{self, Write as _};

const NAME: &str = "ollama-gateway";

/// For this shell.
pub(super) fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), NAME, &mut script);
    script
}

/// One page for all commands: each is a section of its own.
pub(super) fn man() -> Result<Vec<u8>, CommandError> {
    let mut command = Arguments::command();
    command.build();
    let mut page = Vec::new();
    let written =
        clap_mangen::Man::new(command.clone()).render(&mut page).and_then(|()| sections(&command, "", &mut page));
    written.map_err(|error| CommandError::System { doing: "writing the manual page", error })?;
    Ok(page)
}

fn sections(command: &Command, before: &str, page: &mut Vec<u8>) -> io::Result<()> {
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help") {
        let name = format!("{before}{}", inner.get_name());
        writeln!(page, ".SH \"{}\"", name.to_uppercase())?;
        if inner.has_subcommands() {
            writeln!(page, "{}", inner.get_about().map(ToString::to_string).unwrap_or_default())?;
        } else {
            let section = clap_mangen::Man::new(inner.clone());
            section.render_description_section(page)?;
            section.render_options_section(page)?;
        }
        sections(inner, &format!("{name} "), page)?;
    }
    Ok(())
}

/// For editors.
pub(super) fn schema_text() -> Vec<u8> {
    format!("{:#}\n", schema::schema()).into_bytes()
}
