//! Credentials of a profile in the files that AWS's tools share.

use std::path::Path;

use super::container::ContainerEndpoint;
use super::credentials::{Attempt, Cause, Credentials, Missing, Source};
use super::environment::{Environment, EnvironmentVariables};
use super::instance::InstanceMetadata;
use super::options::{Role, SESSION_NAME};
use super::profile_files::{Profile, Profiles};
use super::region;
use super::sts::{self, Endpoint};
use crate::error::printable;

/// The credentials of a profile.
#[derive(Debug)]
pub(super) struct ProfileSource {
    /// The profile that the user named; `None` for that of `AWS_PROFILE`, or `default`.
    pub(super) name: Option<String>,
}

impl Source for ProfileSource {
    fn name(&self) -> String {
        match &self.name {
            Some(name) => format!("the profile {}", printable(name)),
            None => "profile files".to_owned(),
        }
    }

    fn credentials(&self, attempt: &Attempt<'_>) -> Result<Credentials, Missing> {
        let chosen = Chosen::of(self.name.as_deref(), attempt.environment);
        let profiles =
            Profiles::read(attempt.environment).map_err(|missing| match chosen.is_named {
                // A profile that the user named must exist.
                true => Missing::lasting(missing.why),
                false => missing,
            })?;
        if profiles.profile(&chosen.name).is_none() && !chosen.is_named {
            let why = format!("there is no profile default in {}", profiles.files());
            return Err(Missing::not_set_up(why));
        }
        let lookup = Lookup {
            profiles: &profiles,
            attempt,
        };
        let found = lookup.credentials(&chosen.name, &mut Vec::new());
        found.map_err(|missing| match missing.cause {
            // A profile that nothing but a region may be in.
            Cause::NotSetUp if chosen.is_named => Missing::lasting(missing.why),
            _ => missing,
        })
    }

    fn yields(&self) -> bool {
        self.name.is_some()
    }
}

/// The name of a profile, and whether the user gave it.
struct Chosen {
    name: String,
    is_named: bool,
}

impl Chosen {
    fn of(named: Option<&str>, environment: &Environment) -> Self {
        let named = named.map(str::to_owned);
        let name = named.or_else(|| environment.text("AWS_PROFILE"));
        Self {
            is_named: name.is_some(),
            name: name.unwrap_or_else(|| "default".to_owned()),
        }
    }
}

/// Returns the region of a profile; `None` if there is none. A fault of the files is that of their credentials.
pub(super) fn region(named: Option<&str>, environment: &Environment) -> Option<String> {
    let chosen = Chosen::of(named, environment);
    let profiles = Profiles::read(environment).ok()?;
    let region = profiles.profile(&chosen.name)?.text("region")?;
    region::is_legal(region).then(|| region.to_owned())
}

/// Settings of a profile by which it has credentials, and what to do instead of those that do not work here.
const UNSUPPORTED_SETTINGS: [(&str, &str); 4] = [
    (
        "credential_process",
        "a program that this client does not start",
    ),
    ("sso_session", "a login in the browser"),
    ("sso_start_url", "a login in the browser"),
    ("login_session", "a login in the browser"),
];

/// A longer chain of profiles is a mistake.
const MOST_PROFILES: usize = 8;

/// The profiles, for one attempt.
struct Lookup<'a> {
    profiles: &'a Profiles,
    attempt: &'a Attempt<'a>,
}

impl Lookup<'_> {
    /// Returns the credentials of a profile. `path` has the profiles that refer to it.
    fn credentials(&self, name: &str, path: &mut Vec<String>) -> Result<Credentials, Missing> {
        let shown = printable(name);
        let profile = self.profiles.profile(name).ok_or_else(|| {
            let files = self.profiles.files();
            Missing::lasting(format!("there is no profile {shown} in {files}"))
        })?;
        let refers_to_itself = path.last().is_some_and(|last| last == name);
        if profile.value("role_arn").is_some() && !refers_to_itself {
            if path.iter().any(|other| other == name) || path.len() >= MOST_PROFILES {
                return Err(Missing::lasting(
                    "the profiles refer to each other by source_profile without an end",
                ));
            }
            path.push(name.to_owned());
            return self.role(profile, path);
        }
        let own = own_credentials(profile, &format!("the profile {shown}"));
        own.map_err(|missing| match path.is_empty() {
            true => missing,
            // Another profile refers to this one.
            false => Missing {
                cause: Cause::Lasting,
                ..missing
            },
        })
    }

    /// Assumes the role of a profile, with the credentials to which it refers.
    fn role(&self, profile: &Profile, path: &mut Vec<String>) -> Result<Credentials, Missing> {
        let text = |name: &str| profile.text(name).map(str::to_owned);
        let role = Role {
            arn: text("role_arn").unwrap_or_default(),
            session_name: text("role_session_name").unwrap_or_else(|| SESSION_NAME.to_owned()),
            external_id: profile.value("external_id").cloned(),
            base: None,
        };
        if profile.value("mfa_serial").is_some() {
            return Err(Missing::lasting(
                "it has mfa_serial, and this client cannot ask for the code of a device",
            ));
        }
        let named = text("region").filter(|name| region::is_legal(name));
        if let Some(file) = text("web_identity_token_file") {
            return sts::with_token_of_file(
                &role,
                Path::new(&file),
                "web_identity_token_file",
                named,
                self.attempt,
            );
        }
        let base = self.base(profile, path)?;
        let region = match named {
            Some(region) => Some(region),
            None => sts::region_for(&role.arn, self.attempt.environment)?,
        };
        let endpoint = Endpoint::of(region.as_deref(), false, self.attempt.environment)?;
        endpoint.assume_role(&role, &base, self.attempt)
    }

    /// Returns the credentials by which a profile's role is assumed.
    fn base(&self, profile: &Profile, path: &mut Vec<String>) -> Result<Credentials, Missing> {
        let source = match (
            profile.text("source_profile"),
            profile.text("credential_source"),
        ) {
            (Some(name), None) => return self.credentials(name, path),
            (None, Some(source)) => source,
            (Some(_), Some(_)) => {
                return Err(Missing::lasting(
                    "it has source_profile and credential_source: remove one",
                ));
            }
            (None, None) => {
                return Err(Missing::lasting(
                    "it has role_arn, and neither source_profile nor credential_source nor web_identity_token_file",
                ));
            }
        };
        match source {
            "Environment" => EnvironmentVariables.credentials(self.attempt),
            "Ec2InstanceMetadata" => InstanceMetadata.credentials(self.attempt),
            "EcsContainer" => ContainerEndpoint.credentials(self.attempt),
            other => Err(Missing::lasting(format!(
                "its credential_source {} is none of Environment, Ec2InstanceMetadata and EcsContainer",
                printable(other)
            ))),
        }
        .map_err(|missing| Missing {
            // The profile asks for this source, so it must work.
            cause: match missing.cause {
                Cause::NotSetUp => Cause::Lasting,
                cause => cause,
            },
            ..missing.in_context(source)
        })
    }
}

/// Returns the access key in a profile. `origin` has the profile's name.
fn own_credentials(profile: &Profile, origin: &str) -> Result<Credentials, Missing> {
    if let Some(key) = profile.text("aws_access_key_id") {
        let secret = profile.value("aws_secret_access_key").ok_or_else(|| {
            Missing::lasting("it has aws_access_key_id and not aws_secret_access_key")
        })?;
        let token = profile.value("aws_session_token").cloned();
        return Credentials::new(key, secret.clone(), token, origin);
    }
    let unsupported = UNSUPPORTED_SETTINGS
        .iter()
        .find(|(name, _)| profile.value(name).is_some());
    if let Some((name, what)) = unsupported {
        return Err(Missing::lasting(format!(
            "it has {name}, which stands for {what}: write its credentials to the environment, with aws configure \
             export-credentials --format env"
        )));
    }
    // Many have such a profile for its region only.
    Err(Missing::not_set_up("it has no aws_access_key_id"))
}

#[cfg(test)]
mod tests;
