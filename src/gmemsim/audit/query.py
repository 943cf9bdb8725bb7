"""Asking a log with SQL, through DuckDB (extra `query`).

Tables:

* `events`: a row for each line: `seq`, `t` (virtual ns), `actor`, `event`, and a column for each field that any event
  has, NULL where it has not. Fields that are a number in one event and a text in another are texts.
* `holds`: a row for each time that a lock was held: `lock`, `mode`, `actor`, `from_seq`, `to_seq`, `from_t`, `to_t`,
  `ns`; `to_seq`, `to_t` and `ns` are NULL for a lock that was never given back. A folio that is added to the page cache
  is locked from `filemap_add` on.
* `waits`: a row for each event `contended`: `lock`, `mode`, `actor`, `seq`, `t`, `ns` (NULL if it never got it),
  `holder` (who had it when the wait began, NULL if nobody of those in the log). Lock statistics (`gmemsim run`) have
  more: a writer of an rw-semaphore that spins until it has the lock, and the short spinlocks of mm, have no such event.
* `faults`: a row for each fault handled: `actor`, `gfn`, `seq`, `t`, `ns`, `ret`.

The log is checked first, as every reader does. The SQL itself can read nothing but these tables, and write no file but
the one for Parquet.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec import structs

from ..bad_input import BadInput
from .errors import LogError
from .reader import read_log
from .vocabulary import vocabulary

if TYPE_CHECKING:
    import os

    import duckdb

#: Ready-made queries by name: what they show, and the SQL.
READY: Final[dict[str, tuple[str, str]]] = {
    "waits": (
        "waits by lock, mode and who held it; not those of writers that only spin",
        "SELECT lock, mode, holder, count(*) AS waits, sum(ns) AS total_ns, max(ns) AS max_ns FROM waits "
        "GROUP BY ALL ORDER BY total_ns DESC NULLS LAST, lock, mode, holder",
    ),
    "holds": (
        "how long each lock was held, by mode",
        "SELECT lock, mode, count(*) AS holds, sum(ns) AS total_ns, max(ns) AS max_ns FROM holds "
        "GROUP BY ALL ORDER BY total_ns DESC NULLS LAST, lock, mode",
    ),
    "prepares": (
        "prepares and clears of each frame",
        "SELECT pfn, min(gfn) AS gfn, min(index) AS index, "
        "count(*) FILTER (event IN ('prepare', 'make_private')) AS prepares, "
        "count(*) FILTER (event = 'clear') AS clears, count(*) FILTER (event = 'set_uptodate') AS uptodate "
        "FROM events WHERE event IN ('prepare', 'make_private', 'clear', 'set_uptodate') "
        "GROUP BY pfn ORDER BY prepares DESC, pfn",
    ),
    "retries": (
        "faults given up, by reason and task",
        "SELECT reason, actor, count(*) AS retries FROM events WHERE event = 'retry' "
        "GROUP BY ALL ORDER BY retries DESC, reason, actor",
    ),
    "results": (
        "to what functions came, by function and result",
        "SELECT event, ret, count(*) AS times FROM events WHERE ret IS NOT NULL "
        "GROUP BY ALL ORDER BY event, times DESC, ret",
    ),
    "faults": (
        "faults by result, with median and 99th percentile of their time",
        "SELECT ret, count(*) AS faults, quantile_cont(ns, 0.5) AS p50_ns, quantile_cont(ns, 0.99) AS p99_ns, "
        "max(ns) AS max_ns FROM faults GROUP BY ret ORDER BY faults DESC",
    ),
    "counts": (
        "events by name and task",
        "SELECT event, actor, count(*) AS times FROM events GROUP BY ALL ORDER BY times DESC, event, actor",
    ),
}

_VIEWS: Final = """
CREATE VIEW holds AS
WITH taken AS (
    SELECT seq, t, actor, event, lock, mode FROM events WHERE event IN ('lock', 'unlock')
),
born AS (
    -- A folio is locked when it is added to the page cache, which no event of the lock says.
    SELECT max_by(a.seq, a.seq) AS seq, max_by(a.t, a.seq) AS t, u.actor, 'lock' AS event, u.lock, u.mode
    FROM (
        SELECT *, lag(event, 1, 'unlock') OVER own AS last_event, lag(seq, 1, -1) OVER own AS last_seq,
            TRY_CAST(regexp_extract(lock, 'folio\\[(\\d+)\\]$', 1) AS HUGEINT) AS folio
        FROM taken WINDOW own AS (PARTITION BY actor, lock, mode ORDER BY seq)
    ) u JOIN events a
        ON a.event = 'filemap_add' AND a.actor = u.actor AND a.index = u.folio AND a.seq BETWEEN u.last_seq AND u.seq
    WHERE u.event = 'unlock' AND u.last_event = 'unlock'
    GROUP BY u.seq, u.actor, u.lock, u.mode
)
SELECT lock, mode, actor, seq AS from_seq, CASE WHEN next_event = 'unlock' THEN next_seq END AS to_seq, t AS from_t,
    CASE WHEN next_event = 'unlock' THEN next_t END AS to_t, CASE WHEN next_event = 'unlock' THEN next_t - t END AS ns
FROM (
    SELECT *, lead(event) OVER own AS next_event, lead(seq) OVER own AS next_seq, lead(t) OVER own AS next_t
    FROM (SELECT * FROM taken UNION ALL SELECT * FROM born)
    WINDOW own AS (PARTITION BY actor, lock, mode ORDER BY seq)
) WHERE event = 'lock';
CREATE VIEW waits AS
WITH asked AS (
    -- Who waits does nothing else: if it does, it gave up.
    SELECT *, CASE WHEN lead(lock) OVER own = lock AND lead(event) OVER own IN ('contended', 'lock')
        THEN lead(t) OVER own END AS got
    FROM events WHERE event <> 'access'
    WINDOW own AS (PARTITION BY actor ORDER BY seq)
)
SELECT w.lock, w.mode, w.actor, w.seq, w.t, w.got - w.t AS ns, max_by(h.actor, h.from_seq) AS holder
FROM asked w LEFT JOIN holds h
    ON h.lock = w.lock AND h.actor <> w.actor AND h.from_seq < w.seq AND (h.to_seq IS NULL OR w.seq < h.to_seq)
WHERE w.event = 'contended'
GROUP BY ALL;
CREATE VIEW faults AS
SELECT actor, gfn, seq, t, next_t - t AS ns, next_ret AS ret
FROM (
    SELECT *, lead(t) OVER own AS next_t, lead(ret) OVER own AS next_ret
    FROM events WHERE event IN ('tdp_fault', 'tdp_fault_ret')
    WINDOW own AS (PARTITION BY actor ORDER BY seq)
) WHERE event = 'tdp_fault';
"""


class Missing(BadInput):
    """DuckDB is not installed."""


class NotSql(BadInput):
    """DuckDB refuses the query; the message is one line."""


class Answer:
    """Rows under their column names.

    Attributes:
        broken_off: events of a log that breaks off, which was expected; None: it is whole.
    """

    def __init__(self, columns: list[str], rows: list[tuple[Any, ...]], broken_off: int | None) -> None:
        self.columns = columns
        self.rows = rows
        self.broken_off = broken_off


def ask(
    path: str | os.PathLike[str], sql: str, *, parquet: Path | None = None, partial: bool = False
) -> Answer:
    """The answer of a log to a query.

    Args:
        sql: a statement, or the name of a ready-made query.
        parquet: write the answer there, whole or not at all; it is returned all the same.
        partial: take a log that breaks off up to its last whole line.

    Raises:
        LogError: the log cannot be read, or is damaged; the Parquet file cannot be written.
        Missing, NotSql: see there.
    """
    try:
        import duckdb
    except ImportError:
        raise Missing("queries need DuckDB: pip install 'gmemsim[query]'") from None
    sql = READY[sql][1] if sql in READY else sql
    temporary = (
        None if parquet is None else parquet.with_name(f".{parquet.name[:200]}.{secrets.token_hex(6)}.tmp")
    )
    with duckdb.connect(config={"python_enable_replacements": False}) as connection:
        broken_off = _load(connection, path, partial)
        try:
            if temporary is not None:
                connection.execute(f"SET allowed_paths = ['{_quoted(temporary)}']")
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            found = connection.execute(sql)
            if found.description is None:
                raise NotSql("the query has no answer: expected a SELECT")
            answer = Answer([column[0] for column in found.description], found.fetchall(), broken_off)
            if temporary is not None and parquet is not None:
                connection.execute(
                    f"COPY ({sql.strip().rstrip(';')}) TO '{_quoted(temporary)}' (FORMAT parquet)"
                )
                temporary.replace(parquet)
        except duckdb.Error as error:
            raise NotSql(" ".join(str(error).split())) from None
        except OSError as error:
            raise LogError(parquet, error.strerror or str(error)) from None
        finally:
            if temporary is not None:
                temporary.unlink(missing_ok=True)
    return answer


def _load(connection: duckdb.DuckDBPyConnection, path: str | os.PathLike[str], partial: bool) -> int | None:
    """Check the log, and make its tables; how many events there are if it breaks off."""
    log = read_log(path, partial=partial)
    events = sum(1 for _ in log)
    types: dict[str, str] = {"seq": "BIGINT", "t": "BIGINT", "actor": "VARCHAR", "event": "VARCHAR"}
    for cls in vocabulary().values():
        for field in structs.fields(cls):
            kind = {int: "HUGEINT", bool: "BOOLEAN"}.get(field.type, "VARCHAR")
            types[field.name] = kind if types.get(field.name, kind) == kind else "VARCHAR"
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in types.items())
    packed = ", compression = 'zstd'" if str(path).endswith(".zst") else ""
    # Header and end line are no events, and a line that breaks off is none.
    connection.execute(
        f"CREATE TABLE events AS SELECT * FROM read_json('{_quoted(Path(path))}', format = 'newline_delimited', "
        f"columns = {{{columns}}}, ignore_errors = true{packed}) "
        f"WHERE event IS NOT NULL AND seq < {events} ORDER BY seq"
    )
    (taken,) = connection.execute("SELECT count(*) FROM events").fetchall()[0]
    if taken != events:
        raise LogError(path, f"DuckDB takes {taken} of {events} events: a value that its columns cannot hold")
    connection.execute(_VIEWS)
    return events if log.broken_off else None


def _quoted(path: Path) -> str:
    """For a literal of SQL. DuckDB takes `*`, `?` and brackets in a name for patterns."""
    text = str(path.resolve())
    if any(char in text for char in "*?[]"):
        raise LogError(path, "DuckDB cannot open a file whose name has *, ? or brackets")
    return text.replace("'", "''")
