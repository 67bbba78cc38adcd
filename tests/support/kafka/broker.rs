//! One broker of a cluster: its process, ports, folder and log.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::properties::Listeners;
use super::secure::{Listener, ListenerPort};
use super::{Install, Process, Proxy};

pub(super) const PORT_TAKEN: &str = "its port was taken";

pub(super) struct Broker {
    pub(super) id: i32,
    pub(super) port: AtomicU16,
    pub(super) folder: PathBuf,
    /// The proxy's port and the proxy.
    pub(super) proxy: Option<(u16, Proxy)>,
    /// `None` while the broker is down.
    pub(super) process: Mutex<Option<Process>>,
    pub(super) paused: AtomicBool,
    /// Besides the plaintext one.
    pub(super) listeners: Vec<ListenerPort>,
    pub(super) jvm_options: Vec<String>,
}

impl Broker {
    pub(super) fn new(cluster_folder: &Path, id: i32, port: u16) -> Broker {
        let folder = cluster_folder.join(format!("broker-{id}"));
        fs::create_dir_all(&folder).expect("create a broker's folder");
        Broker {
            id,
            port: AtomicU16::new(port),
            folder,
            proxy: None,
            process: Mutex::new(None),
            paused: AtomicBool::new(false),
            listeners: Vec::new(),
            jvm_options: Vec::new(),
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port.load(Ordering::Relaxed)
    }

    /// Starts a proxy on the port `proxy`, through which clients reach the broker. Other brokers use the port `inner`.
    pub(super) fn put_behind_proxy(&mut self, proxy: u16, inner: u16) -> Result<Listeners, String> {
        let started = Proxy::start(proxy, self.port())
            .map_err(|error| format!("start a proxy: {PORT_TAKEN}: {error}"))?;
        self.proxy = Some((proxy, started));
        Ok(Listeners::Proxied {
            proxy,
            brokers: inner,
        })
    }

    /// Adds a listener on the port `port`, and if `proxy` is a port, a proxy on it that clients use instead.
    pub(super) fn add_listener(
        &mut self,
        listener: Listener,
        port: u16,
        proxy: Option<u16>,
    ) -> Result<(), String> {
        let start = |proxy| match Proxy::start(proxy, port) {
            Ok(started) => Ok((proxy, started)),
            Err(error) => Err(format!("start a proxy: {PORT_TAKEN}: {error}")),
        };
        self.listeners.push(ListenerPort {
            listener,
            port,
            proxy: proxy.map(start).transpose()?,
        });
        Ok(())
    }

    /// The port that clients use.
    pub(super) fn client_port(&self) -> u16 {
        self.proxy.as_ref().map_or(self.port(), |(port, _)| *port)
    }

    pub(super) fn spawn(&self, install: &Install) -> io::Result<Process> {
        let log = append_to(&self.log_file())?;
        let mut command = install.java_with(&self.jvm_options, "kafka.Kafka", 512, &self.folder);
        command
            .arg(self.properties_file())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Process::spawn(&mut command)
    }

    pub(super) fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn has_exited(&self) -> bool {
        self.process()
            .as_ref()
            .is_some_and(|process| process.exit_status().is_some())
    }

    pub(super) fn why_exited(&self) -> String {
        let log = fs::read_to_string(self.log_file()).unwrap_or_default();
        let taken = ["Address already in use", "BindException", "Failed to bind"]
            .iter()
            .any(|text| log.contains(text));
        let why = if taken { PORT_TAKEN } else { "exited" };
        format!("broker {}: {why}: {}", self.id, self.log_tail())
    }

    pub(super) fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.log_file()).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    pub(super) fn properties_file(&self) -> PathBuf {
        self.folder.join("server.properties")
    }

    pub(super) fn log_file(&self) -> PathBuf {
        self.folder.join("broker.log")
    }

    /// The folder that holds a partition's segments.
    pub(super) fn partition_folder(&self, topic: &str, partition: i32) -> PathBuf {
        self.folder
            .join("data")
            .join(format!("{topic}-{partition}"))
    }
}

pub(super) fn append_to(file: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(file)
}
