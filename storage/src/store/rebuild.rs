//! Building queues again from the log: all that lack something in one pass.
//!
//! Readers go through one log file each, as many at a time as there are cores, and hand the entries of
//! the wanted queues over in pieces; one writer takes them in the order of the log. What a reader has
//! ready before its turn is bounded, so that very long logs need no more memory than short ones.
//!
//! A topic that was deleted and made again has lower offsets behind higher ones: the last life counts,
//! as in the dispatcher. A higher offset than the log has room for is damage, and its record is passed
//! over. A queue of which the log has nothing any more goes on at its old end.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use crate::{
    commit_log::CommitLog,
    consume_queue::{ConsumeQueue, ConsumeQueueConfig, IndexEntry, QueueError},
    disk::Disk,
    dispatch::{DelayLevels, DispatchEntry, DispatchReader, LIGHT_QUEUE_PREFIX},
    offset::{PhysicalOffset, QueueId, QueueOffset},
};

/// Entries of one piece, and pieces that one reader may have ready: some tens of MiB.
const PIECE_ENTRIES: usize = 16 * 1024;
const PIECES_READY: usize = 64;

/// A queue to be built again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// Its topic.
    pub(super) topic: &'a str,
    /// Its number.
    pub(super) queue: QueueId,
    /// Where it goes on if the log has nothing of it.
    pub(super) begin: QueueOffset,
}

/// An entry, and which of the wanted queues it is for.
type Piece = Vec<(usize, QueueOffset, IndexEntry)>;

/// See the module's text.
pub(super) struct Rebuild<'a> {
    pub(super) disk: &'a Arc<dyn Disk>,
    pub(super) config: &'a ConsumeQueueConfig,
    pub(super) log: &'a CommitLog,
    pub(super) levels: &'a DelayLevels,
    /// The queues get their entries for the log before this.
    pub(super) limit: PhysicalOffset,
    /// Queues whose files have been removed.
    pub(super) wanted: &'a [Wanted<'a>],
}

impl Rebuild<'_> {
    /// Builds the queues.
    pub(super) fn run(&self) -> Result<(), QueueError> {
        let (log, limit) = (self.log, self.limit);
        let within = (log.min_offset(), log.max_offset());
        let open = |wanted: &Wanted<'_>| {
            ConsumeQueue::open(self.disk.clone(), self.config, wanted.topic, wanted.queue, within)
                .map(|opened| opened.with_ext(self.config, log))
        };
        let mut queues = self.wanted.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let places = Places::of(self.wanted);
        let next = |start: &PhysicalOffset| Some(log.next_segment_after(*start));
        let starts = std::iter::successors(Some(within.0), next).take_while(|start| *start < limit);
        let threads = thread::available_parallelism().map_or(1, usize::from);
        for files in starts.collect::<Vec<_>>().chunks(threads) {
            thread::scope(|scope| {
                let start = |start: &PhysicalOffset| {
                    let (to, from) = sync_channel(PIECES_READY);
                    let range = *start..log.next_segment_after(*start).min(limit);
                    let places = &places;
                    scope.spawn(move || self.read_file(range, places, &to));
                    from
                };
                let readers: Vec<_> = files.iter().map(start).collect();
                readers.into_iter().try_for_each(|reader| write(&mut queues, &reader))
            })?;
        }
        for (queue, wanted) in queues.iter_mut().zip(self.wanted) {
            if queue.max_offset().0 == 0 && wanted.begin.0 > 0 {
                queue.begin_at(wanted.begin)?;
            }
            queue.flush()?;
        }
        Ok(())
    }

    /// Reads the entries of a range that lies in one file.
    fn read_file(&self, range: Range<PhysicalOffset>, places: &Places<'_>, to: &SyncSender<Piece>) {
        let mut reader = DispatchReader::new(self.log.clone(), range.start);
        while reader.position() < range.end {
            let before = reader.position();
            let mut piece = Piece::new();
            // A record that cannot be read leaves a gap, which is told of when it is asked for.
            let _ = reader.read(PIECE_ENTRIES, |entry| {
                if entry.is_indexed() && entry.offset < range.end {
                    let index = entry.index_entry(self.levels);
                    places.of_entry(entry, |place, offset| piece.push((place, offset, index)));
                }
            });
            let is_stuck = reader.position() == before;
            // Nobody takes it if the writer has failed.
            if to.send(piece).is_err() || is_stuck {
                return;
            }
        }
    }
}

/// The place of each wanted queue.
struct Places<'a> {
    topics: BTreeMap<&'a str, BTreeMap<u32, usize>>,
    /// Whether light queues are among them: only then are records asked for theirs.
    any_light: bool,
}

impl<'a> Places<'a> {
    fn of(wanted: &[Wanted<'a>]) -> Self {
        let mut places = BTreeMap::<_, BTreeMap<_, _>>::new();
        for (place, wanted) in wanted.iter().enumerate() {
            places.entry(wanted.topic).or_default().insert(wanted.queue.0, place);
        }
        let any_light = wanted.iter().any(|wanted| wanted.topic.starts_with(LIGHT_QUEUE_PREFIX));
        Self { topics: places, any_light }
    }

    /// Gives `f` each wanted queue that the record is in, and its offset there.
    fn of_entry(&self, entry: &DispatchEntry<'_>, mut f: impl FnMut(usize, QueueOffset)) {
        let place = |topic: &str, queue: u32| self.topics.get(topic)?.get(&queue).copied();
        if let Some(place) = place(entry.topic, entry.queue_id) {
            f(place, entry.queue_offset);
        }
        let light = self.any_light.then(|| entry.light_queues());
        for (topic, offset) in light.into_iter().flatten() {
            if let Some(place) = place(topic, 0) {
                f(place, offset);
            }
        }
    }
}

fn write(queues: &mut [ConsumeQueue], pieces: &Receiver<Piece>) -> Result<(), QueueError> {
    for piece in pieces {
        for run in piece.chunk_by(|a, b| a.0 == b.0 && a.1.plus(1) == b.1) {
            let Some(&(place, first, _)) = run.first() else { continue };
            let entries: Vec<_> = run.iter().map(|(_, _, entry)| *entry).collect();
            if let Some(queue) = queues.get_mut(place) {
                append(queue, first, &entries)?;
            }
        }
    }
    Ok(())
}

fn append(
    queue: &mut ConsumeQueue,
    first: QueueOffset,
    entries: &[IndexEntry],
) -> Result<(), QueueError> {
    let end = queue.max_offset();
    if first < end {
        queue.delete()?;
    } else if first > end && end.0 > 0 {
        if entries.first().is_some_and(|entry| !queue.may_lack(first, entry.offset)) {
            return Ok(());
        }
        queue.append_lost(first.since(end))?;
    }
    queue.append(first, entries)
}
