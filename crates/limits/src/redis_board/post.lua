-- A replica posts what it has counted for one key, and learns what others have.
--
-- KEYS[1]  a hash: replica -> its latest post, as text:
--          "posted_at requests_reserve tokens_reserve running running_reserve;requests;tokens", where requests and tokens
--          are pairs "leaves_after_ms amount" separated by spaces.
-- ARGV     1 the time in ms, or '' for the server's; 2 the replica; 3 how many replicas live;
--          4-9 requests, 10-15 tokens, 16-21 concurrency: limit, own, reserve, want, least, ahead;
--          22 requests and 23 tokens, as above.
-- Returns  for each kind: granted, others, last_after_ms; then pairs of others' requests and tokens, where too little was
--          granted.
--
-- RESERVE_COUNTS_MS, RUNNING_COUNTS_MS, POST_LIVES_MS and MOST are defined in a line before this text. Numbers are
-- doubles, exact up to 2^53 = MOST; the caller sends none beyond.


local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local replica, replicas = ARGV[2], tonumber(ARGV[3])

local others, last, leaving = {0, 0, 0}, {0, 0, 0}, {{}, {}}

local function count(kind, after, amount)
  if after > 0 and amount > 0 then
    others[kind] = others[kind] + amount
    if after > last[kind] then last[kind] = after end
    local list = leaving[kind]
    if list then
      list[#list + 1] = after
      list[#list + 1] = amount
    end
  end
end

local function count_window(kind, pairs_text, elapsed)
  for after, amount in string.gmatch(pairs_text, '(%d+) (%d+)') do
    count(kind, after - elapsed, tonumber(amount))
  end
end

local posts = redis.call('HGETALL', KEYS[1])
for i = 1, #posts, 2 do
  if posts[i] ~= replica then
    local posted_at, requests_reserve, tokens_reserve, running, running_reserve, requests, tokens =
      string.match(posts[i + 1], '^(%d+) (%d+) (%d+) (%d+) (%d+);([%d ]*);([%d ]*)$')
    -- A clock that was set back makes posts come from the future: for as long as that may be a little, they are new.
    local elapsed = posted_at and math.max(now - posted_at, 0)
    if not posted_at or elapsed >= POST_LIVES_MS or posted_at - now >= POST_LIVES_MS then
      redis.call('HDEL', KEYS[1], posts[i])
    else
      count_window(1, requests, elapsed)
      count_window(2, tokens, elapsed)
      count(3, RUNNING_COUNTS_MS - elapsed, tonumber(running))
      count(1, RESERVE_COUNTS_MS - elapsed, tonumber(requests_reserve))
      count(2, RESERVE_COUNTS_MS - elapsed, tonumber(tokens_reserve))
      count(3, RESERVE_COUNTS_MS - elapsed, tonumber(running_reserve))
    end
  end
end

local answer, reserves = {}, {}
for kind = 1, 3 do
  local at = 4 + 6 * (kind - 1)
  local limit, own, reserve = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local want, least, ahead = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local free = math.max(limit - own - reserve - others[kind], 0)
  local granted
  if free < want then
    granted = free < least and 0 or free
  else
    granted = want + math.min(ahead, math.floor((free - want) / (2 * math.max(replicas, 1))))
    leaving[kind] = {}
  end
  reserves[kind] = string.format('%.0f', reserve + granted)
  answer[#answer + 1] = granted
  answer[#answer + 1] = math.min(others[kind], MOST)
  answer[#answer + 1] = last[kind]
end
answer[#answer + 1] = leaving[1]
answer[#answer + 1] = leaving[2]

local post = string.format('%.0f', now) .. ' ' .. reserves[1] .. ' ' .. reserves[2] .. ' ' .. ARGV[17] .. ' '
  .. reserves[3] .. ';' .. ARGV[22] .. ';' .. ARGV[23]
redis.call('HSET', KEYS[1], replica, post)
redis.call('PEXPIRE', KEYS[1], POST_LIVES_MS)
return answer
