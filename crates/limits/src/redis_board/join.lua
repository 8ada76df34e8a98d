-- A replica says that it lives, or that it has gone, and learns how many live.
--
-- KEYS[1]  a sorted set: replica -> when it was last heard of, in ms by the server's clock
-- ARGV     1 the replica; 2 'join' or 'leave'

local LIVES_MS = 10000

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - LIVES_MS))
redis.call('ZREMRANGEBYSCORE', KEYS[1], string.format('%.0f', now + LIVES_MS), '+inf')
if ARGV[2] == 'join' then
  redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
  redis.call('PEXPIRE', KEYS[1], LIVES_MS)
else
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return redis.call('ZCARD', KEYS[1])
