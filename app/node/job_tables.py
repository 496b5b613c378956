"""The tables of the jobs, beside those of the job engine in one SQLite file or PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

T = TypeVar("T")

METADATA = sa.MetaData()

JOBS = sa.Table(
    "viscera_jobs",
    METADATA,
    sa.Column("job_id", sa.String(80), primary_key=True),
    sa.Column("study_key", sa.String(64), nullable=False, index=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("workflow", sa.String(64), nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("status", sa.String(16), nullable=False, index=True),
    sa.Column("step", sa.String(16), nullable=False),
    # of all attempts ever, and the one that the present series of attempts began with
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("first_attempt", sa.Integer, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("outcome", sa.String(32), nullable=False),
    sa.Column("node", sa.String(64), nullable=False),
    # of the latest attempt with results: its folder, and files as JSON
    sa.Column("folder", sa.String(80)),
    sa.Column("files", sa.JSON),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("started_at", sa.Float),
    sa.Column("changed_at", sa.Float, nullable=False),
    sa.Column("ended_at", sa.Float),
)
DELIVERIES = sa.Table(
    "viscera_deliveries",
    METADATA,
    sa.Column("job_id", sa.String(80), primary_key=True),
    sa.Column("destination", sa.String(64), primary_key=True),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("first_attempt", sa.Integer, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("changed_at", sa.Float, nullable=False),
)
FILES = sa.Table(
    "viscera_delivered_files",
    METADATA,
    sa.Column("job_id", sa.String(80), primary_key=True),
    sa.Column("destination", sa.String(64), primary_key=True),
    sa.Column("file", sa.String(512), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)
INPUTS = sa.Table(
    "viscera_job_inputs",
    METADATA,
    sa.Column("job_id", sa.String(80), primary_key=True),
    sa.Column("study_key", sa.String(64), nullable=False, index=True),
    # whose version of the study it was: the node's name, and the number there
    sa.Column("node", sa.String(64), nullable=False),
    sa.Column("taken", sa.Integer, nullable=False),
    sa.Column("StudyInstanceUID", sa.String(64), nullable=False),
    sa.Column("callers", sa.JSON, nullable=False),
    sa.Column("files", sa.JSON, nullable=False),
)
NODES = sa.Table(
    "viscera_nodes",
    METADATA,
    sa.Column("node", sa.String(64), primary_key=True),
    sa.Column("beat", sa.BigInteger, nullable=False),
)

#: How long a database that is away is waited for before an operation gives up.
PATIENCE_S = 300.0


def open_engine(url: str) -> sa.Engine:
    """Connect, and make the tables where they are missing.

    Transactions of SQLite take the write lock at their begin, so that what they read stays true.
    """
    engine = sa.create_engine(url, pool_pre_ping=True, hide_parameters=True)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def prepare(connection: Any, _record: Any) -> None:
            connection.isolation_level = None
            connection.execute("PRAGMA busy_timeout=30000")
            connection.execute("PRAGMA journal_mode=WAL")  # kept by the file, also for the engine

        @event.listens_for(engine, "begin")
        def begin(connection: sa.Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    in_transaction(engine, _create_tables)
    return engine


def _create_tables(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":  # two nodes may start at once
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(20573911)")
    METADATA.create_all(connection)


def in_transaction(engine: sa.Engine, work: Callable[[sa.Connection], T]) -> T:
    """Do work in one transaction, again where the database was away or locked."""
    give_up_at = time.monotonic() + PATIENCE_S
    delay_s = 0.05
    while True:
        try:
            with engine.begin() as connection:
                return work(connection)
        except (OperationalError, InterfaceError) as exc:
            if not _may_pass(exc) or time.monotonic() + delay_s > give_up_at:
                raise
        time.sleep(delay_s)
        delay_s = min(2 * delay_s, 5.0)


def _may_pass(error: DBAPIError) -> bool:
    """Whether it is the connection or a lock, rather than the statement."""
    return error.connection_invalidated or "lock" in str(error.orig) or "connect" in str(error.orig)


def insert_once(connection: sa.Connection, table: sa.Table, values: dict[str, Any]) -> bool:
    """Insert a row unless one of its key is there; returns whether it was inserted."""
    # the count of inserted rows is not told by every driver, what they return is
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement = insert(table).values(values).on_conflict_do_nothing().returning(sa.literal(1))
    return connection.execute(statement).first() is not None
