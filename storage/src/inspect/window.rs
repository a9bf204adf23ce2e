//! Reading a file from front to back through a piece of memory that does not grow with the file.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::disk::Disk;

/// Bytes that are read at a time.
pub(crate) const WINDOW_BYTES: usize = 1 << 20;

/// A file, and the stretch of it that is in memory.
pub(crate) struct FileWindow<'a> {
    disk: &'a dyn Disk,
    path: PathBuf,
    len: u64,
    step: usize,
    base: u64,
    bytes: Vec<u8>,
}

impl<'a> FileWindow<'a> {
    /// A window on the file at `path`, of `len` bytes, that is read in steps of `step`.
    pub(crate) fn new(disk: &'a dyn Disk, path: PathBuf, len: u64, step: usize) -> Self {
        Self { disk, path, len, step, base: 0, bytes: Vec::new() }
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its length.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The bytes from `at` on: at least `want`, or all there are up to the file's end.
    pub(crate) fn at(&mut self, at: u64, want: usize) -> io::Result<&[u8]> {
        let have = self.base + self.bytes.len() as u64;
        let wanted_end = at.saturating_add(want as u64).min(self.len);
        if at < self.base || wanted_end > have {
            let len =
                self.step.max(want).min(usize::try_from(self.len - at.min(self.len)).unwrap_or(0));
            self.bytes = self.disk.read_at(&self.path, at, len)?;
            self.base = at;
        }
        Ok(self.bytes.get((at - self.base) as usize..).unwrap_or_default())
    }
}

/// A number of a layout, which is big-endian everywhere.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |chunk| u64::from_be_bytes(*chunk))
}

/// See [`u64_at`].
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |chunk| u32::from_be_bytes(*chunk))
}

/// See [`u64_at`].
pub(crate) fn i16_at(bytes: &[u8], at: usize) -> i16 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |chunk| i16::from_be_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemDisk;

    #[test]
    fn every_stretch_is_found_and_the_end_is_short() {
        let (disk, path) = (MemDisk::new(), PathBuf::from("/f"));
        let content: Vec<u8> = (0..100).collect();
        disk.write_atomic(&path, &content).unwrap();
        let mut window = FileWindow::new(&disk, path, 100, 16);
        assert_eq!(window.at(0, 4).unwrap(), &content[..16]);
        assert_eq!(window.at(10, 6).unwrap(), &content[10..16], "no reading for what is there");
        assert_eq!(window.at(10, 7).unwrap(), &content[10..26]);
        assert_eq!(window.at(90, 40).unwrap(), &content[90..]);
        assert_eq!(window.at(3, 1).unwrap(), &content[3..19]);
        assert_eq!(window.at(100, 1).unwrap(), b"");
        assert_eq!(window.at(200, 1).unwrap(), b"");
    }
}
