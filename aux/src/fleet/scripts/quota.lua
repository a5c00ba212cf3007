-- Takes one call from a token bucket that all replicas share. The clock is the engine's.
--
-- KEYS: the bucket.
-- ARGV: the rate in calls a second; the capacity; the tokens that this call needs in the bucket;
-- "reserved" if the call has waited so long that others must leave it a token, else "normal"; the
-- tokens that the replica has used up while it did not reach the engine.
-- Returns: 1 if the call may be made; the time in ms after which it may be repeated; the whole tokens
-- that are left; the age of the bucket in ms.
local rate, capacity, needed = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local reserved, charge = ARGV[4] == 'reserved', tonumber(ARGV[5])
-- A bucket that is not used for this time is forgotten.
local forget_ms = 3600000
local longest_reservation = (2 * capacity + 1) / rate * 1000 + 2000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local kind = redis.call('TYPE', KEYS[1]).ok
local tokens, at, reserved_until, created
if kind == 'hash' then
    local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at', 'reserved_until', 'created')
    tokens, at = tonumber(bucket[1]), tonumber(bucket[2])
    reserved_until, created = tonumber(bucket[3]), tonumber(bucket[4])
elseif kind ~= 'none' then
    redis.call('DEL', KEYS[1])
end
-- A new bucket is empty: the engine may have lost the previous one. The same holds if the clock
-- stepped back, or if these are no numbers of ours.
if not (tokens and at and created and tokens >= 0 and tokens < 1e9 and at <= now + 1000 and created <= now) then
    tokens, at, created = 0, now, now
end
if not (reserved_until and reserved_until <= now + longest_reservation) then
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
    'reserved_until', string.format('%.0f', reserved_until), 'created', string.format('%.0f', created))
redis.call('PEXPIRE', KEYS[1], forget_ms)
return { granted, wait, math.floor(tokens), now - created }
