"""What PostgreSQL's own grammar (libpg_query, through pglast) sees in a statement.

Takes text, gives the names in it as JSON. Says nothing about what exists or is allowed. A test dependency only.
"""

import json

from pglast.parser import ParseError, parse_sql_json

MAX_BYTES = 64 * 1024

# Every column of a relation. No identifier is empty.
ALL = ""


def tree(sql):
    """The statement, if the text is exactly one with SELECT as its root."""
    if "\0" in sql or len(sql.encode()) > MAX_BYTES:
        return None
    try:
        statements = json.loads(parse_sql_json(sql)).get("stmts", [])
    except (ParseError, json.JSONDecodeError, UnicodeError, RecursionError):
        return None
    if len(statements) != 1:
        return None
    return statements[0]["stmt"].get("SelectStmt")


def facts(sql):
    """The names of such a statement, sorted; see README.md. Nothing for any other text."""
    statement = tree(sql)
    if statement is None:
        return None
    try:
        return Facts(statement).row()
    except RecursionError:
        return None


def strings(nodes):
    """The parts of a dotted name; a `*` is ALL."""
    return [node["String"]["sval"] if "String" in node else ALL for node in nodes or []]


def split(parts):
    """Schema (or none) and name."""
    return (".".join(parts[:-1]) or None, parts[-1]) if parts else (None, "")


class Facts:
    def __init__(self, statement):
        self.sources = []  # [schema, name, alias, columns that are surely read], one per place in FROM
        self.functions, self.attributes, self.bare, self.never = set(), set(), set(), set()
        self.look_ups = set()  # (type, literal or none)
        self.qualified = set()  # (qualifier, column)
        self.joins = []  # [alias, sources]
        self.walk(statement, frozenset())

    def row(self):
        relations = {}
        for joined_as, sources in self.joins:
            # Under the join's alias every column of every relation in it can be named.
            for source in sources:
                source[3].update(column for qualifier, column in self.qualified if qualifier == joined_as)
                if joined_as in self.bare:
                    source[3].add(ALL)
        for schema, name, alias, columns in self.sources:
            own = relations.setdefault((schema, name), set())
            own |= columns
            own |= {column for qualifier, column in self.qualified if qualifier == alias}
            # The alias as a value is the whole row.
            own |= {ALL} if alias in self.bare else set()
        key = lambda pair: (pair[0] or "", pair[1])
        return {
            "relations": [[*name, sorted(relations[name])] for name in sorted(relations, key=key)],
            "functions": [list(name) for name in sorted(self.functions, key=key)],
            "attributes": sorted(self.attributes),
            "bare": sorted(self.bare),
            "look_ups": [list(pair) for pair in sorted(self.look_ups, key=str)],
            "never": sorted(self.never),
        }

    def walk(self, node, ctes):
        """Visits a node in which these CTE names hide relations; gives the sources that it adds."""
        before = len(self.sources)
        if isinstance(node, list):
            for item in node:
                self.walk(item, ctes)
        elif isinstance(node, dict):
            if "withClause" in node:
                ctes = self.with_clause(node["withClause"], ctes)
            for name, value in node.items():
                # PostgreSQL takes names among a type's modifiers for text.
                if name in ("withClause", "typmods"):
                    continue
                inner = self.walk(value, ctes)
                visit = getattr(self, "on_" + name, None)
                if visit and isinstance(value, dict):
                    visit(value, ctes, inner)
            if "targetList" in node:
                self.on_select(node)
        return self.sources[before:]

    def with_clause(self, clause, ctes):
        names = [item["CommonTableExpr"]["ctename"] for item in clause["ctes"]]
        for index, item in enumerate(clause["ctes"]):
            seen = names if clause.get("recursive") else names[:index]
            self.walk(item, ctes | set(seen))
        return ctes | set(names)

    # Sources

    def on_RangeVar(self, node, ctes, _):
        schema, name = node.get("schemaname"), node["relname"]
        if "catalogname" in node:
            schema = f"{node['catalogname']}.{schema}"
        if schema is None and name in ctes:
            return
        alias = node.get("alias", {})
        columns = {ALL} if "colnames" in alias else set()
        self.sources.append([schema, name, alias.get("aliasname", name), columns])

    def on_JoinExpr(self, node, _, inner):
        self.bare.update(strings(node.get("usingClause")))
        alias = node.get("alias", {})
        if alias:
            self.joins.append([alias["aliasname"], inner])
        for source in inner:
            if node.get("isNatural") or "colnames" in alias:
                source[3].add(ALL)

    def on_select(self, node):
        for item in node["targetList"]:
            fields = item.get("ResTarget", {}).get("val", {}).get("ColumnRef", {}).get("fields", [])
            if strings(fields) == [ALL]:
                for name in joined(node.get("fromClause", [])):
                    self.qualified.add((name, ALL))

    def on_RangeTableSample(self, node, *_):
        self.functions.add(split(strings(node["method"])))

    def on_intoClause(self, *_):
        self.never.add("into")

    def on_LockingClause(self, *_):
        self.never.add("lock")

    # Values

    def on_ColumnRef(self, node, *_):
        parts = strings(node["fields"])
        if len(parts) == 1:
            self.bare.add(parts[0])
        else:
            self.qualified.add((parts[-2], parts[-1]))
            self.attributes.add(parts[-1])
        self.bare.discard(ALL)
        self.attributes.discard(ALL)

    def on_A_Indirection(self, node, *_):
        self.attributes.update(item["String"]["sval"] for item in node["indirection"] if "String" in item)

    def on_FuncCall(self, node, *_):
        self.functions.add(split(strings(node["funcname"])))

    def on_XmlExpr(self, *_):
        self.never.add("xml")

    def on_RangeTableFunc(self, *_):
        self.never.add("xmltable")

    def on_A_Expr(self, node, *_):
        self.operator(node.get("name"))

    def on_SubLink(self, node, *_):
        self.operator(node.get("operName"))

    def on_SortBy(self, node, *_):
        self.operator(node.get("useOp"))

    def operator(self, name):
        if strings(name)[:-1] not in ([], ["pg_catalog"]):
            self.never.add("operator")

    def on_TypeCast(self, node, *_):
        name, literal = strings(node["typeName"].get("names"))[-1], node["arg"].get("A_Const", {}).get("sval")
        if name.startswith("reg") and literal is not None:
            self.look_ups.add((name, literal.get("sval", "")))

    def on_TypeName(self, node, *_):
        self.type(node)

    def on_typeName(self, node, *_):
        self.type(node)

    def type(self, node):
        schema, name = split(strings(node.get("names")))
        if name.startswith("reg"):
            self.look_ups.add((name, None))
        if name in ("xml", "aclitem") or schema not in (None, "pg_catalog") or node.get("pct_type"):
            self.never.add("type")


for writing in ("InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"):
    setattr(Facts, "on_" + writing, lambda self, *_: self.never.add("write"))


def joined(items):
    """The names under which the relations of a FROM list stand, sub-selects left out."""
    for item in items:
        if "RangeVar" in item:
            yield item["RangeVar"].get("alias", {}).get("aliasname", item["RangeVar"]["relname"])
        elif "JoinExpr" in item:
            yield from joined([item["JoinExpr"]["larg"], item["JoinExpr"]["rarg"]])
        elif "RangeTableSample" in item:
            yield from joined([item["RangeTableSample"]["relation"]])
