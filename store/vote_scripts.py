"""What Redis does in one step when a vote is cast or changed."""

from __future__ import annotations

# One script, so that the key, the duel's verdict and the log entry are one write to the append-only file.
# The indexes hold entry ids. `pairs` counts the casts so far that made a pair when they were cast.
# KEYS: votes, idempotency, by id, votes of the annotator, duels of the conversation, thumbs, feed, out,
#       conversations, answers of the conversation, places of answers, changed conversations.
# ARGV: idempotency field, vote json, vote id, 1 when it makes a pair, duel id or '', duel json with its vote,
#       thumb field or '', choice, status, id of the edited answer or '', its json, conversation id.
CAST = """
local first = redis.call('HGET', KEYS[2], ARGV[1])
if first then return {'seen', first} end
if ARGV[5] ~= '' then
  local duel = redis.call('HGET', KEYS[5], ARGV[5])
  if not duel then return {'gone', ''} end
  local decided_by = cjson.decode(duel)['vote_id']
  if decided_by ~= cjson.null then return {'decided', decided_by} end
  redis.call('HSET', KEYS[5], ARGV[5], ARGV[6])
end
if ARGV[10] ~= '' then
  if redis.call('HEXISTS', KEYS[9], ARGV[12]) == 0 then return {'gone', ''} end
  redis.call('HSET', KEYS[10], ARGV[10], ARGV[11])
  redis.call('HSET', KEYS[11], ARGV[10], ARGV[12])
end
if ARGV[7] ~= '' then redis.call('HSET', KEYS[6], ARGV[7], ARGV[8]) end
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local pairs = (last and tonumber(last[2][4]) or 0) + tonumber(ARGV[4])
local entry = redis.call('XADD', KEYS[1], '*', 'vote', ARGV[2], 'pairs', pairs)
redis.call('HSET', KEYS[2], ARGV[1], entry)
redis.call('HSET', KEYS[3], ARGV[3], entry)
redis.call('LPUSH', KEYS[4], entry)
if ARGV[9] ~= 'active' then redis.call('SADD', KEYS[8], ARGV[3]) end
if ARGV[5] ~= '' or ARGV[10] ~= '' then redis.call('ZINCRBY', KEYS[12], 1, ARGV[12]) end
redis.call('XADD', KEYS[7], 'MAXLEN', '~', 2000, '*', 'event', 'vote', 'data', ARGV[2])
return {'cast', entry}
"""

# A change is an entry too. It counts no pair: what the cast counted is corrected beside it, so that counts
# after a mark stay right whenever the vote was cast.
# KEYS: votes, latest, duels of the conversation, thumbs, feed, out, recounts, changed conversations, answers
#       of the conversation.
# ARGV: entry of the cast, entry that the change was made from, vote json, what, by, vote id, status,
#       1 when the cast must be counted, -1 when it must not, 0 when as it was cast; that entry, padded;
#       duel id or '', duel json without its vote, thumb field or '', choice, conversation id,
#       id of the edited answer that is withdrawn or '', its json.
CHANGE = """
local latest = redis.call('HGET', KEYS[2], ARGV[1]) or ARGV[1]
if latest ~= ARGV[2] then return '' end
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local entry = redis.call('XADD', KEYS[1], '*', 'vote', ARGV[3], 'pairs', last[2][4],
  'of', ARGV[1], 'before', latest, 'what', ARGV[4], 'by', ARGV[5])
redis.call('HSET', KEYS[2], ARGV[1], entry)
redis.call(ARGV[7] == 'active' and 'SREM' or 'SADD', KEYS[6], ARGV[6])
redis.call('ZREM', KEYS[7], 'in ' .. ARGV[9], 'out ' .. ARGV[9])
if ARGV[8] == '1' then redis.call('ZADD', KEYS[7], 0, 'in ' .. ARGV[9]) end
if ARGV[8] == '-1' then redis.call('ZADD', KEYS[7], 0, 'out ' .. ARGV[9]) end
if ARGV[10] ~= '' then
  local duel = redis.call('HGET', KEYS[3], ARGV[10])
  if duel and cjson.decode(duel)['vote_id'] == ARGV[6] then
    redis.call('HSET', KEYS[3], ARGV[10], ARGV[11])
    redis.call('ZINCRBY', KEYS[8], 1, ARGV[14])
  end
end
if ARGV[12] ~= '' and redis.call('HGET', KEYS[4], ARGV[12]) == ARGV[13] then
  redis.call('HDEL', KEYS[4], ARGV[12])
end
if redis.call('HEXISTS', KEYS[9], ARGV[15]) == 1 then
  redis.call('HSET', KEYS[9], ARGV[15], ARGV[16])
  redis.call('ZINCRBY', KEYS[8], 1, ARGV[14])
end
redis.call('XADD', KEYS[5], 'MAXLEN', '~', 2000, '*', 'event', 'vote', 'data', ARGV[3])
return entry
"""

# A mark never moves backwards. KEYS: marks. ARGV: mark, stream id.
ADVANCE = """
local function parts(id)
  local time, sequence = string.match(id, '^(%d+)-?(%d*)$')
  return tonumber(time), tonumber(sequence) or 0
end
local old_time, old_sequence = parts(redis.call('HGET', KEYS[1], ARGV[1]) or '0-0')
local time, sequence = parts(ARGV[2])
if time > old_time or (time == old_time and sequence > old_sequence) then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
"""
