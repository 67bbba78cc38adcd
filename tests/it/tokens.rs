//! OAUTHBEARER with tokens of the user's own code.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use kafka_producer::mock::{MockApi, MockCluster, MockSasl, TokenVerdict};
use kafka_producer::{BearerToken, ErrorKind, SecurityProtocol, TokenProvider};

use crate::support::{
    Builder, Gate, PATIENCE, SOON, builder, deliver, get_all, numbers, record, send_numbers,
};

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
