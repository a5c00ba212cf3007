-- Empties a shared token bucket for a pause, because AWS throttled a call.
--
-- KEYS: the bucket.
-- ARGV: the pause in ms.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local reserved_until = redis.pcall('HGET', KEYS[1], 'reserved_until')
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'tokens', '0', 'at', string.format('%.0f', now + tonumber(ARGV[1])),
    'reserved_until', type(reserved_until) == 'string' and reserved_until or '0')
return 1
