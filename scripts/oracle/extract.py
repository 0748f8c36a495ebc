#!/usr/bin/env python3
"""Writes tests/corpus/oracle/oracle.jsonl.gz: what PostgreSQL's own grammar sees in every query of our corpora.

extract.py [--check] [--regress pg_regress.jsonl.gz]. Without --regress, the statements of PostgreSQL's own tests are those of the
committed file, read anew.
"""

import argparse
import gzip
import io
import json
import pathlib
import re
import sys

import yaml

from grammar import facts

CORPUS = pathlib.Path(__file__).resolve().parents[2] / "tests/corpus"
ORACLE = CORPUS / "oracle/oracle.jsonl.gz"


def lines(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def texts(node):
    """Every `sql` of a YAML document."""
    if isinstance(node, list):
        for item in node:
            yield from texts(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "sql" and isinstance(value, str):
                yield value
            else:
                yield from texts(value)


def corpora(regress):
    yield "gold", [row["sql"] for row in lines(CORPUS / "questions/questions.jsonl.gz")]
    for path in sorted([*CORPUS.glob("*.yaml"), *CORPUS.glob("*/*.yaml")]):
        yield path.relative_to(CORPUS).as_posix(), list(texts(yaml.safe_load(path.read_text(encoding="utf-8"))))
    if regress:
        yield "pg_regress", [row["sql"] for row in lines(regress)]
    else:
        yield "pg_regress", [row["sql"] for row in lines(ORACLE) if row["origin"] == "pg_regress"]


def moved(sql):
    """The statement over relations of an application that look like the catalog's: those of the catalog cannot be granted."""
    sql = sql.replace("pg_catalog.pg_", "px_catalog.px_").replace("information_schema", "px_information")
    sql = re.sub(r"\breg(class|type|procedure|proc|namespace|role|operator|collation)\b", "text", sql)
    return re.sub(r"\bpg_(?!catalog\b)", "px_", sql)


def oracle(regress):
    rows = {}

    def add(origin, sql):
        found = None if sql in rows else facts(sql)
        if found is not None:
            rows[sql] = {"origin": origin, "sql": sql, **found}

    for origin, statements in corpora(regress):
        for sql in statements:
            add(origin, sql)
            if re.search(r"\b(pg_|information_schema)", sql):
                add(origin + ", moved", moved(sql))
    return sorted(rows.values(), key=lambda row: (row["origin"], row["sql"]))


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--check", action="store_true")
    arguments.add_argument("--regress")
    arguments = arguments.parse_args()
    rows = oracle(arguments.regress)
    text = "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)
    if arguments.check:
        # The text counts: another zlib packs it differently.
        with gzip.open(ORACLE, "rt", encoding="utf-8") as file:
            if file.read() != text:
                sys.exit(f"{ORACLE} is stale: run scripts/oracle/extract.py")
        return
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=9, mtime=0, filename="") as file:
        file.write(text.encode())
    ORACLE.parent.mkdir(parents=True, exist_ok=True)
    ORACLE.write_bytes(packed.getvalue())
    counts = {}
    for row in rows:
        counts[row["origin"]] = counts.get(row["origin"], 0) + 1
    print(f"{len(rows)} statements, {len(packed.getvalue())} bytes: {counts}")


if __name__ == "__main__":
    main()
