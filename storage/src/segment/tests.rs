//! What the two kinds of shared memory promise.

use super::*;

fn segment(len: u64) -> Arc<Segment> {
    Segment::simulated(100, Memory::zeroed(len).unwrap(), 0, |_, _| Ok(()))
}

fn write(writer: &mut SegmentWriter, at: u64, text: &[u8]) {
    writer.bytes(at, text.len() as u64).unwrap().copy_from_slice(text);
}

#[test]
fn bytes_are_readable_once_published() {
    let segment = segment(16);
    let mut writer = segment.writer().unwrap();
    write(&mut writer, 0, b"hello");
    assert_eq!(segment.read(0, 5), None);
    writer.publish(5);
    assert_eq!(segment.read(0, 5).unwrap(), b"hello");
    assert_eq!(segment.read(1, 5), None);
    assert_eq!(segment.read(u64::MAX, 2), None);
    assert_eq!(segment.read_from(3).unwrap(), b"lo");
    assert_eq!(segment.read_from(6), None);
}

#[test]
fn what_is_readable_cannot_be_written() {
    let segment = segment(16);
    let mut writer = segment.writer().unwrap();
    writer.publish(5);
    assert!(writer.bytes(4, 1).is_none());
    assert!(writer.bytes(5, 11).is_some());
    assert!(writer.bytes(5, 12).is_none());
    assert!(writer.bytes(u64::MAX, 2).is_none());
}

#[test]
#[should_panic(expected = "goes back")]
fn the_mark_does_not_go_back() {
    let segment = segment(16);
    let mut writer = segment.writer().unwrap();
    writer.publish(5);
    writer.publish(4);
}

#[test]
fn there_is_one_writer_at_a_time() {
    let segment = segment(16);
    let writer = segment.writer().unwrap();
    assert!(segment.writer().is_none());
    drop(writer);
    assert!(segment.writer().is_some());
}

#[test]
fn slices_outlive_their_segment_and_grow_within_it() {
    let segment = segment(8);
    let mut writer = segment.writer().unwrap();
    write(&mut writer, 0, b"abcdefgh");
    writer.publish(6);
    let mut slice = segment.slice(1, 2).unwrap();
    drop((segment, writer));
    assert_eq!(slice.offset(), 101);
    assert!(slice.extend(3));
    assert!(!slice.extend(1));
    assert!(!slice.extend(u64::MAX));
    assert_eq!(slice.into_bytes(), &b"bcdef"[..]);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "two threads are what this test is about")]
fn a_reader_on_another_thread_sees_whole_publications() {
    let segment = segment(1 << 16);
    let reader = {
        let segment = segment.clone();
        std::thread::spawn(move || {
            loop {
                let bytes = segment.read_from(0).unwrap();
                assert!(bytes.iter().all(|b| *b == 7), "an unpublished byte was seen");
                if bytes.len() == 1 << 16 {
                    return;
                }
            }
        })
    };
    let mut writer = segment.writer().unwrap();
    for at in (0..1 << 16).step_by(64) {
        writer.bytes(at, 64).unwrap().fill(7);
        writer.publish(at + 64);
    }
    reader.join().unwrap();
}

#[test]
fn words_are_numbers_in_place() {
    let words = segment(16).into_words().unwrap();
    words.store(4, 0x0102_0304);
    assert_eq!(words.load(4), Some(0x0102_0304));
    assert_eq!(words.load(0), Some(0));
    for at in [2, 13, 16, u64::MAX, u64::MAX - 3] {
        assert_eq!(words.load(at), None, "{at}");
    }
}

#[test]
#[should_panic(expected = "no word at 16")]
fn there_is_no_word_behind_the_end() {
    segment(16).into_words().unwrap().store(16, 1);
}

#[test]
fn bytes_and_words_do_not_mix() {
    let written = segment(16);
    let mut writer = written.writer().unwrap();
    assert!(written.clone().into_words().is_none(), "it has a writer");
    writer.publish(1);
    drop(writer);
    assert!(written.into_words().is_none(), "it has readable bytes");
    let other = segment(16);
    let words = other.clone().into_words().unwrap();
    assert!(other.writer().is_none());
    drop(words);
    assert!(other.writer().is_none(), "words for good");
}

#[test]
fn synced_words_are_big_endian_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    file.set_len(8192).unwrap();
    let words = Segment::map(&file, 0, 8192, 0).unwrap().into_words().unwrap();
    words.store(5000, 7);
    words.sync(4998, 5005).unwrap();
    assert!(words.sync(0, 8193).is_err());
    assert!(words.sync(8, 4).is_err());
    assert_eq!(std::fs::read(&path).unwrap().get(4999..5005).unwrap(), b"\0\0\0\0\x07\0");
}

#[test]
fn a_mapped_file_is_written_and_synced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    file.set_len(8192).unwrap();
    assert!(Segment::map(&file, 0, 4096, 0).is_err(), "another length");
    let segment = Segment::map(&file, 0, 8192, 0).unwrap();
    segment.prefault(4096, 1 << 20);
    let mut writer = segment.writer().unwrap();
    write(&mut writer, 5000, b"x");
    writer.publish(5001);
    segment.sync(4500, 5001).unwrap();
    assert!(segment.sync(0, 5002).is_err(), "not published");
    assert_eq!(std::fs::read(&path).unwrap().get(4999..5002).unwrap(), b"\0x\0");
}
