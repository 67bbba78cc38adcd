//! What the sources of credentials see of the machine.

use std::fmt;
use std::path::PathBuf;

use super::credentials::{Attempt, Credentials, Missing, Source};
use super::web::Web;
use crate::secret::Secret;

/// Returns the value of a variable.
type Variable = dyn Fn(&str) -> Option<Secret> + Send + Sync;

/// The environment variables of the process, or those of a test, and HTTP.
pub(super) struct Environment {
    variable: Box<Variable>,
    web: Web,
}

impl Environment {
    pub(super) fn of_process() -> Self {
        Self {
            variable: Box::new(|name| std::env::var(name).ok().map(Secret::new)),
            web: Web::new(),
        }
    }

    /// Makes an environment that has these variables only.
    #[cfg(test)]
    pub(super) fn of_list(variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter();
        let variables = variables.map(|(name, value)| ((*name).to_owned(), Secret::from(*value)));
        let variables: std::collections::HashMap<_, _> = variables.collect();
        Self {
            variable: Box::new(move |name| variables.get(name).cloned()),
            web: Web::new(),
        }
    }

    /// Makes an environment with the variables that a function returns.
    #[cfg(test)]
    pub(super) fn of_function(
        variable: impl Fn(&str) -> Option<Secret> + Send + Sync + 'static,
    ) -> Self {
        Self {
            variable: Box::new(variable),
            web: Web::new(),
        }
    }

    /// Returns the value of a variable, without white space around it; `None` if nothing is left.
    pub(super) fn variable(&self, name: &str) -> Option<Secret> {
        let value = (self.variable)(name)?;
        let trimmed = value.reveal().trim();
        (!trimmed.is_empty()).then(|| Secret::from(trimmed))
    }

    /// Returns the value of a variable that is not a secret.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.variable(name).map(|value| value.reveal().to_owned())
    }

    /// Returns the clients for HTTP.
    pub(super) fn web(&self) -> &Web {
        &self.web
    }

    /// Returns the user's own folder.
    pub(super) fn home(&self) -> Option<PathBuf> {
        let home = self.text("HOME").or_else(|| self.text("USERPROFILE"));
        home.map(PathBuf::from)
    }

    /// Returns the path that a variable names, or one in the user's own folder. `None` if that folder is not known.
    pub(super) fn path(&self, variable: &str, in_home: &str) -> Option<PathBuf> {
        let Some(path) = self.text(variable) else {
            return Some(self.home()?.join(in_home));
        };
        match path.strip_prefix("~/") {
            Some(rest) => Some(self.home()?.join(rest)),
            None => Some(path.into()),
        }
    }
}

/// Shows no variable: a value may be a secret.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}

/// The variables `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
#[derive(Debug)]
pub(super) struct EnvironmentVariables;

impl Source for EnvironmentVariables {
    fn name(&self) -> String {
        "environment variables".to_owned()
    }

    fn credentials(&self, attempt: &Attempt<'_>) -> Result<Credentials, Missing> {
        let environment = attempt.environment;
        // The second names are those of older tools, which AWS's own libraries know, too.
        let first = |names: [&str; 2]| names.iter().find_map(|name| environment.variable(name));
        let key = first(["AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY"]);
        let secret = first(["AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY"]);
        let (key, secret) = match (key, secret) {
            (Some(key), Some(secret)) => (key, secret),
            (None, None) => return Err(Missing::not_set_up("AWS_ACCESS_KEY_ID is not set")),
            (Some(_), None) => {
                return Err(Missing::lasting(
                    "AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not",
                ));
            }
            (None, Some(_)) => {
                return Err(Missing::lasting(
                    "AWS_SECRET_ACCESS_KEY is set and AWS_ACCESS_KEY_ID is not",
                ));
            }
        };
        let token = environment.variable("AWS_SESSION_TOKEN");
        Credentials::new(key.reveal(), secret, token, self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sasl::msk_iam::credentials::Cause;
    use std::time::{Instant, SystemTime};

    fn ask(variables: &[(&str, &str)]) -> Result<Credentials, Missing> {
        EnvironmentVariables.credentials(&Attempt {
            environment: &Environment::of_list(variables),
            now: SystemTime::UNIX_EPOCH,
            deadline: Instant::now(),
        })
    }

    #[test]
    fn the_variables_are_credentials_that_do_not_end() {
        let credentials = ask(&[
            ("AWS_ACCESS_KEY_ID", " AKID\n"),
            ("AWS_SECRET_ACCESS_KEY", "hunter2"),
            ("AWS_SESSION_TOKEN", "token"),
        ])
        .unwrap();
        assert_eq!(credentials.key_id, "AKID");
        assert_eq!(credentials.secret_key.reveal(), "hunter2");
        assert_eq!(credentials.session_token.unwrap().reveal(), "token");
        assert_eq!(credentials.expires, None);
        let old = ask(&[("AWS_ACCESS_KEY", "AKID"), ("AWS_SECRET_KEY", "hunter2")]).unwrap();
        assert!(old.session_token.is_none());
    }

    #[test]
    fn half_a_key_is_named_and_no_key_is_not_set_up() {
        let missing = ask(&[
            ("AWS_ACCESS_KEY_ID", "AKID"),
            ("AWS_SECRET_ACCESS_KEY", "  "),
        ])
        .unwrap_err();
        assert_eq!(
            missing,
            Missing::lasting("AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not")
        );
        let missing = ask(&[("AWS_SECRET_ACCESS_KEY", "hunter2")]).unwrap_err();
        assert_eq!(
            missing,
            Missing::lasting("AWS_SECRET_ACCESS_KEY is set and AWS_ACCESS_KEY_ID is not")
        );
        assert_eq!(ask(&[]).unwrap_err().cause, Cause::NotSetUp);
    }

    #[test]
    fn paths_come_from_a_variable_or_the_users_own_folder() {
        let environment =
            Environment::of_list(&[("HOME", "/home/a"), ("ONE", "/x"), ("TWO", "~/y")]);
        for (variable, expected) in [
            ("ONE", "/x"),
            ("TWO", "/home/a/y"),
            ("THREE", "/home/a/.aws/config"),
        ] {
            assert_eq!(
                environment.path(variable, ".aws/config"),
                Some(expected.into())
            );
        }
        assert_eq!(Environment::of_list(&[]).path("ONE", "x"), None);
        assert_eq!(format!("{environment:?}"), "Environment { .. }");
    }
}
