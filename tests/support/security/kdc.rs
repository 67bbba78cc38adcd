//! A Kerberos key distribution centre: Debian's krb5-kdc with a database of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::super::process::{Process, Signal, poll};
use super::{find_program, run};

/// A running KDC with the principals `kafka/localhost` and `alice`, and a keytab of each. Its principals change while it runs.
pub(crate) struct Kdc {
    folder: PathBuf,
    process: Process,
}

pub(crate) const REALM: &str = "TEST.LOCAL";
const PROGRAMS: [&str; 4] = ["krb5kdc", "kdb5_util", "kadmin.local", "kinit"];

impl Kdc {
    /// Says what is missing if this machine has no KDC.
    pub(crate) fn find() -> Result<(), String> {
        PROGRAMS
            .iter()
            .try_for_each(|name| find_program(name).map(drop))
    }

    /// Starts a KDC on this port of 127.0.0.1, with its files in the folder.
    pub(crate) fn start(folder: &Path, port: u16) -> Result<Kdc, String> {
        fs::create_dir_all(folder).expect("create a folder for a KDC");
        let write = |name: &str, text: String| {
            fs::write(folder.join(name), text).expect("write a KDC's configuration");
        };
        write("krb5.conf", client_config(folder, port));
        write("kdc.conf", server_config(folder, port));
        let kerberos = |name: &str, arguments: &[&str]| {
            run(command(folder, name).args(arguments), b"");
        };
        kerberos("kdb5_util", &["create", "-s", "-P", "master-secret"]);
        for (principal, keytab) in [
            ("kafka/localhost", "kafka.keytab"),
            ("alice", "alice.keytab"),
        ] {
            let add = format!("addprinc -randkey {principal}");
            kerberos("kadmin.local", &["-q", &add]);
            let keytab = folder.join(keytab);
            let export = format!("ktadd -k {} {principal}", keytab.display());
            kerberos("kadmin.local", &["-q", &export]);
        }
        let log = fs::File::create(folder.join("kdc.log")).expect("create a log file");
        let mut server = command(folder, "krb5kdc");
        let errors = log.try_clone().expect("a second handle");
        server
            .arg("-n")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        let process =
            Process::spawn(&mut server).map_err(|error| format!("start a KDC: {error}"))?;
        let kdc = Kdc {
            folder: folder.to_owned(),
            process,
        };
        kdc.wait_until_it_answers()?;
        Ok(kdc)
    }

    /// The file for `KRB5_CONFIG` and for Java's `java.security.krb5.conf`.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.join("krb5.conf")
    }

    /// The keys of `kafka/localhost`.
    pub(crate) fn broker_keytab(&self) -> PathBuf {
        self.folder.join("kafka.keytab")
    }

    /// The keys of `alice`.
    pub(crate) fn keytab(&self) -> PathBuf {
        self.folder.join("alice.keytab")
    }

    /// Adds a principal with random keys, and returns a keytab of it.
    pub(crate) fn add_principal(&self, name: &str) -> PathBuf {
        let keytab = self.folder.join(format!("{name}.keytab"));
        self.administer(&format!("addprinc -randkey {name}"));
        self.export_keys(name, &keytab);
        keytab
    }

    /// Gives a principal new keys. Tickets and keytabs of the old ones are of no use from then on.
    pub(crate) fn change_keys(&self, principal: &str) {
        self.administer(&format!("cpw -randkey {principal}"));
    }

    pub(crate) fn delete_principal(&self, name: &str) {
        self.administer(&format!("delprinc -force {name}"));
    }

    /// Locks a principal: it gets no tickets.
    pub(crate) fn lock_principal(&self, name: &str) {
        self.administer(&format!("modprinc -allow_tix {name}"));
    }

    /// Adds the keys of a principal to a keytab. They are new ones.
    pub(crate) fn export_keys(&self, principal: &str, keytab: &Path) {
        self.administer(&format!("ktadd -k {} {principal}", keytab.display()));
    }

    fn administer(&self, query: &str) {
        run(
            command(&self.folder, "kadmin.local").args(["-q", query]),
            b"",
        );
    }

    /// Stops the KDC: it accepts connections and answers nothing.
    pub(crate) fn stop(&self) {
        self.process.signal(Signal::Stop);
    }

    pub(crate) fn resume(&self) {
        self.process.signal(Signal::Continue);
    }

    /// Writes another configuration of clients: that of the folder with texts replaced. Returns the file for `KRB5_CONFIG`.
    pub(crate) fn config_with(&self, name: &str, replacements: &[(&str, &str)]) -> PathBuf {
        let mut text = fs::read_to_string(self.config()).expect("read a configuration");
        for (from, to) in replacements {
            assert!(text.contains(from), "{from} is not in {text}");
            text = text.replace(from, to);
        }
        let file = self.folder.join(format!("{name}.conf"));
        fs::write(&file, text).expect("write a configuration");
        file
    }

    /// Waits until the ticket in a cache has expired, for the library too: it counts in seconds and includes the last one.
    pub(crate) fn wait_until_expired(&self, cache: &Path) {
        let is_valid = || {
            let mut klist = command(&self.folder, "klist");
            klist.arg("-s").arg("-c").arg(cache).stdin(Stdio::null());
            klist.status().is_ok_and(|status| status.success())
        };
        let expired = poll(Duration::from_secs(60), || (!is_valid()).then(Instant::now));
        let expired = expired.unwrap_or_else(|| panic!("{} does not expire", cache.display()));
        poll(Duration::from_secs(2), || {
            (expired.elapsed() >= Duration::from_secs(2)).then_some(())
        });
    }

    /// Gets a ticket for `alice`, of this lifetime such as `60s`, and returns the file for `KRB5CCNAME`.
    pub(crate) fn ticket_cache(&self, lifetime: &str) -> PathBuf {
        let cache = self.folder.join(format!("alice-{lifetime}.ccache"));
        let mut kinit = command(&self.folder, "kinit");
        kinit
            .arg("-c")
            .arg(&cache)
            .args(["-l", lifetime, "-k", "-t"]);
        run(kinit.arg(self.keytab()).arg("alice"), b"");
        cache
    }

    fn wait_until_it_answers(&self) -> Result<(), String> {
        let gives_ticket = || {
            let mut kinit = command(&self.folder, "kinit");
            let cache = self.folder.join("start.ccache");
            kinit.arg("-c").arg(cache).args(["-k", "-t"]);
            kinit.arg(self.keytab()).arg("alice").stdin(Stdio::null());
            let status = kinit.stdout(Stdio::null()).stderr(Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        };
        let answers = poll(Duration::from_secs(20), || {
            let has_ended = self.process.exit_status().is_some();
            (has_ended || gives_ticket()).then_some(!has_ended)
        });
        let log = || fs::read_to_string(self.folder.join("kdc.log")).unwrap_or_default();
        match answers {
            Some(true) => Ok(()),
            _ => Err(format!("the KDC gives no ticket: {}", log())),
        }
    }
}

/// A command of Kerberos that uses the folder's configuration and nothing of the system's.
fn command(folder: &Path, name: &str) -> Command {
    let mut command = Command::new(find_program(name).unwrap_or_else(|_| PathBuf::from(name)));
    command
        .env("KRB5_CONFIG", folder.join("krb5.conf"))
        .env("KRB5_KDC_PROFILE", folder.join("kdc.conf"))
        .env_remove("KRB5CCNAME")
        .current_dir(folder);
    command
}

fn client_config(folder: &Path, port: u16) -> String {
    format!(
        "[libdefaults]\ndefault_realm = {REALM}\nudp_preference_limit = 1\ndns_lookup_kdc = false\n\
         dns_lookup_realm = false\nrdns = false\ndns_canonicalize_hostname = false\n\
         default_ccache_name = FILE:{folder}/default.ccache\n\
         [realms]\n{REALM} = {{\nkdc = 127.0.0.1:{port}\n}}\n[domain_realm]\nlocalhost = {REALM}\n",
        folder = folder.display()
    )
}

fn server_config(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    format!(
        "[kdcdefaults]\nkdc_listen = 127.0.0.1:{port}\nkdc_tcp_listen = 127.0.0.1:{port}\n\
         [realms]\n{REALM} = {{\ndatabase_name = {folder}/principal\nkey_stash_file = {folder}/stash\n\
         acl_file = {folder}/kadm5.acl\nmax_life = 10m\n}}\n\
         [logging]\nkdc = FILE:{folder}/kdc.log\n"
    )
}
