//! AWS's token service (STS), which issues credentials of a role.

use std::path::Path;

use super::container::read_token;
use super::credentials::{Attempt, Chain, Credentials, Missing, Source};
use super::environment::Environment;
use super::options::{Role, SESSION_NAME};
use super::region;
use super::sigv4::{Request as Signed, Signer, payload_hash};
use super::web::{self, Issued};
use crate::error::printable;
use crate::http::{Request, Url};
use crate::secret::Secret;

const VERSION: &str = "2011-06-15";
const FORM: &str = "application/x-www-form-urlencoded";
const TOKEN_FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";

/// The domains of AWS by the beginning of the region's name.
const DOMAINS: [(&str, &str); 6] = [
    ("cn-", "amazonaws.com.cn"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("us-isof-", "csp.hci.ic.gov"),
    ("us-iso-", "c2s.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("eusc-", "amazonaws.eu"),
];

/// The server of STS that a client asks.
#[derive(Debug)]
pub(super) struct Endpoint {
    url: Url,
    /// The region for signatures.
    region: String,
}

impl Endpoint {
    /// Returns the server of a region; `None` for the global one. `AWS_ENDPOINT_URL_STS` names another one.
    pub(super) fn of(
        region: Option<&str>,
        uses_fips: bool,
        environment: &Environment,
    ) -> Result<Self, Missing> {
        let signs_for = region.unwrap_or("us-east-1").to_owned();
        for variable in ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"] {
            if let Some(text) = environment.text(variable) {
                let url = web::url(variable, &text)?;
                if !url.is_https() && !web::is_loopback(url.host()) {
                    return Err(Missing::lasting(format!(
                        "{variable} names {url}, and this client asks another machine by https only"
                    )));
                }
                return Ok(Self {
                    url,
                    region: signs_for,
                });
            }
        }
        let domain = DOMAINS
            .iter()
            .find(|(start, _)| signs_for.starts_with(start));
        let domain = domain.map_or("amazonaws.com", |(_, domain)| domain);
        // In the regions of the government the usual servers keep to FIPS.
        let has_fips = uses_fips && !signs_for.starts_with("us-gov-");
        let host = match region {
            None if !has_fips => format!("sts.{domain}"),
            _ if has_fips => format!("sts-fips.{signs_for}.{domain}"),
            _ => format!("sts.{signs_for}.{domain}"),
        };
        let url = web::url("the region", &format!("https://{host}/"))?;
        Ok(Self {
            url,
            region: signs_for,
        })
    }

    #[cfg(test)]
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    #[cfg(test)]
    pub(super) fn region(&self) -> &str {
        &self.region
    }

    /// Assumes a role with the credentials of another identity.
    pub(super) fn assume_role(
        &self,
        role: &Role,
        base: &Credentials,
        attempt: &Attempt<'_>,
    ) -> Result<Credentials, Missing> {
        let mut pairs = vec![
            ("Action", "AssumeRole"),
            ("RoleArn", &*role.arn),
            ("RoleSessionName", &*role.session_name),
            ("Version", VERSION),
        ];
        if let Some(id) = &role.external_id {
            pairs.push(("ExternalId", id.reveal()));
        }
        let body = web::form(&pairs);
        let signer = Signer::new(base, &self.region, "sts", attempt.now);
        let (host, target) = (self.url.authority(), self.url.target());
        let token = base.session_token.as_ref().map_or("", Secret::reveal);
        let mut headers = vec![
            ("content-type", FORM),
            ("host", &*host),
            ("x-amz-date", signer.time()),
        ];
        if !token.is_empty() {
            headers.push(("x-amz-security-token", token));
        }
        let authorization = signer.authorization(&Signed {
            method: "POST",
            path: &target,
            query: &[],
            headers: &headers,
            payload_hash: &payload_hash(body.reveal().as_bytes()),
        });
        let mut request = Request::post(self.url.clone(), body)
            .header("Content-Type", FORM)
            .header("X-Amz-Date", signer.time())
            .header("Authorization", authorization);
        if !token.is_empty() {
            request = request.header("X-Amz-Security-Token", token);
        }
        self.issued(&request, role, attempt, |text| base.is_repeated_in(text))
    }

    /// Assumes a role with a token that another service issued, as that of a pod in Kubernetes.
    pub(super) fn assume_role_with_token(
        &self,
        role: &Role,
        token: &Secret,
        attempt: &Attempt<'_>,
    ) -> Result<Credentials, Missing> {
        let body = web::form(&[
            ("Action", "AssumeRoleWithWebIdentity"),
            ("RoleArn", &role.arn),
            ("RoleSessionName", &role.session_name),
            ("Version", VERSION),
            ("WebIdentityToken", token.reveal()),
        ]);
        let request = Request::post(self.url.clone(), body).header("Content-Type", FORM);
        self.issued(&request, role, attempt, |text| {
            text.contains(token.reveal())
        })
    }

    fn issued(
        &self,
        request: &Request,
        role: &Role,
        attempt: &Attempt<'_>,
        is_secret: impl Fn(&str) -> bool,
    ) -> Result<Credentials, Missing> {
        let url = &self.url;
        let response = attempt.environment.web().call(request, url, attempt)?;
        let text = web::text(&response, url)?;
        if response.status() != 200 {
            return Err(self.refusal(response.status(), text, is_secret));
        }
        let issued = element(text, "Credentials").and_then(|text| {
            Some(Issued {
                key_id: element(text, "AccessKeyId")?,
                secret_key: element(text, "SecretAccessKey")?,
                session_token: element(text, "SessionToken")?,
                expiration: Some(element(text, "Expiration")?),
            })
        });
        let issued = issued
            .ok_or_else(|| Missing::lasting(format!("{url} answered without credentials")))?;
        issued.credentials(url, &format!("the role {}", printable(&role.arn)))
    }

    fn refusal(&self, status: u16, text: &str, is_secret: impl Fn(&str) -> bool) -> Missing {
        let url = &self.url;
        let code = element(text, "Code").unwrap_or("no code");
        // The text about a wrong signature repeats the request, and that has a token in it.
        let is_shown = |text: &&str| !code.starts_with("Signature") && !is_secret(text);
        let message = element(text, "Message").filter(is_shown);
        let message = message.map_or_else(String::new, |message| {
            format!(": {}", message.chars().take(300).collect::<String>())
        });
        let advice = match code {
            "SignatureDoesNotMatch" | "RequestExpired" | "InvalidClientTokenId" => {
                ", so check the secret key and this machine's clock"
            }
            _ => "",
        };
        let code: String = code.chars().take(60).collect();
        let why = format!("{url} refused with status {status}, {code}{message}{advice}");
        match code.as_str() {
            "Throttling"
            | "ThrottlingException"
            | "RequestLimitExceeded"
            | "IDPCommunicationError" => Missing::temporary(why),
            _ => Missing::lasting(why),
        }
    }
}

/// Returns the text in the first element of this name in XML. Keys, tokens and times need no escapes there.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (inside, _) = rest.split_once(&format!("</{name}>"))?;
    Some(inside.trim())
}

/// The region of the endpoint for a role if none is named for it: the global one exists only in AWS's usual partition.
pub(super) fn region_for(
    role_arn: &str,
    environment: &Environment,
) -> Result<Option<String>, Missing> {
    let named = region::of_environment(environment);
    if named.is_none() && !role_arn.starts_with("arn:aws:") && role_arn.starts_with("arn:aws-") {
        return Err(Missing::lasting(
            "the region of its endpoint is not known: set AWS_REGION",
        ));
    }
    Ok(named)
}

/// The role of `awsRoleArn`.
#[derive(Debug)]
pub(super) struct RoleSource {
    pub(super) role: Role,
    /// `awsStsRegion`.
    pub(super) region: Option<String>,
    pub(super) uses_fips: bool,
    /// Where the credentials come from by which the client assumes the role, if the role has none.
    pub(super) base: Chain,
}

impl Source for RoleSource {
    fn name(&self) -> String {
        format!("the role {}", printable(&self.role.arn))
    }

    fn credentials(&self, attempt: &Attempt<'_>) -> Result<Credentials, Missing> {
        let region = match &self.region {
            Some(region) => Some(region.clone()),
            // Java's library asks the global endpoint.
            None if self.role.arn.starts_with("arn:aws:") => None,
            None => region_for(&self.role.arn, attempt.environment)?,
        };
        let endpoint = Endpoint::of(region.as_deref(), self.uses_fips, attempt.environment)?;
        if let Some(base) = &self.role.base {
            return endpoint.assume_role(&self.role, base, attempt);
        }
        let base = self.base.credentials(attempt).map_err(|failures| {
            let why = format!("nothing to assume it with ({failures})");
            match failures.are_temporary() {
                true => Missing::temporary(why),
                false => Missing::lasting(why),
            }
        })?;
        endpoint.assume_role(&self.role, &base.credentials, attempt)
    }

    fn yields(&self) -> bool {
        true
    }
}

/// A role for a token in a file, as Kubernetes gives it to a pod (IRSA).
#[derive(Debug)]
pub(super) struct WebIdentity;

impl Source for WebIdentity {
    fn name(&self) -> String {
        "web identity".to_owned()
    }

    fn credentials(&self, attempt: &Attempt<'_>) -> Result<Credentials, Missing> {
        let environment = attempt.environment;
        let Some(path) = environment.text(TOKEN_FILE) else {
            return Err(Missing::not_set_up(format!("{TOKEN_FILE} is not set")));
        };
        let Some(arn) = environment.text("AWS_ROLE_ARN") else {
            return Err(Missing::lasting(format!(
                "{TOKEN_FILE} is set and AWS_ROLE_ARN is not"
            )));
        };
        let name = environment.text("AWS_ROLE_SESSION_NAME");
        let role = Role {
            arn,
            session_name: name.unwrap_or_else(|| SESSION_NAME.to_owned()),
            external_id: None,
            base: None,
        };
        with_token_of_file(&role, Path::new(&path), TOKEN_FILE, None, attempt)
    }
}

/// Assumes a role with the token in a file, which a variable or a setting names.
pub(super) fn with_token_of_file(
    role: &Role,
    path: &Path,
    named_by: &str,
    region: Option<String>,
    attempt: &Attempt<'_>,
) -> Result<Credentials, Missing> {
    let token = read_token(path, named_by)?;
    let region = match region {
        Some(region) => Some(region),
        None => region_for(&role.arn, attempt.environment)?,
    };
    let endpoint = Endpoint::of(region.as_deref(), false, attempt.environment)?;
    endpoint.assume_role_with_token(role, &token, attempt)
}
