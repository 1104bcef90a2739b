//! A headless Chromium on two pipes, spoken to in its DevTools protocol: JSON messages with a zero behind each.
//! Must not know what is looked at.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coretide_errands::fetched::has;
use serde_json::{Value, json};

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);
const PROGRAMS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome-headless-shell"];
/// Opens the pipes as the descriptors that Chromium reads from and writes to. `--no-sandbox` is for root, whom it refuses else.
const START: &str = r#"exec "$1" --headless=new --no-sandbox --disable-gpu --no-first-run --hide-scrollbars \
  --disable-background-networking --disable-component-update --user-data-dir="$2/profile" \
  --remote-debugging-pipe about:blank 3<"$2/in" 4>"$2/out""#;

/// The browser that is there, or could be installed; else a message that begins with what `cargo x` takes for "not run".
pub fn find() -> Result<String, String> {
    let there = || PROGRAMS.into_iter().find(|program| has(program, &["--version"])).map(str::to_string);
    if let Some(program) = there() {
        return Ok(program);
    }
    for arguments in [["update", "-q"].as_slice(), &["install", "-y", "-q", "--no-install-recommends", "chromium"]] {
        let mut apt = Command::new("apt-get");
        apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null()).stderr(Stdio::null());
        if !apt.status().is_ok_and(|status| status.success()) {
            break;
        }
    }
    there().ok_or_else(|| format!("{}there is no Chromium, and apt-get could not install it", crate::NOT_RUN))
}

/// A running browser with one page. Ended when dropped.
pub struct Browser {
    process: Child,
    to: File,
    messages: Receiver<Value>,
    session: Option<String>,
    last_id: u64,
    complaints: Vec<String>,
}

impl Browser {
    /// Starts `program`; its pipes and its profile lie in `folder`.
    pub fn start(program: &str, folder: &Path) -> Result<Browser, String> {
        let folder = std::path::absolute(folder.join("browser")).map_err(|e| e.to_string())?;
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let pipes = ["in", "out"].map(|name| folder.join(name));
        let made = Command::new("mkfifo").args(&pipes).status().map_err(|e| format!("mkfifo: {e}"))?;
        if !made.success() {
            return Err(format!("{}: the pipes cannot be made", folder.display()));
        }
        let log = File::create(folder.join("log")).map_err(|e| e.to_string())?;
        let mut sh = Command::new("sh");
        sh.args(["-c", START, "sh", program]).arg(&folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let process = sh.spawn().map_err(|e| format!("sh: {e}"))?;
        let [into, from] = &pipes;
        let to = File::options().write(true).open(into).map_err(|e| format!("{}: {e}", into.display()))?;
        let from = File::open(from).map_err(|e| format!("{}: {e}", from.display()))?;
        let (tell, messages) = mpsc::channel();
        thread::spawn(move || {
            let mut reader = BufReader::new(from);
            let mut bytes = Vec::new();
            while reader.read_until(0, &mut bytes).is_ok_and(|read| read > 0) {
                let text = bytes.strip_suffix(&[0]).unwrap_or(&bytes);
                if let Ok(message) = serde_json::from_slice(text)
                    && tell.send(message).is_err()
                {
                    return;
                }
                bytes.clear();
            }
        });
        let mut browser = Browser { process, to, messages, session: None, last_id: 0, complaints: Vec::new() };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}))?;
        let attached =
            browser.call("Target.attachToTarget", json!({"targetId": target["targetId"], "flatten": true}))?;
        browser.session = attached["sessionId"].as_str().map(str::to_string);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}))?;
        }
        Ok(browser)
    }

    /// Asks for something and waits for its answer; what happens meanwhile is noted.
    pub fn call(&mut self, method: &str, params: Value) -> Result<Value, String> {
        self.last_id += 1;
        let id = self.last_id;
        let mut message = json!({"id": id, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).map_err(|e| format!("the browser is gone: {e}"))?;
        loop {
            let message = self.next(method)?;
            if message["id"] == id {
                return match message.get("error") {
                    Some(error) => Err(format!("{method}: {error}")),
                    None => Ok(message["result"].clone()),
                };
            }
            self.note(&message);
        }
    }

    /// Opens a page and waits until it is there.
    pub fn open(&mut self, url: &str) -> Result<(), String> {
        let answer = self.call("Page.navigate", json!({"url": url}))?;
        if let Some(problem) = answer["errorText"].as_str() {
            return Err(format!("{url}: {problem}"));
        }
        loop {
            let message = self.next("the page")?;
            if message["method"] == "Page.loadEventFired" {
                return Ok(());
            }
            self.note(&message);
        }
    }

    /// A picture of the page from its top.
    pub fn screenshot(&mut self, width: f64, height: f64, path: &Path) -> Result<(), String> {
        let clip = json!({"x": 0, "y": 0, "width": width, "height": height, "scale": 1});
        let shot = self.call("Page.captureScreenshot", json!({"captureBeyondViewport": true, "clip": clip}))?;
        let text = shot["data"].as_str().ok_or("a screenshot without data")?;
        let bytes = STANDARD.decode(text).map_err(|e| format!("a screenshot is not base64: {e}"))?;
        fs::write(path, bytes).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Errors on the console and requests to elsewhere since the last call.
    pub fn take_complaints(&mut self) -> Vec<String> {
        std::mem::take(&mut self.complaints)
    }

    fn next(&self, waiting_for: &str) -> Result<Value, String> {
        self.messages
            .recv_timeout(ANSWER_WITHIN)
            .map_err(|_| format!("{waiting_for}: the browser does not answer, or has ended"))
    }

    fn note(&mut self, message: &Value) {
        let params = &message["params"];
        match message["method"].as_str() {
            Some("Network.requestWillBeSent") => {
                let url = params["request"]["url"].as_str().unwrap_or_default();
                if !url.starts_with("file://") || params["type"] != "Document" {
                    self.complaints.push(format!("a request to {}", url.chars().take(80).collect::<String>()));
                }
            }
            Some("Runtime.exceptionThrown") => {
                self.complaints
                    .push(format!("an exception: {}", params["exceptionDetails"]["exception"]["description"]));
            }
            Some("Log.entryAdded") => self.complaints.push(format!("on the console: {}", params["entry"]["text"])),
            Some("Runtime.consoleAPICalled") => self.complaints.push(format!("on the console: {}", params["args"])),
            _ => {}
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
