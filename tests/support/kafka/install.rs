//! Where Apache Kafka's jars and a Java runtime are on this machine.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::support::programs::build_folder;

/// The Kafka versions that tests run against; tests/run.sh fetches each into `target/kafka/<version>/libs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KafkaVersion {
    /// The current release, or whatever is in `KAFKA_HOME`. Its tools serve all versions.
    V4_3_1,
    /// The last release line before 4.0.
    V3_9_1,
    /// The oldest that Java 17 can run with its own ZooKeeper.
    V2_4_1,
}

impl KafkaVersion {
    pub(crate) fn number(self) -> &'static str {
        match self {
            KafkaVersion::V4_3_1 => "4.3.1",
            KafkaVersion::V3_9_1 => "3.9.1",
            KafkaVersion::V2_4_1 => "2.4.1",
        }
    }

    pub(crate) fn needs_zookeeper(self) -> bool {
        self == KafkaVersion::V2_4_1
    }
}

/// A version's jars and the `java` that runs them.
#[derive(Clone, Debug)]
pub(crate) struct Install {
    pub(crate) version: KafkaVersion,
    libs: PathBuf,
}

impl Install {
    /// Returns the installed jars of a version, or what is missing.
    pub(crate) fn find(version: KafkaVersion) -> Result<Install, String> {
        java_major()?;
        let libs = match env::var_os("KAFKA_HOME") {
            Some(home) if version == KafkaVersion::V4_3_1 => {
                let home =
                    std::path::absolute(home).map_err(|error| format!("KAFKA_HOME: {error}"))?;
                home.join("libs")
            }
            _ => build_folder()
                .join("kafka")
                .join(version.number())
                .join("libs"),
        };
        if !libs.is_dir() {
            return Err(format!(
                "no Kafka {} in {}; sh tests/run.sh gets it",
                version.number(),
                libs.display()
            ));
        }
        Ok(Install { version, libs })
    }

    /// A command that runs a Java class of this version with what it loads at start kept small: a broker's start
    /// takes half the time with these options. `folder` takes the libraries that the JVM unpacks.
    pub(crate) fn java(&self, class: &str, heap_mib: u32, folder: &Path) -> Command {
        self.java_with(&[], class, heap_mib, folder)
    }

    /// The same with more options of the JVM.
    pub(crate) fn java_with(
        &self,
        options: &[String],
        class: &str,
        heap_mib: u32,
        folder: &Path,
    ) -> Command {
        let mut command = Command::new(java());
        command
            .arg(format!("-Xmx{heap_mib}m"))
            .args([
                "-XX:TieredStopAtLevel=1",
                "-XX:+UseSerialGC",
                "-Xshare:auto",
                "-XX:-UsePerfData",
            ])
            // Names and values in other scripts are printed as UTF-8 whatever the locale is.
            .args([
                "-Dfile.encoding=UTF-8",
                "-Dsun.stdout.encoding=UTF-8",
                "-Dstdout.encoding=UTF-8",
            ])
            .args(options)
            .arg(format!("-Djava.io.tmpdir={}", folder.display()))
            .arg("-Dorg.slf4j.simpleLogger.showDateTime=true")
            .arg("-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS")
            .arg("-cp")
            .arg(self.libs.join("*"))
            .arg(class)
            .current_dir(folder);
        command
    }
}

fn java() -> PathBuf {
    match env::var_os("JAVA_HOME") {
        Some(home) => Path::new(&home).join("bin").join("java"),
        None => PathBuf::from("java"),
    }
}

/// The version of the Java runtime; brokers from 4.0 on need 17.
fn java_major() -> Result<u32, String> {
    static MAJOR: OnceLock<Result<u32, String>> = OnceLock::new();
    let ask = || {
        let output = Command::new(java())
            .arg("-version")
            .output()
            .map_err(|error| format!("no Java: {error}"))?;
        let text = String::from_utf8_lossy(&output.stderr);
        let version = text.split('"').nth(1).unwrap_or_default();
        let major = version
            .split(['.', '-', '+'])
            .next()
            .unwrap_or_default()
            .parse::<u32>();
        match major {
            Ok(major) if major >= 17 => Ok(major),
            _ => Err(format!(
                "Java 17 or newer is needed, `java -version` says {version:?}"
            )),
        }
    };
    MAJOR.get_or_init(ask).clone()
}
