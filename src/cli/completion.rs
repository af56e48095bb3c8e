//! `completion`: the shell's script, made from the same definitions that parse the command line. And the words that
//! kubectl asks for: it completes a plugin by running `kubectl_complete-NAME`, which is three lines that end here.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, Command, CommandFactory, ValueHint};
use clap_complete::Shell;

use super::connect::{self, ConnectOptions};
use super::error::{CliError, Exit};
use super::output::Output;
use super::plugin::Plugin;
use super::session::Session;

/// What kubectl reads after the words: files as well, or no files.
const FILES: &str = ":0";
const NO_FILES: &str = ":4";
/// The argument of every verb that is about one Rollout.
const ROLLOUT: &str = "name";
/// Somebody waits for each keystroke.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

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

pub async fn complete(args: &CompleteArgs, out: &mut Output) -> Result<Exit, CliError> {
    let mut plugin = Plugin::command();
    plugin.build();
    let place = find_place(&plugin, &args.words);
    let found = match &place {
        Some(Place::Rollout) => rollout_names(&plugin, &args.words).await,
        place => candidates(place.as_ref()),
    };
    let last = args.words.last().map(String::as_str).unwrap_or_default();
    let found = found
        .iter()
        .map(String::as_str)
        .filter(|word| word.starts_with(last));
    let directive = match place {
        Some(Place::File) => FILES,
        _ => NO_FILES,
    };
    out.lines(found.chain([directive]))?;
    Ok(Exit::Ok)
}

/// What stands where the last word is.
enum Place<'a> {
    Flag(&'a Command),
    Value(&'a Arg),
    Rollout,
    File,
    /// A verb, or one of a few words.
    Word(&'a Command),
}

fn find_place<'a>(plugin: &'a Command, words: &[String]) -> Option<Place<'a>> {
    let (last, before) = words.split_last()?;
    let (command, given) = read(plugin, before);
    let awaits_value = before.last().and_then(|word| find_option(command, word));
    let next = command.get_positionals().nth(given);
    let is_next = |id: &str| next.is_some_and(|argument| argument.get_id() == id);
    Some(match awaits_value {
        Some(option) if takes_a_path(option) => Place::File,
        Some(option) => Place::Value(option),
        None if last.starts_with('-') => Place::Flag(command),
        None if is_next(ROLLOUT) => Place::Rollout,
        None if command.get_positionals().any(takes_a_path) => Place::File,
        None => Place::Word(command),
    })
}

/// The verb of these words, and how many of its own words are there.
fn read<'a>(plugin: &'a Command, words: &[String]) -> (&'a Command, usize) {
    let (mut command, mut given, mut is_value) = (plugin, 0, false);
    for word in words {
        match command.find_subcommand(word) {
            _ if is_value => is_value = false,
            Some(verb) => command = verb,
            None if word.starts_with('-') => is_value = find_option(command, word).is_some(),
            None => given += 1,
        }
    }
    (command, given)
}

fn takes_a_path(argument: &Arg) -> bool {
    argument.get_value_hint() == ValueHint::AnyPath
}

fn candidates(place: Option<&Place>) -> Vec<String> {
    match place {
        Some(Place::Flag(command)) => {
            let options = command.get_arguments().filter(|argument| !argument.is_hide_set());
            let names = options.filter_map(Arg::get_long);
            names.map(|name| format!("--{name}")).collect()
        }
        Some(Place::Value(option)) => values_of(option),
        Some(Place::Word(command)) => {
            let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
            let verbs = verbs.map(|verb| verb.get_name().to_owned());
            let places = command.get_positionals().flat_map(values_of);
            verbs.chain(places).collect()
        }
        Some(Place::Rollout | Place::File) | None => Vec::new(),
    }
}

/// None where the cluster does not answer at once: whoever presses TAB wants no error.
async fn rollout_names(plugin: &Command, words: &[String]) -> Vec<String> {
    let value = |long: &str| {
        let mut pairs = words.iter().zip(words.iter().skip(1));
        let (_, after) = pairs.find(|(word, _)| {
            let option = find_option(plugin, word);
            option.is_some_and(|option| option.get_long() == Some(long))
        })?;
        Some(after.clone())
    };
    let options = ConnectOptions {
        kubeconfig: value("kubeconfig").map(PathBuf::from),
        context: value("context"),
        namespace: value("namespace"),
    };
    let names = async {
        let connection = connect::load(&options).await.ok()?;
        let rollouts = Session::open(&connection).ok()?.list_rollouts(false).await.ok()?;
        let names = rollouts.into_iter().filter_map(|rollout| rollout.metadata.name);
        Some(names.collect())
    };
    let answered = tokio::time::timeout(ANSWER_TIMEOUT, names).await;
    answered.ok().flatten().unwrap_or_default()
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
        let found = candidates(find_place(&plugin, &words).as_ref());
        let last = words.last().unwrap();
        found.into_iter().filter(|word| word.starts_with(last)).collect()
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

    #[test]
    fn knows_where_a_rollout_or_a_file_belongs() {
        let place = |line: &str| {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            let mut plugin = Plugin::command();
            plugin.build();
            match find_place(&plugin, &words) {
                Some(Place::Rollout) => "rollout",
                Some(Place::File) => "file",
                _ => "other",
            }
        };
        for (line, expected) in [
            ("promote ", "rollout"),
            ("promote -n shop ", "rollout"),
            ("-n shop promote --reason good ch", "rollout"),
            ("set image ", "rollout"),
            ("promote checkout ", "other"),
            ("promote --reason ", "other"),
            ("set image checkout ", "other"),
            ("pro", "other"),
            ("lint ", "file"),
            ("lint a.yaml ", "file"),
            ("lint -f ", "file"),
            ("get --kubeconfig ", "file"),
        ] {
            assert_eq!(place(line), expected, "{line}");
        }
    }
}
