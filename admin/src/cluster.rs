//! The brokers that a command deals with, and a client of them.
//!
//! Groups and topics are on every master for itself, so most commands ask all of them, or those of one
//! cluster, or one, as `mqadmin` lets its users choose with `-c` and `-b`.

use gantry_client::{Admin, Client, ClientConfig};

use crate::error::AdminError;

/// A broker that takes messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Master {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub address: String,
}

/// See the module's text.
pub struct Cluster {
    namesrv: String,
    /// For what is not administration.
    pub client: Client,
    /// For what is.
    pub admin: Admin,
}

/// Which masters.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Where {
    /// The brokers of this cluster only
    #[arg(short = 'c', long = "clusterName", value_name = "CLUSTER", conflicts_with = "broker")]
    pub cluster: Option<String>,
    /// The broker at this address only
    #[arg(short = 'b', long = "brokerAddr", value_name = "HOST:PORT")]
    pub broker: Option<String>,
}

impl Cluster {
    /// The cluster that these name servers know; nothing is asked yet.
    ///
    /// # Errors
    /// No name server.
    pub fn at(namesrv: &str) -> Result<Self, AdminError> {
        let config = ClientConfig::with_namesrv(namesrv);
        if config.namesrv.is_empty() {
            return Err(AdminError::NoNameServer(namesrv.to_owned()));
        }
        let client = Client::new(config);
        let admin = client.admin();
        Ok(Self { namesrv: namesrv.to_owned(), client, admin })
    }

    /// The time now, in ms.
    pub fn now_ms(&self) -> i64 {
        self.client.config().clock.now_ms()
    }

    /// The masters, in order of their names; at least one.
    ///
    /// # Errors
    /// No name server answers, or none knows such a broker.
    pub async fn masters(&self, which: &Where) -> Result<Vec<Master>, AdminError> {
        let info = self.admin.cluster_info().await?;
        let of_cluster = match &which.cluster {
            None => None,
            Some(cluster) => Some(
                info.cluster_addr_table
                    .get(cluster)
                    .ok_or_else(|| self.unknown(format!("cluster {cluster}")))?,
            ),
        };
        let mut masters = Vec::new();
        for (name, broker) in &info.broker_addr_table {
            let wanted = of_cluster.is_none_or(|names| names.contains(name));
            if let Some(address) = broker.broker_addrs.get(&0).filter(|_| wanted) {
                masters.push(Master { name: name.clone(), address: address.clone() });
            }
        }
        if let Some(address) = &which.broker {
            // An address of the operator's own is as good: the name is what it is known by.
            let known = masters.into_iter().find(|master| master.address == *address);
            let fresh = || Master { name: address.clone(), address: address.clone() };
            return Ok(vec![known.unwrap_or_else(fresh)]);
        }
        if masters.is_empty() {
            return Err(self.unknown("broker that is a master".into()));
        }
        Ok(masters)
    }

    /// The masters that have a topic.
    ///
    /// # Errors
    /// As [`Cluster::masters`]; NotFound if none has it.
    pub async fn masters_with(&self, topic: &str) -> Result<Vec<Master>, AdminError> {
        let mut having = Vec::new();
        for master in self.masters(&Where::default()).await? {
            if self.admin.topic_config(&master.address, topic).await?.is_some() {
                having.push(master);
            }
        }
        if having.is_empty() {
            return Err(AdminError::NotFound(format!("no broker has a topic {topic}")));
        }
        Ok(having)
    }

    fn unknown(&self, what: String) -> AdminError {
        AdminError::NoBroker { namesrv: self.namesrv.clone(), what }
    }
}
