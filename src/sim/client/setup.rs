//! The client that creates the topics, again until each is there.

use coretide_model::TopicId;
use coretide_wire::api::ApiKey;
use coretide_wire::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use coretide_wire::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};

use super::{Answer, Client, Cx, Shared, Slot, is_retriable};
use crate::judge::Verdict;

const RETRY: u32 = 1;

/// Creates the topics of the plan, then asks for their ids.
#[derive(Debug, Default)]
pub struct Setup {
    created: bool,
}

impl Setup {
    fn create(&self, cx: &mut Cx<'_>) {
        let config =
            |(name, value): &(String, String)| CreatableTopicConfig { name: name.clone(), value: Some(value.clone()) };
        let topic = |topic: &super::TopicPlan| CreatableTopic {
            name: topic.name.clone(),
            num_partitions: topic.partitions,
            replication_factor: 1,
            assignments: Vec::new(),
            configs: topic.configs.iter().map(config).collect(),
        };
        let topics = cx.shared.topics.iter().map(topic).collect();
        let request = CreateTopicsRequest { topics, timeout_ms: 5000, validate_only: false };
        let version = cx.version(2, 7);
        cx.send(0, ApiKey::CreateTopics, version, &request);
    }

    fn describe(&self, cx: &mut Cx<'_>) {
        let topic =
            |topic: &super::TopicPlan| MetadataRequestTopic { topic_id: TopicId::ZERO, name: Some(topic.name.clone()) };
        let topics = Some(cx.shared.topics.iter().map(topic).collect());
        let request = MetadataRequest { topics, allow_auto_topic_creation: false, ..MetadataRequest::default() };
        cx.send(0, ApiKey::Metadata, 12, &request);
    }
}

impl Client for Setup {
    fn name(&self) -> String {
        "setup".to_string()
    }

    fn on_start(&mut self, cx: &mut Cx<'_>) {
        cx.commands.push(super::Command::Connect(0));
    }

    fn on_open(&mut self, cx: &mut Cx<'_>, _: Slot) -> Verdict {
        if self.created {
            self.describe(cx)
        } else {
            self.create(cx)
        }
        Ok(())
    }

    fn on_answer(&mut self, cx: &mut Cx<'_>, answer: &Answer) -> Verdict {
        if answer.key == ApiKey::CreateTopics {
            let response: CreateTopicsResponse = answer.read()?;
            for topic in &response.topics {
                match topic.error_code {
                    0 | 36 => {}
                    code if is_retriable(code) => {
                        cx.timer(50, RETRY);
                        return Ok(());
                    }
                    code => return Err(format!("CreateTopics {}: error {code} {:?}", topic.name, topic.error_message)),
                }
            }
            self.created = true;
            self.describe(cx);
            return Ok(());
        }
        let response: MetadataResponse = answer.read()?;
        for topic in &response.topics {
            // Created means known everywhere: the answer to CreateTopics came before this question.
            let name = topic.name.clone().unwrap_or_default();
            let plan = cx.shared.topics.iter_mut().find(|plan| plan.name == name);
            let plan = plan.ok_or_else(|| format!("Metadata names '{name}', which nobody asked for"))?;
            if topic.error_code != 0 || topic.partitions.len() as i32 != plan.partitions {
                let found = topic.partitions.len();
                return Err(format!(
                    "created, but Metadata of {name} says error {}, {found} partitions",
                    topic.error_code
                ));
            }
            if plan.id != 0 && plan.id != topic.topic_id.0 {
                return Err(format!("{name} has changed its id"));
            }
            plan.id = topic.topic_id.0;
        }
        cx.shared.ready = true;
        cx.commands.push(super::Command::Close(0));
        Ok(())
    }

    fn on_close(&mut self, cx: &mut Cx<'_>, _: Slot) {
        if !cx.shared.ready {
            cx.timer(20, RETRY);
        }
    }

    fn on_timer(&mut self, cx: &mut Cx<'_>, _: u32) -> Verdict {
        if !cx.shared.ready {
            cx.commands.push(super::Command::Connect(0));
        }
        Ok(())
    }

    fn settled(&self, shared: &Shared) -> bool {
        shared.ready
    }
}
