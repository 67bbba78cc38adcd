//! Real Kafka clusters on 127.0.0.1, each of which ends with the test that started it.
//!
//! Methods panic if the test cannot continue. Only starting a cluster returns an error.

mod acls;
mod admin;
mod broker;
mod consume;
mod dump;
mod install;
mod ports;
mod properties;
mod proxy;
mod secure;
mod start;
mod tools;
mod topics;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use broker::{Broker, PORT_TAKEN};
use secure::Security;
use start::START_TIMEOUT;

pub(crate) use super::process::{Process, Signal, poll};
pub(crate) use acls::{Acl, AclResource, Operation};
pub(crate) use admin::{ClusterView, PartitionView, Replicas, TopicView};
pub(crate) use consume::{ConsumedRecord, TimestampType};
pub(crate) use dump::{DumpedBatch, DumpedRecord};
pub(crate) use install::{Install, KafkaVersion};
pub(crate) use ports::free_ports;
pub(crate) use proxy::{Proxy, Way, Weather};
pub(crate) use secure::{Listener, Mechanism, USERS, jaas, password};

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct ClusterOptions {
    version: KafkaVersion,
    brokers: usize,
    is_proxied: bool,
    listeners: Vec<Listener>,
    updates_keys: bool,
    properties: Vec<(String, String)>,
}

impl ClusterOptions {
    /// One broker with auto-creation of topics off.
    pub(crate) fn new(version: KafkaVersion) -> ClusterOptions {
        ClusterOptions {
            version,
            brokers: 1,
            is_proxied: false,
            listeners: Vec::new(),
            updates_keys: false,
            properties: Vec::new(),
        }
    }

    /// The number of brokers, with ids from 1 on. With ZooKeeper there is one.
    pub(crate) fn brokers(mut self, count: usize) -> ClusterOptions {
        assert!(
            count == 1 || !self.version.needs_zookeeper(),
            "one broker with ZooKeeper"
        );
        self.brokers = count;
        self
    }

    /// Clients reach each broker only through a proxy of its own; brokers reach each other directly.
    pub(crate) fn behind_proxies(mut self) -> ClusterOptions {
        assert!(
            !self.version.needs_zookeeper(),
            "listeners for proxies are set up with KRaft only"
        );
        self.is_proxied = true;
        self
    }

    pub(crate) fn version(&self) -> KafkaVersion {
        self.version
    }

    /// A property of every broker.
    pub(crate) fn property(mut self, name: &str, value: &str) -> ClusterOptions {
        self.properties.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// The id of a cluster that was not [wiped](KafkaCluster::wipe).
pub(crate) const CLUSTER_ID: &str = "kafka-producer-tests00";

/// A running cluster. Dropping it ends its processes at once and removes its folder, unless a test failed.
pub(crate) struct KafkaCluster {
    // Dropped in this order: a broker that loses its ZooKeeper first waits for it.
    brokers: Vec<Broker>,
    /// With its port.
    zookeeper: Option<(Process, u16)>,
    security: Option<Security>,
    install: Install,
    tools: Install,
    folder: PathBuf,
    keep_folder: AtomicBool,
}

impl KafkaCluster {
    /// Starts a cluster and waits until each broker knows all of them.
    pub(crate) fn start(options: &ClusterOptions) -> Result<KafkaCluster, String> {
        let install = Install::find(options.version)?;
        let tools = Install::find(KafkaVersion::V4_3_1)?;
        // Another process may take a port between our check and the broker's bind.
        for _ in 0..4 {
            match Self::start_on_fresh_ports(options, &install, &tools) {
                Err(error) if error.contains(PORT_TAKEN) => {}
                result => return result,
            }
        }
        Self::start_on_fresh_ports(options, &install, &tools)
    }

    /// `host:port` of each broker, with commas between.
    pub(crate) fn bootstrap_servers(&self) -> String {
        let addresses: Vec<_> = self
            .brokers
            .iter()
            .map(|broker| format!("127.0.0.1:{}", broker.client_port()))
            .collect();
        addresses.join(",")
    }

    pub(crate) fn version(&self) -> KafkaVersion {
        self.install.version
    }

    pub(crate) fn broker_ids(&self) -> Vec<i32> {
        self.brokers.iter().map(|broker| broker.id).collect()
    }

    /// `127.0.0.1:port` of one broker.
    pub(crate) fn address(&self, broker: i32) -> String {
        format!("127.0.0.1:{}", self.broker(broker).client_port())
    }

    /// The proxy in front of a broker of a cluster that was started behind proxies.
    pub(crate) fn proxy(&self, broker: i32) -> &Proxy {
        let (_, proxy) = self.broker(broker).proxy.as_ref().expect("a proxy");
        proxy
    }

    /// All proxies in front of a broker: that of [`proxy`](Self::proxy) and those of its secure listeners.
    pub(crate) fn proxies(&self, broker: i32) -> impl Iterator<Item = &Proxy> {
        let listeners = self.broker(broker).listeners.iter();
        let secure = listeners.filter_map(|listener| listener.proxy.as_ref());
        let secure = secure.map(|(_, proxy)| proxy);
        std::iter::once(self.proxy(broker)).chain(secure)
    }

    /// A folder for a test's own files; it goes with the cluster's.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The number of lines in a broker's log that contain a text.
    pub(crate) fn log_lines(&self, broker: i32, text: &str) -> usize {
        let log = fs::read_to_string(self.broker(broker).log_file()).expect("a broker's log");
        log.lines().filter(|line| line.contains(text)).count()
    }

    /// Keeps the log files and data when the cluster ends, to examine a failed test.
    pub(crate) fn keep_folder(&self) {
        if !self.keep_folder.swap(true, Ordering::Relaxed) {
            eprintln!(
                "the cluster's logs and data are kept in {}",
                self.folder.display()
            );
        }
    }

    /// Ends a broker with SIGKILL, as a crash does.
    pub(crate) fn kill(&self, broker: i32) {
        let broker = self.broker(broker);
        *broker.process() = None;
        broker.paused.store(false, Ordering::Relaxed);
    }

    /// Ends a broker with SIGTERM: it hands its leaderships over first. Waits until it is gone.
    pub(crate) fn stop(&self, broker: i32) {
        let broker = self.broker(broker);
        let process = broker.process().take().expect("a running broker");
        process.signal(Signal::Terminate);
        let gone = process.wait(Duration::from_secs(60));
        assert!(
            gone.is_some(),
            "broker {} still runs a minute after SIGTERM",
            broker.id
        );
    }

    /// Freezes a broker with SIGSTOP: its sockets stay open, without answers.
    pub(crate) fn pause(&self, broker: i32) {
        let broker = self.broker(broker);
        broker
            .process()
            .as_ref()
            .expect("a running broker")
            .signal(Signal::Stop);
        broker.paused.store(true, Ordering::Relaxed);
    }

    pub(crate) fn resume(&self, broker: i32) {
        let broker = self.broker(broker);
        broker
            .process()
            .as_ref()
            .expect("a running broker")
            .signal(Signal::Continue);
        broker.paused.store(false, Ordering::Relaxed);
    }

    /// Starts a broker that was killed or stopped, with its port and folder, and waits until it is in the cluster.
    pub(crate) fn restart(&self, broker: i32) {
        let broker = self.broker(broker);
        let ready = poll(START_TIMEOUT, || {
            let mut process = broker.process();
            if process
                .as_ref()
                .is_none_or(|process| process.exit_status().is_some())
            {
                // With ZooKeeper a broker ends again while the entry of its previous process has not timed out.
                *process = Some(broker.spawn(&self.install).expect("start a broker"));
            }
            drop(process);
            let view = admin::metadata(broker.port(), Some(&[])).ok()?;
            view.brokers.contains(&broker.id).then_some(())
        });
        assert!(
            ready.is_some(),
            "broker {} is not back after {START_TIMEOUT:?}: {}",
            broker.id,
            broker.log_tail()
        );
    }

    /// Stops a broker and starts it again on a new port. Not for clusters behind proxies.
    pub(crate) fn move_to_another_port(&self, id: i32) {
        self.stop(id);
        let broker = self.broker(id);
        let (old, new) = (broker.port(), free_ports(1)[0]);
        let file = broker.properties_file();
        let properties = fs::read_to_string(&file).expect("a broker's properties");
        let [old_address, new_address] = [old, new].map(|port| format!("127.0.0.1:{port}"));
        let moved = properties.replace(&old_address, &new_address);
        fs::write(&file, moved).expect("write a broker's properties");
        broker.port.store(new, Ordering::Relaxed);
        self.restart(id);
    }

    /// Limits what clients of that name may produce to each broker a second.
    pub(crate) fn limit_producer(&self, client_id: &str, bytes_per_second: u32) {
        let servers = self.bootstrap_servers();
        let quota = format!("producer_byte_rate={bytes_per_second}");
        let arguments = [
            ["--bootstrap-server", &servers],
            ["--entity-type", "clients"],
            ["--entity-name", client_id],
            ["--add-config", &quota],
        ];
        let arguments: Vec<&str> = ["--alter"]
            .into_iter()
            .chain(arguments.into_iter().flatten())
            .collect();
        self.run_tool("kafka.admin.ConfigCommand", &arguments, b"");
    }

    /// Sets configs of all brokers, which may use the old ones for some more milliseconds.
    pub(crate) fn alter_broker_configs(&self, configs: &[(&str, &str)]) {
        self.ask(|port| admin::alter_configs(port, admin::Resource::Broker, "", configs));
    }

    /// The number of open connections to the broker's port.
    pub(crate) fn connections(&self, broker: i32) -> usize {
        connections_to(self.broker(broker).client_port())
    }

    /// Asks the running brokers one after the other until one answers.
    fn ask<T>(&self, request: impl Fn(u16) -> io::Result<T>) -> T {
        let mut last_error = None;
        let answer = poll(Duration::from_secs(30), || {
            self.running().find_map(|broker| {
                request(broker.port())
                    .map_err(|error| last_error = Some(error))
                    .ok()
            })
        });
        answer.unwrap_or_else(|| panic!("no broker does it: {last_error:?}"))
    }

    /// Waits until every running broker's view of the cluster satisfies `condition`.
    fn wait_for(&self, what: &str, condition: impl Fn(&ClusterView) -> bool) {
        let done = poll(Duration::from_secs(90), || {
            self.all_see(&condition).then_some(())
        });
        assert!(done.is_some(), "timed out waiting until {what}");
    }

    /// Whether every running broker's view of the cluster satisfies `condition`.
    fn all_see(&self, condition: impl Fn(&ClusterView) -> bool) -> bool {
        self.running()
            .all(|broker| admin::metadata(broker.port(), None).is_ok_and(|view| condition(&view)))
    }

    fn running(&self) -> impl Iterator<Item = &Broker> {
        self.brokers
            .iter()
            .filter(|broker| broker.process().is_some() && !broker.paused.load(Ordering::Relaxed))
    }

    fn broker(&self, id: i32) -> &Broker {
        self.brokers
            .iter()
            .find(|broker| broker.id == id)
            .expect("a broker of this cluster")
    }
}

/// The number of open connections to a port of this machine.
fn connections_to(port: u16) -> usize {
    const ESTABLISHED: &str = "01";
    let port = format!(":{port:04X}");
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(std::fs::read_to_string);
    let lines = tables.iter().flatten().flat_map(|table| table.lines());
    let mut fields = lines.map(|line| line.split_whitespace().skip(1));
    let is_connection = |fields: &mut dyn Iterator<Item = &str>| {
        let is_here = fields.next().is_some_and(|local| local.ends_with(&port));
        is_here && fields.nth(1) == Some(ESTABLISHED)
    };
    let mut count = 0;
    for mut fields in &mut fields {
        count += usize::from(is_connection(&mut fields));
    }
    count
}

impl Drop for KafkaCluster {
    fn drop(&mut self) {
        if thread::panicking() {
            self.keep_folder();
        }
        self.brokers.clear();
        self.zookeeper = None;
        self.security = None;
        if !self.keep_folder.load(Ordering::Relaxed) {
            // A folder that cannot be removed stays in the build folder.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}
