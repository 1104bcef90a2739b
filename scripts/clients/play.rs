//! Plays one client's scenario: starts its program, kills and restarts the broker when it says so, reads what it says.
//! What the program may say on a line: `ok STEP: …`, `skip STEP: why`, `FAIL STEP: why`, `READY-FOR-KILL`, `DONE`.

use std::process::Command;

use super::broker::Broker;
use super::setup::Recipe;
use super::{INPUT, Places, SCENARIO_MAX};
use coretide_errands::process::{Log, Talker};

/// The steps that each scenario must pass or, where its client cannot do it, skip with a reason.
pub const STEPS: &[&str] =
    &["create-topic", "codecs-and-acks", "group", "timestamps", "headers", "sizes", "too-large", "kill"];

/// What was heard from a scenario.
#[derive(Default)]
struct Heard {
    passed: Vec<String>,
    skipped: Vec<String>,
    failed: Option<String>,
    restart: Option<String>,
    done: bool,
}

/// Plays a scenario to its end, stops the broker and says what was passed, or what failed.
pub fn play(name: &str, recipe: &Recipe, places: &Places, broker: &mut Broker) -> Result<String, String> {
    let log = Log::create(&places.work.join(format!("logs/{name}.log")))?;
    let mut command = Command::new(&recipe.program);
    command.args(&recipe.arguments).args(["--bootstrap", broker.bootstrap()]).arg("--input");
    command.arg(places.root.join(INPUT)).args(["--name", &run_name(name)]).envs(recipe.environment.iter().cloned());
    let mut talker = Talker::start(command, &log, SCENARIO_MAX)?;
    let mut heard = Heard::default();
    while let Some(line) = talker.next_line().map_err(|why| format!("{why}; {}", log.tail()))? {
        if line == "READY-FOR-KILL" {
            heard.restart = Some(match broker.kill_and_restart()? {
                Some(took) => format!("killed and back in {} ms", took.as_millis()),
                None => "not killed, the broker is not ours".to_string(),
            });
            talker.say("RESTARTED");
        } else {
            hear(&line, &mut heard);
        }
    }
    let ended_well = talker.ended_well();
    if let Some(failed) = heard.failed {
        return Err(format!("{failed}; {}", log.tail()));
    }
    if !ended_well || !heard.done {
        return Err(format!("ended early; {}", log.tail()));
    }
    broker.stop()?;
    verdict(&heard)
}

/// A name for topics and groups that is new in every run: a foreign broker may remember the last one.
fn run_name(name: &str) -> String {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    format!("{name}-{}", clock.map(|since| since.as_millis() % 1_000_000_000).unwrap_or_default())
}

fn hear(line: &str, heard: &mut Heard) {
    if let Some(step) = line.strip_prefix("ok ") {
        heard.passed.push(step_name(step));
    } else if let Some(step) = line.strip_prefix("skip ") {
        heard.skipped.push(step.to_string());
    } else if let Some(step) = line.strip_prefix("FAIL ") {
        heard.failed.get_or_insert_with(|| step.to_string());
    } else if line == "DONE" {
        heard.done = true;
    }
}

fn step_name(said: &str) -> String {
    said.split([':', ' ']).next().unwrap_or_default().to_string()
}

/// Every step must have been named; one that was only skipped must have said why.
fn verdict(heard: &Heard) -> Result<String, String> {
    for step in STEPS {
        let passed = heard.passed.iter().any(|name| name == step);
        if !passed && !heard.skipped.iter().any(|said| step_name(said) == *step) {
            return Err(format!("its scenario never came to the step {step}"));
        }
    }
    let restart = heard.restart.as_ref().ok_or("its scenario never asked for the kill")?;
    let skipped: String = heard.skipped.iter().map(|said| format!("; without {said}")).collect();
    Ok(format!("{} steps, {restart}{skipped}", heard.passed.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_that_leaves_a_step_out_has_not_passed() {
        let mut heard = Heard::default();
        for step in STEPS.iter().filter(|step| **step != "headers") {
            hear(&format!("ok {step}: fine"), &mut heard);
        }
        assert!(verdict(&heard).is_err(), "no kill");
        heard.restart = Some("killed".to_string());
        assert!(verdict(&heard).is_err_and(|why| why.contains("headers")));
        hear("skip headers: the client has none", &mut heard);
        assert!(verdict(&heard).is_ok_and(|said| said.contains("without headers: the client has none")));
    }

    #[test]
    fn the_first_failure_is_the_one_that_counts() {
        let mut heard = Heard::default();
        hear("FAIL group: no takeover", &mut heard);
        hear("FAIL kill: and so on", &mut heard);
        assert_eq!(heard.failed.as_deref(), Some("group: no takeover"));
    }
}
