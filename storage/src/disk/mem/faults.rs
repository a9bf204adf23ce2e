//! Which operation fails, and how: the plan of a faulty disk.
//!
//! Operations are counted from the moment that the plan is given, each of them and each kind for
//! itself. What a fault leaves half done is drawn from the plan's seed, so the same plan under the same
//! work gives the same disk.

use std::{collections::BTreeMap, io, path::Path};

use super::{PAGE_BYTES, SECTOR_BYTES};

/// Kinds of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskOp {
    /// Making a mapped file, sparse or not.
    Create,
    /// Mapping a file that is there.
    Map,
    /// Reserving blocks.
    Reserve,
    /// Clearing a part of a file.
    Clear,
    /// Listing a folder.
    List,
    /// Reading a file or a part.
    Read,
    /// Writing a whole file, or a part over itself.
    Write,
    /// Syncing a file or a part of a mapped one.
    Sync,
    /// Renaming a file.
    Rename,
    /// Removing a file or a folder.
    Remove,
    /// Making a folder.
    CreateDir,
    /// Syncing the names in a folder.
    SyncDir,
    /// Taking the lock.
    Lock,
    /// No operation of the disk: a step of whoever uses it, told by
    /// [`MemDisk::step`](super::MemDisk::step).
    Step,
}

/// What happens to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// The power is lost in the middle of it. Every operation fails from then on, until
    /// [`MemDisk::crash`](super::MemDisk::crash) gives the disk as it is found afterwards.
    PowerLoss,
    /// It fails (`EIO`). Of a write, some sectors were written. Of a sync, some pages reached the disk,
    /// and the others count as clean: a later sync leaves them out unless they change.
    Io,
    /// It fails for want of room (`ENOSPC`), a write in the middle.
    Full,
}

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan {
    seed: u64,
    faults: Vec<(Option<DiskOp>, u64, DiskFault)>,
}

impl FaultPlan {
    /// A plan without faults yet, in which `seed` decides what is left half done.
    pub fn new(seed: u64) -> Self {
        Self { seed, faults: Vec::new() }
    }

    /// Has the operation fail before which there are `number` others.
    #[must_use]
    pub fn at(mut self, number: u64, fault: DiskFault) -> Self {
        self.faults.push((None, number, fault));
        self
    }

    /// Has the operation of a kind fail before which there are `number` others of that kind.
    #[must_use]
    pub fn at_op(mut self, op: DiskOp, number: u64, fault: DiskFault) -> Self {
        self.faults.push((Some(op), number, fault));
        self
    }
}

/// A plan that is being followed.
#[derive(Default)]
pub(super) struct Faults {
    plan: FaultPlan,
    counts: BTreeMap<Option<DiskOp>, u64>,
    /// Faults that came about.
    pub(super) met: Vec<(DiskOp, DiskFault)>,
    pub(super) dice: Dice,
}

impl Faults {
    pub(super) fn new(plan: FaultPlan) -> Self {
        let dice = Dice::new(plan.seed);
        Self { plan, dice, ..Self::default() }
    }

    /// Operations so far.
    pub(super) fn count(&self) -> u64 {
        self.counts.get(&None).copied().unwrap_or(0)
    }

    /// Counts an operation; what is to happen to it.
    pub(super) fn next(&mut self, op: DiskOp) -> Option<DiskFault> {
        let numbers = [None, Some(op)].map(|kind| {
            let count = self.counts.entry(kind).or_default();
            *count += 1;
            (kind, *count - 1)
        });
        let due = |(kind, number, _): &&(_, _, _)| numbers.contains(&(*kind, *number));
        let fault = self.plan.faults.iter().find(due).map(|(_, _, fault)| *fault);
        self.met.extend(fault.map(|fault| (op, fault)));
        fault
    }
}

/// What the caller of a failed operation is told.
pub(super) fn error(fault: DiskFault) -> io::Error {
    match fault {
        DiskFault::PowerLoss => io::Error::other("the power is off"),
        DiskFault::Io => io::Error::other("the disk fails on demand"),
        DiskFault::Full => io::ErrorKind::StorageFull.into(),
    }
}

/// Numbers drawn from a seed (splitmix64).
#[derive(Clone, Default)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`, which is not 0.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit
    }

    pub(super) fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    /// As many whole sectors as may have been written of `len` bytes.
    pub(super) fn torn(&mut self, len: usize) -> usize {
        let sectors = len as u64 / SECTOR_BYTES + 1;
        (self.below(sectors) * SECTOR_BYTES) as usize
    }
}

/// What of many things a loss of power leaves. All and nothing are drawn as often as everything
/// between, since a disk that was idle, or busy for long, leaves that.
#[derive(Clone, Copy)]
enum Share {
    Nothing,
    All,
    Some,
}

impl Share {
    fn draw(dice: &mut Dice) -> Self {
        match dice.below(4) {
            0 => Self::Nothing,
            1 => Self::All,
            _ => Self::Some,
        }
    }

    fn takes(self, dice: &mut Dice) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::Some => dice.coin(),
        }
    }
}

/// Which changes of names a loss of power leaves: any, or if they keep their order, the first ones.
pub(super) fn drawn_names(dice: &mut Dice, keeps_order: bool) -> impl FnMut(&Path) -> bool {
    let mut share = Share::draw(dice);
    move |_| {
        let is_kept = share.takes(dice);
        if keeps_order && !is_kept {
            share = Share::Nothing;
        }
        is_kept
    }
}

/// Which sectors of files a loss of power leaves; asked for each file from its beginning on. A file
/// loses or keeps pages, and single ones are torn.
pub(super) fn drawn_sectors(dice: &mut Dice) -> impl FnMut(&Path, u64) -> bool {
    let (mut file, mut page) = (Share::All, Share::All);
    move |_, at| {
        if at == 0 {
            file = Share::draw(dice);
        }
        if at.is_multiple_of(PAGE_BYTES) {
            page = match file {
                Share::Some => Share::draw(dice),
                whole => whole,
            };
        }
        page.takes(dice)
    }
}
