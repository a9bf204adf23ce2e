//! Who is connected: producers and consumers by the library that they use.

use std::{collections::BTreeMap, fmt, sync::Arc};

use gantry_codec::{Language, body::ConsumeType};

use super::{
    page::{Labels, Page, Source},
    traffic::{OTHERS, flag, is_system_group},
};
use crate::group::{Client, GroupDirectory, ProducerDirectory};

/// See the module's text.
pub struct Clients {
    /// Published producers.
    pub producers: ProducerDirectory,
    /// Published groups.
    pub groups: GroupDirectory,
    /// Groups that have rows of their own; the clients of others are shown without their group.
    pub names_max: usize,
}

/// A library: its language and the number of its version.
type Library = (&'static str, i32);

fn library(client: &Client) -> Library {
    (Language::name(client.language), client.version)
}

fn labels<'l>((language, version): Library) -> Labels<'l> {
    vec![
        ("language", language.to_ascii_lowercase().into()),
        ("version", version.to_string().into()),
        ("protocol_type", "remoting".into()),
    ]
}

fn mode(consume_type: ConsumeType) -> &'static str {
    match consume_type {
        ConsumeType::Actively => "pull",
        ConsumeType::Passively => "push",
        ConsumeType::Pop => "pop",
    }
}

impl Source for Clients {
    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        let mut producers: BTreeMap<Library, usize> = BTreeMap::new();
        self.producers.each(|client| *producers.entry(library(client)).or_default() += 1);
        page.gauges(
            "rocketmq_producer_connections",
            "Producers by language and version number of their library.",
            producers.into_iter().map(|(library, count)| (labels(library), count as f64)),
        )?;
        page.gauges(
            "rocketmq_consumer_connections",
            "Consumers by group, and by language and version number of their library.",
            self.consumers().into_iter().map(|((group, mode, library), count)| {
                let mut labels = labels(library);
                labels.push(("consume_mode", mode.into()));
                labels.push(("is_system", flag(is_system_group(&group))));
                labels.push(("consumer_group", group.to_string().into()));
                (labels, count as f64)
            }),
        )
    }
}

impl Clients {
    fn consumers(&self) -> BTreeMap<(Arc<str>, &'static str, Library), usize> {
        let all = self.groups.all();
        let mut online: Vec<_> =
            all.iter().filter(|(_, view)| view.membership().is_online()).collect();
        // Those with the most clients have rows of their own.
        online.sort_by_key(|(group, view)| (usize::MAX - view.membership().members.len(), *group));
        let others: Arc<str> = OTHERS.into();
        let mut consumers = BTreeMap::new();
        for (at, (group, view)) in online.into_iter().enumerate() {
            let (membership, mode) = (view.membership(), mode(view.membership().consume_type));
            let group = if at < self.names_max { group } else { &others };
            for client in &membership.members {
                *consumers.entry((group.clone(), mode, library(client))).or_default() += 1;
            }
        }
        consumers
    }
}
