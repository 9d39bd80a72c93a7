//! Reads all rows of a space and says what is wrong with them.

use std::fs::File;
use std::path::Path;

use plan::Digest;

use crate::error::At;
use crate::index::DigestMap;
use crate::{Finding, Result};

use super::segment::{self, Seen, scan};

/// Tells what is damaged, torn or stored twice with different content; gives the number of rows.
pub(crate) fn check_space(folder: &Path, tell: &mut dyn FnMut(Finding)) -> Result<u64> {
    let space = folder.file_name().and_then(|it| it.to_str()).and_then(|it| it.parse().ok());
    let Some(space) = space else {
        tell(Finding::Stray { path: folder.to_owned() });
        return Ok(0);
    };
    let mut rows = 0;
    let mut first: DigestMap<Digest, u32> = DigestMap::default();
    for path in segment::paths(folder)? {
        let file = File::open(&path).at("open", &path)?;
        let is_alive = file.try_lock_shared().is_err();
        let length = file.metadata().at("look at", &path)?.len();
        let mut found = Vec::new();
        let end = scan(&file, &path, 0, &mut |seen| match seen {
            Seen::Row { key, payload, .. } => {
                rows += 1;
                let sum = crc32fast::hash(payload);
                if *first.entry(key).or_insert(sum) != sum {
                    found.push(Finding::DifferingRow { space, row: key });
                }
            }
            Seen::Damaged { offset } => {
                let why = format!("the row at byte {offset} is damaged");
                found.push(Finding::DamagedRows { path: path.clone(), why });
            }
        })?;
        found.into_iter().for_each(&mut *tell);
        if end < length && !is_alive {
            let why = format!("{} of {length} bytes at the end are torn", length - end);
            tell(Finding::DamagedRows { path, why });
        }
    }
    Ok(rows)
}
