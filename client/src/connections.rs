//! The client's connections, one for each server address, opened on demand.
//!
//! A connection that has ended is replaced when its address is asked for the next time; nothing is
//! retried in the background. Callers that want the same address while it is being connected wait for
//! that one attempt; other addresses are not held up by it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::ClientConfig;
use crate::connection::Connection;
use crate::error::ConnectError;

type Slot = Arc<tokio::sync::Mutex<Option<Connection>>>;

#[derive(Debug, Default)]
pub(crate) struct Connections {
    slots: Mutex<HashMap<String, Slot>>,
}

impl Connections {
    /// The live connection to `address`, opened if need be.
    pub(crate) async fn get(
        &self,
        address: &str,
        config: &ClientConfig,
    ) -> Result<Connection, ConnectError> {
        let slot = self.slot(address);
        let mut current = slot.lock().await;
        if let Some(connection) = current.as_ref().filter(|open| open.close_reason().is_none()) {
            return Ok(connection.clone());
        }
        let connection = Connection::open(address, config).await?;
        *current = Some(connection.clone());
        Ok(connection)
    }

    /// Closes all of them.
    pub(crate) fn close_all(&self) {
        let slots = std::mem::take(&mut *self.lock());
        for slot in slots.into_values() {
            if let Some(connection) = slot.try_lock().ok().and_then(|mut slot| slot.take()) {
                connection.close();
            }
        }
    }

    fn slot(&self, address: &str) -> Slot {
        let mut slots = self.lock();
        match slots.get(address) {
            Some(slot) => Arc::clone(slot),
            None => Arc::clone(slots.entry(address.to_owned()).or_default()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
