//! Topics and their queues, and the broker's name at the name servers.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use actix::Addr;
use gantry_storage::{QueueError, Store};
use gantry_supervisor::{ChildSpec, Exit, Policy, Shell, Tree};
use slog::{info, warn};

use super::{BrokerStartError, LogActors, Start, log::dispatch_place};
use crate::{
    dedup,
    registrar::{LastTable, Registrar, RegistrarConfig},
    topic::{AllTopics, Catalog, LightTopics, Queues, TopicTable, Topics, TopicsParts},
};

impl Start<'_> {
    /// Light queues, if they are to be served.
    pub(super) fn light_topics(&self, table: &Arc<TopicTable>) -> Option<Arc<LightTopics>> {
        let light = &self.config.light;
        let quota = light.enable_lmq_quota.then_some(light.max_lmq_consume_queue_num);
        self.light_queues_on().then(|| LightTopics::new(table.clone(), quota))
    }

    pub(super) fn light_queues_on(&self) -> bool {
        let light = &self.config.light;
        light.enable_lmq && light.enable_multi_dispatch
    }

    pub(super) fn queues(&self, tree: Tree, store: &Arc<Store>, actors: &LogActors) -> Arc<Queues> {
        Arc::new(Queues {
            tree,
            place: dispatch_place(),
            store: store.clone(),
            dispatcher: actors.dispatcher.clone(),
            log: self.log.clone(),
        })
    }

    pub(super) async fn start_topics(
        &self,
        store: &Arc<Store>,
        table: &Arc<TopicTable>,
        queues: &Arc<Queues>,
        advertised: SocketAddr,
    ) -> Result<Addr<Shell<Topics>>, BrokerStartError> {
        let registrar = self.start_registrar(advertised);
        let topic_tree = self.tree.pool("topics");
        let config = self.catalog_config();
        let path = store.config().config_dir().join("topics.json");
        let (disk, clock) = (self.seams.disk.clone(), self.seams.clock.clone());
        // Read once here, so that a file that cannot be read is told as such.
        Catalog::open(config.clone(), path.clone(), disk.clone(), clock.clone())?;
        let (table, queues) = (table.clone(), queues.clone());
        let (log, logger) = (self.log.clone(), self.child_log("topics"));
        let spec = ChildSpec::new("topics", Policy::RestartFromDisk, move |_| {
            let catalog = Catalog::open(config.clone(), path.clone(), disk.clone(), clock.clone());
            let parts = TopicsParts {
                tree: topic_tree.clone(),
                queues: queues.clone(),
                table: table.clone(),
                registrar: registrar.clone(),
                topic_log: log.clone(),
                log: logger.clone(),
            };
            Ok(Topics::new(parts, catalog.map_err(|e| e.to_string())?))
        });
        let topics = self.started("topics", self.tree.start(spec).await)?;
        // It answers once all topics are published.
        let published = topics.send(AllTopics).await;
        let failed =
            |_| BrokerStartError::Actor { actor: "topics", reason: Exit::Failed("lost".into()) };
        published.map(|_| topics).map_err(failed)
    }

    /// Has queues built again that lost something. Nobody is served yet, so this thread may read.
    pub(super) fn verify_queues(
        &self,
        store: &Store,
        table: &TopicTable,
    ) -> Result<(), QueueError> {
        let topics = table.all();
        for queue in store.verify_queues(|topic| topics.contains_key(topic))? {
            warn!(self.log, "queue had lost files, built again from the log";
                "topic" => &*queue.topic, "queue" => queue.queue.0);
        }
        Ok(())
    }

    /// Has topics that store messages once know what they have stored. Nobody is served yet, so this
    /// thread may read.
    pub(super) fn refill_windows(&self, table: &TopicTable, queues: &Queues, store: &Store) {
        let begun = self.seams.clock.now_ms();
        let keys = dedup::refill(table, queues, store.log(), begun);
        if keys > 0 {
            let took = self.seams.clock.now_ms() - begun;
            info!(self.log, "windows of topics filled"; "keys" => keys, "took_ms" => took);
        }
    }

    pub(super) fn start_registrar(&self, advertised: SocketAddr) -> Addr<Shell<Registrar>> {
        let (identity, registration) = (&self.config.identity, &self.config.registration);
        let ha = format!("{}:{}", identity.broker_ip2, advertised.port().saturating_add(1));
        let config = RegistrarConfig {
            namesrv: registration.namesrv_addr.clone(),
            cluster_name: identity.broker_cluster_name.clone(),
            broker_name: identity.broker_name.clone(),
            broker_addr: advertised.to_string(),
            broker_id: identity.broker_id as i64,
            ha_server_addr: ha,
            permission: identity.broker_permission,
            compressed: registration.compressed_register,
            period: registration.register_name_server_period,
            timeout: registration.register_broker_timeout,
            client: self.seams.client.clone(),
        };
        let (last, logger) = (LastTable::new(Mutex::new(None)), self.child_log("registrar"));
        self.tree.spawn(ChildSpec::new("registrar", Policy::RestartEmpty, move |_| {
            Ok(Registrar::new(config.clone(), last.clone(), logger.clone()))
        }))
    }
}
