//! What the registry publishes beside the routes, and all of it together.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use gantry_supervisor::Ref;
use imbl::OrdMap;

use super::{
    entry::{Entry, EntryKey},
    route_query::RouteView,
    settings::SettingsView,
};

/// The entries of all registered addresses.
#[derive(Default)]
pub struct EntryView(ArcSwap<OrdMap<EntryKey, Ref<Entry>>>);

impl EntryView {
    /// All entries.
    pub fn all(&self) -> Guard<Arc<OrdMap<EntryKey, Ref<Entry>>>> {
        self.0.load()
    }

    /// The entry of that address.
    pub fn get(&self, key: &EntryKey) -> Option<Ref<Entry>> {
        self.0.load().get(key).cloned()
    }

    pub(super) fn insert(&self, key: EntryKey, entry: Ref<Entry>) {
        self.0.store(Arc::new(self.all().update(key, entry)));
    }

    pub(super) fn remove(&self, key: &EntryKey) -> Option<Ref<Entry>> {
        let (entry, rest) = self.all().extract(key)?;
        self.0.store(Arc::new(rest));
        Some(entry)
    }
}

/// All that the registry publishes; it outlives the registry's restarts.
pub struct Views {
    /// The routes.
    pub routes: Arc<RouteView>,
    /// The entries.
    pub entries: Arc<EntryView>,
    /// The settings.
    pub settings: Arc<SettingsView>,
}
