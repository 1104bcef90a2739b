//! What may be asked of the controller, and its answers, item by item in the order of the command.

use crate::error::CommandError;
use crate::record::ResourceType;
use coretide_model::TopicId;
use coretide_model::config::Described;

/// Keys and values as a client gave them; a missing value is for the controller to refuse.
pub type ConfigEntries = Vec<(String, Option<String>)>;

/// A request for a change.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    CreateTopics {
        topics: Vec<NewTopic>,
        validate_only: bool,
    },
    /// Topics that a client asked about and that may be created with the broker's defaults. Names that exist or are not
    /// legal are passed over.
    AutoCreate {
        names: Vec<String>,
    },
    DeleteTopics {
        topics: Vec<TopicRef>,
    },
    CreatePartitions {
        topics: Vec<MorePartitions>,
        validate_only: bool,
    },
    /// Every resource's configuration is replaced as a whole.
    AlterConfigs {
        resources: Vec<(ConfigResource, ConfigEntries)>,
        validate_only: bool,
    },
    IncrementalAlterConfigs {
        resources: Vec<(ConfigResource, Vec<IncrementalChange>)>,
        validate_only: bool,
    },
    /// A block of producer ids for the asking shard alone.
    AllocateProducerIds,
}

/// A topic to be created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewTopic {
    pub name: String,
    /// -1: the broker's default, or given by the assignment.
    pub num_partitions: i32,
    /// -1: the broker's default, or given by the assignment.
    pub replication_factor: i16,
    /// Partition index and its brokers; empty lets the controller choose.
    pub assignments: Vec<(i32, Vec<i32>)>,
    pub configs: ConfigEntries,
}

/// A topic by name or by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicRef {
    Name(String),
    Id(TopicId),
}

/// A topic that shall have more partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MorePartitions {
    pub name: String,
    /// The new total.
    pub count: i32,
    /// Brokers of each new partition, or none to let the controller choose.
    pub assignments: Option<Vec<Vec<i32>>>,
}

/// What a configuration belongs to. The number stays raw so that an unknown kind can be answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigResource {
    pub resource_type: i8,
    pub name: String,
}

impl ConfigResource {
    pub(crate) fn kind(&self) -> Result<ResourceType, CommandError> {
        ResourceType::from_code(self.resource_type)
            .ok_or_else(|| CommandError::InvalidRequest(format!("resource type {} is not known", self.resource_type)))
    }
}

/// `AlterConfigOp.OpType` (KIP-339).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigOp {
    Set,
    Delete,
    Append,
    Subtract,
}

impl ConfigOp {
    /// The operation with that number.
    pub const fn from_code(code: i8) -> Option<ConfigOp> {
        Some(match code {
            0 => ConfigOp::Set,
            1 => ConfigOp::Delete,
            2 => ConfigOp::Append,
            3 => ConfigOp::Subtract,
            _ => return None,
        })
    }
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncrementalChange {
    pub name: String,
    /// None: a number that is no operation.
    pub op: Option<ConfigOp>,
    pub value: Option<String>,
}

/// A topic as it was, or would be, created.
#[derive(Clone, Debug, PartialEq)]
pub struct CreatedTopic {
    /// `TopicId::ZERO` when nothing was created.
    pub topic_id: TopicId,
    pub num_partitions: i32,
    pub replication_factor: i16,
    pub configs: Vec<Described>,
}

/// A topic that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedTopic {
    pub name: String,
    pub topic_id: TopicId,
}

/// Producer ids `first .. first + count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdBlock {
    pub first: i64,
    pub count: i64,
}

/// The answer to a command of the same name.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    CreateTopics(Vec<Result<CreatedTopic, CommandError>>),
    AutoCreate(Vec<Result<(), CommandError>>),
    DeleteTopics(Vec<Result<DeletedTopic, CommandError>>),
    CreatePartitions(Vec<Result<(), CommandError>>),
    AlterConfigs(Vec<Result<(), CommandError>>),
    IncrementalAlterConfigs(Vec<Result<(), CommandError>>),
    AllocateProducerIds(Result<ProducerIdBlock, CommandError>),
}

impl Command {
    /// How many topics or resources it names.
    pub(crate) fn items(&self) -> usize {
        match self {
            Command::CreateTopics { topics, .. } => topics.len(),
            Command::AutoCreate { names } => names.len(),
            Command::DeleteTopics { topics } => topics.len(),
            Command::CreatePartitions { topics, .. } => topics.len(),
            Command::AlterConfigs { resources, .. } => resources.len(),
            Command::IncrementalAlterConfigs { resources, .. } => resources.len(),
            Command::AllocateProducerIds => 1,
        }
    }

    /// The answer that refuses every item.
    pub(crate) fn refuse(&self, error: &CommandError) -> Reply {
        fn all<T>(count: usize, error: &CommandError) -> Vec<Result<T, CommandError>> {
            (0..count).map(|_| Err(error.clone())).collect()
        }
        match self {
            Command::CreateTopics { topics, .. } => Reply::CreateTopics(all(topics.len(), error)),
            Command::AutoCreate { names } => Reply::AutoCreate(all(names.len(), error)),
            Command::DeleteTopics { topics } => Reply::DeleteTopics(all(topics.len(), error)),
            Command::CreatePartitions { topics, .. } => Reply::CreatePartitions(all(topics.len(), error)),
            Command::AlterConfigs { resources, .. } => Reply::AlterConfigs(all(resources.len(), error)),
            Command::IncrementalAlterConfigs { resources, .. } => {
                Reply::IncrementalAlterConfigs(all(resources.len(), error))
            }
            Command::AllocateProducerIds => Reply::AllocateProducerIds(Err(error.clone())),
        }
    }
}

impl Reply {
    /// The same answer with every item refused: the write behind it failed.
    pub(crate) fn fail(&mut self, error: &CommandError) {
        fn all<T>(items: &mut [Result<T, CommandError>], error: &CommandError) {
            items.iter_mut().for_each(|item| *item = Err(error.clone()));
        }
        match self {
            Reply::CreateTopics(items) => all(items, error),
            Reply::DeleteTopics(items) => all(items, error),
            Reply::AutoCreate(items)
            | Reply::CreatePartitions(items)
            | Reply::AlterConfigs(items)
            | Reply::IncrementalAlterConfigs(items) => all(items, error),
            Reply::AllocateProducerIds(item) => *item = Err(error.clone()),
        }
    }
}
