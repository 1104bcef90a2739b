//! What each client needs, from the package registries into `target/clients/`, and how its scenario is started. Versions are
//! pinned by the manifests and lock files beside the scenarios.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use coretide_errands::fetched::{Missing, has, need, once};
use coretide_errands::maven::Jars;
use coretide_errands::process::{self, Log};

use super::Places;

/// How long one installation or compilation may take.
const INSTALL_MAX: Duration = Duration::from_secs(300);
/// The line of the Java client that `java-3.8` means.
const JAVA_OLDER: &str = "3.8.1";

/// How a scenario is started; the driver appends `--bootstrap`, `--input` and `--name`.
pub struct Recipe {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    pub environment: Vec<(String, OsString)>,
}

/// The class path of Kafka's own tools.
pub struct KafkaTools {
    pub class_path: OsString,
}

/// The newest official Java client.
pub fn java_newest(places: &Places) -> Result<Recipe, Missing> {
    java(places, "newest", &[], "Scenario")
}

/// The newest official Java client as `cargo x bench-model` uses it: compiled after a few calls, since a sender of 200 requests/s
/// would be interpreted for the first minutes, and a thread that takes 0.6 ms for what later takes 0.05 batches differently.
pub fn java_model(places: &Places) -> Result<Recipe, Missing> {
    let mut recipe = java(places, "newest", &[], "Model")?;
    recipe.arguments.insert(0, "-XX:CompileThresholdScaling=0.02".into());
    Ok(recipe)
}

/// An official Java client of an older line.
pub fn java_older(places: &Places) -> Result<Recipe, Missing> {
    java(places, "older", &[format!("-Dkafka.version={JAVA_OLDER}")], "Scenario")
}

fn java(places: &Places, folder: &str, extra: &[String], class: &str) -> Result<Recipe, Missing> {
    let source = places.source("java");
    need("java", &["-version"], "java is not installed")?;
    need("javac", &["-version"], "javac is not installed (a JDK is needed)")?;
    let home = places.work.join("java").join(folder);
    let class_path = jars(places, &source.join("pom.xml"), &home, extra)?;
    let classes = home.join("classes");
    let program = source.join(format!("{class}.java"));
    once(&home.join(format!("compiled-{class}")), &[&program], || {
        let mut javac = Command::new("javac");
        javac.arg("-d").arg(&classes).arg("-cp").arg(&class_path).arg(&program);
        process::run(javac, &install_log(places, &format!("javac-{folder}-{class}"))?, INSTALL_MAX)
    })?;
    let mut path = class_path;
    path.push(":");
    path.push(&classes);
    let options = ["-Xmx256m", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"];
    let mut arguments: Vec<OsString> = options.map(OsString::from).to_vec();
    arguments.extend([path, class.into()]);
    Ok(Recipe { program: "java".into(), arguments, environment: Vec::new() })
}

/// Kafka's own tools, as jars.
pub fn kafka_tools(places: &Places) -> Result<KafkaTools, Missing> {
    need("java", &["-version"], "java is not installed")?;
    let pom = places.source("java").join("tools-pom.xml");
    let class_path = jars(places, &pom, &places.work.join("java/tools"), &[])?;
    Ok(KafkaTools { class_path })
}

/// Fetches what a pom names into `home/jars` and returns the class path of them all.
fn jars(places: &Places, pom: &Path, home: &Path, extra: &[String]) -> Result<OsString, Missing> {
    let name = home.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let log = places.work.join(format!("logs/install-mvn-{name}.log"));
    let repository = Some(places.work.join("java/repository"));
    Jars { pom, home, repository, properties: extra, log: &log, give_up: &|| false }.fetch()
}

/// confluent-kafka, the Python face of librdkafka.
pub fn confluent_python(places: &Places) -> Result<Recipe, Missing> {
    python(places, "confluent", "with_confluent.py")
}

/// confluent-kafka as `cargo x bench-model` uses it.
pub fn librdkafka_model(places: &Places) -> Result<Recipe, Missing> {
    python(places, "confluent", "model.py")
}

/// The kafka-python that stood still for years and is still deployed.
pub fn kafka_python_old(places: &Places) -> Result<Recipe, Missing> {
    python(places, "kafka-python-old", "with_kafka_python.py")
}

/// The newest kafka-python.
pub fn kafka_python_newest(places: &Places) -> Result<Recipe, Missing> {
    python(places, "kafka-python-newest", "with_kafka_python.py")
}

fn python(places: &Places, variant: &str, program: &str) -> Result<Recipe, Missing> {
    need("python3", &["--version"], "python3 is not installed")?;
    need("python3", &["-c", "import venv, ensurepip"], "python3 has no venv (python3-venv is not installed)")?;
    let source = places.source("python");
    let wanted = source.join(format!("requirements-{variant}.txt"));
    let home = places.work.join("python").join(variant);
    once(&home.join("installed"), &[&wanted], || {
        let log = install_log(places, &format!("pip-{variant}"))?;
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv", "--clear"]).arg(&home);
        process::run(venv, &log, INSTALL_MAX)?;
        let mut pip = Command::new(home.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--only-binary=:all:", "-r"]).arg(&wanted);
        process::run(pip, &log, INSTALL_MAX)
    })?;
    Ok(python_recipe(home.join("bin/python"), source.join(program)))
}

fn python_recipe(python: PathBuf, program: PathBuf) -> Recipe {
    let environment = vec![
        ("PYTHONDONTWRITEBYTECODE".to_string(), "1".into()),
        ("PYTHONUNBUFFERED".to_string(), "1".into()),
        ("PYTHONUTF8".to_string(), "1".into()),
    ];
    Recipe { program: python, arguments: vec![program.into_os_string()], environment }
}

/// kafkajs.
pub fn kafkajs(places: &Places) -> Result<Recipe, Missing> {
    need("node", &["--version"], "node is not installed")?;
    need("npm", &["--version"], "npm is not installed")?;
    let source = places.source("node");
    let home = places.work.join("node");
    let manifests = [source.join("package.json"), source.join("package-lock.json")];
    once(&home.join("installed"), &[&manifests[0], &manifests[1]], || {
        for manifest in &manifests {
            let name = manifest.file_name().unwrap_or_default();
            fs::copy(manifest, home.join(name)).map_err(|error| format!("{}: {error}", manifest.display()))?;
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&home);
        process::run(npm, &install_log(places, "npm")?, INSTALL_MAX)
    })?;
    Ok(Recipe {
        program: "node".into(),
        arguments: vec![source.join("scenario.js").into_os_string()],
        environment: vec![("NODE_PATH".to_string(), home.join("node_modules").into_os_string())],
    })
}

/// segmentio/kafka-go.
pub fn kafka_go(places: &Places) -> Result<Recipe, Missing> {
    need("go", &["version"], "go is not installed")?;
    let source = places.source("go");
    let home = places.work.join("go");
    let program = home.join("scenario");
    let files = ["scenario.go", "kill.go", "go.mod", "go.sum"].map(|name| source.join(name));
    let inputs: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    once(&home.join("built"), &inputs, || {
        let mut go = Command::new("go");
        go.args(["build", "-modcacherw", "-o"]).arg(&program).arg(".").current_dir(&source);
        go.env("GOMODCACHE", home.join("mod")).env("GOCACHE", home.join("cache")).env("GOTOOLCHAIN", "local");
        process::run(go, &install_log(places, "go")?, INSTALL_MAX)
    })?;
    Ok(Recipe { program, arguments: Vec::new(), environment: Vec::new() })
}

/// kcat, driven by a Python program.
pub fn kcat(places: &Places) -> Result<Recipe, Missing> {
    need("python3", &["--version"], "python3 is not installed (it drives kcat)")?;
    if !has("kcat", &["-V"]) {
        let log = install_log(places, "kcat")?;
        for arguments in [["update", "-q"].as_slice(), &["install", "-y", "-q", "--no-install-recommends", "kcat"]] {
            let mut apt = Command::new("apt-get");
            apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
            if process::run(apt, &log, INSTALL_MAX).is_err() {
                break;
            }
        }
    }
    need("kcat", &["-V"], "kcat is not installed, and apt-get could not install it")?;
    Ok(python_recipe("python3".into(), places.source("kcat").join("with_kcat.py")))
}

fn install_log(places: &Places, name: &str) -> Result<Log, String> {
    Log::create(&places.work.join(format!("logs/install-{name}.log")))
}
