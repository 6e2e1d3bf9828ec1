"""An export bound to its source: every delivered column is traced to the promise that it keeps."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest

from lading.assemble import open_format, open_transforms
from lading.binding import Binder
from lading.contract import read_contract
from lading.documents import parse, validate
from lading.errors import InvalidProject, Refused, SchemaMismatch
from lading.export.definition import Export
from lading.ports import LOGICAL, NATIVE, Dataset
from lading.sources.memory import MemorySource

CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: people
name: people
version: 1.0.0
status: active
schema:
  - name: people
    logicalType: object
    properties:
      - {name: id, logicalType: integer, required: true, classification: public}
      - {name: contact, physicalName: email, logicalType: string, classification: restricted}
      - {name: city, logicalType: string, classification: public}
"""
EXPORT = """
name: people_drop
contract: people@1
source: {connection: memory, table: people}
destination: lake
mode: full_refresh
"""
PEOPLE = pa.table(
    {"id": [1, 2], "email": ["a@example.com", "b@example.com"], "city": ["Oslo", "Rome"], "note": ["", ""]}
)


def bind(more: str = "", contract: str = CONTRACT, table: pa.Table = PEOPLE, base: str = EXPORT):
    document = parse((base + more).encode(), "exports/people.yaml")
    binder = Binder(
        export=validate(Export, document),
        document=document,
        contract=read_contract(parse(contract.encode(), "contracts/people.yaml")),
        source=MemorySource({"people": table}),
        dataset=Dataset(table="people"),
        format=open_format(document, "1.0.0"),
        transforms=open_transforms(document),
    )
    return binder.bind()


def test_recipients_get_the_contract_s_names_in_its_order_and_nothing_else():
    binding = bind()
    assert binding.output.names == ["id", "contact", "city"]
    assert binding.columns == ("id", "email", "city")
    assert "not in the contract and not delivered: note" in binding.notices


AMOUNTS = pa.table(
    {
        "id": pa.array([2**60], pa.int64()),
        "email": pa.array([7], pa.int32()),
        "city": pa.array([[Decimal("20.003")]], pa.list_(pa.decimal128(8, 3))),
        "temp": pa.array([Decimal("20.003")], pa.decimal128(8, 3)),
        "raw": pa.array([b"x"]),
        "took": pa.array([1], pa.duration("s")),
        "at": pa.array([0], pa.timestamp("us", "UTC")),
    }
)
OF_AMOUNTS = (
    CONTRACT.replace("{name: city, logicalType: string", "{name: city, logicalType: array")
    + """
      - {name: temp, logicalType: number}
      - {name: raw, physicalType: bytea}
      - {name: took, physicalType: interval}
      - {name: at, logicalType: timestamp}
"""
)


@pytest.mark.parametrize(
    ("format", "types", "told"),
    [
        ("{type: jsonl}", "portable", {"city": " in part", "temp": "", "raw": "", "took": ""}),
        ("{type: jsonl}", "exact", {"raw": "", "took": ""}),
        ("{type: csv}", "portable", {"city": "", "raw": "", "took": ""}),
        ("{type: parquet}", "portable", {"took": ""}),
        ("{type: arrow}", "exact", {}),
    ],
)
def test_recipients_are_told_of_every_column_that_is_text_for_them_alone(format, types, told):
    natives = {name: str(AMOUNTS.schema.field(name).type) for name in told}
    expected = {f"{name}: {natives[name]} is delivered as text{part}" for name, part in told.items()}
    expected.add("contact: int32 is delivered as text, since the contract declares a string")
    binding = bind(f"format: {format}\ntypes: {types}\n", contract=OF_AMOUNTS, table=AMOUNTS)
    assert {notice for notice in binding.notices if "as text" in notice} == expected


def test_of_what_a_mask_makes_the_policy_tells_alone():
    masked = bind(
        "transforms:\n  - mask: {email: hash_sha256, temp: hash_sha256}\nformat: {type: parquet}\n",
        contract=OF_AMOUNTS.replace("{name: temp, logicalType: number}", "{name: temp, logicalType: string}"),
        table=AMOUNTS,
    )
    assert not any(notice.startswith(("contact", "temp")) for notice in masked.notices)


def test_statistics_are_told_of_public_columns_alone():
    assert bind().open_columns == {"id", "city"}
    assert bind("transforms:\n  - mask: {city: hash_sha256}\n").open_columns == {"id"}


def test_an_excluded_column_is_not_even_read():  # D17
    binding = bind("transforms:\n  - exclude: [email]\n")
    assert binding.columns == ("id", "city")
    assert {"column": "email", "action": "excluded"} in binding.policy


def test_crossed_names_keep_their_own_classification():
    crossed = CONTRACT.replace(
        "name: contact, physicalName: email", "name: city, physicalName: email"
    ).replace(
        "{name: city, logicalType: string, classification: public}",
        "{name: email, physicalName: city, logicalType: string, classification: public}",
    )
    binding = bind(contract=crossed)
    assert binding.output.names == ["id", "city", "email"]
    assert binding.open_columns == {"id", "email"}
    assert [c["classification"] for c in binding.recipient] == ["public", "restricted", "public"]


def test_a_restricted_column_cannot_take_a_public_one_s_name():
    with pytest.raises(InvalidProject, match="promises as something else"):
        bind("transforms:\n  - exclude: [city]\n  - rename: {email: city}\n")


@pytest.mark.parametrize(
    "transforms",
    [
        "  - mask: {email: hash_sha256}",
        "  - rename: {email: mail}\n  - mask: {mail: hash_sha256}",
        "  - exclude: [email]",
        "  - select: [id]",
    ],
)
def test_what_recipients_may_not_see_names_no_folder(transforms):
    with pytest.raises(InvalidProject, match="would stand in folder names"):
        bind(f"layout: {{partition_by: [email]}}\ntransforms:\n{transforms}\n")


def test_a_masked_tenant_is_refused():
    with pytest.raises(InvalidProject, match="names folders and manifests"):
        bind("tenants: {column: email, discover: true}\ntransforms:\n  - mask: {email: hash_sha256}\n")


def test_a_promised_column_that_the_source_lacks_is_named():
    with pytest.raises(SchemaMismatch, match="promises: city"):
        bind(table=PEOPLE.drop_columns(["city"]))


def test_unknown_columns_can_be_refused():
    with pytest.raises(Refused, match="note"):
        bind("unknown_columns: refuse\n")


def test_a_type_that_does_not_fit_is_refused_with_its_column():
    wrong = PEOPLE.set_column(0, "id", pa.array(["1", "2"]))
    with pytest.raises(SchemaMismatch, match="id: "):
        bind(table=wrong)


def test_a_check_of_an_unknown_column_names_file_and_nearest():
    with pytest.raises(InvalidProject, match='no column "citty" – did you mean "city"'):
        bind("checks:\n  - not_null: [citty]\n")


# --- what is refused before anything is claimed

WINDOW = "window: {column: %s, clock: transaction, every: 1 day, start: 2024-01-01}\n"
APPEND = EXPORT.replace("full_refresh", "append")


def refused(more: str, table: pa.Table = PEOPLE, base: str = EXPORT) -> str:
    document = parse((base + more).encode(), "exports/people.yaml")
    binder = Binder(
        export=validate(Export, document),
        document=document,
        contract=read_contract(parse(CONTRACT.encode(), "contracts/people.yaml")),
        source=MemorySource({"people": table}),
        dataset=Dataset(table="people"),
        format=open_format(document, "1.0.0"),
        transforms=open_transforms(document),
    )
    with pytest.raises(InvalidProject) as caught:
        binder.bind()
    return str(caught.value)


@pytest.mark.parametrize(
    ("more", "line", "base"),
    [
        ("checks:\n  - row_count: {min: 1}\n  - not_null: [id, citty]\n", 9, EXPORT),
        ("checks:\n  - range:\n      id: [0, 1]\n      citty: [0, 1]\n", 10, EXPORT),
        ("tenants:\n  discover: true\n  column: citty\n", 9, EXPORT),
        ("layout:\n  partition_by:\n  - city\n  - citty\n", 10, EXPORT),
        ("transforms:\n  - exclude: [citty]\n", 8, EXPORT),
        ("transforms:\n  - rename:\n      citty: town\n", 9, EXPORT),
        ("transforms:\n  - consent:\n      column: citty\n", 9, EXPORT),
        (WINDOW % "citty", 7, APPEND),
        (WINDOW.replace("clock: transaction", "clock: event, late: {column: citty}") % "at", 7, APPEND),
        ("merge_key: [citty]\n" + WINDOW.replace(" every: 1 day,", "") % "at", 7,
         EXPORT.replace("full_refresh", "incremental")),
    ],
)  # fmt: skip
def test_every_column_that_the_source_lacks_is_named_with_its_line(more: str, line: int, base: str):  # M10
    table = PEOPLE.append_column("at", pa.array([None, None], pa.timestamp("us", "UTC")))
    told = refused(more, table, base)
    assert told == f'exports/people.yaml:{line}: people has no column "citty" – did you mean "city"?'


def test_a_contract_s_name_is_translated_into_the_source_s():
    told = refused("checks:\n  - not_null: [contact]\n")
    assert told.endswith(
        'no column "contact"; the contract\'s "contact" is called "email" in the source: write that'
    )


@pytest.mark.parametrize(("column", "type_"), [("id", "int64"), ("city", "string")])
def test_a_window_needs_times_before_anything_is_claimed(column: str, type_: str):
    told = refused(WINDOW % column, base=APPEND)
    assert told == f'exports/people.yaml:7: "{column}" is {type_}, and a window needs a timestamp or a date'


LOCAL = PEOPLE.append_column("at", pa.array([None, None], pa.timestamp("us")))
DATED = PEOPLE.append_column("at", pa.array([None, None], pa.date32()))
EVENT = WINDOW.replace("clock: transaction", "clock: event, late: %s")


@pytest.mark.parametrize(
    ("table", "window", "why"),
    [
        (LOCAL, WINDOW % "at", '"at" is a timestamp without a time zone'),
        (DATED, WINDOW % "at", '"at" is a date without a time zone'),
        (LOCAL, EVENT % ("at", "{column: at}"), "say window.late.timezone: UTC"),
        (DATED, EVENT % ("at", "{column: at}"), "say window.late.timezone: UTC"),
        (DATED, (EVENT % ("at", "ignore")).replace("1 day", "36 hours"), "window.every must be whole days"),
        (
            DATED,
            (EVENT % ("at", "ignore")).replace("2024-01-01", "2024-01-01T01:00:00Z"),
            "window.start must be",
        ),
    ],
)
def test_times_without_a_zone_that_would_lose_rows_are_refused_before_anything_is_claimed(
    table: pa.Table, window: str, why: str
):  # D3, D5
    told = refused(window, table, APPEND)
    assert told.startswith("exports/people.yaml:7: ")
    assert why in told


@pytest.mark.parametrize(
    ("table", "window"),
    [
        (LOCAL, (WINDOW % "at").replace("}", ", timezone: UTC}")),
        (DATED, (WINDOW % "at").replace("}", ", timezone: UTC}")),
        (DATED, (WINDOW % "at").replace("1 day", "1 month, timezone: UTC")),
        (LOCAL, EVENT % ("at", "ignore")),
        (LOCAL, EVENT % ("at", "{column: at, timezone: UTC}")),
        (DATED, EVENT % ("at", "{column: at, timezone: UTC}")),
    ],
)
def test_a_declared_zone_and_business_time_without_one_are_taken(table: pa.Table, window: str):
    binding = bind(window, table=table, base=APPEND)
    assert binding.by_day == ({"at"} if table is DATED else set())


def test_a_date_that_the_contract_has_as_text_is_a_date_for_its_window():
    promised = CONTRACT + "      - {name: at, logicalType: string, classification: public}\n"
    binding = bind((WINDOW % "at").replace("}", ", timezone: UTC}"), promised, DATED, APPEND)
    assert pa.types.is_string(binding.read.field("at").type)
    assert binding.by_day == {"at"}


def test_shards_need_whole_numbers_before_anything_is_claimed():
    told = refused("layout: {partition_by: [{column: city, shards: 4}]}\n")
    assert told.startswith("exports/people.yaml:7: ")
    assert "city is string, and shards need an integer" in told


def test_a_tenant_s_values_need_a_text_of_their_own():
    table = PEOPLE.append_column("lists", pa.array([[1], [2]]))
    told = refused("tenants: {column: lists, discover: true}\n", table)
    assert "names no folder" in told


@pytest.mark.parametrize(
    "values",
    [pa.array([0.1, 1e15]), pa.array([Decimal("1.5"), Decimal("2.0")]), pa.array([0, 1], pa.timestamp("us")),
     pa.array([0, 1], pa.time64("us")), pa.array([b"a", b"b"], pa.binary(1))],
    ids=lambda values: str(values.type),
)  # fmt: skip
def test_a_tenant_of_which_systems_write_different_texts_is_refused_unless_it_is_declared_a_string(values):
    table = PEOPLE.set_column(2, "city", values)
    contract = CONTRACT.replace("{name: city, logicalType: string", "{name: city, physicalType: what")
    tenants = "tenants: {column: city, discover: true}\n"
    with pytest.raises(InvalidProject) as caught:
        bind(tenants, contract, table)
    assert str(caught.value).startswith(
        f'exports/people.yaml:7: "city" is {values.type}, which names no folder'
    )
    assert "Declare it a string in the contract, or cast it in a query" in str(caught.value)
    assert bind(tenants, table=table).as_text == {"city"}


@pytest.mark.parametrize(
    ("check", "why"),
    [
        ("range: {city: [0, 1]}", "a column of type string has no range"),
        ("in: {id: [a]}", "does not fit a column of type int64"),
        ("regex: {note: '('}", "not valid RE2"),
        ("freshness: {column: note, max_age: 1h}", "tells no time"),
    ],
)
def test_a_check_that_does_not_fit_the_source_is_refused_before_anything_is_claimed(check: str, why: str):
    told = refused(f"checks:\n  - row_count: {{min: 1}}\n  - {check}\n")
    assert told.startswith("exports/people.yaml:9: ")
    assert why in told


WIDE = pa.schema(
    [
        pa.field("id", pa.int64()),
        pa.field("email", pa.string()),
        pa.field("city", pa.string()),
        pa.field("price", pa.string(), metadata={NATIVE: b"numeric", LOGICAL: b"decimal"}),
    ]
).empty_table()


@pytest.mark.parametrize(
    ("more", "promise"),
    [
        ("checks: [{range: {price: [0, 1]}}]\n", "logicalType: number"),
        ("checks: [{balance: {column: price}}]\n", "logicalType: number"),
        ("checks: [{distribution: {column: price, mean: [0, 1]}}]\n", "logicalType: number"),
        ("", "logicalType: number, logicalTypeOptions: {minimum: 0}"),
        ("", "logicalType: number, physicalType: 'numeric(18,6)'"),
    ],
)
def test_a_number_without_a_precision_is_refused_with_what_to_do_about_it(more: str, promise: str):
    contract = CONTRACT + f"      - {{name: price, {promise}}}\n"
    with pytest.raises((InvalidProject, SchemaMismatch)) as refusal:
        bind(more, contract, WIDE)
    told = str(refusal.value)
    assert "price: numeric arrives as text" in told
    assert "price::numeric(18,2)" in told


def test_text_that_is_no_number_gets_no_such_advice():
    assert "arrives as text" not in refused("checks: [{range: {city: [0, 1]}}]\n")
