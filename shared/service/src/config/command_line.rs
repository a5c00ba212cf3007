//! The command line: `--help`, and the errors that end a start.

use std::{ffi::OsString, process};

use clap::{
    Arg, ArgAction, Command, CommandFactory,
    error::{ContextKind, ContextValue, Error, ErrorKind},
};

use super::{heading, misspelled::misspelled};

/// The exit status of a wrong configuration.
const WRONG_CONFIGURATION: i32 = 2;

const SHORT_EPILOG: &str =
    "Each flag is also an environment variable. --help describes each setting in detail.";

const EPILOG: &str = "\
Each flag is also an environment variable, named in brackets. A flag wins over
its variable.

Values:
  DURATION  a number and a unit: 500ms, 5s, 10m or 1h
  SIZE      a number and a unit: 64MiB or 1GiB
  SHARE     a number from 0 to 1: 0.2 is a fifth
  CALLS/S   calls a second: 40, or 0.75 for three calls in four seconds
  IP:PORT   0.0.0.0:5000 listens on all addresses, 127.0.0.1:5000 only locally

Variables without a flag:
  RUST_LOG  the log filter: error, warn, info (the default), debug or trace;
            with a part of the program, as in info,service=debug

Exit status:
  0  SIGTERM or Ctrl-C ended the service
  1  the machine refused something, for example the port is in use
  2  the configuration is wrong; one sentence names the setting and the remedy

docs/reference.md in the source repository describes the routes, the error
codes, the metrics and every setting. docs/runbook.md is for outages.";

/// Returns the command line of a service: its flags, and the parts of `--help` that all services
/// have.
pub(super) fn command<C: CommandFactory>() -> Command {
    let command = C::command();
    let epilog = match command.get_after_long_help() {
        Some(own) => format!("{own}\n\n{EPILOG}"),
        None => EPILOG.to_owned(),
    };
    let help = Arg::new("help")
        .short('h')
        .long("help")
        .action(ArgAction::Help)
        .help("Print this help: -h in short, --help in full");
    let version = Arg::new("version")
        .short('V')
        .long("version")
        .action(ArgAction::Version)
        .help("Print the version");
    command
        // A value of the environment may be a secret, and it would make the help differ by machine.
        .mut_args(|arg| arg.hide_env_values(true))
        .disable_help_flag(true)
        .disable_version_flag(true)
        .next_help_heading(heading::HELP)
        .args([help, version])
        .after_help(SHORT_EPILOG)
        .after_long_help(epilog)
}

/// Prints the help or the version, or ends the process because of an error.
pub(super) fn exit(command: &Command, error: &Error) -> ! {
    if !error.use_stderr() {
        error.exit();
    }
    exit_with_usage_error(sentence(command, error))
}

/// Ends the process with status 2 because a value is unusable. `reason` is one sentence that names
/// the setting and the remedy.
pub fn exit_with_usage_error(reason: impl std::fmt::Display) -> ! {
    eprintln!(
        "error: {reason}\n\nEach flag is also an environment variable: --cache is CACHE. \
         For more information, try '--help'."
    );
    process::exit(WRONG_CONFIGURATION);
}

/// Logs a warning for each environment variable that is nearly the name of a setting. It has no
/// effect, so it is a mistake that nothing else would report.
pub fn warn_of_misspelled_variables<C: CommandFactory>() {
    let command = C::command();
    let known: Vec<String> = command
        .get_arguments()
        .filter_map(|arg| Some(arg.get_env()?.to_string_lossy().into_owned()))
        .collect();
    let names = std::env::vars_os().filter_map(|(name, _)| OsString::into_string(name).ok());
    for (variable, setting) in misspelled(&known, names) {
        tracing::warn!(
            variable,
            setting,
            "an environment variable has no effect: its name is nearly that of a setting"
        );
    }
}

/// Describes an error of the command line in one sentence.
fn sentence(command: &Command, error: &Error) -> String {
    let given = error.get(ContextKind::InvalidArg).and_then(text).unwrap_or_default();
    let flag = given.split([' ', '=']).next().unwrap_or_default();
    let setting = command.get_arguments().find(|arg| is_named(arg, flag));
    match (error.kind(), setting) {
        (ErrorKind::UnknownArgument, _) if flag.starts_with("--") => {
            let known =
                command.get_arguments().filter_map(|arg| Some(format!("--{}", arg.get_long()?)));
            match misspelled(&known.collect::<Vec<_>>(), [flag.to_owned()]).pop() {
                Some((_, meant)) => format!("there is no flag {flag}; write {meant}"),
                None => format!("there is no flag {flag}; --help lists all flags"),
            }
        }
        // It may be a secret in the wrong place.
        (ErrorKind::UnknownArgument, _) => {
            "an argument is no flag, as it does not begin with --; --help lists all flags"
                .to_owned()
        }
        (ErrorKind::InvalidValue | ErrorKind::ValueValidation, Some(setting)) => {
            invalid_value(setting, error)
        }
        _ => {
            let rendered = error.to_string();
            let first = rendered.lines().next().unwrap_or_default();
            first.strip_prefix("error: ").unwrap_or(first).to_owned()
        }
    }
}

fn invalid_value(setting: &Arg, error: &Error) -> String {
    let value = error.get(ContextKind::InvalidValue).and_then(text).unwrap_or_default();
    let flag = setting.get_long().unwrap_or_default();
    let variable = setting.get_env().unwrap_or_default().to_string_lossy();
    let name = format!("--{flag} ({variable})");
    let remedy = match (error.get(ContextKind::ValidValue), std::error::Error::source(error)) {
        (Some(ContextValue::Strings(choices)), _) if !choices.is_empty() => {
            format!("write {}", choices.join(" or "))
        }
        (_, Some(reason)) => reason.to_string(),
        _ => "--help describes it".to_owned(),
    };
    match value {
        "" => format!("{name} is empty; leave it out, or give it a value: {remedy}"),
        _ if may_be_secret(setting, value) => format!("the value of {name} is invalid: {remedy}"),
        _ => format!("invalid value '{value}' for {name}: {remedy}"),
    }
}

/// Whether a value may be or contain a secret: a URL may hold a password or a token, and a secret is
/// easily given in the place of its file. The path of a secret's file usually begins with a slash.
fn may_be_secret(setting: &Arg, value: &str) -> bool {
    let names = setting.get_value_names().unwrap_or_default();
    let is_file = names.iter().any(|name| name.ends_with("FILE"));
    value.contains(['@', '?']) || (is_file && !value.starts_with(['/', '.']))
}

fn is_named(arg: &Arg, flag: &str) -> bool {
    arg.get_long().is_some_and(|long| flag.strip_prefix("--") == Some(long))
}

fn text(value: &ContextValue) -> Option<&str> {
    match value {
        ContextValue::String(text) => Some(text),
        _ => None,
    }
}
