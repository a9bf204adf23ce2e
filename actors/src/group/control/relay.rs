//! Requests that a broker hands on to one consumer: GET_CONSUMER_RUNNING_INFO (307), and the way for
//! others like it (wire.md 2.7).

use std::time::Duration;

use gantry_codec::{Command, Header, requests::group::ConsumerRunningInfoHeader};

use super::{Answer, Control, ControlRefusal};
use crate::net::AskError;

/// How long a client may take to answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);
/// Clients older than this (3.1.8) do not know such requests.
const OLDEST_RELAY_CLIENT: i32 = 62;

impl Control {
    /// GET_CONSUMER_RUNNING_INFO (307). The answer is passed through unread: each client library has a
    /// form of its own for it.
    pub(super) async fn running_info(&self, cmd: &Command) -> Answer {
        let header = ConsumerRunningInfoHeader::decode(&cmd.ext)?;
        let request = Command::request(cmd.code).with_header(&header);
        self.relay(cmd, &header.consumer_group, &header.client_id, request).await
    }

    /// Sends `request` to that client of the group; its answer, whatever its code, answers `cmd`.
    pub async fn relay(
        &self,
        cmd: &Command,
        group: &str,
        client_id: &str,
        request: Command,
    ) -> Result<Command, ControlRefusal> {
        let view = self.group(group);
        let client = view.and_then(|view| view.membership().client(client_id).cloned());
        let name = || format!("<{group}> <{client_id}>");
        let client = client.ok_or_else(|| ControlRefusal::ClientOffline(name()))?;
        if client.version < OLDEST_RELAY_CLIENT {
            return Err(ControlRefusal::ClientTooOld(client.version));
        }
        let answer = match client.connection.ask(request, CLIENT_TIMEOUT).await {
            Ok(answer) => answer,
            Err(AskError::Closed(_)) => return Err(ControlRefusal::ClientOffline(name())),
            Err(AskError::Timeout(..)) => return Err(ControlRefusal::ClientTimeout(name())),
        };
        let response = Command::response(answer.code, cmd).with_body(answer.body);
        let fields = answer.ext.iter();
        let response =
            fields.fold(response, |response, (name, value)| response.with_ext(name, value));
        Ok(match answer.remark {
            Some(remark) => response.with_remark(remark),
            None => response,
        })
    }
}

#[cfg(test)]
mod tests {
    use gantry_codec::request_code as rq;

    use super::*;
    use crate::group::{
        bench::{Bench, heartbeat},
        testing::run,
    };

    fn running_info(client: &str) -> Command {
        let mut cmd = Command::request(rq::GET_CONSUMER_RUNNING_INFO)
            .with_ext("consumerGroup", "g")
            .with_ext("clientId", client)
            .with_ext("jstackEnable", true);
        cmd.opaque = 77;
        cmd
    }

    #[test]
    fn the_answer_of_the_client_is_passed_through() {
        run(async {
            let bench = Bench::new().await;
            let (mut admin, mut client) = (bench.connect(1), bench.connect(2));
            client.beat("one", "g", &["t"]).await;
            let theirs = Command::request(0).with_body("{any:form}").with_remark("well");
            client.seen.will_answer(theirs.with_ext("x", "y"));
            let answer = admin.ask(running_info("one")).await;
            assert_eq!((answer.code, answer.opaque), (0, 77));
            assert_eq!((&answer.body[..], answer.ext.get("x")), (&b"{any:form}"[..], Some("y")));
            assert_eq!(answer.remark.as_deref(), Some("well"));
            let asked = client.seen.pushed();
            let asked = asked.iter().find(|cmd| cmd.code == rq::GET_CONSUMER_RUNNING_INFO).unwrap();
            assert_eq!(asked.ext.get("jstackEnable"), Some("true"));
        });
    }

    #[test]
    fn who_is_not_there_too_old_or_silent() {
        run(async {
            let bench = Bench::new().await;
            let (mut admin, mut client) = (bench.connect(1), bench.connect(2));
            let absent = admin.ask(running_info("one")).await;
            assert_eq!(absent.remark.as_deref(), Some("The Consumer <g> <one> not online"));
            assert_eq!(absent.code, 1);
            let mut old = heartbeat("one", "g", &["t"]);
            old.version = 61;
            client.ask(old).await;
            assert_eq!(admin.ask(running_info("one")).await.code, 1);
            client.close();
            let (mut hung, hung_id) = (bench.connect(3), "two");
            hung.beat(hung_id, "g", &["t"]).await;
            hung.seen.will_hang();
            assert_eq!(admin.ask(running_info(hung_id)).await.code, 207);
        });
    }
}
