"""What money does, as statements that can be checked with a pencil."""

import pytest

from llmdeal_litellm.ledger.transfers import CLAIM_TOKENS_BOOKED_MAX
from llmdeal_litellm.limits import EMPTY_ANSWER_REFUNDS_PER_DAY, OPEN_HOLDS_PER_KEY_MAX

from .bank import Bank
from .places import Place
from .statement import Statement

VALID = {
    "a request is held, then charged what it used": """
        credit 1000                  -> ok                              | 1000 / 0
        hold r1 100+500              -> held 600 for 100+500            | 1000 / 600
        post r1 100+200              -> charged 300, completed          | 700 / 0
        house                        -> revenue 300, topups -1000
        key k1                       -> spent 300, held 0
    """,
    "a request that uses all of its hold": """
        credit 600                   -> ok                              | 600 / 0
        hold r1 100+500              -> held 600 for 100+500            | 600 / 600
        post r1 100+500              -> charged 600, completed          | 0 / 0
    """,
    "a request that fails is given back": """
        credit 1000                  -> ok                              | 1000 / 0
        hold r1 100+500              -> held 600 for 100+500            | 1000 / 600
        void r1                      -> charged 0, failed_before_output | 1000 / 0
        house                        -> topups -1000
        key k1                       -> spent 0, held 0
    """,
    "a charge of nothing is still an end": """
        credit 1000                  -> ok                              | 1000 / 0
        hold r1 100+500              -> held 600 for 100+500            | 1000 / 600
        post r1 0+0                  -> charged 0, completed            | 1000 / 0
    """,
    "short of funds the output limit is lowered first": """
        credit 400                   -> ok                              | 400 / 0
        hold r1 100+500 bound=200    -> held 400 for 200+200            | 400 / 400
    """,
    "then the input part, down to the own count and the floor of 64": """
        credit 164                   -> ok                              | 164 / 0
        hold r1 100+500 bound=200    -> held 164 for 100+64             | 164 / 164
        post r1 100+64               -> charged 164, completed          | 0 / 0
    """,
    "a caller's own limit below 64 is the floor": """
        credit 110                   -> ok                              | 110 / 0
        hold r1 100+10 bound=200     -> held 110 for 100+10             | 110 / 110
    """,
    "parallel requests share what is available": """
        credit 1000                  -> ok                              | 1000 / 0
        hold r1 100+500              -> held 600 for 100+500            | 1000 / 600
        hold r2 100+500              -> held 400 for 100+300            | 1000 / 1000
        post r1 100+100              -> charged 200, completed          | 800 / 400
        hold r3 100+200              -> held 300 for 100+200            | 800 / 700
    """,
    "two legs of one request end apart": """
        credit 1000                  -> ok                              | 1000 / 0
        hold r1 100+100              -> held 200 for 100+100            | 1000 / 200
        hold r1 100+300 leg1         -> held 400 for 100+300            | 1000 / 600
        void r1                      -> charged 0, failed_before_output | 1000 / 400
        post r1 100+50 leg1          -> charged 150, completed          | 850 / 0
    """,
    "Frontier Credits are another balance": """
        credit 1000                  -> ok                              | 1000 / 0
        credit 500 frontier          -> ok                              | 500 / 0
        hold r1 100+200 frontier     -> held 300 for 100+200            | 500 / 300
        post r1 100+200 frontier     -> charged 300, completed          | 200 / 0
        house                        -> revenue 300, topups -1500
    """,
    "a cap bounds what a key may hold, others are free": """
        credit 1000                  -> ok                              | 1000 / 0
        cap k1 300                   -> ok                              | 1000 / 0
        hold r1 100+500              -> held 300 for 100+200            | 1000 / 300
        hold r2 100+500 key=k2       -> held 600 for 100+500            | 1000 / 900
        post r1 100+50               -> charged 150, completed          | 850 / 600
        hold r3 50+90                -> held 140 for 50+90              | 850 / 740
    """,
    "a caller who left before the request was sent pays nothing, after that for what was produced": """
        credit 1000                  -> ok                              | 1000 / 0
        hold r1 100+500              -> held 600 for 100+500            | 1000 / 600
        left r1 100+7                -> charged 107, caller_left        | 893 / 0
    """,
    "a crash before output gives back, and what it cost us is a loss": """
        credit 1000                  -> ok                              | 1000 / 0
        hold r1 100+500 paid=2       -> held 600 for 100+500            | 1000 / 600
        crash                        -> 1 ended                         | 1000 / 0
        house                        -> loss -200, topups -1000, upstream_cost 200
        last                         -> void crash_undelivered None None None None None
    """,
    "a crash after output charges the input and what was marked": """
        credit 1000                  -> ok                              | 1000 / 0
        hold r1 100+500 bound=200    -> held 700 for 200+500            | 1000 / 700
        mark r1 40                   -> marked                          | 1000 / 700
        mark r1 70                   -> marked                          | 1000 / 700
        mark r1 50                   -> marked                          | 1000 / 700
        crash                        -> 1 ended                         | 830 / 0
        house                        -> revenue 170, topups -1000
        last                         -> post crash_delivered 100 70 None None None
    """,
    "a mark above the output limit counts as the limit": """
        credit 1000                  -> ok                              | 1000 / 0
        hold r1 100+500              -> held 600 for 100+500            | 1000 / 600
        mark r1 90000                -> marked                          | 1000 / 600
        crash                        -> 1 ended                         | 400 / 0
    """,
    "a crash ends the holds of frozen accounts and revoked keys too": """
        credit 1000                  -> ok                              | 1000 / 0
        hold r1 100+100              -> held 200 for 100+100            | 1000 / 200
        hold r2 100+100 key=k2       -> held 200 for 100+100            | 1000 / 400
        revoke k1                    -> ok                              | 1000 / 400
        freeze                       -> ok                              | 1000 / 400
        crash                        -> 2 ended                         | 1000 / 0
        crash                        -> 0 ended                         | 1000 / 0
    """,
    "an upstream that claims more than is billed costs the house, not the caller": """
        credit 1000                  -> ok                              | 1000 / 0
        hold r1 100+500 paid=2       -> held 600 for 100+500            | 1000 / 600
        post r1 100+200 marked claim=150+900 -> charged 300, completed  | 700 / 0
        house                        -> loss -1500, revenue 300, topups -1000, upstream_cost 1500
        last                         -> post completed 100 200 150 900 output_claim_implausible
    """,
    "an upstream that claims less is no gain to book": """
        credit 1000                  -> ok                              | 1000 / 0
        hold r1 100+500 paid=2       -> held 600 for 100+500            | 1000 / 600
        post r1 100+200 claim=90+100 -> charged 300, completed          | 700 / 0
        house                        -> revenue 300, topups -1000
    """,
    "a dispute takes back the payment and freezes the account": """
        credit 1000                  -> ok                              | 1000 / 0
        dispute 400                  -> ok                              | 600 / 0
        house                        -> topups -600
        hold r1 1+64                 -> refused, frozen                 | 600 / 0
    """,
    "credits add up, and a credit of nothing is a record": """
        credit 1000                  -> ok                              | 1000 / 0
        credit 0                     -> ok                              | 1000 / 0
        credit 1                     -> ok                              | 1001 / 0
    """,
}

INVALID = {
    "no funds": """
        hold r1 100+500              -> refused, funds: needs 164, has 0, held 0    | 0 / 0
        house                        -> nothing
    """,
    "one token short of the own count and the floor": """
        credit 163                   -> ok                                          | 163 / 0
        hold r1 100+500              -> refused, funds: needs 164, has 163, held 0  | 163 / 0
        credit 1                     -> ok                                          | 164 / 0
        hold r1 100+500              -> held 164 for 100+64                         | 164 / 164
    """,
    "one token short of the preview's expectation": """
        credit 399                   -> ok                                          | 399 / 0
        hold r1 100+500 expected=400 -> refused, funds: needs 400, has 399, held 0  | 399 / 0
        credit 1                     -> ok                                          | 400 / 0
        hold r1 100+500 expected=400 -> held 400 for 100+300                        | 400 / 400
    """,
    "what parallel requests hold is said": """
        credit 600                   -> ok                                          | 600 / 0
        hold r1 100+450              -> held 550 for 100+450                        | 600 / 550
        hold r2 100+500              -> refused, funds: needs 164, has 50, held 550 | 600 / 550
    """,
    "the other wallet's money does not count": """
        credit 1000                  -> ok                                          | 1000 / 0
        hold r1 100+200 frontier     -> refused, funds: needs 164, has 0, held 0    | 0 / 0
        credit 1000 frontier         -> ok                                          | 1000 / 0
        dispute 1000                 -> ok                                          | 0 / 0
        hold r2 100+200 frontier     -> refused, frozen                             | 1000 / 0
    """,
    "a cap below the request, though the wallet could pay": """
        credit 1000                  -> ok                                          | 1000 / 0
        cap k1 163                   -> ok                                          | 1000 / 0
        hold r1 100+500              -> refused, key_cap: needs 164, has 163, held 0 | 1000 / 0
        cap k1 0                     -> ok                                          | 1000 / 0
        hold r1 100+500              -> refused, key_cap: needs 164, has 0, held 0  | 1000 / 0
    """,
    "a cap counts what is held and what was charged": """
        credit 1000                  -> ok                                          | 1000 / 0
        cap k1 500                   -> ok                                          | 1000 / 0
        hold r1 100+200              -> held 300 for 100+200                        | 1000 / 300
        hold r2 100+200              -> held 200 for 100+100                        | 1000 / 500
        hold r3 1+64                 -> refused, key_cap: needs 65, has 0, held 500 | 1000 / 500
        post r1 100+200              -> charged 300, completed                      | 700 / 200
        void r2                      -> charged 0, failed_before_output             | 700 / 0
        hold r4 100+200              -> held 200 for 100+100                        | 700 / 200
        post r4 100+100              -> charged 200, completed                      | 500 / 0
        hold r5 1+64                 -> refused, key_cap: needs 65, has 0, held 0   | 500 / 0
    """,
    "a cap lowered below what was spent": """
        credit 1000                  -> ok                                          | 1000 / 0
        hold r1 100+200              -> held 300 for 100+200                        | 1000 / 300
        cap k1 100                   -> ok                                          | 1000 / 300
        post r1 100+200              -> charged 300, completed                      | 700 / 0
        hold r2 1+64                 -> refused, key_cap: needs 65, has 0, held 0   | 700 / 0
    """,
    "a wallet that is short is named before a cap that would do": """
        credit 100                   -> ok                                          | 100 / 0
        cap k1 500                   -> ok                                          | 100 / 0
        hold r1 100+500              -> refused, funds: needs 164, has 100, held 0  | 100 / 0
    """,
    "a revoked key": """
        credit 1000                  -> ok                                          | 1000 / 0
        hold r1 100+100              -> held 200 for 100+100                        | 1000 / 200
        revoke k1                    -> ok                                          | 1000 / 200
        hold r2 1+64                 -> refused, revoked                            | 1000 / 200
        hold r3 1+64 key=k2          -> held 65 for 1+64                            | 1000 / 265
        post r1 100+100              -> charged 200, completed                      | 800 / 65
    """,
    "a frozen account, until it is released": """
        credit 1000                  -> ok                                          | 1000 / 0
        hold r1 100+100              -> held 200 for 100+100                        | 1000 / 200
        freeze                       -> ok                                          | 1000 / 200
        hold r2 1+64                 -> refused, frozen                             | 1000 / 200
        hold r3 1+64 key=k2          -> refused, frozen                             | 1000 / 200
        post r1 100+100              -> charged 200, completed                      | 800 / 0
        unfreeze                     -> ok                                          | 800 / 0
        hold r4 1+64                 -> held 65 for 1+64                            | 800 / 65
    """,
    "revoked comes before frozen, frozen before open holds, those before the cap, the cap before funds": f"""
        credit 32                    -> ok                                          | 32 / 0
        {OPEN_HOLDS_PER_KEY_MAX}x hold a# 1+0 -> held 1 for 1+0                     | 32 / 32
        hold r1 1+64                 -> refused, open_holds                         | 32 / 32
        cap k1 0                     -> ok                                          | 32 / 32
        hold r1 1+64                 -> refused, open_holds                         | 32 / 32
        void a0                      -> charged 0, failed_before_output             | 32 / 31
        hold r1 1+64                 -> refused, key_cap: needs 65, has 0, held 31  | 32 / 31
        freeze                       -> ok                                          | 32 / 31
        hold r1 1+64                 -> refused, frozen                             | 32 / 31
        revoke k1                    -> ok                                          | 32 / 31
        hold r1 1+64                 -> refused, revoked                            | 32 / 31
    """,
    "the 33rd open hold of a key, whatever it costs": f"""
        credit 1000                  -> ok                                          | 1000 / 0
        {OPEN_HOLDS_PER_KEY_MAX}x hold a# 1+0 -> held 1 for 1+0                     | 1000 / 32
        hold r1 1+0                  -> refused, open_holds                         | 1000 / 32
        hold r2 1+0 key=k2           -> held 1 for 1+0                              | 1000 / 33
        post a31 1+0                 -> charged 1, completed                        | 999 / 32
        hold r3 1+0                  -> held 1 for 1+0                              | 999 / 33
        hold r4 1+0                  -> refused, open_holds                         | 999 / 33
    """,
    "the 21st empty answer of a day is charged, the next day's first is not": f"""
        credit 10000                 -> ok                                          | 10000 / 0
        {EMPTY_ANSWER_REFUNDS_PER_DAY + 1}x hold e# 100+64 -> held 164 for 100+64   | 10000 / 3444
        {EMPTY_ANSWER_REFUNDS_PER_DAY}x empty e# 100+0 -> charged 0, empty_answer   | 10000 / 164
        empty e20 100+0              -> charged 100, completed                      | 9900 / 0
        hold o1 100+64 key=k2        -> held 164 for 100+64                         | 9900 / 164
        empty o1 100+0               -> charged 0, empty_answer                     | 9900 / 0
        at 2025-06-15T23:59:59       -> ok
        hold o2 100+64               -> held 164 for 100+64                         | 9900 / 164
        empty o2 100+0               -> charged 100, completed                      | 9800 / 0
        at 2025-06-16                -> ok
        hold e21 100+64              -> held 164 for 100+64                         | 9800 / 164
        empty e21 100+0              -> charged 0, empty_answer                     | 9800 / 0
    """,
    "a second end changes nothing, whichever comes first": """
        credit 1000                  -> ok                                          | 1000 / 0
        hold r1 100+100              -> held 200 for 100+100                        | 1000 / 200
        post r1 100+100              -> charged 200, completed                      | 800 / 0
        post r1 100+100              -> already charged 200, completed              | 800 / 0
        post r1 1+1                  -> already charged 200, completed              | 800 / 0
        void r1                      -> already charged 200, completed              | 800 / 0
        hold r2 100+100              -> held 200 for 100+100                        | 800 / 200
        void r2                      -> charged 0, failed_before_output             | 800 / 0
        void r2                      -> already charged 0, failed_before_output     | 800 / 0
        post r2 100+100              -> already charged 0, failed_before_output     | 800 / 0
        empty r2 100+100             -> already charged 0, failed_before_output     | 800 / 0
        mark r2 5                    -> nothing, already ended                      | 800 / 0
        crash                        -> 0 ended                                     | 800 / 0
        house                        -> revenue 200, topups -1000
    """,
    "an end, a mark or a hold of nobody": """
        post r9 1+1                  -> already charged 0, completed                | 0 / 0
        mark r9 1                    -> nothing, already ended                      | 0 / 0
        credit 5 nobody              -> unknown account                             | 0 / 0
        dispute 5 nobody             -> unknown account                             | 0 / 0
        hold r1 1+1 nobody           -> unknown account or key                      | 0 / 0
        hold r1 1+1 key=nokey        -> unknown account or key                      | 0 / 0
        house                        -> nothing
    """,
    "a dispute above what is left is the house's loss": """
        credit 1000                  -> ok                                          | 1000 / 0
        hold r1 100+200              -> held 300 for 100+200                        | 1000 / 300
        post r1 100+200              -> charged 300, completed                      | 700 / 0
        dispute 1000                 -> ok                                          | 0 / 0
        house                        -> loss -300, revenue 300, topups 0
    """,
    "a dispute does not touch what running requests hold": """
        credit 1000                  -> ok                                          | 1000 / 0
        hold r1 100+500              -> held 600 for 100+500                        | 1000 / 600
        dispute 1000                 -> ok                                          | 600 / 600
        post r1 100+400              -> charged 500, completed                      | 100 / 0
        house                        -> loss -600, revenue 500, topups 0
        dispute 1000                 -> ok                                          | 0 / 0
        house                        -> loss -1500, revenue 500, topups 1000
    """,
    "a dispute on an empty wallet": """
        dispute 50                   -> ok                                          | 0 / 0
        house                        -> loss -50, topups 50
    """,
    "a claim that no answer can have is written down and not booked": f"""
        credit 1000                  -> ok                                          | 1000 / 0
        hold r1 100+500 paid=2       -> held 600 for 100+500                        | 1000 / 600
        post r1 100+200 claim=1+{CLAIM_TOKENS_BOOKED_MAX + 1} -> charged 300, completed | 700 / 0
        house                        -> revenue 300, topups -1000
        last                         -> post completed 100 200 1 {CLAIM_TOKENS_BOOKED_MAX + 1} None
    """,
}


@pytest.mark.parametrize("title", [*VALID, *INVALID])
def test_statement(store: Place, title: str) -> None:
    """Every movement comes out as its line says, and the ledger is sound after it."""
    bank = Bank(store)
    said, happened = Statement(bank).play((VALID | INVALID)[title])

    assert said == happened
    assert bank.failed() == {}


def test_more_is_refused_than_allowed() -> None:
    """The invalid space is longer than the valid one."""
    assert sum(len(s.splitlines()) for s in VALID.values()) < sum(
        len(s.splitlines()) for s in INVALID.values()
    )
