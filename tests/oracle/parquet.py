"""Writes the Parquet files that the tests of `corpus` read, with pyarrow 26.0.1, and the rows as JSON lines.

    pip install pyarrow==26.0.1
    python parquet.py ../../runner/steps/src/kinds/corpus/parquet/fixtures
"""

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

FORMS = {
    "plain": dict(compression="none", use_dictionary=False),
    "snappy": dict(compression="snappy"),
    "gzip": dict(compression="gzip", data_page_version="2.0", column_encoding=None),
    "zstd": dict(compression="zstd", data_page_version="2.0"),
    "small_pages": dict(compression="snappy", use_dictionary=["text"], data_page_size=64, write_batch_size=3),
}


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    n = 23
    texts = [None if i % 7 == 3 else ["山中有雨", "a \"quoted\"\tline\n", ""][i % 3] + str(i % 4) for i in range(n)]
    columns = {
        "text": texts,
        "id": [i - 9_000_000_000 for i in range(n)],
        "natural": [4_000_000_000 + i for i in range(n)],
        "score": [i / 7 for i in range(n)],
        "single": [None if i == 5 else i / 4 for i in range(n)],
        "good": [None if i % 5 == 4 else i % 3 == 0 for i in range(n)],
        "none": [None] * n,
    }
    types = {
        "text": pa.string(), "id": pa.int64(), "natural": pa.uint32(), "score": pa.float64(),
        "single": pa.float32(), "good": pa.bool_(), "none": pa.string(),
    }
    arrays = {name: pa.array(values, types[name]) for name, values in columns.items()}
    # Left out: a list, a structure, and a number that stands for another.
    arrays["tags"] = pa.array([["a", "b"]] * n)
    arrays["inner"] = pa.array([{"x": 1, "y": "z"}] * n)
    arrays["price"] = pa.array(list(range(n)), pa.int32()).cast(pa.decimal128(12, 2))
    order = ["text", "tags", "id", "inner", "natural", "score", "single", "price", "good", "none"]
    fields = [pa.field(name, arrays[name].type, nullable=name != "id") for name in order]
    table = pa.table([arrays[name] for name in order], schema=pa.schema(fields))
    for name, form in FORMS.items():
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=10, store_schema=False, write_statistics=False, **form)
    rows = [{name: columns[name][i] for name in order if name in columns} for i in range(n)]
    text = "".join(json.dumps(it, ensure_ascii=False, separators=(",", ":")) + "\n" for it in rows)
    (folder / "rows.jsonl").write_text(text, encoding="utf-8")


main()
