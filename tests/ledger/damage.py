"""What can be wrong with a ledger that `test_verify.lived` made: a row for each damage, with the check that
must notice it. A colon in a statement would name a value, so the partner's account is found by a pattern."""

from llmdeal_litellm.ledger.verify import LEASE_GRACE_US

from .bank import LEASE

FROM_FIRST = "FROM accounts WHERE name = 'acme'"
FIRST = "account_id = (SELECT id FROM accounts WHERE name = 'acme')"
FROM_BASE = f"FROM wallets WHERE {FIRST} AND wallet = 'base'"
FIRST_KEY = f"id = (SELECT min(id) FROM keys WHERE {FIRST})"
LAST_VERSION = f"(SELECT version FROM wallets WHERE {FIRST} AND wallet = 'base')"


def _of(request: str, kind: str) -> str:
    return f"request_id = 'acme-{request}' AND kind = '{kind}'"


AT_SHARED = (
    f"version = (SELECT version FROM records WHERE {_of('shared', 'post')}) AND {FIRST} AND wallet = 'base'"
)


def _appended(*steps: tuple[str, int, int]) -> list[str]:
    """Statements that append records: kind, change of the balance, change of what is held."""
    statements, balance, held = [], 0, 0
    for place, (kind, balance_change, held_change) in enumerate(steps, start=1):
        balance, held = balance + balance_change, held + held_change
        statements.append(
            "INSERT INTO records (account_id, wallet, version, kind, balance_change, held_change, "
            f"balance_after, held_after, at_us) SELECT account_id, wallet, version + {place}, '{kind}', "
            f"{balance_change}, {held_change}, balance + {balance}, held + {held}, 0 {FROM_BASE}"
        )
        if balance_change:
            statements.append(
                f"INSERT INTO house_entries SELECT account_id, wallet, version + {place}, 'topups', "
                f"{-balance_change} {FROM_BASE}"
            )
    return [
        *statements,
        f"UPDATE wallets SET version = version + {len(steps)} WHERE {FIRST} AND wallet = 'base'",
    ]


DAMAGE = [
    (
        "double_entry",
        "an amount of the house is changed",
        [f"UPDATE house_entries SET amount = amount + 1 WHERE {FIRST} AND wallet = 'base' AND version = 1"],
    ),
    (
        "double_entry",
        "the house's side is missing",
        [f"DELETE FROM house_entries WHERE {FIRST} AND wallet = 'frontier' AND version = 1"],
    ),
    (
        "double_entry",
        "entries that cancel out belong to no record",
        [
            f"INSERT INTO house_entries SELECT id, 'base', 900, '{house}', {amount} {FROM_FIRST}"
            for house, amount in (("loss", -5), ("revenue", 5))
        ],
    ),
    (
        "double_entry",
        "an entry of an account that does not exist",
        ["INSERT INTO house_entries VALUES ('acct_nobody', 'base', 1, 'revenue', 5)"],
    ),
    ("balances", "a balance is raised by hand", [f"UPDATE wallets SET balance = balance + 1 WHERE {FIRST}"]),
    (
        "balances",
        "funds stay held without an open hold",
        [f"UPDATE wallets SET held = held + 1, balance = balance WHERE {FIRST} AND wallet = 'frontier'"],
    ),
    (
        "never_negative",
        "more was taken than was there, and paid in later",
        _appended(("dispute", -700_000, 0), ("credit", 700_000, 0)),
    ),
    (
        "never_negative",
        "more was held than was there, for a while",
        _appended(("extend", 0, 700_000), ("extend", 0, -700_000)),
    ),
    (
        "never_negative",
        "less than nothing was held, for a while",
        _appended(("extend", 0, -700_000), ("extend", 0, 700_000)),
    ),
    (
        "chain",
        "the last record comes one version late",
        [
            f"UPDATE {table} SET version = version + 1 "
            f"WHERE {FIRST} AND wallet = 'base' AND version = {LAST_VERSION}"
            for table in ("records", "house_entries", "wallets")
        ],
    ),
    ("chain", "a version is skipped at the end", [f"UPDATE wallets SET version = version + 1 WHERE {FIRST}"]),
    (
        "chain",
        "what a wallet was afterwards is changed",
        [f"UPDATE records SET balance_after = balance_after + 1 WHERE {_of('void', 'hold')}"],
    ),
    (
        "chain",
        "what was held afterwards is changed",
        [f"UPDATE records SET held_after = held_after + 1 WHERE {_of('void', 'hold')}"],
    ),
    (
        "holds_end_once",
        "an end belongs to no hold, and a hold has no end",
        [f"UPDATE records SET request_id = 'acme-other' WHERE {_of('void', 'void')}"],
    ),
    (
        "holds_end_once",
        "an end belongs to no hold",
        [f"UPDATE records SET kind = 'extend' WHERE {_of('void', 'hold')}"],
    ),
    (
        "holds_end_once",
        "one hold ended twice, another never",
        [f"UPDATE records SET request_id = 'acme-void' WHERE {_of('empty', 'void')}"],
    ),
    (
        "holds_end_once",
        "an open hold has no record",
        ["UPDATE open_holds SET leg = 5 WHERE request_id = 'acme-open'"],
    ),
    (
        "holds_end_once",
        "a hold is both ended and open",
        ["UPDATE open_holds SET request_id = 'acme-void' WHERE request_id = 'acme-open'"],
    ),
    (
        "charges",
        "tokens were changed after they were billed",
        [f"UPDATE records SET output_tokens = output_tokens - 1 WHERE {_of('paid', 'post')}"],
    ),
    (
        "charges",
        "the rate was changed after it was frozen",
        [f"UPDATE records SET rates = '[2000,1000,2000]' WHERE {_of('paid', 'hold')}"],
    ),
    ("charges", "the rate is lost", [f"UPDATE records SET rates = NULL WHERE {_of('paid', 'hold')}"]),
    (
        "charges",
        "cached tokens were forgotten",
        [f"UPDATE records SET cached_tokens = 0 WHERE {_of('long', 'post')}"],
    ),
    (
        "charges",
        "more input was billed than the hold covers",
        [f"UPDATE records SET input_tokens = 80 WHERE {_of('paid', 'hold')}"],
    ),
    (
        "charges",
        "more output was billed than the hold covers",
        [f"UPDATE records SET output_tokens = 150 WHERE {_of('paid', 'hold')}"],
    ),
    (
        "charges",
        "more output was billed than a hold was extended to",
        [f"UPDATE records SET output_tokens = 200 WHERE {_of('grown', 'extend')}"],
    ),
    (
        "charges",
        "the charge is above the hold",
        [
            "UPDATE records SET held_change = held_change - 1000, held_after = held_after - 1000 "
            f"WHERE {_of('paid', 'hold')}",
            f"UPDATE records SET held_change = held_change + 1000 WHERE {_of('paid', 'post')}",
        ],
    ),
    (
        "charges",
        "a hold that was given back took something",
        [
            f"UPDATE records SET kind = 'void' WHERE {_of('legs', 'post')}",
            f"UPDATE keys SET spent = spent - 15 WHERE {FIRST_KEY}",
        ],
    ),
    (
        "shares",
        "a partner was paid a nano-USD more, at the house's cost",
        [
            f"UPDATE house_entries SET amount = amount + 1 WHERE house LIKE 'payable_prt_1' AND {AT_SHARED}",
            f"UPDATE house_entries SET amount = amount - 1 WHERE house = 'revenue' AND {AT_SHARED}",
        ],
    ),
    (
        "shares",
        "another partner was paid",
        [
            "UPDATE house_entries SET house = replace(house, 'prt_1', 'prt_2') "
            f"WHERE house LIKE 'payable_prt_1' AND {AT_SHARED}"
        ],
    ),
    (
        "shares",
        "nobody was to be paid",
        [f"UPDATE records SET payee = NULL, payee_share = NULL WHERE {_of('shared', 'post')}"],
    ),
    (
        "shares",
        "the share was changed after it was paid",
        [f"UPDATE records SET payee_share = 6000 WHERE {_of('shared', 'post')}"],
    ),
    (
        "shares",
        "a refund is of another request",
        [f"UPDATE records SET request_id = 'acme-paid' WHERE {_of('refunded', 'credit')}"],
    ),
    ("keys", "spending is forgotten", [f"UPDATE keys SET spent = spent - 1 WHERE {FIRST_KEY}"]),
    ("keys", "a key holds more than its open holds", [f"UPDATE keys SET held = held + 1 WHERE {FIRST_KEY}"]),
    (
        "keys",
        "a key has more open holds than there are",
        [f"UPDATE keys SET open_holds = open_holds + 1 WHERE {FIRST_KEY}"],
    ),
    (
        "keys",
        "a charge is on a key of another account",
        [
            f"UPDATE records SET key_id = (SELECT id FROM keys WHERE NOT {FIRST} LIMIT 1) "
            f"WHERE {_of('paid', 'post')}"
        ],
    ),
    (
        "leases",
        "an open hold is far past its lease",
        [
            f"UPDATE open_holds SET lease_until_us = lease_until_us - {LEASE.us + LEASE_GRACE_US + 1} "
            "WHERE request_id = 'acme-open'"
        ],
    ),
]
