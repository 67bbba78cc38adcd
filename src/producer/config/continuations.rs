//! Finds values that seem to go on in the next lines although no backslash says so: a login module, a list, PEM.
//!
//! To Java each of these lines is a setting of its own. The lines may hold secrets, so messages give their numbers only.

use std::ops::Range;

use super::properties::Line;
use super::shown::ShownName;

/// A value whose other lines were read as settings. The numbers are indices of lines.
pub(super) struct Cut {
    /// The line with the setting's name. `None` if there is PEM before which no setting stands.
    pub(super) owner: Option<usize>,
    /// The lines that seem to be the rest of the value.
    pub(super) rest: Range<usize>,
}

/// Returns the values that are cut, in the order of the lines. No line is in two of them.
pub(super) fn find(lines: &[Line], is_setting: impl Fn(&str) -> bool) -> Vec<Cut> {
    let lines = Lines {
        lines,
        is_setting: &is_setting,
    };
    let mut found = Vec::new();
    let mut at = 0;
    while at < lines.lines.len() {
        let orphaned = lines.pem(at, false);
        let (owner, from, end) = match orphaned > at {
            true => (None, at, orphaned),
            false => (Some(at), at + 1, lines.end_after(at)),
        };
        at = end;
        if from < end {
            let rest = from..end;
            found.push(Cut { owner, rest });
        }
    }
    found
}

impl Cut {
    /// Says what is wrong, and what to write.
    pub(super) fn message(&self, lines: &[Line]) -> String {
        const WRITE: &str = "end each line of a value but the last with \\";
        let (first, last) = (&lines[self.rest.start], &lines[self.rest.end - 1]);
        let place = match (first.first, last.last) {
            (first, last) if first == last => format!("line {first}"),
            (first, last) => format!("lines {first} to {last}"),
        };
        let Some((owner, name)) = self
            .owner
            .and_then(|at| Some((&lines[at], lines[at].name()?)))
        else {
            return format!(
                "line {}: {place} have PEM that belongs to no setting: write name=value, and {WRITE}; or write the PEM to a \
                 file, and set ssl.keystore.location or ssl.truststore.location to its path",
                first.first
            );
        };
        let fault = match owner.ends_in_escaped_blank {
            true => "has white space after its backslash",
            false => "does not end with a backslash",
        };
        let file = match name {
            KEY | CHAIN => {
                "; or write the PEM to a file, and set ssl.keystore.location to its path"
            }
            TRUSTED => "; or write the PEM to a file, and set ssl.truststore.location to its path",
            _ => "",
        };
        format!(
            "line {}: this line of {} {fault}, and the value seems to go on in {place}: {WRITE}{file}",
            owner.last,
            ShownName(name)
        )
    }
}

const KEY: &str = "ssl.keystore.key";
const CHAIN: &str = "ssl.keystore.certificate.chain";
const TRUSTED: &str = "ssl.truststore.certificates";

const BEGIN: &str = "-----BEGIN";
const END: &str = "-----END";

struct Lines<'a, F> {
    lines: &'a [Line],
    is_setting: &'a F,
}

impl<F: Fn(&str) -> bool> Lines<'_, F> {
    /// Returns the end of the lines that seem to be the rest of a line's value.
    fn end_after(&self, at: usize) -> usize {
        let next = at + 1;
        let Some((name, value)) = self.lines[at].pair() else {
            return next;
        };
        let is_open = is_in_pem(is_in_pem(false, name), value);
        let may_have_pem = is_open
            || value.contains(END)
            || value.trim().is_empty()
            || [KEY, CHAIN, TRUSTED].contains(&name);
        if may_have_pem {
            let end = self.pem(next, is_open);
            if end > next {
                return end;
            }
        }
        if name.ends_with("sasl.jaas.config") && !value.trim_end().ends_with(';') {
            return self.jaas(next);
        }
        match (self.is_setting)(name) {
            true => self.list(next, value.trim_end().ends_with(',')),
            false => next,
        }
    }

    /// The line, unless it is one of a known setting.
    fn unknown(&self, at: usize) -> Option<&Line> {
        let line = self.lines.get(at)?;
        let is_known = line.name().is_some_and(self.is_setting);
        (!is_known).then_some(line)
    }

    /// Returns the end of the lines of PEM from `at`. `is_open`: a block has begun before.
    fn pem(&self, mut at: usize, mut is_open: bool) -> usize {
        while let Some(line) = self.unknown(at) {
            let (name, value) = line.pair().unwrap_or_default();
            if !is_open && !name.starts_with(BEGIN) {
                break;
            }
            is_open = is_in_pem(is_in_pem(is_open, name), value);
            at += 1;
        }
        at
    }

    /// Returns the end of the lines of a login module from `at`.
    fn jaas(&self, mut at: usize) -> usize {
        if !self
            .unknown(at)
            .and_then(Line::pair)
            .is_some_and(is_of_jaas)
        {
            return at;
        }
        while let Some(line) = self.lines.get(at) {
            let (name, value) = line.pair().unwrap_or_default();
            // An option may have the name of a setting, and then has quotes, such as ssl.truststore.location="/x".
            let is_option = !(self.is_setting)(name) && !name.contains('.');
            if name.starts_with(BEGIN) || !is_option && !is_of_jaas((name, value)) {
                break;
            }
            at += 1;
            if ends_jaas((name, value)) {
                break;
            }
        }
        at
    }

    /// Returns the end of the lines of a list from `at`. `goes_on`: a comma ends the line before.
    fn list(&self, mut at: usize, mut goes_on: bool) -> usize {
        while let Some((line, (name, value))) =
            self.unknown(at).and_then(|line| Some((line, line.pair()?)))
        {
            let item = value.trim_end();
            let ends_in_comma = item.ends_with(',') || item.is_empty() && name.ends_with(',');
            // `host:port`, or a word alone. Other lines are settings whose names have typing errors.
            let is_item = ends_in_comma || item.is_empty() || line.has_colon && is_port(item);
            if !(name.starts_with(',') || goes_on && is_item) {
                break;
            }
            goes_on = ends_in_comma;
            at += 1;
        }
        at
    }
}

/// Returns whether a block of PEM is open after a text, if one `was_open` before.
fn is_in_pem(was_open: bool, text: &str) -> bool {
    match (text.rfind(BEGIN), text.rfind(END)) {
        (None, None) => was_open,
        (begin, end) => begin > end,
    }
}

/// Returns whether a line seems to be a part of a login module's text.
fn is_of_jaas((name, value): (&str, &str)) -> bool {
    const FLAGS: [&str; 4] = ["required", "requisite", "sufficient", "optional"];
    const OPTIONS: [&str; 17] = [
        "username",
        "password",
        "tokenauth",
        "serviceName",
        "principal",
        "useKeyTab",
        "keyTab",
        "storeKey",
        "useTicketCache",
        "ticketCache",
        "renewTGT",
        "doNotPrompt",
        "refreshKrb5Config",
        "isInitiator",
        "clientId",
        "clientSecret",
        "scope",
    ];
    FLAGS.contains(&name.trim_end_matches(';'))
        || OPTIONS.contains(&name)
        || name.contains("LoginModule")
        || ["unsecuredLogin", "extension_", "awsRole", "awsProfile"]
            .iter()
            .any(|begin| name.starts_with(begin))
        || value.starts_with(['"', '\''])
        || ends_jaas((name, value))
}

fn ends_jaas((name, value): (&str, &str)) -> bool {
    match value.trim_end() {
        "" => name.ends_with(';'),
        value => value.ends_with(';'),
    }
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use crate::producer::config::ProducerConfig;

    fn refused(text: &str) -> String {
        let error = ProducerConfig::from_properties(text)
            .unwrap_err()
            .to_string();
        for secret in ["hunter2", "MIIE", "alice", "kEy"] {
            assert!(!error.contains(secret), "{error}");
        }
        error
    }

    #[test]
    fn a_login_module_without_backslashes_is_one_fault_with_its_setting_and_lines() {
        for (text, sentence) in [
            (
                "acks=all\n\
                 sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required\n  \
                 username=\"alice\"\n  password=\"hunter2\";\nlinger.ms=5\n",
                "line 2: this line of sasl.jaas.config does not end with a backslash, and the value seems to go on in lines 3 \
                 to 4: end each line of a value but the last with \\",
            ),
            (
                "sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule \\\n  required\n  \
                 username=\"alice\" \\\n  password=\"hunter2\";\n",
                "line 2: this line of sasl.jaas.config does not end with a backslash, and the value seems to go on in lines 3 \
                 to 4: end each line of a value but the last with \\",
            ),
            (
                "sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule \\ \n  required \\\n  \
                 username=\"alice\" password=\"hunter2\";\n",
                "line 1: this line of sasl.jaas.config has white space after its backslash, and the value seems to go on in \
                 lines 2 to 3: end each line of a value but the last with \\",
            ),
            (
                "sasl.jaas.config=\n# a comment\n\ncom.sun.security.auth.module.Krb5LoginModule required\nuseKeyTab=true\n\
                 debug=true\nkeyTab=\"/etc/alice\"\nprincipal=\"alice@EXAMPLE.COM\";\nlinger.ms=5\n",
                "line 1: this line of sasl.jaas.config does not end with a backslash, and the value seems to go on in lines 4 \
                 to 8: end each line of a value but the last with \\",
            ),
            (
                "sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule\nrequired\n\
                 ssl.truststore.location=\"/etc/x\"\nclientId=\"alice\" clientSecret=\"hunter2\" ;\n",
                "line 1: this line of sasl.jaas.config does not end with a backslash, and the value seems to go on in lines 2 \
                 to 4: end each line of a value but the last with \\",
            ),
            (
                "sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule\nrequired;",
                "line 1: this line of sasl.jaas.config does not end with a backslash, and the value seems to go on in line 2: \
                 end each line of a value but the last with \\",
            ),
        ] {
            assert_eq!(refused(text), sentence);
        }
    }

    const BLOCK: &str = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq+kEy/AQEF=\nhunter2Aa==\n-----END PRIVATE KEY-----\n";

    #[test]
    fn pem_over_several_lines_is_one_fault_that_names_the_setting_for_a_file() {
        for (name, location) in [
            ("ssl.keystore.key", "ssl.keystore.location"),
            ("ssl.keystore.certificate.chain", "ssl.keystore.location"),
            ("ssl.truststore.certificates", "ssl.truststore.location"),
        ] {
            assert_eq!(
                refused(&format!("acks=all\n{name}={BLOCK}linger.ms=5\n")),
                format!(
                    "line 2: this line of {name} does not end with a backslash, and the value seems to go on in lines 3 to 5: \
                     end each line of a value but the last with \\; or write the PEM to a file, and set {location} to its path"
                )
            );
            for text in [
                format!("{name}=\n{BLOCK}"),
                format!("{name}=-----BEGIN X-----\\\nMIIE\\\n-----END X-----\n{BLOCK}{BLOCK}"),
                format!("{name}=-----BEGIN X-----\n"),
            ] {
                let text = format!("{text}acks=2\n");
                let error = refused(&text);
                let count = error.matches("goes on").count() + error.matches("go on").count();
                let is_whole = text.contains("MIIE");
                assert_eq!(count, usize::from(is_whole), "{text}: {error}");
                assert_eq!(error.starts_with("2 faults"), is_whole, "{text}: {error}");
            }
        }
    }

    #[test]
    fn pem_without_a_setting_is_one_fault() {
        assert_eq!(
            refused(&format!("acks=all\n{BLOCK}{BLOCK}linger.ms=5\n")),
            "line 2: lines 2 to 9 have PEM that belongs to no setting: write name=value, and end each line of a value but the \
             last with \\; or write the PEM to a file, and set ssl.keystore.location or ssl.truststore.location to its path"
        );
    }

    #[test]
    fn a_list_that_ends_in_a_comma_goes_on_in_the_next_line() {
        for text in [
            "bootstrap.servers=a:1,\nb:2,\nc:3\nacks=all\n",
            "bootstrap.servers=a:1\n  ,b:2\n  ,c:3\nacks=all\n",
            "ssl.enabled.protocols=TLSv1.2,\nTLSv1.1,\nTLSv1.3\n",
        ] {
            let error = refused(text);
            let name = text.split('=').next().unwrap();
            assert_eq!(
                error,
                format!(
                    "line 1: this line of {name} does not end with a backslash, and the value seems to go on in lines 2 to 3: \
                     end each line of a value but the last with \\"
                )
            );
        }
    }

    #[test]
    fn a_wrong_name_after_a_value_is_still_a_wrong_name() {
        for (text, part) in [
            (
                "sasl.jaas.config=a.LoginModule required\nbatch_size=5\n",
                "did you mean batch.size?",
            ),
            (
                "sasl.jaas.config=a.LoginModule required;\nusername=\"alice\"\n",
                "this line is not a setting",
            ),
            (
                "bootstrap.servers=a:1,\nlingr.ms=5\n",
                "did you mean linger.ms?",
            ),
            (
                "ssl.keystore.location=/x\nlingr.ms=5\n",
                "did you mean linger.ms?",
            ),
        ] {
            let error = refused(text);
            assert!(
                error.contains(part) && error.contains("line 2: "),
                "{text}: {error}"
            );
            assert!(!error.contains("go on"), "{error}");
        }
    }

    #[test]
    fn the_owner_is_refused_too_if_it_has_a_wrong_name() {
        let error = refused(&format!("ssl.key.pem={BLOCK}"));
        assert!(
            error.starts_with("2 faults:\n  line 1: this line of ssl.key.pem does not end"),
            "{error}"
        );
        assert!(error.contains("write ssl.keystore.key"), "{error}");
    }

    #[test]
    fn very_many_cut_values_are_found_quickly() {
        let text = "sasl.jaas.config=x\nrequired\n".repeat(15_000) + &"-----BEGIN\n".repeat(15_000);
        let start = std::time::Instant::now();
        assert!(refused(&text).starts_with("15001 faults:"));
        assert!(start.elapsed() < std::time::Duration::from_secs(60));
    }
}
