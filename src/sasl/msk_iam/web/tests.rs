//! The sources of credentials that use HTTP, against servers that are right, wrong or hostile.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use super::*;
use crate::http::test_server;
use crate::sasl::msk_iam::container::ContainerEndpoint;
use crate::sasl::msk_iam::credentials::{Cause, Chain, Source};
use crate::sasl::msk_iam::environment::{Environment, EnvironmentVariables};
use crate::sasl::msk_iam::instance::{self, InstanceMetadata};
use crate::sasl::msk_iam::options::Role;
use crate::sasl::msk_iam::profiles::ProfileSource;
use crate::sasl::msk_iam::sts::{Endpoint, RoleSource, WebIdentity};
use crate::sync::Mutex;

/// A request as a server got it.
struct Got {
    /// Its first line, without the version.
    line: String,
    /// With names in lower case, each on its line.
    headers: String,
    body: String,
}

impl Got {
    fn read(socket: &TcpStream) -> Option<Self> {
        let request = test_server::read_request(socket)?;
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let (line, headers) = head.split_once("\r\n").unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            format!("{}: {value}\n", name.to_ascii_lowercase())
        };
        Some(Self {
            line: line.trim_end_matches(" HTTP/1.1").to_owned(),
            headers: headers.lines().map(header).collect(),
            body: body.to_owned(),
        })
    }

    fn header(&self, name: &str) -> &str {
        let mut lines = self.headers.lines();
        lines
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            .unwrap_or("")
    }
}

/// A server on a free port of this machine. It ends with its last answer.
struct Server {
    address: String,
    got: Arc<Mutex<Vec<Got>>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Answers one request after the other with a status and a body.
    fn start(answers: impl IntoIterator<Item = (u16, &'static str)> + Send + 'static) -> Self {
        let answers: Vec<_> = answers.into_iter().collect();
        Self::serve(answers.len(), move |number, socket| {
            let (status, body) = answers[number];
            let length = body.len();
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n");
            let _ = socket.write_all((head + body).as_bytes());
        })
    }

    /// Serves a number of connections. `answer` gets their numbers.
    fn serve(connections: usize, answer: impl Fn(usize, &mut TcpStream) + Send + 'static) -> Self {
        let got = Arc::new(Mutex::new(Vec::new()));
        let requests = Arc::clone(&got);
        let (port, thread) = test_server::start(move |listener| {
            for number in 0..connections {
                let (mut socket, _) = listener.accept().unwrap();
                // The last connection may be that by which a test ends the server.
                let Some(request) = Got::read(&socket) else {
                    return;
                };
                requests.lock().push(request);
                answer(number, &mut socket);
            }
        });
        let address = format!("127.0.0.1:{port}");
        Self {
            address,
            got,
            thread: Some(thread),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Ends the server and returns the requests that it got.
    fn requests(mut self) -> Vec<Got> {
        let thread = self.thread.take().unwrap();
        if !thread.is_finished() {
            let _ = TcpStream::connect(&self.address);
        }
        thread.join().unwrap();
        std::mem::take(&mut *self.got.lock())
    }
}

fn ask(source: &dyn Source, variables: &[(&str, &str)]) -> Result<Credentials, Missing> {
    let environment = Environment::of_list(variables);
    source.credentials(&Attempt {
        environment: &environment,
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_796_030_961),
        deadline: Instant::now() + Duration::from_secs(30),
    })
}

/// A file with a token, which is removed when this is dropped.
struct TokenFile(PathBuf);

impl TokenFile {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("kafka-producer-token-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

const ISSUED: &str = r#"{"Code":"Success","AccessKeyId":"ASIA","SecretAccessKey":"hunter2","Token":"session",
    "Expiration":"2026-11-30T15:00:00Z"}"#;

fn check_issued(credentials: &Credentials) {
    assert_eq!(credentials.key_id, "ASIA");
    assert_eq!(credentials.secret_key.reveal(), "hunter2");
    assert_eq!(
        credentials.session_token.as_ref().unwrap().reveal(),
        "session"
    );
    assert_eq!(
        credentials.expires,
        timestamp::parse("2026-11-30T15:00:00Z")
    );
}

const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";

#[test]
fn a_container_gets_credentials_with_its_token() {
    let server = Server::start([(200, ISSUED), (200, ISSUED), (200, ISSUED)]);
    let url = server.url("/v1/credentials?x=y");
    check_issued(&ask(&ContainerEndpoint, &[(FULL, &url)]).unwrap());
    let token = ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "first");
    let credentials = ask(&ContainerEndpoint, &[(FULL, &url), token]).unwrap();
    assert_eq!(credentials.origin, "container credentials");
    let file = TokenFile::new("container", "second\n");
    let named = ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.path());
    ask(&ContainerEndpoint, &[(FULL, &url), token, named]).unwrap();
    let requests = server.requests();
    let tokens: Vec<_> = requests
        .iter()
        .map(|got| got.header("authorization"))
        .collect();
    assert_eq!(tokens, ["", "first", "second"]);
    assert!(
        requests
            .iter()
            .all(|got| got.line == "GET /v1/credentials?x=y")
    );
}

#[test]
fn a_container_asks_other_machines_by_https_only() {
    for (variables, why) in [
        (vec![(FULL, "http://10.0.0.1/x")], "by https only"),
        (
            vec![(FULL, "http://169.254.170.2.example.com/x")],
            "by https only",
        ),
        (
            vec![(FULL, "nothing")],
            "AWS_CONTAINER_CREDENTIALS_FULL_URI does not begin with https://",
        ),
        (
            vec![("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "@example.com/x")],
            "does not begin with /",
        ),
        (
            vec![
                (FULL, "http://127.0.0.1:1/"),
                ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/nonexistent"),
            ],
            "/nonexistent cannot be read",
        ),
    ] {
        let missing = ask(&ContainerEndpoint, &variables).unwrap_err();
        assert_eq!(missing.cause, Cause::Lasting);
        assert!(missing.why.contains(why), "{missing:?}");
    }
    assert_eq!(
        ask(&ContainerEndpoint, &[]).unwrap_err().cause,
        Cause::NotSetUp
    );
}

#[test]
fn a_faulty_answer_of_a_container_is_told_and_its_secrets_are_not() {
    for (status, body, cause, why) in [
        (
            400,
            r#"{"code":"InvalidRole","message":"no\nsuch role"}"#,
            Cause::Lasting,
            "status 400: no\\nsuch role",
        ),
        (403, "hunter2", Cause::Lasting, "answered with status 403"),
        (404, "", Cause::Lasting, "answered with status 404"),
        (429, "hunter2", Cause::Temporary, "answered with status 429"),
        (500, "hunter2", Cause::Temporary, "answered with status 500"),
        (302, "", Cause::Lasting, "redirect"),
        (200, "hunter2", Cause::Lasting, "no JSON object"),
        (
            200,
            r#"{"AccessKeyId":"hunter2"}"#,
            Cause::Lasting,
            "answered without SecretAccessKey",
        ),
        (
            200,
            r#"{"AccessKeyId":"A","SecretAccessKey":"hunter2","Token":"x","Expiration":"hunter2"}"#,
            Cause::Lasting,
            "an expiration that is no time",
        ),
        (
            200,
            r#"{"AccessKeyId":"A","SecretAccessKey":"hunter2\n","Token":"x"}"#,
            Cause::Lasting,
            "the secret access key holds a character that none can have",
        ),
    ] {
        let server = Server::start([(status, body)]);
        let missing = ask(&ContainerEndpoint, &[(FULL, &server.url("/"))]).unwrap_err();
        assert_eq!(missing.cause, cause, "{missing:?}");
        let shown = crate::error::printable(&missing.why);
        assert!(shown.contains(why) && !shown.contains("hunter2"), "{shown}");
        server.requests();
    }
}

#[test]
fn an_endpoint_that_stalls_closes_or_floods_does_not_hang_the_client() {
    type Answer = fn(usize, &mut TcpStream);
    let cases: [(Answer, Cause); 4] = [
        (
            |_, socket| {
                // Until the client has given up.
                let _ = socket.read(&mut [0]);
            },
            Cause::Temporary,
        ),
        (|_, _| {}, Cause::Temporary),
        (
            |_, socket| _ = socket.write_all(b"\x15\x03\x01\x00\x02\x02\x28"),
            Cause::Lasting,
        ),
        (
            |_, socket| {
                let _ = socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
                while socket.write_all(&[b'x'; 65_536]).is_ok() {}
            },
            Cause::Lasting,
        ),
    ];
    for (answer, cause) in cases {
        let server = Server::serve(1, answer);
        let missing = ask(&ContainerEndpoint, &[(FULL, &server.url("/"))]).unwrap_err();
        assert_eq!(missing.cause, cause, "{missing:?}");
        server.requests();
    }
}

const METADATA: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";

#[test]
fn an_instance_gets_the_credentials_of_its_role() {
    let server = Server::start([(200, "token"), (200, "my-role\n"), (200, ISSUED)]);
    let credentials = ask(&InstanceMetadata, &[(METADATA, &server.url("/"))]).unwrap();
    check_issued(&credentials);
    assert_eq!(credentials.origin, "EC2 instance metadata");
    let requests = server.requests();
    let lines: Vec<_> = requests.iter().map(|got| &*got.line).collect();
    let folder = "/latest/meta-data/iam/security-credentials/";
    assert_eq!(
        lines,
        [
            "PUT /latest/api/token",
            &format!("GET {folder}"),
            &format!("GET {folder}my-role")
        ]
    );
    assert_eq!(
        requests[0].header("x-aws-ec2-metadata-token-ttl-seconds"),
        "60"
    );
    assert!(
        requests[1..]
            .iter()
            .all(|got| got.header("x-aws-ec2-metadata-token") == "token")
    );
}

#[test]
fn an_instance_without_credentials_says_why() {
    let failed = r#"{"Code":"AssumeRoleUnauthorizedAccess","Message":"cannot be assumed"}"#;
    for (answers, cause, why) in [
        (
            vec![(200, "token"), (404, "")],
            Cause::Lasting,
            "the instance has no IAM role",
        ),
        (
            vec![(200, "token"), (200, "a/b")],
            Cause::Lasting,
            "without the name of a role",
        ),
        (
            vec![(200, "token"), (200, "r"), (200, failed)],
            Cause::Temporary,
            "AssumeRoleUnauthorizedAccess: cannot be",
        ),
        (
            vec![(200, "token"), (503, "")],
            Cause::Temporary,
            "status 503",
        ),
        // The service is switched off, or it is probably no instance.
        (vec![(403, "")], Cause::NotSetUp, "status 403"),
        (vec![(404, "")], Cause::NotSetUp, "status 404"),
        (vec![(405, "")], Cause::NotSetUp, "status 405"),
        (vec![(400, "")], Cause::Lasting, "status 400"),
        (vec![(429, "")], Cause::Temporary, "status 429"),
        (vec![(500, "")], Cause::Temporary, "status 500"),
        (vec![(503, "")], Cause::Temporary, "status 503"),
    ] {
        let server = Server::start(answers);
        let missing = ask(&InstanceMetadata, &[(METADATA, &server.url(""))]).unwrap_err();
        assert_eq!(missing.cause, cause, "{missing:?}");
        assert!(missing.why.contains(why), "{missing:?}");
        server.requests();
    }
    let missing = ask(&InstanceMetadata, &[("AWS_EC2_METADATA_DISABLED", "True")]).unwrap_err();
    assert_eq!(
        missing,
        Missing::not_set_up("AWS_EC2_METADATA_DISABLED is true")
    );
    let mode = ("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "ipv5");
    assert_eq!(
        ask(&InstanceMetadata, &[mode]).unwrap_err().cause,
        Cause::Lasting
    );
    // Nothing listens there.
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let missing = ask(
        &InstanceMetadata,
        &[(METADATA, &format!("http://{closed}"))],
    )
    .unwrap_err();
    assert_eq!(missing.cause, Cause::NotSetUp);
}

#[test]
fn the_metadata_of_an_instance_has_its_region() {
    for (answers, expected) in [
        (
            vec![(200, "token"), (200, "eu-west-1\n")],
            Ok(Some("eu-west-1".to_owned())),
        ),
        (vec![(404, "")], Ok(None)),
        (vec![(200, "token"), (200, "<html>")], Err(Cause::Lasting)),
        (vec![(200, "token"), (503, "")], Err(Cause::Temporary)),
        (vec![(429, "")], Err(Cause::Temporary)),
    ] {
        let server = Server::start(answers);
        let url = server.url("");
        let environment = Environment::of_list(&[(METADATA, &url)]);
        let region = instance::region(&Attempt {
            environment: &environment,
            now: SystemTime::UNIX_EPOCH,
            deadline: Instant::now() + Duration::from_secs(30),
        });
        assert_eq!(region.map_err(|missing| missing.cause), expected);
        server.requests();
    }
}

const STS: &str = "AWS_ENDPOINT_URL_STS";

const ASSUMED: &str = "<AssumeRoleResponse><AssumeRoleResult><AssumedRoleUser><Arn>arn</Arn></AssumedRoleUser><Credentials>
    <AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>hunter2</SecretAccessKey><SessionToken>session</SessionToken>
    <Expiration>2026-11-30T15:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>";

fn role(arn: &str) -> Role {
    Role {
        arn: arn.to_owned(),
        session_name: "mine".to_owned(),
        external_id: Some("ext/1".into()),
        base: None,
    }
}

fn role_source(arn: &str) -> RoleSource {
    RoleSource {
        role: role(arn),
        region: Some("eu-central-1".to_owned()),
        uses_fips: false,
        base: Chain::new(vec![Box::new(EnvironmentVariables)]),
    }
}

const BASE: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    (
        "AWS_SECRET_ACCESS_KEY",
        "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    ),
    ("AWS_SESSION_TOKEN", "base/token"),
];

#[test]
fn a_role_is_assumed_with_other_credentials() {
    let server = Server::start([(200, ASSUMED)]);
    let url = server.url("");
    let variables = [&BASE[..], &[(STS, &*url)]].concat();
    let credentials = ask(&role_source("arn:aws:iam::1:role/x"), &variables).unwrap();
    check_issued(&credentials);
    assert_eq!(credentials.origin, "the role arn:aws:iam::1:role/x");
    let address = server.address.clone();
    let request = &server.requests()[0];
    assert_eq!(request.line, "POST /");
    assert_eq!(
        request.body,
        "Action=AssumeRole&ExternalId=ext%2F1&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fx&RoleSessionName=mine&\
         Version=2011-06-15"
    );
    assert_eq!(request.header("host"), address);
    assert_eq!(request.header("x-amz-date"), "20261130T092921Z");
    assert_eq!(request.header("x-amz-security-token"), "base/token");
    let authorization = request.header("authorization");
    let beginning = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261130/eu-central-1/sts/aws4_request, \
        SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature=";
    assert!(authorization.starts_with(beginning), "{authorization}");
}

#[test]
fn a_refusal_of_sts_is_told_without_secrets() {
    for (status, body, cause, why) in [
        (
            403,
            "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>User x may not</Message></Error>",
            Cause::Lasting,
            "status 403, AccessDenied: User x may not",
        ),
        (
            403,
            "<Error><Code>SignatureDoesNotMatch</Code><Message>should have been base/token</Message></Error>",
            Cause::Lasting,
            "SignatureDoesNotMatch, so check the secret key and this machine's clock",
        ),
        (
            400,
            "<Error><Code>Other</Code><Message>see base/token</Message></Error>",
            Cause::Lasting,
            "status 400, Other",
        ),
        (
            400,
            "<Error><Code>Throttling</Code></Error>",
            Cause::Temporary,
            "Throttling",
        ),
        (400, "garbage", Cause::Lasting, "status 400, no code"),
        (500, "", Cause::Temporary, "status 500"),
        (
            200,
            "<Credentials><AccessKeyId>A</AccessKeyId></Credentials>",
            Cause::Lasting,
            "answered without credentials",
        ),
    ] {
        let server = Server::start([(status, body)]);
        let url = server.url("");
        let variables = [&BASE[..], &[(STS, &*url)]].concat();
        let missing = ask(&role_source("arn:aws:iam::1:role/x"), &variables).unwrap_err();
        assert_eq!(missing.cause, cause, "{missing:?}");
        assert!(
            missing.why.contains(why) && !missing.why.contains("base/token"),
            "{missing:?}"
        );
        server.requests();
    }
    let missing = ask(
        &role_source("arn:aws:iam::1:role/x"),
        &[(STS, "http://10.0.0.1/")],
    )
    .unwrap_err();
    assert!(missing.why.contains("by https only"), "{missing:?}");
    let missing = ask(&role_source("x"), &[(STS, "http://127.0.0.1:1/")]).unwrap_err();
    assert!(
        missing.why.starts_with(
            "nothing to assume it with (environment variables: AWS_ACCESS_KEY_ID is not set)"
        ),
        "{missing:?}"
    );
}

#[test]
fn a_pod_gets_credentials_for_its_token() {
    let server = Server::start([(200, ASSUMED), (200, ASSUMED)]);
    let url = server.url("");
    let file = TokenFile::new("identity", "eyJ.x.y\n");
    let variables = [
        (STS, &*url),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file.path()),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/pod"),
    ];
    check_issued(&ask(&WebIdentity, &variables).unwrap());
    let named = [&variables[..], &[("AWS_ROLE_SESSION_NAME", "pod-1")]].concat();
    ask(&WebIdentity, &named).unwrap();
    let requests = server.requests();
    let body = |name: &str| {
        format!(
            "Action=AssumeRoleWithWebIdentity&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fpod&RoleSessionName={name}&\
             Version=2011-06-15&WebIdentityToken=eyJ.x.y"
        )
    };
    assert_eq!(requests[0].body, body("aws-msk-iam-auth"));
    assert_eq!(requests[1].body, body("pod-1"));
    assert_eq!(requests[0].header("authorization"), "");

    assert_eq!(ask(&WebIdentity, &[]).unwrap_err().cause, Cause::NotSetUp);
    let missing = ask(&WebIdentity, &variables[..2]).unwrap_err();
    assert_eq!(
        missing,
        Missing::lasting("AWS_WEB_IDENTITY_TOKEN_FILE is set and AWS_ROLE_ARN is not")
    );
}

#[test]
fn the_server_of_sts_is_that_of_the_region() {
    let host = |region: Option<&str>, uses_fips| {
        let endpoint = Endpoint::of(region, uses_fips, &Environment::of_list(&[])).unwrap();
        (endpoint.url().to_string(), endpoint.region().to_owned())
    };
    for (region, fips, url, signs_for) in [
        (None, false, "https://sts.amazonaws.com/", "us-east-1"),
        (
            None,
            true,
            "https://sts-fips.us-east-1.amazonaws.com/",
            "us-east-1",
        ),
        (
            Some("eu-west-1"),
            false,
            "https://sts.eu-west-1.amazonaws.com/",
            "eu-west-1",
        ),
        (
            Some("us-gov-west-1"),
            true,
            "https://sts.us-gov-west-1.amazonaws.com/",
            "us-gov-west-1",
        ),
        (
            Some("cn-north-1"),
            false,
            "https://sts.cn-north-1.amazonaws.com.cn/",
            "cn-north-1",
        ),
        (
            Some("us-isob-east-1"),
            false,
            "https://sts.us-isob-east-1.sc2s.sgov.gov/",
            "us-isob-east-1",
        ),
        (
            Some("us-iso-east-1"),
            false,
            "https://sts.us-iso-east-1.c2s.ic.gov/",
            "us-iso-east-1",
        ),
        (
            Some("eusc-de-east-1"),
            false,
            "https://sts.eusc-de-east-1.amazonaws.eu/",
            "eusc-de-east-1",
        ),
    ] {
        assert_eq!(host(region, fips), (url.to_owned(), signs_for.to_owned()));
    }
}

/// A file with profiles in a folder of its own.
fn profiles(name: &str, text: &str) -> TokenFile {
    TokenFile::new(&format!("profiles-{name}"), text)
}

fn ask_profile(
    file: &TokenFile,
    name: &str,
    others: &[(&str, &str)],
) -> Result<Credentials, Missing> {
    let files = [
        ("AWS_CONFIG_FILE", file.path()),
        ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent"),
    ];
    let source = ProfileSource {
        name: Some(name.to_owned()),
    };
    ask(&source, &[&files[..], others].concat())
}

#[test]
fn a_profile_assumes_its_role_with_what_it_refers_to() {
    let token = TokenFile::new("profile", "eyJ.x.y");
    let text = format!(
        "[profile keys]\naws_access_key_id=KEYS\naws_secret_access_key=x\n\
         [profile of-keys]\nrole_arn=arn:aws:iam::1:role/a\nsource_profile=keys\nregion=eu-west-1\nexternal_id=e\n\
         [profile of-role]\nrole_arn=arn:aws:iam::1:role/b\nsource_profile=of-keys\nrole_session_name=s\n\
         [profile itself]\nrole_arn=arn:aws:iam::1:role/c\nsource_profile=itself\naws_access_key_id=ITSELF\n\
         aws_secret_access_key=x\n\
         [profile environment]\nrole_arn=arn:aws:iam::1:role/d\ncredential_source=Environment\n\
         [profile token]\nrole_arn=arn:aws:iam::1:role/e\nweb_identity_token_file={}\n",
        token.path()
    );
    let file = profiles("roles", &text);
    let (a, b) = ("a&RoleSessionName=aws-msk-iam-auth", "b&RoleSessionName=s");
    for (name, expected) in [
        ("of-keys", vec![("KEYS", "eu-west-1", a)]),
        (
            "of-role",
            vec![("KEYS", "eu-west-1", a), ("ASIA", "us-east-1", b)],
        ),
        ("itself", vec![("ITSELF", "us-east-1", "c&")]),
        ("environment", vec![("AKIDEXAMPLE", "us-east-1", "d&")]),
    ] {
        let server = Server::start(vec![(200, ASSUMED); expected.len()]);
        let url = server.url("");
        let variables = [&BASE[..], &[(STS, &*url)]].concat();
        check_issued(&ask_profile(&file, name, &variables).unwrap());
        let requests = server.requests();
        assert_eq!(requests.len(), expected.len(), "{name}");
        for (request, (key, region, role)) in requests.iter().zip(expected) {
            let credential = format!("Credential={key}/20261130/{region}/sts/");
            assert!(
                request.header("authorization").contains(&credential),
                "{name}"
            );
            assert!(
                request.body.contains(&format!("role%2F{role}")),
                "{}",
                request.body
            );
        }
    }
    let server = Server::start([(200, ASSUMED)]);
    check_issued(&ask_profile(&file, "token", &[(STS, &server.url(""))]).unwrap());
    assert!(
        server.requests()[0]
            .body
            .ends_with("WebIdentityToken=eyJ.x.y")
    );
}

#[test]
fn a_profile_whose_role_cannot_be_assumed_says_why() {
    let file = profiles(
        "faulty",
        "[profile none]\nrole_arn=r\n[profile two]\nrole_arn=r\nsource_profile=none\ncredential_source=Environment\n\
         [profile other]\nrole_arn=r\ncredential_source=Moon\n[profile mfa]\nrole_arn=r\nmfa_serial=m\n\
         [profile a]\nrole_arn=r\nsource_profile=b\n[profile b]\nrole_arn=r\nsource_profile=a\n\
         [profile lost]\nrole_arn=r\nsource_profile=gone\n[profile env]\nrole_arn=r\ncredential_source=Environment\n",
    );
    for (name, why) in [
        ("none", "neither source_profile nor credential_source"),
        ("two", "source_profile and credential_source: remove one"),
        ("other", "its credential_source Moon is none of"),
        ("mfa", "cannot ask for the code of a device"),
        ("a", "refer to each other"),
        ("lost", "there is no profile gone in"),
        ("env", "Environment: AWS_ACCESS_KEY_ID is not set"),
    ] {
        let missing = ask_profile(&file, name, &[]).unwrap_err();
        assert_eq!(missing.cause, Cause::Lasting);
        assert!(missing.why.contains(why), "{name}: {missing:?}");
    }
    assert!(Path::new(file.path()).exists());
}
