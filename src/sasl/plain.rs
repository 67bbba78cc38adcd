//! PLAIN (RFC 4616): the user name and the password as they are.

use std::fmt;
use std::time::Instant;

use super::jaas::Jaas;
use super::{Conversation, Mechanism, Message, Next};
use super::{
    credentials, failed, misconfigured, option, with_explanation, with_placeholder_advice,
};
use crate::error::Error;
use crate::secret::Secret;

/// The mechanism PLAIN with the credentials of a user.
pub(crate) struct Plain {
    user: String,
    password: Secret,
}

impl Plain {
    pub(crate) fn new(user: &str, password: Secret) -> Result<Self, Error> {
        let (user, password) = credentials(user, password)?;
        for (what, text) in [("user name", &*user), ("password", password.reveal())] {
            if text.contains('\0') {
                return Err(misconfigured(format!(
                    "the {what} for PLAIN holds the character 0, which separates the parts of PLAIN's message"
                ))
                .with_advice(format!("choose a {what} without it, or use SCRAM")));
            }
        }
        Ok(Self { user, password })
    }

    /// Takes the credentials from the options of `PlainLoginModule`.
    pub(crate) fn from_jaas(jaas: &Jaas) -> Result<Self, Error> {
        Self::new(
            option(jaas, "username")?.reveal(),
            option(jaas, "password")?.clone(),
        )
    }
}

impl Mechanism for Plain {
    fn name(&self) -> &'static str {
        "PLAIN"
    }

    fn begin(&self, _: &str, _: Instant) -> Result<Box<dyn Conversation>, Error> {
        // The first part, the name to act as, is empty: Kafka's broker takes no other name than the user's.
        let message = ["", &self.user, self.password.reveal()].join("\0");
        Ok(Box::new(PlainConversation {
            first: Some(Message::new(message.into_bytes())),
            user: self.user.clone(),
            password: self.password.clone(),
        }))
    }
}

/// Shows neither user name nor password: users mix them up.
impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plain").finish_non_exhaustive()
    }
}

struct PlainConversation {
    first: Option<Message>,
    user: String,
    password: Secret,
}

impl Conversation for PlainConversation {
    fn first(&mut self) -> Result<Message, Error> {
        self.first
            .take()
            .ok_or_else(|| failed("PLAIN has no second message"))
    }

    /// The broker's answer says nothing more.
    fn next(&mut self, _: &[u8]) -> Result<Next, Error> {
        Ok(Next::Done)
    }

    fn refused(&self, explanation: Option<&str>) -> Error {
        let error = failed("the broker refused the user name or the password").with_advice(
            "check username and password, and that the broker has this user for PLAIN",
        );
        let error = with_placeholder_advice(error, &self.user, &self.password);
        with_explanation(error, explanation, &self.password)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn begin(plain: &Plain) -> Box<dyn Conversation> {
        plain.begin("localhost", Instant::now()).unwrap()
    }

    #[test]
    fn sends_three_parts_and_is_done_with_the_answer() {
        let plain = Plain::new("$ConnectionString", Secret::from("pä=,;ss")).unwrap();
        let mut conversation = begin(&plain);
        assert_eq!(
            conversation.first().unwrap().bytes(),
            "\0$ConnectionString\0pä=,;ss".as_bytes()
        );
        assert!(matches!(conversation.next(b"").unwrap(), Next::Done));
        assert!(conversation.first().is_err());
    }

    #[test]
    fn takes_its_credentials_from_the_options_of_the_login_module() {
        const CLASS: &str = "org.apache.kafka.common.security.plain.PlainLoginModule";
        let plain = |options: &str| {
            Plain::from_jaas(&Jaas::parse(&format!("{CLASS} required {options};")).unwrap())
        };
        let mut conversation = begin(&plain("username=alice password=\"alice secret\"").unwrap());
        assert_eq!(
            conversation.first().unwrap().bytes(),
            b"\0alice\0alice secret"
        );
        for (options, missing) in [("username=alice", "password"), ("password=x", "username")] {
            let error = plain(options).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            let expected = format!(
                "sasl.jaas.config has no option {missing}; add {missing}=\"...\" before its semicolon"
            );
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn empty_credentials_and_the_character_0_are_refused() {
        for (user, password, expected) in [
            ("", "hunter2", "the user name for SASL is empty"),
            ("alice", "", "the password for SASL is empty"),
            (
                "al\0ice",
                "hunter2",
                "the user name for PLAIN holds the character 0",
            ),
            (
                "alice",
                "hunter2\0",
                "the password for PLAIN holds the character 0",
            ),
        ] {
            let error = Plain::new(user, Secret::from(password)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            let shown = format!("{error} {error:?}");
            assert!(
                shown.contains(expected) && !shown.contains("hunter2"),
                "{shown}"
            );
        }
    }

    #[test]
    fn a_refused_password_that_looks_like_a_placeholder_is_told_and_not_shown() {
        let refused = |user: &str, password: &str| {
            let plain = Plain::new(user, Secret::from(password)).unwrap();
            begin(&plain).refused(None).to_string()
        };
        let expected = |what| {
            format!(
                "; the {what} looks like a placeholder, such as ${{PROVIDER:KEY}}, that was not filled in: list the provider in \
                 config.providers, or give the {what} itself"
            )
        };
        for password in ["${env:HUNTER2}", "${HUNTER2}", "{{ hunter2 }}", "<hunter2>"] {
            let shown = refused("alice", password);
            assert!(shown.ends_with(&expected("password")), "{shown}");
            assert!(!shown.to_lowercase().contains("hunter2"), "{shown}");
        }
        assert!(refused("${env:USER}", "hunter2").ends_with(&expected("user name")));
        for user in ["alice", "$ConnectionString"] {
            assert!(!refused(user, "hunter2").contains("placeholder"));
        }
    }

    #[test]
    fn a_refusal_has_the_brokers_text_unless_it_repeats_the_password() {
        let plain = Plain::new("alice", Secret::from("hunter2")).unwrap();
        let conversation = begin(&plain);
        let error =
            conversation.refused(Some("Authentication failed: Invalid username or password"));
        assert_eq!(error.kind(), ErrorKind::Authentication);
        assert_eq!(
            error.to_string(),
            "the broker refused the user name or the password: Authentication failed: Invalid username or password; check \
             username and password, and that the broker has this user for PLAIN"
        );
        for explanation in [None, Some(""), Some("wrong: alice:hunter2")] {
            assert_eq!(conversation.refused(explanation).broker_message(), None);
        }
        assert!(!format!("{plain:?}").contains("alice"));
    }
}
