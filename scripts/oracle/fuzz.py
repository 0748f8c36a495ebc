#!/usr/bin/env python3
"""Mutates the statements of the oracle and holds the analysis against PostgreSQL's own grammar on each text that the grammar accepts.

fuzz.py [--seconds N] [--seed N] [--command …]: begins with the statements as they are. Prints counts, and each finding with its smallest
text; ends with 1 if there is one.
"""

import argparse
import collections
import gzip
import json
import random
import re
import shlex
import subprocess
import sys
import time

from extract import CORPUS, ORACLE
from grammar import facts, tree

BATCH = 400
COMMAND = "cargo bench --quiet --locked --profile dev --bench analysis"
TOKEN = re.compile(
    r"""\s+|--[^\n]*|/\*.*?\*/|[eEnNxXbB]?'(?:[^']|'')*'|"(?:[^"]|"")*"|\$\w*\$.*?\$\w*\$|[^\W\d][\w$]*|\d+(?:\.\d+)?|"""
    r"""::|:=|=>|[-+*/<>=~!@#%^&|`?]+|.""",
    re.S,
)
PLACE = re.compile("location$|list_(start|end)$")
WORD = re.compile(r"[^\W\d][\w$]*$|\".*\"$", re.S)

VALUES = """
lo_create(1)|"lo_create"(1)|pg_catalog.lo_create(1)|other.evil(1)|evil|x.evil|(x).evil|(x.y).evil|x.*|(x).*|(select 1 from zz_hidden)
|array(select y from zz_hidden)|exists(table zz_hidden)|U&"evil"(1)|U&'\\0041'|E'\\''|'a' 'b'|$$x$$|$a$'$a$|N'x'|X'1F'|B'01'|1e5|.5|1.|0x1F
|1_000|$1|null|default|current_schema|current_catalog|user|session_user|current_date|localtime(0)|extract(year from x)|overlay(x placing y from 1)
|position(x in y)|substring(x from 1 for 2)|substring(x similar y escape '#')|substr(x,1)|trim(both from x)|trim(leading 'a' from x)|ltrim(x)
|ceil(x)|ceiling(x)|floor(x)|coalesce(x, y)|nullif(x, y)|greatest(x, y)|row(x, y)|(x, y)|array[x, y]|array[[1]]|x[1]|x[1:2]|(x)[1].evil|x::text|x::public.t
|x::regclass|cast(x as evil)|evil 'x'|regclass 'x'|interval '1' day|interval(2) '1'|timestamp(0) with time zone 'now'|x collate "C"|x collate s.c|x at time zone y
|x at local|x is document|x is json|x is normalized|normalize(x, nfc)|x like y escape z|x similar to y|x not ilike y|x between symmetric 1 and 2|x in (select y from zz_hidden)
|x = any (select y from zz_hidden)|x operator(pg_catalog.+) y|x operator(public.+) y|operator(public.-) x|x isnull|not x|x is distinct from y
|(a, b) overlaps (c, d)|collation for (x)|json_object('a': x)|json_array(x, y)|json_value(x, '$')|json_exists(x, '$')|json_scalar(x)|xmlelement(name a, x)
|xmlserialize(content x as text)|grouping(x)|count(*)|count(distinct x)|string_agg(x, ',' order by evil(y))|sum(x) filter (where evil(y))|rank() over (partition by evil(x))
|sum(x) over w|percentile_cont(0.5) within group (order by evil(x))|f(variadic x)|f(a => evil(x))|f(a := x)|case x when evil(1) then y else z end|treat(x as text)
|merge_action()|zz_hidden|zz_hidden.*|public.zz_hidden|(zz_hidden).evil|x.y.z|a.b.c.d|x . evil|x./**/evil|"x"."evil"|?column?
"""
SOURCES = """
zz_hidden|public.zz_hidden|"zz_hidden"|only zz_hidden|only (zz_hidden)|zz_hidden *|(zz_hidden)|zz_hidden x|zz_hidden as x (y)|evil(1)|evil(1) with ordinality x (y)
|rows from (evil(1), f(2)) x|lateral evil(1)|lateral (select * from zz_hidden) x|(select * from zz_hidden) x|(table zz_hidden) x|(values (1)) x (y)
|zz_hidden tablesample bernoulli (1)|zz_hidden tablesample evil.method (1)|(a join zz_hidden on true) x|a join zz_hidden using (x) as j|a natural join zz_hidden
|a cross join zz_hidden|unnest(x) u (v)|json_table(x, '$' columns (c int path '$')) x|xmltable('/a' passing x columns c int path 'b') x|evil(1) as (y int)|evil(1) x (y other.t)
|(with zz_hidden as (select 1) select * from zz_hidden) x, zz_hidden|current_date|a, zz_hidden|a left join (zz_hidden x join b on true) on true|db.public.zz_hidden
"""
GLUE = """
/**/|/* ' */|/* " */|/*/**/*/|/*/**/|--\n|-- '\n|--\r|/* $$ */|'|"|''|""|$$|$a$|E'|U&"|U&'|N'|X'|B'|\\|\\'|`|;|::|:|.|..|*|(|)|[|]|{|}|,|@|#|!|~|?|%|^|&|&&|&>|<@|@>|->|->>|#>
|<=|=>|:=|<=/* ' */|+|-|--|*/|/|\v|\f|\u00a0|\u2028|\u3000|\ufeff|é|\0|as|from|where|select|union|union all|intersect|except|table zz_hidden|values (1)|order by|group by
|limit 1|offset 1|fetch first row only|for update|into x|end|with|as materialized|recursive|lateral|only|using|on|natural|cross join zz_hidden|left join|not|is|isnull|notnull
|operator(|collate|over|window w as ()|filter|within group|escape|similar to|at time zone|in|any|all|some|distinct|distinct on (x)|asc|desc|nulls first|tablesample|variadic
"""
PREFIXES = """
with {t} as (select 1 as x) |with recursive {t} as (select x from {t}) |with q as (select * from {t}), {t} as (select 1) |with {t} as (select * from {t}) |with {t} (x) as (values (1)) 
|with q as (with {t} as (select 1) select * from {t}) |with q as materialized (select * from zz_hidden) |select * from zz_hidden union |table zz_hidden union |with q as (delete from {t} returning *) |(
"""
# Words that mean something to another grammar, or only in some places.
WORDS = """
interval|date|time|timestamp|timestamptz|datetime|position|substr|substring|overlay|trim|extract|ceil|floor|convert|cast|try_cast|safe_cast|exists|array|struct|map|prior
|match|against|div|xor|regexp|rlike|member|of|global|overlaps|settings|format|qualify|prewhere|cluster|distribute|sort|by|pivot|unpivot|match_recognize|asof|semi|anti|apply
|outer|left|right|full|top|exclude|except|replace|rename|ilike|sample|index|use|force|ignore|partition|start|connect|connect_by_root|view|final|dual|value|values|row|rows|treat
|openjson|unnest|json_table|xmltable|double|precision|bigint|unsigned|character|varying|char|bit|national|zone|without|within|over|nulls|ties|percent|year|day|second|at|is
|not|similar|between|symmetric|operator|collate|normalize|normalized|document|json|lateral|ordinality|only|materialized|recursive|search|cycle|any|some|all|default|current
|lambda|fill|interpolate|offset|fetch|limit|next|first|last|straight_join|sounds|like|escape|glob|returning|into|temp|unlogged|binary|b|x|n|e|u|r|q|_utf8|rb|br|nq|named|grouping|sets
|cube|rollup|filter|respect|emit|true|unknown|null|public|pg_catalog|information_schema|coalesce|nullif|greatest|least|setof|table|variadic|system_user|user|session_user
"""


def choices(text):
    return [choice.replace("\n", "") if choice.strip("\n") and len(choice) > 3 else choice for choice in text.strip("\n").split("|")]


VALUES, SOURCES, GLUE, PREFIXES, WORDS = map(choices, (VALUES, SOURCES, GLUE, PREFIXES, WORDS))


class Analysis:
    """The Rust side."""

    def __init__(self, command):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "encoding": "utf-8"}
        self.process = subprocess.Popen(shlex.split(command), cwd=CORPUS.parents[1], **pipes)

    def ask(self, rows):
        self.process.stdin.write("".join(json.dumps(row) + "\n" for row in rows) + "\n")
        self.process.stdin.flush()
        answers = [json.loads(self.process.stdout.readline()) for _ in rows]
        for row, answer in zip(rows, answers):
            if "sent" in answer and not row["look_ups"] and not is_renamed(row["sql"], answer["sent"], answer["schemas"]):
                answer["finding"] = "PostgreSQL reads the sent text otherwise: " + answer["sent"]
        return answers


def is_renamed(sql, sent, schemas):
    """Whether PostgreSQL's tree of the sent text is that of the agent's, with schemas renamed."""
    return sql == sent or plain(tree(sent), {profile: schema for schema, profile in schemas.items()}) == plain(tree(sql), {})


def plain(node, schemas):
    """A tree without places."""
    if isinstance(node, dict):
        return {key: plain(value, schemas) for key, value in node.items() if not PLACE.search(key)}
    if isinstance(node, list):
        return [plain(item, schemas) for item in node]
    return schemas.get(node, node) if isinstance(node, str) else node


class Mutator:
    def __init__(self, seed, statements):
        self.random = random.Random(seed)
        self.seeds = [TOKEN.findall(sql) for sql in statements if len(sql) < 1500]
        self.tables = ["a", "b", "customers", "tenk1", "onek", "int8_tbl", "zz_hidden"]

    def text(self):
        tokens = list(self.random.choice(self.seeds))
        for _ in range(self.random.choice((1, 1, 1, 2, 2, 3, 4))):
            self.mutate(tokens)
        return "".join(tokens)

    def mutate(self, tokens):
        pick, at = self.random, self.random.randrange(len(tokens) + 1)
        words = [index for index, token in enumerate(tokens) if WORD.match(token)]
        word = pick.choice(words) if words else None
        kind = pick.randrange(18)
        if kind == 0 and tokens:
            del tokens[at : at + pick.choice((1, 1, 2, 3))]
        elif kind == 1 and tokens:
            start = pick.randrange(len(tokens))
            tokens[at:at] = tokens[start : start + pick.choice((1, 2, 4, 8))]
        elif kind == 2 and len(tokens) > 1:
            other = pick.randrange(len(tokens))
            at = min(at, len(tokens) - 1)
            tokens[at], tokens[other] = tokens[other], tokens[at]
        elif kind == 3 and tokens:
            other = pick.choice(self.seeds)
            tokens[min(at, len(tokens) - 1)] = pick.choice(other) if other else ""
        elif kind == 4:
            other = pick.choice(self.seeds)
            tokens[at:] = other[pick.randrange(len(other) + 1) :]
        elif kind in (5, 6) and word is not None:
            tokens[word] = pick.choice(VALUES)
        elif kind in (7, 8):
            after = [i + 2 for i, token in enumerate(tokens) if token.lower() in ("from", "join", ",") and i + 2 < len(tokens)]
            if after:
                tokens[pick.choice(after)] = pick.choice(SOURCES)
        elif kind == 9:
            tokens.insert(at, pick.choice((" ", "")) + pick.choice(GLUE) + pick.choice((" ", "")))
        elif kind == 10:
            spaces = [index for index, token in enumerate(tokens) if token.isspace()]
            if spaces:
                tokens[pick.choice(spaces)] = pick.choice(("", "", "/**/", "\n", "\t", "\f", "\r", "--x\n"))
        elif kind == 11:
            names = [token for index, token in enumerate(tokens) if WORD.match(token)]
            tokens.insert(0, pick.choice(PREFIXES).replace("{t}", pick.choice(names + self.tables)))
        elif kind == 12 and tokens:
            at = min(at, len(tokens) - 1)
            place = pick.randrange(len(tokens[at]) + 1)
            tokens[at] = tokens[at][:place] + pick.choice("'\"$\\-*/;.&|\n\0éxeEuU( )[]1") + tokens[at][place + pick.randrange(2) :]
        elif kind == 13 and word is not None:
            name = tokens[word]
            tokens[word] = pick.choice((f'"{name}"', f"public.{name}", f"{name}.evil", f"({name}).evil", f"{name}(1)", f"{name}.*", name.upper(), f"evil({name})", f"{name} evil", f'{name}"x"', f"{name} as evil", f"U&\"{name}\"", f"{name}[1]", f"{name}::text"))
        elif kind == 15 and word is not None:
            tokens[word] = pick.choice(WORDS)
        elif kind in (16, 17):
            tokens.insert(at, pick.choice((" ", "")) + pick.choice(WORDS) + pick.choice((" ", "", " (", "'")))
        elif kind == 14:
            other = pick.choice(self.seeds)
            tokens[at:at] = [" (", *other, ") ", pick.choice(("", "x", "as evil"))]


def shrink(analysis, sql, kind):
    """A smaller text with the same kind of finding."""
    while True:
        tokens = TOKEN.findall(sql)
        smaller = {
            "".join(tokens[:start] + [" "] * spaced + tokens[start + length :])
            for length in range(1, min(len(tokens), 40))
            for start in range(len(tokens) - length + 1)
            for spaced in (0, 1)
        }
        rows = [{"sql": text, **found} for text in sorted(smaller, key=lambda text: (len(text), text)) if len(text) < len(sql) and (found := facts(text))]
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            found = [row["sql"] for row, answer in zip(batch, analysis.ask(batch)) if kind_of(answer) == kind]
            if found:
                sql = found[0]
                break
        else:
            return sql


def kind_of(answer):
    return " ".join(answer["finding"].split()[:2]) if "finding" in answer else None


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--command", default=COMMAND, help="what answers: the bench target `analysis`")
    arguments.add_argument("--seconds", type=float, default=60)
    arguments.add_argument("--seed", type=int, default=1)
    arguments = arguments.parse_args()
    analysis = Analysis(arguments.command)
    with gzip.open(ORACLE, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    mutator = Mutator(arguments.seed, [row["sql"] for row in rows])
    counts, findings = collections.Counter(), {}
    until = time.monotonic() + arguments.seconds
    batches = (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))
    while time.monotonic() < until:
        batch = next(batches, None)
        if batch is None:
            texts = [mutator.text() for _ in range(BATCH * 4)]
            counts["mutated texts"] += len(texts)
            batch = [{"sql": text, **found} for text in texts if (found := facts(text))]
        for row, answer in zip(batch, analysis.ask(batch)):
            counts["accepted by PostgreSQL's grammar"] += 1
            counts["read as a tree" if "refused" not in answer else "refused " + answer["refused"]] += 1
            if "finding" in answer:
                counts["findings"] += 1
                kind = kind_of(answer)
                if len(findings.setdefault(kind, [])) < 5:
                    smallest = shrink(analysis, row["sql"], kind)
                    if smallest not in [text for text, _ in findings[kind]]:
                        findings[kind].append((smallest, analysis.ask([{"sql": smallest, **facts(smallest)}])[0]["finding"]))
                        print("finding:", findings[kind][-1][1], "|", json.dumps(smallest), flush=True)
    for name, count in sorted(counts.items()):
        print(f"{count:9} {name}")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
