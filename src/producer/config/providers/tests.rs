use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::producer::config::ProducerConfig;

/// A directory with a properties file `s` and a few files of one value each. It is removed when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!(
            "kafka-producer-providers-{}-{:x}",
            std::process::id(),
            fastrand::u64(..)
        );
        let folder = Self(std::env::temp_dir().join(name));
        std::fs::create_dir_all(folder.0.join("inner")).unwrap();
        let properties = "a=1\npw = x y  \nnested=${env:PATH}\ntwice=1\ntwice=2\nempty=\nletter=\\u00e9\nco\\:lon=9\n\
            secret=hunter2\nint=86399999\n";
        folder.write("s", properties.as_bytes());
        folder.write("one", b"line\n");
        folder.write("latin", b"a=\xe9");
        folder.write("bad", b"b=1\na=\\u12");
        folder
    }

    fn write(&self, name: &str, content: &[u8]) {
        std::fs::write(self.0.join(name), content).unwrap();
    }

    /// `text` with this directory instead of `DIR`.
    fn with_path(&self, text: &str) -> String {
        text.replace("DIR", self.0.to_str().unwrap())
    }

    /// A configuration with the providers `file`, `dir` and `env`.
    fn config(&self) -> ProducerConfig {
        let mut config = ProducerConfig::new().bootstrap_servers("a:1");
        config
            .load_properties(
                "config.providers=file, dir,env\n\
                 config.providers.file.class=org.apache.kafka.common.config.provider.FileConfigProvider\n\
                 config.providers.dir.class=DirectoryConfigProvider\n\
                 config.providers.env.class=EnvVarConfigProvider\n",
            )
            .unwrap();
        config
    }

    fn refused(&self, pairs: &[(&str, &str)]) -> String {
        let mut config = self.config();
        for (name, value) in pairs {
            if let Err(error) = config.set(name, &self.with_path(value)) {
                return self.without_path(&error);
            }
        }
        match config.validate() {
            Ok(_) => panic!("{pairs:?} was accepted"),
            Err(error) => self.without_path(&error),
        }
    }

    fn without_path(&self, error: &Error) -> String {
        assert_eq!(error.kind(), crate::ErrorKind::Config);
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        error.to_string().replace(self.0.to_str().unwrap(), "DIR")
    }

    fn client_id(&self, value: &str) -> String {
        let mut config = self.config();
        config.set("client.id", &self.with_path(value)).unwrap();
        let client_id = config.validate().unwrap().client_id.clone();
        client_id.replace(self.0.to_str().unwrap(), "DIR")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn path_variable() -> String {
    std::env::var("PATH").unwrap().trim().to_owned()
}

/// What Java's `ProducerConfig` 4.3.1 makes of each.
#[test]
fn placeholders_are_filled_in_as_by_java() {
    let folder = Folder::new();
    for (value, filled) in [
        ("${file:DIR/s:a}", "1"),
        ("${file:DIR/s:a}-${file:DIR/s:pw}-", "1-x y  -"),
        ("  ${file:DIR/s:pw}  ", "x y"),
        ("${file:DIR/s:nested}", "${env:PATH}"),
        ("${file:DIR/s:twice}", "2"),
        ("[${file:DIR/s:empty}]", "[]"),
        ("${file:DIR/s:letter}", "é"),
        ("${file:DIR/s:co:lon}", "9"),
        ("${file:DIR/inner/../s:a}", "1"),
        ("$${file:DIR/s:a}$ $$ ${ } a$b", "$1$ $$ ${ } a$b"),
        ("${dir:DIR:one}", "line"),
        ("[${dir:DIR:one}]", "[line\n]"),
        ("${vault:a}${file:DIR/s:a}", "${vault:a}1"),
        ("${file:DIR/s:a}${vault:p:a}", "1${vault:p:a}"),
        ("${foo} ${file:DIR/s:a}", "${foo} 1"),
        ("${ env:PATH}", "${ env:PATH}"),
        ("${:a}${::}", "${:a}${::}"),
    ] {
        assert_eq!(folder.client_id(value), filled, "{value}");
    }
    let path = folder.with_path(&path_variable());
    let path = path.replace(folder.0.to_str().unwrap(), "DIR");
    assert_eq!(folder.client_id("${env:PATH}"), path);
    assert_eq!(
        folder.client_id("u=\"${env:PATH}\" p=\"${env::PATH}\";"),
        format!("u=\"{path}\" p=\"{path}\";")
    );
}

#[test]
fn what_a_provider_does_not_have_is_refused_with_provider_path_and_key() {
    let folder = Folder::new();
    for (value, fault) in [
        (
            "${env:NO_SUCH_1}",
            "there is no environment variable NO_SUCH_1",
        ),
        ("${env:}", "it has no variable: write ${env:VARIABLE}"),
        ("${file:DIR/s:b}", "the file has no key b"),
        (
            "${file:a}",
            "it has no path, because all that follows a single colon is the key, as in Java: write \
             ${file:FILE:KEY}, where KEY is the name of a setting in that file",
        ),
        ("${file:DIR:a}", "it is not a regular file"),
        ("${file:DIR/latin:a}", "the file is not UTF-8"),
        (
            "${file:DIR/bad:b}",
            "line 2 of the file: \\u must be followed by the four hexadecimal digits of a character; a backslash \
             itself is written \\\\",
        ),
        (
            "${dir:a}",
            "it has no path, because all that follows a single colon is the key, as in Java: write \
             ${dir:DIRECTORY:KEY}, where KEY is the name of a file in that directory",
        ),
        ("${dir:DIR:inner}", "it is not a regular file"),
        (
            "${dir:DIR:inner/../one}",
            "the key is not the name of a file",
        ),
        ("${dir:DIR:..}", "the key is not the name of a file"),
        ("${dir:DIR:one/}", "the key is not the name of a file"),
        (
            "${env:${env:PATH}}",
            "a placeholder may not have another one inside",
        ),
    ] {
        let written = value
            .strip_suffix("}}")
            .map_or(value.to_owned(), |value| format!("{value}}}"));
        assert_eq!(
            folder.refused(&[("client.id", &format!("x{value}"))]),
            format!("client.id: {written} cannot be filled in: {fault}")
        );
    }
    for value in ["${file:DIR/no:a}", "${dir:DIR:no}", "${dir:DIR/no:a}"] {
        let refused = folder.refused(&[("client.id", value)]);
        let begin = format!("client.id: {value} cannot be filled in: the file cannot be read: ");
        assert!(refused.starts_with(&begin), "{refused}");
    }
    let windows = folder.refused(&[("client.id", "${file:C:\\s.properties:a}")]);
    assert!(
        windows.ends_with("; a path ends at its first colon, as in Java"),
        "{windows}"
    );
}

#[test]
fn a_placeholder_with_a_path_and_no_key_says_that_the_key_is_missing() {
    let folder = Folder::new();
    for (value, sentence) in [
        (
            "${file:/run/secrets/s}",
            "client.id: ${file:/run/secrets/s} cannot be filled in: it has no key, because all that follows a single \
             colon is the key, as in Java: write ${file:/run/secrets/s:KEY}, where KEY is the name of a setting in that file",
        ),
        (
            "${dir:/run/secrets}",
            "client.id: ${dir:/run/secrets} cannot be filled in: it has no key, because all that follows a single \
             colon is the key, as in Java: write ${dir:/run/secrets:KEY}, where KEY is the name of a file in that directory",
        ),
        (
            "${file:/run/s:}",
            "client.id: ${file:/run/s:} cannot be filled in: it has no key: write ${file:/run/s:KEY}, where KEY is the name \
             of a setting in that file",
        ),
        (
            "${dir:/run:}",
            "client.id: ${dir:/run:} cannot be filled in: it has no key: write ${dir:/run:KEY}, where KEY is the name of a \
             file in that directory",
        ),
    ] {
        assert_eq!(folder.refused(&[("client.id", value)]), sentence);
    }
    let refused = folder.refused(&[("client.id", "${file::a}")]);
    assert!(
        refused.ends_with(" it has no path: write ${file:FILE:KEY}, where KEY is the name of a setting in that file"),
        "{refused}"
    );
    for path in ["a.properties", "~/a", "\\a", ":/a"] {
        let refused = folder.refused(&[("client.id", &format!("${{file:{path}}}"))]);
        assert!(
            refused.contains(" cannot be filled in: it has no key"),
            "{refused}"
        );
    }
}

/// `${env:NAME:default}` of other programs.
#[test]
fn a_default_of_a_variable_is_refused_and_not_shown() {
    let folder = Folder::new();
    for value in ["${env:PATH:hunter2}", "${env:NO_SUCH_1:-hunter2}"] {
        let name = value.split(':').nth(1).unwrap();
        assert_eq!(
            folder.refused(&[("client.id", value)]),
            format!(
                "client.id: ${{env:{name}:...}} cannot be filled in: an environment variable has neither a path nor a \
                 default: write ${{env:VARIABLE}}"
            )
        );
    }
}

#[test]
fn all_lookups_that_fail_are_listed_in_one_error() {
    let folder = Folder::new();
    let refused = folder.refused(&[
        ("client.id", "${env:NO_SUCH_1}"),
        ("acks", "${env:NO_SUCH_2}"),
        ("linger.ms", "${file:DIR/s:secret}"),
    ]);
    assert_eq!(
        refused,
        "3 faults:\n  \
         acks: ${env:NO_SUCH_2} cannot be filled in: there is no environment variable NO_SUCH_2\n  \
         client.id: ${env:NO_SUCH_1} cannot be filled in: there is no environment variable NO_SUCH_1\n  \
         linger.ms: the value that a config provider gave is not legal; it is not shown (legal: 0 to 2147483647)"
    );
}

#[test]
fn the_order_in_which_settings_are_set_has_no_effect() {
    let folder = Folder::new();
    let linger = folder.with_path("${file:DIR/s:a}");
    let providers = [
        ("config.providers", "file"),
        ("config.providers.file.class", "FileConfigProvider"),
        ("bootstrap.servers", "a:1"),
    ];
    let last = [("linger.ms", linger.as_str())];
    for pairs in [
        [&providers[..], &last].concat(),
        [&last[..], &providers].concat(),
    ] {
        let config = ProducerConfig::from_pairs(pairs.clone()).unwrap();
        assert_eq!(config.validate().unwrap().linger, Duration::from_millis(1));
        let lines = pairs
            .iter()
            .map(|(name, value)| format!("{name}={value}\n"));
        let text = lines.collect::<String>().replace('\\', "\\\\");
        let config = ProducerConfig::from_properties(&text).unwrap();
        assert_eq!(config.validate().unwrap().linger, Duration::from_millis(1));
    }
}

#[test]
fn the_last_value_counts_whether_it_has_a_placeholder_or_not() {
    let folder = Folder::new();
    let text = folder.with_path("${file:DIR/s:a}");
    let linger = |config: &ProducerConfig| config.validate().unwrap().linger.as_millis();
    let mut config = folder.config().linger(Duration::from_millis(7));
    config.set("linger.ms", &text).unwrap();
    assert_eq!(linger(&config), 1);
    config.set("linger.ms", "8").unwrap();
    assert_eq!(linger(&config), 8);
    config.set("linger.ms", &text).unwrap();
    let config = config.linger(Duration::from_millis(9));
    assert_eq!(linger(&config), 9);
    assert_eq!(config.get("linger.ms").as_deref(), Some("9"));
    // Typed setters take a text as it is.
    assert_eq!(
        folder
            .config()
            .client_id(text.as_str())
            .validate()
            .unwrap()
            .client_id,
        text
    );
}

#[test]
fn the_text_as_written_is_shown_and_never_what_a_provider_gave() {
    let folder = Folder::new();
    let mut config = folder.config();
    config.set("client.id", "x${env:PATH}").unwrap();
    config
        .set("linger.ms", &folder.with_path("${file:DIR/s:a}"))
        .unwrap();
    config.validate().unwrap();
    assert_eq!(config.get("client.id").as_deref(), Some("x${env:PATH}"));
    assert!(config.is_set("client.id"));
    assert_eq!(
        config.get("config.providers").as_deref(),
        Some("file,dir,env")
    );
    assert_eq!(
        config.get("config.providers.env.class").as_deref(),
        Some("EnvVarConfigProvider")
    );
    assert_eq!(config.get("config.providers.vault.class"), None);
    let shown = format!("{config:?}");
    for part in [
        "\"client.id\": \"x${env:PATH}\"",
        "\"config.providers.env.class\": \"Env",
        "s:a}",
    ] {
        assert!(shown.contains(part), "{shown}");
    }
    assert_eq!(shown.matches("client.id").count(), 1);
}

#[test]
fn a_value_that_a_provider_gave_is_in_no_error() {
    let folder = Folder::new();
    for name in [
        "linger.ms",
        "acks",
        "enable.idempotence",
        "bootstrap.servers",
        "send.buffer.bytes",
    ] {
        let refused = folder.refused(&[(name, "${file:DIR/s:secret}")]);
        let begin =
            format!("{name}: the value that a config provider gave is not legal; it is not shown");
        assert!(refused.starts_with(&begin), "{refused}");
    }
    for (pairs, begin) in [
        (
            [
                ("linger.ms", "${file:DIR/s:int}"),
                ("delivery.timeout.ms", "10"),
            ],
            "delivery.timeout.ms=10 is less than linger.ms + request.timeout.ms = [hidden]:",
        ),
        (
            [
                ("delivery.timeout.ms", "${file:DIR/s:a}"),
                ("linger.ms", "0"),
            ],
            "delivery.timeout.ms=[hidden] is less than linger.ms + request.timeout.ms = 30000:",
        ),
        (
            [
                ("max.in.flight.requests.per.connection", "${file:DIR/s:int}"),
                ("linger.ms", "0"),
            ],
            "max.in.flight.requests.per.connection=[hidden] is more than",
        ),
    ] {
        let refused = folder.refused(&pairs);
        assert!(refused.starts_with(begin), "{refused}");
    }
}

#[test]
fn without_providers_a_placeholder_stays_in_a_text_and_is_refused_elsewhere() {
    for providers in ["", "a"] {
        let mut config = ProducerConfig::new().bootstrap_servers("a:1");
        config.set("config.providers", providers).unwrap();
        config
            .set("config.providers.a.class", "EnvVarConfigProvider")
            .unwrap();
        config.set("client.id", "${env:PATH}").unwrap();
        assert_eq!(config.validate().unwrap().client_id, "${env:PATH}");
        config.set("linger.ms", "${env:PATH}").unwrap();
        let refused = config.validate().map(drop).unwrap_err().to_string();
        assert_eq!(
            refused,
            "linger.ms=${env... has a placeholder in it, which was not filled in (range: 0 to 2147483647); \
             no config provider is named env"
        );
    }
}

#[test]
fn a_placeholder_that_stays_in_a_secret_is_warned_of_with_what_to_set() {
    let mut config = ProducerConfig::new().bootstrap_servers("a:1");
    config.set("ssl.key.password", "${env:HUNTER2}").unwrap();
    let (_, warnings) = crate::producer::config::warnings_of(|| config.filled().map(drop).unwrap());
    assert_eq!(
        warnings,
        [
            "ssl.key.password: a placeholder is kept as part of the value: no config provider is named env; list it in \
             config.providers, and set config.providers.env.class"
        ]
    );
}

#[cfg(feature = "sasl")]
#[test]
fn a_line_break_at_the_end_of_a_password_in_a_file_is_told_where_it_cuts_the_credentials() {
    let folder = Folder::new();
    let refused = folder.refused(&[
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        (
            "sasl.jaas.config",
            "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"alice\" \
             password=\"${dir:DIR:one}\";",
        ),
    ]);
    assert!(
        refused.ends_with(
            "; the value of ${dir:DIR:one} ends with a line break, and a line break ends a value in quotes: remove it from the \
             file, as printf instead of echo does"
        ),
        "{refused}"
    );
    assert!(!refused.contains("line\n"), "{refused}");
}

#[test]
fn settings_of_providers_are_checked_when_they_are_set() {
    let mut config = ProducerConfig::new();
    for (name, value, fault) in [
        (
            "config.providers",
            "a,,b",
            "config.providers=a,,b has an empty name",
        ),
        (
            "config.providers",
            "a:b",
            "config.providers=a... has a name that no placeholder can have",
        ),
        (
            "config.providers",
            "${env:A}",
            "config.providers=${env... has a name that no placeholder can have",
        ),
        (
            "config.providers.v.class",
            "com.example.Vault",
            "config.providers.v.class=com.example.Vault is not a config provider of this producer (values: \
             FileConfigProvider, DirectoryConfigProvider, EnvVarConfigProvider)",
        ),
        (
            "config.providers.v.class",
            "",
            "config.providers.v.class= is not a config provider",
        ),
        (
            "config.providers.v.clas",
            "x",
            "there is no setting config.providers.v.clas: a config provider has",
        ),
        (
            "config.providers..class",
            "x",
            "there is no setting config.providers..class: a",
        ),
        (
            "config.providers.v.param.",
            "x",
            "there is no setting config.providers.v.param.: a",
        ),
        (
            "config.providers.e.param.allowlist.pattern",
            "A{2}",
            "config.providers.e.param.allowlist.pattern has \"{\", which is not supported here",
        ),
    ] {
        let refused = config.set(name, value).unwrap_err().to_string();
        assert!(refused.starts_with(fault), "{refused}");
    }
    assert_eq!(format!("{config:?}"), "ProducerConfig {}");
}

#[test]
fn settings_of_providers_are_checked_together_when_the_producer_is_built() {
    let folder = Folder::new();
    for (pairs, fault) in [
        (
            [("config.providers", "env,v"), ("linger.ms", "1")],
            "config.providers lists v, and config.providers.v.class is not set (values: FileConfigProvider,",
        ),
        (
            [
                ("config.providers.file.param.allowed.path", "DIR"),
                ("linger.ms", "1"),
            ],
            "there is no setting config.providers.file.param.allowed.path: this config provider has the parameter \
             allowed.paths",
        ),
        (
            [
                ("config.providers.env.param.allowed.paths", "DIR"),
                ("linger.ms", "1"),
            ],
            "there is no setting config.providers.env.param.allowed.paths: this config provider has the parameter \
             allowlist.pattern",
        ),
        (
            [
                ("config.providers.file.param.allowed.paths", "DIR,x"),
                ("linger.ms", "1"),
            ],
            "config.providers.file.param.allowed.paths has a path that is not absolute: x",
        ),
        (
            [
                ("config.providers.dir.param.allowed.paths", "DIR/no"),
                ("linger.ms", "1"),
            ],
            "config.providers.dir.param.allowed.paths has a path that does not exist: DIR/no",
        ),
        // As in Java, a parameter has no placeholders.
        (
            [
                ("config.providers.file.param.allowed.paths", "${env:PATH}"),
                ("linger.ms", "1"),
            ],
            "config.providers.file.param.allowed.paths has a path that is not absolute: ${env:PATH}",
        ),
    ] {
        let refused = folder.refused(&pairs);
        assert!(refused.starts_with(fault), "{refused}");
    }
}

#[test]
fn settings_of_providers_that_are_not_listed_have_no_effect() {
    let mut config = ProducerConfig::new().bootstrap_servers("a:1");
    config
        .set("config.providers.e.class", "EnvVarConfigProvider")
        .unwrap();
    config
        .set("config.providers.e.param.token", "hunter2")
        .unwrap();
    config.validate().unwrap();
    assert_eq!(
        config.get("config.providers.e.param.token").as_deref(),
        Some("[hidden]")
    );
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn a_provider_reads_allowed_paths_only() {
    let folder = Folder::new();
    let (file, dir) = (
        "config.providers.file.param.allowed.paths",
        "config.providers.dir.param.allowed.paths",
    );
    for (name, paths, value) in [
        (file, "DIR", "${file:DIR/s:a}"),
        (file, "", "${file:DIR/s:a}"),
        (file, "DIR/s", "${file:DIR/s:a}"),
        (file, "DIR/inner, DIR/s,", "${file:DIR/s:a}"),
        (file, "DIR/inner/..", "${file:DIR/inner/.././s:a}"),
        (dir, "DIR", "${dir:DIR:one}"),
    ] {
        let mut config = folder.config();
        config.set(name, &folder.with_path(paths)).unwrap();
        config.set("client.id", &folder.with_path(value)).unwrap();
        config.validate().unwrap();
    }
    for (name, paths, value) in [
        (file, "DIR/inner", "${file:DIR/s:a}"),
        (file, "DIR/inner", "${file:DIR/inner/../s:a}"),
        (file, "DIR", "${file:s:a}"),
        (file, "DIR/one", "${file:DIR/one2:a}"),
        (file, ",", "${file:DIR/s:a}"),
        (dir, "DIR/inner", "${dir:DIR:one}"),
        (dir, "DIR/one", "${dir:DIR:one}"),
    ] {
        let refused = folder.refused(&[(name, paths), ("client.id", value)]);
        assert!(
            refused.contains("cannot be filled in: allowed.paths does not allow this path"),
            "{refused}"
        );
    }
}

#[test]
fn a_provider_looks_up_allowed_variables_only() {
    let folder = Folder::new();
    let name = "config.providers.env.param.allowlist.pattern";
    for pattern in ["PATH", "P.*", "A|(PATH)"] {
        let mut config = folder.config();
        config.set(name, pattern).unwrap();
        config.set("client.id", "x${env:PATH}").unwrap();
        config.validate().unwrap();
    }
    for pattern in ["^P", "AT", "", "path"] {
        let refused = folder.refused(&[(name, pattern), ("client.id", "${env:PATH}")]);
        assert_eq!(
            refused,
            "client.id: ${env:PATH} cannot be filled in: allowlist.pattern does not allow this variable"
        );
    }
}

#[test]
fn files_and_values_have_a_greatest_length() {
    let folder = Folder::new();
    folder.write("long", &vec![b'a'; sources::LONGEST]);
    folder.write("longer", &vec![b'a'; sources::LONGEST + 1]);
    let refused = folder.refused(&[("client.id", "${dir:DIR:longer}")]);
    assert!(
        refused.ends_with("the file is longer than 1048576 bytes"),
        "{refused}"
    );
    let refused = folder.refused(&[("client.id", "${dir:DIR:long}")]);
    assert_eq!(
        refused,
        "client.id is 1048576 bytes long; the most is 32767"
    );
    let refused = folder.refused(&[("client.id", "${dir:DIR:long}x")]);
    assert_eq!(
        refused,
        "client.id: with its placeholders filled in, the value is longer than 1048576 bytes"
    );
    let many = format!(
        "{}{}",
        "${dir:DIR:one}".repeat(8),
        "${dir:DIR:long}".repeat(8)
    );
    assert!(
        folder
            .refused(&[("client.id", &many)])
            .contains("the value is longer than")
    );
    let pairs: Vec<_> = [
        "acks",
        "client.id",
        "linger.ms",
        "retries",
        "batch.size",
        "buffer.memory",
    ]
    .into_iter()
    .chain(["max.block.ms", "retry.backoff.ms", "request.timeout.ms"])
    .map(|name| (name, "${dir:DIR:long}"))
    .collect();
    let refused = folder.refused(&pairs);
    assert!(
        refused.contains("the files of all placeholders are longer than 8388608 bytes"),
        "{refused}"
    );
    let refused = folder.refused(&[("client.id", &format!("${{env:{}}}", "x".repeat(9000)))]);
    assert!(
        refused.ends_with("it is longer than 8192 bytes") && refused.len() < 500,
        "{refused}"
    );
}

#[cfg(unix)]
#[test]
fn a_file_that_never_ends_is_not_read() {
    let folder = Folder::new();
    let refused = folder.refused(&[("client.id", "${file:/dev/zero:a}")]);
    assert!(refused.ends_with("it is not a regular file"), "{refused}");
}

/// Kubernetes mounts a secret's keys as links.
#[cfg(unix)]
#[test]
fn a_directory_may_have_links_to_files() {
    let folder = Folder::new();
    std::os::unix::fs::symlink(folder.0.join("one"), folder.0.join("link")).unwrap();
    assert_eq!(folder.client_id("${dir:DIR:link}"), "line");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]
    #[test]
    fn any_settings_of_providers_are_accepted_or_refused_with_a_short_error(
        list in "[ae,: ]{0,6}",
        rest in "(e|a|\\PC|[.]){0,4}(\\.class|\\.param\\.(allowlist\\.pattern|allowed\\.paths)|)",
        setting in "EnvVarConfigProvider|\\PC{0,10}",
        value in "(\\$\\{[ae]:(PATH|\\PC{0,3})\\}|\\PC|[$:{}]){0,6}",
    ) {
        let mut config = ProducerConfig::new().bootstrap_servers("a:1");
        let name = format!("config.providers.{rest}");
        for (name, value) in [("config.providers", &list), (&name, &setting), ("client.id", &value), ("acks", &value)] {
            if let Err(error) = config.set(name, value) {
                proptest::prop_assert!(error.to_string().chars().count() < 1000);
            }
        }
        if let Err(error) = config.validate() {
            proptest::prop_assert!(error.to_string().chars().count() < 3000);
        }
    }
}

#[test]
fn a_value_that_ends_a_line_in_the_middle_of_a_text_is_noticed() {
    let noticed = |text, value: &str| {
        let filled = fill::fill(text, |_| fill::Lookup::Value(value.into()));
        filled.unwrap().ends_line
    };
    assert_eq!(noticed("a \"${a:b}\";", "x\n").as_deref(), Some("${a:b}"));
    assert_eq!(noticed("${a:b}${a:c}", "x\n").as_deref(), Some("${a:b}"));
    assert_eq!(noticed("a ${a:b}", "x\n"), None);
    assert_eq!(noticed("a ${a:b}b", "\nx"), None);
}

#[cfg(feature = "sasl")]
#[test]
fn credentials_may_have_placeholders_and_are_never_shown() {
    const MODULE: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required";
    let folder = Folder::new();
    let mut config = folder.config();
    let jaas =
        format!("{MODULE} username=\"${{file:DIR/s:a}}\" password=\"${{file:DIR/s:secret}}\";");
    for (name, value) in [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.jaas.config", &jaas),
    ] {
        config.set(name, &folder.with_path(value)).unwrap();
    }
    config.validate().unwrap();
    let shown = config.get("sasl.jaas.config");
    assert_eq!(shown.as_deref(), Some("[hidden]"));
    assert!(!format!("{config:?}").contains("PlainLoginModule"));
    for jaas in [
        "${file:DIR/s:secret}",
        &format!("{MODULE} password=${{file:DIR/s:secret}}"),
    ] {
        folder.refused(&[
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.jaas.config", jaas),
        ]);
    }
    let refused = folder.refused(&[
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "${file:DIR/s:secret}"),
    ]);
    assert!(refused.contains("sasl.mechanism"), "{refused}");
}

/// As Java's `String.trim` does it: a password may end in a no-break space.
#[test]
fn what_a_provider_gives_keeps_spaces_that_java_does_not_trim() {
    let folder = Folder::new();
    folder.write("id", "  team\u{a0}  \n".as_bytes());
    let mut config = folder.config();
    config
        .set("client.id", &folder.with_path("${dir:DIR:id}"))
        .unwrap();
    assert_eq!(config.validate().unwrap().client_id, "team\u{a0}");
}
