use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use super::*;
use crate::sasl::msk_iam::credentials::Cause;

/// A folder with the files of profiles. The folder is removed when this is dropped.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let folder = format!("kafka-producer-profiles-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        std::fs::create_dir_all(folder.join(".aws")).unwrap();
        Self(folder)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.0.join(".aws").join(name), bytes).unwrap();
    }

    fn environment(&self, variables: &[(&str, &str)]) -> Environment {
        let home = self.0.to_str().unwrap();
        let all: Vec<_> = [("HOME", home)].iter().chain(variables).copied().collect();
        Environment::of_list(&all)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn ask(name: Option<&str>, environment: &Environment) -> Result<Credentials, Missing> {
    let source = ProfileSource {
        name: name.map(str::to_owned),
    };
    source.credentials(&Attempt {
        environment,
        now: SystemTime::UNIX_EPOCH,
        deadline: Instant::now(),
    })
}

#[test]
fn a_profile_is_that_of_the_option_then_that_of_the_variable_then_the_default() {
    let files = Files::new("choice");
    let profiles = ["default", "variable", "option"].map(|name| {
        format!("[{name}]\naws_access_key_id={name}\naws_secret_access_key=hunter2\naws_session_token=t\n")
    });
    files.write("credentials", profiles.concat());
    let environment = files.environment(&[("AWS_PROFILE", "variable")]);
    assert_eq!(ask(Some("option"), &environment).unwrap().key_id, "option");
    let credentials = ask(None, &environment).unwrap();
    assert_eq!(credentials.key_id, "variable");
    assert_eq!(credentials.origin, "the profile variable");
    assert_eq!(credentials.session_token.unwrap().reveal(), "t");
    assert_eq!(
        ask(None, &files.environment(&[])).unwrap().key_id,
        "default"
    );
}

#[test]
fn the_region_of_a_profile_is_read() {
    let files = Files::new("region");
    files.write(
        "config",
        "[default]\nregion=eu-west-1\n[profile x]\nregion=no region\n",
    );
    let environment = files.environment(&[]);
    assert_eq!(region(None, &environment).as_deref(), Some("eu-west-1"));
    assert_eq!(region(Some("x"), &environment), None);
    assert_eq!(region(Some("y"), &environment), None);
    // It has nothing else, so that the next source of credentials is asked.
    assert_eq!(ask(None, &environment).unwrap_err().cause, Cause::NotSetUp);
}

#[test]
fn a_profile_that_the_user_named_must_exist() {
    let files = Files::new("missing");
    let environment = files.environment(&[]);
    let missing = ask(None, &environment).unwrap_err();
    assert_eq!(missing.cause, Cause::NotSetUp);
    assert!(missing.why.starts_with("there is neither /"), "{missing:?}");
    assert_eq!(
        ask(Some("x"), &environment).unwrap_err().cause,
        Cause::Lasting
    );

    files.write("credentials", "[other]\naws_access_key_id=x\n");
    let missing = ask(Some("x"), &environment).unwrap_err();
    assert_eq!(missing.cause, Cause::Lasting);
    assert!(
        missing.why.starts_with("there is no profile x in /"),
        "{missing:?}"
    );
    assert_eq!(ask(None, &environment).unwrap_err().cause, Cause::NotSetUp);
    let named = files.environment(&[("AWS_PROFILE", "x")]);
    assert_eq!(ask(None, &named).unwrap_err().cause, Cause::Lasting);
}

#[test]
fn a_profile_without_usable_credentials_says_what_it_has() {
    let files = Files::new("unusable");
    files.write(
        "config",
        "[profile half]\naws_access_key_id=x\n[profile none]\nregion=x\n[profile empty]\naws_access_key_id=\n\
         [profile process]\ncredential_process=/bin/hunter2\n[profile sso]\nsso_session=hunter2\n",
    );
    let environment = files.environment(&[]);
    for (name, why) in [
        ("half", "not aws_secret_access_key"),
        ("none", "no aws_access_key_id"),
        ("empty", "no aws_access_key_id"),
        (
            "process",
            "credential_process, which stands for a program that this client does not start",
        ),
        (
            "sso",
            "sso_session, which stands for a login in the browser",
        ),
    ] {
        let missing = ask(Some(name), &environment).unwrap_err();
        assert_eq!(missing.cause, Cause::Lasting);
        assert!(
            missing.why.contains(why) && !missing.why.contains("hunter2"),
            "{missing:?}"
        );
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let files = Files::new("faulty");
    let environment = files.environment(&[]);
    for (bytes, why) in [
        (b"[a]\nhunter2\n".to_vec(), "line 2: it has no ="),
        (b"[a]\nx=\xff\n".to_vec(), "it is not UTF-8"),
        (vec![b'#'; (1 << 20) + 1], "it has more than 1048576 bytes"),
    ] {
        files.write("credentials", bytes);
        let missing = ask(None, &environment).unwrap_err();
        assert_eq!(missing.cause, Cause::Lasting);
        assert!(
            missing.why.contains("credentials") && missing.why.ends_with(why),
            "{missing:?}"
        );
    }
    let folder = files.environment(&[("AWS_CONFIG_FILE", "~/.aws")]);
    let missing = ask(None, &folder).unwrap_err();
    assert!(
        missing.why.ends_with("it is not a regular file"),
        "{missing:?}"
    );
}
