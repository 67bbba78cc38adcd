use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::ErrorKind;

const HOST: &str = "b-1.demo.abcde.c2.kafka.eu-central-1.amazonaws.com";
const MODULE: &str = "software.amazon.msk.auth.iam.IAMLoginModule";

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn iam(options: &str, variables: &[(&str, &str)]) -> Result<MskIam, Error> {
    let jaas = Jaas::parse(&format!("{MODULE} required {options};")).unwrap();
    MskIam::new(Options::of(&jaas)?, Environment::of_list(variables))
}

const KEYS: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    (
        "AWS_SECRET_ACCESS_KEY",
        "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    ),
    (
        "AWS_SESSION_TOKEN",
        "IQoJb3JpZ2luX2VjEA==/+token with space",
    ),
];

fn conversation() -> MskConversation {
    let iam = iam("", &KEYS).unwrap();
    let now = UNIX_EPOCH + Duration::from_secs(1_796_030_961);
    let credentials = iam.provider.credentials(now, soon()).unwrap();
    iam.begin_at(
        HOST,
        iam.region(HOST, now, soon()).unwrap(),
        credentials,
        now,
    )
}

/// A test must not ask the machine that it runs on.
fn without_instance<'a>(variables: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [variables, &[("AWS_EC2_METADATA_DISABLED", "true")]].concat()
}

fn json_of(message: &Message) -> serde_json::Value {
    serde_json::from_slice(message.bytes()).unwrap()
}

/// The signature is that of botocore: see the tests of `sigv4`.
#[test]
fn the_message_is_the_json_object_that_msk_expects() {
    let message = conversation().first().unwrap();
    assert_eq!(
        json_of(&message),
        serde_json::json!({
            "version": "2020_10_22",
            "host": HOST,
            "user-agent": USER_AGENT,
            "action": "kafka-cluster:Connect",
            "x-amz-algorithm": "AWS4-HMAC-SHA256",
            "x-amz-credential": "AKIDEXAMPLE/20261130/eu-central-1/kafka-cluster/aws4_request",
            "x-amz-date": "20261130T092921Z",
            "x-amz-security-token": KEYS[2].1,
            "x-amz-signedheaders": "host",
            "x-amz-expires": "900",
            "x-amz-signature": "1fdbae71a77713b25edcf46714721b5418c0d5e9eb86a82c1c85eeac6ffa1678",
        })
    );
    assert_eq!(
        format!("{message:?}"),
        format!("Message({} bytes)", message.bytes().len())
    );
}

#[test]
fn without_a_session_token_the_message_has_no_field_for_it() {
    let iam = iam("", &KEYS[..2]).unwrap();
    let mut conversation = iam.begin(HOST, soon()).unwrap();
    assert_eq!(iam.name(), "AWS_MSK_IAM");
    let message = json_of(&conversation.first().unwrap());
    assert_eq!(message.get("x-amz-security-token"), None);
    assert_eq!(message["x-amz-signature"].as_str().unwrap().len(), 64);
}

#[test]
fn the_broker_accepts_with_a_json_object() {
    let accepted = br#"{"version":"2020_10_22","request-id":"f5a9b5b4"}"#;
    assert!(matches!(conversation().next(accepted).unwrap(), Next::Done));
    for (answer, what) in [
        (&b""[..], "without the JSON object"),
        (b"ok", "with a text that is not the JSON object"),
        (b"\xff", "with a text that is not the JSON object"),
        (b"[1]", "with a text that is not the JSON object"),
    ] {
        let error = conversation().next(answer).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication);
        assert!(error.message().contains(what), "{error}");
    }
}

#[test]
fn each_refusal_has_its_sentence() {
    for (text, expected, kind) in [
        (
            "[b5e3]: Access denied",
            "the broker refused the AWS credentials from environment variables, signed for eu-central-1 at 20261130T092921Z: \
             [b5e3]: Access denied; check that the IAM policy of these credentials allows kafka-cluster:Connect on the \
             cluster, that they have not expired, that eu-central-1 is the cluster's region, and that this machine's clock is \
             right",
            ErrorKind::Authentication,
        ),
        (
            "[b5e3]: Too many connects",
            "the broker gets too many new connections: [b5e3]: Too many connects; the producer tries again; if this persists, \
             raise reconnect.backoff.ms and reconnect.backoff.max.ms, and start fewer producers at once: MSK limits how many \
             connections a second a broker accepts",
            ErrorKind::Network,
        ),
        (
            "[b5e3]: Session too short",
            "the AWS credentials from environment variables end too soon for a session: [b5e3]: Session too short; the \
             producer tries again, with new ones as soon as their source has them; if this persists, let the source issue \
             credentials that are valid for longer",
            ErrorKind::Network,
        ),
        (
            "Invalid payload",
            "the broker refused the AWS credentials from environment variables, signed for eu-central-1 at 20261130T092921Z: \
             Invalid payload; check that the listener is the one for IAM (port 9098, or 9198 from outside), that the \
             credentials have not expired, and that this machine's clock is right",
            ErrorKind::Authentication,
        ),
    ] {
        let error = conversation().refused(Some(text));
        assert_eq!(error.to_string(), expected);
        assert_eq!(
            (error.kind(), error.is_refusal()),
            (kind, kind == ErrorKind::Authentication)
        );
    }
    for (_, secret) in &KEYS[1..] {
        let error = conversation().refused(Some(&format!("wrong: {secret}")));
        assert_eq!(error.broker_message(), None);
    }
    assert!(
        conversation()
            .refused(None)
            .to_string()
            .contains("port 9098")
    );
}

#[test]
fn the_region_is_that_of_the_host_or_of_the_environment() {
    let variables = [&KEYS[..], &[("AWS_REGION", "us-east-1")]].concat();
    let region = |iam: &MskIam, host| iam.region(host, UNIX_EPOCH, soon());
    let with_region = iam("", &variables).unwrap();
    assert_eq!(region(&with_region, HOST).unwrap(), "eu-central-1");
    assert_eq!(
        region(&with_region, "kafka.example.com").unwrap(),
        "us-east-1"
    );
    let error = iam("", &without_instance(&KEYS))
        .unwrap()
        .begin("kafka\n.example.com", soon())
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        "the AWS region of the cluster is not known: the name of the broker, kafka\\n.example.com, has none; set the \
         environment variable AWS_REGION, or region in the profile"
    );
}

#[test]
fn without_credentials_the_error_names_every_source() {
    let error = iam(
        "awsProfileName=dev",
        &without_instance(&[("HOME", "/nonexistent")]),
    )
    .unwrap();
    let error = error.begin(HOST, soon()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    let neither = "there is neither /nonexistent/.aws/config nor /nonexistent/.aws/credentials";
    assert!(
        error.message().starts_with(&format!(
            "no AWS credentials were found: the profile dev: {neither}; environment variables: AWS_ACCESS_KEY_ID is not set; \
             web identity: AWS_WEB_IDENTITY_TOKEN_FILE is not set; profile files: {neither}; container credentials: neither \
             AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor AWS_CONTAINER_CREDENTIALS_FULL_URI is set; EC2 instance metadata: \
             AWS_EC2_METADATA_DISABLED is true"
        )),
        "{error}"
    );
}

#[test]
fn options_that_leave_no_source_are_refused() {
    let error = iam("awsAddDefaultProviders=false", &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(
        error
            .to_string()
            .contains("no other option names credentials"),
        "{error}"
    );
}

#[test]
fn debug_shows_no_credentials() {
    let shown = format!("{:?}", iam("", &KEYS).unwrap());
    assert!(
        !shown.contains("wJalr") && !shown.contains("IQoJ"),
        "{shown}"
    );
}

#[test]
fn a_file_system_that_hangs_holds_no_connection_after_its_deadline() {
    for hanging in ["AWS_CONFIG_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE"] {
        let (go, goes) = crate::sync::channel::bounded::<()>(1);
        // What reads a file asks for its path first.
        let environment = Environment::of_function(move |name| {
            if name == hanging {
                let _ = goes.recv();
            }
            (name == "AWS_EC2_METADATA_DISABLED").then(|| "true".into())
        });
        let jaas = Jaas::parse(&format!("{MODULE} required;")).unwrap();
        let iam = MskIam::new(Options::of(&jaas).unwrap(), environment).unwrap();
        let hosts = match hanging {
            "AWS_CONFIG_FILE" => vec![HOST, "kafka.example.com"],
            _ => vec![HOST],
        };
        for host in hosts {
            let deadline = Instant::now() + Duration::from_millis(20);
            let error = iam.begin(host, deadline).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Network);
            assert!(error.message().contains("in time"), "{error}");
        }
        drop(go);
    }
}

#[test]
fn a_close_ends_the_wait_of_a_connection() {
    let (entered, enters) = crate::sync::channel::unbounded();
    let (go, goes) = crate::sync::channel::bounded::<()>(1);
    let environment = Environment::of_function(move |name| {
        if name == "AWS_CONFIG_FILE" {
            let _ = entered.send(());
            let _ = goes.recv();
        }
        None
    });
    let jaas = Jaas::parse(&format!("{MODULE} required;")).unwrap();
    let iam = MskIam::new(Options::of(&jaas).unwrap(), environment).unwrap();
    let iam = Arc::new(iam);
    for host in [HOST, "kafka.example.com"] {
        let waiting = Arc::clone(&iam);
        let far = Instant::now() + Duration::from_secs(3600);
        let waiting = std::thread::spawn(move || waiting.begin(host, far).err().unwrap());
        if host == HOST {
            enters.recv().unwrap();
        }
        iam.close();
        let error = waiting.join().unwrap();
        assert!(error.message().contains("closed"), "{error}");
    }
    drop(go);
}
