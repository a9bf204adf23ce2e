//! Names of files and folders, and what of them is on the disk.
//!
//! Every change of a name waits until its folder is synced; a loss of power takes or leaves each that
//! waits, whatever came before it. A file whose folder's name is lost is lost with it. A folder that is
//! made again under the name of one that was removed is another one: what lay in the first is not seen
//! in it, but is there again if both changes are lost.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::file::MemFile;

/// What a name stands for.
#[derive(Clone)]
pub(super) enum Entry {
    Dir,
    File(Arc<MemFile>),
}

type Map = BTreeMap<PathBuf, Entry>;

/// See the module's text.
#[derive(Default)]
pub(super) struct Names {
    seen: Map,
    durable: Map,
    /// By folder, in the order in which they were made.
    waiting: BTreeMap<PathBuf, Vec<Change>>,
}

enum Change {
    Set(PathBuf, Entry),
    Remove(PathBuf),
    /// A folder that was emptied before.
    RemoveDir(PathBuf, Inside),
    /// Within one folder.
    Rename(PathBuf, PathBuf, Entry),
}

/// What is on the disk of the inside of a folder, and what waits there.
struct Inside {
    durable: Map,
    waiting: Vec<Change>,
}

impl Change {
    fn path(&self) -> &Path {
        match self {
            Self::Set(path, _)
            | Self::Remove(path)
            | Self::RemoveDir(path, _)
            | Self::Rename(_, path, _) => path,
        }
    }

    fn apply(&self, names: &mut Map) {
        match self {
            Self::Set(path, entry) => drop(names.insert(path.clone(), entry.clone())),
            Self::Remove(path) | Self::RemoveDir(path, _) => drop(names.remove(path)),
            Self::Rename(from, to, entry) => {
                names.remove(from);
                names.insert(to.clone(), entry.clone());
            }
        }
    }
}

impl Names {
    /// Names that are all on the disk.
    pub(super) fn durable(names: Map) -> Self {
        Self { seen: names.clone(), durable: names, waiting: BTreeMap::new() }
    }

    /// The same names for copies of the files.
    pub(super) fn copy(&self) -> Self {
        let mut copies = Copies::default();
        let (seen, durable) = (copies.map(&self.seen), copies.map(&self.durable));
        let waiting = self.waiting.iter();
        let waiting = waiting.map(|(dir, all)| (dir.clone(), copies.changes(all)));
        Self { seen, durable, waiting: waiting.collect() }
    }

    pub(super) fn get(&self, path: &Path) -> Option<&Entry> {
        self.seen.get(path)
    }

    /// What lies in a folder.
    pub(super) fn children(&self, dir: &Path) -> impl Iterator<Item = (&PathBuf, &Entry)> {
        self.seen
            .range(dir.to_owned()..)
            .take_while(move |(path, _)| path.starts_with(dir))
            .filter(move |(path, _)| path.parent() == Some(dir))
    }

    /// What lies below a folder, and the folder itself, the deepest first.
    pub(super) fn below(&self, dir: &Path) -> Vec<PathBuf> {
        let from = self.seen.range(dir.to_owned()..);
        let mut below: Vec<_> =
            from.map(|(path, _)| path.clone()).take_while(|path| path.starts_with(dir)).collect();
        below.reverse();
        below
    }

    /// Makes a name, and those of the folders above it that are missing.
    pub(super) fn set(&mut self, path: &Path, entry: Entry) {
        self.add_dirs(path.parent());
        self.change(Change::Set(path.to_owned(), entry));
    }

    /// Makes a folder and those above it; the paths that were made, the highest first.
    pub(super) fn add_dirs(&mut self, dir: Option<&Path>) -> Vec<PathBuf> {
        let above = dir.into_iter().flat_map(Path::ancestors).filter(|dir| dir.parent().is_some());
        let missing = above.filter(|dir| !self.seen.contains_key(*dir)).map(Path::to_owned);
        let mut missing: Vec<_> = missing.collect();
        missing.reverse();
        for dir in &missing {
            self.change(Change::Set(dir.clone(), Entry::Dir));
        }
        missing
    }

    pub(super) fn remove(&mut self, path: &Path) {
        match self.seen.get(path) {
            Some(Entry::File(_)) => self.change(Change::Remove(path.to_owned())),
            Some(Entry::Dir) => {
                let inside = self.take_inside(path);
                self.change(Change::RemoveDir(path.to_owned(), inside));
            }
            None => {}
        }
    }

    fn take_inside(&mut self, dir: &Path) -> Inside {
        let below = |path: &Path| path != dir && path.starts_with(dir);
        let durable = self.durable.extract_if(.., |path, _| below(path)).collect();
        let waiting = self.waiting.extract_if(.., |path, _| path.starts_with(dir));
        Inside { durable, waiting: waiting.flat_map(|(_, changes)| changes).collect() }
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path, entry: Entry) {
        self.change(Change::Rename(from.to_owned(), to.to_owned(), entry));
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.seen);
        let dir = change.path().parent().map(Path::to_owned).unwrap_or_default();
        self.waiting.entry(dir).or_default().push(change);
    }

    /// Brings the waiting changes of a folder to the disk for which `reached` says so.
    pub(super) fn sync(&mut self, dir: &Path, mut reached: impl FnMut(&Path) -> bool) {
        let Some(waiting) = self.waiting.get_mut(dir) else { return };
        waiting.retain(|change| {
            let is_due = reached(change.path());
            if is_due {
                change.apply(&mut self.durable);
            }
            !is_due
        });
    }

    /// The names after a loss of power, with those waiting changes that are `kept`.
    pub(super) fn after_loss(&self, mut kept: impl FnMut(&Path) -> bool) -> Map {
        let waiting = self.waiting.values().flatten();
        let mut names = surviving(&self.durable, waiting, &mut kept);
        let all = names.clone();
        let is_dir =
            |dir: &Path| dir.parent().is_none() || matches!(all.get(dir), Some(Entry::Dir));
        names.retain(|path, _| path.ancestors().skip(1).all(is_dir));
        names
    }
}

/// The names `durable` and those changes of them that are `kept`.
fn surviving<'a>(
    durable: &Map,
    waiting: impl Iterator<Item = &'a Change>,
    kept: &mut dyn FnMut(&Path) -> bool,
) -> Map {
    let (mut names, mut restored) = (durable.clone(), BTreeMap::new());
    for change in waiting {
        match (kept(change.path()), change) {
            (true, change) => {
                change.apply(&mut names);
                restored.remove(change.path());
            }
            (false, Change::RemoveDir(path, inside)) => {
                let inside = surviving(&inside.durable, inside.waiting.iter(), kept);
                restored.insert(path.as_path(), inside);
            }
            (false, _) => {}
        }
    }
    for (dir, inside) in restored {
        names.retain(|path, _| path == dir || !path.starts_with(dir));
        names.extend(inside);
    }
    names
}

/// Copies of files by the addresses of the originals, as one file may have several names.
#[derive(Default)]
struct Copies(BTreeMap<*const MemFile, Arc<MemFile>>);

impl Copies {
    fn map(&mut self, names: &Map) -> Map {
        names.iter().map(|(path, entry)| (path.clone(), self.of(entry))).collect()
    }

    fn changes(&mut self, changes: &[Change]) -> Vec<Change> {
        changes.iter().map(|change| self.change(change)).collect()
    }

    fn change(&mut self, change: &Change) -> Change {
        match change {
            Change::Set(path, entry) => Change::Set(path.clone(), self.of(entry)),
            Change::Remove(path) => Change::Remove(path.clone()),
            Change::RemoveDir(path, inside) => {
                let durable = self.map(&inside.durable);
                let waiting = self.changes(&inside.waiting);
                Change::RemoveDir(path.clone(), Inside { durable, waiting })
            }
            Change::Rename(from, to, entry) => {
                Change::Rename(from.clone(), to.clone(), self.of(entry))
            }
        }
    }

    fn of(&mut self, entry: &Entry) -> Entry {
        match entry {
            Entry::Dir => Entry::Dir,
            Entry::File(file) => {
                let copy = self.0.entry(Arc::as_ptr(file)).or_insert_with(|| file.copy());
                Entry::File(copy.clone())
            }
        }
    }
}
