//! Parses command lines as Kafka's tools do: `--name value`, `--name=value`, `--name` alone, and names with several
//! values.
#![allow(dead_code, reason = "no program uses every kind of option")]

use std::ffi::OsString;
use std::fmt::Write;
use std::str::FromStr;

use crate::output::{self, PROGRAM};
use crate::signals::STATUS_AFTER_A_SIGNAL;

/// What `--help` prints.
pub(crate) struct Help {
    pub(crate) about: &'static str,
    pub(crate) options: &'static [Known],
    /// What status 0 means.
    pub(crate) success: &'static str,
    /// What status 1 means.
    pub(crate) failure: &'static str,
}

/// An option of the command line: its name with the two dashes, what follows it, and what it is for.
pub(crate) type Known = (&'static str, Takes, &'static str);

/// What follows an option's name.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Takes {
    Nothing,
    /// One value, given once.
    Value,
    /// One value each time the option comes.
    ValueEachTime,
    /// One or more values, up to the next option.
    Values,
}

/// A parsed command line.
pub(crate) struct Arguments {
    given: Vec<(&'static str, String)>,
}

impl Arguments {
    /// Parses the program's arguments. With `--help` it prints the usage and ends the program. Without any argument it
    /// does the same on standard error, with status 1.
    pub(crate) fn of_program(help: &Help) -> Result<Self, String> {
        let text = |argument: OsString| {
            let refuse = |argument| format!("the argument {argument:?} is not UTF-8");
            argument.into_string().map_err(refuse)
        };
        let arguments = std::env::args_os().skip(1).map(text);
        let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
        if arguments.iter().any(|argument| argument == "--help") {
            output::print(help.usage().trim_end());
            std::process::exit(i32::from(output::fault().is_some()));
        }
        if arguments.is_empty() {
            output::write_stderr(help.usage());
            std::process::exit(1);
        }
        Self::parse(help.options, arguments)
    }

    fn parse(known: &[Known], arguments: Vec<String>) -> Result<Self, String> {
        let mut given = Vec::new();
        let mut rest = arguments.into_iter().peekable();
        while let Some(argument) = rest.next() {
            let (name, attached) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            let Some((name, takes, _)) = known.iter().find(|(candidate, _, _)| *candidate == name)
            else {
                return Err(if name.starts_with('-') {
                    format!("unknown option {name}: --help lists the options")
                } else {
                    format!("unexpected argument {argument}: --help lists the options")
                });
            };
            let is_again = given.iter().any(|(earlier, _)| earlier == name);
            if is_again && matches!(takes, Takes::Nothing | Takes::Value) {
                return Err(format!("{name} is given twice"));
            }
            let missing = || format!("{name} needs a value");
            match (takes, attached) {
                (Takes::Nothing, None) => given.push((*name, String::new())),
                (Takes::Nothing, Some(_)) => return Err(format!("{name} takes no value")),
                (_, Some(value)) => given.push((*name, value)),
                (Takes::Value | Takes::ValueEachTime, None) => {
                    given.push((*name, rest.next().ok_or_else(missing)?))
                }
                (Takes::Values, None) => {
                    given.push((*name, rest.next().ok_or_else(missing)?));
                    while let Some(value) = rest.next_if(|value| !value.starts_with("--")) {
                        given.push((*name, value));
                    }
                }
            }
        }
        Ok(Self { given })
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let found = self.given.iter().find(|(given, _)| *given == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a str> {
        self.given
            .iter()
            .filter(move |(given, _)| *given == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn required(&self, name: &str) -> Result<&str, String> {
        self.value(name)
            .ok_or_else(|| format!("{name} is required"))
    }

    pub(crate) fn number<N: FromStr>(&self, name: &str) -> Result<Option<N>, String> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|_| format!("{name} {text}: not a number that fits"))
        };
        self.value(name).map(parse).transpose()
    }
}

/// Splits `name=value` at the first `=`.
pub(crate) fn pair(text: &str) -> Result<(&str, &str), String> {
    text.split_once('=')
        .ok_or_else(|| format!("{text}: not of the form name=value"))
}

impl Help {
    fn usage(&self) -> String {
        let Self {
            about,
            options,
            success,
            failure,
        } = self;
        let mut usage = format!("{about}\n\nUsage: {PROGRAM} OPTION...\n\nOptions:\n");
        let help = ("--help", Takes::Nothing, "print this help");
        for (name, takes, help) in options.iter().chain([&help]) {
            let value = match takes {
                Takes::Nothing => "",
                Takes::Value | Takes::ValueEachTime => " VALUE",
                Takes::Values => " VALUE...",
            };
            let _ = writeln!(usage, "  {:<28} {help}", format!("{name}{value}"));
        }
        let _ = write!(
            usage,
            "\nExit status:\n  0         {success}\n  1         {failure}\n{STATUS_AFTER_A_SIGNAL}"
        );
        usage
    }
}
