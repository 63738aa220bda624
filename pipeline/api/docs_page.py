"""The OpenAPI document as a page: without scripts and without anything from elsewhere, so that it works everywhere."""

import json
from collections.abc import Iterator
from html import escape
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c2430;
       background: #fff }
h1 { margin-bottom: 0 } h2 { margin-top: 2.5rem; border-top: 1px solid #d5dbe3; padding-top: 1rem }
code, pre { font: 14px/1.45 ui-monospace, monospace } pre { background: #f3f5f8; padding: .8rem; overflow: auto }
.method { background: #1f5fae; color: #fff; padding: .1rem .5rem; border-radius: .3rem; font-size: 1rem }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; vertical-align: top;
       padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #e6eaef }
@media (prefers-color-scheme: dark) { body { background: #12161c; color: #dde4ee } pre { background: #1c222b }
       a { color: #8ab8f5 } td, th, h2 { border-color: #333c48 } }
"""


def docs_page(openapi: dict[str, Any]) -> str:
    """Return the page of an OpenAPI document."""
    info = openapi["info"]
    title = escape(info["title"])
    body = "\n".join(_body(openapi))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>'
        f"<h1>{title} <small>{escape(info['version'])}</small></h1><p>{escape(info.get('description', ''))}</p>"
        f'<p>For programs: <a href="openapi.json">openapi.json</a> (OpenAPI {escape(openapi["openapi"])}).</p>'
        f"{body}</body></html>"
    )


def _body(openapi: dict[str, Any]) -> Iterator[str]:
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            yield from _operation(method, path, operation)
    yield "<h2>Schemas</h2>"
    for name, schema in sorted(openapi["components"]["schemas"].items()):
        text = escape(json.dumps(schema, indent=1, ensure_ascii=False))
        yield f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary><pre>{text}</pre></details>'


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f'<h2><span class="method">{escape(method.upper())}</span> <code>{escape(path)}</code></h2>'
    for paragraph in operation.get("description", "").split("\n\n"):
        yield f"<p>{escape(paragraph)}</p>"
    yield f"<p>{'Needs an API key.' if operation.get('security') else 'Open to everybody.'}</p>"
    rows = [
        (each["name"] + ("" if each.get("required") else "?"), f"{each['in']}. {each.get('description', '')}")
        for each in operation.get("parameters", ())
    ]
    if rows:
        yield _table("Parameter", rows)
    body = operation.get("requestBody")
    if body:
        yield f"<p>{escape(body.get('description', ''))}</p>"
        yield _table("Content type", [(kind, _names(content)) for kind, content in body["content"].items()])
        example = next(iter(body["content"].values())).get("example")
        yield f"<pre>{escape(json.dumps(example, indent=1, ensure_ascii=False))}</pre>" if example else ""
    yield _table("Answer", [(status, _said(answer)) for status, answer in sorted(operation["responses"].items())])


def _said(answer: dict[str, Any]) -> str:
    names = ", ".join(_names(content) for content in answer.get("content", {}).values())
    return f"{answer['description']} {names}".strip()


def _names(content: Any) -> str:
    """Return the names of the schemas that a piece of the document refers to."""
    found: list[str] = []
    if isinstance(content, dict):
        found += [content["$ref"].rpartition("/")[2]] if "$ref" in content else map(_names, content.values())
    elif isinstance(content, list):
        found += map(_names, content)
    return ", ".join(dict.fromkeys(name for name in found if name))


def _table(head: str, rows: list[tuple[str, str]]) -> str:
    lines = "".join(f"<tr><td><code>{escape(name)}</code></td><td>{escape(text)}</td></tr>" for name, text in rows)
    return f"<table><tr><th>{escape(head)}</th><th></th></tr>{lines}</table>"
