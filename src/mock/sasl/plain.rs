//! PLAIN (RFC 4616).

use std::collections::HashMap;

use super::{Exchange, OTHER_AUTHORIZATION_ID, Refusal, Step};
use crate::secret::Secret;

pub(super) struct Plain {
    users: HashMap<String, Secret>,
}

impl Plain {
    pub(super) fn new(users: &HashMap<String, Secret>) -> Self {
        Self {
            users: users.clone(),
        }
    }
}

impl Exchange for Plain {
    fn next(&mut self, message: &[u8]) -> Result<Step, Refusal> {
        let text = std::str::from_utf8(message).map_err(|_| Refusal::InvalidCredentials)?;
        let parts: Vec<_> = text.split('\0').collect();
        let [authorization_id, user, password] = parts[..] else {
            return Err(Refusal::InvalidCredentials);
        };
        if user.is_empty() || password.is_empty() {
            return Err(Refusal::InvalidCredentials);
        }
        let is_right = |known: &Secret| known.reveal() == password;
        if !self.users.get(user).is_some_and(is_right) {
            let reason = "Authentication failed: Invalid username or password";
            return Err(Refusal::Reason(reason.to_owned()));
        }
        if !authorization_id.is_empty() && authorization_id != user {
            return Err(Refusal::Reason(OTHER_AUTHORIZATION_ID.to_owned()));
        }
        Ok(Step::done(Vec::new(), user))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_of_a_user_is_accepted() {
        let users = HashMap::from([("alice".to_owned(), Secret::from("pass;word"))]);
        let next = |message: &str| Plain::new(&users).next(message.as_bytes());
        for good in ["\0alice\0pass;word", "alice\0alice\0pass;word"] {
            let step = next(good).unwrap();
            assert!(matches!(step, Step::Done { answer, user, lifetime: None }
                if answer.is_empty() && user == "alice"));
        }
        for (bad, reason) in [
            ("\0alice\0wrong", "Invalid username or password"),
            ("\0bob\0pass;word", "Invalid username or password"),
            ("bob\0alice\0pass;word", "different from username"),
        ] {
            let refusal = next(bad).unwrap_err();
            assert!(matches!(refusal, Refusal::Reason(text) if text.ends_with(reason)));
        }
        for malformed in [
            "",
            "alice\0pass;word",
            "\0\0pass;word",
            "\0alice\0",
            "\0alice\0pass;word\0",
        ] {
            assert_eq!(next(malformed).unwrap_err(), Refusal::InvalidCredentials);
        }
    }
}
