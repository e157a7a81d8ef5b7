"""Whatever happens in whatever order, the ledger agrees with a model that fits on a page."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from llmdeal_litellm.ledger.ops import CloseHold, Credit, Dispute, MarkDelivered, Op
from llmdeal_litellm.limits import EMPTY_ANSWER_REFUNDS_PER_DAY, OPEN_HOLDS_PER_KEY_MAX
from llmdeal_litellm.policy.usage import Billed, Rule

from .bank import Bank, open_hold, quote
from .statement import outcome_of

AMOUNTS = st.integers(0, 3000)
TOKENS = st.integers(0, 400)


@dataclass
class ModelKey:
    """What the model knows of a key."""

    cap: int | None = None
    spent: int = 0
    revoked: bool = False
    refunds: int = 0


@dataclass
class ModelHold:
    """What the model knows of an open hold. Every token costs one nano-USD."""

    key: str
    own: int
    input_part: int
    limit: int
    marked: int | None = None

    @property
    def amount(self) -> int:
        """What is held."""
        return self.input_part + self.limit


@dataclass
class Model:
    """One wallet, two keys, and the same sentences as the ledger's."""

    balance: int = 0
    frozen: bool = False
    loss: int = 0
    revenue: int = 0
    keys: dict[str, ModelKey] = field(default_factory=dict)
    holds: dict[str, ModelHold] = field(default_factory=dict)

    @property
    def held(self) -> int:
        """The sum of the open holds."""
        return sum(h.amount for h in self.holds.values())

    def hold(self, request: str, name: str, own: int, bound: int, limit: int) -> str:
        """Admit, or say why not, in the order of the checks."""
        key, mine = self.keys[name], [h for h in self.holds.values() if h.key == name]
        key_held = sum(h.amount for h in mine)
        needed = own + min(limit, 64)
        left = None if key.cap is None else key.cap - key.spent - key_held
        available = self.balance - self.held
        if key.revoked:
            return "refused, revoked"
        if self.frozen:
            return "refused, frozen"
        if len(mine) >= OPEN_HOLDS_PER_KEY_MAX:
            return "refused, open_holds"
        if left is not None and left < needed:
            return f"refused, key_cap: needs {needed}, has {max(0, left)}, held {key_held}"
        if available < needed:
            return f"refused, funds: needs {needed}, has {available}, held {self.held}"
        affordable = min(bound + limit, available if left is None else min(available, left))
        input_part = min(bound, affordable - min(limit, 64))
        self.holds[request] = ModelHold(name, own, input_part, affordable - input_part)
        return f"held {affordable} for {input_part}+{affordable - input_part}"

    def close(self, request: str, rule: Rule, tokens: tuple[int, int] | None) -> str:
        """End a hold once."""
        hold = self.holds.pop(request, None)
        if hold is None:
            return "nothing, already ended"
        key = self.keys[hold.key]
        if rule is Rule.EMPTY_ANSWER:
            key.refunds += 1
            rule, tokens = (
                (Rule.COMPLETED, tokens) if key.refunds > EMPTY_ANSWER_REFUNDS_PER_DAY else (rule, None)
            )
        charged = sum(tokens or (0, 0))
        self.balance -= charged
        self.revenue += charged
        key.spent += charged
        return f"charged {charged}, {rule.value}"

    def crash(self) -> None:
        """End every hold by the crash rule."""
        for request, hold in list(self.holds.items()):
            tokens = None if hold.marked is None else (min(hold.own, hold.input_part), hold.marked)
            self.close(request, Rule.CRASH_DELIVERED, tokens)


class LedgerAgainstModel(RuleBasedStateMachine):
    """Operations wait until a commit, so that every division into transactions is tried."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.bank = Bank(self.folder / "ledger.db")
        self.account = self.bank.account()
        self.names = [self.bank.key(self.account), self.bank.key(self.account)]
        self.model = Model(keys={name: ModelKey() for name in self.names})
        self.waiting: list[tuple[Op, str]] = []
        self.requests: list[str] = []
        self._put(Credit(self.account, "base", 2500), self._credited, 2500)

    def teardown(self) -> None:
        """The last transaction counts too."""
        self.commit()
        self.bank.close()
        shutil.rmtree(self.folder)

    def _put(self, op: Op, model: Callable[..., str], *values: object) -> None:
        self.waiting.append((op, model(*values)))

    def _credited(self, amount: int) -> str:
        self.model.balance += amount
        return "ok"

    @rule(amount=AMOUNTS)
    def credit(self, amount: int) -> None:
        """Money in."""
        self._put(Credit(self.account, "base", amount), self._credited, amount)

    @rule(which=st.integers(0, 1), own=TOKENS, more=TOKENS, limit=TOKENS)
    def hold(self, which: int, own: int, more: int, limit: int) -> None:
        """A request comes in."""
        request, key = f"r{len(self.requests)}", self.names[which]
        self.requests.append(request)
        quoted = quote(own, limit, input_bound=own + more)
        op = open_hold(request, self.account, key, quoted)
        self._put(op, self.model.hold, request, key, own, own + more, limit)

    @rule(count=st.integers(2, 20))
    def crowd(self, count: int) -> None:
        """Many small requests of one key at once."""
        for _ in range(count):
            self.hold(0, 1, 0, 0)

    @precondition(lambda self: self.requests)
    @rule(
        data=st.data(),
        how=st.sampled_from((Rule.COMPLETED, Rule.UPSTREAM_CUT, Rule.CALLER_LEFT, Rule.EMPTY_ANSWER)),
    )
    def post(self, data: st.DataObject, how: Rule) -> None:
        """A request ends with a charge; it may have ended before."""
        request = data.draw(st.sampled_from(self.requests))
        hold = self.model.holds.get(request)
        input_part, limit = (hold.input_part, hold.limit) if hold else (400, 400)
        tokens = data.draw(st.tuples(st.integers(0, input_part), st.integers(0, limit)))
        self._put(CloseHold(request, how, Billed(*tokens)), self.model.close, request, how, tokens)

    @precondition(lambda self: self.requests)
    @rule(data=st.data(), how=st.sampled_from((Rule.FAILED_BEFORE_OUTPUT, Rule.CALLER_LEFT_BEFORE_DISPATCH)))
    def void(self, data: st.DataObject, how: Rule) -> None:
        """A request is given back; it may have ended before."""
        request = data.draw(st.sampled_from(self.requests))
        self._put(CloseHold(request, how, None), self.model.close, request, how, None)

    @precondition(lambda self: self.requests)
    @rule(data=st.data(), output=st.integers(0, 900))
    def mark(self, data: st.DataObject, output: int) -> None:
        """Output reached a caller."""
        request = data.draw(st.sampled_from(self.requests))
        self._put(MarkDelivered(request, output), self._marked, request, output)

    def _marked(self, request: str, output: int) -> str:
        hold = self.model.holds.get(request)
        if hold is None:
            return "nothing, already ended"
        hold.marked = max(hold.marked or 0, min(output, hold.limit))
        return "ok"

    @rule(amount=AMOUNTS)
    def dispute(self, amount: int) -> None:
        """A payment is taken back."""
        self._put(Dispute(self.account, "base", amount), self._disputed, amount)

    def _disputed(self, amount: int) -> str:
        taken = min(amount, self.model.balance - self.model.held)
        self.model.balance -= taken
        self.model.loss += amount - taken
        self.model.frozen = True
        return "ok"

    @rule()
    def commit(self) -> None:
        """All that waits becomes one transaction, and every outcome is as the model said."""
        if not self.waiting:
            return
        results = self.bank.together(*[op for op, _ in self.waiting])
        expected = [said for _, said in self.waiting]
        self.waiting = []

        assert expected == [outcome_of(r) for r in results]
        self._agrees()

    @rule()
    def crash(self) -> None:
        """The process dies with what is committed, and the next one cleans up."""
        self.commit()
        self.bank.close()
        self.bank = Bank(self.bank.path)
        self.bank.crash()
        self.model.crash()
        self._agrees()

    @rule()
    def release(self) -> None:
        """The operator releases the account."""
        self.commit()
        self.bank.admin.set_frozen(self.account, False)
        self.model.frozen = False

    @rule(cap=st.none() | AMOUNTS)
    def cap(self, cap: int | None) -> None:
        """The operator caps the first key."""
        self.commit()
        self.bank.admin.set_cap(self.names[0], cap)
        self.model.keys[self.names[0]].cap = cap

    @precondition(lambda self: len(self.requests) > 10)
    @rule()
    def revoke(self) -> None:
        """The second key is revoked."""
        self.commit()
        self.bank.admin.revoke_key(self.names[1], now_us=self.bank.now_us)
        self.model.keys[self.names[1]].revoked = True

    def _agrees(self) -> None:
        stored = self.bank.wallet(self.account)
        assert (self.model.balance, self.model.held) == (stored.balance, stored.held)
        spent = {k.id: k.spent for k in self.bank.admin.keys(self.account)}
        assert {name: key.spent for name, key in self.model.keys.items()} == spent
        house = self.bank.house()
        assert (self.model.revenue, -self.model.loss) == (house.get("revenue", 0), house.get("loss", 0))
        assert self.bank.failed() == {}

    @invariant()
    def never_overdrawn(self) -> None:
        """The model itself keeps the promise that the ledger makes."""
        assert 0 <= self.model.held <= self.model.balance


TestLedgerAgainstModel = LedgerAgainstModel.TestCase
TestLedgerAgainstModel.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
