//! The root of the topics: which exist, and who is told when that changes.
//!
//! Owns the [`Catalog`] (and with it `topics.json`) and supervises one [`Topic`] actor per topic.
//! A change is written to the file, then published by the topic's actor, then told to the
//! [`Registrar`]; an operator's change is answered only after the name servers know it.
//!
//! Invariants: a topic that was answered as made is in the file and in the published table.
//! Failure policy: restart from disk; topic actors live on and are asked to publish again.

use std::{collections::HashMap, sync::Arc};

use actix::{Addr, Message};
use futures_util::future::LocalBoxFuture;
use gantry_codec::{
    SendHeader,
    body::{TopicConfig, TopicConfigSerializeWrapper},
};
use gantry_supervisor::{ChildSpec, ContextExt, Ctx, Logic, Policy, Receive, Reply, Shell, Tree};
use slog::{Logger, error, info, o};

use super::{
    catalog::{Catalog, TopicError, topic_config},
    names::{PERM_READ, PERM_WRITE, RETRY_PREFIX},
    queue::DeleteQueue,
    queues::Queues,
    topic::{Configure, DeleteTopic, Topic},
    view::TopicTable,
};
use crate::{
    group::RetryTopic,
    registrar::{Register, Registrar},
};

/// How often a topic's actor is given the same configuration if it panics over it.
const CONFIGURE_TRIES: usize = 3;

/// Make a topic that is missing. Answered once it can be sent to; if it is there already, at once.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), TopicError>")]
pub struct CreateTopic {
    topic: String,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// A send names it: from this template, with as many queues.
    Template { template: String, queues: i32 },
    /// The broker needs it: retry topics, dead letters. `order` is adopted by a topic that exists.
    Internal { queues: i32, order: Option<bool> },
    /// It is there, and is to have this attribute besides.
    Attribute { name: &'static str, value: &'static str },
}

impl CreateTopic {
    /// For a send to a topic that does not exist.
    pub fn for_send(header: &SendHeader<'_>) -> Self {
        Self {
            topic: header.topic.into(),
            kind: Kind::Template {
                template: header.default_topic.into(),
                queues: header.default_topic_queue_nums,
            },
        }
    }

    /// For a topic that the broker itself needs, readable and writable.
    pub fn internal(topic: &str, queues: i32) -> Self {
        Self { topic: topic.into(), kind: Kind::Internal { queues, order: None } }
    }

    /// For a group's retry topic.
    pub fn retry(topic: &RetryTopic) -> Self {
        let kind = Kind::Internal { queues: topic.queue_nums, order: topic.order };
        Self { topic: format!("{RETRY_PREFIX}{}", topic.group), kind }
    }

    /// For a topic that exists, to note that its messages may say when they end.
    pub fn noted_for_ends(topic: &str) -> Self {
        let kind = Kind::Attribute { name: crate::expiry::MESSAGES, value: "true" };
        Self { topic: topic.into(), kind }
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Whether a topic that is configured like this needs no change.
    pub fn is_met_by(&self, config: &TopicConfig) -> bool {
        match &self.kind {
            Kind::Internal { order: Some(order), .. } => config.order == *order,
            Kind::Attribute { name, value } => {
                config.attributes.get(*name).is_some_and(|set| set == value)
            }
            _ => true,
        }
    }
}

/// Make or change a topic as an operator wants it; in the place of its attributes stand changes to
/// them, `+name` or `-name`. Answered once the name servers know it.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), TopicError>")]
pub struct UpdateTopic(pub TopicConfig);

/// Delete a topic with its queues. Whether it was there.
#[derive(Debug, Message)]
#[rtype(result = "Result<bool, TopicError>")]
pub struct RemoveTopic(pub String);

/// All topics with their data version.
#[derive(Debug, Message)]
#[rtype(result = "Arc<TopicConfigSerializeWrapper>")]
pub struct AllTopics;

/// The actor of a topic; for tests of the supervision.
#[derive(Debug, Message)]
#[rtype(result = "Option<Addr<Shell<Topic>>>")]
pub struct TopicActor(pub String);

/// What the root works with.
pub struct TopicsParts {
    /// Where topic actors are supervised.
    pub tree: Tree,
    /// Makes queues.
    pub queues: Arc<Queues>,
    /// Where views are published.
    pub table: Arc<TopicTable>,
    /// Tells the name servers.
    pub registrar: Addr<Shell<Registrar>>,
    /// Parent of the topics' loggers.
    pub topic_log: Logger,
    /// The actor's logger.
    pub log: Logger,
}

/// See the module's text.
pub struct Topics {
    parts: TopicsParts,
    catalog: Catalog,
    actors: HashMap<Arc<str>, Addr<Shell<Topic>>>,
}

impl Topics {
    /// The root over an opened catalog.
    pub fn new(parts: TopicsParts, catalog: Catalog) -> Self {
        Self { parts, catalog, actors: HashMap::new() }
    }

    /// Starts the topic's actor if need be and has it publish `config`.
    fn configure(&mut self, config: TopicConfig) -> LocalBoxFuture<'static, ()> {
        let name: Arc<str> = config.topic_name.as_str().into();
        let actor = match self.actors.get(&name) {
            Some(actor) => actor.clone(),
            None => {
                let actor = self.start_topic(name.clone());
                self.actors.insert(name, actor.clone());
                actor
            }
        };
        Box::pin(async move {
            // An order that died with its actor is given to the next incarnation.
            for _ in 0..CONFIGURE_TRIES {
                if actor.send(Configure(config.clone())).await.is_ok() {
                    return;
                }
            }
        })
    }

    fn start_topic(&self, name: Arc<str>) -> Addr<Shell<Topic>> {
        let parts = &self.parts;
        let log = parts.topic_log.new(o!("actor" => "topic", "topic" => name.to_string()));
        let (table, queues) = (parts.table.clone(), parts.queues.clone());
        let spec = ChildSpec::new(format!("topic/{name}"), Policy::RestartFromDisk, move |_| {
            Ok(Topic::new(name.clone(), table.clone(), queues.clone(), log.clone()))
        });
        parts.tree.spawn(spec)
    }

    fn create(&mut self, order: CreateTopic) -> Result<Option<TopicConfig>, TopicError> {
        if let Some(config) = self.catalog.get(&order.topic) {
            if order.is_met_by(config) {
                return Ok(None);
            }
            let mut config = config.clone();
            match order.kind {
                Kind::Attribute { name, value } => {
                    config.attributes.insert(name.into(), value.into());
                }
                _ => config.order = !config.order,
            }
            self.catalog.put(config.clone())?;
            return Ok(Some(config));
        }
        let config = match order.kind {
            Kind::Template { template, queues } => {
                self.catalog.from_template(&order.topic, &template, queues)?
            }
            Kind::Internal { queues, order: is_ordered } => {
                super::names::validate_internal(&order.topic)?;
                let config = topic_config(&order.topic, queues, queues, PERM_READ | PERM_WRITE);
                TopicConfig { order: is_ordered.unwrap_or(false), ..config }
            }
            Kind::Attribute { .. } => {
                let (topic, template) = (order.topic, String::new());
                return Err(TopicError::NotCreated { topic, template });
            }
        };
        self.catalog.put(config.clone())?;
        info!(self.parts.log, "topic created"; "topic" => &order.topic,
            "queues" => config.write_queue_nums);
        Ok(Some(config))
    }

    /// Has the topic's actor and its queues deleted.
    fn delete(
        &self,
        topic: String,
        actor: Option<Addr<Shell<Topic>>>,
    ) -> LocalBoxFuture<'static, ()> {
        let store = self.parts.queues.store.clone();
        Box::pin(async move {
            let Some(actor) = actor else { return };
            let queues = actor.send(DeleteTopic).await.unwrap_or_default();
            let deleted = queues.iter().map(|queue| queue.send(DeleteQueue));
            futures_util::future::join_all(deleted).await;
            store.forget_queues(&topic);
        })
    }

    /// Tells the name servers of the topics as they are now.
    fn register(&self) -> LocalBoxFuture<'static, ()> {
        let registrar = self.parts.registrar.clone();
        let topics = Arc::new(self.catalog.table().clone());
        Box::pin(async move {
            let _ = registrar.send(Register { topics }).await;
        })
    }
}

impl Logic for Topics {
    const NAME: &'static str = "topics";

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        let configs: Vec<TopicConfig> = self.catalog.topics().cloned().collect();
        let published: Vec<_> = configs.into_iter().map(|config| self.configure(config)).collect();
        // The mailbox waits until every topic can be used.
        ctx.wait_then(futures_util::future::join_all(published), |topics, _, ctx| {
            info!(topics.parts.log, "topics ready"; "count" => topics.actors.len());
            // Told from now on; nobody waits for it.
            ctx.spawn_then(topics.register(), |_, (), _| {});
        });
    }
}

impl Receive<CreateTopic> for Topics {
    fn receive(
        &mut self,
        order: CreateTopic,
        ctx: &mut Ctx<Self>,
    ) -> Reply<Result<(), TopicError>> {
        match self.create(order) {
            Ok(None) => Reply::Now(Ok(())),
            Ok(Some(config)) => {
                let published = self.configure(config);
                // Begun before the answer, not awaited: the send goes on.
                ctx.spawn_then(self.register(), |_, (), _| {});
                Reply::Later(Box::pin(async move {
                    published.await;
                    Ok(())
                }))
            }
            Err(e) => {
                error!(self.parts.log, "topic not created"; "reason" => %e);
                Reply::Now(Err(e))
            }
        }
    }
}

impl Receive<UpdateTopic> for Topics {
    fn receive(
        &mut self,
        UpdateTopic(config): UpdateTopic,
        _: &mut Ctx<Self>,
    ) -> Reply<Result<(), TopicError>> {
        let config = match self.catalog.asked_for(config) {
            Ok(config) => config,
            Err(e) => return Reply::Now(Err(e)),
        };
        if let Err(e) = self.catalog.put(config.clone()) {
            return Reply::Now(Err(e));
        }
        info!(self.parts.log, "topic updated"; "topic" => &config.topic_name,
            "read_queues" => config.read_queue_nums, "write_queues" => config.write_queue_nums,
            "perm" => config.perm);
        let published = self.configure(config);
        let registered = self.register();
        Reply::Later(Box::pin(async move {
            published.await;
            registered.await;
            Ok(())
        }))
    }
}

impl Receive<RemoveTopic> for Topics {
    fn receive(
        &mut self,
        RemoveTopic(topic): RemoveTopic,
        ctx: &mut Ctx<Self>,
    ) -> Reply<Result<bool, TopicError>> {
        if super::names::is_system_topic(&topic) {
            return Reply::Now(Err(TopicError::System(topic)));
        }
        let removed = match self.catalog.remove(&topic) {
            Ok(true) => self.actors.remove(&*topic),
            done => return Reply::Now(done),
        };
        let (deleted, registered) = (self.delete(topic, removed), self.register());
        let (done, is_deleted) = tokio::sync::oneshot::channel();
        // The mailbox waits: a topic of the same name must not meet the old one's files.
        ctx.wait_then(deleted, |_, (), _| {
            let _ = done.send(());
        });
        Reply::Later(Box::pin(async move {
            let _ = is_deleted.await;
            registered.await;
            Ok(true)
        }))
    }
}

impl Receive<AllTopics> for Topics {
    fn receive(
        &mut self,
        _: AllTopics,
        _: &mut Ctx<Self>,
    ) -> Reply<Arc<TopicConfigSerializeWrapper>> {
        Reply::Now(Arc::new(self.catalog.table().clone()))
    }
}

impl Receive<TopicActor> for Topics {
    fn receive(
        &mut self,
        TopicActor(topic): TopicActor,
        _: &mut Ctx<Self>,
    ) -> Reply<Option<Addr<Shell<Topic>>>> {
        Reply::Now(self.actors.get(&*topic).cloned())
    }
}
