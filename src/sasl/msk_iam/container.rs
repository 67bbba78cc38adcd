//! Credentials of a container: the task role of ECS, and EKS Pod Identity.

use std::path::Path;

use super::credentials::{Attempt, Credentials, Missing, Source};
use super::environment::Environment;
use super::web::{self, Members};
use crate::http::{Request, Url};
use crate::secret::{FileFault, Secret, read_file};

const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
const TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";

/// The host of ECS for relative URIs.
const ECS: &str = "http://169.254.170.2";

/// The hosts of ECS and EKS, which only the machine itself can be. Others need TLS: they get a token and send a key.
const KNOWN_HOSTS: [&str; 3] = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];

/// A longer token is none.
const MOST_TOKEN_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct ContainerEndpoint;

impl Source for ContainerEndpoint {
    fn name(&self) -> String {
        "container credentials".to_owned()
    }

    fn credentials(&self, attempt: &Attempt<'_>) -> Result<Credentials, Missing> {
        let environment = attempt.environment;
        let url = endpoint(environment)?;
        let mut request = Request::get(url.clone()).header("Accept", "application/json");
        if let Some(token) = token(environment)? {
            request = request.header("Authorization", token);
        }
        let response = environment.web().call(&request, &url, attempt)?;
        let members = web::text(&response, &url).and_then(|text| Members::read(text, &url));
        if response.status() != 200 {
            let reason = members.ok().and_then(|members| {
                let reason = members
                    .shown("message")
                    .or_else(|| members.shown("Message"));
                reason.map(|reason| format!(": {reason}"))
            });
            return Err(Missing::lasting(format!(
                "{url} answered with status {}{}",
                response.status(),
                reason.unwrap_or_default()
            )));
        }
        members?.credentials(&url, &self.name())
    }
}

fn endpoint(environment: &Environment) -> Result<Url, Missing> {
    if let Some(path) = environment.text(RELATIVE) {
        if !path.starts_with('/') {
            return Err(Missing::lasting(format!(
                "{RELATIVE} does not begin with /"
            )));
        }
        return web::url(RELATIVE, &format!("{ECS}{path}"));
    }
    let Some(text) = environment.text(FULL) else {
        return Err(Missing::not_set_up(format!(
            "neither {RELATIVE} nor {FULL} is set"
        )));
    };
    let url = web::url(FULL, &text)?;
    let host = url.host();
    if !url.is_https() && !web::is_loopback(host) && !KNOWN_HOSTS.contains(&host) {
        return Err(Missing::lasting(format!(
            "{FULL} names {url}, and this client asks other hosts than those of ECS and EKS by https only"
        )));
    }
    Ok(url)
}

fn token(environment: &Environment) -> Result<Option<Secret>, Missing> {
    match environment.text(TOKEN_FILE) {
        Some(path) => read_token(Path::new(&path), TOKEN_FILE).map(Some),
        None => Ok(environment.variable(TOKEN)),
    }
}

/// Reads the file that a variable names: a token, without white space around it.
pub(super) fn read_token(path: &Path, variable: &str) -> Result<Secret, Missing> {
    let fault = |fault: &dyn std::fmt::Display| {
        Missing::lasting(format!(
            "{variable}: {} cannot be read: {fault}",
            path.display()
        ))
    };
    let bytes = match read_file(path, MOST_TOKEN_BYTES) {
        Ok(bytes) => zeroize::Zeroizing::new(bytes),
        Err(FileFault::Unreadable(error)) => return Err(fault(&error)),
        Err(FileFault::NotAFile) => return Err(fault(&"it is not a regular file")),
        Err(FileFault::TooLong) => return Err(fault(&"it is too long for a token")),
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| fault(&"it is not text"))?;
    match text.trim() {
        "" => Err(fault(&"it is empty")),
        token => Ok(Secret::from(token)),
    }
}
