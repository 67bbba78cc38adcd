//! The client against servers that are right, wrong or hostile.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

use super::*;
use crate::sync::channel;

/// Serves one connection.
fn serve(script: impl FnOnce(TcpStream) + Send + 'static) -> (u16, JoinHandle<()>) {
    test_server::start(|listener| script(listener.accept().unwrap().0))
}

fn read_request(socket: &TcpStream) -> String {
    test_server::read_request(socket).expect("a request")
}

fn client(read: Duration) -> Client {
    let connect = Duration::from_secs(10);
    Client::new(None, Times { connect, read }, &Arc::default())
}

fn post(port: u16) -> Request {
    let url = Url::parse(&format!("http://localhost:{port}/token?q=hidden-query")).unwrap();
    Request::post(url, "secret=hidden-body".into()).header("Authorization", "hidden-header")
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// Makes a request to a server that answers with these bytes and closes.
fn answered(bytes: impl AsRef<[u8]> + Send + 'static) -> Result<Response, Error> {
    let (port, server) = serve(move |mut socket| {
        read_request(&socket);
        // A client that has seen enough closes.
        let _ = socket.write_all(bytes.as_ref());
    });
    let result = client(Duration::from_secs(10)).send(&post(port), soon());
    server.join().unwrap();
    result
}

fn shown(error: &Error) -> String {
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("hidden"), "{shown}");
    shown
}

#[test]
fn a_request_has_its_headers_and_its_body_and_the_answer_comes_back_whatever_its_status() {
    for status in [200, 201, 304, 400, 401, 503] {
        let body = if status == 304 { "" } else { "{}" };
        let (port, server) = serve(move |mut socket| {
            let request = read_request(&socket);
            let port = socket.local_addr().unwrap().port();
            assert_eq!(
                request,
                format!(
                    "POST /token?q=hidden-query HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: {USER_AGENT}\r\n\
                     Accept-Encoding: identity\r\nConnection: close\r\nContent-Length: 18\r\n\
                     Authorization: hidden-header\r\n\r\nsecret=hidden-body"
                )
            );
            write!(
                socket,
                "HTTP/1.1 {status} X\r\nContent-Type: a/b\r\n\r\n{body}"
            )
            .unwrap();
        });
        let response = client(Duration::from_secs(10))
            .send(&post(port), soon())
            .unwrap();
        assert_eq!(
            (response.status(), response.body()),
            (status, body.as_bytes())
        );
        assert_eq!(response.header("content-type"), Some("a/b"));
        server.join().unwrap();
    }
}

#[test]
fn a_get_has_no_body_and_a_put_an_empty_one() {
    for (request, last) in [
        (
            Request::get as fn(Url) -> Request,
            "Connection: close\r\n\r\n",
        ),
        (Request::put, "Content-Length: 0\r\n\r\n"),
    ] {
        let (port, server) = serve(move |mut socket| {
            let request = read_request(&socket);
            assert!(request.ends_with(last), "{request}");
            write!(socket, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        });
        let url = Url::parse(&format!("http://127.0.0.1:{port}")).unwrap();
        let response = client(Duration::from_secs(10)).send(&request(url), soon());
        assert_eq!(response.unwrap().status(), 200);
        server.join().unwrap();
    }
}

#[test]
fn a_redirect_is_named_and_not_followed() {
    let answer = "HTTP/1.1 302 Found\r\nLocation: https://other.test/login?code=hidden\r\nContent-Length: 0\r\n\r\n";
    let error = answered(answer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    let text = shown(&error);
    let expected = "/token redirects to https://other.test/login (status 302), and a redirect is not followed; set the URL";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn answers_that_are_not_usable_have_their_own_sentences() {
    let ok = "HTTP/1.1 200 OK\r\n";
    for (answer, kind, sentence) in [
        (
            String::new(),
            ErrorKind::Network,
            "closed the connection before the end of its answer",
        ),
        (
            format!("{ok}Content-Length: 9\r\n\r\nx"),
            ErrorKind::Network,
            "closed the connection before the end",
        ),
        (
            "SSH-2.0-OpenSSH\r\n".into(),
            ErrorKind::Authentication,
            "is not HTTP",
        ),
        (
            "\u{15}\u{3}\u{3}\0\u{2}".into(),
            ErrorKind::Authentication,
            "speaks TLS; begin the URL with https://",
        ),
        (
            format!("{ok}x\r\n\r\n"),
            ErrorKind::Authentication,
            "not legal HTTP: a line of its head is wrong",
        ),
        (
            format!("{ok}{}", "X: y\r\n".repeat(99_999)),
            ErrorKind::Authentication,
            "a head of more than 65536 bytes",
        ),
        (
            format!("{ok}\r\n{}", "x".repeat(2 << 20)),
            ErrorKind::Authentication,
            "has more than 1048576 bytes",
        ),
        (
            format!("{ok}Content-Encoding: gzip\r\n\r\nx"),
            ErrorKind::Authentication,
            "is compressed, although",
        ),
    ] {
        let error = answered(answer).unwrap_err();
        let text = shown(&error);
        assert!(text.contains(sentence), "{text}");
        assert_eq!(error.kind(), kind, "{text}");
        assert!(text.contains("http://localhost:"), "{text}");
    }
}

#[test]
fn an_endless_answer_ends_at_the_limit() {
    for (beginning, piece, sentence) in [
        ("HTTP/1.1 200 OK\r\n", "X: y\r\n", "a head of more"),
        ("HTTP/1.1 200 OK\r\nX: ", "yyyyyy", "a head of more"),
        ("", "HTTP/1.1 100 Continue\r\n\r\n", "a head of more"),
        ("HTTP/1.1 200 OK\r\n\r\n", "{\"a\":1}", "has more than"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "5\r\nabcde\r\n",
            "a head of more",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;",
            "xxxxxx",
            "a head of more",
        ),
    ] {
        let (port, server) = serve(move |mut socket| {
            read_request(&socket);
            let _ = socket.write_all(beginning.as_bytes());
            let many = piece.repeat(1000);
            while socket.write_all(many.as_bytes()).is_ok() {}
        });
        let error = client(Duration::from_secs(10))
            .send(&post(port), soon())
            .unwrap_err();
        let text = shown(&error);
        assert!(text.contains(sentence), "{beginning}: {text}");
        server.join().unwrap();
    }
}

/// Sends the beginning of an answer and then nothing, or bytes one by one, until the client closes.
fn stalls(beginning: &'static str, is_dripping: bool, each: Duration, total: Duration) -> Duration {
    let (port, server) = serve(move |mut socket| {
        if !beginning.is_empty() {
            socket.write_all(beginning.as_bytes()).unwrap();
        }
        if is_dripping {
            while socket.write_all(b"x").is_ok() {
                let _ = channel::after(Duration::from_millis(20)).recv();
            }
        } else {
            let _ = socket.read_to_end(&mut Vec::new());
        }
    });
    let started = Instant::now();
    let error = client(each).send(&post(port), started + total).unwrap_err();
    let took = started.elapsed();
    let text = shown(&error);
    assert!(
        text.contains("did not answer within 1 s"),
        "{beginning}: {text}"
    );
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(error.is_retriable());
    server.join().unwrap();
    took
}

#[test]
fn a_server_that_stalls_at_any_step_is_left_after_the_read_timeout() {
    let each = Duration::from_millis(50);
    for beginning in [
        "",
        "HT",
        "HTTP/1.1 200 OK\r\nX",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n{",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    ] {
        assert!(stalls(beginning, false, each, Duration::from_secs(60)) >= each);
    }
}

#[test]
fn a_server_that_sends_byte_by_byte_is_left_at_the_deadline() {
    let total = Duration::from_millis(200);
    for beginning in ["HTTP/1.1 200 OK\r\nX: ", "HTTP/1.1 200 OK\r\n\r\n"] {
        assert!(stalls(beginning, true, Duration::from_secs(60), total) >= total);
    }
    assert!(stalls("", false, Duration::from_secs(60), total) >= total);
}

#[test]
fn a_server_that_cannot_be_reached_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = client(Duration::from_secs(10))
        .send(&post(port), soon())
        .unwrap_err();
    let text = shown(&error);
    assert!(
        text.contains(&format!("cannot connect to http://localhost:{port}/token")),
        "{text}"
    );
    assert_eq!(error.kind(), ErrorKind::Network);

    let url = Url::parse("http://no-such-host.invalid/token").unwrap();
    let error = client(Duration::from_secs(10))
        .send(&Request::get(url), soon())
        .unwrap_err();
    let text = shown(&error);
    assert!(
        text.contains("cannot resolve the host of http://no-such-host.invalid/token"),
        "{text}"
    );
    assert_eq!(error.kind(), ErrorKind::Network);

    let error = client(Duration::from_secs(10))
        .send(&post(port), Instant::now())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
}

#[test]
fn a_header_that_would_end_its_line_is_refused_unseen() {
    let request = post(1).header("X-Token", "hidden\r\nHost: other");
    let error = client(Duration::from_secs(10))
        .send(&request, soon())
        .unwrap_err();
    let text = shown(&error);
    assert!(
        text.contains(
            "the header X-Token for the server at http://localhost:1/token has a character"
        ),
        "{text}"
    );
    assert_eq!(
        format!("{request:?}"),
        "Request(POST http://localhost:1/token)"
    );
}

#[test]
fn a_close_ends_the_request_under_way_and_refuses_others() {
    let (asked, is_asked) = channel::unbounded();
    let (port, server) = serve(move |mut socket| {
        read_request(&socket);
        asked.send(()).unwrap();
        // Never answers.
        let _ = socket.read_to_end(&mut Vec::new());
    });
    let requests = Arc::<Requests>::default();
    let minutes = Duration::from_secs(600);
    let times = Times {
        connect: minutes,
        read: minutes,
    };
    let client = Client::new(None, times, &requests);
    let far = Instant::now() + minutes;
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| client.send(&post(port), far).unwrap_err());
        is_asked.recv().unwrap();
        requests.close();
        let text = shown(&waiting.join().unwrap());
        assert!(
            text.contains("was given up: the producer is closed"),
            "{text}"
        );
    });
    server.join().unwrap();
    let text = shown(&client.send(&post(port), far).unwrap_err());
    assert!(text.contains("the producer is closed"), "{text}");
    assert!(!requests.pause_until(far));
}

#[test]
fn https_needs_tls() {
    let request = Request::get(Url::parse("https://127.0.0.1:1/").unwrap());
    let (port, server) = serve(drop);
    let request = Request {
        url: Url::parse(&format!("https://127.0.0.1:{port}/")).unwrap(),
        ..request
    };
    let error = client(Duration::from_secs(10))
        .send(&request, soon())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls);
    server.join().unwrap();
}

#[cfg(feature = "mock-tls")]
mod tls {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ServerConfig, ServerConnection, StreamOwned};

    use super::*;
    use crate::tls::settings::{Peer, TlsSettings, TrustSource};

    fn certificate(host: &str) -> CertifiedKey<KeyPair> {
        generate_simple_self_signed([host.to_owned()]).unwrap()
    }

    fn pem(der: &[u8]) -> String {
        let digits = STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE-----\n{digits}\n-----END CERTIFICATE-----\n")
    }

    fn server_config(certificate: &CertifiedKey<KeyPair>) -> Arc<ServerConfig> {
        let key = certificate.signing_key.serialize_der();
        let provider = Arc::new(crate::tls::provider::provider().unwrap());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.cert.der().clone()],
                PrivateKeyDer::Pkcs8(key.into()),
            );
        Arc::new(config.unwrap())
    }

    fn client_that_trusts(certificate: &CertifiedKey<KeyPair>, read: Duration) -> Client {
        let settings = TlsSettings {
            peer: Peer::TokenServer,
            trust: Some(TrustSource::inline(pem(certificate.cert.der()))),
            ..TlsSettings::default()
        };
        let tls = TlsClient::new(settings).unwrap();
        let connect = Duration::from_secs(10);
        Client::new(
            Some(Arc::new(tls)),
            Times { connect, read },
            &Arc::default(),
        )
    }

    fn get(port: u16) -> Request {
        let url = format!("https://localhost:{port}/x");
        Request::get(Url::parse(&url).unwrap())
    }

    #[test]
    fn an_answer_by_tls_ends_with_or_without_the_closing_message() {
        for says_goodbye in [true, false] {
            let certificate = certificate("localhost");
            let config = server_config(&certificate);
            let (port, server) = serve(move |socket| {
                let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), socket);
                let mut request = [0; 18];
                stream.read_exact(&mut request).unwrap();
                assert_eq!(&request, b"GET /x HTTP/1.1\r\nH");
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello").unwrap();
                if says_goodbye {
                    stream.conn.send_close_notify();
                }
                stream.flush().unwrap();
                stream.sock.shutdown(std::net::Shutdown::Write).unwrap();
                let _ = stream.sock.read_to_end(&mut Vec::new());
            });
            let client = client_that_trusts(&certificate, Duration::from_secs(10));
            let response = client.send(&get(port), soon()).unwrap();
            assert_eq!((response.status(), response.body()), (200, &b"hello"[..]));
            server.join().unwrap();
        }
    }

    #[test]
    fn a_server_that_is_not_trusted_gets_no_request() {
        for (host, sentence) in [
            ("localhost", "the token server's certificate"),
            (
                "other.test",
                "the token server's certificate is not for localhost: ",
            ),
        ] {
            let presented = certificate(host);
            let trusted = match host {
                "localhost" => certificate(host),
                _ => CertifiedKey {
                    cert: presented.cert.clone(),
                    signing_key: KeyPair::generate().unwrap(),
                },
            };
            let config = server_config(&presented);
            let (port, server) = serve(move |socket| {
                let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), socket);
                assert!(stream.read(&mut [0; 100]).is_err());
            });
            let client = client_that_trusts(&trusted, Duration::from_secs(10));
            let error = client.send(&get(port), soon()).unwrap_err();
            let text = shown(&error);
            assert_eq!(error.kind(), ErrorKind::Tls);
            assert!(text.contains(sentence), "{text}");
            assert!(
                text.contains("no TLS connection to https://localhost:"),
                "{text}"
            );
            assert!(!text.contains("broker"), "{text}");
            server.join().unwrap();
        }
    }

    #[test]
    fn a_server_without_tls_or_with_half_a_handshake_is_left() {
        let certificate = certificate("localhost");
        for (answer, sentence) in [
            (
                &b"HTTP/1.1 400 Bad\r\n\r\n"[..],
                "does not speak TLS; check the port, and whether the URL",
            ),
            (b"", "did not answer within 1 s"),
            (&[0x16, 3, 3, 0, 100, 2, 0], "did not answer within 1 s"),
        ] {
            let (port, server) = serve(move |mut socket| {
                socket.write_all(answer).unwrap();
                let _ = socket.read_to_end(&mut Vec::new());
            });
            let client = client_that_trusts(&certificate, Duration::from_millis(200));
            let text = shown(&client.send(&get(port), soon()).unwrap_err());
            assert!(text.contains(sentence), "{text}");
            server.join().unwrap();
        }
        let (port, server) = serve(|socket| {
            let _ = (&socket).read(&mut [0; 5000]);
        });
        let client = client_that_trusts(&certificate, Duration::from_secs(10));
        let error = client.send(&get(port), soon()).unwrap_err();
        let text = shown(&error);
        assert!(
            text.contains("closed the connection in the TLS handshake"),
            "{text}"
        );
        assert_eq!(error.kind(), ErrorKind::Network);
        server.join().unwrap();
    }
}
