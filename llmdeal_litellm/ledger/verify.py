"""The ledger's invariants, checked against what is stored.

Each account is read in one snapshot of its own: exact while the gateway writes, and short enough for the
WAL to be checkpointed in between. The checks do not overlap, so the name of the one that fails says what
is wrong. Source: docs/ledger.md, "Invariants".
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from llmdeal_litellm.ledger.database import Database
from llmdeal_litellm.ledger.transfers import rates_from
from llmdeal_litellm.money import Rates, charge

PROBLEMS_MAX = 20
LEASE_GRACE_US = 60_000_000

Values = Mapping[str, object]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Check:
    """One invariant over the whole ledger. `problems` holds the first 20; `looked_at` counts rows."""

    name: str
    ok: bool
    problems: tuple[str, ...]
    looked_at: int


@dataclass(frozen=True, slots=True)
class _Rule:
    """A statement whose every row is a problem, and how to say it."""

    check: str
    select: str
    said: str


ACCOUNTS = (
    "SELECT id FROM accounts UNION SELECT account_id FROM wallets UNION SELECT account_id FROM keys "
    "UNION SELECT account_id FROM open_holds UNION SELECT account_id FROM records "
    "UNION SELECT account_id FROM house_entries ORDER BY 1"
)

LOOKED_AT = {
    "double_entry": "SELECT count(*) FROM records WHERE account_id = :account",
    "balances": "SELECT count(*) FROM wallets WHERE account_id = :account",
    "never_negative": "SELECT count(*) FROM records WHERE account_id = :account",
    "chain": "SELECT count(*) FROM records WHERE account_id = :account",
    "holds_end_once": "SELECT count(*) FROM records WHERE account_id = :account AND kind = 'hold'",
    "charges": "SELECT count(*) FROM records WHERE account_id = :account AND kind = 'post'",
    "shares": "SELECT count(*) FROM records WHERE account_id = :account AND payee IS NOT NULL",
    "keys": "SELECT count(*) FROM keys WHERE account_id = :account",
    "leases": "SELECT count(*) FROM open_holds WHERE account_id = :account",
}

RULES = (
    _Rule(
        "double_entry",
        """
        SELECT wallet, version, sum(change), sum(house) FROM (
          SELECT wallet, version, balance_change AS change, 0 AS house, 1 AS is_record
          FROM records WHERE account_id = :account
          UNION ALL
          SELECT wallet, version, 0, amount, 0 FROM house_entries WHERE account_id = :account
        ) AS sides GROUP BY wallet, version HAVING sum(change) + sum(house) <> 0 OR max(is_record) = 0
        """,
        "{} version {}: the record changes the balance by {}, its house entries add up to {}",
    ),
    _Rule(
        "balances",
        """
        SELECT wallet, sum(balance), sum(recorded), sum(held), sum(opened) FROM (
          SELECT wallet, balance, 0 AS recorded, held, 0 AS opened, 1 AS is_wallet
          FROM wallets WHERE account_id = :account
          UNION ALL
          SELECT wallet, 0, balance_change, 0, 0, 0 FROM records WHERE account_id = :account
          UNION ALL
          SELECT wallet, 0, 0, 0, amount, 0 FROM open_holds WHERE account_id = :account
        ) AS sides GROUP BY wallet
        HAVING sum(balance) <> sum(recorded) OR sum(held) <> sum(opened) OR max(is_wallet) = 0
        """,
        "{}: the balance is {} and its records add up to {}; {} is held and its open holds add up to {}",
    ),
    _Rule(
        "never_negative",
        """
        SELECT wallet, version, balance_after, held_after FROM records WHERE account_id = :account
        AND (held_after < 0 OR balance_after < held_after) ORDER BY wallet, version
        """,
        "{} version {}: balance {}, held {}",
    ),
    _Rule(
        "chain",
        """
        SELECT wallet, version, version_before FROM (
          SELECT wallet, version, balance_change, held_change, balance_after, held_after,
            lag(version, 1, 0) OVER in_order AS version_before,
            lag(balance_after, 1, 0) OVER in_order AS balance_before,
            lag(held_after, 1, 0) OVER in_order AS held_before
          FROM records WHERE account_id = :account WINDOW in_order AS (PARTITION BY wallet ORDER BY version)
        ) AS steps WHERE version <> version_before + 1
          OR balance_after <> balance_before + balance_change OR held_after <> held_before + held_change
        """,
        "{} version {} does not follow from version {}",
    ),
    _Rule(
        "chain",
        """
        SELECT w.wallet, w.version, COALESCE(max(r.version), 0) FROM wallets w
        LEFT JOIN records r ON r.account_id = w.account_id AND r.wallet = w.wallet
        WHERE w.account_id = :account GROUP BY w.wallet, w.version
        HAVING w.version <> COALESCE(max(r.version), 0)
        """,
        "{} is at version {}, its last record is version {}",
    ),
    _Rule(
        "holds_end_once",
        """
        SELECT wallet, request_id, leg, sum(begun), sum(ended), sum(opened) FROM (
          SELECT wallet, request_id, leg, CASE WHEN kind = 'hold' THEN 1 ELSE 0 END AS begun,
            CASE WHEN kind = 'hold' THEN 0 ELSE 1 END AS ended, 0 AS opened
          FROM records WHERE account_id = :account AND kind IN ('hold', 'post', 'void')
          UNION ALL
          SELECT wallet, request_id, leg, 0, 0, 1 FROM open_holds WHERE account_id = :account
        ) AS lives GROUP BY wallet, request_id, leg HAVING sum(begun) <> 1 OR sum(ended) + sum(opened) <> 1
        """,
        "{} request {} leg {}: {} hold records, {} ends, {} open holds",
    ),
    _Rule(
        "charges",
        """
        SELECT wallet, version, kind, balance_change FROM records WHERE account_id = :account
        AND balance_change <> 0 AND kind IN ('hold', 'extend', 'void') ORDER BY wallet, version
        """,
        "{} version {}: a {} changes the balance by {}",
    ),
    _Rule(
        "shares",
        """
        SELECT r.wallet, r.version, -r.balance_change, COALESCE(r.payee, 'nobody'), COALESCE(max(h.share), 0)
        FROM records r LEFT JOIN (
          SELECT wallet, version, house, sum(amount) AS share FROM house_entries
          WHERE account_id = :account AND house LIKE 'payable:%' GROUP BY wallet, version, house
        ) AS h ON h.wallet = r.wallet AND h.version = r.version
        WHERE r.account_id = :account AND (r.payee IS NOT NULL OR h.house IS NOT NULL)
        GROUP BY r.wallet, r.version, r.balance_change, r.payee, r.payee_share
        HAVING COALESCE(max(h.share), 0) <> CASE WHEN r.balance_change > 0
            THEN -(r.balance_change * COALESCE(r.payee_share, 0) / 10000)
            ELSE -r.balance_change * COALESCE(r.payee_share, 0) / 10000 END
          OR count(h.house) > 1 OR max(h.house) <> 'payable:' || r.payee
        """,
        "{} version {}: {} was charged, and the share of {} is booked as {}",
    ),
    _Rule(
        "shares",
        """
        SELECT r.wallet, r.version, r.balance_change, r.request_id, r.leg FROM records r
        LEFT JOIN records p ON p.account_id = r.account_id AND p.wallet = r.wallet AND p.kind = 'post'
          AND p.request_id = r.request_id AND p.leg = r.leg AND p.balance_change = -r.balance_change
          AND COALESCE(p.payee, '') = COALESCE(r.payee, '')
          AND COALESCE(p.payee_share, 0) = COALESCE(r.payee_share, 0)
        WHERE r.account_id = :account AND r.rule = 'refund' AND p.version IS NULL
        """,
        "{} version {}: {} was given back for request {} leg {}, which is not what it was charged",
    ),
    _Rule(
        "keys",
        """
        SELECT key_id, sum(spent), sum(charged), sum(held), sum(amount), sum(holds), sum(opened) FROM (
          SELECT id AS key_id, spent, 0 AS charged, held, 0 AS amount, open_holds AS holds, 0 AS opened
          FROM keys WHERE account_id = :account
          UNION ALL
          SELECT key_id, 0, -balance_change, 0, 0, 0, 0 FROM records
          WHERE account_id = :account AND kind = 'post'
          UNION ALL
          SELECT key_id, 0, 0, 0, amount, 0, 1 FROM open_holds WHERE account_id = :account
        ) AS sides GROUP BY key_id HAVING sum(spent) <> sum(charged) OR sum(held) <> sum(amount)
          OR sum(holds) <> sum(opened)
        """,
        "{}: spent {} of charges {}, held {} of open holds {}, which are {} and should be {}",
    ),
    _Rule(
        "leases",
        """
        SELECT wallet, request_id, leg, lease_owner, lease_until_us FROM open_holds
        WHERE account_id = :account AND lease_until_us < :lease_floor_us ORDER BY lease_until_us
        """,
        "{} request {} leg {}: open past the lease of {}, which ended at {} us",
    ),
)

POSTS = """
WITH held AS (
  SELECT wallet, request_id, leg, sum(held_change) AS amount, sum(input_tokens) AS input_part,
    sum(output_tokens) AS output_limit, max(rates) AS rates
  FROM records WHERE account_id = :account AND kind IN ('hold', 'extend') GROUP BY wallet, request_id, leg
)
SELECT p.wallet, p.version, -p.balance_change, p.input_tokens, p.output_tokens, p.cached_tokens,
  h.amount, h.input_part, h.output_limit, h.rates
FROM records p JOIN held h ON h.wallet = p.wallet AND h.request_id = p.request_id AND h.leg = p.leg
WHERE p.account_id = :account AND p.kind = 'post'
"""


def verify(
    database: Database,
    *,
    now_us: int,
    progress: Progress | None = None,
    accounts: Sequence[str] | None = None,
) -> list[Check]:
    """Check `accounts`, by default every one; one Check per invariant, in the order of docs/ledger.md.

    `now_us` is what leases are compared with. `progress` is called after each account with how many are
    done and how many there are. Raises StoreFailed when the store cannot be read.
    """
    problems: dict[str, list[str]] = {name: [] for name in LOOKED_AT}
    looked_at = dict.fromkeys(LOOKED_AT, 0)
    if accounts is None:
        accounts = [str(row[0]) for row in database.rows(ACCOUNTS)]
    for done, account in enumerate(accounts, start=1):
        values = {"account": account, "lease_floor_us": now_us - LEASE_GRACE_US}
        with database.snapshot():
            for name, select in LOOKED_AT.items():
                looked_at[name] += int(database.rows(select, values)[0][0])
            for check, problem in _problems(database, values):
                if len(problems[check]) < PROBLEMS_MAX:
                    problems[check].append(f"{account} {problem}")
        if progress is not None:
            progress(done, len(accounts))
    return [Check(name, not found, tuple(found), looked_at[name]) for name, found in problems.items()]


def _problems(database: Database, values: Values) -> Iterator[tuple[str, str]]:
    """Name of the check and the problem, at most 20 of each rule."""
    for rule in RULES:
        for row in database.rows(f"{rule.select} LIMIT {PROBLEMS_MAX}", values):
            yield rule.check, rule.said.format(*row)
    # An account may have more charges than fit in memory.
    with closing(database.each(POSTS, values)) as posts:
        wrong = ((w, version, said) for w, version, *post in posts if (said := post_problem(*post)))
        for wallet, version, said in islice(wrong, PROBLEMS_MAX):
            yield "charges", f"{wallet} version {version}: {said}"


def post_problem(
    charged: int,
    input_tokens: int | None,
    output_tokens: int | None,
    cached_tokens: int | None,
    amount: int,
    input_part: int | None,
    output_limit: int | None,
    rates: str | None,
) -> str:
    """What is wrong with one charge, or an empty string."""
    try:
        due = charge(_rates(rates or ""), input_tokens or 0, output_tokens or 0, cached_tokens or 0)
    except (ValueError, TypeError, IndexError):
        return f"charged {charged}, but its rates or token counts cannot be read"
    if charged != due:
        return (
            f"charged {charged}, but {input_tokens} + {output_tokens} tokens at the hold's rates cost {due}"
        )
    if charged > amount:
        return f"charged {charged} against a hold of {amount}"
    if (input_tokens or 0) > (input_part or 0) or (output_tokens or 0) > (output_limit or 0):
        return (
            f"billed {input_tokens} + {output_tokens} tokens, the hold covers {input_part} + {output_limit}"
        )
    return ""


@lru_cache(maxsize=256)
def _rates(text: str) -> Rates:
    return rates_from(text)
