//! Owns what is generated from a program's arguments: shell completions and its manual
//! page, so that both are never older than `--help`. `scripts/install` puts them in place.

use std::io::Write;

use clap::{Command, CommandFactory};
use clap_complete::Shell;

/// The option that asks for it, before any argument is parsed.
const OPTION: &str = "--generate";

/// What was asked for, where the arguments are `--generate KIND` and nothing else.
pub(crate) fn asked(args: impl Iterator<Item = std::ffi::OsString>) -> Option<String> {
    let args: Vec<_> = args.skip(1).take(3).collect();
    match args.as_slice() {
        [option, kind] if option == OPTION => Some(kind.to_string_lossy().into_owned()),
        _ => None,
    }
}

/// Writes it. `Err`: there is no such kind.
pub(crate) fn write<Args: CommandFactory>(name: &str, kind: &str, out: &mut impl Write) -> Result<(), String> {
    let mut command: Command = Args::command();
    let shell = match kind {
        "man" => {
            let page = clap_mangen::Man::new(command);
            return page.render(out).map_err(|error| error.to_string());
        }
        "bash" => Shell::Bash,
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        other => return Err(format!("{OPTION} {other:?}: man, bash, zsh or fish")),
    };
    clap_complete::generate(shell, &mut command, name, out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    #[command(name = "rpt-it")]
    struct Args {
        /// How loud
        #[arg(long)]
        volume: Option<u32>,
    }

    #[test]
    fn every_kind_names_the_options() {
        for kind in ["man", "bash", "zsh", "fish"] {
            let mut out = Vec::new();
            write::<Args>("rpt-it", kind, &mut out).unwrap();
            let text = String::from_utf8(out).unwrap().replace('\\', "");
            assert!(text.contains("volume") && text.contains("rpt-it"), "{kind}: {text}");
        }
        assert!(write::<Args>("rpt-it", "tcsh", &mut Vec::new()).is_err());
        let of = |args: &[&str]| asked(args.iter().map(|arg| (*arg).into()));
        assert_eq!(of(&["rpt-it", "--generate", "man"]).as_deref(), Some("man"));
        assert_eq!(of(&["rpt-it", "--generate", "man", "more"]), None);
        assert_eq!(of(&["rpt-it", "man"]), None);
    }
}
