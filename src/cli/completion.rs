//! `completion`: the shell's script, made from the same definitions that parse the command line. And the words that
//! kubectl asks for: it completes a plugin by running `kubectl_complete-NAME`, which is three lines that end here.

use clap::{Arg, Command, CommandFactory};
use clap_complete::Shell;

use super::error::{CliError, Exit};
use super::output::Output;
use super::plugin::Plugin;

/// What kubectl reads after the words: no files.
const NO_FILES: &str = ":4";

const HOW_KUBECTL_COMPLETES: &str = r#"The script completes kubectl-tidegate. For `kubectl tidegate <TAB>` put
this on your PATH, executable, as kubectl_complete-tidegate:

  #!/bin/sh
  exec kubectl-tidegate __complete -- "$@"
"#;

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = HOW_KUBECTL_COMPLETES)]
pub struct CompletionArgs {
    #[arg(value_enum)]
    pub shell: Shell,
}

/// The words so far; the last is the one to complete, and may be empty.
#[derive(Clone, Debug, clap::Args)]
pub struct CompleteArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<String>,
}

pub fn run(args: &CompletionArgs, out: &mut Output) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(
        args.shell,
        &mut Plugin::command(),
        "kubectl-tidegate",
        &mut script,
    );
    out.text(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}

pub fn complete(args: &CompleteArgs, out: &mut Output) -> Result<Exit, CliError> {
    let mut plugin = Plugin::command();
    plugin.build();
    let found = candidates(&plugin, &args.words);
    out.lines(found.iter().map(String::as_str).chain([NO_FILES]))?;
    Ok(Exit::Ok)
}

fn candidates(plugin: &Command, words: &[String]) -> Vec<String> {
    let Some((last, before)) = words.split_last() else {
        return vec![];
    };
    let command = before.iter().fold(plugin, |command, word| {
        command.find_subcommand(word).unwrap_or(command)
    });
    let awaits_value = before.last().and_then(|word| find_option(command, word));
    let all: Vec<String> = match awaits_value {
        Some(option) => values_of(option),
        None if last.starts_with('-') => {
            let options = command.get_arguments().filter(|argument| !argument.is_hide_set());
            let names = options.filter_map(Arg::get_long);
            names.map(|name| format!("--{name}")).collect()
        }
        None => {
            let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
            let verbs = verbs.map(|verb| verb.get_name().to_owned());
            let places = command.get_positionals().flat_map(values_of);
            verbs.chain(places).collect()
        }
    };
    all.into_iter().filter(|word| word.starts_with(last)).collect()
}

/// The option that this word names, if it wants a value.
fn find_option<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let mut options = command
        .get_arguments()
        .filter(|argument| argument.get_action().takes_values());
    options.find(|option| {
        let is_long = option
            .get_long()
            .is_some_and(|long| word.strip_prefix("--") == Some(long));
        let is_short = option
            .get_short()
            .is_some_and(|short| word.strip_prefix('-') == Some(short.to_string().as_str()));
        is_long || is_short
    })
}

fn values_of(argument: &Arg) -> Vec<String> {
    let values = argument.get_possible_values().into_iter();
    values.map(|value| value.get_name().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(line: &str) -> Vec<String> {
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        let mut plugin = Plugin::command();
        plugin.build();
        candidates(&plugin, &words)
    }

    #[test]
    fn offers_verbs_flags_and_values() {
        assert_eq!(complete("pr"), ["promote"]);
        assert!(complete("").contains(&"abort".to_owned()));
        assert!(!complete("").contains(&"__complete".to_owned()));
        assert_eq!(complete("promote checkout --fu"), ["--full"]);
        assert!(complete("status --").contains(&"--namespace".to_owned()));
        assert_eq!(complete("get checkout -w --until p"), ["paused"]);
        assert_eq!(complete("get checkout -o j"), ["json"]);
        assert_eq!(complete("set "), ["image"]);
        assert_eq!(complete("completion z"), ["zsh"]);
        assert!(complete("get check").is_empty());
    }
}
