//! UPDATE_BROKER_CONFIG (25): its body is the text of a properties file with the keys to change.

use std::{collections::BTreeMap, sync::Arc};

use gantry_codec::{Command, response_code as rs};
use gantry_conf::properties;

use super::super::Shared;
use crate::{error_to_wire, net::Outcome, settings::ChangeSettings};

/// Changes settings; answered when they are in the file and in effect.
pub(super) fn update(shared: &Arc<Shared>, cmd: Command) -> Outcome {
    let changes = match read(&cmd.body) {
        Ok(changes) => changes,
        Err(reason) => return Outcome::Reply(error_to_wire::bad_properties(&cmd, &reason)),
    };
    let settings = shared.settings.clone();
    Outcome::Later(Box::pin(async move {
        match settings.send(ChangeSettings(changes)).await {
            Ok(Ok(())) => Command::response(rs::SUCCESS, &cmd),
            Ok(Err(e)) => error_to_wire::settings(&cmd, &e),
            Err(_) => error_to_wire::lost(&cmd),
        }
    }))
}

fn read(body: &[u8]) -> Result<BTreeMap<String, String>, String> {
    let text = std::str::from_utf8(body).map_err(|e| e.to_string())?;
    let all = properties::parse(text).map_err(|e| format!("line {}: {e}", e.line))?;
    if all.is_empty() {
        return Err("it names no key".into());
    }
    Ok(all.into_iter().map(|property| (property.key, property.value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_properties_text() {
        let read_all = read(b"fileReservedTime=61\n# x\ndeleteWhen = 04\n").unwrap();
        let pairs: Vec<_> = read_all.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("deleteWhen", "04"), ("fileReservedTime", "61")]);
        assert_eq!(read(b"\n# nothing\n").unwrap_err(), "it names no key");
        assert!(read(b"a=\\u12").unwrap_err().starts_with("line 1: "));
        assert!(read(&[0xff]).is_err());
    }
}
