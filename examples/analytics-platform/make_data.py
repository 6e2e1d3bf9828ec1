"""Writes the sample tables into data/: small, and the same bytes of meaning every time. python make_data.py [DIR]"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

MOMENT = pa.timestamp("us", "UTC")
MIDNIGHT = datetime(2025, 9, 16, tzinfo=UTC)
ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"


def posts(day: datetime, count: int = 40) -> pa.Table:
    """One file a day, as the scraper writes it."""
    rows = []
    for n in range(count):
        content = f"The engine light came on, code P{300 + n % 12:04}. " * (1 + n % 4)
        created = day + timedelta(minutes=30 * n)
        subreddit = ("MechanicAdvice", "AskMechanics", "Cartalk", "Diesel")[n % 4]
        rows.append((f"t3_{day:%d}{n:04}", subreddit, f"Rough idle, attempt {n}", content, len(content),
                     n * 7 % 50, created, created + timedelta(hours=1)))  # fmt: skip
    return table(
        [
            ("post_id", pa.string()),
            ("subreddit", pa.string()),
            ("title", pa.string()),
            ("content", pa.string()),
            ("content_length", pa.int32()),
            ("score", pa.int32()),
            ("created_at", MOMENT),
            ("scraped_at", MOMENT),
        ],
        rows,
    )


def videos(count: int = 30) -> pa.Table:
    rows = [
        ("".join(ALPHABET[(n * 31 + i * i * 7) % 64] for i in range(11)), f"Brakes, part {n}", f"garage{n % 3}",
         60 + n, ["brakes", f"part {n}"], None if n % 6 == 0 else f"Today we change brake {n}.",
         MIDNIGHT - timedelta(days=1) + timedelta(hours=1.5 * n))
        for n in range(count)
    ]  # fmt: skip
    return table(
        [
            ("video_id", pa.string()),
            ("title", pa.string()),
            ("channel", pa.string()),
            ("duration_seconds", pa.int32()),
            ("tags", pa.list_(pa.string())),
            ("transcript", pa.string()),
            ("upload_time", MOMENT),
        ],
        rows,
    )


def telemetry(hour: int, count: int = 240) -> pa.Table:
    """One file an hour; three kinds of sensors on eight machines, one of which has a number beyond 100."""
    begin = MIDNIGHT + timedelta(hours=hour)
    machines = (1, 2, 3, 7, 42, 99, 107, 1999)
    rows = [
        (hour * count + n, machines[n % 8], ("temperature", "pressure", "rpm")[n % 3], 20 + n % 17 / 4,
         begin + timedelta(seconds=15 * n))
        for n in range(count)
    ]  # fmt: skip
    return table(
        [
            ("reading_id", pa.int64()),
            ("equipment_id", pa.int64()),
            ("sensor_type", pa.string()),
            ("value", pa.float64()),
            ("timestamp", MOMENT),
        ],
        rows,
    )


def billing(count: int = 60) -> pa.Table:
    """Two lines to a booking. Every tenth is booked again a day later, with another amount: the newer counts."""
    rows = []
    for n in range(count):
        booked = datetime(2025, 9, 2, tzinfo=UTC) + timedelta(hours=6 * n)
        for correction in (0, 1) if n % 10 == 0 else (0,):
            at, amount = booked + timedelta(days=correction), Decimal(1999 + 5 * n + correction) / 100
            for line, sign in ((1, 1), (2, -1)):
                rows.append((f"tx{n:06}", line, f"{1000 * line + n % 7}", sign * amount, ("USD", "EUR", "CAD")[n % 3],
                             "billing-service", "controller", f"{booked:%Y-%m}", at))  # fmt: skip
    return table(
        [
            ("transaction_id", pa.string()),
            ("line", pa.int32()),
            ("account", pa.string()),
            ("amount", pa.decimal128(12, 2)),
            ("currency", pa.string()),
            ("recorded_by", pa.string()),
            ("approved_by", pa.string()),
            ("transaction_month", pa.string()),
            ("transaction_timestamp", MOMENT),
        ],
        rows,
    )


def features(entities: int = 25, hours: int = 4) -> pa.Table:
    rows = [
        (entity, name, category, None if (entity + hour) % 40 == 7 else (entity * 13 + hour * 7) % 101 / 100, "2.1.0",
         MIDNIGHT + timedelta(hours=hour))
        for hour in range(hours)
        for entity in range(entities)
        for name, category in (("misfire_rate", "engine"), ("pad_wear", "brakes"))
    ]  # fmt: skip
    return table(
        [
            ("entity_id", pa.int64()),
            ("feature_name", pa.string()),
            ("feature_category", pa.string()),
            ("feature_value", pa.float64()),
            ("feature_version", pa.string()),
            ("feature_timestamp", MOMENT),
        ],
        rows,
    )


def users(count: int = 50) -> pa.Table:
    """Every fifth did not consent, every seventh was never asked in a way that counts as consent."""
    rows = [
        (n, f"driver{n}@example.com", f"+1202555{n:04}", f"192.0.2.{n}" if n % 2 else f"2001:db8::{n:x}",
         ("US", "DE", "CA")[n % 3], f"argon2id${n:08}", "first car?", n % 5 != 0 and n % 7 != 0,
         MIDNIGHT - timedelta(days=n))
        for n in range(1, count + 1)
    ]  # fmt: skip
    return table(
        [
            ("user_id", pa.int64()),
            ("email", pa.string()),
            ("phone", pa.string()),
            ("ip_address", pa.string()),
            ("country", pa.string()),
            ("password_hash", pa.string()),
            ("security_questions", pa.string()),
            ("data_sharing_consent", pa.bool_()),
            ("updated_at", MOMENT),
        ],
        rows,
    )


def table(fields: Sequence[tuple[str, Any]], rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    schema = pa.schema(fields)
    columns = zip(*rows, strict=True)
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)


def make(folder: Path) -> None:
    tables = {
        "youtube_repair_videos": videos(),
        "billing_transactions": billing(),
        "feature_store": features(),
        "users": users(),
    }
    for days in (1, 0):
        day = MIDNIGHT - timedelta(days=days)
        tables[f"reddit_diagnostic_posts/{day:%Y-%m-%d}"] = posts(day)
    for hour in range(3):
        tables[f"sensor_telemetry/2025-09-16T{hour:02}"] = telemetry(hour)
    for name, rows in tables.items():
        path = folder / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, path)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "data")
