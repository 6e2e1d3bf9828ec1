"""IP addresses made less exact: IPv4 without its last octet, IPv6 without what follows its first 48 bits.

An IPv4 address that is written as an IPv6 one (``::ffff:1.2.3.4``, RFC 4291 section 2.5.5.2) is treated as the
IPv4 address that it is. A prefix length (``10.1.2.3/8``) and a zone (``fe80::1%eth0``, RFC 4007) are dropped. What is
written is canonical text (RFC 5952 sections 4 and 5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from lading.errors import DataRefused, counted
from lading.transforms.columns import plain

if TYPE_CHECKING:
    import polars as pl

OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
QUAD = rf"{OCTET}\.{OCTET}\.{OCTET}\.{OCTET}"
V4 = rf"^{QUAD}(?:/(?:3[0-2]|[12]?[0-9]))?$"
GROUPS = "[0-9a-f]{1,4}(?::[0-9a-f]{1,4})*"
V6_SUFFIX = "(?:%[^%/ ]+)?(?:/(?:12[0-8]|1[01][0-9]|[1-9]?[0-9]))?$"
V6 = rf"^(?:{GROUPS}|(?:{GROUPS})?::(?:{GROUPS})?)$"


def truncate_last_octet(array: pa.Array, column: str) -> pa.Array:
    """Addresses as text, truncated. Raises DataRefused, with the column and the count, where text is no address."""
    import polars as pl

    texts = pl.from_arrow(plain(array))
    assert isinstance(texts, pl.Series)
    text = pl.col("text")
    frame = texts.alias("text").to_frame()
    frame = frame.select("text", four=text.str.contains(V4))
    done = frame.select(
        pl.when("four").then(text.str.replace(r"\.[0-9]+(?:/[0-9]+)?$", ".0")).alias("text")
    ).to_series()
    # addresses of version 6 are rare, dear to parse, and parsed by themselves
    six = (~frame["four"].fill_null(True)).arg_true()
    if len(six):
        truncated = _truncated_v6(frame["text"].gather(six))
        strangers = truncated.null_count()
        if strangers:
            raise DataRefused(
                f"truncate_last_octet: column {column!r} holds "
                f"{counted(strangers, 'value that is', 'values that are')} no IP address",
                hint="Mask the column with another action, or exclude it.",
            )
        done = done.scatter(six, truncated)
    return done.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string())


def _truncated_v6(texts: pl.Series) -> pl.Series:
    """Truncated text, NULL where the text is no IPv6 address."""
    import polars as pl

    frame = _expanded(texts)
    octet = [pl.col(f"quad_{i}") for i in range(3)]
    group = [pl.col(f"group_{i}").str.strip_chars_start("0") for i in range(8)]
    number = [pl.col(f"group_{i}").str.to_integer(base=16, strict=False) for i in (6, 7)]
    first = pl.when(pl.col("quad_0").is_null()).then(number[0] // 256).otherwise(octet[0])
    second = pl.when(pl.col("quad_0").is_null()).then(number[0] % 256).otherwise(octet[1])
    third = pl.when(pl.col("quad_0").is_null()).then(number[1] // 256).otherwise(octet[2])
    mapped = pl.all_horizontal(*(group[i] == "" for i in range(5)), group[5] == "ffff")
    middle = [pl.when(g == "").then(pl.lit("0")).otherwise(g) for g in group[:3]]
    # what follows the first three groups is zero, so it is the longest run and the one that :: replaces
    kept = (
        pl.when(group[2] != "")
        .then(pl.format("{}:{}:{}::", *middle))
        .when(group[1] != "")
        .then(pl.format("{}:{}::", *middle[:2]))
        .when(group[0] != "")
        .then(pl.format("{}::", middle[0]))
        .otherwise(pl.lit("::"))
    )
    text = pl.when(mapped).then(pl.format("::ffff:{}.{}.{}.0", first, second, third)).otherwise(kept)
    return frame.select(pl.when("valid").then(text).alias("text")).to_series()


def _expanded(texts: pl.Series) -> pl.DataFrame:
    """Columns ``valid``, ``group_0`` to ``group_7`` (hexadecimal), ``quad_0`` to ``quad_2`` (of a dotted tail)."""
    import polars as pl

    address, quad = pl.col("address"), pl.col("quad")
    frame = texts.alias("address").to_frame().select(pl.col("address").str.to_lowercase())
    frame = frame.select(address.str.replace(V6_SUFFIX, ""))
    frame = frame.select("address", quad=address.str.extract(rf":({QUAD})$"))
    # a dotted tail stands for two groups, whose values are read from the octets
    dotless = pl.when(quad.is_null()).then(address).otherwise(address.str.replace(rf"{QUAD}$", "0:0"))
    frame = frame.select(dotless.alias("address"), "quad")
    count = address.str.count_matches("[0-9a-f]+").cast(pl.Int64)
    short = address.str.contains("::", literal=True)
    valid = address.str.contains(V6) & pl.when(short).then(count <= 7).otherwise(count == 8)
    # both sides of :: get a group at least, then zeros fill up to eight
    sided = address.str.replace("^::", "0::").str.replace("::$", "::0")
    missing = 8 - sided.str.count_matches("[0-9a-f]+").cast(pl.Int64)
    zeros = pl.lit(":0" * 8).str.slice(0, 2 * missing.clip(0))
    left, right = sided.str.extract("^(.*)::"), sided.str.extract("::(.*)$")
    whole = pl.when(short).then(pl.concat_str(left, zeros, pl.lit(":"), right)).otherwise(address)
    groups = whole.str.split_exact(":", 7).struct.rename_fields([f"group_{i}" for i in range(8)])
    quads = [quad.str.splitn(".", 4).struct.field(f"field_{i}").alias(f"quad_{i}") for i in range(3)]
    return frame.select(valid.alias("valid"), groups.struct.unnest(), *quads)
