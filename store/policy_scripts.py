"""The registry's writes as Lua: each is one step for Redis, or is not done at all."""

from __future__ import annotations

# Weights that were never active may be remade; what was served stays as it was.
# KEYS: policies, counter, feed, audit. ARGV: number, json, sha256, audit json or ''.
REGISTER = """
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known then
  known = cjson.decode(known)
  if known['sha256'] == ARGV[3] then return 'known' end
  if known['state'] ~= 'candidate' then return 'exists' end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if tonumber(redis.call('GET', KEYS[2]) or 0) < tonumber(ARGV[1]) then redis.call('SET', KEYS[2], ARGV[1]) end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', 2000, '*', 'event', 'policy', 'data', ARGV[2])
if ARGV[4] ~= '' then redis.call('XADD', KEYS[4], '*', 'event', ARGV[4]) end
return 'registered'
"""

# KEYS: numbers, counter. ARGV: run id.
NUMBER = """
local number = redis.call('HGET', KEYS[1], ARGV[1])
if number then return number end
number = redis.call('INCR', KEYS[2])
redis.call('HSET', KEYS[1], ARGV[1], number)
return number
"""

# Replace versions if none of them changed meanwhile. KEYS: policies, feed.
# ARGV from `first` on: number, json before, json after, for each version.
_REPLACE = """
local function replace(first)
  for i = first, #ARGV, 3 do
    if redis.call('HGET', KEYS[1], ARGV[i]) ~= ARGV[i + 1] then return 'changed' end
  end
  for i = first, #ARGV, 3 do
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', 2000, '*', 'event', 'policy', 'data', ARGV[i + 2])
  end
  return 'ok'
end
"""

# A canary that gets another state has ended. KEYS: policies, feed, canary, audit.
# ARGV: audit json, the version.
SET_STATE = f"""{_REPLACE}
local verdict = replace(2)
if verdict ~= 'ok' then return verdict end
local canary = redis.call('GET', KEYS[3])
if canary and cjson.decode(canary)['number'] == tonumber(ARGV[2]) then
  redis.call('DEL', KEYS[3])
end
redis.call('XADD', KEYS[4], '*', 'event', ARGV[1])
return verdict
"""

# The pointer moves, and a canary ends with it. KEYS: policies, feed, active, timeline, canary, audit.
# ARGV: expected number or '', activation json, canary json as it was read or '', audit json of its end or '',
# audit json of the move or '', then the version that enters, the one that leaves, and the canary when it is
# neither.
ACTIVATE = f"""{_REPLACE}
local active = redis.call('GET', KEYS[3]) or ''
if active ~= ARGV[1] then return 'moved' end
if (redis.call('GET', KEYS[5]) or '') ~= ARGV[3] then return 'changed' end
local verdict = replace(6)
if verdict == 'ok' then
  redis.call('SET', KEYS[3], ARGV[6])
  redis.call('LPUSH', KEYS[4], ARGV[2])
  if ARGV[5] ~= '' then redis.call('XADD', KEYS[6], '*', 'event', ARGV[5]) end
  if ARGV[3] ~= '' then
    redis.call('DEL', KEYS[5])
    redis.call('XADD', KEYS[6], '*', 'event', ARGV[4])
  end
end
return verdict
"""

# The canary begins (from '' to json), changes (json to json) or ends (json to '').
# KEYS: policies, feed, active, canary, audit.
# ARGV: expected active number, canary before, canary after, audit json, then the version.
CANARY = f"""{_REPLACE}
local canary = redis.call('GET', KEYS[4]) or ''
if canary ~= '' and ARGV[2] == '' then return 'running' end
if (redis.call('GET', KEYS[3]) or '') ~= ARGV[1] or canary ~= ARGV[2] then return 'changed' end
local verdict = replace(5)
if verdict == 'ok' then
  if ARGV[3] == '' then redis.call('DEL', KEYS[4]) else redis.call('SET', KEYS[4], ARGV[3]) end
  redis.call('XADD', KEYS[5], '*', 'event', ARGV[4])
end
return verdict
"""
