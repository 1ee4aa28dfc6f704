"""Files of the data folder: found by name, read exactly, and nothing outside the folder can be named."""

import json
import os
from pathlib import Path
from typing import Any

import duckdb
import pytest
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter, ValidationError

from services.data_agent.sources import DataSource

SOURCE = TypeAdapter(DataSource)


def write(folder: Path, name: str, text: str, encoding: str = "utf-8") -> None:
    (folder / name).write_bytes(text.encode(encoding))


def records(run, source: Any) -> list[dict[str, Any]]:
    return run("process_data", data_source=source)["records"]


def test_a_name_finds_the_file_with_or_without_its_suffix(run, folder) -> None:
    write(folder, "test_data.csv", "name,score\nAda,9.5\nBob,\n")
    expected = [{"name": "Ada", "score": 9.5}, {"name": "Bob", "score": None}]
    assert records(run, "test_data") == records(run, "test_data.csv") == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("d.csv", "a,b\n1,x\n2,y\n"),
        ("d.tsv", "a\tb\n1\tx\n2\ty\n"),
        ("d.jsonl", '{"a": 1, "b": "x"}\n\n{"a": 2, "b": "y"}'),
        ("d.ndjson", '{"a": 1, "b": "x"}\r\n{"a": 2, "b": "y"}\r\n'),
        ("d.json", '[{"a": 1, "b": "x"},\n {"a": 2, "b": "y"}]'),
    ],
)
def test_every_text_format(run, folder, name, text) -> None:
    write(folder, name, text)
    assert records(run, "d") == records(run, name) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


def test_parquet(run, folder) -> None:
    path = folder / "year=2020" / "d.parquet"
    path.parent.mkdir()
    duckdb.sql(f"COPY (SELECT 1 AS a, DATE '2024-01-01' AS d, 'nan'::DOUBLE AS n) TO '{path}' (FORMAT parquet)")
    output = run("process_data", data_source={"parquet": "year=2020/d"})
    assert output["records"] == [{"a": 1, "d": "2024-01-01", "n": None}]
    assert output["notes"] == ["column 'n': 1 NaN read as null"]


def test_the_explicit_forms_read_a_file_with_any_suffix(run, folder) -> None:
    write(folder, "a.txt", "x;y\n1,5;2\n")
    write(folder, "b.log", '{"x": 1}\n')
    csv = {"csv": "a.txt", "decimal_separator": ","}
    assert records(run, csv) == [{"x": 1.5, "y": 2}]
    assert records(run, {"jsonl": "b.log"}) == [{"x": 1}]


def test_an_unknown_suffix_needs_an_explicit_form(refused, folder) -> None:
    write(folder, "a.txt", "x\n1\n")
    assert refused("process_data", data_source="a.txt").code == "UnknownFormat"


def test_a_name_that_means_no_file_lists_what_there_is(refused, folder) -> None:
    write(folder, "sales.csv", "a\n1\n")
    (folder / "sub").mkdir()
    write(folder, "sub/more.jsonl", "{}\n")
    write(folder, "notes.txt", "no data")
    error = refused("process_data", data_source="sale")
    assert error.code == "SourceNotFound"
    assert "the data folder has: sales.csv, sub/more.jsonl" in str(error)
    assert error.details == {"available": ["sales.csv", "sub/more.jsonl"]}


def test_a_name_that_means_two_files_is_refused(refused, run, folder) -> None:
    write(folder, "d.csv", "a\n1\n")
    write(folder, "d.jsonl", '{"a": 2}\n')
    error = refused("process_data", data_source="d")
    assert error.code == "AmbiguousSource"
    assert "d.csv, d.jsonl" in str(error)
    assert records(run, "d.jsonl") == [{"a": 2}]


def test_without_a_data_folder_only_inline_records_are_read(run, config) -> None:
    without = config.model_copy(update={"data_folder": None})
    assert run("process_data", without, data_source=[{"a": 1}])["row_count"] == 1
    with pytest.raises(Exception, match="no data folder") as caught:
        run("process_data", without, data_source="d")
    assert caught.value.code == "NoDataFolder"


def test_a_data_folder_that_is_not_there_is_named(run, config) -> None:
    gone = config.model_copy(update={"data_folder": Path("nowhere-to-be-found")})
    with pytest.raises(Exception, match="nowhere-to-be-found") as caught:
        run("process_data", gone, data_source="d")
    assert caught.value.code == "NoDataFolder"


@pytest.mark.parametrize(
    "name",
    [
        "../secret.csv",
        "sub/../../secret.csv",
        "/etc/passwd",
        "..",
        "C:\\secret.csv",
        "..\\secret.csv",
        "*.csv",
        "[s]ub/x.csv",
        "a\0.csv",
        "sub/{a,b}.csv",
        "link.csv",
        "linked/secret.csv",
        "linked/secret",
        "chain.csv",
    ],
)
@pytest.mark.parametrize("form", ["name", "csv", "join", "query"])
def test_no_path_leads_out_of_the_folder(refused, folder, name, form) -> None:
    outside = folder.parent
    write(outside, "secret.csv", "password\nhunter2\n")
    (folder / "sub").mkdir()
    (folder / "link.csv").symlink_to(outside / "secret.csv")
    (folder / "chain.csv").symlink_to(folder / "link.csv")
    (folder / "linked").symlink_to(outside, target_is_directory=True)
    match form:
        case "name":
            error = refused("process_data", data_source=name)
        case "csv":
            error = refused("process_data", data_source={"csv": name})
        case "join":
            join = {"op": "join", "with": name, "on": ["a"]}
            error = refused("process_data", data_source=[{"a": 1}], operations=[join])
        case _:
            error = refused("query", sql="SELECT * FROM t", tables={"t": name})
    assert error.code == "ForbiddenPath"
    assert "hunter2" not in str(error)


def test_a_link_that_stays_inside_and_a_linked_folder_are_read(run, folder, config) -> None:
    write(folder, "real.csv", "a\n1\n")
    (folder / "alias.csv").symlink_to(folder / "real.csv")
    assert records(run, "alias") == [{"a": 1}]
    linked = folder.parent / "linked"
    linked.symlink_to(folder, target_is_directory=True)
    through = config.model_copy(update={"data_folder": linked})
    assert run("process_data", through, data_source="real")["records"] == [{"a": 1}]


def test_a_link_to_a_name_that_is_a_pattern_is_refused(refused, folder) -> None:
    write(folder, "a.csv", "x\n1\n")
    write(folder, "[ab].csv", "x\n2\n")
    (folder / "alias.csv").symlink_to(folder / "[ab].csv")
    assert refused("process_data", data_source="alias").code == "ForbiddenPath"


def test_what_is_no_regular_file_is_not_found(refused, folder) -> None:
    (folder / "dir.csv").mkdir()
    os.mkfifo(folder / "pipe.csv")
    assert refused("process_data", data_source="dir.csv").code == "SourceNotFound"
    assert refused("process_data", data_source="pipe.csv").code == "SourceNotFound"


def test_a_file_over_the_limit_is_refused(run, folder, config) -> None:
    write(folder, "d.csv", "a\n" + "1\n" * 100)
    limits = config.model_copy(update={"max_file_bytes": 100})
    with pytest.raises(Exception, match="202 bytes") as caught:
        run("process_data", limits, data_source="d")
    assert caught.value.code == "FileTooLarge"


@pytest.mark.parametrize("name", ["d.csv", "d.jsonl", "d.json", "d.parquet"])
def test_a_file_of_too_many_rows_is_refused_and_not_cut(run, folder, config, name) -> None:
    rows = [{"a": number} for number in range(4)]
    write(folder, "d.csv", "a\n0\n1\n2\n3\n")
    write(folder, "d.jsonl", "\n".join(map(json.dumps, rows)))
    write(folder, "d.json", json.dumps(rows))
    duckdb.sql(f"COPY (FROM range(4) r(a)) TO '{folder}/d.parquet' (FORMAT parquet)")
    assert run("process_data", config.model_copy(update={"max_input_rows": 4}), data_source=name)["records"] == rows
    with pytest.raises(Exception, match="more than 3 rows") as caught:
        run("process_data", config.model_copy(update={"max_input_rows": 3}), data_source=name)
    assert caught.value.code == "RowLimit"


class TestCsv:
    def test_types_are_found_from_all_rows(self, run, folder) -> None:
        late = "".join(f"{number},00{number}\n" for number in range(30_000)) + "oops,1\n"
        write(folder, "d.csv", "n,code\n" + late)
        output = run("process_data", data_source="d", max_rows=2)
        assert output["columns"] == [{"name": "n", "type": "VARCHAR"}, {"name": "code", "type": "VARCHAR"}]
        assert output["records"] == [{"n": "0", "code": "000"}, {"n": "1", "code": "001"}]
        assert output["total_rows"] == 30_001

    def test_quotes_line_breaks_and_a_byte_order_mark(self, run, folder) -> None:
        write(folder, "d.csv", '\ufeffname,"say ""hi"""\r\n"x, y","line\nbreak"\r\n')
        assert records(run, "d") == [{"name": "x, y", 'say "hi"': "line\nbreak"}]

    def test_a_comment_sign_is_data(self, run, folder) -> None:
        write(folder, "d.csv", "id,b\n#1,2\n3,4\n")
        assert records(run, "d") == [{"id": "#1", "b": 2}, {"id": "3", "b": 4}]

    def test_dates_zones_and_big_numbers(self, run, folder) -> None:
        write(
            folder, "d.csv", "d,t,z,big\n2024-02-29,2024-01-01 10:00:00.5,2024-01-01 10:00:00+02,9223372036854775808\n"
        )
        assert records(run, "d") == [
            {
                "d": "2024-02-29",
                "t": "2024-01-01T10:00:00.5",
                "z": "2024-01-01T08:00:00Z",
                "big": "9223372036854775808",
            }
        ]

    def test_a_stated_type_keeps_what_would_be_guessed_away(self, run, refused, folder) -> None:
        write(folder, "d.csv", "zip,n\n0123,1\n4567,x\n")
        source = {"csv": "d", "types": {"zip": "VARCHAR"}}
        assert [record["zip"] for record in records(run, source)] == ["0123", "4567"]
        error = refused("process_data", data_source={"csv": "d", "types": {"n": "INTEGER"}})
        assert "column 'n', row 2: 'x' is not of type INTEGER" in str(error)
        assert refused("process_data", data_source={"csv": "d", "types": {"q": "DATE"}}).code == "UnknownColumn"

    def test_latin_1_must_be_said(self, run, refused, folder) -> None:
        write(folder, "d.csv", "a\ncafé\n", "latin-1")
        assert records(run, {"csv": "d", "encoding": "latin-1"}) == [{"a": "café"}]
        assert refused("process_data", data_source="d").code == "InvalidFile"

    def test_a_file_without_a_header(self, run, folder) -> None:
        write(folder, "d.csv", "1,x\n2,y\n")
        assert records(run, {"csv": "d", "header": False}) == [
            {"column0": 1, "column1": "x"},
            {"column0": 2, "column1": "y"},
        ]

    def test_only_a_header_gives_columns_and_no_rows(self, run, folder) -> None:
        write(folder, "d.csv", "a,b\n")
        output = run("process_data", data_source="d")
        assert ([column["name"] for column in output["columns"]], output["records"]) == (["a", "b"], [])

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("a,b\n1,2\n3\n4,5\n", "line 3 has 1 fields, the first line has 2"),
            ("a,b\n1,2\n3,4,5\n", "line 3 has 3 fields, the first line has 2"),
            ("", "no first line"),
            ('a,b\n"x,2\n', "cannot be read as CSV"),
            ("a,b\r\n1,2\n3,4\n", "1 lines end in CR LF and 2 in LF alone"),
        ],
    )
    def test_a_broken_file_is_refused_with_the_line(self, refused, folder, text, told) -> None:
        write(folder, "d.csv", text)
        error = refused("process_data", data_source="d")
        assert error.code == "InvalidFile"
        assert told in str(error)
        assert str(folder) not in str(error)


class TestJson:
    def test_json_lines_are_typed_as_inline_records_are(self, run, folder) -> None:
        rows = [{"big": 2**70, "d": "2024-01-01", "n": {"x": [1]}}, {"big": 1}]
        write(folder, "d.jsonl", "\ufeff" + "\n".join(map(json.dumps, rows)))
        assert records(run, "d") == records(run, rows)

    @pytest.mark.parametrize(
        ("name", "text", "told"),
        [
            ("d.jsonl", '{"a": 1}\n{"a":\n', "d.jsonl, line 2 is not JSON"),
            ("d.jsonl", '{"a": 1}\n\n[1]\n', "d.jsonl, line 3 is list, not an object"),
            ("d.jsonl", '{"a": ' + "[" * 5000 + "]" * 5000 + "}", "recursion limit exceeded"),
            ("d.json", '{"a": 1}', "not one JSON array"),
            ("d.json", '[{"a": 1}, 5]', "d.json, element 2 is int"),
        ],
    )
    def test_a_broken_file_is_refused_with_the_line(self, refused, folder, name, text, told) -> None:
        write(folder, name, text)
        error = refused("process_data", data_source="d")
        assert error.code == "InvalidFile"
        assert told in str(error)

    def test_an_empty_file_has_no_rows(self, run, folder) -> None:
        write(folder, "d.jsonl", "")
        assert records(run, "d") == []


def test_a_file_that_is_no_parquet_is_refused(refused, folder) -> None:
    write(folder, "d.parquet", "PAR1 and nothing more")
    error = refused("process_data", data_source="d")
    assert error.code == "InvalidFile"
    assert str(folder) not in str(error)


@pytest.mark.parametrize(
    "value",
    [
        5,
        None,
        {},
        "",
        [1],
        {"records": [], "csv": "x"},
        {"csv": "x", "delimeter": ";"},
        {"csv": ""},
        {"parquet": "x", "types": {"a": "date"}},
        {"records": [{"a": object()}]},
    ],
)
def test_malformed_sources_are_refused(value) -> None:
    with pytest.raises(ValidationError):
        SOURCE.validate_python(value)


def test_the_json_schema_accepts_every_form_and_refuses_others() -> None:
    schema = SOURCE.json_schema()
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    forms = ["orders", [{"a": 1}], {"records": [{"a": 1}], "row_count": 1}, {"csv": "x", "delimiter": ";"}]
    forms += [{"jsonl": "x"}, {"json": "x"}, {"parquet": "x", "types": {"a": "DECIMAL(10,2)"}}]
    assert [form for form in forms if not validator.is_valid(form)] == []
    assert [form for form in (5, {}, {"csv": "x", "delimeter": ";"}, [1]) if validator.is_valid(form)] == []
