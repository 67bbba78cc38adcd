//! AWS_MSK_IAM: the client signs a request to connect with AWS credentials, and MSK's broker asks AWS whether it may.
//!
//! | to | see |
//! |---|---|
//! | sign | `sigv4` |
//! | make tokens for OAUTHBEARER | `tokens` |
//! | find credentials | `credentials` and its sources: `environment`, `profiles`, `sts`, `container`, `instance` |
//! | keep credentials, and replace them in time | `provider` |
//! | read the options of the login module | `options` |

mod container;
mod credentials;
mod environment;
mod instance;
mod options;
mod profile_files;
mod profiles;
mod provider;
mod region;
mod sigv4;
mod sts;
pub(crate) mod timestamp;
mod tokens;
mod web;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use self::container::ContainerEndpoint;
use self::credentials::{Attempt, Cause, Chain, Credentials, Missing, Source};
use self::environment::{Environment, EnvironmentVariables};
use self::instance::InstanceMetadata;
use self::options::Options;
use self::profiles::ProfileSource;
use self::provider::{Provider, Retries};
use self::sigv4::Signer;
use self::sts::{RoleSource, WebIdentity};
pub(crate) use self::tokens::MskTokens;
use super::jaas::Jaas;
use super::json;
use super::temporary::TemporaryRefusal;
use super::{Conversation, Mechanism, Message, Next, failed, misconfigured};
use crate::error::{Error, ErrorKind, printable};
use crate::threads::{BlockingCalls, NoResult, Overlap};

const SERVICE: &str = "kafka-cluster";
const ACTION: &str = "kafka-cluster:Connect";
/// How long a signature is valid.
const EXPIRES_SECONDS: u32 = 900;
/// The version of the message's form.
const VERSION: &str = "2020_10_22";
const USER_AGENT: &str = concat!("kafka-producer/", env!("CARGO_PKG_VERSION"));

/// The mechanism AWS_MSK_IAM with its sources of credentials.
pub(crate) struct MskIam {
    provider: Arc<Provider>,
    /// The profile that the user named.
    profile: Option<String>,
    /// The region of the EC2 instance, once it is known.
    instance_region: Arc<OnceLock<String>>,
    /// The searches for the region of the profile or the instance.
    regions: BlockingCalls<Result<Option<String>, Missing>>,
}

impl MskIam {
    /// Takes the sources of credentials from the options of `IAMLoginModule`. The second value is what is probably not meant.
    pub(crate) fn from_jaas(jaas: &Jaas) -> Result<(Self, Vec<String>), Error> {
        let mut options = Options::of(jaas)?;
        let warnings = std::mem::take(&mut options.warnings);
        Ok((Self::new(options, Environment::of_process())?, warnings))
    }

    /// Makes the mechanism with the sources in the order of Java's library: those that the options name come first.
    fn new(options: Options, environment: Environment) -> Result<Self, Error> {
        let mut sources: Vec<Box<dyn Source>> = Vec::new();
        if let Some(name) = &options.profile {
            let name = Some(name.clone());
            sources.push(Box::new(ProfileSource { name }));
        }
        if let Some(role) = options.role {
            sources.push(Box::new(RoleSource {
                role,
                region: options.sts_region,
                uses_fips: options.uses_fips,
                base: Chain::new(default_sources()),
            }));
        }
        if options.adds_default_sources {
            sources.extend(default_sources());
        }
        if sources.is_empty() {
            return Err(misconfigured(
                "sasl.jaas.config: awsAddDefaultProviders is false, and no other option names credentials",
            )
            .with_advice("add awsProfileName or awsRoleArn, or remove awsAddDefaultProviders"));
        }
        let retries = Retries {
            most: options.most_retries,
            longest_backoff: options.longest_backoff,
        };
        let provider = Provider::new(Chain::new(sources), Arc::new(environment), retries);
        Ok(Self {
            provider: Arc::new(provider),
            profile: options.profile,
            instance_region: Arc::default(),
            regions: BlockingCalls::new("kp-aws", Overlap::Shared(Clone::clone)),
        })
    }

    /// Returns the region of the cluster with a broker of this name.
    fn region(&self, host: &str, now: SystemTime, deadline: Instant) -> Result<String, Error> {
        match region::of_host(host) {
            Some(region) => Ok(region.to_owned()),
            None => {
                let host = printable(host);
                let need = format!("the name of the broker, {host}, has none");
                self.own_region(&need, now, deadline)
            }
        }
    }

    /// Returns the region of the environment, the profile or the EC2 instance. `need` says why the client needs it.
    fn own_region(&self, need: &str, now: SystemTime, deadline: Instant) -> Result<String, Error> {
        if let Some(region) = region::of_environment(self.provider.environment()) {
            return Ok(region);
        }
        let provider = Arc::clone(&self.provider);
        let profile = self.profile.clone();
        let known = Arc::clone(&self.instance_region);
        let find = move || {
            let environment = provider.environment();
            let region = profiles::region(profile.as_deref(), environment);
            if let Some(region) = region.or_else(|| known.get().cloned()) {
                return Ok(Some(region));
            }
            let region = instance::region(&Attempt {
                environment,
                now,
                deadline,
            })?;
            Ok(region.map(|region| known.get_or_init(|| region).clone()))
        };
        match self.regions.run(deadline, find) {
            Ok(Ok(Some(region))) => Ok(region),
            Ok(Ok(None)) => Err(unknown_region(need, None)),
            Ok(Err(missing)) => Err(unknown_region(need, Some(&missing))),
            Err(no_result) => Err(absent(no_result, "AWS region of the cluster")),
        }
    }

    /// Ends the waits for regions and credentials.
    fn end(&self) {
        self.regions.close();
        self.provider.close();
    }

    fn begin_at(
        &self,
        host: &str,
        region: String,
        credentials: Arc<Credentials>,
        now: SystemTime,
    ) -> MskConversation {
        MskConversation {
            message: message(host, &region, &credentials, now),
            provider: Arc::clone(&self.provider),
            credentials,
            region,
            signed_at: now,
        }
    }
}

/// Returns the error of a client that finds no region. `missing` is why the EC2 instance has none.
fn unknown_region(need: &str, missing: Option<&Missing>) -> Error {
    const ADVICE: &str = "set the environment variable AWS_REGION, or region in the profile";
    let mut message = format!("the AWS region of the cluster is not known: {need}");
    if let Some(missing) = missing {
        message += &format!("; EC2 instance metadata: {}", printable(&missing.why));
    }
    match missing.map(|missing| missing.cause) {
        Some(Cause::Temporary) => Error::new(ErrorKind::Network, message)
            .with_advice(format!("{ADVICE}; otherwise the producer asks again")),
        _ => failed(message).with_advice(ADVICE),
    }
}

/// The sources that AWS's libraries ask, in their order.
fn default_sources() -> Vec<Box<dyn Source>> {
    vec![
        Box::new(EnvironmentVariables),
        Box::new(WebIdentity),
        Box::new(ProfileSource { name: None }),
        Box::new(ContainerEndpoint),
        Box::new(InstanceMetadata),
    ]
}

impl Mechanism for MskIam {
    fn name(&self) -> &'static str {
        "AWS_MSK_IAM"
    }

    fn begin(&self, host: &str, deadline: Instant) -> Result<Box<dyn Conversation>, Error> {
        let asked = SystemTime::now();
        let region = self.region(host, asked, deadline)?;
        let credentials = self.provider.credentials(asked, deadline)?;
        // The credentials may have taken a while.
        let now = SystemTime::now();
        Ok(Box::new(self.begin_at(host, region, credentials, now)))
    }

    fn close(&self) {
        self.end();
    }
}

impl fmt::Debug for MskIam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MskIam")
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

/// Makes the error of a call that was to give this.
fn absent(no_result: NoResult, what: &str) -> Error {
    match no_result {
        NoResult::Late | NoResult::EarlierHang => Error::new(
            ErrorKind::Network,
            format!("no {what} in time: the source has not answered yet"),
        )
        .with_advice(
            "see whether AWS's endpoints can be reached from here and the file system of AWS's files answers: the client \
             asks again",
        ),
        NoResult::Closed => failed(format!("no {what}: the producer is closed")),
        NoResult::Panicked => failed(format!(
            "no {what}: the code that asks for it panicked, which is a defect of the client"
        )),
        NoResult::NotStarted(error) => Error::new(
            ErrorKind::Network,
            format!("no {what}: the thread that asks for it cannot be started"),
        )
        .with_source(error),
    }
}

/// Returns the client's only message: a JSON object with the parts of a presigned URL.
fn message(host: &str, region: &str, credentials: &Credentials, now: SystemTime) -> Message {
    let signed =
        Signer::new(credentials, region, SERVICE, now).presign(host, ACTION, EXPIRES_SECONDS);
    let mut parts = vec![
        "{\"version\":".to_owned(),
        json::quoted(VERSION),
        ",\"host\":".to_owned(),
        json::quoted(host),
        ",\"user-agent\":".to_owned(),
        json::quoted(USER_AGENT),
    ];
    for (name, value) in &signed {
        parts.push(format!(",\"{}\":", name.to_ascii_lowercase()));
        parts.push(json::quoted(value.reveal()));
    }
    parts.push("}".to_owned());
    let parts = zeroize::Zeroizing::new(parts);
    Message::new(parts.concat().into_bytes())
}

struct MskConversation {
    message: Message,
    provider: Arc<Provider>,
    credentials: Arc<Credentials>,
    region: String,
    signed_at: SystemTime,
}

impl Conversation for MskConversation {
    fn first(&mut self) -> Result<Message, Error> {
        Ok(self.message.clone())
    }

    fn next(&mut self, challenge: &[u8]) -> Result<Next, Error> {
        read_answer(challenge).map(|()| Next::Done)
    }

    fn refused(&self, explanation: Option<&str>) -> Error {
        let temporary = TemporaryRefusal::of(explanation);
        // A broker that gets too many connections has not looked at the credentials.
        if temporary != Some(TemporaryRefusal::TooManyConnects) {
            self.provider.refused(&self.credentials, SystemTime::now());
        }
        let error = match temporary {
            Some(temporary) => {
                let origin = printable(&self.credentials.origin);
                temporary.error(&format!("the AWS credentials from {origin}"))
            }
            None => self.refusal(&explanation.unwrap_or_default().to_ascii_lowercase()),
        };
        match explanation {
            Some(text) if !text.is_empty() && !self.credentials.is_repeated_in(text) => {
                error.with_broker_message(text)
            }
            _ => error,
        }
    }
}

/// Checks the broker's answer: it accepts the client with a JSON object that has the id of the request.
pub(crate) fn read_answer(answer: &[u8]) -> Result<(), Error> {
    let text = std::str::from_utf8(answer).ok();
    if text.and_then(json::strings).is_some() {
        return Ok(());
    }
    let what = if answer.is_empty() {
        "without the JSON object that"
    } else {
        "with a text that is not the JSON object that"
    };
    let message = format!("the broker answered AWS_MSK_IAM {what} accepts the client");
    Err(failed(message).with_advice("check that bootstrap.servers names brokers of Amazon MSK"))
}

impl MskConversation {
    /// Returns the error of a refusal with this text of the broker, in lower case.
    fn refusal(&self, text: &str) -> Error {
        let origin = printable(&self.credentials.origin);
        let region = &self.region;
        let time = timestamp::compact(self.signed_at);
        let sentence = format!(
            "the broker refused the AWS credentials from {origin}, signed for {region} at {time}"
        );
        let clock = "that this machine's clock is right";
        let advice = if text.contains("access denied") {
            format!(
                "check that the IAM policy of these credentials allows kafka-cluster:Connect on the cluster, that they have \
                 not expired, that {region} is the cluster's region, and {clock}"
            )
        } else {
            format!(
                "check that the listener is the one for IAM (port 9098, or 9198 from outside), that the credentials have not \
                 expired, and {clock}"
            )
        };
        failed(sentence).with_advice(advice)
    }
}

#[cfg(test)]
mod tests;
