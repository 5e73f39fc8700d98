"""Writes python/modularnas/search/algorithms.py from the schemas of the native half; run it as a script."""

import pathlib
import textwrap

from modularnas import _core

TARGET = pathlib.Path(__file__).parents[2] / "python" / "modularnas" / "search" / "algorithms.py"

HEAD = '''"""The registered search algorithms. Written by tests/search/write_algorithms.py; do not edit."""

from __future__ import annotations

from typing import Any, Literal

from modularnas.search.algorithm import Algorithm

'''

TYPES = {
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "string": "str",
    "null": "None",
    "object": "dict[str, Any]",
}


def python_type(schema, definitions):
    if "$ref" in schema:
        return python_type(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "allOf" in schema:
        return python_type(schema["allOf"][0], definitions)
    if "enum" in schema:
        return f"Literal[{', '.join(map(literal, schema['enum']))}]"
    if "const" in schema:
        return f"Literal[{literal(schema['const'])}]"
    for key in ("anyOf", "oneOf"):
        if key in schema:
            options = schema[key]
            if all("const" in option for option in options):
                return python_type({"enum": [option["const"] for option in options]}, definitions)
            return " | ".join(dict.fromkeys(python_type(option, definitions) for option in options))
    kind = schema.get("type")
    if isinstance(kind, list):
        return " | ".join(python_type({**schema, "type": one}, definitions) for one in kind)
    if kind == "array":
        return f"list[{python_type(schema.get('items', {}), definitions)}]"
    return TYPES.get(kind, "Any")


def literal(value):
    return f'"{value}"' if isinstance(value, str) else repr(value)


def wrap(text, indent, first="", then=None):
    then = indent + ("    " if first else "") if then is None else then
    return textwrap.fill(" ".join(text.split()), 120, initial_indent=indent + first, subsequent_indent=then)


def algorithm_class(name, schema):
    definitions = schema.get("$defs", {})
    title = schema["title"]
    # A sentence of its own for the first line of the docstring, as the convention wants it.
    summary, _, rest = " ".join(schema["description"].split()).partition(": ")
    lines = [f"class {title}(Algorithm):"]
    properties = schema.get("properties", {})
    if rest:
        lines += [f'    """{summary}.', "", wrap(rest[0].upper() + rest[1:], "    ")]
    else:
        lines += [wrap(summary, "    ", '"""').replace("\n        ", "\n    ")]
    if properties:
        lines += ["", "    Args:"]
        for key, p in properties.items():
            lines += [wrap(f"{key}: {p.get('description', '')}", "        ", "", "            ")]
        lines += ['    """']
    elif rest:
        lines += ['    """']
    else:
        lines[-1] += '"""'
    lines += ["", f'    name = "{name}"']
    if properties:
        lines += ["", "    def __init__(", "        self,", "        *,"]
        for key, p in properties.items():
            lines += [f"        {key}: {python_type(p, definitions)} = {literal(p.get('default'))},"]
        lines += ["    ) -> None:", "        super().__init__("]
        lines += [*(f"            {key}={key}," for key in properties), "        )"]
    return title, "\n".join(lines)


def source():
    classes = sorted(algorithm_class(name, schema) for name, schema in _core.algorithm_schemas())
    names = "".join(f'    "{title}",\n' for title, _ in classes)
    return HEAD + f"__all__ = [\n{names}]\n\n\n" + "\n\n\n".join(text for _, text in classes) + "\n"


if __name__ == "__main__":
    TARGET.write_text(source(), encoding="utf-8")
