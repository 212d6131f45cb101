"""The specification and the README against the code: vectors, schema, examples, words, links."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import click
import click.testing
import jsonschema
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import txfiles as tx
from tests.model import bag
from txfiles.cli.main import cli
from txfiles.core import codec, names
from txfiles.core import manifest as nouns
from txfiles.core.properties import PROPERTIES
from txfiles.errors import CorruptTableError, UnsupportedTableError
from txfiles.inputs.declared import declared_types
from txfiles.rows import typenames

ROOT = Path(__file__).parents[2]
SPECS = ROOT / "specs"
VECTORS = sorted((SPECS / "vectors").glob("*/*.json"))
PAGES = [ROOT / "README.md", *sorted(SPECS.glob("**/*.md"))]
ERRORS = {"corrupt": CorruptTableError, "unsupported": UnsupportedTableError}


def vector(path: Path) -> dict[str, Any]:
    """One case."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_every_vector_has_a_known_kind() -> None:
    """No case lies there unread."""
    assert {path.parent.name for path in VECTORS} == {"manifest", "paths"}
    assert len(VECTORS) > 30


@pytest.mark.parametrize("path", [p for p in VECTORS if p.parent.name == "manifest"], ids=lambda p: p.stem)
def test_manifest_vectors(path: Path) -> None:
    """A document decodes, and encodes to the same bytes, or is refused as the case says."""
    case = vector(path)
    data = case["document"].encode()
    if case["expect"] == "ok":
        manifest = codec.decode(data, version=case["version"], where="vector")
        if path.stem != "unknown-field":
            assert codec.encode(manifest) == data
    else:
        with pytest.raises(ERRORS[case["expect"]]):
            codec.decode(data, version=case["version"], where="vector")


@pytest.mark.parametrize("path", [p for p in VECTORS if p.parent.name == "paths"], ids=lambda p: p.stem)
def test_path_vectors(path: Path) -> None:
    """A name has one path and a path one name; what is refused is refused."""
    case = vector(path)
    assert names.is_data_path(case["path"], case["table_id"]) == (case["expect"] == "ok")
    if case["expect"] == "ok":
        assert names.encode_path(case["name"]) == case["path"]
        assert names.decode_path(case["path"]) == case["name"]


def test_worked_example_is_real() -> None:
    """The manifest shown in the specification decodes, and is the vector of that name."""
    page = (SPECS / "3-manifest.md").read_text(encoding="utf-8")
    block = re.search(r"```json\n(.*?)```", page, re.DOTALL)
    assert block is not None
    assert codec.decode(block[1].encode(), version=1, where="page").operation.name == "append_once"
    assert vector(SPECS / "vectors/manifest/append_once.json")["document"] == block[1]


def test_schema_is_in_sync(tmp_path: Path) -> None:
    """Both schemas are what the types say; that of manifests takes real ones and refuses a bad one."""
    loader = importlib.machinery.SourceFileLoader("make_schema", str(ROOT / "tools" / "make-schema"))
    spec = importlib.util.spec_from_loader("make_schema", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    assert (SPECS / "config.schema.json").read_text(encoding="utf-8") == module.config_schema(), "run tools/make-schema"
    written = (SPECS / "manifest.schema.json").read_text(encoding="utf-8")
    assert written == module.schema(), "run tools/make-schema"
    validator = jsonschema.Draft202012Validator(json.loads(written))
    tx.write(pa.table({"id": [1]}), tmp_path / "t", mode="upsert", keys=["id"], batch_id="b")
    real = json.loads((tmp_path / "t" / names.manifest(0)).read_text())
    validator.validate(real)
    assert not validator.is_valid(real | {"version": "zero"})


def test_fields_are_documented() -> None:
    """Every field of the manifest stands on its page, and every property with its default and meaning."""
    page = (SPECS / "3-manifest.md").read_text(encoding="utf-8")
    structs = (nouns.Manifest, nouns.Operation, nouns.Metrics, codec.TableAction, nouns.Add, nouns.ColumnStats)
    for struct in (
        *structs,
        nouns.KeyRange,
        nouns.CheckpointRef,
        nouns.SidecarRef,
        nouns.Vacuum,
        nouns.RunRef,
        nouns.IndexAction,
    ):
        for field in set(struct.__struct_fields__) - {"extra"}:
            assert f"`{field}`" in page, (struct.__name__, field)
    for name, known in PROPERTIES.items():
        row = f"| `{name}` | `{str(known.default).lower()}` | {known.meaning}"
        assert row in (SPECS / "4-semantics.md").read_text(encoding="utf-8"), row


def test_type_names_are_documented() -> None:
    """The page lists every word for a type, and each word and form on it is read as one."""
    page = (SPECS / "4-semantics.md").read_text(encoding="utf-8").partition("## Type names")[2].partition("\n## ")[0]
    forms = [form for row in re.findall(r"^\| .+$", page, re.MULTILINE) for form in re.findall(r"`([^`]+)`", row)]
    assert {form.lower() for form in forms} >= set(typenames.WORDS)
    for form in forms:
        assert declared_types({"a": form}), form


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link names a file that is there."""
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), (page.name, target)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each Python block does what it shows; the blocks of one page share their names. YAML is `pipeline.yaml`."""
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    blocks = re.findall(r"```(python|yaml)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks or page != ROOT / "README.md"
    for language, block in blocks:
        if language == "yaml":
            Path("pipeline.yaml").write_text(block, encoding="utf-8")
        else:
            exec(compile(block, page.name, "exec"), scope)


def test_readme_transcript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shell session in the README goes as it is shown, but for times, sizes and durations."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    session = next(block for block in blocks if "$ txfiles" in block)
    inputs, *parts = re.split(r"^\$ txfiles ", session, flags=re.MULTILINE)
    for line in inputs.splitlines():
        subprocess.run(["bash", "-c", line.removeprefix("$ ")], check=True)
    for part in parts:
        command, _, shown = part.partition("\n")
        result = click.testing.CliRunner().invoke(cli, shlex.split(command))
        said = "\n".join(line for line in result.output.splitlines() if not line.startswith("txfiles: note"))
        assert loose(said) == loose(shown), command


def loose(text: str) -> list[str]:
    """Lines without what differs from run to run."""
    lines = [re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z(?=  )|[\d.]+ s\b|[\d,]+ bytes", "…", line) for line in text.splitlines()]
    return [line.rstrip() for line in lines if line.strip()]


def test_readme_names_every_verb() -> None:
    """Each command of the shell is in the README."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    for verb in cli.commands:
        assert f"`{verb}`" in page, verb


def test_a_table_is_read_with_json_and_pyarrow_alone(tmp_path: Path) -> None:
    """Whoever follows specs/3-manifest.md with a JSON parser and a Parquet reader gets the table's rows."""
    path = tmp_path / "table"
    schema = pa.schema([("id", pa.int64()), ("country", pa.string()), ("x", pa.float64())])
    first = [{"id": i, "country": c, "x": i / 3} for i, c in enumerate(["DE", "a b/%", "", None, "DE"])]
    tx.write(pa.Table.from_pylist(first, schema), path, mode="upsert", keys=["id"], partition_by=["country"])
    tx.write(pa.Table.from_pylist([first[0] | {"x": 9.0}], schema), path, mode="upsert")
    tx.write(pa.Table.from_pylist([first[1] | {"id": 7}], schema), path, mode="append_once")
    tx.write(pa.Table.from_pylist([first[3] | {"id": 8}], schema), path, mode="overwrite", overwrite_partitions=True)

    live: dict[str, Any] = {}
    partition_by: list[str] = []
    for name in sorted(os.listdir(path / "_txfiles" / "log")):
        manifest = json.loads((path / "_txfiles" / "log" / name).read_bytes())
        if "table" in manifest:
            by_id = {column["id"]: column["name"] for column in manifest["table"]["columns"]}
            partition_by = [by_id[column] for column in manifest["table"]["partition_by"]]
        for action in manifest["remove"]:
            del live[action["path"]]
        live |= {action["path"]: action for action in manifest["add"]}
    rows = []
    for add in live.values():
        name = re.sub("%([0-9A-F]{2})", lambda found: chr(int(found[1], 16)), add["path"])
        values = dict(zip(partition_by, add["partition"], strict=True))
        rows += [row | values for row in pq.ParquetFile(path / name).read().to_pylist()]
    assert bag(rows) == bag(tx.Table(path).to_arrow().to_pylist())
    assert len(rows) == 6


def test_every_command_and_option_is_documented() -> None:
    """The page on calls lists each verb with all its arguments and options, and nothing else."""
    page = (SPECS / "6-calls.md").read_text(encoding="utf-8")
    table = page[page.index("## The shell") :]
    lines = re.findall(r"^\| `(\w+)` \| [^|]+ \| (.*) \|$", table, re.MULTILINE)
    listed = {verb: set(re.findall(r"`([^`]+)`", words)) for verb, words in lines}
    assert listed.pop("plan") == {"write"}
    for verb, command in cli.commands.items():
        if verb == "plan":
            continue
        params = [param for param in command.params if param.name != "as_json"]
        context = click.Context(command)
        arguments = {param.make_metavar(context) for param in params if isinstance(param, click.Argument)}
        options = {param.opts[0] for param in params if isinstance(param, click.Option)}
        assert listed.pop(verb) == arguments | options, verb
    assert listed == {}


def test_the_readme_names_every_command() -> None:
    """Each verb stands in the README."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for verb in cli.commands:
        assert f"`{verb}`" in readme, verb
