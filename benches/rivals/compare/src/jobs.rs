//! What is compared. A job is a load; its options are those of drivers (`drive::Options`), where the defaults are.

/// Where a job's cost a record stands in a chart of growth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) axis: &'static str,
    pub(crate) x: f64,
}

#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) name: &'static str,
    pub(crate) group: &'static str,
    /// Part of `--quick`.
    pub(crate) quick: bool,
    pub(crate) options: Vec<(&'static str, String)>,
    pub(crate) points: Vec<Point>,
    pub(crate) round_trip_ms: u32,
    pub(crate) data: Data,
    /// Whether the broker speaks TLS. Beside it there is one without, for those that are measured in plaintext.
    pub(crate) tls: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    /// One letter, over and over.
    Letters,
    /// A thousand different values that compress as JSON does.
    Json,
}

/// Everything, in the order in which it is run.
pub(crate) fn all() -> Vec<Job> {
    let mut jobs = Vec::new();
    sizes(&mut jobs);
    partitions(&mut jobs);
    threads(&mut jobs);
    extras(&mut jobs);
    codecs(&mut jobs);
    paced(&mut jobs);
    latency(&mut jobs);
    delay(&mut jobs);
    memory(&mut jobs);
    tls(&mut jobs);
    jobs
}

impl Job {
    fn new(group: &'static str, name: &'static str, options: &[(&'static str, &str)]) -> Self {
        let own = |&(name, value): &(&'static str, &str)| (name, value.to_owned());
        Self {
            name,
            group,
            quick: false,
            options: options.iter().map(own).collect(),
            points: Vec::new(),
            round_trip_ms: 0,
            data: Data::Letters,
            tls: false,
        }
    }

    fn quick(mut self) -> Self {
        self.quick = true;
        self
    }

    fn at(mut self, axis: &'static str, x: f64) -> Self {
        self.points.push(Point { axis, x });
        self
    }

    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        let found = self.options.iter().find(|(option, _)| *option == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn record_bytes(&self) -> usize {
        let bytes = self.option("record-bytes").unwrap_or("100");
        bytes.parse().expect("a number")
    }

    pub(crate) fn partitions(&self) -> &str {
        self.option("partitions").unwrap_or("8")
    }

    /// Whether records are sent for some time, and their number is what comes out.
    pub(crate) fn is_timed(&self) -> bool {
        !matches!(self.option("mode"), Some("outage" | "burst"))
    }

    pub(crate) fn is_selected_by(&self, word: &str) -> bool {
        word == "all"
            || word == self.name
            || word == self.group
            || (word == "growth" && !self.points.is_empty())
    }
}

fn sizes(jobs: &mut Vec<Job>) {
    const AXIS: &str = "bytes a record";
    jobs.extend([
        Job::new("sizes", "bytes-100", &[])
            .quick()
            .at(AXIS, 100.0)
            .at("threads", 1.0),
        Job::new("sizes", "bytes-1k", &[("record-bytes", "1024")])
            .quick()
            .at(AXIS, 1024.0),
        Job::new("sizes", "bytes-10k", &[("record-bytes", "10240")]).at(AXIS, 10240.0),
        Job::new("sizes", "bytes-1m", &[("record-bytes", "1000000")]).at(AXIS, 1e6),
    ]);
}

/// `partitions-N` leaves the choice to the client, which fills one partition after the other; `spread-N` sends each record to
/// the next partition.
fn partitions(jobs: &mut Vec<Job>) {
    const AXIS: &str = "partitions, records spread";
    let spread = |name, count: &'static str| {
        let options = [("partitions", count), ("spread", "round-robin")];
        let x = count.parse().expect("a number");
        Job::new("partitions", name, &options).at(AXIS, x)
    };
    jobs.extend([
        Job::new("partitions", "partitions-1", &[("partitions", "1")]),
        Job::new("partitions", "partitions-1000", &[("partitions", "1000")]),
        Job::new("partitions", "partitions-10000", &[("partitions", "10000")]),
        spread("spread-1", "1"),
        spread("spread-8", "8"),
        spread("spread-100", "100"),
        spread("spread-1000", "1000"),
        spread("spread-10000", "10000"),
    ]);
}

fn threads(jobs: &mut Vec<Job>) {
    let threads = |name, count: &'static str| {
        let x = count.parse().expect("a number");
        Job::new("threads", name, &[("threads", count)]).at("threads", x)
    };
    jobs.extend([
        threads("threads-2", "2"),
        threads("threads-4", "4"),
        threads("threads-8", "8"),
        threads("threads-64", "64"),
    ]);
}

fn extras(jobs: &mut Vec<Job>) {
    let idempotent = [("acks", "all"), ("idempotence", "true")];
    jobs.extend([
        Job::new("acks", "acks-0", &[("acks", "0")]),
        Job::new("acks", "acks-all", &[("acks", "all")]),
        Job::new("acks", "idempotence", &idempotent).quick(),
        Job::new("extras", "keys", &[("keys", "10000")]),
        Job::new("extras", "headers", &[("headers", "3")]),
        Job::new("extras", "callbacks", &[("callbacks", "true")]),
    ]);
}

fn codecs(jobs: &mut Vec<Job>) {
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let mut job = Job::new(
            "codecs",
            codec,
            &[("codec", codec), ("record-bytes", "1024")],
        );
        job.quick = codec == "lz4";
        job.data = Data::Json;
        jobs.push(job);
    }
}

fn paced(jobs: &mut Vec<Job>) {
    let paced = |name, rate| Job::new("paced", name, &[("mode", "paced"), ("rate", rate)]);
    jobs.extend([
        paced("idle", "0"),
        paced("paced-1000", "1000"),
        paced("paced-50000", "50000").quick(),
        paced("paced-500000", "500000"),
    ]);
}

fn latency(jobs: &mut Vec<Job>) {
    let latency = |name, threads| {
        let options = [
            ("mode", "latency"),
            ("linger-ms", "0"),
            ("threads", threads),
            ("partitions", "1"),
        ];
        Job::new("latency", name, &options)
    };
    jobs.extend([
        latency("latency-1", "1").quick(),
        latency("latency-16", "16"),
    ]);
}

fn delay(jobs: &mut Vec<Job>) {
    let delay = |name, partitions| {
        let options = [
            ("partitions", partitions),
            ("spread", "round-robin"),
            ("acks", "all"),
            ("idempotence", "true"),
        ];
        Job {
            round_trip_ms: 20,
            ..Job::new("delay", name, &options)
        }
    };
    jobs.extend([delay("delay-1", "1"), delay("delay-100", "100")]);
}

/// `outage-million`: memory for a million records of 100 bytes, and that many wait. `outage-full`: Kafka's default of 32 MiB,
/// and as many wait as the client takes.
fn memory(jobs: &mut Vec<Job>) {
    let outage = |name, bytes| {
        let options = [
            ("mode", "outage"),
            ("records", "1000000"),
            ("buffer-bytes", bytes),
        ];
        Job::new("memory", name, &options)
    };
    let burst = [
        ("mode", "burst"),
        ("records", "2000000"),
        ("partitions", "10000"),
        ("spread", "round-robin"),
        ("buffer-bytes", "268435456"),
    ];
    jobs.extend([
        outage("outage-million", "268435456"),
        outage("outage-full", "33554432"),
        Job::new("memory", "burst-10000", &burst),
    ]);
}

/// TLS 1.3 with AES-128-GCM.
fn tls(jobs: &mut Vec<Job>) {
    let tls = |name, bytes| Job {
        tls: true,
        ..Job::new("tls", name, &[("record-bytes", bytes)])
    };
    jobs.extend([
        tls("tls-100", "100").quick(),
        tls("tls-1k", "1024"),
        tls("tls-10k", "10240"),
    ]);
}
