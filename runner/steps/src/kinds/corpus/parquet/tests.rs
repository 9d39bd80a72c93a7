//! Files that pyarrow wrote (`tests/oracle/parquet.py`), whole and spoilt.

use super::*;

const ROWS: &str = include_str!("fixtures/rows.jsonl");
const FILES: [(&str, &[u8]); 5] = [
    ("plain", include_bytes!("fixtures/plain.parquet")),
    ("snappy", include_bytes!("fixtures/snappy.parquet")),
    ("gzip", include_bytes!("fixtures/gzip.parquet")),
    ("zstd", include_bytes!("fixtures/zstd.parquet")),
    ("small_pages", include_bytes!("fixtures/small_pages.parquet")),
];

fn read(bytes: &[u8]) -> io::Result<(String, Vec<String>)> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), bytes)?;
    let mut parquet = Parquet::open(file.path())?;
    let mut out = Vec::new();
    parquet.by_ref().take(1 << 20).read_to_end(&mut out)?;
    Ok((String::from_utf8_lossy(&out).into_owned(), parquet.without))
}

#[test]
fn every_packing_and_form_of_page_gives_the_same_rows() {
    for (name, bytes) in FILES {
        let (rows, without) = read(bytes).unwrap();
        let values = |text: &str| -> Vec<serde_json::Value> {
            text.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
        };
        assert_eq!(values(&rows), values(ROWS), "{name}");
        assert_eq!(without, ["tags", "inner", "price"]);
    }
}

#[test]
fn spoilt_files_are_errors_and_never_panics() {
    for (name, bytes) in FILES {
        for n in (0..bytes.len()).step_by(23) {
            assert!(read(&bytes[..n]).is_err(), "{name} {n}");
        }
        let mut harmed = 0;
        for i in (0..bytes.len()).step_by(11) {
            let mut spoilt = bytes.to_vec();
            spoilt[i] ^= 1 << (i % 8);
            harmed += usize::from(read(&spoilt).is_err());
        }
        assert!(harmed > bytes.len() / 500, "{name} {harmed}");
    }
}

#[test]
fn what_is_no_whole_file_is_named() {
    let error = |bytes: &[u8]| read(bytes).err().unwrap().to_string();
    assert_eq!(error(b"PAR1"), "parquet: the file ends early");
    let cut = "parquet: the file does not end as one does: it is cut, or encrypted";
    assert_eq!(error(b"PAR1aaaaaaaaPARE"), cut);
    let long = "parquet: the description at the end is longer than it can be";
    assert_eq!(error(b"PAR1aaaa\xff\xff\xff\x00PAR1"), long);
    assert_eq!(
        error(b"PAR1\x00\x01\x00\x00\x00PAR1"),
        "parquet: no column holds one text or number in each row"
    );
}
