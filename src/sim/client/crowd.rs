//! Many connections of one address, more than are let in where connections are limited: it asks on each of them once, and comes
//! back when it is sent away. Must never touch: what it asks; that the others are served is judged elsewhere.

use coretide_wire::api::ApiKey;
use coretide_wire::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};

use super::{Answer, Client, Command, Cx, Shared, Slot};
use crate::judge::Verdict;

const MORE: u32 = 1;

/// How many it wants to have.
pub const CROWD: usize = 24;

/// The client.
#[derive(Debug, Default)]
pub struct Crowd {
    open: [bool; CROWD],
}

impl Client for Crowd {
    fn name(&self) -> String {
        "crowd".to_string()
    }

    fn on_start(&mut self, cx: &mut Cx<'_>) {
        cx.timer(100, MORE);
    }

    fn on_open(&mut self, cx: &mut Cx<'_>, slot: Slot) -> Verdict {
        self.open[usize::from(slot)] = true;
        let (client_software_name, client_software_version) = ("crowd".to_string(), "1".to_string());
        let request =
            ApiVersionsRequest { client_software_name, client_software_version, ..ApiVersionsRequest::default() };
        cx.send(slot, ApiKey::ApiVersions, 3, &request);
        Ok(())
    }

    fn on_answer(&mut self, _: &mut Cx<'_>, answer: &Answer) -> Verdict {
        let response: ApiVersionsResponse = answer.read()?;
        if response.error_code == 0 { Ok(()) } else { Err(format!("ApiVersions: error {}", response.error_code)) }
    }

    fn on_close(&mut self, _: &mut Cx<'_>, slot: Slot) {
        self.open[usize::from(slot)] = false;
    }

    fn on_timer(&mut self, cx: &mut Cx<'_>, _: u32) -> Verdict {
        let slots = 0..CROWD as Slot;
        if cx.shared.winding_down {
            cx.commands.extend(slots.map(Command::Close));
            return Ok(());
        }
        if cx.shared.ready {
            cx.commands.extend(slots.filter(|&slot| !self.open[usize::from(slot)]).map(Command::Connect));
        }
        cx.timer(100, MORE);
        Ok(())
    }

    fn settled(&self, _: &Shared) -> bool {
        true
    }
}
