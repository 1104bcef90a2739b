//! The run as the report sees it: looks on, changes nothing.

use coretide_wire::api::ApiKey;
use coretide_wire::messages::describe_groups::DescribeGroupsResponse;

use super::World;
use crate::client::{Answer, error_codes};
use crate::coverage::Coverage;
use crate::judge::Verdict;
use crate::plan::End;

impl World {
    /// Notes something, if anybody wants to know.
    pub(super) fn cover(&mut self, note: impl FnOnce(&mut Coverage)) {
        if let Some(coverage) = &mut self.coverage {
            note(coverage);
        }
    }

    /// An answer came.
    pub(super) fn cover_answer(&mut self, answer: &Answer) -> Verdict {
        let Some(coverage) = &mut self.coverage else { return Ok(()) };
        for code in error_codes(answer)? {
            coverage.note("error code", code.to_string());
        }
        if answer.key == ApiKey::DescribeGroups {
            let response: DescribeGroupsResponse = answer.read()?;
            for group in &response.groups {
                coverage.group(&group.group_id, &group.group_state);
            }
        }
        Ok(())
    }

    /// The process ends in this way.
    pub(super) fn cover_end(&mut self, end: End) {
        if self.coverage.is_none() {
            return;
        }
        let phase = match (self.broker.boot.is_some(), self.broker.stopping, self.broker.hosts.is_empty()) {
            (true, ..) => "starting",
            (_, true, _) => "stopping",
            (_, _, true) => "down",
            _ => "serving",
        };
        let how = match end {
            End::Kill => "Kill",
            End::PowerCut(_) => "PowerCut",
            End::CleanStop => "CleanStop",
        };
        let in_flight = self.broker.in_flight();
        self.cover(|coverage| {
            coverage.note("end", format!("{how} while {phase}"));
            in_flight.iter().for_each(|op| coverage.op("crash while in flight", op));
        });
    }

    /// What the shards counted, at the end of their life.
    pub(super) fn cover_life(&mut self) {
        if let Some(coverage) = &mut self.coverage {
            self.broker.hosts.iter().for_each(|host| coverage.metrics(host.shard.metrics()));
        }
    }
}
