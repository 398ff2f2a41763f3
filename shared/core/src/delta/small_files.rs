//! Which small files of a table are worth one large one. Pure.
//!
//! Every compaction writes its rows anew, so a file is taken only together with smaller ones that are half as much as it is:
//! what it becomes is half as large again, at least. So a byte is written again a few times until its file is large, not
//! at every run; and of the files that stay each is larger than all smaller ones together twice, so that few stay.

/// A file that may be compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Small {
    /// Its place in the order of the table's commits.
    pub(crate) at: usize,
    pub(crate) bytes: u64,
}

/// Chooses among small files, and says which become one file of at most about `file_bytes`: each group has two or more,
/// in the order of their commits.
pub(crate) fn groups(mut small: Vec<Small>, file_bytes: u64) -> Vec<Vec<Small>> {
    small.sort_unstable_by_key(|file| (file.bytes, file.at));
    let mut before = 0;
    let mut taken = 0;
    for (place, file) in small.iter().enumerate() {
        if place > 0 && file.bytes <= 2 * before {
            taken = place + 1;
        }
        before += file.bytes;
    }
    small.truncate(taken);
    small.sort_unstable_by_key(|file| file.at);
    let mut groups: Vec<Vec<Small>> = Vec::new();
    let mut filled = file_bytes;
    for file in small {
        if filled + file.bytes > file_bytes {
            groups.push(Vec::new());
            filled = 0;
        }
        filled += file.bytes;
        if let Some(last) = groups.last_mut() {
            last.push(file);
        }
    }
    groups.retain(|group| group.len() > 1);
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grouped(sizes: &[u64], file_bytes: u64) -> Vec<Vec<u64>> {
        let small = sizes.iter().enumerate().map(|(at, &bytes)| Small { at, bytes }).collect();
        groups(small, file_bytes).iter().map(|group| group.iter().map(|file| file.bytes).collect()).collect()
    }

    #[test]
    fn files_of_one_size_become_one() {
        assert_eq!(grouped(&[5, 5, 5], 100), [[5, 5, 5]]);
        assert_eq!(grouped(&[5], 100), [[0; 0]; 0], "one file is one file");
        assert_eq!(grouped(&[], 100), [[0; 0]; 0]);
    }

    #[test]
    fn a_file_waits_until_smaller_ones_are_half_as_much_as_it_is() {
        assert_eq!(grouped(&[60, 5, 5], 100), [[5, 5]]);
        assert_eq!(grouped(&[20, 5, 5], 100), [[20, 5, 5]]);
        assert_eq!(grouped(&[60, 30, 30, 1], 200), [[60, 30, 30, 1]], "and takes the smallest along");
        assert_eq!(grouped(&[64, 16, 4, 1], 200), [[0; 0]; 0]);
    }

    #[test]
    fn they_are_joined_in_the_order_of_their_commits_up_to_a_size() {
        assert_eq!(grouped(&[7, 8, 9, 6, 5, 10], 25), [vec![7, 8, 9], vec![6, 5, 10]]);
        assert_eq!(grouped(&[20, 20, 20], 25), [[0; 0]; 0], "two of them would be too large");
    }

    /// A commit a minute, compacted after each 360: what stays, and how often a byte was written.
    #[test]
    fn what_stays_does_not_grow_and_no_byte_is_written_often() {
        const BOUND: u64 = 32 << 20;
        let mut files: Vec<u64> = Vec::new();
        let (mut landed, mut written) = (0, 0);
        for _ in 0..1_000 {
            files.extend([5_000; 360]);
            landed += 5_000 * 360;
            let small = files.iter().enumerate().filter(|(_, bytes)| **bytes < BOUND);
            let small = small.map(|(at, &bytes)| Small { at, bytes }).collect();
            let groups = groups(small, 4 * BOUND);
            let joined: Vec<u64> = groups.iter().map(|group| group.iter().map(|file| file.bytes).sum()).collect();
            let gone: Vec<usize> = groups.iter().flatten().map(|file| file.at).collect();
            files = files.iter().enumerate().filter(|(at, _)| !gone.contains(at)).map(|(_, &bytes)| bytes).collect();
            written += joined.iter().sum::<u64>();
            files.extend(joined);
            let small = files.iter().filter(|bytes| **bytes < BOUND).count();
            assert!(small <= 6, "{small} small files");
        }
        assert!(written <= 6 * landed, "each byte was written {} times", written / landed);
        assert_eq!(files.iter().sum::<u64>(), landed);
    }
}
