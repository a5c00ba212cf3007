-- Stores a record and releases its lock, if the caller still holds the lock and nothing has changed
-- since. A load that lost its lock, or that began before a change, may have read an old value.
--
-- KEYS: the record, the lock, the latest change.
-- ARGV: the token of the caller; the body; the lifetime, the time for background refreshes, the total
-- time and the time that the load took, in ms; the authentication code; the age of the record when
-- the caller sent this, in ms; the same without the time since the load; the time from the lock to
-- the load, in ms.
-- Returns: 1 if the record is stored.
local taken = redis.call('TYPE', KEYS[2]).ok == 'hash' and redis.call('HMGET', KEYS[2], 'token', 'taken')
if not taken or taken[1] ~= ARGV[1] then
    return 0
end
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local began = tonumber(taken[2]) or 0
if redis.call('TYPE', KEYS[3]).ok == 'hash' then
    local change = redis.call('HMGET', KEYS[3], 'changed', 'deleted')
    for i = 1, 2 do
        local at = tonumber(change[i]) or -1
        -- A change in the future is one before the clock stepped back.
        if at <= now and began <= at then
            redis.call('DEL', KEYS[2])
            return 0
        end
    end
end
-- The caller's message may have been on its way for long. The engine has measured the time since the
-- lock was taken, which includes that.
local since_lock = now - began
local age = math.max(tonumber(ARGV[8]), tonumber(ARGV[9]) + since_lock - tonumber(ARGV[10]))
local remaining = tonumber(ARGV[5]) - age
local kind = redis.call('TYPE', KEYS[1]).ok
if remaining < 1 or (kind ~= 'hash' and kind ~= 'none') then
    redis.call('DEL', KEYS[1])
end
if remaining >= 1 then
    redis.call('HSET', KEYS[1], 'body', ARGV[2], 'lifetime', ARGV[3], 'revalidate', ARGV[4],
        'total', ARGV[5], 'load', ARGV[6], 'mac', ARGV[7], 'began', string.format('%.0f', began))
    redis.call('PEXPIRE', KEYS[1], string.format('%.0f', remaining))
end
redis.call('DEL', KEYS[2])
return 1
