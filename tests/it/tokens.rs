//! OAUTHBEARER with tokens of the user's own code.

#[cfg(feature = "sasl-oidc")]
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use kafka_producer::mock::{MockApi, MockCluster, MockSasl, TokenVerdict};
use kafka_producer::{BearerToken, ErrorKind, SecurityProtocol, TokenProvider};

use crate::support::{
    Builder, Gate, PATIENCE, SOON, builder, deliver, get_all, numbers, record, send_numbers,
};
#[cfg(feature = "sasl-oidc")]
use crate::support::{Producer, with};

/// Accepts `token-N` as user `user-N`, and ends its session after `lifetime`.
fn cluster(lifetime: Option<Duration>) -> MockCluster {
    let sasl =
        MockSasl::new().oauthbearer(move |token| match token.token().strip_prefix("token-") {
            Some(number) => {
                let verdict = TokenVerdict::accept(&format!("user-{number}"));
                lifetime.map_or(verdict.clone(), |lifetime| verdict.expires_in(lifetime))
            }
            None => TokenVerdict::refuse("invalid_token"),
        });
    let cluster = MockCluster::builder().sasl(sasl).start().unwrap();
    cluster.create_topic("t", 1);
    cluster
}

fn with_tokens(cluster: &MockCluster, provider: impl TokenProvider + 'static) -> Builder {
    builder(cluster)
        .security_protocol(SecurityProtocol::SaslPlaintext)
        .sasl_oauthbearer(provider)
}

/// Gives `token-0`, `token-1` and so on, each valid for `lifetime` from now.
fn numbered(count: &Arc<AtomicUsize>, lifetime: Duration) -> impl TokenProvider + 'static {
    let count = Arc::clone(count);
    move || {
        let number = count.fetch_add(1, Ordering::Relaxed);
        Ok(BearerToken::new(format!("token-{number}")).expires(SystemTime::now() + lifetime))
    }
}

#[test]
fn one_token_serves_all_connections_while_it_is_valid() {
    let cluster = cluster(None);
    let count = Arc::new(AtomicUsize::new(0));
    let producer = with_tokens(&cluster, numbered(&count, Duration::from_secs(3600)));
    let producer = producer.build().unwrap();
    for _ in 0..5 {
        deliver(&producer, 0, "v").unwrap();
        cluster.disconnect(0);
    }
    deliver(&producer, 0, "v").unwrap();
    assert_eq!(count.load(Ordering::Relaxed), 1);
    let requests = cluster.requests();
    let produced = requests
        .iter()
        .filter(|request| request.api == MockApi::Produce);
    assert!(
        produced
            .into_iter()
            .all(|request| &*request.principal == "User:user-0")
    );
}

#[test]
fn tokens_change_while_records_are_sent_and_no_record_notices() {
    let cluster = cluster(Some(Duration::from_millis(400)));
    let count = Arc::new(AtomicUsize::new(0));
    let producer = with_tokens(&cluster, numbered(&count, Duration::from_millis(1500)));
    let producer = producer.build().unwrap();
    let mut sent = 0;
    // Each round waits for the broker, so that they last for several sessions and tokens.
    while count.load(Ordering::Relaxed) < 4 {
        get_all(send_numbers(&producer, sent..sent + 10));
        sent += 10;
    }
    assert_eq!(numbers(&cluster), (0..sent).collect::<Vec<_>>());
}

#[test]
fn a_provider_that_fails_is_told_at_once_and_the_producer_goes_on_when_it_works() {
    let cluster = cluster(None);
    let works = Arc::new(AtomicBool::new(false));
    let provider = {
        let works = Arc::clone(&works);
        move || match works.load(Ordering::Relaxed) {
            true => Ok(BearerToken::new("token-7")),
            false => Err("the vault is sealed".into()),
        }
    };
    let producer = with_tokens(&cluster, provider)
        .max_block(PATIENCE)
        .build()
        .unwrap();
    let began = Instant::now();
    let error = producer.send(record(0, "v")).unwrap_err();
    assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
    assert_eq!(error.error().kind(), ErrorKind::Authentication);
    assert!(error.to_string().contains("the vault is sealed"), "{error}");
    works.store(true, Ordering::Relaxed);
    deliver(&producer, 0, "v").unwrap();
}

#[test]
fn a_broker_that_refuses_a_token_is_told_at_once() {
    let cluster = cluster(None);
    let provider = || Ok(BearerToken::new("opaque-secret"));
    let producer = with_tokens(&cluster, provider)
        .max_block(PATIENCE)
        .build()
        .unwrap();
    let error = producer.send(record(0, "v")).unwrap_err();
    assert_eq!(error.error().kind(), ErrorKind::Authentication);
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("refused the token"), "{shown}");
    assert!(!shown.contains("opaque-secret"), "{shown}");
}

#[test]
fn a_provider_that_hangs_holds_up_neither_send_nor_close() {
    let cluster = cluster(None);
    let (gate, hold) = Gate::new();
    let provider = move || {
        hold.wait();
        Ok(BearerToken::new("token-0"))
    };
    let producer = with_tokens(&cluster, provider)
        .max_block(Duration::from_millis(300))
        .build()
        .unwrap();
    let began = Instant::now();
    assert!(producer.send(record(0, "v")).is_err());
    let _ = producer.close(Duration::from_millis(300));
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    drop(gate);
}

#[test]
fn the_settings_of_java_make_tokens_without_a_signature() {
    let sasl = MockSasl::new().oauthbearer(|token| {
        match token.token().ends_with('.') && token.extension("logicalCluster") == Some("lkc-1") {
            true => TokenVerdict::accept("alice"),
            false => TokenVerdict::refuse("invalid_token"),
        }
    });
    let cluster = MockCluster::builder().sasl(sasl).start().unwrap();
    cluster.create_topic("t", 1);
    let jaas = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
                unsecuredLoginStringClaim_sub=\"alice\" unsecuredLoginExtension_logicalCluster=\"lkc-1\";";
    let producer = builder(&cluster)
        .security_protocol(SecurityProtocol::SaslPlaintext)
        .set("sasl.mechanism", "OAUTHBEARER")
        .unwrap()
        .set("sasl.jaas.config", jaas)
        .unwrap()
        .build()
        .unwrap();
    deliver(&producer, 0, "v").unwrap();
}

/// A token server, and what connects to the cluster with its tokens.
#[cfg(feature = "sasl-oidc")]
fn with_token_server(cluster: &MockCluster, port: u16) -> Builder {
    let url = format!("http://127.0.0.1:{port}/token");
    let settings = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "OAUTHBEARER"),
        (
            "sasl.login.callback.handler.class",
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler",
        ),
        ("sasl.oauthbearer.token.endpoint.url", &url),
        ("sasl.oauthbearer.client.credentials.client.id", "my-client"),
        (
            "sasl.oauthbearer.client.credentials.client.secret",
            "my-secret",
        ),
        (
            "sasl.jaas.config",
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;",
        ),
        ("sasl.login.retry.backoff.max.ms", "60000"),
    ];
    with(builder(cluster), &settings)
}

/// Returns a port at which nothing listens.
#[cfg(feature = "sasl-oidc")]
fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Sends until the error of a timeout contains `text`.
#[cfg(feature = "sasl-oidc")]
#[track_caller]
fn timeout_with(producer: &Producer, text: &str) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        let refused = producer.send(record(0, "never")).unwrap_err();
        assert_eq!(refused.error().kind(), ErrorKind::MetadataTimeout);
        let shown = refused.to_string();
        if shown.contains(text) {
            return shown;
        }
        assert!(Instant::now() < end, "{text}: {shown}");
    }
}

#[cfg(feature = "sasl-oidc")]
#[test]
fn a_timeout_blames_the_token_server_that_is_down_and_not_the_broker_that_waits() {
    let cluster = cluster(None);
    let builder = with_token_server(&cluster, closed_port()).max_block(Duration::from_millis(500));
    // The connection still waits for the token when the call times out.
    let producer = with(builder, &[("socket.connection.setup.timeout.ms", "60000")]);
    let shown = timeout_with(&producer.build().unwrap(), "Connection refused");
    assert!(
        shown.contains("no token for OAUTHBEARER from sasl.oauthbearer.token.endpoint.url: cannot connect to http://"),
        "{shown}"
    );
    assert!(!shown.contains("has not answered yet"), "{shown}");
    assert!(!shown.contains("check bootstrap.servers"), "{shown}");
    assert!(
        shown.ends_with("check the URL, and that the server can be reached from here"),
        "{shown}"
    );
}

#[cfg(feature = "sasl-oidc")]
#[test]
fn a_connection_without_a_token_in_time_tells_what_the_token_server_did() {
    let cluster = cluster(None);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    for (port, reason) in [
        (closed_port(), "Connection refused"),
        (silent_port, "has not answered yet"),
    ] {
        let builder = with_token_server(&cluster, port).max_block(Duration::from_millis(900));
        let limits = [
            ("socket.connection.setup.timeout.ms", "300"),
            ("socket.connection.setup.timeout.max.ms", "300"),
        ];
        let producer = with(builder, &limits).build().unwrap();
        let shown = timeout_with(&producer, "gave none in time");
        assert!(shown.contains(reason), "{shown}");
        assert!(
            shown.contains(&format!("http://127.0.0.1:{port}/token")),
            "{shown}"
        );
        let began = Instant::now();
        let _ = producer.close(Duration::from_millis(100));
        assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    }
}

#[cfg(feature = "sasl-oidc")]
#[test]
fn a_token_server_that_never_answers_holds_up_neither_send_nor_close() {
    use std::io::Read as _;

    let cluster = cluster(None);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    // Reads until the client closes.
    let server = std::thread::spawn(move || {
        let mut socket = listener.accept().unwrap().0;
        socket.read_to_end(&mut Vec::new())
    });
    let handler = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler";
    let jaas = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
                clientId=\"me\" clientSecret=\"mine\";";
    let settings = [
        ("sasl.mechanism", "OAUTHBEARER"),
        ("sasl.login.callback.handler.class", handler),
        ("sasl.oauthbearer.token.endpoint.url", &url),
        ("sasl.jaas.config", jaas),
        ("sasl.login.read.timeout.ms", "600000"),
        ("max.block.ms", "300"),
    ];
    let builder = builder(&cluster).security_protocol(SecurityProtocol::SaslPlaintext);
    let builder = settings.iter().fold(builder, |builder, (name, value)| {
        builder.set(name, value).unwrap()
    });
    let producer = builder.build().unwrap();
    let began = Instant::now();
    assert!(producer.send(record(0, "v")).is_err());
    let _ = producer.close(10 * PATIENCE);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    // The close has ended the request, too.
    let _ = server.join().unwrap();
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}
