//! Checks that the simulation finds defects. They are planted in a copy of the source, one after the other, and the simulation
//! must find each of them. Each is a file in `tests/defects`: what it breaks, the source file, the text to find, which must
//! occur exactly once, and its replacement.
//!
//! `DEFECT=<part of a name>` plants only those whose names contain it; commas separate several parts.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// The beginning of what only the simulation prints about a failed history.
const CAUGHT: &str = "SIMULATION_SEED=";

/// The number of histories: enough to find each defect, with a reserve.
const SEEDS: u32 = 400;

/// The timeout of a build or a run: a history that never ends finds no defect.
const PATIENCE: Duration = Duration::from_secs(900);

#[test]
fn the_simulation_finds_every_planted_defect() {
    let wanted = std::env::var("DEFECT").unwrap_or_default();
    let mut defects = defects();
    defects.retain(|defect| wanted.split(',').any(|part| defect.name.contains(part)));
    assert!(!defects.is_empty(), "no defect is called {wanted}");
    let copy = Copy::make();
    if let Err(why) = copy.simulate() {
        panic!("the simulation fails without any defect:\n{}", end(&why));
    }
    let mut missed = Vec::new();
    for defect in &defects {
        match copy.with(defect) {
            Ok(seed) => println!("{:50} found by {seed}", defect.name),
            Err(why) => missed.push(format!("{} ({}): {why}", defect.name, defect.breaks)),
        }
    }
    assert!(missed.is_empty(), "not found:\n{}", missed.join("\n"));
}

struct Defect {
    name: String,
    breaks: String,
    file: String,
    find: String,
    replace: String,
}

fn defects() -> Vec<Defect> {
    let folder = root().join("tests/defects");
    let files = fs::read_dir(folder).unwrap();
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| Defect::read(path)).collect()
}

impl Defect {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let malformed = || panic!("{}: see the other defects for the form", path.display());
        let (head, rest) = text.split_once("--- find\n").unwrap_or_else(malformed);
        let (find, replace) = rest.split_once("--- replace\n").unwrap_or_else(malformed);
        let (breaks, file) = head.split_once("file: ").unwrap_or_else(malformed);
        Self {
            name: path.file_stem().unwrap().to_string_lossy().into_owned(),
            breaks: breaks.split_whitespace().collect::<Vec<_>>().join(" "),
            file: file.trim().into(),
            find: find.into(),
            replace: replace.into(),
        }
    }
}

/// A copy of the library to plant defects in, without most other tests and their dependencies, which take long to build. The
/// copy and its build stay, so that only changes are built again.
struct Copy {
    folder: PathBuf,
    target: PathBuf,
}

impl Copy {
    fn make() -> Self {
        let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join("defects");
        let copy = Self {
            folder: base.join("crate"),
            target: base.join("target"),
        };
        let _ = fs::remove_dir_all(copy.folder.join("src"));
        fs::create_dir_all(&copy.folder).unwrap();
        copy_folder(&root().join("src"), &copy.folder.join("src"));
        for module in [
            "protocol/tests/mod.rs",
            "producer/config/providers/tests.rs",
        ] {
            fs::write(copy.folder.join("src").join(module), "").unwrap();
        }
        for file in ["Cargo.lock", "README.md"] {
            fs::copy(root().join(file), copy.folder.join(file)).unwrap();
        }
        let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
        fs::write(copy.folder.join("Cargo.toml"), library_only(&manifest)).unwrap();
        copy
    }

    /// Plants the defect, runs the simulation and removes the defect again. Returns the seed that found it, or why none did.
    fn with(&self, defect: &Defect) -> Result<String, String> {
        let path = self.folder.join(&defect.file);
        let sound = fs::read_to_string(&path).map_err(|error| error.to_string())?;
        let count = sound.matches(&defect.find).count();
        if count != 1 {
            return Err(format!(
                "the defect no longer applies: its text occurs {count} times"
            ));
        }
        fs::write(&path, sound.replace(&defect.find, &defect.replace)).unwrap();
        let found = self.simulate();
        fs::write(&path, sound).unwrap();
        match found {
            Ok(()) => Err("no history shows it".into()),
            Err(output) => output
                .split_whitespace()
                .find(|word| word.starts_with(CAUGHT))
                .map(Into::into)
                .ok_or_else(|| end(&output)),
        }
    }

    /// Builds the copy and runs its simulation. The error is the output.
    fn simulate(&self) -> Result<(), String> {
        let (is_built, output) = run(self.build());
        let program = output
            .lines()
            .filter_map(|line| line.split_once("\"executable\":\"")?.1.split_once('"'))
            .map(|(path, _)| path.to_owned())
            .next_back();
        let Some(program) = program.filter(|_| is_built) else {
            // No line of this output is about a failed history.
            return Err(output.replace(CAUGHT, "") + "\nthe build failed");
        };
        let mut test = Command::new(program);
        test.args(["simulation::whatever", "--nocapture"])
            .current_dir(&self.folder)
            .env("SIMULATION_SEEDS", SEEDS.to_string())
            .env("RUST_BACKTRACE", "0")
            .env_remove("SIMULATION_SEED")
            .env_remove("SIMULATION_TRACE");
        match run(test) {
            (true, output) if output.contains("1 passed") => Ok(()),
            (_, output) => Err(output),
        }
    }

    /// Without the codec that takes a C compiler.
    fn build(&self) -> Command {
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["test", "--offline", "--lib", "--no-run"])
            .arg("--message-format=json")
            .args(["--no-default-features", "--features", "snappy,lz4"])
            .current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", &self.target);
        cargo
    }
}

/// Returns whether the command succeeds, and its output.
fn run(mut command: Command) -> (bool, String) {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    let (sender, output) = mpsc::channel();
    read_to_end(child.stdout.take().unwrap(), sender.clone());
    read_to_end(child.stderr.take().unwrap(), sender);
    let mut all = String::new();
    for _ in 0..2 {
        match output.recv_timeout(PATIENCE) {
            Ok(text) => all += &text,
            Err(_) => {
                let _ = child.kill();
                all += "the command does not end";
                break;
            }
        }
    }
    let status = child.wait().expect("the command ends");
    (status.success(), all)
}

fn read_to_end(mut pipe: impl Read + Send + 'static, output: mpsc::Sender<String>) {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        let _ = output.send(String::from_utf8_lossy(&bytes).into_owned());
    });
}

/// The manifest without the targets that are not copied, and what only tests depend on.
fn library_only(manifest: &str) -> String {
    let mut kept = String::new();
    let mut keeps = true;
    for line in manifest.lines() {
        if line.starts_with('[') {
            keeps = !line.starts_with("[[") && !line.contains("dev-dependencies");
        }
        if keeps {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    // A workspace of its own, wherever the target folder is.
    kept + "\n[workspace]\n"
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            let text = fs::read_to_string(&path).unwrap();
            // A file's own tests are at its end.
            let end = text.find("#[cfg(test)]\nmod tests {");
            fs::write(&target, &text[..end.unwrap_or(text.len())]).unwrap();
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn end(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
