# Your own rules. Replace this file in your own bundle; the other files stay as they are.
#
# Takes: whatever `input` holds for the question, and `data.policy`, the YAML document.
# Gives: `deny` (read by `call`) and `deny_access` (read by `access`): sets of {"code": …, "message": …}.
# Never: allows. A rule here can only take away.
#
# Codes are kebab-case and stable; messages are one line, lower case, and say what to do next. In `call` only look
# things up: it runs on every call. Keep to built-ins that WASM knows (no `sprintf`, `time.*`, `http.send`).
#
# For instance, no exports from production, and never a whole table of people:
#
#     deny contains {
#     	"code": "export-in-production",
#     	"message": "exports are not allowed in production: use the `query` tool",
#     } if {
#     	input.tool == "export"
#     	input.database.environment == "production"
#     }
#
#     deny contains {
#     	"code": "where-required",
#     	"message": "customers may only be read with a condition: add a `where`",
#     } if {
#     	some relation in input.statement.relations
#     	relation.schema == "sales"
#     	relation.name == "customers"
#     	not input.statement.has_where
#     }
#
#     deny_access contains {
#     	"code": "production-needs-a-person",
#     	"message": "a development principal may not use production: sign in",
#     } if {
#     	input.principal.dev
#     	input.database.environment == "production"
#     }
package pgteller.local

# METADATA
# scope: document
# schemas:
#   - input: schema.call_input
deny contains {"code": "never", "message": "an example that never holds"} if false

# METADATA
# scope: document
# schemas:
#   - input: schema.access_input
deny_access contains {"code": "never", "message": "an example that never holds"} if false
