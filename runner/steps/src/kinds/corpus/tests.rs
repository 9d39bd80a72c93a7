//! What `corpus` makes of good and of broken files.

use std::io::Write as _;

use crate::Say;
use crate::kit::Kit;

fn texts(data: &str) -> Vec<String> {
    let text = |it: &str| {
        let it: serde_json::Value = serde_json::from_str(it).unwrap();
        assert_eq!(it["id"].as_str().unwrap().len(), 16);
        it["text"].as_str().unwrap().to_owned()
    };
    data.lines().map(text).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

#[test]
fn an_array_is_read_element_by_element_and_what_else_it_has_goes_along() {
    let array = "\u{feff}[{\"id\": 7, \"content\":\"甲\\u4e59\", \"title\":\"t\"},\n {\n \"content\" \
                 : \"[{\\\"\",\n \"tags\": [1,\n  2]\n}\n]\n";
    let outputs = Kit::new("corpus").run("format = 'wudao'", &[array.as_bytes()]).unwrap();
    insta::assert_snapshot!(outputs.join("--\n"), @r#"
    {"id":"3fb12ddd97bf8b48","source":"wudao","text":"甲乙","raw_id":7,"title":"t"}
    {"id":"ef3a5ba6e2203883","source":"wudao","text":"[{\"","tags":[1,  2]}
    --
    "#);
}

/// The lines below in two frames with checksums, as the library zstd packs them.
const ZSTD: [&[u8]; 2] = [
    b"\x28\xb5\x2f\xfd\x24\x09\x49\x00\x00\x7b\x22\x63\x6f\x6e\x74\x65\x6e\x74\x7f\x0a\x5c\xc0",
    b"\x28\xb5\x2f\xfd\x24\x1b\xd9\x00\x00\x22\x3a\x22\xe7\x94\xb2\x22\x7d\x0a\x0a\x7b\x22\x63\x6f\x6e\x74\x65\x6e\x74\x22\x3a\x22\xe4\xb9\x99\x22\x7d\x31\x08\xd7\xf5",
];

#[test]
fn every_form_and_packing_gives_the_same_texts() {
    let lines = "{\"content\":\"甲\"}\n\n{\"content\":\"乙\"}";
    let csv = "n,content\r\n1,甲\r\n2,\"乙\"\r\n";
    let cases: [(&str, Vec<u8>); 7] = [
        ("format = 'wanjuan'", lines.into()),
        ("", gzip(lines.as_bytes())),
        ("", ZSTD.concat()),
        ("", csv.into()),
        ("", "甲\r\n\n乙".into()),
        ("format = 'txt'\nunit = 'paragraph'", "\n甲\n\n\n乙\n".into()),
        ("columns = { text = 'b' }", "{\"b\":\"甲\",\"text\":1}\n{\"b\":\"乙\"}\n".into()),
    ];
    for (with, bytes) in cases {
        let outputs = Kit::new("corpus").run(with, &[&bytes]).unwrap();
        assert_eq!(texts(&outputs[0]), ["甲", "乙"], "{with}");
        assert_eq!(outputs[1], "");
    }
}

#[test]
fn gb18030_is_found_out_and_said() {
    // "{"text":"中文" twice over, then a byte that is none.
    let good = b"{\"text\":\"\xd6\xd0\xce\xc4\xd6\xd0\xce\xc4\xd6\xd0\xce\xc4\"}\n".repeat(30);
    let mut kit = Kit::new("corpus");
    let outputs = kit.run("", &[&good]).unwrap();
    assert_eq!(texts(&outputs[0])[29], "中文中文中文");
    let note = "1: jsonl, GB18030 (detected): 30 rows, 0 unread";
    assert!(kit.said.contains(&Say::Note(note.to_owned())), "{:?}", kit.said);
    let mut bad = good.clone();
    bad.extend_from_slice(b"{\"text\":\"\xff\"}\n");
    let outputs = kit.run("max_unread = 1", &[&bad]).unwrap();
    assert!(outputs[1].contains("\"line\":31"), "{}", outputs[1]);
    assert!(outputs[1].contains("is not GB18030 after 9 bytes"), "{}", outputs[1]);
}

#[test]
fn broken_rows_are_kept_aside_with_their_place_and_the_rest_is_read() {
    let rows = concat!(
        "{\"text\":\"a\"}\n",
        "{\"text\":1}\n",
        "{\"t\":\"\"}\n",
        "{\"text\":\"b\"\n",
        "[]\n",
        "{\"text\":\"c\"}\n"
    );
    let mut kit = Kit::new("corpus");
    let outputs = kit.run("max_unread = 4", &[rows.as_bytes()]).unwrap();
    assert_eq!(texts(&outputs[0]), ["a", "c"]);
    insta::assert_snapshot!(outputs[1], @r#"
    {"file":"1","line":2,"row":2,"field":"text","reason":"is not a text","start":"{\"text\":1}"}
    {"file":"1","line":3,"row":3,"field":null,"reason":"has none of `text`, `content`, `output`; it has `t`","start":"{\"t\":\"\"}"}
    {"file":"1","line":4,"row":4,"field":null,"reason":"is no JSON object: EOF while parsing an object at line 1 column 11","start":"{\"text\":\"b\""}
    {"file":"1","line":5,"row":5,"field":null,"reason":"is no JSON object: invalid type: sequence, expected an object at line 1 column 0","start":"[]"}
    "#);
    assert_eq!(kit.count("unread"), Some(4));
    assert_eq!(
        kit.error("max_unread = 0.1", rows),
        "in0:2: field `text`: is not a text; 4 of 6 rows cannot be read, `max_unread` is 0.1"
    );
    assert!(kit.error("max_unread = 3", rows).contains("4 of 5 rows"));
}

#[test]
fn a_broken_element_of_an_array_costs_only_itself() {
    let array = concat!(
        "[\n{\"text\":\"a\"},\n{\"text\":\"b},\n{\"text\":\"c\"},\n7,\n{\"text\":\"d\" 1},\n",
        "{\"text\":\"e\"},{\"text\":\"f\", {\"text\":\"g\"},\n{\"text\":\"h"
    );
    let outputs = Kit::new("corpus").run("max_unread = 9", &[array.as_bytes()]).unwrap();
    assert_eq!(texts(&outputs[0]), ["a", "c", "e", "g"]);
    insta::assert_snapshot!(outputs[1], @r#"
    {"file":"1","line":3,"row":2,"field":null,"reason":"a text goes on over the end of its line","start":"{\"text\":\"b},\n"}
    {"file":"1","line":5,"row":4,"field":null,"reason":"is no object","start":"7"}
    {"file":"1","line":6,"row":5,"field":null,"reason":"is no JSON object: expected `,` or `}` at line 1 column 13","start":"{\"text\":\"d\" 1}"}
    {"file":"1","line":7,"row":7,"field":null,"reason":"the object does not end","start":"{\"text\":\"f\", "}
    {"file":"1","line":8,"row":9,"field":null,"reason":"the file ends inside a record","start":"{\"text\":\"h"}
    "#);
}

#[test]
fn a_last_element_without_its_end_is_kept_aside() {
    let outputs =
        Kit::new("corpus").run("max_unread = 1", &[b"[{\"text\":\"a\"},{\"text\":\"b\"]"]);
    let outputs = outputs.unwrap();
    assert_eq!(texts(&outputs[0]), ["a"]);
    assert!(outputs[1].contains("the object does not end"), "{}", outputs[1]);
}

#[test]
fn ids_do_not_change_when_files_are_added_or_grow() {
    let (a, b) = ("{\"text\":\"a\"}\n{\"text\":\"a\"}\n", "{\"text\":\"b\"}\n");
    let ids = |inputs: &[&[u8]]| -> Vec<String> {
        let data = Kit::new("corpus").run("", inputs).unwrap().remove(0);
        data.lines().map(|it| it[7..23].to_owned()).collect()
    };
    let alone = ids(&[a.as_bytes()]);
    assert_ne!(alone[0], alone[1]);
    let more = format!("{a}{b}");
    let grown = ids(&[b.as_bytes(), more.as_bytes(), more.as_bytes()]);
    assert_eq!(alone, grown[1..3]);
    let distinct: std::collections::BTreeSet<&String> = grown.iter().collect();
    assert_eq!(distinct.len(), grown.len());
}

#[test]
fn a_folder_is_read_in_the_order_of_its_paths() {
    let mut kit = Kit::new("corpus");
    let folder = kit.folder.path().join("c");
    std::fs::create_dir_all(folder.join("a")).unwrap();
    for (name, text) in [("b.txt", "2"), ("a/z.txt", "1"), (".x", "3"), ("c.md", "4")] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let outputs = kit.run_at("endings = ['.txt']", &[("files", vec![folder])]).unwrap();
    assert_eq!(texts(&outputs[0]), ["1", "2"]);
}

#[test]
fn what_no_reader_is_there_for_is_refused_by_name() {
    let error = |bytes: &[u8]| {
        let mut kit = Kit::new("corpus");
        kit.run("", &[bytes]).unwrap_err().to_string().rsplit('/').next().unwrap().to_owned()
    };
    assert_eq!(error(b"PAR1...."), "in0`: parquet: the file ends early");
    assert!(error(b"\xff\xfea\0").contains("is UTF-16 by its first bytes FF FE"));
    assert!(error(b"\x28\xb5\x2f\xfd").starts_with("in0`: "));
    let packed = gzip(b"{\"text\":\"a\"}\n");
    assert!(error(&packed[..packed.len() - 9]).starts_with("in0`: "));
}

#[test]
fn a_table_is_read_row_by_row_and_what_is_left_out_is_said() {
    let mut kit = Kit::new("corpus");
    let bytes: &[u8] = include_bytes!("parquet/fixtures/snappy.parquet");
    let outputs = kit.run("max_unread = 0.99", &[bytes]).unwrap();
    assert_eq!((outputs[0].lines().count(), outputs[1].lines().count()), (20, 3));
    let first = "\"text\":\"山中有雨0\",\"raw_id\":-9000000000,\"natural\":4000000000,";
    assert!(outputs[0].contains(first), "{}", outputs[0]);
    let said = |it: &Say| matches!(it, Say::Note(it) if it.contains(", parquet, without the columns `tags`, `inner`, `price`, UTF-8"));
    assert!(kit.said.iter().any(said), "{:?}", kit.said);
}

#[test]
fn a_stray_quote_in_a_table_costs_its_row_alone() {
    let mut table = String::from("n,text\n0,zero\n1,\"stray\n");
    (2..200_000).for_each(|i| table.push_str(&format!("{i},row {i}\n")));
    table.push_str("7,5\" pipe\n");
    let before = std::time::Instant::now();
    let mut kit = Kit::new("corpus");
    let outputs = kit.run("max_unread = 1", &[table.as_bytes()]).unwrap();
    assert_eq!(outputs[0].lines().count(), 200_000);
    assert!(
        outputs[0].ends_with("\"text\":\"5\\\" pipe\",\"n\":\"7\"}\n"),
        "{}",
        &outputs[0][outputs[0].len() - 99..]
    );
    insta::assert_snapshot!(outputs[1], @r#"{"file":"1","line":3,"row":2,"field":null,"reason":"opens a quoted cell that does not end within 1 MiB","start":"1,\"stray"}"#);
    // Counted again at the end of every line, it took minutes.
    assert!(before.elapsed().as_secs() < 60, "{:?}", before.elapsed());
    let small = kit.run(
        "max_unread = 3\nmax_row_bytes = 20",
        &[b"text,n\n\"a\nb\",1\nx,aaaaaaaaaaaaaaaaaaaa\nc,2\n"],
    );
    let small = small.unwrap();
    assert_eq!(texts(&small[0]), ["a\nb", "c"]);
    assert!(
        small[1]
            .contains("\"line\":4,\"row\":2,\"field\":null,\"reason\":\"is longer than 20 bytes\""),
        "{}",
        small[1]
    );
    assert!(kit.error("max_row_bytes = 0", "").contains("`max_row_bytes` is not between 1 and"));
}
