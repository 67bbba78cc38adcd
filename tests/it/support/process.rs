//! What the operating system reports about this process (Linux's /proc).

use std::fs;

/// One of the producer's threads.
#[derive(Debug)]
pub(crate) struct Thread {
    pub(crate) name: String,
    /// The number of its context switches, voluntary or not.
    pub(crate) switches: u64,
}

/// The threads whose names begin with `kp-`: the producers'.
pub(crate) fn producer_threads() -> Vec<Thread> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| {
            // A thread may end meanwhile.
            let status = fs::read_to_string(task.ok()?.path().join("status")).ok()?;
            let name = field(&status, "Name:")?.to_owned();
            let switches = |kind| field(&status, kind)?.parse::<u64>().ok();
            let switches =
                switches("voluntary_ctxt_switches:")? + switches("nonvoluntary_ctxt_switches:")?;
            Some(Thread { name, switches })
        })
        .filter(|thread| thread.name.starts_with("kp-"))
        .collect()
}

/// The names of all threads.
pub(crate) fn thread_names() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
    tasks
        .filter_map(|task| name(task.ok()?))
        .map(|name| name.trim_end().to_owned())
        .collect()
}

/// How many sockets are open.
pub(crate) fn sockets() -> usize {
    let files = fs::read_dir("/proc/self/fd").unwrap();
    files
        .filter_map(|file| fs::read_link(file.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count()
}

/// The memory that the process has in use, in bytes.
pub(crate) fn resident_bytes() -> usize {
    kibibytes("VmRSS:")
}

/// The most memory that the process ever had in use, in bytes.
pub(crate) fn peak_resident_bytes() -> usize {
    kibibytes("VmHWM:")
}

fn kibibytes(name: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let value = field(&status, name).unwrap();
    1024 * value.trim_end_matches(" kB").parse::<usize>().unwrap()
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    Some(
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))?
            .trim(),
    )
}
