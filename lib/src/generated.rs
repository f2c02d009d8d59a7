//! Owns what is generated from a program's arguments: shell completions and its manual
//! page, so that both are never older than `--help`. `scripts/install` puts them in place.

use std::io::Write;

use clap::builder::PossibleValuesParser;
use clap::{Arg, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

/// The option that asks for it, before any argument is parsed.
const OPTION: &str = "--generate";

/// What there is.
const KINDS: [&str; 4] = ["man", "bash", "zsh", "fish"];

/// The command with the option in its help.
pub(crate) fn with_option(command: Command) -> Command {
    let option = Arg::new("generate")
        .long(OPTION.trim_start_matches('-'))
        .value_name("KIND")
        .value_parser(PossibleValuesParser::new(KINDS))
        .exclusive(true)
        // Among the program's own, not under the heading of its last ones.
        .help_heading(None::<&str>)
        .help("Write the manual page or the completions for a shell, and do nothing else");
    command.arg(option)
}

/// What was asked for, where the arguments are `--generate KIND`, or with an equals sign, and nothing else.
pub(crate) fn asked(args: impl Iterator<Item = std::ffi::OsString>) -> Option<String> {
    let args: Vec<_> = args.skip(1).take(3).map(|arg| arg.to_string_lossy().into_owned()).collect();
    match args.as_slice() {
        [option, kind] if option == OPTION => Some(kind.clone()),
        [joined] => joined.strip_prefix(OPTION)?.strip_prefix('=').map(str::to_string),
        _ => None,
    }
}

/// Writes it. `Err`: there is no such kind.
pub(crate) fn write<Args: CommandFactory>(name: &str, kind: &str, out: &mut impl Write) -> Result<(), String> {
    let mut command = with_option(Args::command());
    let shell = match kind {
        "man" => return manual(command, out).map_err(|error| error.to_string()),
        "bash" => Shell::Bash,
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        other => return Err(format!("{OPTION} {other:?}: man, bash, zsh or fish")),
    };
    clap_complete::generate(shell, &mut command, name, out);
    Ok(())
}

/// One page: subcommands, which have no pages of their own, stand below the program.
fn manual(mut command: Command, out: &mut impl Write) -> std::io::Result<()> {
    command.build();
    let page = Man::new(command.clone());
    page.render_title(out)?;
    page.render_name_section(out)?;
    out.write_all(sections(&page)?.as_bytes())?;
    subcommands(&command, out)?;
    command.get_version().map_or(Ok(()), |_| page.render_version_section(out))
}

/// What a program and a subcommand both have.
fn sections(page: &Man) -> std::io::Result<String> {
    let mut text = Vec::new();
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    page.render_extra_section(&mut text)?;
    Ok(String::from_utf8_lossy(&text).replace(".SH EXTRA", ".SH EXAMPLES"))
}

fn subcommands(command: &Command, out: &mut impl Write) -> std::io::Result<()> {
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        // Options that all of them have stand above, once.
        let own = below.clone().mut_args(|arg| if arg.is_global_set() { arg.hide(true) } else { arg });
        writeln!(out, ".SH \"{}\"", below.get_bin_name().unwrap_or(below.get_name()))?;
        out.write_all(sections(&Man::new(own))?.replace(".SH ", ".SS ").as_bytes())?;
        subcommands(below, out)?;
    }
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

    #[derive(clap::Parser)]
    #[command(name = "rpt-it")]
    struct WithSubcommands {
        /// Where
        #[arg(long, global = true)]
        place: Option<String>,
        #[command(subcommand)]
        command: Subcommand,
    }

    #[derive(clap::Subcommand)]
    enum Subcommand {
        /// Make it louder
        #[command(after_help = "Examples:\n  rpt-it louder")]
        Louder {
            /// How much
            #[arg(long)]
            by: u32,
        },
    }

    #[test]
    fn the_manual_has_every_subcommand() {
        let mut out = Vec::new();
        write::<WithSubcommands>("rpt-it", "man", &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for part in [".SH \"rpt-it louder\"\n", ".SS SYNOPSIS", "Make it louder", "How much", ".SS EXAMPLES"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(text.matches("Where").count(), 1, "{text}");
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
        assert_eq!(of(&["rpt-it", "--generate=man"]).as_deref(), Some("man"));
        assert_eq!((of(&["rpt-it", "man"]), of(&["rpt-it", "--generate"])), (None, None));
    }
}
