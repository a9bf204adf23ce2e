//! How much room a file system has, and how full that makes it.

/// The room of a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total: u64,
    /// What nobody uses.
    pub free: u64,
    /// What of that is for us; the system may keep a part back.
    pub available: u64,
}

impl Space {
    /// What is used, in percent of what we could use, taken up to a whole percent (store.md 3.6): as
    /// in the Java broker, so that its limits mean the same here. `None` of a file system without
    /// any room to tell of.
    pub fn used_percent(&self) -> Option<u8> {
        let used = u128::from(self.total.saturating_sub(self.free));
        let all = used + u128::from(self.available);
        if all == 0 {
            return None;
        }
        u8::try_from((used * 100).div_ceil(all)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(total: u64, free: u64, available: u64) -> Option<u8> {
        Space { total, free, available }.used_percent()
    }

    #[test]
    fn a_full_percent_is_begun_by_its_first_byte() {
        assert_eq!(percent(1000, 250, 250), Some(75));
        assert_eq!(percent(1000, 249, 249), Some(76));
        assert_eq!(percent(1000, 1000, 1000), Some(0));
        assert_eq!(percent(u64::MAX, u64::MAX - 1, u64::MAX - 1), Some(1));
        assert_eq!(percent(1000, 0, 0), Some(100));
    }

    #[test]
    fn what_the_system_keeps_back_is_not_ours_to_fill() {
        assert_eq!(percent(1000, 100, 50), Some(95), "900 of 950");
        assert_eq!(percent(1000, 50, 0), Some(100));
    }

    #[test]
    fn nothing_can_be_said_of_a_file_system_without_room() {
        assert_eq!(percent(0, 0, 0), None);
    }
}
