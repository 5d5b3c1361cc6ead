"""What Redis does in one step when the queue changes."""

from __future__ import annotations

# KEYS: items, open, gold, places, counts.
# ARGV: for each item: id, json, milliseconds, overlap, places now, 1 when gold.
ADD = """
local added = 0
for i = 1, #ARGV, 6 do
  if redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 1]) == 1 then
    added = added + 1
    if ARGV[i + 5] == '1' then
      redis.call('SADD', KEYS[3], ARGV[i])
    else
      redis.call('ZADD', KEYS[2], ARGV[i + 2], ARGV[i])
      redis.call('HSET', KEYS[4], ARGV[i], ARGV[i + 4])
      redis.call('HINCRBY', KEYS[5], 'wanted', ARGV[i + 3])
    end
  end
end
return added
"""

# KEYS: items, open, gold, places, counts, taken. ARGV: item id, overlap, 1 when gold, DONE.
REMOVE = """
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
if ARGV[3] == '0' then
  redis.call('HINCRBY', KEYS[5], 'wanted', -ARGV[2])
  redis.call('HINCRBY', KEYS[5], 'done', -redis.call('ZCOUNT', KEYS[6], ARGV[4], '+inf'))
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('SREM', KEYS[3], ARGV[1])
redis.call('HDEL', KEYS[4], ARGV[1])
redis.call('DEL', KEYS[6])
return 1
"""

# The first item with a free place, or the one whose place this annotator holds already: in one step, so that
# the last place is never given twice.
# KEYS: open, seen, places. ARGV: annotator, now, expiry, prefix of taken.
RESERVE = """
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if redis.call('SISMEMBER', KEYS[2], id) == 0 then
    local taken = ARGV[4] .. id
    redis.call('ZREMRANGEBYSCORE', taken, 0, ARGV[2])
    local mine = redis.call('ZSCORE', taken, ARGV[1])
    if mine or redis.call('ZCARD', taken) < tonumber(redis.call('HGET', KEYS[3], id) or 0) then
      redis.call('ZADD', taken, ARGV[3], ARGV[1])
      return id
    end
  end
end
return ''
"""

# KEYS: verdicts, seen, annotators, taken, open, counts, task.
# ARGV: vote id, json, item id, annotator, 1 to fill a place, 0 to free it, '' for neither; overlap, DONE,
#       duel id.
FINISH = """
local again = redis.call('HEXISTS', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('SADD', KEYS[2], ARGV[3])
redis.call('SADD', KEYS[3], ARGV[4])
if redis.call('GET', KEYS[7]) == ARGV[8] then redis.call('DEL', KEYS[7]) end
local was = redis.call('ZSCORE', KEYS[4], ARGV[4])
local was_done = was and tonumber(was) >= tonumber(ARGV[7])
if ARGV[5] == '1' and not was_done then
  redis.call('ZADD', KEYS[4], ARGV[7], ARGV[4])
  redis.call('HINCRBY', KEYS[6], 'done', 1)
elseif ARGV[5] == '0' then
  redis.call('ZREM', KEYS[4], ARGV[4])
  if was_done then redis.call('HINCRBY', KEYS[6], 'done', -1) end
end
if redis.call('ZCOUNT', KEYS[4], ARGV[7], '+inf') >= tonumber(ARGV[6]) then
  redis.call('ZREM', KEYS[5], ARGV[3])
end
return again
"""

# KEYS: as FINISH. ARGV: vote id, item id, annotator, expiry, when the item came, DONE, check or '', duel id.
REOPEN = """
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
if ARGV[7] ~= 'repeat' then redis.call('SREM', KEYS[2], ARGV[2]) end
local was = redis.call('ZSCORE', KEYS[4], ARGV[3])
if ARGV[7] == '' then
  if was and tonumber(was) >= tonumber(ARGV[6]) then redis.call('HINCRBY', KEYS[6], 'done', -1) end
  redis.call('ZADD', KEYS[4], ARGV[4], ARGV[3])
  redis.call('ZADD', KEYS[5], ARGV[5], ARGV[2])
end
redis.call('SET', KEYS[7], ARGV[8])
return 1
"""


# A place that is filled meanwhile stays filled. KEYS: task, taken. ARGV: duel id, annotator, DONE.
DROP = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
local score = redis.call('ZSCORE', KEYS[2], ARGV[2])
if score and tonumber(score) < tonumber(ARGV[3]) then redis.call('ZREM', KEYS[2], ARGV[2]) end
"""
