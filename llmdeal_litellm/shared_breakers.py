"""`policy/breaker.py` in Lua: the breakers of all workers in Redis, each a key with JSON in it.

Times are milliseconds of Redis's clock. To the outside a time is always told as so many milliseconds from
now, for no two clocks are the same. Every change is published.
"""

from llmdeal_litellm.fleet import BREAKER, PREFIX, WORKER_AGE_MAX_S, WORKERS
from llmdeal_litellm.policy.breaker import Outcome
from llmdeal_litellm.redis_link import Script

KEYS = f"{PREFIX}breaker:"
KEPT_MS = 24 * 3600 * 1000
REDIS_CLOCK = b""
OUTCOMES = {Outcome.SUCCEEDED: b"succeeded", Outcome.FAILED: b"failed", Outcome.SAYS_NOTHING: b"nothing"}

_STATE = f"""
-- A breaker: turn; calls, pairs of time and 1 or 0 for a failure; where they apply open, probe and cool,
-- until when; by and holder, the worker that probes and its part that does; why.
-- ARGV of every script begins with: deployment, the time in ms or nothing for Redis's own clock.
local now = tonumber(ARGV[2])
if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local function read(key)
    local kept = redis.call('GET', key)
    return kept and cjson.decode(kept)
end

local function probed(b)
    -- A probe ends with its worker.
    if not b.probe or now >= b.probe then return false end
    local seen = redis.call('ZSCORE', '{WORKERS}', b.by)
    return seen and now - tonumber(seen) <= {WORKER_AGE_MAX_S * 1000:.0f}
end

local function seen_from_now(b)
    local calls = {{}}
    for i, call in ipairs(b.calls) do calls[i] = {{now - call[1], call[2]}} end
    return {{
        turn = b.turn, calls = calls, why = b.why, open = b.open and b.open - now,
        probe = b.probe and b.probe - now, cool = b.cool and b.cool - now,
    }}
end

local function told(b)
    return cjson.encode(seen_from_now(b))
end

local function keep(key, deployment, b, publish)
    redis.call('SET', key, cjson.encode(b), 'PX', {KEPT_MS})
    if publish then
        redis.call('PUBLISH', '{PREFIX}{BREAKER}', cjson.encode({{deployment, seen_from_now(b)}}))
    end
end
"""

BEGIN = Script(
    _STATE
    + """
-- KEYS[1]: the breaker. ARGV from 3: worker, holder, turn of one that is not known, how long a probe lasts.
-- A call wants to begin. Returns whether it may, and the breaker.
local b = read(KEYS[1]) or {turn = tonumber(ARGV[5]), calls = {}}
if b.cool and now < b.cool or b.open and (now < b.open or probed(b)) then return {0, told(b)} end
if b.open then
    b.turn, b.probe, b.by, b.holder = b.turn + 1, now + ARGV[6], ARGV[3], ARGV[4]
    keep(KEYS[1], ARGV[1], b, true)
end
return {1, told(b)}
"""
)

END = Script(
    _STATE
    + """
-- KEYS[1]: the breaker. ARGV from 3: turn of the call; how it ended; for how long the upstream wants a pause;
-- why; the rules: failures, calls, window, open. Returns the breaker.
local turn, outcome, pause = tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
local b = read(KEYS[1]) or {turn = math.max(0, turn), calls = {}}
local was_open = b.open ~= nil
if pause > 0 then b.cool = math.max(b.cool or 0, now + pause) end
if turn == b.turn and b.open then
    b.probe, b.by, b.holder = nil, nil, nil
    if outcome == 'succeeded' then
        b.calls, b.open, b.why = {}, nil, nil
    elseif outcome == 'failed' then
        b.open = now + ARGV[10]
    end
elseif turn == b.turn and outcome ~= 'nothing' then
    local recent, failures, first = {}, 0, math.max(1, #b.calls + 2 - ARGV[8])
    b.calls[#b.calls + 1] = {now, outcome == 'failed' and 1 or 0}
    for i = first, #b.calls do
        local call = b.calls[i]
        if now - call[1] <= tonumber(ARGV[9]) then
            recent[#recent + 1] = call
            failures = failures + call[2]
        end
    end
    -- Only failures are counted: without one there is nothing to remember.
    b.calls = failures > 0 and recent or {}
    if failures >= tonumber(ARGV[7]) then
        b.calls, b.open, b.turn = {}, now + ARGV[10], b.turn + 1
    end
end
if outcome == 'failed' or pause > 0 then b.why = ARGV[6] end
keep(KEYS[1], ARGV[1], b, was_open or outcome == 'failed' or pause > 0)
return told(b)
"""
)

LOOK = Script(
    _STATE
    + """
-- KEYS: breakers. ARGV from 3: holder; then for each breaker its deployment, and 1 when the holder has a
-- probe under way. Ends probes that nobody has any more. Returns each breaker, or nothing for an unknown one.
local found = {}
for i, key in ipairs(KEYS) do
    local b, mine = read(key), ARGV[3 + 2 * i] == '1'
    if b and b.probe and (not probed(b) or b.holder == ARGV[3] and not mine) then
        b.probe, b.by, b.holder = nil, nil, nil
        keep(key, ARGV[2 + 2 * i], b, true)
    end
    found[i] = b and told(b) or false
end
return found
"""
)

RESTORE = Script(
    _STATE
    + """
-- KEYS[1]: the breaker. ARGV from 3: turn; for how long it is still open, or nothing; for how long it cools;
-- why; 1 when it opened while Redis was away. A worker knows of it what Redis does not. Returns the breaker.
local b, open = read(KEYS[1]), tonumber(ARGV[4])
local new = not b
if new then b = {turn = tonumber(ARGV[3]), calls = {}} end
if open and not b.open and (new or ARGV[7] == '1') then
    if not new then b.turn = b.turn + 1 end
    b.open, b.calls, b.why = now + open, {}, ARGV[6]
end
if tonumber(ARGV[5]) > 0 then
    b.cool, b.why = math.max(b.cool or 0, now + ARGV[5]), b.why or ARGV[6]
end
keep(KEYS[1], ARGV[1], b, true)
return told(b)
"""
)
