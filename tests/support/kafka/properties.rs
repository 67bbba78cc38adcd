//! The property files of brokers and of ZooKeeper.

use std::fmt::Write as _;
use std::path::Path;

use super::secure::ListenerPort;

/// The position of a broker in its cluster: its id, port, listeners and folder.
pub(crate) struct BrokerPosition<'a> {
    pub(crate) id: i32,
    pub(crate) port: u16,
    pub(crate) listeners: Listeners,
    pub(super) secure: &'a [ListenerPort],
    pub(crate) folder: &'a Path,
    pub(crate) brokers: usize,
    pub(crate) coordination: Coordination<'a>,
}

/// How clients and other brokers reach a broker.
#[derive(Clone, Copy)]
pub(crate) enum Listeners {
    /// All use the broker's own port.
    Direct,
    /// Clients use the port of a proxy, the other brokers a listener of their own.
    Proxied { proxy: u16, brokers: u16 },
}

/// The service that keeps the cluster's metadata.
#[derive(Clone, Copy)]
pub(crate) enum Coordination<'a> {
    /// Every broker is also a controller: id and controller port of each.
    Kraft(&'a [(i32, u16)]),
    /// The port of a ZooKeeper.
    Zookeeper(u16),
}

/// A broker's property file. `extra` comes last, so it overrides the others.
pub(crate) fn broker(broker: &BrokerPosition<'_>, extra: &[(String, String)]) -> String {
    let replication = broker.brokers.min(3);
    let mut lines = vec![
        (
            "log.dirs".to_owned(),
            broker.folder.join("data").display().to_string(),
        ),
        ("advertised.listeners".to_owned(), advertised(broker)),
        (
            "default.replication.factor".to_owned(),
            replication.to_string(),
        ),
        (
            "min.insync.replicas".to_owned(),
            replication.div_ceil(2).to_string(),
        ),
        (
            "offsets.topic.replication.factor".to_owned(),
            replication.to_string(),
        ),
        (
            "transaction.state.log.replication.factor".to_owned(),
            replication.to_string(),
        ),
        (
            "transaction.state.log.min.isr".to_owned(),
            replication.div_ceil(2).to_string(),
        ),
        // One partition for each of Kafka's own topics: fifty would cost every start and stop some seconds.
        ("offsets.topic.num.partitions".to_owned(), "1".to_owned()),
        (
            "transaction.state.log.num.partitions".to_owned(),
            "1".to_owned(),
        ),
        (
            "group.initial.rebalance.delay.ms".to_owned(),
            "0".to_owned(),
        ),
        ("auto.create.topics.enable".to_owned(), "false".to_owned()),
        ("num.network.threads".to_owned(), "2".to_owned()),
        ("num.io.threads".to_owned(), "4".to_owned()),
        // The cluster notices a dead or hung broker soon.
        ("replica.lag.time.max.ms".to_owned(), "5000".to_owned()),
    ];
    lines.extend(coordination(broker));
    lines.extend(extra.iter().cloned());
    to_text(&lines)
}

/// The property file of a single ZooKeeper.
pub(crate) fn zookeeper(port: u16, folder: &Path) -> String {
    to_text(&[
        (
            "dataDir".to_owned(),
            folder.join("data").display().to_string(),
        ),
        ("clientPort".to_owned(), port.to_string()),
        ("clientPortAddress".to_owned(), "127.0.0.1".to_owned()),
        ("admin.enableServer".to_owned(), "false".to_owned()),
        ("tickTime".to_owned(), "1000".to_owned()),
    ])
}

fn coordination(broker: &BrokerPosition<'_>) -> Vec<(String, String)> {
    let pairs: Vec<(&str, String)> = match broker.coordination {
        Coordination::Kraft(controllers) => {
            let own = controllers
                .iter()
                .find(|(id, _)| *id == broker.id)
                .expect("each broker is a controller")
                .1;
            let voters: Vec<_> = controllers
                .iter()
                .map(|(id, port)| format!("{id}@127.0.0.1:{port}"))
                .collect();
            vec![
                ("process.roles", "broker,controller".to_owned()),
                ("node.id", broker.id.to_string()),
                (
                    "listeners",
                    format!("{},CONTROLLER://127.0.0.1:{own}", listeners(broker)),
                ),
                ("controller.listener.names", "CONTROLLER".to_owned()),
                ("listener.security.protocol.map", protocols(broker)),
                (
                    "inter.broker.listener.name",
                    match broker.listeners {
                        Listeners::Direct => "PLAINTEXT".to_owned(),
                        Listeners::Proxied { .. } => "BROKERS".to_owned(),
                    },
                ),
                ("controller.quorum.voters", voters.join(",")),
                ("broker.session.timeout.ms", "6000".to_owned()),
            ]
        }
        Coordination::Zookeeper(port) => vec![
            ("broker.id", broker.id.to_string()),
            ("listeners", listeners(broker)),
            ("listener.security.protocol.map", protocols(broker)),
            ("inter.broker.listener.name", "PLAINTEXT".to_owned()),
            ("zookeeper.connect", format!("127.0.0.1:{port}")),
            ("zookeeper.connection.timeout.ms", "30000".to_owned()),
        ],
    };
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn listeners(broker: &BrokerPosition<'_>) -> String {
    let mut all = format!("PLAINTEXT://127.0.0.1:{}", broker.port);
    if let Listeners::Proxied { brokers, .. } = broker.listeners {
        write!(all, ",BROKERS://127.0.0.1:{brokers}").expect("write to a String");
    }
    for secure in broker.secure {
        let (name, port) = (secure.listener.name(), secure.port);
        write!(all, ",{name}://127.0.0.1:{port}").expect("write to a String");
    }
    all
}

fn protocols(broker: &BrokerPosition<'_>) -> String {
    let mut all = "PLAINTEXT:PLAINTEXT,BROKERS:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
    for secure in broker.secure {
        let (name, protocol) = (secure.listener.name(), secure.listener.protocol());
        write!(all, ",{name}:{protocol}").expect("write to a String");
    }
    all
}

fn advertised(broker: &BrokerPosition<'_>) -> String {
    let mut all = match broker.listeners {
        Listeners::Direct => format!("PLAINTEXT://127.0.0.1:{}", broker.port),
        Listeners::Proxied { proxy, brokers } => {
            format!("PLAINTEXT://127.0.0.1:{proxy},BROKERS://127.0.0.1:{brokers}")
        }
    };
    for secure in broker.secure {
        let (name, port) = (secure.listener.name(), secure.client_port());
        write!(all, ",{name}://localhost:{port}").expect("write to a String");
    }
    all
}

pub(super) fn to_text(lines: &[(String, String)]) -> String {
    let mut text = String::new();
    for (name, value) in lines {
        // Backslashes are the format's escape character.
        writeln!(text, "{name}={}", value.replace('\\', "\\\\")).expect("write to a String");
    }
    text
}
