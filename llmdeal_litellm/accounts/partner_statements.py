"""Statements of partners: every charge they earned a share of, and every refund that took it back.

Read in pages, in the order of time; the totals and the end of the statement are read in one snapshot before.
Amounts are nano-USD, times microseconds of Unix time, shares basis points.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from llmdeal_litellm.accounts.partners import SELECT_NAMED, NoSuchPartner, Partner, read_partner
from llmdeal_litellm.ledger.database import Database
from llmdeal_litellm.ledger.ops import PAYABLE, REFUND

PAGE_ENTRIES = 1000

FROM_RECORDS = (
    "FROM records r LEFT JOIN house_entries h ON h.account_id = r.account_id AND h.wallet = r.wallet "
    "AND h.version = r.version AND h.house = :house WHERE r.payee = :payee "
)
SELECT_PAGE = (
    "SELECT r.account_id, r.wallet, r.version, r.at_us, r.request_id, r.leg, r.alias, r.rule, "
    "r.input_tokens, r.output_tokens, -r.balance_change, r.payee_share, COALESCE(h.amount, 0) "
    f"{FROM_RECORDS} AND r.at_us >= :since_us AND r.at_us < :until_us "
    "AND (r.at_us > :at_us OR r.at_us = :at_us AND (r.account_id > :account OR r.account_id = :account "
    "AND (r.wallet > :wallet OR r.wallet = :wallet AND r.version > :version))) "
    "ORDER BY r.at_us, r.account_id, r.wallet, r.version LIMIT :page"
)
SELECT_BEFORE = f"SELECT CAST(COALESCE(sum(h.amount), 0) AS BIGINT) {FROM_RECORDS} AND r.at_us < :at_us"


@dataclass(frozen=True, slots=True)
class PartnerEntry:
    """A charge that the partner has a share of, or a refund of one (negative). `payable_after` is what he was
    owed then."""

    at_us: int
    request_id: str
    leg: int
    alias: str
    rule: str
    input_tokens: int | None
    output_tokens: int | None
    charged: int
    share: int
    payable_change: int
    payable_after: int

    @property
    def is_refund(self) -> bool:
        """Whether it takes back what a charge had brought."""
        return self.rule == REFUND


@dataclass(frozen=True, slots=True)
class PartnerStatement:
    """The part of a partner's history from `since_us` until `until_us`; `opening`: what was owed before."""

    partner: Partner
    since_us: int
    until_us: int
    opening: int


def partner_statement(
    database: Database, name: str, *, since_us: int = 0, until_us: int | None = None
) -> PartnerStatement:
    """A statement from a moment until another, by default of everything until now. Raises NoSuchPartner,
    StoreFailed."""
    row = database.row(SELECT_NAMED, (name,))
    if row is None:
        raise NoSuchPartner(name)
    partner = read_partner(row)
    values = {"house": PAYABLE + partner.id, "payee": partner.id, "at_us": since_us}
    opening = int(database.rows(SELECT_BEFORE, values)[0][0])
    until_us = database.now_us() + 1 if until_us is None else until_us
    return PartnerStatement(partner, since_us, until_us, opening)


def partner_pages(
    database: Database, statement: PartnerStatement, page_entries: int = PAGE_ENTRIES
) -> Iterator[list[PartnerEntry]]:
    """The entries of a statement, up to `page_entries` at a time. Raises StoreFailed."""
    payable = statement.opening
    place: dict[str, object] = {"at_us": -1, "account": "", "wallet": "", "version": 0}
    fixed = {
        "house": PAYABLE + statement.partner.id,
        "payee": statement.partner.id,
        "since_us": statement.since_us,
        "until_us": statement.until_us,
        "page": page_entries,
    }
    while rows := database.rows(SELECT_PAGE, {**fixed, **place}):
        page: list[PartnerEntry] = []
        for row in rows:
            payable += row[-1]
            page.append(PartnerEntry(*(*row[3:], payable)))
        yield page
        place = dict(zip(("account", "wallet", "version", "at_us"), rows[-1][:4], strict=True))
