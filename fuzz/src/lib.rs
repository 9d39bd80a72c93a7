//! What must hold for any bytes, one function for each place where bytes of others are read: no
//! panic, no hang, no memory without bound, and what was read reads back.
//!
//! The fuzzer calls these with what it makes up; `tests/fuzz.rs` with the seeds below.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::LazyLock;

use kernels::decoder::{Config, Layout, WeightDtype, WeightFiles};
use plan::{Ask, Digest, Entry, Files, KindSpec};
use steps::model::{Chat, Controlled, Conversation, Template, Tokenizer};
use steps::{Cx, Memo, StepError};
use store::{Durability, Record, Rows, Settings, Store};

/// What must hold for some bytes.
pub type Target = fn(&[u8]);

/// Each target by its name, with inputs that are worth mutating.
pub const SEEDS: &[(&str, Target, &[&[u8]])] = &[
    (
        "manifest",
        manifest,
        &[MANIFEST.as_bytes(), b"[workflow]\nname = \"\xff\"", b"a.b = {c = [${"],
    ),
    ("format", format, &[MANIFEST.as_bytes(), b"# only a comment\r\n", b"[a]\n[[a]]"]),
    ("record", record, &[RECORD.as_bytes(), b"{}\n", b"{\"format\":1}\nb3:00\n"]),
    ("index", index, &[b"kun-index 1\n", b"kun-index 1\n\x01\xff\xff\xff\xff", b"kun-index 2\n"]),
    ("rows", rows, &[b"kun-rows 1\n", b"kun-rows 1\n\x20\x00\x00\x00", b"\x00"]),
    ("tokenizer", tokenizer, &[TOKENIZER, b"{}", b"{\"model\":{\"vocab\":{},\"merges\":[]}}"]),
    ("pieces", pieces, &[PIECES, b"\x0a\xff\xff\xff\xff\x0f", b""]),
    (
        "template",
        template,
        &[TEMPLATE, b"{% for m in messages %}{{ m", b"{{ messages[0].content * 9 }}"],
    ),
    ("config", config, &[CONFIG.as_bytes(), b"{\"rope_theta\": 1e309}", b"[[[[", b"\xff"]),
    ("weights", weights, &[WEIGHTS, b"\x02\0\0\0\0\0\0\0{}", b"\xff\xff\xff\xff\xff\xff\xff\xff{"]),
    ("lines", lines, &[b"{\"a\":1}\n{\"a\":1.0}\n", b"{\"a\":\"\\ud800\"}\n", b"[[[[", b"\xff\n"]),
];

/// A manifest with a bit of everything.
const MANIFEST: &str = r#"[workflow]
name = "seed" # why
format = 1
seed = 7
targets = ["b*"]
[params]
n = 3
[variants]
small = { n = 1 }
smaller = { n = 0, extends = "small" }
[sources]
s = { path = "s.txt" }
[steps.a]
each = { x = [1, 2], y = ["p", "q"] }
run = ["sh", "-c", "cp $1 $2", "sh", "${in.i}", "${out.o}"]
in = { i = "${sources.s}" }
out = { o = "file" }
[steps.b]
op = "sample"
in = { data = "${steps.a[*].o}" }
with = { n = "${params.n}" }
"#;

/// The text of a record.
const RECORD: &str = r#"{
  "format": 1,
  "key": "b3:03148970908db0ffdf5feb3c5e9916e8a7e2aa8b49b1b0c8ed547a33885b7873",
  "recursive": "b3:7ca7e37d839e234baf2cfab579d9f3bab3c73db6c881b9d1180377c15f8f37f8",
  "family": "b3:5b08675f7f8a8cc52cf8f5284d2963741e0f022d7d3985157fa6dfbc3c8d1bf1",
  "address": "all",
  "parts": {
    "in.parts.00000": "b3:54e0a9cd6d9514b808067468041615061d2232c35047ed245555ed031778bef2",
    "in.parts.00001": "b3:1d92dd0471ce1a5b8d5e309423665e66833b8883e924776541141c4417e30b86",
    "in.parts.00002": "b3:1771260f17df03a22987e7e62541980177c832954ec4274598ff46136e6eaa68",
    "op": "concat",
    "op.version": "1",
    "out.data": "file data"
  },
  "outputs": {
    "data": {
      "object": {
        "digest": "b3:7219b08bb5f15ebd4ab941b29ca79f537756c77d8902e7c1019ae63fc8358572",
        "size": 1012,
        "shape": {
          "file": {
            "executable": false
          }
        }
      },
      "form": "file",
      "file": "data"
    }
  },
  "counts": {
    "bytes": 1012
  },
  "started": 1795187609775,
  "took_ms": 47,
  "cpu_ms": 0,
  "peak_bytes": 12521472,
  "host": "h",
  "kun": "0.1.0",
  "attempts": 1
}"#;

/// A tokenizer of `transformers`, and one of SentencePiece.
const TOKENIZER: &[u8] = include_bytes!("../../tests/oracle/fixtures/text/yi/tokenizer.json");
const PIECES: &[u8] = include_bytes!("../../tests/oracle/fixtures/text/pieces/tokenizer.model");

/// A chat template with a bit of everything.
const TEMPLATE: &[u8] = b"{%- for m in messages if m.role -%}\n  {%- set ns = namespace(a=1) %}\n\
    {{ m.content.strip() | upper }}{{ m | tojson(indent=2) }}{% if loop.last %}x{% endif %}\n\
    {% endfor %}{{ raise_exception('no') if false }}{{ messages[0]['content'][:2] ~ 1 }}";
/// What a small model's `config.json` says.
const CONFIG: &str = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama",
"hidden_size": 2, "intermediate_size": 3, "vocab_size": 4, "num_hidden_layers": 1,
"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 2, "hidden_act": "silu",
"max_position_embeddings": 64, "rms_norm_eps": 1e-05, "initializer_range": 0.02,
"rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}, "rope_scaling": null,
"attention_bias": false, "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": [2, 3],
"pad_token_id": 0, "dtype": "float32"}"#;

/// The weights of that model, as `kernels` saves them.
const WEIGHTS: &[u8] = include_bytes!("../seeds/model.safetensors");

/// A project of one manifest and one text.
struct OneFile<'a>(&'a [u8]);

impl Files for OneFile<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match path.to_str() {
            Some("workflow.toml") => Ok(self.0.to_vec()),
            Some("s.txt") => Ok(b"text\n".to_vec()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        if !folder.as_os_str().is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let entry = |name: &str| Entry { name: name.to_owned(), is_dir: false, is_symlink: false };
        Ok(vec![entry("workflow.toml"), entry("s.txt")])
    }
}

/// Any text is a workflow or a list of mistakes, with and without its variants.
pub fn manifest(bytes: &[u8]) {
    let files = OneFile(bytes);
    let kinds: Vec<&'static KindSpec> = steps::KINDS.iter().map(|it| it.spec()).collect();
    let workflow = match plan::read(Path::new("workflow.toml"), &files, &kinds) {
        Ok(workflow) => workflow,
        Err(mistakes) => {
            assert!(!mistakes.0.is_empty(), "refused without a mistake");
            return;
        }
    };
    for variants in [vec![], vec!["*".to_owned()]] {
        let ask = Ask { variants, ..Ask::default() };
        let _ = workflow.expand(&ask, &files);
        let _ = workflow.resolved(&ask);
    }
}

/// A text in the one style stays as it is.
pub fn format(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let path = Path::new("workflow.toml");
    if let Ok(once) = plan::format(path, text) {
        let twice = plan::format(path, &once).expect("what was formatted is still TOML");
        assert_eq!(once, twice);
    }
}

/// Bytes are a record or they are not; with a right digest behind them, the text alone decides.
pub fn record(bytes: &[u8]) {
    let _ = Record::decode(bytes);
    let mut line: Vec<u8> = bytes.iter().copied().filter(|it| *it != b'\n').collect();
    line.push(b'\n');
    let digest = Digest::of(&line);
    line.extend_from_slice(format!("{digest}\n").as_bytes());
    if let Ok(record) = Record::decode(&line) {
        assert_eq!(Record::decode(&record.encode()).as_ref(), Ok(&record));
    }
}

/// A store without results, for the life of the process.
static STORE: LazyLock<(tempfile::TempDir, Store)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let settings = Settings { durability: Durability::Fast, ..Settings::default() };
    let store = Store::open_with(folder.path(), settings).expect("an empty folder becomes a store");
    (folder, store)
});

/// Whatever stands in the index, results are known by records only: here there are none.
pub fn index(bytes: &[u8]) {
    let store = &STORE.1;
    let folder = store.root().join("idx");
    std::fs::create_dir_all(&folder).expect("the store can be written to");
    std::fs::write(folder.join("log"), bytes).expect("the store can be written to");
    let index = store.index().expect("a damaged index is made anew");
    for key in index.keys() {
        let _ = index.entry(&key);
    }
}

/// Whatever stands in a segment, rows can be asked for and put.
pub fn rows(bytes: &[u8]) {
    let store = &STORE.1;
    let space = Digest::of(b"fuzz");
    let row = Digest::of(b"row");
    let folder = store.root().join("rows").join(space.hex());
    let _ = std::fs::remove_dir_all(&folder);
    {
        let rows = Rows::open(store, &space).expect("a new space can be opened");
        rows.put(&Digest::of(b"first"), b"answer").expect("a row can be put");
        rows.sync().expect("rows can be synced");
    }
    for entry in std::fs::read_dir(&folder).expect("the space has a folder").flatten() {
        if entry.file_name().to_string_lossy().starts_with("seg-") {
            std::fs::write(entry.path(), bytes).expect("the store can be written to");
        } else {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    let rows = Rows::open(store, &space).expect("a damaged space can be opened");
    let _ = rows.get(&Digest::of(b"first"));
    rows.put(&row, b"new").expect("a row can be put");
    assert_eq!(rows.get(&row).expect("a row can be read"), Some(b"new".to_vec()));
}

/// A file is a tokenizer or an error; what it encodes it decodes, and no text is a control token.
pub fn tokenizer(bytes: &[u8]) {
    opened("tokenizer.json", bytes);
}

/// The same of SentencePiece's files.
pub fn pieces(bytes: &[u8]) {
    opened("tokenizer.model", bytes);
}

fn opened(name: &str, bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    std::fs::write(folder.path().join(name), bytes).expect("the folder can be written to");
    let Ok(it) = Tokenizer::open(folder.path()) else { return };
    for text in ["", "a b\n", "今天🙂", "<|im_end|><unk><0x0A>"] {
        let Ok(ids) = it.encode_plain(text) else { continue };
        assert!(ids.iter().all(|id| it.token(*id).is_some()), "an id without a token");
        let _ = it.decode(&ids, Controlled::Shown);
    }
}

/// A text is a template or an error; it ends, and no message makes a control token.
pub fn template(bytes: &[u8]) {
    static OPENED: LazyLock<Tokenizer> = LazyLock::new(|| {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let path = folder.path().join("tokenizer.json");
        std::fs::write(path, TOKENIZER).expect("the folder can be written to");
        Tokenizer::open(folder.path()).expect("the fixture is a tokenizer")
    });
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(template) = Template::new("fuzz", text) else { return };
    let chat = Chat { tokenizer: &OPENED, template: &template };
    let n_controls = |message: &str| {
        let ids = chat.prompt(&Conversation::pair(None, message, None)).ok()?;
        Some(ids.iter().filter(|it| OPENED.is_control(**it)).count())
    };
    if let (Some(harmless), Some(other)) = (n_controls("[|im_end|]"), n_controls("<|im_end|>")) {
        assert_eq!(harmless, other, "a message made a control token");
    }
}

/// No answers are kept.
struct Nothing;

impl Memo for Nothing {
    fn get(&mut self, _: &Digest) -> Result<Option<Vec<u8>>, StepError> {
        Ok(None)
    }

    fn put(&mut self, _: &Digest, _: &[u8]) -> Result<(), StepError> {
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StepError> {
        Ok(())
    }
}

/// A text is a configuration that reads back from what is written, or it is refused by name.
pub fn config(bytes: &[u8]) {
    let path = Path::new("config.json");
    if let Ok(config) = Config::parse(bytes, path) {
        config.check(path).expect("what was read has been checked");
        let text = config.to_json(WeightDtype::F32);
        let again = Config::parse(text.as_bytes(), path).expect("what was written reads back");
        // The parser may miss a number's last bit.
        for (a, b) in [
            (again.rope_theta, config.rope_theta),
            (again.rms_norm_eps, config.rms_norm_eps),
            (again.initializer_range, config.initializer_range),
        ] {
            assert!((a - b).abs() <= 1e-15 * b, "{a} and not {b}");
        }
        let Config { rope_theta, rms_norm_eps, initializer_range, .. } = again;
        let dtype = Some(WeightDtype::F32);
        let read = Config { dtype, rope_theta, rms_norm_eps, initializer_range, ..config };
        assert_eq!(again, read);
    }
}

/// Bytes are the weights of a small model, all of which can be read or are refused by name, or they
/// are refused as a whole.
pub fn weights(bytes: &[u8]) {
    let config = Config::parse(CONFIG.as_bytes(), Path::new("config.json"))
        .expect("the configuration is a good one");
    let folder = tempfile::tempdir().expect("there is room for a folder");
    std::fs::write(folder.path().join("model.safetensors"), bytes)
        .expect("the folder can be written to");
    let Ok(files) = WeightFiles::open(folder.path(), &config) else { return };
    for tensor in Layout::new(&config).tensors() {
        let mut numbers = vec![f32::NAN; tensor.len()];
        if files.read_f32(&tensor.name, 0..tensor.shape[0], &mut numbers).is_ok() {
            assert!(numbers.iter().all(|it| it.is_finite()));
        }
    }
}

/// Lines are records or an error with a place; what `unique` keeps, it keeps again.
pub fn lines(bytes: &[u8]) {
    if let Some(once) = unique(bytes) {
        assert_eq!(unique(&once).as_deref(), Some(once.as_slice()));
    }
}

fn unique(bytes: &[u8]) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("in"), bytes).expect("the folder can be written to");
    let kind = steps::kind("unique").expect("there is a kind `unique`");
    let slots = kind.spec().outputs.iter().map(|it| (it.name.to_owned(), path(it.name)));
    let mut cx = Cx {
        inputs: BTreeMap::from([(kind.spec().inputs[0].name.to_owned(), vec![path("in")])]),
        servers: BTreeMap::new(),
        outputs: slots.collect(),
        state: path("state"),
        seed: None,
        shard: None,
        checkpoint: None,
        threads: 1,
        gpu: None,
        memo: &mut Nothing,
        report: &mut |_| (),
        stop: &|| false,
    };
    kind.run_table(toml::Table::new(), &mut cx).ok()?;
    Some(std::fs::read(path(kind.spec().outputs[0].name)).expect("it wrote its output"))
}
