-- Takes one call from a token bucket that all replicas share. The clock is the engine's.
--
-- KEYS: the bucket.
-- ARGV: the rate in calls a second; the capacity; the tokens that this call needs in the bucket;
-- "reserved" if the call has waited so long that others must leave it a token, else "normal"; the
-- calls that the replica made while it did not reach the engine; the tokens of a bucket that does not
-- exist yet.
-- Returns: 1 if the call may be made; the time in ms after which it may be repeated; the whole tokens
-- that are left.
local rate, capacity, needed = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local reserved, charge, initial = ARGV[4] == 'reserved', tonumber(ARGV[5]), tonumber(ARGV[6])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local bucket = redis.pcall('HMGET', KEYS[1], 'tokens', 'at', 'reserved_until')
local tokens, at, reserved_until
if bucket.err then
    redis.call('DEL', KEYS[1])
else
    tokens, at, reserved_until = tonumber(bucket[1]), tonumber(bucket[2]), tonumber(bucket[3])
end
if not tokens or not at then
    tokens, at = initial, now
elseif not (tokens >= 0 and tokens < 1e9 and at <= now + 1000) then
    -- The clock stepped back, or these are no numbers of ours.
    tokens, at = 0, now
end
if not reserved_until or not (reserved_until <= now + 60000) then
    reserved_until = 0
end
-- After a throttled call, `at` lies in the future.
local drained = math.max(0, at - now)
tokens = math.min(capacity, tokens + math.max(0, now - at) / 1000 * rate)
at = math.max(at, now)
tokens = math.max(0, tokens - charge)

local granted, wait = 0, 0
if not reserved and now < reserved_until then
    needed = needed + 1
end
if tokens >= needed then
    granted, tokens = 1, tokens - 1
    if reserved then
        reserved_until = 0
    end
else
    wait = math.ceil(drained + (needed - tokens) / rate * 1000) + 1
    if reserved then
        reserved_until = now + wait + 1000
    end
end
redis.call('HSET', KEYS[1], 'tokens', string.format('%.9f', tokens), 'at', string.format('%.0f', at),
    'reserved_until', string.format('%.0f', reserved_until))
return { granted, wait, math.floor(tokens) }
