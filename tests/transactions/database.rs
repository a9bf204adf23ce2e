//! What became of local transactions, as an application's database has it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use gantry_client::{MessageExt, TransactionEnd};

/// A local transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It is decided, for good.
    Decided(TransactionEnd),
    /// It takes its time: this often it is not known, then it is that.
    Pending(u32, TransactionEnd),
}

/// Shared by all producers; outlives each of them.
#[derive(Clone, Debug, Default)]
pub struct Database(Arc<Mutex<BTreeMap<u64, Entry>>>);

impl Database {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<u64, Entry>> {
        self.0.lock().unwrap()
    }

    /// Runs a local transaction: its first entry counts. What its producer says of it.
    pub fn run(&self, number: u64, entry: Entry) -> TransactionEnd {
        match *self.entries().entry(number).or_insert(entry) {
            Entry::Decided(end) => end,
            Entry::Pending(..) => TransactionEnd::Unknown,
        }
    }

    /// Looks one up for a broker that asks.
    pub fn look_up(&self, number: u64) -> TransactionEnd {
        let mut entries = self.entries();
        let entry = entries.entry(number).or_insert(Entry::Decided(TransactionEnd::Rollback));
        match *entry {
            Entry::Decided(end) => end,
            Entry::Pending(0, end) => {
                *entry = Entry::Decided(end);
                end
            }
            Entry::Pending(times, end) => {
                *entry = Entry::Pending(times - 1, end);
                TransactionEnd::Unknown
            }
        }
    }

    /// [`Database::look_up`] by the half message.
    pub fn of(&self, half: &MessageExt) -> TransactionEnd {
        self.look_up(str::from_utf8(&half.body).unwrap().parse().unwrap())
    }

    /// Those that came out like this.
    pub fn ended(&self, end: TransactionEnd) -> Vec<u64> {
        let entries = self.entries();
        let ended = entries.iter().filter(|(_, entry)| **entry == Entry::Decided(end));
        ended.map(|(number, _)| *number).collect()
    }

    /// Those that nobody has decided.
    pub fn pending(&self) -> usize {
        self.entries().values().filter(|entry| matches!(entry, Entry::Pending(..))).count()
    }
}

/// Compares what consumers see with what was decided.
///
/// # Errors
/// What is wrong, a line each.
pub fn compare(database: &Database, seen: &BTreeMap<u64, usize>) -> Result<(), Vec<String>> {
    let committed = database.ended(TransactionEnd::Commit);
    let mut wrong: Vec<String> = committed
        .iter()
        .filter(|number| !seen.contains_key(number))
        .map(|number| format!("{number} was committed and is not seen"))
        .collect();
    for (number, times) in seen {
        if committed.binary_search(number).is_err() {
            wrong.push(format!("{number} is seen and was not committed"));
        } else if *times > 1 {
            wrong.push(format!("{number} is seen {times} times"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

#[test]
fn each_difference_is_told() {
    let database = Database::default();
    for (number, end) in [(1, TransactionEnd::Commit), (2, TransactionEnd::Rollback)] {
        assert_eq!(database.run(number, Entry::Decided(end)), end);
    }
    assert_eq!(database.run(3, Entry::Pending(1, TransactionEnd::Commit)), TransactionEnd::Unknown);
    assert_eq!(database.look_up(3), TransactionEnd::Unknown);
    assert_eq!(database.look_up(3), TransactionEnd::Commit);
    assert_eq!(database.look_up(4), TransactionEnd::Rollback, "nobody knows it");
    assert_eq!(database.run(4, Entry::Decided(TransactionEnd::Commit)), TransactionEnd::Rollback);
    assert_eq!(compare(&database, &BTreeMap::from([(1, 1), (3, 1)])), Ok(()));
    let wrong = compare(&database, &BTreeMap::from([(1, 2), (2, 1)])).unwrap_err();
    assert_eq!(wrong.len(), 3, "{wrong:?}");
}
