//! Messages by key: the request goes to the key look-up, which may have to wait for the disk.

use std::sync::Arc;

use gantry_codec::{Command, Header, requests::pull::QueryMessageHeader, response_code as rs};

use super::Shared;
use crate::{
    error_to_wire,
    log::key_lookup::{FindByKey, KeyMatches, KeyQueries},
    net::Outcome,
};

/// An index that is this far behind the log is worth a word to who found nothing.
const BEHIND_BYTES_MIN: u64 = 1 << 20;
/// The `indexType` of a query by tag (Java 5.4 and later).
const TAG: &str = "T";

/// Answers QUERY_MESSAGE.
pub(super) fn query(shared: &Arc<Shared>, cmd: Command) -> Outcome {
    let header = match QueryMessageHeader::decode(&cmd.ext) {
        Ok(header) => header,
        Err(e) => return Outcome::Reply(error_to_wire::bad_header(&cmd, &e)),
    };
    let queries = &shared.key_queries;
    let Some(lookup) = queries.lookup.clone() else {
        let why = "there is no index of keys (messageIndexEnable)";
        return Outcome::Reply(answer(&cmd, KeyMatches::default(), why));
    };
    let asked = question(header, queries);
    Outcome::Later(Box::pin(async move {
        match lookup.send(asked).await {
            Ok(found) => {
                let why = why_nothing(found.behind);
                answer(&cmd, found, &why)
            }
            Err(_) => error_to_wire::lost(&cmd),
        }
    }))
}

fn question(header: QueryMessageHeader, queries: &KeyQueries) -> FindByKey {
    let asked = usize::try_from(header.max_num).unwrap_or(0);
    let messages_max = if header.unique_key_query { queries.unique_messages_max } else { asked };
    FindByKey {
        topic: header.topic,
        key: header.key,
        is_tag: header.index_type.as_deref() == Some(TAG),
        begin: header.begin_timestamp,
        end: header.end_timestamp,
        messages_max: messages_max.min(queries.messages_max),
    }
}

fn why_nothing(behind: u64) -> String {
    let why = "can not find message, maybe time range not correct".to_owned();
    if behind < BEHIND_BYTES_MIN {
        return why;
    }
    format!("{why}; the index does not have the newest {behind} bytes of the log yet")
}

fn answer(cmd: &Command, found: KeyMatches, why_nothing: &str) -> Command {
    let answer = if found.records.is_empty() {
        Command::response(rs::QUERY_NOT_FOUND, cmd).with_remark(why_nothing.to_owned())
    } else {
        Command::response(rs::SUCCESS, cmd)
    };
    answer
        .with_ext("indexLastUpdateTimestamp", found.last_timestamp)
        .with_ext("indexLastUpdatePhyoffset", found.last_offset.0 as i64)
        .with_body(found.records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(max_num: i32) -> QueryMessageHeader {
        QueryMessageHeader {
            topic: "t".into(),
            key: "k".into(),
            max_num,
            begin_timestamp: 1,
            end_timestamp: 2,
            unique_key_query: false,
            index_type: None,
        }
    }

    #[test]
    fn the_number_of_messages_is_limited() {
        let queries = KeyQueries { lookup: None, messages_max: 64, unique_messages_max: 32 };
        for (asked, want) in [(10, 10), (1000, 64), (0, 0), (-1, 0)] {
            assert_eq!(question(header(asked), &queries).messages_max, want);
        }
        let unique = QueryMessageHeader { unique_key_query: true, ..header(i32::MAX) };
        assert_eq!(question(unique, &queries).messages_max, 32);
    }

    #[test]
    fn tags_are_asked_for_by_type() {
        let queries = KeyQueries { lookup: None, messages_max: 64, unique_messages_max: 32 };
        for (index_type, is_tag) in [(None, false), (Some("K"), false), (Some("T"), true)] {
            let header =
                QueryMessageHeader { index_type: index_type.map(str::to_owned), ..header(1) };
            assert_eq!(question(header, &queries).is_tag, is_tag);
        }
    }

    #[test]
    fn an_index_that_is_behind_is_told() {
        assert_eq!(why_nothing(0), "can not find message, maybe time range not correct");
        assert!(why_nothing(5 << 20).ends_with("the newest 5242880 bytes of the log yet"));
    }
}
