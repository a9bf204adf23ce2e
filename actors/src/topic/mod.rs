//! Topics and queues: which exist, who may read and write them, and what waits at them.
//!
//! | file | what it holds |
//! |---|---|
//! | [`topics`] | the root actor: decides which topics exist |
//! | [`catalog`] | the plain table behind it, `topics.json` |
//! | [`topic`] | one actor per topic: its queues and its published view |
//! | [`queue`] | one actor per queue in use: its index and the pulls that wait |
//! | [`held_pulls`] | the list of waiting pulls |
//! | [`view`] | what everybody may read without a message |
//! | [`queues`] | how queue actors are made |
//! | [`facts`] | what others ask about topics and queues |
//! | [`light`] | queues that messages are in besides their own |
//! | [`kind`] | what kind of messages a topic is for |
//! | [`retention`] | how long a topic keeps its messages |
//! | [`names`] | names with a meaning, and what a name may look like |

pub mod catalog;
pub mod facts;
pub mod held_pulls;
pub mod kind;
pub mod light;
pub mod names;
pub mod queue;
pub mod queues;
pub mod retention;
#[expect(clippy::module_inception, reason = "the actor is named after what it is")]
pub mod topic;
pub mod topics;
pub mod view;

pub use catalog::{Catalog, CatalogConfig, TopicError};
pub use facts::Facts;
pub use held_pulls::HeldPull;
pub use kind::TopicKind;
pub use light::{LightRefusal, LightTopics};
pub use queue::{IndexBatch, OpenQueue, ParkPull, Queue, TrimQueue};
pub use queues::Queues;
pub use retention::TopicRetention;
pub use topics::{AllTopics, CreateTopic, RemoveTopic, Topics, TopicsParts, UpdateTopic};
pub use view::{Arrived, QueueAdvanced, QueueSlot, TopicTable, TopicView};
