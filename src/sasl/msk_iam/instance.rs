//! Credentials of an EC2 instance, by version 2 of its metadata service (IMDSv2).

use super::credentials::{Attempt, Cause, Credentials, Missing, Source};
use super::environment::Environment;
use super::region;
use super::web::{self, Members};
use crate::error::printable;
use crate::http::{Request, Response, Url};
use crate::secret::Secret;

const IPV4: &str = "http://169.254.169.254";
const IPV6: &str = "http://[fd00:ec2::254]";
const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
const MODE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE";
const DISABLED: &str = "AWS_EC2_METADATA_DISABLED";

/// What the service answers if it is switched off, and what other servers at its address answer. AWS's own libraries take these
/// as the lack of version 2.
const WITHOUT_TOKENS: [u16; 3] = [403, 404, 405];

/// The token is used for a few requests that follow each other.
const TOKEN_SECONDS: &str = "60";

#[derive(Debug)]
pub(super) struct InstanceMetadata;

impl Source for InstanceMetadata {
    fn name(&self) -> String {
        "EC2 instance metadata".to_owned()
    }

    fn credentials(&self, attempt: &Attempt<'_>) -> Result<Credentials, Missing> {
        let service = Service::open(attempt)?;
        let folder = "/latest/meta-data/iam/security-credentials/";
        let (response, url) = service.get(folder)?;
        if response.status() == 404 {
            return Err(Missing::lasting("the instance has no IAM role"));
        }
        let role = web::body(&response, &url)?
            .lines()
            .next()
            .unwrap_or("")
            .trim();
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte);
        if role.is_empty() || !role.bytes().all(is_legal) {
            return Err(Missing::lasting(format!(
                "{url} answered without the name of a role"
            )));
        }
        let (response, url) = service.get(&format!("{folder}{role}"))?;
        let members = Members::read(web::body(&response, &url)?, &url)?;
        match members.shown("Code") {
            Some(code) if code != "Success" => {
                let message = members.shown("Message").unwrap_or_default();
                Err(Missing::temporary(format!(
                    "{url} answered {code}: {message}"
                )))
            }
            _ => members.credentials(&url, &self.name()),
        }
    }
}

/// Returns the region of the instance; `None` if this machine is no instance.
pub(super) fn region(attempt: &Attempt<'_>) -> Result<Option<String>, Missing> {
    let service = match Service::open(attempt) {
        Err(missing) if missing.cause == Cause::NotSetUp => return Ok(None),
        opened => opened?,
    };
    let (response, url) = service.get("/latest/meta-data/placement/region")?;
    let name = web::body(&response, &url)?.trim();
    match region::is_legal(name) {
        true => Ok(Some(name.to_owned())),
        false => Err(Missing::lasting(format!(
            "{url} answered without the name of a region"
        ))),
    }
}

/// The metadata service, with a token for it.
struct Service<'a> {
    attempt: &'a Attempt<'a>,
    endpoint: String,
    token: Secret,
}

impl<'a> Service<'a> {
    fn open(attempt: &'a Attempt<'a>) -> Result<Self, Missing> {
        let environment = attempt.environment;
        let disabled = environment.text(DISABLED);
        if disabled.is_some_and(|text| text.eq_ignore_ascii_case("true")) {
            return Err(Missing::not_set_up(format!("{DISABLED} is true")));
        }
        let endpoint = endpoint(environment)?;
        let url = web::url(ENDPOINT, &format!("{endpoint}/latest/api/token"))?;
        let request =
            Request::put(url.clone()).header("X-aws-ec2-metadata-token-ttl-seconds", TOKEN_SECONDS);
        let response = environment.web().exchange(&request, &url, attempt);
        let response = response.map_err(|missing| match missing.cause {
            // Most machines are not instances of EC2. There, nothing answers.
            Cause::Temporary => Missing::not_set_up(missing.why),
            _ => missing,
        })?;
        if WITHOUT_TOKENS.contains(&response.status()) {
            return Err(Missing::not_set_up(format!(
                "{url} answered with status {}: it issues no tokens here",
                response.status()
            )));
        }
        let response = web::ready(response, &url)?;
        let token = Secret::from(web::body(&response, &url)?.trim());
        Ok(Self {
            attempt,
            endpoint,
            token,
        })
    }

    fn get(&self, path: &str) -> Result<(Response, Url), Missing> {
        let url = web::url(ENDPOINT, &format!("{}{path}", self.endpoint))?;
        let request =
            Request::get(url.clone()).header("X-aws-ec2-metadata-token", self.token.clone());
        let response = self
            .attempt
            .environment
            .web()
            .call(&request, &url, self.attempt)?;
        Ok((response, url))
    }
}

/// Returns the URL of the service without a slash at its end. As with AWS's own libraries, it may be any `http` or `https` URL:
/// who sets this variable can set the access key just as well.
fn endpoint(environment: &Environment) -> Result<String, Missing> {
    if let Some(text) = environment.text(ENDPOINT) {
        return Ok(text.trim_end_matches('/').to_owned());
    }
    match environment
        .text(MODE)
        .map(|mode| mode.to_ascii_lowercase())
        .as_deref()
    {
        None | Some("ipv4") => Ok(IPV4.to_owned()),
        Some("ipv6") => Ok(IPV6.to_owned()),
        Some(other) => Err(Missing::lasting(format!(
            "{MODE} is {}, and neither IPv4 nor IPv6",
            printable(other)
        ))),
    }
}
