//! The key-value configuration, and the name server's own settings.

use std::collections::BTreeMap;

use gantry_codec::{
    Command, Header,
    requests::route::{GetKvConfigResponse, KvConfigHeader, KvNamespaceHeader, PutKvConfigHeader},
};

use gantry_conf::properties;

use super::{Answer, Outcome, Refusal, Served, success, when_done, with_body};
use crate::registry::{
    kv::{DeleteKv, PutKv},
    orders::UpdateSettings,
    route_json,
};

impl Served {
    /// Code 100.
    pub(super) fn put_kv(&self, cmd: &Command) -> Answer {
        let PutKvConfigHeader { namespace, key, value } = PutKvConfigHeader::decode(&cmd.ext)?;
        let order = PutKv { namespace, key, value };
        Ok(when_done(cmd, self.kv.send(order), |answer, put| Ok(put.map(|()| answer)?)))
    }

    /// Code 101.
    pub(super) fn get_kv(&self, cmd: &Command) -> Answer {
        let KvConfigHeader { namespace, key } = KvConfigHeader::decode(&cmd.ext)?;
        match self.kv_view.load().get(&namespace, &key) {
            Some(value) => {
                let header = GetKvConfigResponse { value: Some(value.to_owned()) };
                Ok(Outcome::Reply(success(cmd).with_header(&header)))
            }
            None => Err(Refusal::NoKey { namespace, key }),
        }
    }

    /// Code 102.
    pub(super) fn delete_kv(&self, cmd: &Command) -> Answer {
        let KvConfigHeader { namespace, key } = KvConfigHeader::decode(&cmd.ext)?;
        let order = DeleteKv { namespace, key };
        Ok(when_done(cmd, self.kv.send(order), |answer, deleted| Ok(deleted.map(|()| answer)?)))
    }

    /// Code 219.
    pub(super) fn list_kv(&self, cmd: &Command) -> Answer {
        let KvNamespaceHeader { namespace } = KvNamespaceHeader::decode(&cmd.ext)?;
        match self.kv_view.load().namespace(&namespace) {
            Some(keys) => Ok(with_body(cmd, route_json::key_values(keys))),
            None => Err(Refusal::NoNamespace(namespace)),
        }
    }

    /// Code 318: properties text. All of it is taken, or nothing.
    pub(super) fn update_settings(&self, cmd: &Command) -> Answer {
        let changes = read_properties(&cmd.body)?;
        let order = UpdateSettings(changes);
        Ok(when_done(cmd, self.registry.send(order), |answer, updated| {
            Ok(updated.map(|()| answer)?)
        }))
    }

    /// Code 319.
    pub(super) fn show_settings(&self, cmd: &Command) -> Outcome {
        with_body(cmd, self.settings().to_properties(&self.shown).into())
    }
}

fn read_properties(body: &[u8]) -> Result<BTreeMap<String, String>, Refusal> {
    let text = std::str::from_utf8(body).map_err(|e| Refusal::Properties(e.to_string()))?;
    let all = properties::parse(text)
        .map_err(|e| Refusal::Properties(format!("line {}: {e}", e.line)))?;
    Ok(all.into_iter().map(|property| (property.key, property.value)).collect())
}
