-- Empties a shared token bucket for a pause, because AWS throttled a call. A bucket that does not
-- exist is empty in any case.
--
-- KEYS: the bucket.
-- ARGV: the pause in ms.
-- Returns: 1.
if redis.call('TYPE', KEYS[1]).ok == 'hash' then
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    redis.call('HSET', KEYS[1], 'tokens', '0', 'at', string.format('%.0f', now + tonumber(ARGV[1])))
end
return 1
