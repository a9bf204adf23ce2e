//! The part of the configuration that says where figures and health can be read.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::values::int;

/// The port of figures and health.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricsConfig {
    /// Whether there is one at all, and whether something else was asked for.
    #[serde(rename = "metricsExporterType")]
    pub exporter: MetricsExporter,
    /// Address to listen on; nothing takes that of the broker.
    #[serde(rename = "metricsPromExporterHost", deserialize_with = "optional_address")]
    pub host: Option<IpAddr>,
    /// Port to listen on; 0 takes a free one.
    #[serde(rename = "metricsPromExporterPort", deserialize_with = "int::<0, 65_535, _, _>")]
    pub port: u16,
    /// Topics, and pairs of group and topic, that have figures under their names.
    #[serde(rename = "metricsTopicsMax", deserialize_with = "int::<0, 1_000_000, _, _>")]
    pub topics_max: usize,
}

impl MetricsConfig {
    /// Address and port to listen on, given the address that the broker listens on; nothing if it
    /// is switched off.
    pub fn listen_addr(&self, broker: IpAddr) -> Option<SocketAddr> {
        let is_on = self.exporter != MetricsExporter::Disable;
        is_on.then(|| SocketAddr::new(self.host.unwrap_or(broker), self.port))
    }
}

/// `metricsExporterType`, with the names that the Java broker has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum MetricsExporter {
    /// No port.
    Disable,
    /// A port to be scraped.
    Prom,
    /// A kind that pushes, which there is none of here: a port all the same.
    Pushing,
}

impl FromStr for MetricsExporter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "PROM" => Ok(Self::Prom),
            "DISABLE" => Ok(Self::Disable),
            "OTLP_GRPC" | "LOG" => Ok(Self::Pushing),
            _ => Err("must be PROM or DISABLE".into()),
        }
    }
}

impl TryFrom<String> for MetricsExporter {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

fn optional_address<'de, D: Deserializer<'de>>(from: D) -> Result<Option<IpAddr>, D::Error> {
    match String::deserialize(from)?.trim() {
        "" => Ok(None),
        "localhost" => Ok(Some(std::net::Ipv4Addr::LOCALHOST.into())),
        text => text.parse().map(Some).map_err(|_| D::Error::custom("must be an IP address")),
    }
}
