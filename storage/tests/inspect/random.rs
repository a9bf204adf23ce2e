//! Bytes changed at random: looking never fails, and mending never takes a sound message away.

use std::{collections::BTreeMap, ops::ControlFlow, path::PathBuf, sync::Arc};

use gantry_storage::{
    Disk, MemDisk,
    inspect::{LogItem, RepairError, RepairPlan, log_contents, scan_log},
};
use proptest::prelude::*;

use crate::support::{
    FILE, inspection, killed_store, log_file, look, queue_file, root_file, store,
};

/// Whole records with a body that its CRC matches, by their place.
fn sound_records(disk: &MemDisk) -> BTreeMap<u64, Vec<u8>> {
    let mut records = BTreeMap::new();
    scan_log(disk, &log_contents(disk, &inspection()), 0, &mut |item| {
        if let LogItem::Record(record) = item
            && record.is_crc_right
        {
            records.insert(record.offset, record.bytes.to_vec());
        }
        ControlFlow::Continue(())
    });
    records
}

fn file() -> impl Strategy<Value = PathBuf> {
    prop_oneof![
        4 => (0..3u64).prop_map(|number| log_file(number * FILE)),
        2 => Just(queue_file("t", 0)),
        1 => Just(root_file("checkpoint")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sound_messages_survive_any_mending(
        damages in proptest::collection::vec((file(), 0..FILE, proptest::collection::vec(any::<u8>(), 1..24)), 1..5),
        is_clean in any::<bool>(),
    ) {
        let disk = if is_clean { store() } else { killed_store() };
        let whole = sound_records(&disk);
        for (path, at, bytes) in &damages {
            let len = disk.read(path).unwrap().unwrap().len() as u64;
            let at = at % len;
            let bytes = &bytes[..bytes.len().min((len - at) as usize)];
            disk.overwrite(path, at, bytes).unwrap();
        }
        let sound = sound_records(&disk);
        look(&disk);
        let plan = RepairPlan::make(&disk, &inspection(), &mut Vec::new()).unwrap();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        match plan.execute(&shared, &inspection(), &mut |_| {}) {
            // Numbers outside of what a CRC covers were changed: the log contradicts itself.
            Ok(()) | Err(RepairError::Gap { .. }) => {}
            Err(e) => panic!("{e}"),
        }
        let after = sound_records(&disk);
        for (offset, bytes) in whole {
            if sound.get(&offset) == Some(&bytes) {
                prop_assert_eq!(after.get(&offset), Some(&bytes), "the record at {}", offset);
            }
        }
        let left: Vec<_> = look(&disk).1.into_iter().map(|finding| finding.kind.name()).collect();
        prop_assert!(!left.contains(&"record-crc") && !left.contains(&"log-tail"), "{:?}", left);
    }
}
