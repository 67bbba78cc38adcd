//! The brokers that the jobs are run against.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::jobs::Job;
use crate::support::cpu::time_of;
use crate::support::null_broker::{Checks, NullBroker, Seen};

pub(crate) enum Kind {
    Null,
    Real,
    At(String),
}

impl Kind {
    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "null" => Self::Null,
            "real" => Self::Real,
            address => Self::At(address.to_owned()),
        }
    }
}

/// A broker for one job.
pub(crate) struct Broker {
    pub(crate) bootstrap: String,
    pub(crate) process: Option<u32>,
    /// The certificate of its authority, if it speaks TLS.
    pub(crate) tls_authority: Option<PathBuf>,
    null: Option<NullBroker>,
    _proxy: Option<Proxy>,
}

impl Broker {
    /// Returns the CPU time so far, if it can be measured.
    pub(crate) fn cpu_time(&self) -> Option<Duration> {
        self.process.and_then(time_of)
    }

    /// What it has counted, if it counts.
    pub(crate) fn seen(&mut self) -> Option<Seen> {
        self.null.as_mut().map(NullBroker::seen)
    }
}

pub(crate) struct Brokers {
    kind: Kind,
    programs: PathBuf,
    work: PathBuf,
    kafka: Option<Kafka>,
}

impl Brokers {
    pub(crate) fn new(
        kind: Kind,
        programs: &Path,
        work: &Path,
        libs: &Path,
    ) -> Result<Self, String> {
        let kafka = match kind {
            Kind::Real => Some(Kafka::start(work, libs)?),
            _ => None,
        };
        Ok(Self {
            kind,
            programs: programs.to_owned(),
            work: work.to_owned(),
            kafka,
        })
    }

    /// # Errors
    /// Says why `job` cannot be run against this kind of broker.
    pub(crate) fn broker_for(&self, job: &Job, topic: &str) -> Result<Broker, String> {
        if job.round_trip_ms > 0 && !matches!(self.kind, Kind::Null) {
            return Err("the link with a delay leads to the null broker only".into());
        }
        if job.tls && !matches!(self.kind, Kind::Null) {
            return Err("only the null broker speaks TLS".into());
        }
        match (&self.kind, &self.kafka) {
            (Kind::At(address), _) => Ok(Broker {
                bootstrap: address.clone(),
                process: None,
                tls_authority: None,
                null: None,
                _proxy: None,
            }),
            (_, Some(kafka)) => {
                kafka.create_topic(topic, job.partitions())?;
                Ok(Broker {
                    bootstrap: kafka.address.to_string(),
                    process: Some(kafka.process.id()),
                    tls_authority: None,
                    null: None,
                    _proxy: None,
                })
            }
            _ => Ok(self.null_broker(job, job.tls)),
        }
    }

    /// The broker without TLS for a job with TLS.
    pub(crate) fn broker_beside(&self, job: &Job) -> Option<Broker> {
        job.tls.then(|| self.null_broker(job, false))
    }

    fn null_broker(&self, job: &Job, tls: bool) -> Broker {
        let mut proxy = (job.round_trip_ms > 0)
            .then(|| Proxy::start(&self.programs.join("delay-proxy"), job.round_trip_ms));
        let advertised = proxy.as_ref().map(|proxy| proxy.address);
        let mut program = Command::new(self.programs.join("null-broker"));
        let folder = self.work.join("tls");
        if tls {
            program.env("RIVALS_TLS_FOLDER", &folder);
        }
        let null = NullBroker::start_program(program, 8, Checks::Count, advertised);
        if let Some(proxy) = &mut proxy {
            proxy.lead_to(null.address());
        }
        Broker {
            bootstrap: advertised.unwrap_or(null.address()).to_string(),
            process: Some(null.process_id()),
            tls_authority: tls.then(|| folder.join("ca.pem")),
            null: Some(null),
            _proxy: proxy,
        }
    }
}

struct Proxy {
    child: Child,
    address: SocketAddr,
}

impl Proxy {
    fn start(program: &Path, round_trip_ms: u32) -> Self {
        let mut child = Command::new(program)
            .arg(round_trip_ms.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the proxy starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("the proxy prints its address");
        let address = line.trim().parse().expect("an address");
        Self { child, address }
    }

    fn lead_to(&mut self, target: SocketAddr) {
        let input = self.child.stdin.as_mut().expect("piped");
        writeln!(input, "{target}").expect("the proxy runs");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// One real broker on an empty folder, with the virtual machine's default flags: its speed matters.
struct Kafka {
    process: Child,
    address: SocketAddr,
    libs: PathBuf,
    folder: PathBuf,
}

impl Kafka {
    fn start(work: &Path, libs: &Path) -> Result<Self, String> {
        let folder = work.join("kafka");
        let _ = std::fs::remove_dir_all(&folder);
        let text = |error: std::io::Error| format!("the real broker: {error}");
        std::fs::create_dir_all(&folder).map_err(text)?;
        let [address, controller] = [free_address()?, free_address()?];
        let properties = folder.join("server.properties");
        std::fs::write(&properties, server_properties(address, controller, &folder))
            .map_err(text)?;
        let properties = properties.display().to_string();
        let format = [
            "kafka.tools.StorageTool",
            "format",
            "-t",
            CLUSTER_ID,
            "-c",
            &properties,
        ];
        run_tool(libs, &format)?;
        let log = std::fs::File::create(folder.join("broker.log")).map_err(text)?;
        let process = java(libs)
            .args(["-Xmx1g", "kafka.Kafka", &properties])
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(text)?)
            .stderr(log)
            .spawn()
            .map_err(text)?;
        let kafka = Self {
            process,
            address,
            libs: libs.to_owned(),
            folder,
        };
        kafka.wait_until_it_listens()?;
        Ok(kafka)
    }

    fn wait_until_it_listens(&self) -> Result<(), String> {
        let started = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            if started.elapsed() > Duration::from_secs(60) {
                let log = self.folder.join("broker.log");
                return Err(format!(
                    "the real broker does not listen; see {}",
                    log.display()
                ));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    fn create_topic(&self, topic: &str, partitions: &str) -> Result<(), String> {
        let address = self.address.to_string();
        run_tool(
            &self.libs,
            &[
                "org.apache.kafka.tools.TopicCommand",
                "--bootstrap-server",
                &address,
                "--create",
                "--if-not-exists",
                "--topic",
                topic,
                "--partitions",
                partitions,
            ],
        )
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Any 22 characters of base 64.
const CLUSTER_ID: &str = "rivals-rivals-rivals-w";

fn java(libs: &Path) -> Command {
    let mut command = Command::new("java");
    command.arg("-cp").arg(libs.join("*"));
    command
}

fn run_tool(libs: &Path, arguments: &[&str]) -> Result<(), String> {
    let output = java(libs)
        .args(arguments)
        .output()
        .map_err(|error| format!("java: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {errors}", arguments[0]))
}

fn free_address() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0");
    listener
        .and_then(|listener| listener.local_addr())
        .map_err(|error| error.to_string())
}

/// Old records go soon: the jobs write gigabytes.
fn server_properties(address: SocketAddr, controller: SocketAddr, folder: &Path) -> String {
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{controller}
listeners=PLAINTEXT://{address},CONTROLLER://{controller}
advertised.listeners=PLAINTEXT://{address}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
message.max.bytes=2097152
log.segment.bytes=134217728
log.retention.bytes=134217728
log.retention.check.interval.ms=2000
log.segment.delete.delay.ms=1000
",
        folder.join("data").display()
    )
}
