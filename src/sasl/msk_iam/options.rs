//! The options of `IAMLoginModule` in `sasl.jaas.config`.

use std::time::Duration;

use super::credentials::Credentials;
use super::region;
use crate::error::{Error, printable};
use crate::sasl::jaas::Jaas;
use crate::sasl::misconfigured;
use crate::secret::Secret;

/// What the options ask for. The defaults are those of Java's library.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) profile: Option<String>,
    pub(super) role: Option<Role>,
    /// The region of the STS endpoint; `None` for the global endpoint.
    pub(super) sts_region: Option<String>,
    pub(super) uses_fips: bool,
    /// Whether the sources that AWS's libraries ask are asked, too.
    pub(super) adds_default_sources: bool,
    pub(super) most_retries: u32,
    pub(super) longest_backoff: Duration,
    /// What is probably not meant.
    pub(super) warnings: Vec<String>,
}

/// A role that the client assumes.
#[derive(Clone, Debug)]
pub(super) struct Role {
    pub(super) arn: String,
    pub(super) session_name: String,
    pub(super) external_id: Option<Secret>,
    /// The credentials by which the client assumes the role. `None`: those of the default sources.
    pub(super) base: Option<Credentials>,
}

/// A fixed name: it is a part of the client's name for brokers, so it must stay the same.
pub(super) const SESSION_NAME: &str = "aws-msk-iam-auth";

const KNOWN: [&str; 13] = [
    "awsProfileName",
    "awsRoleArn",
    "awsRoleSessionName",
    "awsRoleExternalId",
    "awsRoleAccessKeyId",
    "awsRoleSecretAccessKey",
    "awsRoleSessionToken",
    "awsStsRegion",
    "awsAddDefaultProviders",
    "awsShouldUseFips",
    "awsMaxRetries",
    "awsMaxBackOffTimeMs",
    "awsDebugCreds",
];

impl Options {
    pub(super) fn of(jaas: &Jaas) -> Result<Self, Error> {
        let text = |name: &str| {
            let value = jaas.option(name)?.reveal().trim();
            (!value.is_empty()).then(|| value.to_owned())
        };
        let sts_region = text("awsStsRegion").filter(|name| name != "aws-global");
        if sts_region
            .as_deref()
            .is_some_and(|name| !region::is_legal(name))
        {
            return Err(wrong("awsStsRegion", "is not the name of a region"));
        }
        Ok(Self {
            profile: text("awsProfileName"),
            role: role(jaas, &text)?,
            sts_region,
            uses_fips: flag(jaas, "awsShouldUseFips", false)?,
            adds_default_sources: flag(jaas, "awsAddDefaultProviders", true)?,
            most_retries: number(jaas, "awsMaxRetries", 3)?,
            longest_backoff: Duration::from_millis(
                number(jaas, "awsMaxBackOffTimeMs", 5000)?.into(),
            ),
            warnings: warnings(jaas),
        })
    }
}

fn role(jaas: &Jaas, text: &dyn Fn(&str) -> Option<String>) -> Result<Option<Role>, Error> {
    let Some(arn) = text("awsRoleArn") else {
        let orphan = KNOWN.iter().find(|name| {
            name.starts_with("awsRole") && **name != "awsRoleArn" && text(name).is_some()
        });
        return match orphan {
            Some(orphan) => Err(wrong(orphan, "needs the option awsRoleArn")),
            None => Ok(None),
        };
    };
    let base = match (
        text("awsRoleAccessKeyId"),
        jaas.option("awsRoleSecretAccessKey"),
    ) {
        (Some(key), Some(secret)) => {
            let token = jaas.option("awsRoleSessionToken").cloned();
            let base = Credentials::new(&key, secret.clone(), token, "sasl.jaas.config");
            Some(base.map_err(|missing| {
                wrong(
                    "awsRoleAccessKeyId",
                    &format!("does not work: {}", missing.why),
                )
            })?)
        }
        (None, None) => None,
        (Some(_), None) => {
            return Err(wrong(
                "awsRoleAccessKeyId",
                "needs the option awsRoleSecretAccessKey",
            ));
        }
        (None, Some(_)) => {
            return Err(wrong(
                "awsRoleSecretAccessKey",
                "needs the option awsRoleAccessKeyId",
            ));
        }
    };
    Ok(Some(Role {
        arn,
        session_name: text("awsRoleSessionName").unwrap_or_else(|| SESSION_NAME.to_owned()),
        external_id: jaas.option("awsRoleExternalId").cloned(),
        base,
    }))
}

fn flag(jaas: &Jaas, name: &str, default: bool) -> Result<bool, Error> {
    match jaas
        .option(name)
        .map(|value| value.reveal().to_ascii_lowercase())
    {
        None => Ok(default),
        Some(value) if value == "true" => Ok(true),
        Some(value) if value == "false" => Ok(false),
        Some(_) => Err(wrong(name, "is neither true nor false")),
    }
}

fn number(jaas: &Jaas, name: &str, default: u32) -> Result<u32, Error> {
    let Some(value) = jaas.option(name) else {
        return Ok(default);
    };
    // Java takes a negative number of retries as none.
    let number: i32 = value
        .reveal()
        .parse()
        .map_err(|_| wrong(name, "is not a whole number"))?;
    Ok(u32::try_from(number).unwrap_or(0))
}

fn warnings(jaas: &Jaas) -> Vec<String> {
    let mut warnings = Vec::new();
    let debugs = jaas.option("awsDebugCreds");
    if debugs.is_some_and(|value| value.reveal().eq_ignore_ascii_case("true")) {
        warnings.push(
            "sasl.jaas.config: awsDebugCreds has no effect: to see whose credentials these are, run aws sts \
             get-caller-identity"
                .to_owned(),
        );
    }
    // Another option may be a part of a value without quotes.
    let unknown = jaas.options().map(|(name, _)| name);
    let unknown = unknown.filter(|name| name.starts_with("aws") && !KNOWN.contains(name));
    warnings.extend(unknown.map(|name| {
        let known = KNOWN.iter().find(|known| known.eq_ignore_ascii_case(name));
        let advice = known.map_or_else(String::new, |known| format!(": write {known}"));
        format!(
            "sasl.jaas.config: the option {} is not known and has no effect{advice}",
            printable(&name.chars().take(40).collect::<String>())
        )
    }));
    warnings
}

fn wrong(option: &str, what: &str) -> Error {
    misconfigured(format!("sasl.jaas.config: the option {option} {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Result<Options, Error> {
        let class = "software.amazon.msk.auth.iam.IAMLoginModule";
        Options::of(&Jaas::parse(&format!("{class} required {text};")).unwrap())
    }

    #[test]
    fn without_options_javas_defaults_count() {
        let options = options("awsRoleArn=\"\"").unwrap();
        assert!(
            options.profile.is_none() && options.role.is_none() && options.sts_region.is_none()
        );
        assert!(options.adds_default_sources && !options.uses_fips && options.warnings.is_empty());
        assert_eq!(
            (options.most_retries, options.longest_backoff),
            (3, Duration::from_secs(5))
        );
    }

    #[test]
    fn all_options_are_read() {
        let options = options(
            "awsProfileName=dev awsRoleArn=\"arn:aws:iam::1:role/x\" awsRoleSessionName=mine awsRoleExternalId=\"e\" \
             awsRoleAccessKeyId=AKID awsRoleSecretAccessKey=\"hunter2\" awsRoleSessionToken=\"hunter2+\" \
             awsStsRegion=\"eu-west-1\" awsAddDefaultProviders=false awsShouldUseFips=True awsMaxRetries=\"-1\" \
             awsMaxBackOffTimeMs=\"100\" awsDebugCreds=true awsprofilename=x",
        )
        .unwrap();
        assert!(!format!("{options:?}").contains("hunter2"));
        let role = options.role.unwrap();
        assert_eq!(
            (&*role.arn, &*role.session_name),
            ("arn:aws:iam::1:role/x", "mine")
        );
        assert_eq!(role.external_id.unwrap().reveal(), "e");
        assert_eq!(
            role.base.unwrap().session_token.unwrap().reveal(),
            "hunter2+"
        );
        assert_eq!(options.profile.as_deref(), Some("dev"));
        assert_eq!(options.sts_region.as_deref(), Some("eu-west-1"));
        assert!(options.uses_fips && !options.adds_default_sources);
        assert_eq!(
            (options.most_retries, options.longest_backoff),
            (0, Duration::from_millis(100))
        );
        assert!(options.warnings[0].contains("awsDebugCreds has no effect"));
        assert!(
            options.warnings[1]
                .ends_with("awsprofilename is not known and has no effect: write awsProfileName")
        );
    }

    #[test]
    fn an_option_that_cannot_work_is_refused_without_its_value() {
        for (text, expected) in [
            (
                "awsRoleSessionName=x",
                "awsRoleSessionName needs the option awsRoleArn",
            ),
            (
                "awsRoleArn=x awsRoleAccessKeyId=x",
                "awsRoleAccessKeyId needs the option awsRoleSecretAccessKey",
            ),
            (
                "awsRoleArn=x awsRoleSecretAccessKey=x",
                "awsRoleSecretAccessKey needs the option awsRoleAccessKeyId",
            ),
            (
                "awsRoleArn=x awsRoleAccessKeyId=\"a/b\" awsRoleSecretAccessKey=hunter2",
                "awsRoleAccessKeyId does not work",
            ),
            (
                "awsStsRegion=\"hunter2.example.com\"",
                "awsStsRegion is not the name of a region",
            ),
            (
                "awsShouldUseFips=hunter2",
                "awsShouldUseFips is neither true nor false",
            ),
            (
                "awsMaxRetries=hunter2",
                "awsMaxRetries is not a whole number",
            ),
        ] {
            let error = options(text).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Config);
            let shown = format!("{error} {error:?}");
            assert!(
                shown.contains(expected) && !shown.contains("hunter2"),
                "{shown}"
            );
        }
    }
}
