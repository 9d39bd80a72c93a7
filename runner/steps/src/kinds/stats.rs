//! `stats`: what a file of records is like: how many, how long, from where, in which script, how often twice.
//!
//! ```toml
//! [steps.about_raw]
//! op   = "stats"
//! in   = { data = "${steps.raw.data}", tokenizer = "models/Yi-6B" }
//! with = { fields = ["text"] }
//! ```
//!
//! `metrics` are numbers by name. Of the whole: `records`, `bytes`, `present.FIELD` (in how many records each
//! field stands), `sources.SOURCE` (how many records each source has). Of each field in `fields`:
//!
//! | name | what |
//! |---|---|
//! | `text.missing`, `text.empty` | records without it, or with one of blanks only |
//! | `text.duplicates` | records whose text, as it stands, was in a record before |
//! | `text.characters.total`, `.mean`, `.min`, `.p10`, `.p50`, `.p90`, `.p99`, `.max` | code points |
//! | `text.tokens.total` … | tokens, where a tokenizer is given |
//! | `text.han`, `.latin`, `.digits`, `.kana`, `.hangul`, `.other` | each script's share of all characters but blanks |
//! | `text.chinese`, `text.english`, `text.mixed`, `text.neither` | texts by their letters: at least 70 % Han characters, at least 70 % Latin letters, both and less than that, neither |
//!
//! `table` is the same as a small table of text: a line for all, and one for each field and source. A
//! quantile is the value at its place among all values: nothing is estimated.
//!
//! The 200 sources and 500 fields that come first have lines of their own; others stand together as
//! `(others)`. Memory: 16 bytes and what a set costs for each distinct text.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use plan::KindSpec;
use plan::kind::{Arity, Form, Port, Slot};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::model::Tokenizer;
use crate::model::record::Unfit;
use crate::page::page;
use crate::records::{Output, short_digest, write_metrics};
use crate::text::fields::Fields;
use crate::text::lengths::{Lengths, PLACES};
use crate::text::stream::Source;
use crate::{Cx, Kind, StepError, params_of};

pub(crate) struct Stats;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// The fields whose texts are looked at.
    #[serde(default = "default_fields")]
    fields: Vec<String>,
}

fn default_fields() -> Vec<String> {
    vec!["text".to_owned()]
}

const MOST_SOURCES: usize = 200;
const MOST_FIELDS: usize = 500;
const OTHERS: &str = "(others)";
/// The source of records that name none.
const NONE: &str = "(none)";

impl Kind for Stats {
    const SPEC: KindSpec = KindSpec {
        name: "stats",
        version: 1,
        about: "what records are like: lengths, sources, scripts, duplicates",
        page: page!("stats.rs"),
        inputs: &[
            Port { name: "data", arity: Arity::One, about: "the records" },
            Port { name: "tokenizer", arity: Arity::Optional, about: "counts tokens" },
        ],
        outputs: &[
            Slot { name: "metrics", form: Form::Metrics, about: "numbers by name" },
            Slot { name: "table", form: Form::File, about: "the same as a table of text" },
        ],
        params: params_of::<Params>,
        ..KindSpec::PLAIN
    };
    type Params = Params;

    fn run(&self, params: &Params, cx: &mut Cx<'_>) -> Result<(), StepError> {
        if params.fields.is_empty() {
            let reason = "`fields` is empty".to_owned();
            return Err(StepError::Params { kind: "stats", reason });
        }
        let tokenizer = match cx.inputs("tokenizer").first() {
            Some(folder) => Some(Tokenizer::open(folder)?),
            None => None,
        };
        let reader = Reader { fields: &params.fields, tokenizer };
        let mut all = Found::default();
        let mut seen = vec![HashSet::new(); params.fields.len()];
        let mut source = Source::open("data", cx)?;
        let work = |line: &[u8], part: &mut Found| reader.record(line, part);
        source.each(cx, &work, &mut |part: Found| {
            all.take(part, &mut seen);
            Ok(())
        })?;
        write_metrics(&all.metrics(&params.fields), cx)?;
        let mut output = Output::create(cx.output("table")?)?;
        output.bytes(all.table(&params.fields).as_bytes())?;
        output.finish()?;
        cx.count("records", all.records);
        Ok(())
    }
}

struct Reader<'a> {
    fields: &'a [String],
    tokenizer: Option<Tokenizer>,
}

/// What neighbouring records are like.
#[derive(Default)]
struct Found {
    records: u64,
    bytes: u64,
    present: Named<u64>,
    /// For each source, for each field.
    sources: Named<Of>,
    /// The digest of each text with its source and field, in order.
    texts: Vec<(u128, usize, usize)>,
}

/// Things by name, in the order in which the names came.
struct Named<T> {
    all: Vec<(String, T)>,
    places: HashMap<String, usize>,
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self { all: Vec::new(), places: HashMap::new() }
    }
}

impl<T: Default> Named<T> {
    /// The place of a name; new ones beyond `most` are one.
    fn place(&mut self, name: &str, most: usize) -> usize {
        if let Some(it) = self.places.get(name) {
            return *it;
        }
        if self.all.len() >= most && name != OTHERS {
            return self.place(OTHERS, most);
        }
        self.places.insert(name.to_owned(), self.all.len());
        self.all.push((name.to_owned(), T::default()));
        self.all.len() - 1
    }
}

/// The records of a source.
#[derive(Clone, Default)]
struct Of {
    records: u64,
    fields: Vec<Texts>,
}

/// The texts of a field.
#[derive(Clone, Default)]
struct Texts {
    n: u64,
    missing: u64,
    empty: u64,
    duplicates: u64,
    characters: Lengths,
    tokens: Lengths,
    scripts: [u64; SCRIPTS.len()],
    languages: [u64; LANGUAGES.len()],
}

const SCRIPTS: [&str; 6] = ["han", "latin", "digits", "kana", "hangul", "other"];
const LANGUAGES: [&str; 4] = ["chinese", "english", "mixed", "neither"];

/// The place of a character's script in [`SCRIPTS`].
fn script(it: char) -> usize {
    match it {
        '0'..='9' | '０'..='９' => 2,
        'a'..='z' | 'A'..='Z' | 'ａ'..='ｚ' | 'Ａ'..='Ｚ' => 1,
        // × and ÷ stand among Latin's letters.
        '\u{c0}'..='\u{24f}' if it != '×' && it != '÷' => 1,
        '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' => 0,
        '\u{20000}'..='\u{323af}' | '〇' | '々' => 0,
        '\u{3041}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' => 3,
        '\u{1100}'..='\u{11ff}' | '\u{3130}'..='\u{318f}' | '\u{ac00}'..='\u{d7a3}' => 4,
        _ => 5,
    }
}

/// The place in [`LANGUAGES`] of a text with so many characters of each script.
fn language(scripts: &[u64; SCRIPTS.len()]) -> usize {
    let (han, latin) = (scripts[0], scripts[1]);
    let letters = han + latin + scripts[3] + scripts[4];
    match () {
        () if han + latin == 0 => 3,
        () if han * 10 >= letters * 7 => 0,
        () if latin * 10 >= letters * 7 => 1,
        () if han > 0 && latin > 0 => 2,
        () => 3,
    }
}

impl Reader<'_> {
    fn record(&self, line: &[u8], part: &mut Found) -> Result<(), Unfit> {
        let fields = Fields::parse(line)?;
        part.records += 1;
        part.bytes += line.len() as u64 + 1;
        let mut names: Vec<&str> = fields.pairs().map(|it| it.0).collect();
        names.sort_unstable();
        names.dedup();
        // In the order of the record, but each once.
        for (name, _) in fields.pairs() {
            if let Ok(it) = names.binary_search(&name) {
                names.remove(it);
                let place = part.present.place(name, usize::MAX);
                part.present.all[place].1 += 1;
            }
        }
        let source = fields.source()?;
        let place = part.sources.place(source.as_deref().unwrap_or(NONE), usize::MAX);
        let of = &mut part.sources.all[place].1;
        of.records += 1;
        of.fields.resize(self.fields.len(), Texts::default());
        for (i, name) in self.fields.iter().enumerate() {
            let texts = &mut of.fields[i];
            match fields.optional_text(name)? {
                None => texts.missing += 1,
                Some(text) => {
                    self.text(&text, texts)?;
                    part.texts.push((short_digest(text.as_bytes()), place, i));
                }
            }
        }
        Ok(())
    }

    fn text(&self, text: &str, texts: &mut Texts) -> Result<(), Unfit> {
        let (mut n, mut scripts) = (0, [0; SCRIPTS.len()]);
        for it in text.chars() {
            n += 1;
            if !it.is_whitespace() {
                scripts[script(it)] += 1;
            }
        }
        texts.n += 1;
        texts.empty += u64::from(scripts.iter().all(|it| *it == 0));
        texts.characters.add(n);
        texts.scripts.iter_mut().zip(scripts).for_each(|(a, b)| *a += b);
        texts.languages[language(&scripts)] += 1;
        if let Some(it) = &self.tokenizer {
            let ids = it.encode_plain(text).map_err(|it| Unfit::new(it.to_string()))?;
            texts.tokens.add(ids.len() as u64);
        }
        Ok(())
    }
}

impl Texts {
    fn take(&mut self, other: &Texts) {
        self.n += other.n;
        self.missing += other.missing;
        self.empty += other.empty;
        self.duplicates += other.duplicates;
        for (mine, theirs) in
            [(&mut self.characters, &other.characters), (&mut self.tokens, &other.tokens)]
        {
            mine.take(theirs);
        }
        self.scripts.iter_mut().zip(other.scripts).for_each(|(a, b)| *a += b);
        self.languages.iter_mut().zip(other.languages).for_each(|(a, b)| *a += b);
    }

    /// The share of a script.
    fn share(&self, script: usize) -> f64 {
        let all: u64 = self.scripts.iter().sum();
        rounded(self.scripts[script] as f64 / all.max(1) as f64)
    }
}

impl Found {
    /// Takes what comes behind; `seen` has the texts of each field so far.
    fn take(&mut self, part: Found, seen: &mut [HashSet<u128>]) {
        self.records += part.records;
        self.bytes += part.bytes;
        for (name, n) in part.present.all {
            let place = self.present.place(&name, MOST_FIELDS);
            self.present.all[place].1 += n;
        }
        let mut places = Vec::with_capacity(part.sources.all.len());
        for (name, of) in part.sources.all {
            let place = self.sources.place(&name, MOST_SOURCES);
            let mine = &mut self.sources.all[place].1;
            mine.records += of.records;
            mine.fields.resize(seen.len(), Texts::default());
            mine.fields.iter_mut().zip(&of.fields).for_each(|(a, b)| a.take(b));
            places.push(place);
        }
        for (digest, source, field) in part.texts {
            if !seen[field].insert(digest) {
                self.sources.all[places[source]].1.fields[field].duplicates += 1;
            }
        }
    }

    /// A field's texts of all sources.
    fn whole(&self, field: usize) -> Texts {
        let mut whole = Texts::default();
        let all = self.sources.all.iter().filter_map(|it| it.1.fields.get(field));
        all.for_each(|it| whole.take(it));
        whole
    }

    fn metrics(&self, fields: &[String]) -> Map<String, Value> {
        let mut out = Map::new();
        let mut put = |name: String, value: Value| drop(out.insert(name, value));
        put("records".to_owned(), self.records.into());
        put("bytes".to_owned(), self.bytes.into());
        for (name, n) in &self.present.all {
            put(format!("present.{name}"), (*n).into());
        }
        for (name, of) in &self.sources.all {
            put(format!("sources.{name}"), of.records.into());
        }
        for (i, field) in fields.iter().enumerate() {
            let it = self.whole(i);
            for (name, n) in
                [("missing", it.missing), ("empty", it.empty), ("duplicates", it.duplicates)]
            {
                put(format!("{field}.{name}"), n.into());
            }
            for (what, lengths) in [("characters", &it.characters), ("tokens", &it.tokens)] {
                if lengths.n() == 0 {
                    continue;
                }
                put(format!("{field}.{what}.total"), lengths.total().into());
                put(format!("{field}.{what}.mean"), lengths.mean().into());
                for (name, place) in PLACES {
                    put(format!("{field}.{what}.{name}"), lengths.quantile(place).into());
                }
            }
            for (i, script) in SCRIPTS.iter().enumerate() {
                put(format!("{field}.{script}"), it.share(i).into());
            }
            for (language, n) in LANGUAGES.iter().zip(it.languages) {
                put(format!("{field}.{language}"), n.into());
            }
        }
        out
    }

    fn table(&self, fields: &[String]) -> String {
        let mut rows = vec![HEADER.map(str::to_owned).to_vec()];
        for (i, field) in fields.iter().enumerate() {
            rows.push(self.row(field, "(all)", &self.whole(i)));
            for (name, of) in &self.sources.all {
                if let Some(it) = of.fields.get(i) {
                    rows.push(self.row(field, name, it));
                }
            }
        }
        let width =
            |column: usize| rows.iter().map(|it| wide(&it[column])).max().unwrap_or_default();
        let widths: Vec<usize> = (0..HEADER.len()).map(width).collect();
        let mut out = String::new();
        for row in &rows {
            for (column, cell) in row.iter().enumerate() {
                let pad = " ".repeat(widths[column] - wide(cell));
                // Names stand to the left, numbers to the right.
                let cell = if column < 2 { format!("{cell}{pad}") } else { format!("{pad}{cell}") };
                let gap = if column == 0 { "" } else { "  " };
                write!(out, "{gap}{cell}").expect("writing to a String cannot fail");
            }
            out.truncate(out.trim_end_matches(' ').len());
            out.push('\n');
        }
        out
    }

    fn row(&self, field: &str, source: &str, it: &Texts) -> Vec<String> {
        let records = it.n + it.missing;
        let percent = |n: u64, of: u64| format!("{:.1} %", 100.0 * n as f64 / of.max(1) as f64);
        let length = |it: &Lengths, place: u64| match it.n() {
            0 => "–".to_owned(),
            _ => it.quantile(place).to_string(),
        };
        let shown = |it: &str| it.chars().filter(|it| !it.is_control()).take(40).collect();
        vec![
            shown(field),
            shown(source),
            records.to_string(),
            percent(records, self.records),
            length(&it.characters, 10),
            length(&it.characters, 50),
            length(&it.characters, 90),
            length(&it.tokens, 50),
            length(&it.tokens, 90),
            format!("{:.1} %", 100.0 * it.share(0)),
            percent(it.duplicates, it.n),
            (it.missing + it.empty).to_string(),
        ]
    }
}

const HEADER: [&str; 12] = [
    "field",
    "source",
    "records",
    "share",
    "chars p10",
    "p50",
    "p90",
    "tokens p50",
    "p90",
    "han",
    "twice",
    "empty",
];

/// How many columns of a terminal a text takes.
fn wide(text: &str) -> usize {
    text.chars().map(|it| 1 + usize::from(matches!(script(it), 0 | 3 | 4))).sum()
}

fn rounded(value: f64) -> f64 {
    crate::text::ledger::rounded(value)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::kit::Kit;

    const DATA: &str = concat!(
        "{\"id\":\"a\",\"text\":\"今天 good\",\"source\":\"悟道\"}\n",
        "{\"id\":\"b\",\"text\":\"今天下雨了\",\"source\":\"悟道\"}\n",
        "{\"id\":\"c\",\"text\":\"今天下雨了\"}\n",
        "{\"id\":\"d\",\"text\":\" \",\"other\":1}\n",
        "{\"id\":\"e\",\"source\":\"web\"}\n",
        "{\"id\":\"f\",\"text\":\"all is well 1\",\"source\":\"web\"}\n",
    );

    #[test]
    fn records_are_counted_by_length_source_and_script() {
        let mut kit = Kit::new("stats");
        let out = kit.run("", &[DATA.as_bytes()]).unwrap();
        insta::assert_snapshot!(out[1], @"
        field  source  records    share  chars p10  p50  p90  tokens p50  p90      han   twice  empty
        text   (all)         6  100.0 %          1    5    7           –    –   46.2 %  20.0 %      2
        text   悟道          2   33.3 %          5    5    5           –    –   63.6 %   0.0 %      0
        text   (none)        2   33.3 %          1    1    1           –    –  100.0 %  50.0 %      1
        text   web           2   33.3 %         13   13   13           –    –    0.0 %   0.0 %      1
        ");
        let metrics: Value = serde_json::from_str(&out[0]).unwrap();
        insta::assert_snapshot!(metrics, @r#"{"records":6,"bytes":247,"present.id":6,"present.text":5,"present.source":4,"present.other":1,"sources.悟道":2,"sources.(none)":2,"sources.web":2,"text.missing":1,"text.empty":1,"text.duplicates":1,"text.characters.total":31,"text.characters.mean":6.2,"text.characters.min":1,"text.characters.p10":1,"text.characters.p50":5,"text.characters.p90":7,"text.characters.p99":7,"text.characters.max":13,"text.han":0.461538,"text.latin":0.5,"text.digits":0.038462,"text.kana":0.0,"text.hangul":0.0,"text.other":0.0,"text.chinese":2,"text.english":1,"text.mixed":1,"text.neither":1}"#);
    }

    #[test]
    fn neither_threads_nor_batches_change_a_number() {
        let record = |i: u32| {
            let (text, n) = ("雨 rain ".repeat(i as usize % 13), i * i % 317);
            format!("{{\"text\":\"{text}{n}\",\"source\":\"s{n}\",\"f{}\":1}}\n", i % 700)
        };
        let data: String = (0..3000).map(record).collect();
        let run = |threads| {
            let mut kit = Kit::new("stats");
            kit.threads = threads;
            kit.run("", &[data.as_bytes()]).unwrap()
        };
        let one = run(1);
        assert_eq!(one, run(3));
        let metrics: Value = serde_json::from_str(&one[0]).unwrap();
        let of = |start: &str| {
            let all = metrics.as_object().unwrap().iter().filter(|it| it.0.starts_with(start));
            all.map(|it| it.1.as_u64().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!((of("sources.").len(), of("sources.").iter().sum()), (159, 3000));
        assert_eq!((of("present.f").len(), of("present.(others)").len()), (498, 1));
    }

    #[test]
    fn nothing_has_no_lengths() {
        let out = Kit::new("stats").run("fields = ['a', 'b']", &[b""]).unwrap();
        assert!(out[0].contains("\"a.duplicates\": 0") && !out[0].contains("characters"));
        assert_eq!(out[1].lines().count(), 3);
        let error = Kit::new("stats").error("fields = []", "");
        assert!(error.ends_with("`fields` is empty"), "{error}");
    }
}
