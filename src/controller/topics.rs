//! DeleteTopics and CreatePartitions.

use crate::command::{DeletedTopic, MorePartitions, TopicRef};
use crate::error::CommandError;
use crate::image::TopicImage;
use crate::machine::{Controller, MAX_PARTITIONS_PER_REQUEST};
use crate::record::Record;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Controller {
    pub(crate) fn delete_topics(
        &mut self,
        topics: &[TopicRef],
        records: &mut Vec<Record>,
    ) -> Vec<Result<DeletedTopic, CommandError>> {
        // Asked twice for the same topic, by name or by id, all of its items are wrong.
        let mut seen = BTreeSet::new();
        let repeated: BTreeSet<_> = topics
            .iter()
            .filter_map(|topic| self.find(topic).ok())
            .map(|topic| topic.id)
            .filter(|id| !seen.insert(*id))
            .collect();
        let delete = |reference: &TopicRef| {
            if !self.image.broker().topics.delete_topic_enable {
                return Err(CommandError::DeletionDisabled);
            }
            let topic = self.find(reference)?;
            if repeated.contains(&topic.id) {
                return Err(CommandError::InvalidRequest(format!("topic '{}' is named twice", topic.name)));
            }
            if topic.internal {
                return Err(CommandError::Reserved(topic.name.to_string()));
            }
            self.commit(vec![Record::RemoveTopic { topic_id: topic.id }], records);
            Ok(DeletedTopic { name: topic.name.to_string(), topic_id: topic.id })
        };
        topics.iter().map(delete).collect()
    }

    fn find(&self, reference: &TopicRef) -> Result<Arc<TopicImage>, CommandError> {
        match reference {
            TopicRef::Name(name) => {
                self.image.topic_named(name).cloned().ok_or_else(|| CommandError::UnknownTopic(name.clone()))
            }
            TopicRef::Id(id) => self.image.topic(*id).cloned().ok_or(CommandError::UnknownTopicId(*id)),
        }
    }

    pub(crate) fn create_partitions(
        &mut self,
        topics: &[MorePartitions],
        validate_only: bool,
        records: &mut Vec<Record>,
    ) -> Vec<Result<(), CommandError>> {
        let mut seen = BTreeSet::new();
        let repeated: BTreeSet<&str> =
            topics.iter().map(|topic| topic.name.as_str()).filter(|name| !seen.insert(*name)).collect();
        let mut left = MAX_PARTITIONS_PER_REQUEST;
        let grow = |more: &MorePartitions| {
            if repeated.contains(more.name.as_str()) {
                return Err(CommandError::InvalidRequest(format!("topic '{}' is named twice", more.name)));
            }
            let topic = self.find(&TopicRef::Name(more.name.clone()))?;
            let added = self.check_growth(&topic, more)?;
            if added > left {
                let text = format!("more than {MAX_PARTITIONS_PER_REQUEST} new partitions in one request");
                return Err(CommandError::LimitReached(text));
            }
            self.check_room(0, added)?;
            left -= added;
            if !validate_only {
                let made = self.partition_records(topic.id, topic.partitions.len() as i32..more.count);
                self.commit(made, records);
            }
            Ok(())
        };
        topics.iter().map(grow).collect()
    }

    /// How many partitions are new, if all is well.
    fn check_growth(&self, topic: &TopicImage, more: &MorePartitions) -> Result<usize, CommandError> {
        let now = topic.partitions.len();
        let wanted = usize::try_from(more.count).unwrap_or(0);
        if topic.internal {
            return Err(CommandError::Reserved(topic.name.to_string()));
        }
        if wanted == now {
            let text = format!("topic '{}' already has {now} partition(s)", topic.name);
            return Err(CommandError::InvalidPartitions(text));
        }
        if wanted < now {
            let text = format!(
                "topic '{}' has {now} partition(s), and their number cannot shrink to {}",
                topic.name, more.count
            );
            return Err(CommandError::InvalidPartitions(text));
        }
        let added = wanted - now;
        if let Some(assignments) = &more.assignments {
            if assignments.len() != added {
                let text = format!("{added} partition(s) are new, and {} assignment(s) are given", assignments.len());
                return Err(CommandError::InvalidAssignment(text));
            }
            for (partition, brokers) in (now as i32..).zip(assignments) {
                self.check_brokers(partition, brokers)?;
            }
        }
        Ok(added)
    }
}
