//! How a cluster starts: its folder, ports and proxies, formatted storage, and the brokers' processes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use super::broker::{Broker, append_to};
use super::properties::{self, BrokerPosition, Coordination, Listeners};
use super::secure::Security;
use super::{
    CLUSTER_ID, ClusterOptions, Install, KafkaCluster, Process, admin, free_ports, poll, tools,
};

pub(super) const START_TIMEOUT: Duration = Duration::from_secs(120);

impl KafkaCluster {
    pub(super) fn start_on_fresh_ports(
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
            security: None,
            install: install.clone(),
            tools: tools.clone(),
            folder,
            keep_folder: AtomicBool::new(false),
        };
        let mut properties = cluster.add_listeners(options)?;
        properties.extend(options.properties.iter().cloned());
        let coordination = match options.version.needs_zookeeper() {
            true => Coordination::Zookeeper(controller_ports[0]),
            false => Coordination::Kraft(&controllers),
        };
        let client_ports = proxy_ports.iter().zip(inner_ports);
        for (broker, (proxy, inner)) in cluster.brokers.iter_mut().zip(client_ports) {
            let listeners = match options.is_proxied {
                true => broker.put_behind_proxy(*proxy, *inner)?,
                false => Listeners::Direct,
            };
            let position = BrokerPosition {
                id: broker.id,
                port: broker.port(),
                listeners,
                folder: &broker.folder,
                secure: &broker.listeners,
                brokers: options.brokers,
                coordination,
            };
            let properties = properties::broker(&position, &properties);
            fs::write(broker.properties_file(), properties)
                .map_err(|error| format!("write a broker's properties: {error}"))?;
        }
        cluster.start_processes(controller_ports[0])?;
        Ok(cluster)
    }

    /// Starts ZooKeeper on its port if the version needs it, then the brokers.
    fn start_processes(&mut self, zookeeper_port: u16) -> Result<(), String> {
        if !self.version().needs_zookeeper() {
            self.format_storage(CLUSTER_ID)?;
            return self.start_brokers();
        }
        self.zookeeper = Some((self.start_zookeeper(zookeeper_port)?, zookeeper_port));
        self.start_brokers()?;
        if self.security.is_some() {
            self.make_users();
        }
        Ok(())
    }

    /// Adds the secure listeners to every broker and returns their properties.
    fn add_listeners(&mut self, options: &ClusterOptions) -> Result<Vec<(String, String)>, String> {
        if options.listeners.is_empty() {
            return Ok(Vec::new());
        }
        let security = Security::prepare(&options.listeners, &self.folder, free_ports(1)[0])?;
        let mut jvm_options = security.jvm_options();
        if options.updates_keys {
            jvm_options.extend(super::secure::key_update_options(&self.folder)?);
        }
        for broker in &mut self.brokers {
            broker.jvm_options.clone_from(&jvm_options);
            for listener in &options.listeners {
                let port = free_ports(1)[0];
                let proxy = options.is_proxied.then(|| free_ports(1)[0]);
                broker.add_listener(*listener, port, proxy)?;
            }
        }
        let properties = security.broker_properties(options.version);
        self.security = Some(security);
        Ok(properties)
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

    /// Ends all brokers, removes their data and starts them again on their ports, as a cluster of this id, of 22
    /// characters.
    pub(crate) fn wipe(&self, cluster_id: &str) {
        for broker in &self.brokers {
            self.kill(broker.id);
            fs::remove_dir_all(broker.folder.join("data")).expect("remove a broker's data");
        }
        self.format_storage(cluster_id).expect("format again");
        self.start_brokers().expect("start again");
    }

    /// Formats all brokers' folders at the same time.
    fn format_storage(&self, cluster_id: &str) -> Result<(), String> {
        let security = self.security.as_ref();
        let users = security.map_or(Vec::new(), Security::format_arguments);
        let format = |broker: &Broker| {
            let properties = broker.properties_file();
            let properties = properties.display().to_string();
            let mut arguments = vec!["format", "-t", cluster_id, "-c", &properties];
            arguments.extend(users.iter().map(String::as_str));
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
