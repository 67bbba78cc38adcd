//! The property files in the README connect to a cluster that has what each asks for.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kafka_producer::ProducerConfig;
use kafka_producer::mock::{ClientAuth, MockCluster, MockSasl, MockTls};

use crate::support::{Producer, deliver};

const TOKEN: &str = "e30.e30.c2ln";
const EVENT_HUBS: &str = "Endpoint=sb://my-namespace.servicebus.windows.net/;SharedAccessKeyName=send;SharedAccessKey=c2VjcmV0";

#[test]
fn each_property_file_in_the_readme_connects() {
    let readme = include_str!("../../README.md");
    let section = readme.split("## Secure clusters").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let blocks: Vec<_> = section
        .split("```properties\n")
        .skip(1)
        .filter_map(|block| block.split("```").next())
        .collect();
    assert_eq!(blocks.len(), 14);
    let mut delivered = 0;
    for (number, block) in blocks.iter().enumerate() {
        delivered += usize::from(connects(number, block));
    }
    // Others need a token server, a KDC or the region of a broker's name.
    assert_eq!(delivered, 11);
}

/// Makes a producer of a block, and delivers a record if a mock cluster can have what the block asks for.
fn connects(number: usize, block: &str) -> bool {
    let has = |part: &str| block.contains(part);
    let cluster = cluster(block);
    let folder = Folder::new(number);
    folder.fill(&cluster, block);
    let text = block
        .replace("/etc/", &format!("{}/", folder.0.display()))
        .replace("/var/run/", &format!("{}/", folder.0.display()));
    let mut config = ProducerConfig::from_properties(&text)
        .unwrap_or_else(|error| panic!("{block}: {error}"))
        .bootstrap_servers(cluster.bootstrap_servers())
        .max_block(Duration::from_secs(20));
    if has("SSL") && !has("ssl.truststore.location") {
        // The authority of the mock is no public one.
        config
            .set("ssl.truststore.certificates", &cluster.ca_pem())
            .unwrap();
    }
    let built = Producer::builder().config(config).build();
    if has("GSSAPI") {
        // The library or the keytab is missing.
        let error = built.map(drop).unwrap_err().to_string();
        let reasons = ["libgssapi_krb5", "cannot be read", "MIT's"];
        assert!(
            reasons.iter().any(|reason| error.contains(reason)),
            "{error}"
        );
        return false;
    }
    let producer = built.unwrap_or_else(|error| panic!("{block}: {error}"));
    if has("token.endpoint.url=https:") || has("AWS_MSK_IAM") {
        return false;
    }
    deliver(&producer, 0, "v").unwrap_or_else(|error| panic!("{block}: {error}"));
    true
}

fn cluster(block: &str) -> MockCluster {
    let mut builder = MockCluster::builder();
    if block.contains("SSL") {
        let client_auth = match block.contains("ssl.keystore.") {
            true => ClientAuth::Required,
            false => ClientAuth::None,
        };
        builder = builder.tls(MockTls::generated().client_auth(client_auth));
    }
    if block.contains("SASL") {
        let sasl = MockSasl::new()
            .plain("MYAPIKEY", "my/api+secret")
            .plain("$ConnectionString", EVENT_HUBS)
            .scram_sha_512("alice", "alice-secret")
            .oauthbearer_token("alice", TOKEN);
        builder = builder.sasl(sasl);
    }
    let cluster = builder.start().unwrap();
    cluster.create_topic("t", 1);
    cluster
}

/// The folder with the files that a block names.
struct Folder(PathBuf);

impl Folder {
    fn new(number: usize) -> Self {
        let name = format!("readme-{}-{number}", std::process::id());
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name))
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn fill(&self, cluster: &MockCluster, block: &str) {
        let module = "org.apache.kafka.common.security.scram.ScramLoginModule required";
        let jaas = format!("{module} username=\"alice\" password=\"alice-secret\";");
        self.write("my-user/sasl.jaas.config", &jaas);
        self.write("my-user/user.password", "changeit");
        self.write("secrets/tokens/kafka", TOKEN);
        if !block.contains("SSL") {
            return;
        }
        // The contents decide the format: the mock's certificates are PEM.
        for trust in [
            "kafka/truststore.jks",
            "kafka/truststore.p12",
            "kafka/ca.pem",
            "my-cluster-cluster-ca-cert/ca.crt",
        ] {
            self.write(trust, &cluster.ca_pem());
        }
        let client = cluster.client_certificate("alice").unwrap();
        self.write("kafka/service.key", client.private_key_pem());
        self.write("kafka/service.cert", client.certificate_pem());
        let pem = format!("{}\n{}", client.private_key_pem(), client.certificate_pem());
        for keys in ["kafka/client.p12", "my-user/user.p12"] {
            self.write(keys, &pem);
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed stays in the build folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}
