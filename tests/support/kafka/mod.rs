//! Real Kafka clusters on 127.0.0.1 that live and die with the test that started them.
//!
//! Methods panic where a test could not go on anyway; only starting a cluster answers with an error.

mod admin;
mod consume;
mod dump;
mod install;
mod ports;
mod properties;
mod proxy;
mod tools;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use properties::{Coordination, Place, WayIn};

pub(crate) use super::process::{Process, Signal, poll};
pub(crate) use admin::{ClusterView, PartitionView, Replicas, TopicView};
pub(crate) use consume::{ConsumedRecord, TimestampType};
pub(crate) use dump::{DumpedBatch, DumpedRecord};
pub(crate) use install::{Install, KafkaVersion};
pub(crate) use ports::free_ports;
pub(crate) use proxy::{Proxy, Way, Weather};

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct ClusterOptions {
    version: KafkaVersion,
    brokers: usize,
    is_proxied: bool,
    properties: Vec<(String, String)>,
}

impl ClusterOptions {
    /// One broker with auto-creation of topics off.
    pub(crate) fn new(version: KafkaVersion) -> ClusterOptions {
        ClusterOptions {
            version,
            brokers: 1,
            is_proxied: false,
            properties: Vec::new(),
        }
    }

    /// So many brokers, with ids from 1 on. With ZooKeeper there is one.
    pub(crate) fn brokers(mut self, count: usize) -> ClusterOptions {
        assert!(
            count == 1 || !self.version.needs_zookeeper(),
            "one broker with ZooKeeper"
        );
        self.brokers = count;
        self
    }

    /// Clients reach each broker through a proxy of its own, and only so; brokers reach each other directly.
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
    zookeeper: Option<Process>,
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
        // Somebody else may take a port between our look at it and the broker's bind.
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

    /// A folder for a test's own files; it goes with the cluster's.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Leaves the log files and data where they are when the cluster ends, for whoever looks into a failed test.
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

    /// Freezes a broker with SIGSTOP: its sockets stay open and nobody answers.
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

    /// Starts a broker that was killed or stopped, on its port and folder, and waits until it is one of the cluster.
    pub(crate) fn restart(&self, broker: i32) {
        let broker = self.broker(broker);
        let ready = poll(START_TIMEOUT, || {
            let mut process = broker.process();
            if process
                .as_ref()
                .is_none_or(|process| process.exit_status().is_some())
            {
                // With ZooKeeper a broker ends again as long as the entry of its former life has not timed out.
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

    /// Stops a broker and starts it again where nobody has known it so far. Not for clusters behind proxies.
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

    /// Holds what clients of that name produce to so many bytes a second, by each broker.
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

    /// Creates a topic and waits until every running broker knows its leaders.
    pub(crate) fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        replication: i16,
        configs: &[(&str, &str)],
    ) {
        self.create_topic_on(
            name,
            &Replicas::Anywhere {
                partitions,
                replication,
            },
            configs,
        );
    }

    /// Creates a topic with its replicas where the test wants them.
    pub(crate) fn create_topic_on(
        &self,
        name: &str,
        replicas: &Replicas,
        configs: &[(&str, &str)],
    ) {
        self.ask(|port| admin::create_topic(port, name, replicas, configs));
        let partitions = match replicas {
            Replicas::Anywhere { partitions, .. } => *partitions as usize,
            Replicas::On(assignments) => assignments.len(),
        };
        self.wait_for(&format!("topic {name} is everywhere"), |view| {
            has_leaders(view, name, partitions)
        });
    }

    /// Deletes a topic and waits until no running broker knows it.
    pub(crate) fn delete_topic(&self, name: &str) {
        self.ask(|port| admin::delete_topic(port, name));
        self.wait_for(&format!("topic {name} is gone"), |view| {
            view.topics.iter().all(|topic| topic.name != name)
        });
    }

    /// Raises the number of partitions to `count` and waits until every running broker knows their leaders.
    pub(crate) fn add_partitions(&self, name: &str, count: i32) {
        self.ask(|port| admin::add_partitions(port, name, count));
        self.wait_for(&format!("{count} partitions of {name}"), |view| {
            has_leaders(view, name, count as usize)
        });
    }

    /// Sets configs of a topic. A broker may go by the old ones for some milliseconds more.
    pub(crate) fn alter_topic_configs(&self, name: &str, configs: &[(&str, &str)]) {
        self.ask(|port| admin::alter_configs(port, admin::Resource::Topic, name, configs));
    }

    /// Sets configs of all brokers. They may go by the old ones for some milliseconds more.
    pub(crate) fn alter_broker_configs(&self, configs: &[(&str, &str)]) {
        self.ask(|port| admin::alter_configs(port, admin::Resource::Broker, "", configs));
    }

    /// How many connections to the broker's port stand.
    pub(crate) fn connections(&self, broker: i32) -> usize {
        const ESTABLISHED: &str = "01";
        let port = format!(":{:04X}", self.broker(broker).client_port());
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

    /// Makes `leader`, one of the replicas, lead the partition, without ending any broker.
    pub(crate) fn move_leader(&self, topic: &str, partition: i32, leader: i32) {
        let mut replicas = self.partition(topic, partition).replicas;
        let position = replicas.iter().position(|id| *id == leader);
        replicas.swap(0, position.expect("the new leader is a replica"));
        self.ask(|port| admin::reassign(port, topic, partition, &replicas));
        self.wait_for("the new order of replicas", |view| {
            find_partition(view, topic, partition).is_some_and(|found| found.replicas == replicas)
        });
        self.ask(|port| admin::elect_preferred_leader(port, topic, partition));
        self.wait_for("the new leader", |view| {
            find_partition(view, topic, partition).is_some_and(|found| found.leader == leader)
        });
    }

    /// Makes another replica of each partition of these topics lead, `by` places further in the order of replicas:
    /// partitions that lie on the same replicas keep having the same leader.
    pub(crate) fn rotate_leaders(&self, topics: &[&str], by: usize) {
        for topic in topics {
            for partition in self.partitions(topic) {
                let mut replicas = partition.replicas;
                let steps = by % replicas.len();
                replicas.rotate_left(steps);
                self.ask(|port| admin::reassign(port, topic, partition.index, &replicas));
            }
        }
        self.elect_preferred_leaders();
    }

    /// Lets each partition's first replica lead it where it can, and waits until all do.
    pub(crate) fn elect_preferred_leaders(&self) {
        self.ask(admin::elect_preferred_leaders);
        self.wait_for("the preferred leaders lead", |view| {
            let mut partitions = view.topics.iter().flat_map(|topic| &topic.partitions);
            partitions.all(|partition| partition.leader == partition.replicas[0])
        });
    }

    /// A topic's partitions as a running broker sees them; empty for one that does not exist.
    pub(crate) fn partitions(&self, topic: &str) -> Vec<PartitionView> {
        let view = self.ask(|port| admin::metadata(port, Some(&[topic])));
        view.topics
            .into_iter()
            .flat_map(|topic| topic.partitions)
            .collect()
    }

    pub(crate) fn leader(&self, topic: &str, partition: i32) -> i32 {
        self.partition(topic, partition).leader
    }

    /// The number of records ever appended to a partition, as its leader says.
    pub(crate) fn end_offset(&self, topic: &str, partition: i32) -> i64 {
        let answer = poll(Duration::from_secs(30), || {
            let leader = self
                .brokers
                .iter()
                .find(|broker| broker.id == self.leader(topic, partition))?;
            admin::end_offset(leader.port(), topic, partition).ok()
        });
        answer.unwrap_or_else(|| panic!("no end offset of {topic}-{partition}"))
    }

    /// Waits until every replica of every topic is in sync again: a second fault before that may make a partition
    /// unavailable, which is no fault of a client.
    pub(crate) fn wait_until_replicated(&self) {
        self.wait_for("all replicas are in sync", |view| {
            let partitions = || view.topics.iter().flat_map(|topic| &topic.partitions);
            view.brokers.len() == self.brokers.len()
                && partitions().all(|partition| {
                    partition.leader >= 0 && partition.isr.len() == partition.replicas.len()
                })
        });
    }

    fn start_on_fresh_ports(
        options: &ClusterOptions,
        install: &Install,
        tools: &Install,
    ) -> Result<KafkaCluster, String> {
        let folder =
            new_folder(options).map_err(|error| format!("no folder for a cluster: {error}"))?;
        let ports = free_ports(options.brokers * 4);
        let mut ports = ports.chunks(options.brokers);
        let mut next_ports = || ports.next().expect("ports for all brokers");
        let (broker_ports, controller_ports) = (next_ports(), next_ports());
        let (proxy_ports, inner_ports) = (next_ports(), next_ports());
        let controllers: Vec<(i32, u16)> = (1..).zip(controller_ports.iter().copied()).collect();
        let brokers = (1..)
            .zip(broker_ports)
            .map(|(id, port)| Broker::new(&folder, id, *port))
            .collect();
        let mut cluster = KafkaCluster {
            brokers,
            zookeeper: None,
            install: install.clone(),
            tools: tools.clone(),
            folder,
            keep_folder: AtomicBool::new(false),
        };
        let ways_in = proxy_ports.iter().zip(inner_ports);
        for (broker, (proxy, inner)) in cluster.brokers.iter_mut().zip(ways_in) {
            let way_in = match options.is_proxied {
                true => {
                    let started = Proxy::start(*proxy, broker.port())
                        .map_err(|error| format!("start a proxy: {PORT_TAKEN}: {error}"))?;
                    broker.proxy = Some((*proxy, started));
                    WayIn::Proxied {
                        proxy: *proxy,
                        brokers: *inner,
                    }
                }
                false => WayIn::Direct,
            };
            let coordination = match options.version.needs_zookeeper() {
                true => Coordination::Zookeeper(controller_ports[0]),
                false => Coordination::Kraft(&controllers),
            };
            let folder = &broker.folder;
            let place = Place {
                id: broker.id,
                port: broker.port(),
                way_in,
                folder,
                brokers: options.brokers,
                coordination,
            };
            fs::write(
                broker.properties_file(),
                properties::broker(&place, &options.properties),
            )
            .map_err(|error| format!("write a broker's properties: {error}"))?;
        }
        if options.version.needs_zookeeper() {
            cluster.zookeeper = Some(cluster.start_zookeeper(controller_ports[0])?);
        } else {
            cluster.format_storage(CLUSTER_ID)?;
        }
        cluster.start_brokers()?;
        Ok(cluster)
    }

    fn start_zookeeper(&self, port: u16) -> Result<Process, String> {
        let folder = self.folder.join("zookeeper");
        let spawn = || {
            fs::create_dir_all(folder.join("data"))?;
            fs::write(
                folder.join("zookeeper.properties"),
                properties::zookeeper(port, &folder),
            )?;
            let log = append_to(&folder.join("zookeeper.log"))?;
            let mut command = self.install.java(
                "org.apache.zookeeper.server.quorum.QuorumPeerMain",
                256,
                &folder,
            );
            command
                .arg("zookeeper.properties")
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log);
            Process::spawn(&mut command)
        };
        spawn().map_err(|error: io::Error| format!("start ZooKeeper: {error}"))
    }

    /// Ends all brokers, removes their data and starts them again on their ports, as a cluster of this id, of 22 characters.
    pub(crate) fn wipe(&self, cluster_id: &str) {
        for broker in &self.brokers {
            self.kill(broker.id);
            fs::remove_dir_all(broker.folder.join("data")).expect("remove a broker's data");
        }
        self.format_storage(cluster_id).expect("format anew");
        self.start_brokers().expect("start anew");
    }

    /// Formats all brokers' folders at the same time.
    fn format_storage(&self, cluster_id: &str) -> Result<(), String> {
        let format = |broker: &Broker| {
            let properties = broker.properties_file();
            let arguments = [
                "format",
                "-t",
                cluster_id,
                "-c",
                &properties.display().to_string(),
            ];
            let output = self
                .install
                .run("kafka.tools.StorageTool", &arguments, &broker.folder)?;
            if output.status.success() {
                Ok(())
            } else {
                Err(tools::describe("format a broker's folder", &output))
            }
        };
        thread::scope(|scope| {
            let formats: Vec<_> = self
                .brokers
                .iter()
                .map(|broker| scope.spawn(|| format(broker)))
                .collect();
            formats
                .into_iter()
                .try_for_each(|format| format.join().expect("no panic while formatting"))
        })
    }

    fn start_brokers(&self) -> Result<(), String> {
        for broker in &self.brokers {
            let process = broker
                .spawn(&self.install)
                .map_err(|error| format!("start a broker: {error}"))?;
            *broker.process() = Some(process);
        }
        let knows_all = |broker: &Broker| {
            admin::metadata(broker.port(), Some(&[]))
                .is_ok_and(|view| view.brokers.len() == self.brokers.len())
        };
        let up = poll(START_TIMEOUT, || {
            if let Some(dead) = self.brokers.iter().find(|broker| broker.has_exited()) {
                return Some(Err(dead.why_exited()));
            }
            self.brokers.iter().all(knows_all).then_some(Ok(()))
        });
        up.unwrap_or_else(|| {
            self.keep_folder();
            Err(format!(
                "no cluster after {START_TIMEOUT:?}: {}",
                self.brokers[0].log_tail()
            ))
        })
    }

    /// Asks running brokers in turn until one answers.
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
        let satisfied = |broker: &Broker| {
            admin::metadata(broker.port(), None).is_ok_and(|view| condition(&view))
        };
        let done = poll(Duration::from_secs(90), || {
            self.running().all(satisfied).then_some(())
        });
        assert!(done.is_some(), "waited in vain until {what}");
    }

    fn running(&self) -> impl Iterator<Item = &Broker> {
        self.brokers
            .iter()
            .filter(|broker| broker.process().is_some() && !broker.paused.load(Ordering::Relaxed))
    }

    fn partition(&self, topic: &str, partition: i32) -> PartitionView {
        let view = self.ask(|port| admin::metadata(port, Some(&[topic])));
        find_partition(&view, topic, partition)
            .unwrap_or_else(|| panic!("no partition {topic}-{partition}"))
            .clone()
    }

    fn broker(&self, id: i32) -> &Broker {
        self.brokers
            .iter()
            .find(|broker| broker.id == id)
            .expect("a broker of this cluster")
    }
}

impl Drop for KafkaCluster {
    fn drop(&mut self) {
        if thread::panicking() {
            self.keep_folder();
        }
        self.brokers.clear();
        self.zookeeper = None;
        if !self.keep_folder.load(Ordering::Relaxed) {
            // What is left over lies in the build folder.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

struct Broker {
    id: i32,
    port: AtomicU16,
    folder: PathBuf,
    /// Its port and itself.
    proxy: Option<(u16, Proxy)>,
    /// `None` while the broker is down.
    process: Mutex<Option<Process>>,
    paused: AtomicBool,
}

impl Broker {
    fn new(cluster_folder: &Path, id: i32, port: u16) -> Broker {
        let folder = cluster_folder.join(format!("broker-{id}"));
        fs::create_dir_all(&folder).expect("create a broker's folder");
        Broker {
            id,
            port: AtomicU16::new(port),
            folder,
            proxy: None,
            process: Mutex::new(None),
            paused: AtomicBool::new(false),
        }
    }

    fn port(&self) -> u16 {
        self.port.load(Ordering::Relaxed)
    }

    /// Where clients reach it.
    fn client_port(&self) -> u16 {
        self.proxy.as_ref().map_or(self.port(), |(port, _)| *port)
    }

    fn spawn(&self, install: &Install) -> io::Result<Process> {
        let log = append_to(&self.log_file())?;
        let mut command = install.java("kafka.Kafka", 512, &self.folder);
        command
            .arg(self.properties_file())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Process::spawn(&mut command)
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_exited(&self) -> bool {
        self.process()
            .as_ref()
            .is_some_and(|process| process.exit_status().is_some())
    }

    fn why_exited(&self) -> String {
        let log = fs::read_to_string(self.log_file()).unwrap_or_default();
        let taken = ["Address already in use", "BindException", "Failed to bind"]
            .iter()
            .any(|text| log.contains(text));
        let why = if taken { PORT_TAKEN } else { "exited" };
        format!("broker {}: {why}: {}", self.id, self.log_tail())
    }

    fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.log_file()).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    fn properties_file(&self) -> PathBuf {
        self.folder.join("server.properties")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("broker.log")
    }

    /// The folder that holds a partition's segments.
    fn partition_folder(&self, topic: &str, partition: i32) -> PathBuf {
        self.folder
            .join("data")
            .join(format!("{topic}-{partition}"))
    }
}

const START_TIMEOUT: Duration = Duration::from_secs(120);
const PORT_TAKEN: &str = "its port was taken";

fn has_leaders(view: &ClusterView, topic: &str, partitions: usize) -> bool {
    let topic = view.topics.iter().find(|candidate| candidate.name == topic);
    topic.is_some_and(|topic| {
        topic.partitions.len() == partitions
            && topic
                .partitions
                .iter()
                .all(|partition| partition.leader >= 0)
    })
}

fn find_partition<'a>(
    view: &'a ClusterView,
    topic: &str,
    partition: i32,
) -> Option<&'a PartitionView> {
    let topic = view
        .topics
        .iter()
        .find(|candidate| candidate.name == topic)?;
    topic
        .partitions
        .iter()
        .find(|candidate| candidate.index == partition)
}

fn new_folder(options: &ClusterOptions) -> io::Result<PathBuf> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!(
        "kafka-{}-{}-{number}",
        options.version.number(),
        std::process::id()
    );
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn append_to(file: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(file)
}
