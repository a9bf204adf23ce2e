//! The owner of the key-value configuration and of its file.
//!
//! Connections order changes and read the published table. A change is in the file, flushed, before
//! it is published and answered; if it cannot be written, nothing has changed and the caller is told.
//! Failure policy: restart from disk.

use std::sync::Arc;

use actix::Message;
use arc_swap::{ArcSwap, Guard};
use gantry_storage::{Disk, JsonFile, JsonFileError};
use gantry_supervisor::{Ctx, Logic, Receive, Reply};
use slog::{Logger, error, info};

use super::kv_table::KvTable;

/// Set a value.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), JsonFileError>")]
pub struct PutKv {
    /// The namespace.
    pub namespace: String,
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

/// Delete a key, if it is there.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), JsonFileError>")]
pub struct DeleteKv {
    /// The namespace.
    pub namespace: String,
    /// The key.
    pub key: String,
}

/// The current table, shared by all connections.
#[derive(Debug, Default)]
pub struct KvView(ArcSwap<KvTable>);

impl KvView {
    /// The table as it is now.
    pub fn load(&self) -> Guard<Arc<KvTable>> {
        self.0.load()
    }
}

/// See the module's text.
pub struct Kv {
    view: Arc<KvView>,
    file: JsonFile,
    disk: Arc<dyn Disk>,
    log: Logger,
}

impl Kv {
    /// Reads the file and publishes what it holds; no file is an empty table.
    pub fn open(
        file: JsonFile,
        disk: Arc<dyn Disk>,
        view: Arc<KvView>,
        log: Logger,
    ) -> Result<Self, JsonFileError> {
        let table: KvTable = file.load(&*disk)?.unwrap_or_default();
        view.0.store(Arc::new(table));
        Ok(Self { view, file, disk, log })
    }

    /// Writes and publishes the table as `change` leaves it.
    fn change(&self, change: impl FnOnce(&mut KvTable)) -> Result<(), JsonFileError> {
        let mut next = KvTable::clone(&self.view.load());
        change(&mut next);
        if let Err(e) = self.file.save(&*self.disk, &next) {
            error!(self.log, "key-value configuration cannot be written"; "error" => %e);
            return Err(e);
        }
        self.view.0.store(Arc::new(next));
        Ok(())
    }
}

impl Logic for Kv {
    const NAME: &'static str = "kv";
}

impl Receive<PutKv> for Kv {
    fn receive(&mut self, order: PutKv, _: &mut Ctx<Self>) -> Reply<Result<(), JsonFileError>> {
        let PutKv { namespace, key, value } = order;
        info!(self.log, "put"; "namespace" => &namespace, "key" => &key, "value" => &value);
        self.change(|table| table.put(&namespace, &key, &value)).into()
    }
}

impl Receive<DeleteKv> for Kv {
    fn receive(&mut self, order: DeleteKv, _: &mut Ctx<Self>) -> Reply<Result<(), JsonFileError>> {
        let DeleteKv { namespace, key } = order;
        info!(self.log, "delete"; "namespace" => &namespace, "key" => &key);
        self.change(|table| {
            table.delete(&namespace, &key);
        })
        .into()
    }
}
