//! The typed configuration of a name server.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use crate::{
    BrokerConfig, LoadError, Loaded, LogConfig, NetworkConfig, Sources, Surroundings,
    effective::{Effective, Setting},
    layer::{Entry, Layer},
    merge::Merged,
    schema::Schema,
    values::{int, millis},
};

/// A name server's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct NamesrvConfig {
    /// Its sockets.
    pub network: NetworkConfig,
    /// What it answers.
    pub routes: RouteConfig,
    /// Its log.
    pub log: LogConfig,
    /// All of it, for people and admin tools.
    pub effective: Effective,
    /// The file of `-c`, where changes at run time are kept.
    pub file: Option<PathBuf>,
}

/// Brokers and routes. A field has the name of its key in snake case; the shipped `namesrv.toml` says
/// what it means.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteConfig {
    /// Time between looks at silent brokers.
    #[serde(deserialize_with = "millis::<1, 3_600_000, _>")]
    pub scan_not_active_broker_interval: Duration,
    /// Answer no routes at first.
    pub need_wait_for_service: bool,
    /// For so long.
    #[serde(deserialize_with = "int::<0, 86_400, _, _>")]
    pub wait_seconds_for_service: u64,
    /// Order configurations in routes.
    pub order_message_enable: bool,
    /// Order configurations to brokers.
    pub return_order_topic_config_to_broker: bool,
    /// A slave may be shown as master.
    pub support_acting_master: bool,
    /// Tell brokers of the smallest id.
    pub notify_min_broker_id_changed: bool,
    /// Forget topics that a registration lacks.
    pub delete_topic_with_broker_registration: bool,
    /// The list of all topics.
    pub enable_all_topic_list: bool,
    /// Lists of some topics.
    pub enable_topic_list: bool,
    /// File of the key-value table.
    pub kv_config_path: PathBuf,
}

impl NamesrvConfig {
    /// Reads all layers.
    pub fn load(sources: &Sources, surroundings: &Surroundings) -> Result<Loaded<Self>, LoadError> {
        let mut warnings = Vec::new();
        let schema = Schema::namesrv()?;
        let beneath = Layer::default();
        let all = Merged::read(&schema, beneath, sources, surroundings, &mut warnings)?;
        let mut config = Self::finish(all, surroundings)?;
        config.file.clone_from(&sources.file);
        Ok(Loaded { config, warnings })
    }

    /// The name server inside `gantry standalone`: the defaults, with the sockets and the log of its
    /// broker and a port of its own.
    pub fn beside(broker: &BrokerConfig, surroundings: &Surroundings) -> Result<Self, LoadError> {
        let schema = Schema::namesrv()?;
        let shared = broker.effective.0.iter().filter_map(|Setting { key, value, origin }| {
            let key = match key.as_str() {
                "namesrvListenPort" => "listenPort",
                "listenPort" => return None,
                key => schema.keys().find(|known| *known == key)?,
            };
            Some(Entry { key: key.into(), value: value.clone(), at: origin.clone() })
        });
        let layers = vec![schema.shipped(), Layer(shared.collect())];
        Self::finish(Merged::of(layers)?, surroundings)
    }

    fn finish(mut all: Merged, surroundings: &Surroundings) -> Result<Self, LoadError> {
        let kv_config = surroundings.home.join("namesrv").join("kvConfig.json");
        all.fill("kvConfigPath", &kv_config.to_string_lossy(), "home directory");
        Ok(Self {
            network: all.view()?,
            routes: all.view()?,
            log: all.view()?,
            effective: all.effective(),
            file: None,
        })
    }
}
