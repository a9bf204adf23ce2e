//! `config/timercheck`: how far the timers are, as 64-bit numbers in a file of 4096 bytes.
//!
//! | offset | field |
//! |---|---|
//! | 0 | `lastReadTimeMs`: all slots before it have been delivered |
//! | 8 | `lastTimerLogFlushPos`: the timer log is on disk up to here |
//! | 16 | `lastTimerQueueOffset`: messages of the timer topic before it have been taken in |
//! | 24 | `masterTimerQueueOffset`: the same of the master; here that is this broker |
//! | 32 | `stateVersion`, `timestamp`, `counter` of its data version |
//! | 56 | ours: length of a slot, ms; 0 if a Java broker made the file, which leaves it alone later on |
//! | 64 | ours: 1 if units were lost, and not all of the topic has been taken in again since |

/// Bytes of the file.
const FILE_BYTES: usize = 4096;
/// Bytes that mean something, which is what replicas are told.
const USED_BYTES: usize = 56;

/// See the module's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimerCheckpoint {
    /// All slots before it have been delivered, ms.
    pub read_time_ms: i64,
    /// The timer log is on disk up to here.
    pub flushed: u64,
    /// Messages of the timer topic before it have been taken in.
    pub queue_offset: u64,
    /// When the file was written, ms.
    pub timestamp_ms: i64,
    /// How often.
    pub counter: i64,
    /// Length of a slot, ms; 0 if nobody knows.
    pub precision_ms: i64,
    /// Units were lost, and messages before `queue_offset` may have none until they have been taken in
    /// again.
    pub lost: bool,
}

impl TimerCheckpoint {
    /// Reads the file; one that is missing or too short says nothing.
    pub(super) fn decode(file: &[u8]) -> Self {
        let number = |at: usize| {
            let bytes = file.get(at..).and_then(<[u8]>::first_chunk);
            bytes.map_or(0, |bytes| i64::from_be_bytes(*bytes))
        };
        let own = |at| u64::try_from(number(at)).unwrap_or(0);
        Self {
            read_time_ms: number(0).max(0),
            flushed: own(8),
            // Java takes the lesser one as well.
            queue_offset: own(16).min(own(24)),
            timestamp_ms: number(40),
            counter: number(48),
            precision_ms: number(56).max(0),
            lost: number(64) == 1,
        }
    }

    /// The numbers, as replicas are told them (code 60).
    pub fn encode(&self) -> Vec<u8> {
        let numbers = [
            self.read_time_ms,
            self.flushed as i64,
            self.queue_offset as i64,
            self.queue_offset as i64,
            0,
            self.timestamp_ms,
            self.counter,
        ];
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        debug_assert_eq!(bytes.len(), USED_BYTES);
        bytes
    }

    /// The file's content.
    pub(super) fn file(&self) -> Vec<u8> {
        let mut file = self.encode();
        file.extend_from_slice(&self.precision_ms.to_be_bytes());
        file.extend_from_slice(&i64::from(self.lost).to_be_bytes());
        file.resize(FILE_BYTES, 0);
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let check = TimerCheckpoint {
            read_time_ms: 1_700_000_000_000,
            flushed: 520,
            queue_offset: 10,
            timestamp_ms: 7,
            counter: 3,
            precision_ms: 1000,
            lost: true,
        };
        let file = check.file();
        assert_eq!(file.len(), 4096);
        assert_eq!(
            file[..16],
            [1_700_000_000_000_i64.to_be_bytes(), 520_i64.to_be_bytes()].concat()
        );
        assert_eq!(TimerCheckpoint::decode(&file), check);
        assert_eq!(TimerCheckpoint::decode(&file[..20]).queue_offset, 0);
        assert_eq!(
            TimerCheckpoint::decode(&[0xFF; 56]),
            TimerCheckpoint { timestamp_ms: -1, counter: -1, ..TimerCheckpoint::default() }
        );
    }

    #[test]
    fn the_lesser_of_both_queue_offsets_counts() {
        let mut file = TimerCheckpoint { queue_offset: 10, ..TimerCheckpoint::default() }.file();
        file[31] = 4;
        assert_eq!(TimerCheckpoint::decode(&file).queue_offset, 4);
    }
}
