//! Mending a store: first the plan, said action by action; then its execution.
//!
//! | what is wrong | what is done | because |
//! |---|---|---|
//! | bytes behind the log's last record | cleared, files behind removed | both brokers end the log there |
//! | damage between sound records, a wrong CRC | a record without content is written over it ([`mark`]) | else both brokers, after an abrupt stop, cut the log there and lose the sound records behind |
//! | a queue that disagrees with the log | written anew from the first wrong entry on ([`queues`]) | consumers see it at once, and no start has to find out |
//! | all queues are gone | a start is made to write them, as after an abrupt stop without a checkpoint | how large their files shall be is known to the configuration alone |
//! | an index file that disagrees | it and the newer ones are written anew ([`index`]) | lookups are right at once |
//! | broken metadata with a sound backup | put back, the broken file kept as `.broken` | both brokers would read the backup, the newer Java ones after deleting the file |
//! | a checkpoint behind the log's end | loses its offset | a start would go on behind the end |
//!
//! What was damaged in the log is kept in the store's folder `damaged/`. No sound record is removed or
//! changed. Files of a wrong length or in the wrong place are left to people: what belongs there is not
//! known here.
//!
//! Failure policy: a repair that fails leaves the store as far mended as it got; each action can be
//! done again.

mod index;
mod mark;
mod queues;

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use thiserror::Error;

use self::mark::Piece;
use super::{
    IndexFile, Inspection, RowFile, Summary, Watch,
    diagnosis::{Diagnosis, diagnose},
};
use crate::{checkpoint::Checkpoint, consume_queue::QueueError, disk::Disk};

/// Bytes of a cut tail that are kept.
const TAIL_KEPT_BYTES: usize = 4 << 20;

/// One thing that a repair does.
#[derive(Debug)]
pub struct Action(Step);

#[derive(Debug)]
enum Step {
    Restore { path: PathBuf },
    CutTail { end: u64, files: Vec<RowFile> },
    Mark { file: RowFile, at: u64, to: u64, pieces: Vec<Piece> },
    RewriteQueue { topic: String, queue: u32, from: u64 },
    RewriteIndex { kept: Option<IndexFile>, bad: Vec<IndexFile> },
    ForgetOffset { path: PathBuf, end: u64 },
    OrderQueues,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Step::Restore { path } => {
                write!(
                    f,
                    "put {} back from its backup, keep the broken file as .broken",
                    path.display()
                )
            }
            Step::CutTail { end, .. } => {
                write!(f, "clear what lies behind log offset {end}, where the log ends")
            }
            Step::Mark { file, at, to, pieces } => write!(
                f,
                "write {} without content over {}:{at} to {to}, keep the bytes in damaged/",
                if pieces.len() == 1 { "a record" } else { "records" },
                file.path.display()
            ),
            Step::RewriteQueue { topic, queue, from } => {
                write!(f, "write queue {queue} of topic {topic} anew from entry {from} on")
            }
            Step::RewriteIndex { bad, .. } => match bad.first() {
                Some(file) => {
                    write!(f, "write the index anew from {} on", file.path.display())
                }
                None => f.write_str("leave the index"),
            },
            Step::OrderQueues => f.write_str(
                "have the next start write all queues anew: empty the checkpoint, put an abort file",
            ),
            Step::ForgetOffset { path, end } => {
                write!(f, "take the offset behind {end} out of {}", path.display())
            }
        }
    }
}

/// Why a repair stopped.
#[derive(Debug, Error)]
pub enum RepairError {
    /// Somebody has the store.
    #[error("the store at {root} is in use")]
    InUse {
        /// The store's folder.
        root: String,
    },
    /// The system refused.
    #[error("{path}: {error}")]
    Io {
        /// The file or folder.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// A queue could not be written.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The log lacks records that a queue needs.
    #[error(
        "queue {queue} of topic {topic} cannot be written anew: the log goes from queue offset {last} to {next}"
    )]
    Gap {
        /// The topic.
        topic: String,
        /// The queue.
        queue: u32,
        /// The last offset before the gap.
        last: u64,
        /// The first behind it.
        next: u64,
    },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> RepairError {
    let path = path.display().to_string();
    |error| RepairError::Io { path, error }
}

/// What a repair would do.
#[derive(Debug)]
pub struct RepairPlan {
    /// What was looked at, and how much was found.
    pub summary: Summary,
    actions: Vec<Action>,
    files: Vec<RowFile>,
}

impl RepairPlan {
    /// Looks at everything as [`verify`](super::verify) does, and decides what to do about it.
    ///
    /// # Errors
    /// If the folder cannot be listed, or holds nothing of a store.
    pub fn make(
        disk: &dyn Disk,
        inspection: &Inspection,
        watch: &mut dyn Watch,
    ) -> io::Result<Self> {
        let diagnosis = diagnose(disk, inspection, watch)?;
        let summary = diagnosis.summary.clone();
        let actions = plan(disk, inspection, &diagnosis)?.into_iter().map(Action).collect();
        Ok(Self { summary, actions, files: diagnosis.files })
    }

    /// What is done, in this order.
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// Does it, with the store's lock held; `done` is told after each action.
    ///
    /// # Errors
    /// If somebody has the store or the system refuses; what was done until then stays done.
    pub fn execute(
        &self,
        disk: &Arc<dyn Disk>,
        inspection: &Inspection,
        done: &mut dyn FnMut(&Action),
    ) -> Result<(), RepairError> {
        let root = &inspection.root;
        let path = root.join("lock");
        let _lock = disk.lock(&path).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => RepairError::InUse { root: root.display().to_string() },
            _ => io_error(&path)(error),
        })?;
        let mut rewrites = Vec::new();
        for action in &self.actions {
            match &action.0 {
                Step::Restore { path } => restore(&**disk, path)?,
                Step::CutTail { end, files } => cut_tail(&**disk, root, *end, files)?,
                Step::Mark { file, pieces, .. } => mark::write(&**disk, root, file, pieces)?,
                Step::ForgetOffset { path, .. } => forget_offset(&**disk, path)?,
                Step::OrderQueues => order_queues(&**disk, root)?,
                Step::RewriteIndex { kept, bad } => {
                    index::rewrite(&**disk, &self.files, kept.as_ref(), bad)?;
                }
                // All queues in one go through the log, below.
                Step::RewriteQueue { topic, queue, from } => {
                    rewrites.push((topic.clone(), *queue, *from));
                    continue;
                }
            }
            done(action);
        }
        queues::rewrite(disk, root, &self.files, &rewrites)?;
        let is_rewrite = |action: &&Action| matches!(action.0, Step::RewriteQueue { .. });
        self.actions.iter().filter(is_rewrite).for_each(done);
        Ok(())
    }
}

fn plan(disk: &dyn Disk, inspection: &Inspection, found: &Diagnosis) -> io::Result<Vec<Step>> {
    let mut steps: Vec<_> =
        found.restorable.iter().map(|path| Step::Restore { path: path.clone() }).collect();
    let end = found.summary.log_end;
    steps.extend(mark::plan(disk, found)?.into_iter().map(|(file, at, to, pieces)| Step::Mark {
        file,
        at,
        to,
        pieces,
    }));
    if found.tail.is_some() {
        let files = found.files.iter().filter(|file| file.end() > end).cloned().collect();
        steps.push(Step::CutTail { end, files });
    }
    let path = inspection.root.join("checkpoint");
    let checkpoint = Checkpoint::decode(&disk.read(&path)?.unwrap_or_default());
    if checkpoint.dispatched.is_some_and(|mark| mark.end.0 > end) {
        steps.push(Step::ForgetOffset { path, end });
    }
    if !found.bad_index.is_empty() {
        let (kept, bad) = (found.kept_index.clone(), found.bad_index.clone());
        steps.push(Step::RewriteIndex { kept, bad });
    }
    if !found.bad_queues.is_empty() && queues::file_bytes(disk, &inspection.root).is_none() {
        steps.push(Step::OrderQueues);
        return Ok(steps);
    }
    let mut bad = BTreeMap::new();
    let lost = found.lost.iter().map(|lost| (lost.topic.clone(), lost.queue, lost.slot));
    for (topic, queue, slot) in found.bad_queues.iter().cloned().chain(lost) {
        bad.entry((topic, queue))
            .and_modify(|from: &mut u64| *from = slot.min(*from))
            .or_insert(slot);
    }
    let rewrites = bad.into_iter();
    steps.extend(rewrites.map(|((topic, queue), from)| Step::RewriteQueue { topic, queue, from }));
    Ok(steps)
}

fn restore(disk: &dyn Disk, path: &Path) -> Result<(), RepairError> {
    let beside = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let backup = beside(".bak");
    let sound = disk.read(&backup).map_err(io_error(&backup))?.unwrap_or_default();
    if let Some(broken) = disk.read(path).map_err(io_error(path))? {
        disk.write_atomic(&beside(".broken"), &broken).map_err(io_error(path))?;
    }
    disk.write_atomic(path, &sound).map_err(io_error(path))
}

fn cut_tail(disk: &dyn Disk, root: &Path, end: u64, files: &[RowFile]) -> Result<(), RepairError> {
    for file in files {
        if file.start > end {
            disk.remove(&file.path).map_err(io_error(&file.path))?;
            continue;
        }
        let at = end - file.start;
        let tail = disk.read_at(&file.path, at, TAIL_KEPT_BYTES).map_err(io_error(&file.path))?;
        let used = tail.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        mark::keep(disk, root, end, tail.get(..used).unwrap_or_default())?;
        disk.clear_from(&file.path, at).map_err(io_error(&file.path))?;
        disk.reserve(&file.path, at, file.len - at).map_err(io_error(&file.path))?;
    }
    Ok(())
}

fn forget_offset(disk: &dyn Disk, path: &Path) -> Result<(), RepairError> {
    let bytes = disk.read(path).map_err(io_error(path))?.unwrap_or_default();
    let checkpoint = Checkpoint { dispatched: None, ..Checkpoint::decode(&bytes) };
    disk.write_atomic(path, &checkpoint.encode()).map_err(io_error(path))
}

fn order_queues(disk: &dyn Disk, root: &Path) -> Result<(), RepairError> {
    let (abort, checkpoint) = (root.join("abort"), root.join("checkpoint"));
    // The order to recover comes first, so that it is never missing while the checkpoint is empty.
    disk.write_atomic(&abort, b"").map_err(io_error(&abort))?;
    let empty = Checkpoint::default().encode();
    disk.write_atomic(&checkpoint, &empty).map_err(io_error(&checkpoint))
}
